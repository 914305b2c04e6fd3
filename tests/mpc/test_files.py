"""Files that appear whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mpc import files
from mpc.files import write_whole

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_is_written_with_mode_600_in_folders_that_are_made(tmp_path):
    before = os.umask(0)
    try:
        path = write_whole(tmp_path / "a" / "b" / "share", b"words")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"words"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_replaces_another_whatever_that_ones_mode_and_length(tmp_path):
    path = tmp_path / "share"
    path.write_bytes(b"x" * 10_000)
    path.chmod(0o644)
    assert write_whole(str(path), b"new") == path
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "elsewhere").read_bytes() == b"old"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = write_whole(tmp_path / "share", b"old")

    def fails(*_):
        raise OSError("no space")

    monkeypatch.setattr(files.os if step == "fsync" else files.Path, step, fails)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_that_dies_while_writing_leaves_the_old_file_whole(tmp_path):
    path = write_whole(tmp_path / "share", b"old")
    program = (
        "import os, signal, sys; from mpc.files import write_whole\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_whole(sys.argv[1], b'new' * 100_000)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", program, path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        timeout=60,
    )
    assert died.returncode < 0
    assert path.read_bytes() == b"old"
    for left in tmp_path.iterdir():  # what lies beside it is for its owner's eyes only, too
        assert stat.S_IMODE(left.stat().st_mode) == 0o600
