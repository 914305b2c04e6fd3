"""Items made ahead in files: each served once, whatever happens, and nothing else taken for one."""

import fcntl
import os
import re
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
from mpc.correlated.items import (
    Addend,
    Carries,
    Choice,
    Masked,
    Triple,
)
from mpc.errors import OutOfStep, PeerError, PreprocessingSpent, UsageError
from mpc.launch import run_parties
from mpc.sources import (
    StoredSource,
    deal,
)
from mpc.sources.sealed import read_key
from mpc.sources.stored import AHEAD
from protocols.additive import AdditiveProtocol
from tests.mpc.dealt import ITEMS, make_files, take_all

ROOT = Path(__file__).resolve().parents[2]
FRONT, USED = 56, 56  # bytes of a file's front; where its counter stands
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


def test_a_large_array_whose_last_chunk_has_no_items_sends_nothing_and_uses_nothing_up(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("protocols.base.CHUNK", 8)
    first = [Masked(8, low=63), Carries(16, 8)]
    paths, keys = make_files(tmp_path, 2, [*first, Masked(4, low=63), *first])

    def program(party):
        source = StoredSource(paths[party.rank], keys[party.rank], party)
        p = AdditiveProtocol(party, source=source)
        before = party.meter.total.rounds, party.meter.total.sent_bytes
        with pytest.raises(PreprocessingSpent, match=r"has no carries left .* at item 0 of 5"):
            p.sign_bit(p.constant(np.ones(12, np.uint64)))
        assert before == (party.meter.total.rounds, party.meter.total.sent_bytes)
        p.sign_bit(p.constant(np.ones(8, np.uint64)))
        left = source.left
        source.close()
        return left

    assert run_parties(2, program) == [3, 3]


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
