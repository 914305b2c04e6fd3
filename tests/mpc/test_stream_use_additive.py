"""Under additive sharing a stream is never used twice either, but where a mask serves again.

As `test_stream_use`, with rank 0 as the source, who alone may hold the keys of all parties. A draw
of correlated randomness is named by its item and its place in it; a mask of an earlier item is
drawn again on purpose, for the same value, and then it is the same bytes.
"""

import hashlib
from collections import Counter, defaultdict
from types import SimpleNamespace

import pytest
import torch

from kernels import _native
from mpc.correlated.seeded import _PRODUCTS, PURPOSE
from mpc.prg import derive
from mpc.sources.first_party import FirstPartySource
from protocols.nn import Session
from tests.mpc.test_stream_use import SEEDS, recorded, train
from tests.protocols.words import asked


def program(party):
    source = FirstPartySource(party)
    items = asked(SimpleNamespace(source=source))
    return train(Session(party, protocol="additive", source=source)), items


@pytest.fixture(scope="module")
def run():
    results, calls = recorded(program, SEEDS)
    losses, items = zip(*results, strict=True)
    assert all(torch.isfinite(torch.as_tensor(loss)).all() for loss in losses)
    assert all(other == items[0] for other in items)
    return calls, items[0]


def entitled():
    """Each key of the session: what it is for, and the ranks that may hold it."""
    coins = hashlib.sha256(b"".join(derive(seed, "public coin/1") for seed in SEEDS)).digest()
    may = {derive(coins, "public coins"): ("public coins", {0, 1, 2})}
    for low, seed in enumerate(SEEDS):
        for high in range(low + 1, len(SEEDS)):
            key = derive(derive(seed, f"key with {high}/1"), "inputs of both")
            may[key] = (f"inputs of {low} and {high}", {low, high})
    for rank, key in enumerate(source_keys()):
        may[key] = (f"randomness of {rank}", {0, rank})
    return may


def source_keys():
    """The keys of correlated randomness, by rank; rank 0 draws the seeds of all."""
    seeds = [derive(SEEDS[0], f"a party's seed/{rank + 1}") for rank in range(len(SEEDS))]
    return [derive(seed, PURPOSE) for seed in seeds]


def draws(calls, keys):
    """Draws of some keys, as (rank, key, nonce, bytes); all of them just fill."""
    found = []
    for rank, mode, used, nonce, nbytes in calls:
        (key,) = used  # additive sharing never joins two streams in one call
        assert mode == _native.FILL
        if key in keys:
            found.append((rank, key, nonce, nbytes))
    return found


def test_the_training_used_every_kind_of_stream_and_every_kind_of_item(run):
    calls, items = run
    may = entitled()
    used = {may[key][0] for _, _, keys, _, _ in calls for key in keys}
    assert used == {purpose for purpose, _ in may.values()}
    assert len(calls) > 1000
    kinds = {item.kind for item in items}
    assert {"triple", "masked", "carries", "choice", "daBits"} <= kinds
    assert any(item.reused() for item in items)


def test_every_key_is_one_that_its_user_is_entitled_to(run):
    may = entitled()
    for rank, key, _, _ in draws(run[0], may):
        purpose, holders = may[key]
        assert rank in holders, f"rank {rank} used {purpose}"
    assert len(draws(run[0], may)) == len(run[0]), "a key of unknown origin"


def test_what_parties_have_in_common_they_draw_once_each_in_step_and_without_a_gap(run):
    may = {key: what for key, what in entitled().items() if key not in source_keys()}
    by_holder, sizes = defaultdict(list), defaultdict(set)
    for rank, key, nonce, nbytes in draws(run[0], may):
        by_holder[key, rank].append(int.from_bytes(nonce, "little"))
        sizes[key, nonce].add(nbytes)
    for key, (_, holders) in may.items():
        for rank in holders:
            drawn = by_holder[key, rank]
            assert drawn == list(range(len(drawn))), "each nonce once, in order"
        assert len({len(by_holder[key, rank]) for rank in holders}) == 1
    assert all(len(lengths) == 1 for lengths in sizes.values())


def named(nonce):
    """The item and the place in it that a nonce stands for."""
    return int.from_bytes(nonce[:8], "little"), int.from_bytes(nonce[8:], "little")


def expected(items):
    """How often each mask and product is drawn for a party, and its bytes."""
    times, nbytes = Counter(), {}
    for number, item in enumerate(items):
        for place, field in enumerate(item.masks()):
            times[number, place] += 1
            nbytes[number, place] = field.nbytes
        for place, field in enumerate(item.products()):
            times[number, _PRODUCTS + place] += 1
            nbytes[number, _PRODUCTS + place] = field.nbytes
        for mask, field in item.reused():
            assert mask.item < number
            times[mask.item, mask.place] += 1
            assert nbytes[mask.item, mask.place] == field.nbytes, "the same bytes as before"
    return times, nbytes


def test_a_mask_is_drawn_once_and_again_only_where_an_item_names_it(run):
    """Each party draws its own; rank 0 draws those of all, to make the corrections, too."""
    calls, items = run
    times, _ = expected(items)
    masks = {name: count for name, count in times.items() if name[1] < _PRODUCTS}
    for rank, key in enumerate(source_keys()):
        found = Counter((user, named(nonce)) for user, _, nonce, _ in draws(calls, {key}))
        for user in range(len(SEEDS)):
            drawn = {name: n for (who, name), n in found.items() if who == user}
            drawn = {name: n for name, n in drawn.items() if name[1] < _PRODUCTS}
            roles = (user == rank) + (user == 0)
            assert drawn == {name: roles * count for name, count in masks.items() if roles}


def test_a_product_is_drawn_once_and_not_for_rank_0_who_makes_it(run):
    calls, items = run
    times, _ = expected(items)
    products = {name for name in times if name[1] >= _PRODUCTS}
    for rank, key in enumerate(source_keys()):
        found = Counter((user, named(nonce)) for user, _, nonce, _ in draws(calls, {key}))
        for user in range(len(SEEDS)):
            drawn = {name: n for (who, name), n in found.items() if who == user}
            drawn = {name: n for name, n in drawn.items() if name[1] >= _PRODUCTS}
            roles = 0 if rank == 0 else (user == rank) + (user == 0)
            assert drawn == {name: roles for name in products if roles}


def test_a_name_stands_for_the_same_bytes_whoever_draws_it(run):
    calls, items = run
    _, sizes = expected(items)
    for _, _, nonce, nbytes in draws(calls, set(source_keys())):
        assert nbytes == sizes[named(nonce)]
