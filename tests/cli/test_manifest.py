import hashlib
import json
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.cli import manifest
from protocols.cli.manifest import digest, plain, versions, write_manifest

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(-1e300, 1e300)
SETTINGS = st.dictionaries(
    st.text(max_size=6),
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    ),
    max_size=5,
)


@dataclass(frozen=True)
class Training:
    rate: float
    sites: tuple[str, ...]


def test_a_manifest_reads_back_as_it_was_written(tmp_path):
    run = {
        "settings": Training(0.05, ("north", "south")),
        "seconds": np.float64(1.5),
        "rounds": np.int64(12),
        "folder": Path("out/run"),
        "opened": [{"what": "loss", "shape": (), "to": {2, 0, 1}, "reason": "curve"}],
        "loss": float("nan"),
        "file": "broken \udce9.dcm",
    }
    write_manifest(tmp_path / "manifest.json", run)
    text = (tmp_path / "manifest.json").read_bytes()
    assert text.endswith(b"\n") and text.isascii()
    assert json.loads(text) == {
        "settings": {"rate": 0.05, "sites": ["north", "south"]},
        "seconds": 1.5,
        "rounds": 12,
        "folder": "out/run",
        "opened": [{"what": "loss", "shape": [], "to": [0, 1, 2], "reason": "curve"}],
        "loss": "nan",
        "file": "broken \udce9.dcm",
    }


def test_only_the_owner_may_read_a_manifest_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_manifest(tmp_path / "manifest.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "manifest.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("failing", ["fsync", "fdopen"])
def test_a_write_that_fails_leaves_the_old_manifest_and_nothing_else(
    tmp_path, monkeypatch, failing
):
    path = tmp_path / "manifest.json"
    write_manifest(path, {"epoch": 1})

    def fails(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(manifest.os, failing, fails)
        with pytest.raises(OSError, match="no space left"):
            write_manifest(path, {"epoch": 2})
    assert json.loads(path.read_text()) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, events = tmp_path / "manifest.json", []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(manifest.os, "fsync", lambda f: (events.append("sync"), sync(f))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (events.append("name"), replace(a, b))[1])
    write_manifest(path, {"epoch": 1})
    assert events == ["sync", "name", "sync"]


@pytest.mark.parametrize(
    "value", [b"key", bytearray(2), np.zeros(3), object(), 1j, Training, print, range]
)
def test_a_value_that_is_not_plain_is_refused_by_its_type_alone(tmp_path, value):
    with pytest.raises(TypeError, match=f"a {type(value).__name__} has no place in a manifest"):
        write_manifest(tmp_path / "manifest.json", {"outer": [{"inner": value}]})
    assert not list(tmp_path.iterdir())


def test_a_key_that_is_not_a_string_is_refused():
    with pytest.raises(TypeError, match="keys are strings here, not int"):
        digest({"layers": {1: "conv"}})


def test_a_digest_is_sha256_of_canonical_json():
    canonical = b'{"a":[1,2.5,true,null],"b":{"c":"\\u00e9"}}'
    settings = {"b": {"c": "é"}, "a": (1, 2.5, True, None)}
    assert digest(settings) == hashlib.sha256(canonical).hexdigest()


@given(SETTINGS)
def test_the_order_of_the_keys_does_not_change_a_digest(settings):
    assert digest(dict(reversed(settings.items()))) == digest(settings)
    assert digest(json.loads(json.dumps(settings))) == digest(settings)


@given(SETTINGS, SETTINGS)
def test_settings_that_differ_have_digests_that_differ(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float32("-inf")])
def test_a_digest_of_a_number_that_is_not_finite_is_refused(number):
    with pytest.raises(ValueError, match="not finite"):
        digest({"training": {"rate": number}})


def test_plain_values_stay_as_they_are():
    value = {"a": [1, 2.5, "x", None, True]}
    assert plain(value) == value


def test_versions_name_what_the_run_stands_on():
    found = versions()
    assert found["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["torch"].startswith("2.13.0")
    assert set(found) >= {"radmpc", "mpi4py", "pydicom", "mpi", "platform", "cpu"}
    assert all(isinstance(value, str) and value for value in found.values())
    json.dumps(found)


def test_asking_for_versions_does_not_start_mpi(monkeypatch):
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    assert versions()["mpi"] == "not in use"
    assert "mpi4py.MPI" not in sys.modules


def test_the_mpi_library_speaks_for_itself_when_it_runs(monkeypatch):
    running = types.SimpleNamespace(Get_library_version=lambda: "Open MPI v5.0.11, more\nrest\0")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", running)
    assert versions()["mpi"] == "Open MPI v5.0.11, more"
