"""CrypTen's communicator over MPI, so that `mpirun -n k` starts its parties.

What all parties do together (opening, broadcasting, …) are rounds of a `Party`: a message of
another size than is expected is refused by name and written nowhere, and who does not answer is
named after a deadline. What two parties do alone has wires of its own (`wires`). MPI neither
authenticates nor encrypts: use it inside one trusted network, as CrypTen's own.

Objects of Python, such as sizes and the architecture of a model, travel as CrypTen has them: as a
pickle that the receiver reads by CrypTen's list of classes, which nothing here widens, with a
loader that sets attributes of what it makes itself only (`objects`).
"""

from __future__ import annotations

import os
import pickle
from typing import Any, ClassVar

import numpy as np
import torch
from torch.distributed import ReduceOp

from kernels import native
from mpc.errors import NotOffered, PeerError
from mpc.party import Buffer, Party
from mpc.ring import Array
from protocols.interop.crypten.counted import Counted, timed
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.objects import loads
from protocols.interop.crypten.overhead import setting
from protocols.interop.crypten.views import array_of, arrays_of, like
from protocols.interop.crypten.wires import Coming, Sent, Wires, as_bytes

DEADLINE_S = 600.0
CORES = native.threads()  # before any were left to other parties
_LENGTH = Buffer((1,), np.dtype(np.int64))
_LARGEST_OBJECT = 1 << 31
_JOINS: dict[Any, Any] = {
    ReduceOp.SUM: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and,
    ReduceOp.BOR: np.bitwise_or,
    ReduceOp.BXOR: np.bitwise_xor,
}


class MpiCommunicator(crypten.communicator.Communicator):  # type: ignore[misc]  # it has no types
    """One rank's end. `crypten.init()` makes it, on every rank together."""

    BYTES_PER_ELEMENT: ClassVar[int] = 8
    instance: ClassVar[MpiCommunicator | None] = None

    def __init__(self) -> None:
        """Take the ranks that mpirun started, and this rank's part of the machine's cores."""
        # A rank that waits lets others of its core go first.
        os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
        from mpi4py import MPI  # importing it initialises MPI

        self.reset_communication_stats()
        world = MPI.COMM_WORLD
        here = world.Split_type(MPI.COMM_TYPE_SHARED)
        native.threads(max(1, CORES // here.Get_size()))
        here.Free()
        self.party = Party(Counted(world, self._count), deadline_s=DEADLINE_S)
        self._wires = Wires(world, MPI, DEADLINE_S)
        self.rank, self.world_size = self.party.rank, self.party.size
        self._name = f"rank{self.rank}"

    def _count(self, nbytes: int) -> None:
        """A round that this party sent and received so many bytes in, as CrypTen counts them."""
        self._log_communication(nbytes / self.BYTES_PER_ELEMENT)

    # What CrypTen asks the class.

    @classmethod
    def is_initialized(cls) -> bool:
        """Whether there is a communicator."""
        return cls.instance is not None

    @classmethod
    def get(cls) -> MpiCommunicator | None:
        """The communicator of this process."""
        return cls.instance

    @classmethod
    def initialize(cls, rank: int = 0, world_size: int = 1, init_ttp: bool = False) -> None:
        """Make the communicator; which ranks there are is up to mpirun.

        Raises:
            NotOffered: a trusted third party, which only CrypTen's own launcher starts.
        """
        if init_ttp:
            raise NotOffered("CrypTen's trusted third party runs under its own launcher only")
        cls.instance = cls()

    @classmethod
    def shutdown(cls) -> None:
        """Give up the wires."""
        if cls.instance is not None:
            cls.instance.party.close()
            cls.instance._wires.close()
            cls.instance = None

    @classmethod
    def abandon(cls, reason: str) -> None:
        """After an error: tell the peers why. The wires stay as they are, for those still at it."""
        if cls.instance is not None:
            communicator, cls.instance = cls.instance, None
            communicator.party.close(reason)

    def get_world_size(self) -> int:
        """How many parties."""
        return self.world_size

    def get_rank(self) -> int:
        """Which party this is."""
        return self.rank

    def get_ttp_rank(self) -> int:
        """The rank that a trusted third party would have."""
        return self.world_size

    def set_name(self, name: str) -> None:
        """What this party is called."""
        if not isinstance(name, str):
            raise NotOffered("a party's name is a string")
        self._name = name

    def get_name(self) -> str:
        """What this party is called."""
        return self._name

    def get_distributed_backend(self) -> str:
        """Over what the parties talk."""
        return "mpi"

    # Between two parties.

    @timed
    def send(self, tensor: torch.Tensor, dst: int) -> None:
        """Send a tensor; returns when it may be changed."""
        self._sent(as_bytes(array_of(tensor)), dst).wait()

    @timed
    def recv(self, tensor: torch.Tensor, src: int | None = None) -> torch.Tensor:
        """A tensor like this one, from one party or any."""
        heard = np.empty(tuple(tensor.size()), array_of(tensor).dtype)
        self._coming(as_bytes(heard), src).wait()
        received: torch.Tensor = like(tensor, heard)
        return received

    @timed
    def isend(self, tensor: torch.Tensor, dst: int) -> Sent:
        """Begin to send a tensor."""
        return self._sent(as_bytes(array_of(tensor)), dst)

    @timed
    def irecv(self, tensor: torch.Tensor, src: int | None = None) -> Coming:
        """Begin to receive into a tensor's own memory."""
        if not tensor.data.is_contiguous() or tensor.data.is_cuda:
            raise NotOffered("irecv writes into contiguous tensors in main memory only")
        return self._coming(as_bytes(array_of(tensor)), src)

    @timed
    def send_obj(self, obj: Any, dst: int, group: Any = None) -> None:
        """Send an object that CrypTen's restricted loader takes."""
        raw = np.frombuffer(pickle.dumps(obj), np.uint8)
        for part in (np.array([raw.size]).view(np.uint8), raw):
            self._sent(part, dst).wait()

    @timed
    def recv_obj(self, src: int, group: Any = None) -> Any:
        """An object, if CrypTen's restricted loader takes it."""
        length = np.zeros(1, np.int64)
        self._coming(as_bytes(length), src).wait()
        raw = np.empty(_sensible(int(length[0])), np.uint8)
        self._coming(raw, src).wait()
        return loads(raw.tobytes())

    def _sent(self, array: Array, dst: int) -> Sent:
        if setting("communicator", "verbose"):
            self._count(array.nbytes)
        return self._wires.send(array, dst)

    def _coming(self, array: Array, src: int | None) -> Coming:
        if setting("communicator", "verbose"):
            self._count(array.nbytes)
        return self._wires.receive(array, src)

    # Of all parties: one round each.

    @timed
    def broadcast(self, input: Any, src: int, group: Any = None, batched: bool = False) -> Any:
        """One party's tensor, or list of tensors, put in place at all others."""
        tensors = input if batched else [input]
        if self.rank == src:
            self.party.exchange(dict.fromkeys(self.party.others, arrays_of(tensors)), {})
            return input
        heard = self.party.exchange({}, {src: _buffers(tensors)})[src]
        for mine, theirs in zip(tensors, heard, strict=True):
            mine.data.copy_(torch.from_numpy(theirs))
        return input

    @timed
    def scatter(
        self, scatter_list: Any, src: int, size: Any = None, device: Any = None
    ) -> torch.Tensor:
        """One tensor of a list to each party."""
        if self.rank == src:
            self.party.exchange({p: arrays_of([scatter_list[p]]) for p in self.party.others}, {})
            mine: torch.Tensor = scatter_list[self.rank].data
            return mine
        shape = tuple(scatter_list[self.rank].size() if size is None else size)
        (heard,) = self.party.exchange({}, {src: [Buffer(shape, _LENGTH.dtype)]})[src]
        return torch.from_numpy(heard).to(device)

    @timed
    def reduce(self, input: Any, dst: int, op: Any = ReduceOp.SUM, batched: bool = False) -> Any:
        """Join a tensor, or each of a list, of all parties; one learns the result."""
        tensors = input if batched else [input]
        if self.rank != dst:
            self.party.exchange({dst: arrays_of(tensors)}, {})
            return None
        heard = self.party.exchange({}, dict.fromkeys(self.party.others, _buffers(tensors)))
        return _joined(tensors, heard, op, batched)

    @timed
    def all_reduce(self, input: Any, op: Any = ReduceOp.SUM, batched: bool = False) -> Any:
        """Join a tensor, or each of a list, of all parties; all learn the result."""
        tensors = input if batched else [input]
        send = dict.fromkeys(self.party.others, arrays_of(tensors))
        heard = self.party.exchange(send, dict.fromkeys(self.party.others, _buffers(tensors)))
        return _joined(tensors, heard, op, batched)

    @timed
    def gather(self, tensor: torch.Tensor, dst: int) -> list[torch.Tensor | None]:
        """Each party's tensor, by rank, at one party."""
        if self.rank != dst:
            self.party.exchange({dst: arrays_of([tensor])}, {})
            return [None]
        heard = self.party.exchange({}, dict.fromkeys(self.party.others, _buffers([tensor])))
        return [*self._by_rank(tensor, heard)]

    @timed
    def all_gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Each party's tensor, by rank."""
        send = dict.fromkeys(self.party.others, arrays_of([tensor]))
        heard = self.party.exchange(send, dict.fromkeys(self.party.others, _buffers([tensor])))
        return self._by_rank(tensor, heard)

    @timed
    def barrier(self) -> None:
        """Until all parties are here."""
        self.party.broadcast(np.zeros(1, np.uint8))

    @timed
    def broadcast_obj(self, obj: Any, src: int, group: Any = None) -> Any:
        """One party's object at all, if CrypTen's restricted loader takes it. 2 rounds."""
        if self.rank == src:
            raw = np.frombuffer(pickle.dumps(obj), np.uint8)
            for part in (np.array([raw.size]), raw):
                self.party.exchange(dict.fromkeys(self.party.others, (part,)), {})
            return obj
        (length,) = self.party.exchange({}, {src: [_LENGTH]})[src]
        body = Buffer((_sensible(int(length[0])),), np.dtype(np.uint8))
        (raw,) = self.party.exchange({}, {src: [body]})[src]
        return loads(raw.tobytes())

    def _by_rank(self, mine: torch.Tensor, heard: dict[int, list[Array]]) -> list[torch.Tensor]:
        others = {peer: like(mine, arrays[0]) for peer, arrays in heard.items()}
        return [mine.data.clone() if p == self.rank else others[p] for p in range(self.world_size)]


def _buffers(tensors: Any) -> list[Buffer]:
    arrays = arrays_of(tensors)
    return [Buffer.like(array) for array in arrays]


def _joined(tensors: Any, heard: dict[int, list[Array]], op: Any, batched: bool) -> Any:
    """What was heard joined with one's own, in place of what was heard first."""
    if op not in _JOINS:
        raise NotOffered(f"all parties' tensors cannot be joined by {op}")
    results = []
    for i, tensor in enumerate(tensors):
        first, *others = (arrays[i] for arrays in heard.values())
        for array in (array_of(tensor), *others):
            _JOINS[op](first, array, out=first)
        results.append(like(tensor, first))
    return results if batched else results[0]


def _sensible(length: int) -> int:
    if not 0 < length < _LARGEST_OBJECT:
        raise PeerError(f"a peer announced an object of {length} bytes")
    return length
