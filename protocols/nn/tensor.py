"""The secret tensor: a `torch.Tensor` whose operators are carried out on shares.

`__torch_dispatch__` sits below autograd: what arrives is ATen operators, forward and backward alike, with gradients
already derived by PyTorch. Each is looked up in `OPERATORS`, where one function per operator is registered by
`implements`. Those functions see no tensors: a secret operand comes as a `SecretArray`, truth values as `SecretBits`,
a public one as a NumPy array, and what they return is wrapped again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch.utils._pytree import tree_map

from mpc.errors import NotOffered, UsageError
from protocols.bits import BitProtocol
from protocols.secret import SecretArray, SecretBits

Value = Any  # SecretArray, SecretBits, a public ndarray, or the winners of a max-pool
Operator = Callable[..., Any]


@dataclass(frozen=True)
class Entry:
    """How an operator is carried out."""

    function: Operator
    cells: tuple[int, ...]
    protocol: bool


OPERATORS: dict[str, Entry] = {}

OPEN_IT = "open it with session.open(x, reason=…) if it may be known"

# Operators whose result shares memory with an operand in PyTorch.
_VIEWS = frozenset(
    "view select slice t transpose permute expand unsqueeze squeeze split split_with_sizes unbind alias".split()
)


def implements(
    *names: str, cells: tuple[int, ...] = (), protocol: bool = False
) -> Callable[[Operator], Operator]:
    """Register a function as what these ATen operators do on secrets; `add.Tensor`, or `relu` for `relu.default`.

    Args:
        names: the operators.
        cells: places of arguments that the operator changes; the function gets their `Cell`.
        protocol: whether the function gets the protocol as its first argument.
    """

    def register(f: Operator) -> Operator:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"{name} is implemented twice")
            OPERATORS[name] = Entry(f, cells, protocol)
        return f

    return register


class Cell:
    """Where a tensor's value lives. Detached tensors share it, so an in-place change is seen by all of them."""

    __slots__ = ("__weakref__", "base", "value")

    def __init__(self, value: Value, base: Cell | None = None) -> None:
        """Hold a value; `base` is the cell that this value is a view of."""
        self.value = value
        self.base = weakref.ref(base) if base is not None else None


class SecretTensor(torch.Tensor):
    """A tensor whose value no single party knows. Make one with `Session.share` or `Session.secure`."""

    cell: Cell
    protocol: BitProtocol[Any]

    @staticmethod
    def __new__(
        cls,
        cell: Cell,
        protocol: BitProtocol[Any],
        dtype: torch.dtype,
        *,
        requires_grad: bool = False,
    ) -> SecretTensor:
        """A tensor of the value's shape; it has no storage of its own."""
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, cell.value.shape, dtype=dtype, device="cpu", requires_grad=requires_grad
        )
        made.cell, made.protocol = cell, protocol
        return made  # type: ignore[no-any-return]

    @property
    def secret(self) -> Value:
        """The secret array behind the tensor."""
        return self.cell.value

    def __repr__(self, *, tensor_contents: object = None) -> str:
        """Shape, type and protocol; never a value."""
        return f"SecretTensor({tuple(self.shape)}, {self.dtype}, {self.protocol.name})"

    def __format__(self, spec: str) -> str:
        """Refused where a number is asked for."""
        if spec:
            raise UsageError(f"a secret tensor cannot be printed as a number: {OPEN_IT}")
        return repr(self)

    def numpy(self, *, force: bool = False) -> NoReturn:
        """Refused."""
        raise UsageError(f"a secret tensor has no numpy() value: {OPEN_IT}")

    def tolist(self) -> NoReturn:
        """Refused."""
        raise UsageError(f"a secret tensor has no tolist() value: {OPEN_IT}")

    def __reduce_ex__(self, proto: object) -> NoReturn:
        """Refused: a pickled share would be a share in the clear."""
        raise UsageError(
            "a secret tensor cannot be pickled: save shares with protocols.training.checkpoint"
        )

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Carry out one ATen operator."""
        return _carry_out(func, args, dict(kwargs or {}))


def _carry_out(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.removeprefix("aten::")
    overload = func._overloadname
    full = name if overload in ("default", "") else f"{name}.{overload}"
    secrets = [t for t in _leaves(args, kwargs) if isinstance(t, SecretTensor)]
    protocol, floating = secrets[0].protocol, _float_type(secrets)
    in_place = name.endswith("_") and not name.endswith("__")
    entry = OPERATORS.get(full)
    if entry is None and in_place:
        entry = OPERATORS.get(full.replace(name, name.removesuffix("_"), 1))
    if entry is None:
        raise NotOffered(
            f"torch operator aten::{full} is not carried out on secret tensors: use another layer or function, or "
            f"register one with protocols.nn.tensor.implements (docs/adding-an-operator.md)"
        )
    if in_place:
        _check_writable(args[0], full)
    with protocol.scope(name.removesuffix("_")):
        plain_args, plain_kwargs = tree_map(_unwrap, (list(args), kwargs))
        for i in entry.cells:
            plain_args[i] = args[i].cell if isinstance(args[i], SecretTensor) else None
        first = [protocol] if entry.protocol else []
        result = entry.function(*first, *plain_args, **plain_kwargs)
    if in_place:
        return _write(args[0], result, full)
    base = args[0].cell if name in _VIEWS and isinstance(args[0], SecretTensor) else None
    if name == "detach":  # the same value, so that in-place changes of either are seen by both
        return SecretTensor(args[0].cell, protocol, args[0].dtype)

    def wrap(value: Any) -> Any:
        if isinstance(value, torch.Tensor) or not hasattr(value, "shape"):
            return value
        value = np.asarray(value) if isinstance(value, np.generic) else value
        return SecretTensor(Cell(value, base), protocol, _type_of(value, floating))

    if isinstance(result, (tuple, list)):
        return type(result)(wrap(value) for value in result)
    return wrap(result)


def _leaves(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    flat: list[Any] = []
    for item in (*args, *kwargs.values()):
        flat.extend(item if isinstance(item, (list, tuple)) else [item])
    return flat


def _unwrap(item: Any) -> Any:
    if isinstance(item, SecretTensor):
        return item.cell.value
    if isinstance(item, torch.Tensor):
        public = item.detach().numpy()
        return public.astype(np.float64) if item.is_floating_point() else public
    return item


def _float_type(secrets: Sequence[SecretTensor]) -> torch.dtype:
    return next((t.dtype for t in secrets if t.is_floating_point()), torch.float32)


def _type_of(value: Value, floating: torch.dtype) -> torch.dtype:
    if isinstance(value, SecretArray):
        return floating if value.fraction else torch.int64
    if isinstance(value, SecretBits):
        return torch.bool
    if isinstance(value, np.ndarray):
        return floating if value.dtype.kind == "f" else torch.int64
    return torch.int64  # the winners of a max-pool stand where PyTorch has indices


def _check_writable(target: Any, full: str) -> None:
    if not isinstance(target, SecretTensor):
        raise NotOffered(
            f"aten::{full} would write a secret into a public tensor: make the target secret first, "
            f"for example with torch.zeros_like(secret)"
        )
    if target.cell.base is not None and target.cell.base() is not None:
        raise NotOffered(
            f"aten::{full} would change part of a secret tensor in place (such as x[0] = y): build the whole "
            f"tensor with torch.cat, torch.stack or torch.where"
        )


def _write(target: SecretTensor, value: Value, full: str) -> SecretTensor:
    if value.shape != tuple(target.shape):
        raise UsageError(
            f"aten::{full}: the result has shape {value.shape}, not {tuple(target.shape)}"
        )
    target.cell.value = value
    return target
