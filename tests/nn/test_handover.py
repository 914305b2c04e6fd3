"""What lies where a party keeps its shares goes to and from PyTorch without a copy, bit for bit."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from kernels import machines
from kernels.machines import HOST, on_host
from mpc.errors import RangeError, UsageError
from mpc.launch import run_parties
from mpc.sources import InsecureSource
from protocols.nn import Session
from tests.kernels.emulator import ON_A_CARD
from tests.kernels.oncard import CARD, OnCard
from tests.nn.both import PARTIES, reals, shared

THERE = "cuda:0" if ON_A_CARD else "cpu"  # PyTorch's tensors on the CPU stand for those on a card
INPUTS = [
    reals(1, 3, 4),
    reals(2, 3, 4).float().t(),
    torch.tensor(2.5),
    torch.ones(2).expand(3, 2),
    torch.arange(6).reshape(2, 3),
    torch.tensor([True, False]),
    torch.zeros(0, 3),
    reals(3, 5).half(),
    torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    reals(4, 3).requires_grad_(),
    torch.view_as_complex(reals(3, 2)).conj().imag,  # whose sign PyTorch has only noted
    torch._efficientzerotensor(3),  # and these have no memory at all
]


@pytest.fixture
def watched(monkeypatch):
    """A card that PyTorch's tensors lie on, too, and the types of what was copied from it."""
    if ON_A_CARD and not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    copied = []

    def get(a):
        copied.append(a.dtype.name)
        return CARD.get(a)

    memory = replace(CARD, get=get, device=lambda: THERE)
    monkeypatch.setitem(machines._KNOWN, OnCard, memory)
    return memory, copied


def session_of(party):
    if party.size == 3:
        return Session(party)
    return Session(party, protocol="additive", source=InsecureSource(party))


def at_parties(protocol, program, memory):
    size = PARTIES[protocol]
    seeds = [bytes([rank]) * 32 for rank in range(size)]
    return run_parties(size, lambda p: program(session_of(p)), seeds=seeds, memory=memory)


@pytest.mark.parametrize("protocol", PARTIES)
def test_a_tensor_on_the_partys_card_is_shared_there_into_the_same_terms(protocol, watched):
    memory, copied = watched

    def program(device):
        def shares(session):
            mine = [x.to(device) if session.rank == 0 else None for x in INPUTS]
            made = [session.share(x, owner=0) for x in mine]
            return [(x.dtype, term) for x in made for term in x.secret.share.terms]

        return shares

    here = at_parties(protocol, program("cpu"), HOST)
    there = at_parties(protocol, program(THERE), memory)
    assert set(copied) <= {"uint64"}  # shares that are sent, and no input
    for one, two in zip(here, there, strict=True):
        for (kind, a), (other, b) in zip(one, two, strict=True):
            assert kind == other and type(b) is OnCard and np.array_equal(a, on_host(b))


@pytest.mark.parametrize(
    "x, says",
    [
        (torch.tensor([1.0, float("nan"), 2.0]), r"1 of 3 numbers .*\(NaN 1, infinite 0, too"),
        (torch.tensor([float("inf"), 1e308, 2.0**30], dtype=torch.float64), "infinite 1, .* 2"),
        (torch.tensor([2**30]), "too large 1"),
    ],
)
def test_a_card_refuses_what_the_host_refuses(x, says, watched):
    memory, copied = watched
    for where, device in ((HOST, "cpu"), (memory, THERE)):
        with pytest.raises(RangeError, match=says):
            at_parties("rep3", lambda s, to=device: shared(s, x.to(to)), where)
    assert "float64" not in copied


@pytest.mark.parametrize("protocol", PARTIES)
@pytest.mark.parametrize("to", [None, 0])
def test_what_is_opened_to_a_card_is_decoded_there_and_is_what_the_host_gets(protocol, to, watched):
    memory, copied = watched

    def program(session):
        found = []
        for x in INPUTS:
            for device in (None, THERE):
                t = shared(session, x)
                found.append(session.open(t, reason="test", to=to, device=device))
        return found

    for rank, found in enumerate(at_parties(protocol, program, memory)):
        for x, here, there in zip(INPUTS, found[::2], found[1::2], strict=True):
            if to not in (None, rank):
                assert here is there is None
                continue
            assert (str(here.device), str(there.device)) == ("cpu", THERE)
            assert here.dtype == there.dtype and torch.equal(here, there.cpu())
            assert torch.equal(here.double(), x.detach().double())
    assert set(copied) <= {"uint64"}


def test_an_opening_to_a_card_copies_nothing_but_what_is_sent(watched):
    memory, copied = watched

    def program(party):
        session = Session(party)
        x = shared(session, torch.ones(3))
        for device in (None, THERE):
            x = session.tensor(session.array(x.secret.share.terms))
            party.broadcast(np.zeros(1, np.uint8))
            before = len(copied)
            party.broadcast(np.zeros(1, np.uint8))
            session.open(x, reason="test", device=device)
            party.broadcast(np.zeros(1, np.uint8))
            yield len(copied) - before

    for with_host, without in run_parties(3, lambda party: list(program(party)), memory=memory):
        assert without == with_host - 3  # one at each party


def test_a_public_value_is_opened_to_a_card_too(watched):
    def program(session):
        x = torch.ones_like(shared(session, torch.zeros(2)))
        return session.open(x, reason="test", device=THERE)

    for found in at_parties("rep3", program, watched[0]):
        assert str(found.device) == THERE and found.tolist() == [1, 1]


REFUSED = [
    (HOST, "cuda", "shares on cpu: open without a device, and move .*'cuda'"),
    (HOST, "cuda:1", "shares on cpu: open without a device, and move .*'cuda:1'"),
    (CARD, "cuda:1", "shares on cuda:0: open without a device, and move .*'cuda:1'"),
    (CARD, "cuda", "this PyTorch, .*, can use no card: install one for CUDA"),
    (CARD, torch.device("cuda:0"), "this PyTorch, .*, can use no card"),
    (CARD, "meta", "shares on cuda:0: open without a device"),
    (CARD, "gpu", "no device 'gpu': choose cpu or cuda:0"),
]


@pytest.mark.parametrize("memory, device, says", REFUSED)
def test_where_an_opening_cannot_be_handed_over_one_line_says_what_to_do(
    monkeypatch, memory, device, says
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def program(session):
        x = shared(session, torch.ones(2))
        with pytest.raises(UsageError, match=says) as refused:
            session.open(x, reason="test", device=device)
        assert "\n" not in str(refused.value) and not session.openings
        return session.open(x, reason="test", device="cpu")

    for found in at_parties("rep3", program, memory):
        assert found.tolist() == [1, 1]


def both_memories():
    return [pytest.param(HOST, id="host"), pytest.param(None, id="card")]


@pytest.mark.parametrize("memory", both_memories())
@pytest.mark.parametrize("protocol", PARTIES)
def test_terms_go_to_pytorch_and_back_without_a_copy(protocol, memory, watched):
    memory = memory or watched[0]

    def program(session):
        x = shared(session, reals(1, 3, 2))
        terms = x.secret.share.terms
        tensors = [torch.from_dlpack(term).view(torch.int64) for term in terms]
        again = session.array(tensors)
        for term, tensor, back in zip(terms, tensors, again.share.terms, strict=True):
            assert type(back) is type(term) and back.dtype == np.uint64
            assert tensor.data_ptr() == torch.from_dlpack(back).data_ptr()
            tensor += 0
            assert np.array_equal(on_host(back), on_host(term))
        signless = session.array([tensor.view(torch.uint64) for tensor in tensors])
        return [session.open(session.tensor(s), reason="test") for s in (again, signless)]

    for found in at_parties(protocol, program, memory):
        assert all(torch.equal(y.double(), reals(1, 3, 2)) for y in found)


def test_terms_that_lie_elsewhere_are_put_on_the_partys_card():
    def program(session):
        mine = [torch.full((2,), n << 16) for n in (session.rank, (session.rank + 1) % 3)]
        array = session.array(mine)
        assert {type(term) for term in array.share.terms} == {OnCard}
        return session.open(session.tensor(array), reason="test")

    for found in at_parties("rep3", program, CARD):
        assert found.tolist() == [3, 3]


def test_terms_that_are_no_ring_elements_or_themselves_secret_are_refused():
    session = Session(None, protocol="clear")
    for term in (torch.ones(2), torch.ones(2, dtype=torch.int32)):
        with pytest.raises(UsageError, match=re.escape(f"type {term.dtype}: give int64")):
            session.array([term])
    with pytest.raises(UsageError, match="a secret tensor"):
        session.array([shared(session, torch.arange(2))])


@pytest.mark.skipif(not ON_A_CARD, reason="needs a card: RADMPC_TEST_CARD=cuda")
def test_a_tensor_on_a_card_can_be_shared_by_a_party_on_the_host():
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    (found, *_) = at_parties(
        "rep3", lambda s: s.open(shared(s, reals(1, 3).cuda()), reason="test"), HOST
    )
    assert torch.equal(found, reals(1, 3))


@pytest.mark.skipif(not ON_A_CARD, reason="needs a card: RADMPC_TEST_CARD=cuda")
def test_on_a_card_streams_of_pytorch_and_cupy_wait_for_each_other():
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")

    def program(session):
        with torch.cuda.stream(torch.cuda.Stream()):
            busy = torch.rand(4096, 4096, device=THERE, dtype=torch.float64)
            for _ in range(4):
                busy = busy @ busy % 1
            x = (busy * 0 + 1).sum(1)  # is there long after it was asked for
            opened = session.open(shared(session, x), reason="test", device=THERE)
            return (opened - 4096).abs().sum().item()

    assert at_parties("rep3", program, CARD) == [0.0] * 3
