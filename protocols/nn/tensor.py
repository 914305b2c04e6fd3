"""The secret tensor: a `torch.Tensor` whose operators are carried out on shares.

`__torch_dispatch__` sits below autograd: what arrives is ATen operators, forward and backward
alike, with gradients already derived by PyTorch. Each is looked up in `OPERATORS`, where one
function per operator is registered by `implements`. Those functions see no tensors: a secret
operand comes as a `SecretArray`, truth values as `SecretBits`, a public one as a NumPy array, and
what they return is wrapped again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch.utils._pytree import tree_map

from mpc.errors import NotOffered, UsageError
from protocols.bits import BitProtocol
from protocols.nn.cell import Cell, Value, after
from protocols.secret import SecretArray, SecretBits

Operator = Callable[..., Any]


@dataclass(frozen=True)
class Entry:
    """How an operator is carried out."""

    function: Operator
    cells: tuple[int, ...]
    protocol: bool
    lazy: bool


OPERATORS: dict[str, Entry] = {}

OPEN_IT = "open it with session.open(x, reason=…) if it may be known"
# Operators that would tell a value, and what they would do to it.
_REVEALING = {
    "_local_scalar_dense": "tested in `if` or `while`, or read by item(), float() or int()",
    "is_nonzero": "tested in `if` or `while`",
    "equal": "compared into a public truth value",
    "nonzero": "asked for its places",
    "masked_select": "picked from by a secret mask",
}
# Operators that leave memory as it was, and so differently at each party.
_UNSET = frozenset(["empty_like", "new_empty", "new_empty_strided"])

# Operators whose result shares memory with an operand in PyTorch.
_VIEWS = frozenset(
    (
        "view select slice t transpose permute expand unsqueeze squeeze "
        "split split_with_sizes unbind diagonal"
    ).split()
)
# Operators whose result is the operand.
_SAME = frozenset(["detach", "alias"])


def implements(
    *names: str, cells: tuple[int, ...] = (), protocol: bool = False, lazy: bool = False
) -> Callable[[Operator], Operator]:
    """Register a function as what these ATen operators do on secrets.

    Args:
        names: the operators: `add.Tensor`, or `relu` for `relu.default`.
        cells: places of arguments that the operator changes; the function gets their `Cell`.
        protocol: whether the function gets the protocol as its first argument.
        lazy: whether it has a use for arrays that wait for what follows them; others get them
            settled, since each sum that is made of one is rounded by itself.
    """

    def register(f: Operator) -> Operator:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"{name} is implemented twice")
            OPERATORS[name] = Entry(f, cells, protocol, lazy)
        return f

    return register


class SecretTensor(torch.Tensor):
    """A tensor whose value no single party knows; `Session.share` and `secure` make them."""

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
        device = torch.device("cpu")
        made: SecretTensor = torch.Tensor._make_wrapper_subclass(
            cls, cell.value.shape, dtype=dtype, device=device, requires_grad=requires_grad
        )
        made.cell, made.protocol = cell, protocol
        return made

    @property
    def data(self) -> torch.Tensor:
        """The tensor without its history; it shares the value."""
        return self.detach()

    @data.setter
    def data(self, other: torch.Tensor) -> None:
        """Take over another secret tensor's value, as averaging code does."""
        if not isinstance(other, SecretTensor) or other.shape != self.shape:
            raise UsageError("the data of a secret tensor can only be a secret of the same shape")
        self.cell.value = other.cell.value

    @property
    def secret(self) -> Value:
        """The secret array behind the tensor."""
        return self.cell.value

    def __repr__(  # type: ignore[override]  # PyTorch's has no types
        self, *, tensor_contents: object = None
    ) -> str:
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

    def share_memory_(self) -> NoReturn:
        """Refused: there is no storage here that processes could share."""
        raise NotOffered("a secret tensor has no memory to share among processes: share its source")

    def __dlpack__(self, **_: object) -> NoReturn:
        """Refused."""
        raise UsageError(f"a secret tensor cannot be handed to another library: {OPEN_IT}")

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        """A tensor of its own, with the same value, in the same session."""
        if not self.is_leaf:
            raise UsageError("a secret tensor with a history cannot be copied: detach it first")
        made: torch.Tensor = SecretTensor(Cell(self.cell.value), self.protocol, self.dtype)
        if isinstance(self, torch.nn.Parameter):
            made = torch.nn.Parameter(made, self.requires_grad)
        made.requires_grad_(self.requires_grad)
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, proto: object) -> NoReturn:
        """Refused: a pickled share would be a share in the clear."""
        raise UsageError(
            "a secret tensor cannot be pickled: save shares with protocols.training.checkpoint"
        )

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # PyTorch declares it as a plain function
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Carry out one ATen operator."""
        return _carry_out(func, args, dict(kwargs or {}))


def _carry_out(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name, overload = str(func).removeprefix("aten.").split(".")
    full = name if overload == "default" else f"{name}.{overload}"
    secrets = [t for t in _leaves(args, kwargs) if isinstance(t, SecretTensor)]
    protocol, floating = secrets[0].protocol, _float_type(secrets)
    in_place = name.endswith("_") and not name.endswith("__")
    if in_place:
        _check_writable(args[0], full)
    if name in _SAME:  # so that in-place changes of either are seen by both
        return SecretTensor(args[0].cell, protocol, args[0].dtype)
    compute = _how(func, full, secrets)
    unwrap = _unwrap if isinstance(compute, Entry) and compute.lazy else _settled
    plain_args, plain_kwargs = tree_map(unwrap, (list(args), kwargs))
    if isinstance(compute, Entry):
        for i in compute.cells:
            plain_args[i] = args[i].cell if isinstance(args[i], SecretTensor) else None
        first, function = [protocol] if compute.protocol else [], compute.function
    else:
        first, function = [], compute
    with protocol.scope(name.removesuffix("_")):
        result = function(*first, *plain_args, **plain_kwargs)
    if in_place:
        return _write(args[0], result, full)
    base = args[0].cell if name in _VIEWS and isinstance(args[0], SecretTensor) else None
    asked = kwargs.get("dtype")
    floating = asked if asked is not None and asked.is_floating_point else floating

    def again(value: Value) -> Any:
        return function(value, *plain_args[1:], **plain_kwargs)

    def wrap(value: Any, derive: Callable[[Value], Value]) -> Any:
        if isinstance(value, torch.Tensor) or not hasattr(value, "shape"):
            return value
        value = np.asarray(value) if isinstance(value, np.generic) else value
        cell = Cell(value, base, derive) if base is not None else Cell(value)
        return SecretTensor(cell, protocol, _type_of(value, floating))

    if isinstance(result, (tuple, list)):
        return type(result)(
            wrap(value, after(again, operator.itemgetter(i))) for i, value in enumerate(result)
        )
    return wrap(result, again)


def _how(func: Any, full: str, secrets: Sequence[SecretTensor]) -> Entry | Operator:
    """What carries out an operator: the registered function, or PyTorch if all values are public.

    Raises:
        UsageError: the result would have to be public.
        NotOffered: no function is registered.
    """
    name = full.partition(".")[0]
    entry = OPERATORS.get(full)
    if entry is None and name.endswith("_"):
        entry = OPERATORS.get(full.replace(name, name.removesuffix("_"), 1))
    public = all(isinstance(t.cell.value, np.ndarray) for t in secrets)
    drawn = torch.Tag.nondeterministic_seeded in func.tags  # each party would draw another
    if public and not drawn and name not in _UNSET and not (entry and entry.cells):
        return _in_the_clear(func)
    if name in _REVEALING:
        raise UsageError(f"a secret cannot be {_REVEALING[name]}: {OPEN_IT}")
    if entry is None:
        raise NotOffered(
            f"torch operator aten::{full} is not carried out on secret tensors: use another layer "
            f"or function, or register one with protocols.nn.tensor.implements "
            f"(docs/adding-an-operator.md)"
        )
    return entry


def _in_the_clear(func: Any) -> Operator:
    """PyTorch's own operator, for tensors that hold public values, such as `zeros_like` gives."""

    def compute(*args: Any, **kwargs: Any) -> Any:
        tensors = tree_map(
            lambda a: torch.from_numpy(a.copy()) if isinstance(a, np.ndarray) else a, (args, kwargs)
        )
        result = func(*tensors[0], **tensors[1])
        return tree_map(
            lambda t: t.numpy() if isinstance(t, torch.Tensor) else t,
            result,
        )

    return compute


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


def _settled(item: Any) -> Any:
    value = _unwrap(item)
    return value.settled() if isinstance(value, SecretArray) else value


def _float_type(secrets: Sequence[SecretTensor]) -> torch.dtype:
    return next((t.dtype for t in secrets if t.is_floating_point()), torch.float32)


def _type_of(value: Value, floating: torch.dtype) -> torch.dtype:
    if isinstance(value, SecretArray):
        return floating if value.fraction else torch.int64
    if isinstance(value, SecretBits):
        return torch.bool
    if isinstance(value, np.ndarray):
        return {"f": floating, "b": torch.bool}.get(value.dtype.kind, torch.int64)
    return torch.int64  # the winners of a max-pool stand where PyTorch has indices


def _check_writable(target: Any, full: str) -> None:
    if not isinstance(target, SecretTensor):
        raise NotOffered(
            f"aten::{full} would write a secret into a public tensor: make the target secret "
            f"first, for example with torch.zeros_like(secret)"
        )
    if not target.cell.writable:
        raise NotOffered(
            f"aten::{full} would change part of a secret tensor in place (such as x[0] = y): "
            f"build the whole tensor with torch.cat, torch.stack or torch.where"
        )


def _write(target: SecretTensor, value: Value, full: str) -> SecretTensor:
    if value.shape != tuple(target.shape):
        raise NotOffered(
            f"aten::{full} would change the shape of a secret tensor in place, from "
            f"{tuple(target.shape)} to {tuple(value.shape)}: use it out of place (a vector times "
            f"a matrix does so: use x[None] @ y)"
        )
    before = target.cell.value
    if isinstance(before, SecretArray) and isinstance(value, SecretArray):
        value = value.at(before.fraction)  # a parameter keeps its scale, whatever is added to it
    target.cell.value = value
    return target
