"""Arrays that stand for a card's: NumPy's memory, a kind of their own, worked on by the emulator.

They are as strict as CuPy's where it differs from NumPy: no array of the host may meet them in a
function or an operator, be written into them or come out of them, but as an index; of reductions
by operators there are only those that CuPy has; an element is an array without axes, and a view.
What CuPy makes anew lies in order, whatever the order of what it was made of: its ufuncs and its
concatenations allocate so (cupy/_core/_kernel.pyx, `_get_out_args_from_optionals`;
cupy/_core/_routines_manipulation.pyx, `concatenate_method`). What is computed waits for what the
thread's stream was told before, so that copies may be late (see `streams`).

With RADMPC_TEST_CARD=cuda they are CuPy's own.
"""

from typing import Any

import numpy as np

from kernels.cuda import card
from kernels.cuda.launch import Gpu
from kernels.cuda.machine import cuda_machine
from kernels.cuda.staging import Staging
from kernels.machines import Memory, make_known
from tests.kernels import emulator, streams

REDUCTIONS = ("add", "multiply", "maximum", "minimum")  # that CuPy's operators have
INDEXING = ("take",)  # whose arguments after the first are indices


def _has_host(a: Any) -> bool:
    return any(map(_has_host, a)) if isinstance(a, list | tuple) else type(a) is np.ndarray


def _plain(a: Any) -> Any:
    if isinstance(a, list | tuple):
        return type(a)(map(_plain, a))
    return a.view(np.ndarray) if isinstance(a, StandIn) else a


class StandIn(streams.Copied):
    """An array as a card would have it."""

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        watched = args[:1] if function.__name__ in INDEXING else args
        if _has_host(watched) or _has_host([*kwargs.values()]):
            raise TypeError(f"{function.__name__} of a card's array and one of the host")
        streams.get_current_stream().synchronize()
        return on_card(function(*_plain(args), **{k: _plain(v) for k, v in kwargs.items()}))

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any
    ) -> Any:
        if method == "reduce" and ufunc.__name__ not in REDUCTIONS:
            raise NotImplementedError(f"CuPy has no {ufunc.__name__}.reduce")
        watched = (inputs[0], *inputs[2:]) if method == "at" else inputs
        if _has_host([*watched, *(out or ())]):
            raise TypeError(f"{ufunc.__name__} of a card's array and one of the host")
        streams.get_current_stream().synchronize()
        if out is not None:
            kwargs["out"] = _plain(out)
        found = getattr(ufunc, method)(*_plain(inputs), **kwargs)
        return out[0] if out is not None else on_card(found)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, np.generic):
            found = super().__getitem__((*(key if isinstance(key, tuple) else (key,)), ...))
        return on_card(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        if _has_host(value):
            raise ValueError("an array of the host is written into a card's")
        streams.get_current_stream().synchronize()
        super().__setitem__(key, value)


class Library:
    """NumPy, making arrays on the card."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if isinstance(function, type) or not callable(function):
            return function
        return lambda *args, **kwargs: on_card(function(*_plain(args), **kwargs))


def launch(source, kernel, grid, block, arguments, shared=0):
    """The emulator's, for arrays that are on the card."""
    for a in arguments:
        assert type(a) in (StandIn, int), f"{kernel} was given a {type(a).__name__} of the host"
    streams.get_current_stream().synchronize()
    emulator.emulate(source, kernel, grid, block, arguments, shared)


def on_card(found: Any) -> Any:
    """What came out of NumPy, as a card would have it."""
    if isinstance(found, list | tuple):
        return type(found)(map(on_card, found))
    if emulator.ON_A_CARD:
        return CARD.put(found) if isinstance(found, np.ndarray) else found
    if isinstance(found, np.generic):
        found = np.asarray(found)
    if isinstance(found, np.ndarray) and found.base is None and not found.flags.c_contiguous:
        found = np.array(found, order="C")
    return found.view(StandIn) if isinstance(found, np.ndarray) else found


if emulator.ON_A_CARD:
    CARD = card.use(0)
    OnCard = CARD.xp.ndarray
else:
    GPU = Gpu(Library(), launch, cores=emulator.GPU.cores, shared_bytes=emulator.GPU.shared_bytes)
    STAGING = Staging(*streams.modules())
    CARD = Memory(
        GPU.xp,
        cuda_machine(GPU),
        STAGING.get,
        STAGING.crossing,
        STAGING.settle,
        device=lambda: "cuda:0",
    )
    OnCard = StandIn
    make_known(OnCard, CARD)
