"""Cases with shares on a card: the same messages, its name in the row, and one line without."""

from types import SimpleNamespace

import pytest

from benchmarks import devices, runner
from benchmarks.__main__ import main
from benchmarks.cases import CASES
from benchmarks.devices import place
from benchmarks.runner import HEAD, format_row, run
from benchmarks.waiting import watched
from kernels.cuda import card
from kernels.machines import HOST, Memory
from mpc.launch import run_parties
from tests.kernels.oncard import CARD


def rows(memory, device, protocol, case, batch):
    def program(party):
        return run(
            party, CASES[case], protocol=protocol, width=64, batch=batch, repeats=1, device=device
        )

    return run_parties(3 if protocol == "rep3" else 2, program, memory=memory)


@pytest.mark.parametrize(
    "case, batch", [("relu", 100), pytest.param("cnntrain", 1, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("protocol", ["rep3", "additive"])
def test_a_case_on_a_card_sends_what_it_sends_on_the_host(protocol, case, batch):
    here, there = (
        rows(memory, device, protocol, case, batch)
        for memory, device in ((HOST, "cpu"), (CARD, "a card"))
    )
    assert all(row == there[0] for row in there)
    for a, b in zip(here, there, strict=True):
        assert (a.device, b.device) == ("cpu", "a card")
        assert (a.rounds, a.bytes_per_party) == (b.rounds, b.bytes_per_party)
        assert a.offline_bytes == b.offline_bytes and bool(b.offline_bytes) == (len(there) == 2)
        assert 0 < b.waiting and "  a card" in format_row(b)
    assert format_row(here[0]).index("cpu") == HEAD.index("device")


def test_a_rank_keeps_its_shares_on_its_card_and_names_it(monkeypatch):
    xp = SimpleNamespace(cuda=SimpleNamespace(Device=lambda: SimpleNamespace(id=1)))
    there = Memory(xp, HOST.machine, HOST.get)
    monkeypatch.setattr(devices, "card_memory", lambda: there)
    monkeypatch.setattr(card, "devices", lambda: ["one", "another"])
    party = SimpleNamespace(memory=HOST, xp=xp)
    assert (place(party, "cpu"), party.memory) == ("cpu", HOST)
    assert (place(party, "cuda"), party.memory) == ("another", there)


@pytest.mark.parametrize("protocol", ["rep3", "additive"])
def test_without_a_card_no_rank_is_started_and_one_line_says_so(monkeypatch, capsys, protocol):
    def none():
        raise card.DeviceError("device cuda: there is none")

    monkeypatch.setattr(card, "devices", none)
    monkeypatch.setattr("benchmarks.__main__.start", lambda *_: pytest.fail("ranks were started"))
    assert main(["relu", "--device", "cuda", "--protocol", protocol]) == 2
    assert capsys.readouterr().err == "device cuda: there is none\n"


def test_on_a_card_a_case_compares_as_many_at_once_as_cards_want_and_its_items_fit(monkeypatch):
    monkeypatch.setattr(runner, "CHUNK_ON_CARDS", 64)  # fewer than the case has
    here, there = (rows(memory, "", "additive", "relu", 100)[0] for memory in (HOST, CARD))
    assert there.rounds > here.rounds


@pytest.mark.parametrize("more", [["--peers"], ["--sizes"], ["--network", "wan"]])
def test_what_does_not_run_on_a_card_is_refused(more, capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cuda", *more])
    assert "cases alone" in capsys.readouterr().err


def test_waiting_is_what_exchanges_take_and_ends_with_the_watch():
    def program(party):
        before = party.transport
        with watched(party) as wires:
            party.rotate(party.xp.zeros(1))
        assert party.transport is before
        took = wires.seconds
        party.rotate(party.xp.zeros(1))
        return took, wires.seconds

    for took, after in run_parties(3, program):
        assert 0 < took == after
