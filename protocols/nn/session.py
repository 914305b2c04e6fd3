"""A session: what a person holds to share tensors and models and to open what may be known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from kernels.machines import HOST, Memory
from mpc import __version__
from mpc.correlated.seeded import Source
from mpc.errors import NotOffered, ShapeMismatch, UsageError
from mpc.party import Party
from mpc.ring import BITS, Array, FixedPoint, Shape
from protocols.additive import AdditiveProtocol
from protocols.base import CHUNK, Opening
from protocols.bits import BitProtocol
from protocols.clear import Clear
from protocols.nn.announce import MOST_AXES, announced
from protocols.nn.cell import Cell
from protocols.nn.handover import encoded, handed, wanted, words
from protocols.nn.layers import watch
from protocols.nn.repeats import every
from protocols.nn.tensor import SecretTensor
from protocols.rep3 import Rep3Protocol
from protocols.secret import FORM, FRACTION, SecretArray, SecretBits

PROTOCOLS: dict[str, type[BitProtocol[Any]]] = {
    "rep3": Rep3Protocol,
    "additive": AdditiveProtocol,
    "clear": Clear,
}
M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")
R = TypeVar("R")


class Session:
    """One computation among the parties.

    Args:
        party: this party; None with the clear protocol.
        protocol: "rep3", "additive" or "clear".
        width: bits of a comparison. 64 is right for every value; fewer cost fewer bytes, and then
            every compared value must stay below 2^(width - 18) in absolute value,
            since what is compared is a difference.
        source: where "additive" has its correlated randomness from; the others need none.
        chunk: elements compared at once, a multiple of 64: more of them take fewer rounds and more
            memory, some 33 bytes each.

    Raises:
        OutOfStep: the parties run other versions, protocols, widths, sources or chunks.
    """

    def __init__(
        self,
        party: Party | None = None,
        *,
        protocol: str = "rep3",
        width: int = BITS,
        source: Source | None = None,
        chunk: int = CHUNK,
    ) -> None:
        """Compare version and settings with the peers, then agree on keys. Cost: 2 rounds."""
        if protocol not in PROTOCOLS:
            raise NotOffered(f"protocol {protocol!r}: choose {' or '.join(PROTOCOLS)}")
        if party is None and protocol != "clear":
            raise UsageError(f"{protocol} needs a party: start one with mpc.launch")
        if source is not None and protocol != "additive":
            raise UsageError(f"{protocol} uses no correlated randomness: leave the source out")
        if chunk < 64 or chunk % 64:
            raise NotOffered(f"chunk {chunk}: choose a multiple of 64")
        self.party = party
        if party is not None:
            # PyTorch and NumPy too: which operators arrive, and how numbers round, is up to them.
            settings = (
                f"radmpc {__version__} torch {torch.__version__} numpy {np.__version__} "
                f"{protocol} width={width} fraction={FRACTION} chunk={chunk} "
                f"{source.name if source else ''}"
            )
            what = "version, protocol, width, source or chunk"
            party.agree(hashlib.sha256(settings.encode()).digest(), what)
        more = {"source": source} if protocol == "additive" else {}
        self.protocol = PROTOCOLS[protocol](party, width=width, **more)
        self.protocol.chunk = chunk

    @property
    def openings(self) -> list[Opening]:
        """What was opened in this session, to whom and why."""
        return self.protocol.openings

    def share(
        self,
        x: torch.Tensor | Array | None,
        *,
        owner: int,
        shape: Shape | None = None,
    ) -> SecretTensor:
        """Share what one party holds.

        Args:
            x: the tensor at its owner, None elsewhere. Real numbers below 2^30, or integers. It is
                encoded where it lies if that is where this party keeps its shares.
            owner: the rank that holds it.
            shape: if every party gives the shape of a tensor of reals, no header is sent.

        Cost: 1 round and 8 bytes an element, and a header of 1 round unless the shape is given.

        Raises:
            RangeError: at the owner: NaN, infinity or too large, with counts.
            PeerError: at the others, when the owner refused its own input.
        """
        mine = self._is(owner)
        ring, kind, refusal = None, torch.float32, None
        if mine:
            try:
                ring, kind = encoded(x, self._memory, whole=shape is None)
                if ring.ndim > MOST_AXES:
                    raise UsageError(f"a tensor of {ring.ndim} axes: at most {MOST_AXES} are told")
                if shape is not None and ring.shape != tuple(shape):
                    raise ShapeMismatch(f"the tensor has shape {ring.shape}, not {tuple(shape)}")
            except UsageError as error:
                refusal = error
        is_told = shape is None
        if shape is None:
            known = None if refusal is not None or ring is None else (kind, ring.shape)
            kind, shape = announced(self.party, owner, known, refused=refusal is not None)
        elif refusal is not None and self.party is not None:  # a byte, where words are expected
            self.party.exchange({p: [np.zeros(1, np.uint8)] for p in self.party.others}, {})
        if refusal is not None:
            raise refusal
        kind = kind if is_told else torch.float32  # what all parties know of it
        fraction = FRACTION if kind.is_floating_point else 0
        with self.protocol.scope("share"):
            share = self.protocol.input(ring, tuple(shape), owner)
        return self.tensor(SecretArray(self.protocol, share, fraction), kind)

    def secure(self, model: M, *, owner: int = 0) -> M:
        """Share a model's parameters and floating-point buffers, in place.

        The model is returned, too. Every party passes one of the same architecture; only the
        owner's values count. Whole-number buffers, such as the count of batches, are public.

        Raises:
            OutOfStep: the architectures differ.
        """
        slots = list(_slots(model))
        if self.party is not None:
            plan = repr([(name, tuple(t.shape)) for name, _, _, t in slots]) + _layers(model)
            self.party.agree(hashlib.sha256(plan.encode()).digest(), "model architecture")
        flat = torch.cat([t.detach().reshape(-1).double() for *_, t in slots] or [torch.zeros(0)])
        mine = flat if self._is(owner) else None
        whole = self.share(mine, owner=owner, shape=tuple(flat.shape)).secret
        arrays, at = {}, 0
        for name, _, _, t in slots:
            arrays[name] = whole[at : at + t.numel()].reshape(*t.shape)
            at += t.numel()
        self.replace(model, arrays)
        return model

    def open(
        self,
        x: SecretTensor,
        *,
        reason: str,
        to: int | None = None,
        device: torch.device | str | None = None,
    ) -> torch.Tensor | None:
        """Reveal a tensor to all parties, or to one; the others get None.

        Args:
            x: the tensor.
            reason: why it may be known; it is kept in `openings` and in the manifest of a job.
            to: the rank that learns it.
            device: where this party wants it: on the host if not said. "cuda", or the party's own
                `device`: it is decoded on that card and does not pass through the host.

        Cost: 1 round, 8 bytes an element.

        Raises:
            UsageError: no reason, no such party, or a device where this party has no shares.
        """
        if not isinstance(x, SecretTensor):
            raise UsageError("only a secret tensor can be opened, and this one is not")
        value, (memory, place) = x.secret, wanted(device, self._memory)
        if isinstance(value, np.ndarray):
            return torch.as_tensor(value, dtype=x.dtype, device=place)
        if not isinstance(value, (SecretArray, SecretBits)):
            raise NotOffered("the places of a max-pool cannot be opened: they are kept as matches")
        array = value if isinstance(value, SecretArray) else value.ring()
        array = array.finer(max(array.fraction, 0))
        with self.protocol.scope("open"):
            (ring,) = self.protocol.open(
                array.share, reason=reason, to=to, what="tensor", memory=memory
            )
        if ring is None:
            return None
        form = FixedPoint(array.fraction, min(FORM.integer, 62 - array.fraction))
        return handed(ring, form, x.dtype)

    @property
    def rank(self) -> int:
        """This party's rank; 0 without parties."""
        return self.party.rank if self.party is not None else 0

    @property
    def size(self) -> int:
        """How many parties compute."""
        return self.party.size if self.party is not None else 1

    def tensor(self, value: SecretArray[Any], kind: torch.dtype = torch.float32) -> SecretTensor:
        """A secret array as a tensor."""
        return SecretTensor(Cell(value), self.protocol, kind)

    def array(
        self, terms: Sequence[Array | torch.Tensor], fraction: int = FRACTION
    ) -> SecretArray[Any]:
        """A secret array from this party's terms of it, as `share.terms` gives them.

        What lies where this party keeps its shares is not copied, so leave it as it is from then
        on. A tensor of int64 holds the ring elements' bits. The way back, without a copy, is
        `torch.from_dlpack(term).view(torch.int64)`.
        """
        mine = self.protocol.share_type(*(words(term, self._memory) for term in terms))
        return SecretArray(self.protocol, mine, fraction)

    def replace(self, model: nn.Module, arrays: Mapping[str, SecretArray[Any]]) -> None:
        """Put secret arrays in the place of a model's floating-point tensors, by name."""
        made: dict[int, torch.Tensor] = {}
        for name, module, slot, t in list(_slots(model)):
            if id(t) not in made:
                tensor = self.tensor(arrays[name], t.dtype)
                is_parameter = isinstance(t, nn.Parameter)
                made[id(t)] = nn.Parameter(tensor, t.requires_grad) if is_parameter else tensor
            table = module._parameters if slot in module._parameters else module._buffers
            table[slot] = made[id(t)]  # type: ignore[assignment]  # a parameter goes where one was
        if self.party is not None:
            watch(model, self.party.meter)

    def each(
        self, body: Callable[[T], R], things: Iterable[T], kind: Callable[[T], Hashable]
    ) -> list[R]:
        """See `Each`. What `body` returns is computed before it goes on to the next thing."""

        def computed(thing: T) -> R:
            result = body(thing)
            if isinstance(result, SecretTensor) and isinstance(result.secret, SecretArray):
                result.secret.settled()
            return result

        return every(computed, things, kind)

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Meter what happens inside under this place."""
        if self.party is None:
            yield
            return
        before, self.party.meter.place = self.party.meter.place, place
        try:
            yield
        finally:
            self.party.meter.place = before

    @property
    def _memory(self) -> Memory:
        return HOST if self.party is None else self.party.memory

    def _is(self, owner: int) -> bool:
        return self.party is None or self.party.rank == owner


def _layers(model: nn.Module) -> str:
    """What the layers say of themselves, such as strides; not where in memory they are."""
    said = "\n".join(
        f"{name} {type(m).__name__} {m.extra_repr()}" for name, m in model.named_modules()
    )
    return re.sub(r" at 0x[0-9a-f]+", "", said)


def _slots(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, torch.Tensor]]:
    for prefix, module in model.named_modules():
        for table in (module._parameters, module._buffers):
            for name, t in table.items():
                if t is not None and t.is_floating_point():
                    yield f"{prefix}.{name}" if prefix else name, module, name, t
