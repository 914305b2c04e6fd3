"""A share file opens for its own party, key and model, whole, or not at all."""

import os
import pickle
import struct
import threading

import numpy as np
import pytest
import torch
from torch import nn

from mpc import files
from mpc.errors import OutOfStep, UsageError
from mpc.launch import run_parties
from protocols.nn import Session
from protocols.nn.tensor import SecretTensor
from protocols.training import checkpoint
from protocols.training.checkpoint import (
    MAGIC,
    load,
    make_key,
    read_header,
    read_key,
    read_share,
    save,
)

KEY = bytes(range(32))
RECIPE = {"name": "small", "options": {"width": 5}}


class Small(nn.Module):
    """Every kind of tensor a module may have: parameters, tied ones, buffers kept and not."""

    def __init__(self, width=5):
        super().__init__()
        self.first = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.second = nn.Linear(width, 4, bias=False)
        self.third = nn.Linear(width, 4, bias=False)
        self.third.weight = self.second.weight
        self.register_buffer("scale", torch.full((4,), 0.5), persistent=False)

    def forward(self, x):
        return self.second(self.norm(self.first(x))) * self.scale


DRAWING = threading.Lock()


def model(seed=0, width=5):
    with DRAWING:  # parties are threads here, and PyTorch's generator is the process's
        torch.manual_seed(seed)
        made = Small(width)
        made.norm.running_mean.normal_()
    return made


def opened(session, secret):
    tensors = [*secret.named_parameters(), *secret.named_buffers()]
    return {
        name: session.open(t, reason="a test on made-up weights")
        for name, t in tensors
        if isinstance(t, SecretTensor)
    }


def saved_in_the_clear(path, seed=0, key=KEY, epoch=3):
    session = Session(protocol="clear")
    save(session, session.secure(model(seed)), path, key, epoch=epoch, recipe=RECIPE)
    return session


def saved_by_three(folder, seed=0):
    """One file a party, each under a key of its own; what rep3 parties do."""

    def program(party):
        session = Session(party)
        path, key = folder / f"{party.rank}.share", bytes([party.rank]) * 32
        secret = session.secure(model(seed), owner=0)
        save(session, secret, path, key, epoch=1, recipe=RECIPE)
        return [t.secret.share for t in secret.state_dict().values() if hasattr(t, "secret")]

    return run_parties(3, program)


def close(found, plain):
    """Weights come back as the ring holds them: to half a step of 2^-16."""
    expected = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
    assert set(found) == {n for n, t in expected.items() if t.is_floating_point()}
    for name, value in found.items():
        assert (value - expected[name]).abs().max() <= 2**-17 + 1e-9, name


def test_what_is_saved_in_the_clear_comes_back(tmp_path):
    path = tmp_path / "deep" / "model.share"
    session = saved_in_the_clear(path)
    other = model(seed=1)
    header = load(session, other, read_share(session, other, path, KEY))
    assert header == read_header(path)
    assert (header.epoch, header.model, header.rank, header.parties) == (3, RECIPE, 0, 1)
    assert all(isinstance(p, SecretTensor) for p in other.parameters())
    assert isinstance(other.scale, SecretTensor) and other.third.weight is other.second.weight
    close(opened(session, other), model(seed=0))


def test_what_three_parties_save_comes_back_to_them(tmp_path):
    saved_by_three(tmp_path)

    def program(party):
        session, other = Session(party), model(seed=party.rank + 5)
        path, key = tmp_path / f"{party.rank}.share", bytes([party.rank]) * 32
        load(session, other, read_share(session, other, path, key))
        x = session.share(torch.ones(3, 4) if party.rank == 0 else None, owner=0)
        other.eval()
        y = session.open(other(x), reason="a test")
        return opened(session, other), y

    plain = model(seed=0).eval()
    for found, y in run_parties(3, program):
        close(found, plain)
        assert (y - plain(torch.ones(3, 4))).abs().max() < 2**-10


def test_a_loaded_model_trains_on(tmp_path):
    session = saved_in_the_clear(tmp_path / "m")
    other = model(seed=1)
    load(session, other, read_share(session, other, tmp_path / "m", KEY))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    before = opened(session, other)["second.weight"]
    other(session.share(torch.randn(6, 4), owner=0)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, opened(session, other)["second.weight"])


def test_no_share_and_no_weight_is_in_a_file_in_the_clear(tmp_path):
    shares = saved_by_three(tmp_path)
    weight = np.float32(0.5).tobytes() * 4, np.full(4, 0.5).tobytes()
    for rank in range(3):
        content = (tmp_path / f"{rank}.share").read_bytes()
        for share in shares[rank]:
            for term in share.terms:
                assert term.tobytes()[:16] not in content
                assert term.size == 1 or term.tobytes()[-16:] not in content
        for plain in weight:
            assert plain not in content
    saved_in_the_clear(tmp_path / "clear.share")
    content = (tmp_path / "clear.share").read_bytes()
    for t in model(seed=0).state_dict().values():
        ring = np.rint(t.double().numpy() * 2**16).astype(np.int64).tobytes()
        assert len(ring) < 16 or (ring[:16] not in content and ring[-16:] not in content)


def test_two_saves_of_the_same_shares_have_nothing_secret_in_common(tmp_path):
    for name in "ab":
        saved_in_the_clear(tmp_path / name)
    a, b = ((tmp_path / name).read_bytes() for name in "ab")
    assert read_header(tmp_path / "a").save != read_header(tmp_path / "b").save
    assert a[-64:] != b[-64:] and len(a) == len(b)


def test_files_of_one_save_carry_one_mark_that_all_parties_drew(tmp_path):
    saved_by_three(tmp_path)
    headers = [read_header(tmp_path / f"{rank}.share") for rank in range(3)]
    assert len({h.save for h in headers}) == 1 and len(headers[0].save) == 32
    assert [h.rank for h in headers] == [0, 1, 2]
    assert headers[0].tensors == headers[1].tensors == headers[2].tensors


def test_another_key_does_not_open_a_file(tmp_path):
    session = saved_in_the_clear(tmp_path / "m")
    with pytest.raises(UsageError, match="does not open with this key, or was changed"):
        read_share(session, model(), tmp_path / "m", bytes(32))


def test_a_changed_byte_anywhere_is_noticed(tmp_path):
    session = saved_in_the_clear(tmp_path / "m")
    whole = bytearray((tmp_path / "m").read_bytes())
    front = len(MAGIC) + 4 + struct.unpack_from("<I", whole, len(MAGIC))[0]
    places = [*range(0, front + 12), *range(front + 12, len(whole), 7), len(whole) - 1]
    plain = model()
    for place in places:
        for change in (1, 0x80):
            changed = bytearray(whole)
            changed[place] ^= change
            (tmp_path / "m").write_bytes(changed)
            with pytest.raises(UsageError):
                read_share(session, plain, tmp_path / "m", KEY)
    (tmp_path / "m").write_bytes(whole)
    read_share(session, plain, tmp_path / "m", KEY)


def test_a_file_that_is_cut_off_or_too_long_is_refused(tmp_path):
    session = saved_in_the_clear(tmp_path / "m")
    whole = (tmp_path / "m").read_bytes()
    for length in [*range(0, 40), *range(40, len(whole), 11), len(whole) - 1]:
        (tmp_path / "m").write_bytes(whole[:length])
        with pytest.raises(UsageError, match=r"cut off|does not open|not a share file"):
            read_share(session, model(), tmp_path / "m", KEY)
    (tmp_path / "m").write_bytes(whole + b"\0")
    with pytest.raises(UsageError, match="was changed"):
        read_share(session, model(), tmp_path / "m", KEY)


@pytest.mark.parametrize(
    "header",
    [
        b"[1]",
        b'"text"',
        b"null",
        b"{}",
        b'{"tensors": 5}',
        b'{"tensors": [["w", [Infinity], 1]]}',
        b'{"tensors": [["w", [1], NaN]]}',
        b'{"tensors": [], "rank": 0, "extra": 1}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_header_that_is_no_header_is_refused(tmp_path, header):
    (tmp_path / "m").write_bytes(MAGIC + struct.pack("<I", len(header)) + header + bytes(64))
    with pytest.raises(UsageError, match="is not a share file of radmpc, or is cut off"):
        read_header(tmp_path / "m")


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("something was unpickled"))
    monkeypatch.setattr(pickle, "load", lambda *_: pytest.fail("something was unpickled"))
    session = saved_in_the_clear(tmp_path / "m")
    read_share(session, model(), tmp_path / "m", KEY)
    for content in (pickle.dumps(Trap()), MAGIC + pickle.dumps(Trap())):
        (tmp_path / "m").write_bytes(content)
        with pytest.raises(UsageError):
            read_share(session, model(), tmp_path / "m", KEY)
    assert not (tmp_path / "sprung").exists()


def test_another_ranks_file_is_refused_and_says_whose_it_is(tmp_path):
    saved_by_three(tmp_path)

    def program(party):
        session = Session(party)
        path = tmp_path / f"{(party.rank + 1) % 3}.share"
        with pytest.raises(UsageError) as caught:
            read_share(session, model(), path, bytes([party.rank + 1]) * 32)
        return str(caught.value)

    told = run_parties(3, program)
    assert "belongs to rank 1 of 3 under rep3, not to rank 0 of 3 under rep3" in told[0]


def test_a_file_of_another_protocol_is_refused(tmp_path):
    saved_by_three(tmp_path)
    with pytest.raises(UsageError, match="rank 0 of 3 under rep3, not to rank 0 of 1 under clear"):
        read_share(Session(protocol="clear"), model(), tmp_path / "0.share", bytes(32))


def test_files_of_different_saves_are_refused_by_name_and_no_model_is_changed(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        saved_by_three(tmp_path / name)

    def program(party):
        party.name = ("north", "south", "west")[party.rank]
        party.introduce()
        session, plain = Session(party), model()
        folder = tmp_path / ("other" if party.rank == 1 else "one")
        path, key = folder / f"{party.rank}.share", bytes([party.rank]) * 32
        saved = read_share(session, plain, path, key)
        with pytest.raises(OutOfStep) as caught:
            load(session, plain, saved)
        assert not any(isinstance(t, SecretTensor) for t in plain.parameters())
        return str(caught.value)

    told = run_parties(3, program)
    assert all("share files: they are of different saves" in text for text in told)
    assert told[0].startswith("north and south differ") and "north, west" in told[1]


def test_a_model_of_another_architecture_is_refused_and_left_as_it_is(tmp_path):
    session = saved_in_the_clear(tmp_path / "m")
    for other in (model(width=6), nn.Linear(4, 5)):
        with pytest.raises(UsageError, match="shares of another architecture"):
            read_share(session, other, tmp_path / "m", KEY)
        assert not any(isinstance(t, SecretTensor) for t in other.parameters())


def test_a_model_that_is_not_shared_is_not_saved_as_shares(tmp_path):
    with pytest.raises(UsageError, match="secure it"):
        save(Session(protocol="clear"), model(), tmp_path / "m", KEY, epoch=1, recipe={})
    assert not (tmp_path / "m").exists()


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*: No such file"):
        read_header(tmp_path / "m")


def test_a_write_that_fails_leaves_the_file_before_it(tmp_path, monkeypatch):
    session = saved_in_the_clear(tmp_path / "m", epoch=1)

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", fails)
        with pytest.raises(OSError, match="No space left"):
            saved_in_the_clear(tmp_path / "m", seed=1, epoch=2)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert read_share(session, model(), tmp_path / "m", KEY).header.epoch == 1


def test_share_files_and_keys_are_their_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        saved_in_the_clear(tmp_path / "m")
        make_key(tmp_path / "deep" / "key")
    finally:
        os.umask(before)
    for path in (tmp_path / "m", tmp_path / "deep" / "key"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_made_once_and_is_another_each_time(tmp_path):
    one = make_key(tmp_path / "key")
    assert len(one) == 32 and make_key(tmp_path / "key") == one == read_key(tmp_path / "key")
    assert make_key(tmp_path / "other") != one


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o611])
def test_a_key_that_others_may_read_is_refused_and_left_alone(tmp_path, mode):
    key = make_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    for use in (make_key, read_key):
        with pytest.raises(
            UsageError, match=r"others may read the key file .*: chmod 600"
        ) as caught:
            use(tmp_path / "key")
        assert key.hex() not in str(caught.value)
    assert (tmp_path / "key").read_bytes() == key
    (tmp_path / "key").chmod(0o400)
    assert read_key(tmp_path / "key") == key


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_refused(tmp_path, size):
    (tmp_path / "key").write_bytes(bytes(size))
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(UsageError, match=f"has {size} bytes, not 32"):
        read_key(tmp_path / "key")


def test_a_missing_key_is_asked_for_and_not_made_by_reading(tmp_path):
    for path in (tmp_path / "key", tmp_path):
        with pytest.raises(UsageError, match="no key file at"):
            read_key(path)
    assert not list(tmp_path.iterdir())


def test_the_header_says_nothing_but_names_shapes_and_the_recipe(tmp_path):
    saved_in_the_clear(tmp_path / "m")
    header = read_header(tmp_path / "m")
    assert set(header.__dataclass_fields__) == {
        *("protocol", "parties", "rank", "save", "epoch", "model", "tensors")
    }
    assert ("first.weight", (5, 4), 16) in header.tensors
    assert checkpoint.MAGIC == b"radmpc share 1\n"


def test_a_model_larger_than_a_chunk_is_sealed_in_several_that_belong_together(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoint, "CHUNK_BYTES", 64)
    session = saved_in_the_clear(tmp_path / "m")
    other = model(seed=1)
    load(session, other, read_share(session, other, tmp_path / "m", KEY))
    close(opened(session, other), model(seed=0))
    whole, sealed = (tmp_path / "m").read_bytes(), 64 + checkpoint.TAG_BYTES
    swapped = whole[: -2 * sealed] + whole[-sealed:] + whole[-2 * sealed : -sealed]
    for damaged in (whole[:-sealed], swapped):
        (tmp_path / "m").write_bytes(damaged)
        with pytest.raises(UsageError, match="does not open with this key"):
            read_share(session, model(seed=1), tmp_path / "m", KEY)
