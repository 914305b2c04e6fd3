"""Sources of correlated randomness: right items, to the right parties, each of them once."""

import numpy as np
import pytest

from kernels.machines import HOST, on_host
from mpc.correlated.items import (
    Choice,
    Mask,
    Triple,
)
from mpc.errors import PeerError, PeerLost, PreprocessingSpent, UsageError
from mpc.launch import run_parties
from mpc.party import Party
from mpc.sources import (
    DealerSource,
    FirstPartySource,
    InsecureSource,
    ListingSource,
    NoSource,
    StoredSource,
    serve,
)
from mpc.sources.dealer import send_seeds
from mpc.transport.local import LocalHub
from mpc.transport.silent import SilentTransport
from tests.kernels.oncard import CARD, OnCard
from tests.mpc.dealt import ITEMS, make_files, take_all

# What a source serves.


def insecure(parties, items, folder, memory=HOST):
    def program(party):
        return take_all(InsecureSource(party), items)

    return run_parties(parties, program, memory=memory)


def first_party(parties, items, folder, memory=HOST):
    def program(party):
        return take_all(FirstPartySource(party), items)

    return run_parties(parties, program, memory=memory)


def dealer(parties, items, folder, memory=HOST):
    def program(whole):
        seed, seeds = send_seeds(whole)
        if whole.rank == parties:
            assert serve(whole, seeds) == len(items)
            return None
        source = DealerSource(seed, whole if whole.rank == parties - 1 else None, memory)
        served = take_all(source, items)
        source.close()
        return served

    return run_parties(parties + 1, program)[:parties]


def stored(parties, items, folder, memory=HOST):
    paths, keys = make_files(folder, parties, items)

    def program(party):
        source = StoredSource(paths[party.rank], keys[party.rank], party)
        served = take_all(source, items)
        assert source.left == 0 and source.skipped == 0
        source.close()
        return served

    return run_parties(parties, program, memory=memory)


def joined(parts, field):
    total = np.zeros(field.shape, field.dtype)
    for part in parts:
        (np.bitwise_xor if field.xor else np.add)(total, part, out=total)
    return total


def are_right(by_party):
    """Whether what the parties were served of each item adds up to masks and their products."""
    for at, item in enumerate(ITEMS):
        numbers, masks, products = zip(*(served[at] for served in by_party), strict=True)
        assert set(numbers) == {at}
        fields = [*item.masks(), *(field for _, field in item.reused())]
        whole = [joined([m[i] for m in masks], field) for i, field in enumerate(fields)]
        expected = item.make(whole)
        for i, field in enumerate(item.products()):
            found = joined([p[i] for p in products], field)
            assert found.dtype == field.dtype and np.array_equal(found, expected[i])


@pytest.mark.parametrize("parties", [2, 3, 4])
@pytest.mark.parametrize("serving", [insecure, first_party, dealer, stored])
def test_the_parties_shares_add_up_to_masks_and_their_products(serving, parties, tmp_path):
    are_right(serving(parties, ITEMS, tmp_path))


@pytest.mark.parametrize("serving", [insecure, first_party, dealer, stored])
def test_what_a_party_with_a_card_is_served_is_there_and_right(serving, tmp_path):
    """Whoever makes it does so on the host."""
    fetched = []
    for served in serving(2, ITEMS, tmp_path, CARD):
        assert {type(v) for _, masks, products in served for v in [*masks, *products]} == {OnCard}
        fetched.append([(n, *(list(map(on_host, part)) for part in dealt)) for n, *dealt in served])
    are_right(fetched)


def test_large_parts_are_sealed_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("mpc.sources.sealed.PIECE", 40)
    assert stored(2, ITEMS, tmp_path)
    test_the_parties_shares_add_up_to_masks_and_their_products(stored, 3, tmp_path / "three")


@pytest.mark.parametrize("serving", [insecure, first_party, dealer, stored])
def test_what_a_party_is_served_is_uniform_and_never_the_same_twice(serving, tmp_path):
    # 2 parties, 8 items alike, 3 arrays of 4,000 bits each: every share's bits have mean 1/2.
    items = [Triple("multiply", (63,), (63,))] * 8
    for served in serving(2, items, tmp_path):
        rows = [v for _, masks, products in served for v in [*masks, *products]]
        assert len({row.tobytes() for row in rows}) == len(rows) == 24
        bits = np.unpackbits(np.concatenate(rows).view(np.uint8))
        assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_a_mask_that_is_named_again_is_the_one_that_was_dealt(tmp_path):
    items = [Triple("matmul", (2, 3), (3, 4)), Triple("matmul", (2, 3), (3, 4), Mask(0, 0))]
    for serving in (insecure, dealer, stored):
        for (_, first, _), (_, second, _) in serving(2, items, tmp_path):
            assert np.array_equal(first[0], second[1]) and not np.array_equal(first[1], second[0])
        for path in tmp_path.iterdir():
            path.unlink()


def test_the_insecure_source_serves_nobody_whose_peers_are_elsewhere():
    party = Party(SilentTransport(0, 2))  # as any transport but that of threads, such as MPI's
    with pytest.raises(UsageError, match="within one process: use a dealer or a file"):
        InsecureSource(party)
    assert "insecure" in InsecureSource.name and "tests" in InsecureSource.assumption


def test_a_plans_source_serves_nobody_who_has_peers():
    with pytest.raises(UsageError, match="nothing is sent"):
        ListingSource(Party(LocalHub(2).transport(0)))


def test_no_source_serves_nothing():
    with pytest.raises(PreprocessingSpent, match="needs a choice"):
        NoSource().take(Choice(3))
    with pytest.raises(PreprocessingSpent):
        NoSource().mask(Mask(0, 0), Choice(3).masks()[0])


# A dealer whose last party is not well.


def with_dealer(asks):
    """What the dealer raises when its last party does `asks(party, seed)`; two parties."""

    def program(whole):
        seed, seeds = send_seeds(whole)
        if whole.rank == 2:
            with pytest.raises(PeerError) as caught:
                serve(whole, seeds)
            return caught.value
        if whole.rank == 1:
            asks(whole, seed)
        return None

    return run_parties(3, program)[2]


def test_a_dealer_makes_no_item_twice():
    def asks(whole, seed):
        DealerSource(seed, whole).take(Choice(3))
        with pytest.raises(PeerLost):
            DealerSource(seed, whole).take(Choice(3))

    assert "item 0 was asked for where 1 is next" in str(with_dealer(asks))


@pytest.mark.parametrize(
    "request_",
    [b"", b"{}", b"[" * 60_000, b'{"kind":"choice","n":-1}', b"\xff\xfe", b"x" * 65_537],
)
def test_a_dealer_takes_no_request_that_is_none(request_):
    def asks(whole, seed):
        words = np.frombuffer(request_, np.uint8)
        length = len(request_) or -1
        whole.exchange({2: [np.array([0, length], np.int64)]}, {})
        if 0 < length <= 65_536:
            whole.exchange({2: [words]}, {})

    assert "item 0" in str(with_dealer(asks))


def test_a_dealer_ends_with_its_last_party():
    assert isinstance(with_dealer(lambda whole, seed: whole.close("ValueError")), PeerLost)
