"""Sources of correlated randomness: right items, to the right parties, each of them once."""

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.ring import multiply
from mpc.correlated.descriptions import KINDS, LARGEST, described, read_item
from mpc.correlated.items import (
    Addend,
    Carries,
    Choice,
    Conjunction,
    DoubleBits,
    Item,
    Mask,
    Masked,
    Triple,
)
from mpc.correlated.seeded import Maker
from mpc.errors import OutOfStep, PeerError, PeerLost, PreprocessingSpent, UsageError
from mpc.launch import run_parties
from mpc.party import Party
from mpc.sources import (
    CountedSource,
    DealerSource,
    FirstPartySource,
    InsecureSource,
    NoSource,
    StoredSource,
    deal,
    serve,
)
from mpc.sources.dealer import send_seeds
from mpc.sources.sealed import read_key
from mpc.sources.stored import AHEAD
from mpc.transport.local import LocalHub
from mpc.transport.silent import SilentTransport
from protocols.additive import AdditiveProtocol

ROOT = Path(__file__).resolve().parents[2]
FRONT, USED = 56, 56  # bytes of a file's front; where its counter stands
ITEMS: list[Item] = [
    Triple("multiply", (5,), (5,)),
    Triple("matmul", (2, 3), (3, 4)),
    Triple("matmul", (3, 2), (2, 4), x_mask=Mask(1, 0, (1, 0)), y_mask=None),
    Triple("multiply", (5,), (5,), x_mask=Mask(0, 1), square=True),
    Triple("conv2d padding=1", (1, 2, 4, 4), (3, 2, 3, 3)),
    Masked(70, fraction=16),
    Masked(3, low=63, choose=True),
    Masked(66, fraction=13, low=63, choose=True),
    Masked(7, choose=True),
    Carries(16, 65),
    Carries(8, 3),
    Conjunction((2, 3)),
    Addend(65, 33),
    Choice(65),
    DoubleBits(2, 65),
    Triple("multiply", (0,), (0,)),
]


# What a source serves.


def take_all(source, items):
    """What one party is served of each item: number, masks (those named too) and products."""
    served = []
    for item in items:
        dealt = source.take(item)
        named = [source.mask(mask, field) for mask, field in item.reused()]
        served.append((dealt.number, [v.copy() for v in [*dealt.masks, *named]], dealt.products))
    return served


def insecure(parties, items, folder):
    return run_parties(parties, lambda party: take_all(InsecureSource(party), items))


def first_party(parties, items, folder):
    return run_parties(parties, lambda party: take_all(FirstPartySource(party), items))


def dealer(parties, items, folder):
    def program(whole):
        seed, seeds = send_seeds(whole)
        if whole.rank == parties:
            assert serve(whole, seeds) == len(items)
            return None
        source = DealerSource(seed, whole if whole.rank == parties - 1 else None)
        served = take_all(source, items)
        source.close()
        return served

    return run_parties(parties + 1, program)[:parties]


def stored(parties, items, folder):
    paths, keys = make_files(folder, parties, items)

    def program(party):
        source = StoredSource(paths[party.rank], keys[party.rank], party)
        served = take_all(source, items)
        assert source.left == 0 and source.skipped == 0
        source.close()
        return served

    return run_parties(parties, program)


def make_files(folder, parties, items, label=""):
    paths = [Path(folder) / f"{rank}.items" for rank in range(parties)]
    keys = [secrets.token_bytes(32) for _ in paths]
    deal(paths, keys, items, label=label)
    return paths, keys


def joined(parts, field):
    total = np.zeros(field.shape, field.dtype)
    for part in parts:
        (np.bitwise_xor if field.xor else np.add)(total, part, out=total)
    return total


@pytest.mark.parametrize("parties", [2, 3, 4])
@pytest.mark.parametrize("serving", [insecure, first_party, dealer, stored])
def test_the_parties_shares_add_up_to_masks_and_their_products(serving, parties, tmp_path):
    by_party = serving(parties, ITEMS, tmp_path)
    for at, item in enumerate(ITEMS):
        numbers, masks, products = zip(*(served[at] for served in by_party), strict=True)
        assert set(numbers) == {at}
        fields = [*item.masks(), *(field for _, field in item.reused())]
        whole = [joined([m[i] for m in masks], field) for i, field in enumerate(fields)]
        expected = item.make(whole)
        for i, field in enumerate(item.products()):
            found = joined([p[i] for p in products], field)
            assert found.dtype == field.dtype and np.array_equal(found, expected[i])


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
        CountedSource(Party(LocalHub(2).transport(0)))


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


# Descriptions of items.

SIDES = st.integers(0, 6)
SHAPES = st.lists(SIDES, max_size=3).map(tuple)
ORDERS = st.sampled_from([(), (1, 0)])
MASKS = st.none() | st.builds(Mask, st.integers(0, 99), st.integers(0, 1), ORDERS)
DESCRIBED = st.one_of(
    st.builds(Triple, st.just("multiply"), st.just((3, 4)), st.just((3, 4)), MASKS, MASKS),
    st.builds(Triple, st.just("matmul"), st.just((3, 4)), st.just((4, 2)), MASKS, MASKS),
    st.builds(lambda m: Triple("multiply", (3, 4), (3, 4), m, square=True), MASKS),
    st.builds(Masked, SIDES, st.integers(0, 62), st.integers(0, 63), st.booleans()),
    st.builds(Carries, st.integers(0, 16), SIDES),
    st.builds(Conjunction, SHAPES),
    st.builds(Addend, SIDES, st.integers(0, 64)),
    st.builds(Choice, SIDES),
    st.builds(DoubleBits, SIDES, SIDES),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.sampled_from(["matmul", "conv2d", "conv1d stride=0", "conv3d padding=9x9", "", "x" * 99]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(DESCRIBED)
def test_an_item_is_read_back_as_it_was_described(item):
    assert read_item(described(item)) == item == read_item(described(item).encode())


@settings(max_examples=300)
@given(DESCRIBED, st.data())
def test_a_description_with_another_value_is_refused_or_of_an_item_that_can_be(item, data):
    values = json.loads(described(item))
    name = data.draw(st.sampled_from(sorted(values)))
    values[name] = data.draw(JSON)
    text = json.dumps(values)
    try:
        found = read_item(text)
    except UsageError as error:
        assert str(error) == "no item of correlated randomness is described so"
    else:
        parts = [*found.masks(), *found.products(), *(field for _, field in found.reused())]
        assert all(field.nbytes < LARGEST and min(field.shape, default=0) >= 0 for field in parts)
        assert read_item(described(found)) == found


@given(JSON)
def test_no_other_json_is_an_item(value):
    with pytest.raises(UsageError):
        read_item(json.dumps(value))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", '{"kind":[]}', '{"kind":"choice"}', '{"kind":"choice","n":1,"m":1}'),
        *('{"kind":"choice","n":true}', '{"kind":"choice","n":1e3}', "[" * 100_000),
        '{"kind":"conjunction","shape":[4294967296,4294967296]}',  # 2^64 elements, which wrap to 0
        f'{{"kind":"conjunction","shape":{[1] * 65}}}',
        '{"kind":"choice","n":1099511627775}',
        '{"kind":"carries","blocks":17,"n":1}',
        '{"f":"os.system","kind":"triple","square":false,"x":[1],"x_mask":null,"y":[1],'
        '"y_mask":null}',
        # A place beyond a triple's masks, where the streams hold what hides products.
        '{"f":"multiply","kind":"triple","square":false,"x":[1],"x_mask":[0,65536,[]],"y":[1],'
        '"y_mask":null}',
    ],
)
def test_what_nobody_asks_for_is_refused(text):
    with pytest.raises(UsageError, match="no item of correlated randomness is described so"):
        read_item(text)


def test_an_item_never_names_a_mask_that_comes_after_it():
    maker = Maker([bytes(32), bytes(range(32))])
    for item in (3, 4):
        with pytest.raises(OutOfStep, match="item 3 names a mask of item"):
            maker.corrections(3, Triple("multiply", (1,), (1,), Mask(item, 0)))


def test_every_kind_of_item_is_in_these_tests():
    assert {type(item) for item in ITEMS} == set(KINDS.values())


# Files made ahead.

SMALL = [Choice(3)] * 5


def opened(paths, keys, program=lambda source: None, *, label=None, parties=None):
    """What happens at each party that opens its file: what `program(source)` gives, or an error."""
    parties = parties or len(paths)
    outcomes = [None] * parties

    def at_party(party):
        try:
            path, key = paths[party.rank], keys[party.rank]
            source = StoredSource(path, key, party, label=label)
            try:
                outcomes[party.rank] = program(source)
            finally:
                source.close()
        except Exception as error:
            outcomes[party.rank] = error
            raise

    try:
        run_parties(parties, at_party)
    except Exception:
        assert any(isinstance(outcome, Exception) for outcome in outcomes)
    return outcomes


def numbers(count, item=SMALL[0]):
    return lambda source: [source.take(item).number for _ in range(count)]


def counter(path):
    return struct.unpack_from("<Q", path.read_bytes(), USED)[0]


def test_files_are_their_owners_alone_and_hold_no_seed_and_no_shape_to_be_read(tmp_path):
    before = os.umask(0)
    try:
        paths, _ = make_files(tmp_path / "new", 2, ITEMS, label="train")
    finally:
        os.umask(before)
    for path in paths:
        assert path.stat().st_mode & 0o777 == 0o600
        assert not re.search(rb"triple|multiply|masked|train|kind", path.read_bytes())


def test_a_run_goes_on_where_the_last_one_ended(tmp_path):
    paths, keys = make_files(tmp_path, 2, SMALL)
    assert opened(paths, keys, numbers(2)) == [[0, 1]] * 2
    assert [counter(path) for path in paths] == [2, 2]
    assert opened(paths, keys, numbers(3)) == [[2, 3, 4]] * 2
    assert opened(paths, keys, lambda source: (source.begun, source.left)) == [(5, 0)] * 2


def test_an_item_is_marked_as_used_on_the_disk_before_it_is_served(tmp_path, monkeypatch):
    items = [Choice(3)] * (2 * AHEAD + 3)
    paths, keys = make_files(tmp_path, 2, items)
    synced, real = set(), os.fdatasync

    def sync(file):
        real(file)
        synced.add(Path(f"/proc/self/fd/{file}").readlink())

    monkeypatch.setattr(os, "fdatasync", sync)

    def program(source):
        for _ in items:
            number = source.take(items[0]).number
            assert number < counter(source._path) <= number + AHEAD
        return len(items)

    assert opened(paths, keys, program) == [len(items)] * 2
    assert synced == set(paths)


def test_when_a_file_is_dry_all_parties_hear_it_before_a_message_of_the_step(tmp_path):
    paths, keys = make_files(tmp_path, 3, [Triple("multiply", (4,), (4,))] * 2)

    def program(party):
        source = StoredSource(paths[party.rank], keys[party.rank], party)
        p = AdditiveProtocol(party, source=source)
        for _ in range(2):
            p.bilinear(multiply, tuple(p.constant(np.ones(4, np.uint64)) for _ in range(2)))
        before = party.meter.total.rounds, party.meter.total.sent_bytes
        with pytest.raises(PreprocessingSpent, match=r"has no triple left .* radmpc deal"):
            p.bilinear(multiply, tuple(p.constant(np.ones(4, np.uint64)) for _ in range(2)))
        assert before == (party.meter.total.rounds, party.meter.total.sent_bytes)
        source.close()

    run_parties(3, program)


def test_what_is_asked_for_and_is_not_there_uses_nothing_up(tmp_path):
    paths, keys = make_files(tmp_path, 2, SMALL)

    def program(source):
        with pytest.raises(PreprocessingSpent, match=r"no addend left .* at item 0 of 5"):
            source.take(Addend(3, 64))
        return source.left

    assert opened(paths, keys, program) == [5, 5] and counter(paths[0]) == 0


def test_what_is_passed_over_is_used_up(tmp_path):
    paths, keys = make_files(tmp_path, 2, [Choice(3), Choice(4), Choice(3)])

    def program(source):
        return source.take(Choice(4)).number, source.take(Choice(3)).number, source.skipped

    assert opened(paths, keys, program) == [(1, 2, 1)] * 2
    assert counter(paths[0]) == counter(paths[1]) == 3


def test_all_go_on_from_the_furthest_that_any_has_come_to(tmp_path):
    paths, keys = make_files(tmp_path, 3, SMALL)
    early = paths[0].read_bytes()
    assert opened(paths, keys, numbers(3)) == [[0, 1, 2]] * 3
    paths[0].write_bytes(early)  # one site brought back an old copy
    assert opened(paths, keys, numbers(1)) == [[3]] * 3
    assert [counter(path) for path in paths] == [4] * 3


def test_a_file_is_locked_while_it_is_in_use(tmp_path):
    paths, keys = make_files(tmp_path, 2, SMALL)
    with paths[1].open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        first, second = opened(paths, keys)
    assert isinstance(second, UsageError) and str(second) == (
        f"{paths[1]} is in use by another process"
    )
    assert isinstance(first, PeerError) and str(first) == (
        "party 1 could not open its file of items, and says why in its own log"
    )
    with paths[0].open("rb") as other:  # and nobody holds it when the opening failed
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert opened(paths, keys, numbers(1)) == [[0]] * 2


def test_nothing_is_taken_from_a_source_that_was_closed(tmp_path):
    paths, keys = make_files(tmp_path, 2, SMALL)

    def program(source):
        source.close()
        with pytest.raises(UsageError, match="is closed"):
            source.take(SMALL[0])

    assert opened(paths, keys, program) == [None] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda p, k, other: p[1].unlink(),
            "could not be opened (No such file or directory): they come from",
        ),
        (lambda p, k, other: shutil.copy(p[0], p[1]), "is for party 0 of 2"),
        (lambda p, k, other: k.reverse(), "is damaged, or sealed with another key"),
        (lambda p, k, other: k.__setitem__(1, other[1][1]), "is damaged, or sealed with another"),
        (lambda p, k, other: p[1].write_bytes(b""), "is no file of items"),
        (lambda p, k, other: p[1].write_bytes(b"\x7fELF" * 99), "is no file of items"),
        (lambda p, k, other: os.truncate(p[1], p[1].stat().st_size - 1), "is damaged"),
        (lambda p, k, other: os.truncate(p[1], FRONT + 41), "is damaged"),
        (lambda p, k, other: p[1].write_bytes(p[1].read_bytes() + b"\0"), "is damaged"),
    ],
)
def test_a_file_that_will_not_do_is_refused_in_a_line_and_named_to_the_others(
    tmp_path, change, words
):
    paths, keys = make_files(tmp_path / "a", 2, SMALL)
    change(paths, keys, make_files(tmp_path / "b", 2, SMALL))
    first, second = opened(paths, keys)
    assert isinstance(second, UsageError) and words in str(second) and "\n" not in str(second)
    assert isinstance(first, UsageError | PeerError)
    assert not any(key.hex() in str(second) for key in keys)


def test_files_of_two_deals_do_not_go_together(tmp_path):
    (one, one_keys), (two, two_keys) = (
        make_files(tmp_path / name, 2, SMALL) for name in ("a", "b")
    )
    for outcome in opened([one[0], two[1]], [one_keys[0], two_keys[1]]):
        assert isinstance(outcome, OutOfStep) and "were not made together" in str(outcome)


def test_a_file_for_other_parties_or_another_purpose_is_refused(tmp_path):
    paths, keys = make_files(tmp_path, 3, SMALL, label="train 12")
    for outcome in opened(paths, keys, parties=2):
        assert "and this is party" in str(outcome)
    for outcome in opened(paths, keys, label="infer 12"):
        assert "was made for another command, or for a job with other settings" in str(outcome)
    assert opened(paths, keys, numbers(1), label="train 12") == [[0]] * 3


@settings(max_examples=80)
@given(data=st.data())
def test_a_bit_that_flips_anywhere_is_found_before_what_it_touches_is_used(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped")
    items = [Choice(2), Triple("multiply", (0,), (0,)), Masked(3, fraction=16)]
    paths, keys = make_files(folder, 2, items)
    rank = data.draw(st.sampled_from([0, 1, 1]))
    content = bytearray(paths[rank].read_bytes())
    place = data.draw(st.integers(0, len(content) * 8 - 1))
    content[place // 8] ^= 1 << place % 8
    paths[rank].write_bytes(content)
    outcome = opened(paths, keys, lambda source: take_all(source, items))[rank]
    assert isinstance(outcome, UsageError), f"bit {place} of {len(content) * 8}"
    shutil.rmtree(folder)


def test_parts_of_a_file_cannot_change_places(tmp_path):
    paths, keys = make_files(tmp_path, 2, SMALL[:2])
    content = paths[1].read_bytes()
    size = 2 * (3 * 8 + 16)  # of an item: two products and their tags
    paths[1].write_bytes(content[: -2 * size] + content[-size:] + content[-2 * size : -size])
    outcome = opened(paths, keys, numbers(1))[1]
    assert isinstance(outcome, UsageError) and "is damaged" in str(outcome)


def test_large_parts_are_sealed_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("mpc.sources.sealed.PIECE", 40)
    assert stored(2, ITEMS, tmp_path)
    test_the_parties_shares_add_up_to_masks_and_their_products(stored, 3, tmp_path / "three")


def test_dealing_never_replaces_a_file_and_leaves_none_when_it_fails(tmp_path):
    paths, keys = make_files(tmp_path, 2, SMALL)
    before = [path.read_bytes() for path in paths]
    with pytest.raises(UsageError, match=r"0\.items is there already"):
        deal(paths, keys, SMALL)
    paths[0].unlink()
    with pytest.raises(UsageError, match=r"1\.items is there already"):
        deal(paths, keys, SMALL)
    assert not paths[0].exists() and paths[1].read_bytes() == before[1]

    def fails():
        raise RuntimeError("no space left")

    new = [tmp_path / name for name in ("a", "b")]
    with pytest.raises(RuntimeError):
        deal(new, keys, SMALL, on_item=fails)
    assert not any(path.exists() for path in new)
    for wrong in ((new, keys[:1]), (new[:1], keys[:1]), ([new[0]] * 2, keys)):
        with pytest.raises(UsageError, match="each party has its own"):
            deal(*wrong, SMALL)


def test_a_file_that_was_not_finished_is_none(tmp_path):
    paths, keys = [tmp_path / "a", tmp_path / "b"], [bytes(32)] * 2
    kept = []

    def copy():
        kept[:] = [path.read_bytes() for path in paths]

    deal(paths, keys, SMALL, on_item=copy)
    for path, content in zip(paths, kept, strict=True):
        path.write_bytes(content)
    assert "is no file of items" in str(opened(paths, keys)[1])


def test_a_key_file_is_refused_unless_it_is_a_key_of_its_owner_alone(tmp_path):
    path = tmp_path / "items.key"
    with pytest.raises(
        UsageError, match=r"could not be read \(No such file or directory\): it comes"
    ):
        read_key(path)
    path.write_bytes(bytes(range(32)))
    path.chmod(0o640)
    with pytest.raises(UsageError, match="others may read the key file"):
        read_key(path)
    path.chmod(0o600)
    assert read_key(path) == bytes(range(32))
    path.write_bytes(bytes(31))
    with pytest.raises(UsageError, match="has 31 bytes, not 32"):
        read_key(path)


KILLED = """
import os, signal, sys
from pathlib import Path
from mpc.correlated.items import Choice
from mpc.errors import PreprocessingSpent
from mpc.launch import run_parties
from mpc.sources import StoredSource

folder, stop = Path(sys.argv[1]), int(sys.argv[2])

def program(party):
    key = (folder / f"{party.rank}.key").read_bytes()
    source = StoredSource(folder / f"{party.rank}.items", key, party)
    log = os.open(folder / f"{party.rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for turn in range(10_000):
        try:
            number = source.take(Choice(3)).number
        except PreprocessingSpent:
            os.write(log, b"spent\\n")
            return
        os.write(log, b"%d\\n" % number)
        if turn == stop + party.rank:
            os.kill(os.getpid(), signal.SIGKILL)

run_parties(2, program)
"""


def test_a_process_that_is_killed_and_started_again_serves_no_item_twice(tmp_path):
    paths, keys = make_files(tmp_path, 2, [Choice(3)] * (6 * AHEAD))
    for rank, key in enumerate(keys):
        (tmp_path / f"{rank}.key").write_bytes(key)

    def run(stop):
        line = [sys.executable, "-c", KILLED, str(tmp_path), str(stop)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(line, env=environment, timeout=60, check=False).returncode

    # Within what is marked ahead, at its end, and beyond it; then to the end of the file.
    stops = (3, AHEAD - 1, AHEAD + 9)
    for stop in stops:
        assert run(stop) == -signal.SIGKILL
    assert run(10_000) == 0
    for rank in range(2):
        *taken, last = (tmp_path / f"{rank}.log").read_text().split()
        served = list(map(int, taken))
        assert last == "spent" and served == sorted(set(served)) and served[-1] == 6 * AHEAD - 1
        # What a crash costs: as far as another party was ahead, and what that one had marked.
        assert 0 < 6 * AHEAD - len(served) <= sum(stops) + 3 * (AHEAD + 2)
        assert counter(paths[rank]) == 6 * AHEAD


def test_a_run_that_is_interrupted_notes_exactly_how_far_it_came(tmp_path):
    paths, keys = make_files(tmp_path, 2, SMALL)

    def at_party(party):
        source = StoredSource(paths[party.rank], keys[party.rank], party)
        try:
            source.take(SMALL[0])
            raise KeyboardInterrupt
        finally:
            source.close()

    with pytest.raises(KeyboardInterrupt):
        run_parties(2, at_party)
    assert [counter(path) for path in paths] == [1, 1]
