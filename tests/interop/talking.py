"""Programs about wires, streams, and how a computation begins and ends."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mpc.errors import OutOfStep, PeerError, UsageError
from protocols.interop.crypten import accelerate, engine, wires
from protocols.interop.crypten.importing import crypten
from tests.interop.given import SETS_DEFAULTS, close, drawn, same, shared


def masks_do_not_come_from_torchs_generators():
    rng, made = crypten.common.rng, []
    for _ in range(2):
        for table in crypten.generators.values():
            for generator in table.values():
                generator.manual_seed(1)
        torch.manual_seed(1)
        made.append(rng.generate_random_ring_element((64,)))
        made.append(crypten.mpc.primitives.ArithmeticSharedTensor.PRZS((64,)).share)
        made.append(crypten.mpc.primitives.BinarySharedTensor.PRZS((64,)).share)
    for i, a in enumerate(made):
        for b in made[i + 1 :]:
            assert not (a == b).any()


def sharings_of_zero_are_of_zero():
    primitives = crypten.mpc.primitives
    assert not primitives.ArithmeticSharedTensor.PRZS((3, 4)).reveal().any()
    assert not primitives.BinarySharedTensor.PRZS((3, 4)).reveal().any()
    assert primitives.ArithmeticSharedTensor.PRZS((3, 4)).share.bool().all()


def masks_have_the_range_that_was_asked_for():
    rng = crypten.common.rng
    bits = rng.generate_kbit_random_tensor((4000,), bitlength=3)
    assert set(bits.tolist()) == set(range(8))
    few = rng.generate_random_ring_element((4000,), ring_size=10)
    assert set(few.tolist()) == set(range(-5, 5))
    signs = rng.generate_random_ring_element((4000,)) < 0
    assert 1700 < signs.sum() < 2300


def what_all_parties_do_together_is_what_pytorch_does():
    communicator = crypten.communicator.get()
    rank, size = communicator.get_rank(), communicator.get_world_size()
    mine = torch.arange(6).reshape(2, 3) + 10 * rank
    every = [torch.arange(6).reshape(2, 3) + 10 * r for r in range(size)]
    op = torch.distributed.ReduceOp
    assert torch.equal(communicator.all_reduce(mine), sum(every))
    assert torch.equal(communicator.all_reduce(mine, op=op.MAX), every[-1])
    total, other = communicator.all_reduce([mine, mine[0]], batched=True)
    assert torch.equal(total, sum(every)) and torch.equal(other, sum(every)[0])
    xor = communicator.all_reduce(mine, op=op.BXOR)
    assert torch.equal(xor, torch.from_numpy(np.bitwise_xor.reduce([e.numpy() for e in every])))
    got = communicator.reduce(mine, 1)
    assert torch.equal(got, sum(every)) if rank == 1 else got is None
    assert all(map(torch.equal, communicator.all_gather(mine), every))
    got = communicator.gather(mine, 0)
    assert all(map(torch.equal, got, every)) if rank == 0 else got == [None]
    got = communicator.scatter(every if rank == 1 else None, 1, size=(2, 3))
    assert torch.equal(got, mine)
    assert torch.equal(communicator.broadcast(mine.clone(), 1), every[1])
    both = communicator.broadcast([mine.clone(), mine[0].double()], 0, batched=True)
    assert torch.equal(both[0], every[0]) and torch.equal(both[1], every[0][0].double())
    assert torch.equal(mine, every[rank])
    communicator.barrier()


def two_parties_may_talk_alone():
    communicator = crypten.communicator.get()
    rank, size = communicator.get_rank(), communicator.get_world_size()
    if rank == 0:
        communicator.send(torch.arange(5), 1)
        requests = [communicator.isend(torch.full((3,), k), 1) for k in range(20)]
        for request in requests:
            request.wait()
        communicator.send_obj(torch.Size((3, 4)), 1)
    if rank == 1:
        assert torch.equal(communicator.recv(torch.zeros(5, dtype=torch.long), 0), torch.arange(5))
        buffers = [torch.zeros(3, dtype=torch.long) for _ in range(20)]
        requests = [communicator.irecv(b, src=0) for b in buffers]
        for request in reversed(requests):
            request.wait()
            assert request.is_completed()
        assert all(torch.equal(b, torch.full((3,), k)) for k, b in enumerate(buffers))
        assert communicator.recv_obj(0) == torch.Size((3, 4))
    if rank == size - 1:
        communicator.send(torch.tensor([7.5]), 0)
    if rank == 0:
        assert communicator.recv(torch.zeros(1)).item() == 7.5  # from any
    communicator.barrier()


def objects_are_read_by_cryptens_restricted_loader_alone():
    communicator = crypten.communicator.get()
    rank = communicator.get_rank()
    for obj in ((2, 3), torch.Size((4,)), "text", {"a": [1.5, None]}, nn.Linear(2, 3)):
        got = communicator.broadcast_obj(obj if rank == 0 else None, 0)
        assert type(got) is type(obj)
    if rank == 0:
        communicator.broadcast_obj(Path("/"), 0)  # a class that is not on CrypTen's list
    else:
        with pytest.raises(ValueError, match="restricted"):
            communicator.broadcast_obj(None, 0)
    if rank == 0:
        communicator.send_obj(pickle.Unpickler, 1)
    elif rank == 1:
        with pytest.raises(ValueError, match="restricted"):
            communicator.recv_obj(0)


def a_message_of_another_size_is_written_nowhere():
    communicator = crypten.communicator.get()
    if communicator.get_rank() == 0:
        communicator.send(torch.arange(9), 1)
    if communicator.get_rank() == 1:
        buffer = torch.zeros(4, dtype=torch.long)
        with pytest.raises(OutOfStep, match="party 0 sent 72 bytes, not 32"):
            communicator.irecv(buffer, src=0).wait()
        assert not buffer.any()
        with pytest.raises(OutOfStep, match="72 bytes"):  # nor does anybody else wait in vain
            communicator.recv(buffer, src=0)
        with pytest.raises(OutOfStep, match="72 bytes"):
            communicator.isend(buffer, 0)
    communicator.barrier()
    crypten.uninit()
    crypten.init()


def what_is_under_way_is_kept_though_the_caller_drops_it():
    communicator = crypten.communicator.get()
    if communicator.get_rank() == 0:
        communicator.isend(torch.arange(1 << 18), 1)  # too large to go before it is asked for
        assert len(wires._UNDER_WAY) == 1
    communicator.barrier()
    if communicator.get_rank() == 1:
        got = communicator.recv(torch.zeros(1 << 18, dtype=torch.long), 0)
        assert torch.equal(got, torch.arange(1 << 18))
        communicator.send(torch.zeros(1), 0)
    if communicator.get_rank() == 0:
        communicator.recv(torch.zeros(1), 1)
        while wires._UNDER_WAY:
            communicator.send(torch.zeros(1), 0)
            communicator.recv(torch.zeros(1), 0)
    communicator.barrier()


def objects_that_set_attributes_of_functions_are_refused():
    communicator = crypten.communicator.get()
    if communicator.get_rank() == 0:
        raw = np.frombuffer(SETS_DEFAULTS, np.uint8)
        for part in (np.array([raw.size]), raw):
            communicator.send(torch.from_numpy(part.copy()), 1)
    if communicator.get_rank() == 1:
        with pytest.raises(PeerError, match="sets attributes"):
            communicator.recv_obj(0)
        assert torch._utils._rebuild_tensor_v2.__defaults__ == (None,)
    communicator.barrier()


def communication_is_counted_with_our_rounds():
    communicator = crypten.communicator.get()
    x = shared(drawn(1, 64))
    x.relu()
    communicator.reset_communication_stats()
    with crypten.cfg.temp_override({"communicator.verbose": True}):
        communicator.all_reduce(torch.zeros(5, dtype=torch.long))
        others = communicator.get_world_size() - 1
        assert communicator.get_communication_stats()["bytes"] == 80 * others
        x.relu()
    counted = communicator.get_communication_stats()
    assert counted["rounds"] == 1 + 4 and counted["bytes"] >= others * (80 + 2 * 64 * 8)
    assert communicator.get_distributed_backend() == "mpi"


def another_provider_or_checks_keep_cryptens_own_steps():
    for setting in ({"mpc.active_security": True}, {"mpc.provider": "TTP"}):
        with crypten.cfg.temp_override(setting):
            assert not engine.stands_in()
    crypten.trace()  # tuples are to be asked of CrypTen's provider
    assert not engine.stands_in()
    crypten.trace(False)
    assert engine.stands_in()
    x = drawn(4, 3, 3)
    with crypten.cfg.temp_override({"mpc.active_security": True}):
        close(shared(x) * shared(x), x * x)


def run_multiprocess_runs_in_place():
    communicator = crypten.communicator.get()
    rank, size = communicator.get_rank(), communicator.get_world_size()

    @crypten.mpc.run_multiprocess(world_size=size)
    def program(add):
        return crypten.communicator.get().get_rank() + add

    expected = [None] * size
    expected[rank] = rank + 5
    assert program(5) == expected
    with pytest.raises(UsageError, match="mpirun -n 9"):
        crypten.mpc.run_multiprocess(world_size=9)(program)()
    with pytest.raises(UsageError, match="uninit"):
        accelerate().undo()


def a_function_that_fails_takes_the_wires_it_made_with_it():
    size = crypten.communicator.get().get_world_size()
    crypten.communicator.get().barrier()
    crypten.uninit()

    @crypten.mpc.run_multiprocess(world_size=size)
    def program(fails):
        if fails:
            raise ZeroDivisionError
        return 5

    with pytest.raises(ZeroDivisionError):
        program(True)
    assert not crypten.is_initialized()
    with pytest.raises(UsageError, match="mpirun -n 9"):
        crypten.mpc.run_multiprocess(world_size=9)(program)(False)
    assert not crypten.is_initialized()
    assert 5 in program(False)
    crypten.init()


def crypten_may_be_ended_and_begun_again():
    crypten.uninit()
    assert not crypten.is_initialized()
    crypten.init()
    x = drawn(6, 2, 70)
    same(shared(x).relu(), x.relu())
