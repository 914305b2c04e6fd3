"""Sharing, opening and securing: what goes in comes out, to those who may know it."""

import numpy as np
import pytest
import torch
from torch import nn

from mpc.errors import NotOffered, OutOfStep, PeerError, PeerLost, RangeError, UsageError
from mpc.launch import run_parties
from mpc.sources.insecure import InsecureSource
from protocols.nn import Session
from tests.nn.both import PARTIES, ULP, at_parties, opened, reals, session_at, shared

KINDS = [
    torch.tensor(2.5),
    torch.arange(6).reshape(2, 3),
    torch.arange(6, dtype=torch.int32),
    torch.tensor([True, False]),
    torch.zeros(0, 3),
    reals(1, 2, 3, 4),
    reals(1, 2, 3).float(),
    np.arange(4, dtype=np.float32) / 2,
]


@pytest.mark.parametrize("owner", range(3))
@pytest.mark.parametrize("to", [None, 0, 2])
@pytest.mark.parametrize("protocol", PARTIES)
def test_what_is_shared_is_what_is_opened_to_those_who_may_know(protocol, owner, to):
    size = PARTIES[protocol]
    to, owner = (rank if rank is None else rank % size for rank in (to, owner))

    def program(party):
        session = session_at(party, protocol)
        found = []
        for x in KINDS:
            t = session.share(x if party.rank == owner else None, owner=owner)
            found.append(session.open(t, reason=f"test {len(found)}", to=to))
        return found, session.openings, session.rank, session.size

    for rank, (found, openings, *said) in enumerate(run_parties(size, program)):
        assert said == [rank, size]
        assert [(o.reason, o.to) for o in openings] == [
            (f"test {i}", to) for i in range(len(KINDS))
        ]
        assert [o.shape for o in openings] == [tuple(x.shape) for x in KINDS]
        for y, x in zip(found, KINDS, strict=True):
            if to in (None, rank):
                assert torch.equal(y.double(), torch.as_tensor(x).double())
                whole = not torch.as_tensor(x).is_floating_point()
                assert y.dtype == (torch.int64 if whole else torch.as_tensor(x).dtype)
            else:
                assert y is None


def test_numbers_are_rounded_to_the_nearest_step():
    x = torch.rand(100, dtype=torch.float64)
    (found,) = at_parties("rep3", lambda session: [opened(session, shared(session, x))])
    assert torch.all((found - x).abs() <= ULP / 2)


def test_with_a_known_shape_no_header_is_sent():
    def program(party):
        session = Session(party)
        rounds = []
        for x in (torch.ones(2, 3), torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3).double()):
            before = party.meter.total.rounds
            t = session.share(x if party.rank == 1 else None, owner=1, shape=(2, 3))
            rounds.append(party.meter.total.rounds - before)
            assert t.dtype == torch.float32
            assert torch.equal(session.open(t, reason="a test"), torch.ones(2, 3))
        return rounds

    assert run_parties(3, program) == [[1, 1, 1]] * 3


REFUSED = [
    (torch.tensor([1.0, float("nan"), 2.0]), RangeError, "1 of 3 numbers .*NaN 1"),
    (torch.tensor([float("inf"), -float("inf")]), RangeError, "infinite 2"),
    (torch.tensor([2.0**30]), RangeError, "too large 1"),
    (torch.tensor([2**30]), RangeError, "too large 1"),
    (torch.ones(2, dtype=torch.complex64), UsageError, "real numbers or integers"),
    (torch.ones((1,) * 14), UsageError, "14 axes: at most 13"),
    (None, UsageError, "owner of an input must hold it"),
]


@pytest.mark.parametrize("x, error, says", REFUSED)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("protocol", PARTIES)
def test_a_bad_input_is_refused_at_its_owner_with_counts_and_the_others_end_naming_it(
    protocol, x, error, says, known
):
    said, size = {}, PARTIES[protocol]

    def program(party):
        session = session_at(party, protocol)
        shape = (1 if x is None else len(x),) if known else None
        try:
            t = session.share(x if party.rank == 1 else None, owner=1, shape=shape)
            session.open(t, reason="never reached")
        except Exception as problem:
            said[party.rank] = problem
            raise

    with pytest.raises(error, match=says) as caught:
        run_parties(size, program, deadline_s=10)
    assert "\n" not in str(caught.value)
    for rank in {0, size - 1} - {1}:
        assert isinstance(said[rank], PeerError) and "party 1" in str(said[rank])
        assert "nan" not in str(said[rank]).lower()


def test_an_input_of_another_shape_than_promised_is_refused():
    def program(party):
        session = Session(party)
        session.share(torch.ones(3) if party.rank == 0 else None, owner=0, shape=(4,))

    with pytest.raises(UsageError, match=r"shape \(3,\), not \(4,\)"):
        run_parties(3, program)


def test_an_opening_needs_a_reason_and_a_secret():
    session = Session(None, protocol="clear")
    x = shared(session, torch.ones(2))
    with pytest.raises(TypeError, match="reason"):
        session.open(x)
    with pytest.raises(UsageError, match="reason"):
        session.open(x, reason="  ")
    with pytest.raises(UsageError, match="only a secret tensor"):
        session.open(torch.ones(2), reason="a test")
    assert not session.openings


def test_an_opening_to_nobody_is_refused():
    def program(party):
        session = Session(party)
        session.open(shared(session, torch.ones(2)), reason="a test", to=3)

    with pytest.raises(UsageError, match="no party 3"):
        run_parties(3, program)


class Odd(nn.Module):
    def __init__(self, extra):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(extra))


DIFFERENT = [
    (lambda rank: nn.Linear(3, 2 + rank // 2)),
    (lambda rank: nn.Sequential(nn.Linear(3, 2), *([nn.Linear(2, 2)] * (rank // 2)))),
    (lambda rank: nn.Conv2d(1, 1, 3, stride=1 + rank // 2)),
    (lambda rank: nn.BatchNorm1d(3, eps=1e-5 * (1 + rank // 2))),
    (lambda rank: nn.Sequential(nn.Linear(2, 2), (nn.ReLU, nn.Tanh)[rank // 2]())),
]


@pytest.mark.parametrize("build", DIFFERENT)
def test_differing_architectures_are_out_of_step_and_both_are_named(build):
    said = {}

    def program(party):
        try:
            Session(party).secure(build(party.rank))
        except Exception as problem:
            said[party.rank] = str(problem)
            raise

    with pytest.raises(OutOfStep, match="model architecture"):
        run_parties(3, program)
    assert "party 0" in said[0] and "party 2" in said[0] and "party 1" not in said[0]
    assert "party 2" in said[2] and "party 0" in said[2]


def test_the_same_architecture_with_other_values_is_in_step_and_the_owners_count():
    def program(party):
        torch_seed = torch.Generator().manual_seed(party.rank)
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        with torch.no_grad():
            model[0].weight.copy_(torch.rand(2, 3, generator=torch_seed))
        values = model[0].weight.detach().clone()
        session = Session(party)
        session.secure(model, owner=2)
        assert model[0].weight.requires_grad and isinstance(model[0].weight, nn.Parameter)
        assert type(model[1].num_batches_tracked) is torch.Tensor
        return values, session.open(model[0].weight.detach(), reason="a test")

    results = run_parties(3, program)
    owners = results[2][0]
    for _, found in results:
        assert torch.all((found - owners).abs() <= ULP / 2 + 1e-9)


def test_a_bad_weight_is_refused_at_its_owner():
    def program(party):
        model = nn.Linear(2, 2)
        if party.rank == 0:
            model.weight.data[0, 0] = float("nan")
        Session(party).secure(model)

    with pytest.raises(RangeError, match="NaN 1"):
        run_parties(3, program)


@pytest.mark.parametrize(
    "name, settings",
    [("width", [64, 64, 40]), ("width", [32, 64, 64]), ("chunk", [1024, 1 << 20, 1024])],
    ids=["the last differs", "the first differs", "chunk"],
)
def test_differing_settings_are_out_of_step(name, settings):
    with pytest.raises(OutOfStep, match="version, protocol, width, source or chunk"):
        run_parties(3, lambda party: Session(party, **{name: settings[party.rank]}))


def test_a_smaller_chunk_takes_more_rounds():
    def rounds_of(chunk):
        def program(party):
            session = Session(party, chunk=chunk)
            x = session.share(torch.ones(300) if party.rank == 0 else None, owner=0)
            before = party.meter.total.rounds
            assert session.open(torch.relu(x).sum(), reason="test") == pytest.approx(300, abs=0.01)
            return party.meter.total.rounds - before

        return set(run_parties(3, program))

    assert rounds_of(1 << 20) == {7 + 1} and rounds_of(128) == {3 * 7 + 1}


@pytest.mark.parametrize("chunk", [0, -64, 63, 1000])
def test_a_chunk_that_planes_cannot_end_at_is_refused(chunk):
    with pytest.raises(NotOffered, match=f"chunk {chunk}: choose a multiple of 64"):
        Session(protocol="clear", chunk=chunk)


class OtherSource(InsecureSource):
    name = "another source"


def test_differing_sources_are_out_of_step():
    def program(party):
        source = (OtherSource if party.rank else InsecureSource)(party)
        Session(party, protocol="additive", source=source)

    with pytest.raises(OutOfStep, match="version, protocol, width, source or chunk"):
        run_parties(2, program)


def test_a_source_goes_with_additive_sharing_and_with_nothing_else():
    with pytest.raises(UsageError, match="needs a source"):
        run_parties(2, lambda party: Session(party, protocol="additive"))
    with pytest.raises(UsageError, match="leave the source out"):
        run_parties(3, lambda party: Session(party, source=InsecureSource(party)))


def test_an_unknown_protocol_or_no_party_is_refused():
    with pytest.raises(NotOffered, match="clear"):
        Session(None, protocol="rep5")
    with pytest.raises(UsageError, match="needs a party"):
        Session(None)


def test_a_party_that_dies_ends_the_others_with_its_name():
    said = {}

    def program(party):
        session = Session(party)
        x = shared(session, torch.ones(4))
        if party.rank == 2:
            raise KeyboardInterrupt
        try:
            while True:
                x = x * x
        except PeerLost as problem:
            said[party.rank] = str(problem)
            with pytest.raises(PeerError, match="closed"):
                _ = x * x  # nothing goes on after that
            raise

    with pytest.raises(KeyboardInterrupt):
        run_parties(3, program, deadline_s=10)
    assert any("party 2" in text for text in said.values())
    assert set(said) == {0, 1}


def test_the_clear_protocol_needs_no_party_and_lists_its_openings_too():
    session = Session(None, protocol="clear")
    assert (session.rank, session.size) == (0, 1)
    x = shared(session, reals(1, 3))
    assert torch.equal(session.open(x, reason="a test"), reals(1, 3))
    assert [o.reason for o in session.openings] == ["a test"]


def test_truth_values_and_second_moments_can_be_opened():
    def program(session):
        x = shared(session, torch.tensor([-2.0, 0.5]))
        fine = torch.addcmul(torch.zeros_like(x), x, x, value=0.5)
        fraction = fine.secret.fraction
        return [session.open(v, reason="a test").double() for v in (x > 0, fine)], fraction

    (bits, fine), fraction = at_parties("rep3", program)
    assert bits.tolist() == [0, 1] and fraction == 32
    assert torch.equal(fine, torch.tensor([2.0, 0.125], dtype=torch.float64))


def test_an_array_can_be_taken_apart_and_put_together_again():
    def program(session):
        x = shared(session, reals(1, 3))
        again = session.tensor(session.array(x.secret.share.terms))
        return opened(session, again)

    assert torch.equal(at_parties("rep3", program), reals(1, 3))


def test_what_a_layer_puts_off_is_metered_at_that_layer():
    def program(party):
        session = Session(party)
        model = session.secure(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2))
        )
        x = session.share(torch.zeros(1, 1, 8, 8) if party.rank == 0 else None, owner=0)
        before = {name: count.rounds for name, count in party.meter.operations.items()}
        with torch.no_grad():
            model(x).secret.share  # noqa: B018
        rounds = {}
        for name, count in party.meter.operations.items():
            place = name.partition("/")[0]
            rounds[place] = rounds.get(place, 0) + count.rounds - before.get(name, 0)
        return {place: n for place, n in rounds.items() if n}

    # The first convolution is truncated with its ReLU, the second for the pool after it.
    assert run_parties(3, program)[0] == {"1 ReLU": 7, "2 Conv2d": 2, "3 MaxPool2d": 14}
