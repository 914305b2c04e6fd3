"""What peers send and what wires do that they should not, without MPI."""

import gc
import io
import pickle
import weakref

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("protocols.interop.crypten", exc_type=ImportError)

from mpc.errors import PeerError, PeerLost
from mpc.party import Buffer, Party
from protocols.interop.crypten import accelerate, engine
from protocols.interop.crypten.communicator import MpiCommunicator
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.objects import loads
from tests.interop.given import SETS_DEFAULTS

LAYERS = [
    nn.Linear(2, 3),
    nn.Conv2d(1, 2, 3, padding=1),
    nn.BatchNorm2d(2),
    nn.Softmax(1),
    nn.Flatten(),
    nn.CrossEntropyLoss(),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_layers_are_read_as_cryptens_loader_reads_them(layer):
    raw = pickle.dumps(layer)
    got, theirs = loads(raw), crypten.common.serial.restricted_loads(raw)
    assert type(got) is type(layer) and repr(got) == repr(theirs)
    assert got.state_dict().keys() == layer.state_dict().keys()
    assert all(map(torch.equal, got.state_dict().values(), layer.state_dict().values()))


def test_sizes_tensors_and_containers_are_read():
    for obj in (3, (2, 3), torch.Size((4,)), {"a": [1.5, None]}, {1, 2}):
        assert loads(pickle.dumps(obj)) == obj
    for dtype in (torch.long, torch.float, torch.double, torch.bool):
        x = torch.arange(6).reshape(2, 3).to(dtype)
        assert torch.equal(loads(pickle.dumps(x)), x)


def in_a_storage(raw):
    """The pickle of a storage whose own pickles hold another."""
    whole = io.BytesIO()
    torch.save(torch.zeros(1).untyped_storage(), whole, _use_new_zipfile_serialization=False)
    at, parts = 0, []
    for _ in range(3):  # a magic number, a version and what machine it was
        start = at
        reader = io.BytesIO(whole.getvalue()[at:])
        pickle._Unpickler(reader).load()
        at += reader.tell()
        parts.append(whole.getvalue()[start:at])

    class Storage:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (b"".join(parts) + raw,)

    return pickle.dumps(Storage())


def test_attributes_of_functions_and_classes_are_not_set():
    of_class = b"\x80\x02ctorch.nn.modules.linear\nLinear\n}X\x07\x00\x00\x00forwardK\x01sb."
    state = b"\x80\x02ctorch.nn.modules.linear\nLinear\nN}X\x07\x00\x00\x00forwardK\x01s\x86b."
    before = nn.Linear.forward
    for raw in (SETS_DEFAULTS, of_class, state):
        for sent in (raw, in_a_storage(raw)):
            with pytest.raises(PeerError, match="sets attributes"):
                loads(sent)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == (None,)
    assert nn.Linear.forward is before


def test_cryptens_own_wires_read_objects_so_too():
    with accelerate(mpi=False), pytest.raises(PeerError, match="sets attributes"):
        crypten.common.serial.restricted_loads(SETS_DEFAULTS)


def test_what_is_not_on_cryptens_list_is_refused():
    for raw in (pickle.dumps(pickle.Unpickler), in_a_storage(pickle.dumps(pickle.Unpickler))):
        with pytest.raises(ValueError, match="restricted"):
            loads(raw)


class Broken:
    """A communicator whose wires fail, with words that quote what they carry."""

    def get_rank(self):
        return 0

    def get_world_size(self):
        return 2

    def isend(self, tensor, dst):
        raise RuntimeError(f"gloo: lost {tensor.tolist()}")


def test_cryptens_wires_that_fail_close_the_party_and_quote_nothing():
    party = Party(engine.OverCrypTen(Broken()))
    for message in ("step 1: CrypTen's own wires failed$", "closed at step 1"):
        with pytest.raises(PeerError, match=message) as caught:
            party.exchange({1: [np.array([77], np.uint64)]}, {1: [Buffer((1,))]})
        assert "77" not in str(caught.value)
        assert isinstance(caught.value, PeerLost) == message.startswith("step")


def test_an_engine_goes_with_its_communicator(monkeypatch):
    held = [Broken()]
    monkeypatch.setattr(crypten.communicator, "get", lambda: held[0])
    assert engine.current() is engine.current()
    gone = weakref.ref(held.pop())
    gc.collect()
    assert gone() is None


def test_leaving_by_an_error_hides_it_by_no_other(monkeypatch):
    class Running:
        def __init__(self):
            self.party, self.said = self, None

        def close(self, reason):
            self.said = reason

    running, before = Running(), crypten.mpc.MPCTensor.relu
    with pytest.raises(ZeroDivisionError), accelerate(mpi=True):
        monkeypatch.setattr(MpiCommunicator, "instance", running)
        raise ZeroDivisionError
    assert running.said == "ZeroDivisionError"
    assert not MpiCommunicator.is_initialized() and crypten.mpc.MPCTensor.relu is before
