"""A model's shares on disk: one file a party, encrypted and authenticated under that party's key.

Format: magic, the length of a JSON header, the header, and AES-256-GCM of the shares (NIST SP
800-38D) in chunks, with everything before as associated data. The header is public: names, shapes,
which save it belongs to. Nothing is pickled. A file is written beside its place and moved there, so
a crash leaves the one before.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from torch import nn

from kernels.machines import on_host
from mpc.errors import UsageError
from mpc.files import write_whole
from mpc.ring import WORD, Array, Shape
from protocols.nn import Session
from protocols.nn.tensor import SecretTensor
from protocols.secret import SecretArray, constant

MAGIC = b"radmpc share 1\n"
KEY_BYTES, PREFIX_BYTES, TAG_BYTES = 32, 8, 16
CHUNK_BYTES = 1 << 30


@dataclass(frozen=True)
class Header:
    """What anyone may know of a share file.

    Args:
        protocol: whose shares.
        parties: how many files make the model.
        rank: whose file this is.
        save: 16 random bytes, hex, the same in all files of one save.
        epoch: complete epochs.
        model: how to build the module: name and settings.
        tensors: name, shape and fractional bits of each tensor, in order.
    """

    protocol: str
    parties: int
    rank: int
    save: str
    epoch: int
    model: dict[str, Any]
    tensors: list[tuple[str, Shape, int]]


@dataclass(frozen=True)
class Saved:
    """A share file that was read, checked and decrypted: this party's words, and what they are."""

    path: Path
    header: Header
    words: Array = field(repr=False)


def make_key(path: Path) -> bytes:
    """The key in a file; made there, readable by its owner alone, if there is none.

    Raises:
        UsageError: the file is not 32 bytes, or others may read it.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())  # shares under a key that a power cut took are lost
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The key in a file.

    Raises:
        UsageError: no such file, not 32 bytes, or others may read it.
    """
    if not path.is_file():
        raise UsageError(
            f"no key file at {path}: it is made by training, or name another with key ="
        )
    if path.stat().st_mode & 0o077:
        raise UsageError(f"others may read the key file {path}: chmod 600 {path}")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise UsageError(f"the key file {path} has {len(key)} bytes, not {KEY_BYTES}")
    return key


def save(
    session: Session,
    model: nn.Module,
    path: Path,
    key: bytes,
    *,
    epoch: int,
    recipe: dict[str, Any],
) -> None:
    """Write this party's shares of a model. Every party calls it at the same step.

    No message, but for weights that wait to be truncated, as after `p.sub_(gradient)` outside an
    optimizer.

    Args:
        session: whose shares.
        model: all its floating-point tensors must be secret, as `Session.secure` makes them.
        path: this party's file.
        key: 32 bytes, this party's own.
        epoch: complete epochs.
        recipe: how to build the module, for `load`.
    """
    named = _slots(model)
    if not all(isinstance(t, SecretTensor) for _, t in named):
        raise UsageError("only a model whose weights are shared is saved as shares: secure it")
    arrays = [_secret(session, cast(SecretTensor, t)) for _, t in named]
    mark = session.protocol.coins((2,)).tobytes().hex()
    header = Header(
        protocol=session.protocol.name,
        parties=session.size,
        rank=session.rank,
        save=mark,
        epoch=epoch,
        model=recipe,
        tensors=[(name, a.shape, a.fraction) for (name, _), a in zip(named, arrays, strict=True)],
    )
    terms = [term for a in arrays for term in a.share.terms]
    plain = b"".join(np.ascontiguousarray(on_host(term)).tobytes() for term in terms)
    text = json.dumps(asdict(header), sort_keys=True).encode()
    front = MAGIC + struct.pack("<I", len(text)) + text
    write_whole(path, front + _seal(key, plain, front))


def read_header(path: Path) -> Header:
    """The public part of a share file, as it says itself: only `read_share` checks it."""
    return _split(path)[0]


def read_share(session: Session, model: nn.Module, path: Path, key: bytes) -> Saved:
    """This party's part of a model, checked and decrypted. No message; the model stays as it is.

    Raises:
        UsageError: not a share file, another key, rank, protocol or architecture, or damaged.
    """
    header, front, sealed = _split(path)
    mine = (session.protocol.name, session.size, session.rank)
    if (header.protocol, header.parties, header.rank) != mine:
        raise UsageError(
            f"{path} belongs to rank {header.rank} of {header.parties} under {header.protocol}, "
            f"not to rank {session.rank} of {session.size} under {session.protocol.name}"
        )
    try:
        plain = _unseal(key, sealed, front)
    except (InvalidTag, ValueError):
        raise UsageError(f"{path} does not open with this key, or was changed") from None
    words = np.frombuffer(plain, WORD)
    expected = session.protocol.terms * sum(math.prod(shape) for _, shape, _ in header.tensors)
    if words.size != expected:
        raise UsageError(f"{path} holds {words.size} words, and its header says {expected}")
    slots = [(name, tuple(t.shape)) for name, t in _slots(model)]
    if [(name, shape) for name, shape, _ in header.tensors] != slots:
        raise UsageError(f"{path} holds shares of another architecture than this model's")
    return Saved(path, header, words)


def load(session: Session, model: nn.Module, saved: Saved) -> Header:
    """Put this party's shares, as read, into the model. Cost: 1 round, to compare the save.

    Raises:
        OutOfStep: the parties' files are of different saves; names who differs.
    """
    header = saved.header
    if session.party is not None:
        save_mark = hashlib.sha256(header.save.encode()).digest()
        session.party.agree(save_mark, "share files: they are of different saves")
    terms, at, made = session.protocol.terms, 0, {}
    for name, shape, fraction in header.tensors:
        size = terms * math.prod(shape)
        rows = saved.words[at : at + size].reshape(terms, *shape)
        made[name] = session.array([np.array(row) for row in rows], fraction)
        at += size
    session.replace(model, made)
    return header


def _seal(key: bytes, plain: bytes, front: bytes) -> bytes:
    """A random prefix, then each chunk under the nonce prefix ‖ index.

    AES-GCM takes 2 GiB at once. The index and the number of chunks are associated data, with the
    header, so none can be dropped, moved or taken from another file.
    """
    prefix, cipher = secrets.token_bytes(PREFIX_BYTES), AESGCM(key)
    count = max(-(-len(plain) // CHUNK_BYTES), 1)
    chunks = (plain[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES] for i in range(count))
    return prefix + b"".join(
        cipher.encrypt(prefix + struct.pack("<I", i), chunk, front + struct.pack("<II", i, count))
        for i, chunk in enumerate(chunks)
    )


def _unseal(key: bytes, sealed: bytes, front: bytes) -> bytes:
    """What `_seal` sealed; raises InvalidTag or ValueError if anything differs."""
    prefix, body, cipher = sealed[:PREFIX_BYTES], sealed[PREFIX_BYTES:], AESGCM(key)
    step = CHUNK_BYTES + TAG_BYTES
    count = max(-(-len(body) // step), 1)
    return b"".join(
        cipher.decrypt(
            prefix + struct.pack("<I", i),
            body[i * step : (i + 1) * step],
            front + struct.pack("<II", i, count),
        )
        for i in range(count)
    )


def _split(path: Path) -> tuple[Header, bytes, bytes]:
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    at = len(MAGIC) + 4
    try:
        if not whole.startswith(MAGIC):
            raise ValueError
        (length,) = struct.unpack("<I", whole[len(MAGIC) : at])
        raw = json.loads(whole[at : at + length])
        raw["tensors"] = [(str(n), tuple(int(d) for d in s), int(f)) for n, s, f in raw["tensors"]]
        header = Header(**raw)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, struct.error):
        raise UsageError(f"{path} is not a share file of radmpc, or is cut off") from None
    end = at + length
    return header, whole[:end], whole[end:]


def _slots(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Every floating-point tensor of a model, those that its state dict leaves out too."""
    tensors = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    return [(name, t) for name, t in tensors if t.is_floating_point()]


def _secret(session: Session, t: SecretTensor) -> SecretArray[Any]:
    value = t.secret
    if isinstance(value, SecretArray):
        return value
    return constant(session.protocol, value)  # such as a running mean that no step has moved yet
