"""What this party computes with, made once for each of CrypTen's communicators."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from kernels import native
from mpc.errors import PeerLost
from mpc.party import Party
from mpc.ring import Array
from mpc.sources.first_party import FirstPartySource
from mpc.transport.base import Incoming, Outgoing
from protocols.additive import AdditiveProtocol
from protocols.interop.crypten.communicator import CORES, MpiCommunicator
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.masks import Masks, agree
from protocols.interop.crypten.overhead import setting


@dataclass
class Engine:
    """Masks from the start; a protocol from the first step that asks for one."""

    communicator: Any
    masks: Masks | None = None
    _protocol: AdditiveProtocol | None = field(default=None, repr=False)

    @property
    def protocol(self) -> AdditiveProtocol:
        """Our additive sharing among CrypTen's parties. The first time: 2 rounds."""
        if self._protocol is None:
            party = _party(self.communicator)
            self._protocol = AdditiveProtocol(party, source=FirstPartySource(party))
        return self._protocol


_NAME = "_radmpc_engine"  # an attribute of the communicator, so that both are let go together
_TFP = vars(crypten.mpc)["__SUPPORTED_PROVIDERS"]["TFP"]  # CrypTen's one trusted first party
_ONE_AT_A_TIME = threading.Lock()  # CrypTen's parties may be threads of one process


def current() -> Engine:
    """The engine of the communicator that CrypTen uses now, in this thread."""
    communicator = crypten.communicator.get()
    with _ONE_AT_A_TIME:
        if _NAME not in vars(communicator):
            setattr(communicator, _NAME, Engine(communicator))
        engine: Engine = vars(communicator)[_NAME]
        return engine


def start() -> None:
    """Agree on keys. Every party calls it, when CrypTen has made its communicator."""
    engine = current()
    engine.masks = agree(engine.communicator)


def stands_in() -> bool:
    """Whether our protocol may stand in for CrypTen's now, with no more trust than it asks for.

    It may where CrypTen's default holds: rank 0 makes what correlated randomness there is, and
    nobody checks it. With a trusted third party, or with checks, CrypTen's own steps are taken; so
    they are while tuples are traced or served from a cache, and where parties are threads, since
    their mailbox knows no senders.
    """
    communicator = crypten.communicator.get()
    return (
        setting("mpc", "provider") == "TFP"
        and not setting("mpc", "active_security")
        and not (_TFP.tracing or _TFP.tuple_cache)
        and communicator.get_world_size() > 1
        and not isinstance(communicator, crypten.communicator.InProcessCommunicator)
    )


def _party(communicator: Any) -> Party:
    if isinstance(communicator, MpiCommunicator):
        return communicator.party
    # CrypTen started the parties on one machine: they share its cores.
    native.threads(max(1, CORES // communicator.get_world_size()))
    return Party(OverCrypTen(communicator))


class OverCrypTen:
    """CrypTen's communicator as the wires of a party: rounds are its `isend` and `irecv`."""

    def __init__(self, communicator: Any) -> None:
        """Take the communicator; nothing is sent yet."""
        self._communicator = communicator
        self.rank, self.size = communicator.get_rank(), communicator.get_world_size()

    def exchange(self, step: int, send: Outgoing, receive: Incoming, deadline_s: float) -> None:
        """See `Transport.exchange`. The deadline is that of CrypTen's back end."""
        try:
            self._exchange(send, receive)
        except RuntimeError:  # gloo's
            raise PeerLost(f"step {step}: CrypTen's own wires failed") from None

    def _exchange(self, send: Outgoing, receive: Incoming) -> None:
        waiting = [
            self._communicator.isend(_bytes(array), peer)
            for peer, arrays in _in_order(send)
            for array in arrays
            if array.nbytes
        ]
        waiting += [
            self._communicator.irecv(_bytes(array), src=peer)
            for peer, arrays in _in_order(receive)
            for array in arrays
            if array.nbytes
        ]
        for request in waiting:
            request.wait()

    def close(self, reason: str | None = None) -> None:
        """Nothing: the wires are CrypTen's."""


def _in_order(arrays: Mapping[int, Any]) -> list[tuple[int, Any]]:
    return sorted(arrays.items())


def _bytes(array: Array) -> torch.Tensor:
    # As words where it can be: CrypTen counts eight bytes for every element.
    flat = array.reshape(-1).view("u1" if array.nbytes % 8 else "i8")
    return torch.from_numpy(flat if flat.flags.writeable else flat.copy())
