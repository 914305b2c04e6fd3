"""`scripts/gpu-check` keeps what it has found, and says what failed."""

import json
import subprocess
import time
from types import SimpleNamespace

import pytest

from benchmarks.gpu import __main__ as check
from benchmarks.gpu import training as trained
from kernels.cuda import card


def row(device, seconds):
    return {
        "case": "cnntrain",
        "batch": 128,
        "device": device,
        "seconds": seconds,
        "waiting": seconds / 4,
    }


@pytest.fixture
def checked(monkeypatch, tmp_path):
    """The command with parts of our own: its exit code, and what it wrote."""
    monkeypatch.setattr(card, "devices", lambda: ["a card"])

    def run(parts, *more):
        monkeypatch.setattr(check, "measuring", lambda end: parts)
        path = tmp_path / "gpu.json"
        return check.main(["--json", str(path), *more]), json.loads(path.read_text())

    return run


def test_a_part_that_fails_is_told_in_one_line_and_loses_nothing_else(checked, capsys):
    def broken():
        yield {"rates": [1]}
        raise RuntimeError("two\nlines")

    parts = {
        "first": lambda: iter([{"ceilings": {"a": 1}}, {"ceilings": {"b": 2}}]),
        "broken": broken,
        "last": lambda: iter([{"rates": [2, 3]}]),
    }
    code, found = checked(parts, "--no-tests")
    assert code == 1
    assert found == {
        "card": "a card",
        "failed": {"broken": "RuntimeError: two lines"},
        "ceilings": {"a": 1, "b": 2},
        "rates": [1, 2, 3],
    }
    assert "Traceback" in capsys.readouterr().err


def test_what_there_is_no_time_for_is_told(checked):
    code, found = checked({"late": lambda: iter([{"rates": [1]}])}, "--no-tests", "--minutes", "0")
    assert (code, found["failed"]) == (1, {"late": "TimeoutError: not begun: the time was over"})


@pytest.mark.parametrize(("ended", "passed"), [(0, True), (1, False)])
def test_rates_are_taken_whether_tests_pass_or_not(checked, monkeypatch, ended, passed):
    asked = []

    def run(line, *, timeout, env, **more):
        asked.append((timeout, env["RADMPC_TEST_CARD"]))
        return SimpleNamespace(returncode=ended)

    monkeypatch.setattr(check.subprocess, "run", run)
    code, found = checked({"case": lambda: iter([{"rates": [1]}])}, "--minutes", "2")
    assert found["tests"]["passed"] is passed and found["rates"] == [1]
    assert code == (0 if passed else 1) and ("tests" in found["failed"]) is not passed
    assert asked == [(pytest.approx(60, abs=2), "cuda")]


def test_without_a_card_it_ends_in_one_line(monkeypatch, capsys, tmp_path):
    def none():
        raise card.DeviceError("device cuda: no card")

    monkeypatch.setattr(card, "devices", none)
    assert check.main(["--json", str(tmp_path / "gpu.json")]) == 2
    assert capsys.readouterr().err == "radmpc: device cuda: no card\n"
    assert not list(tmp_path.iterdir())


def test_every_ceiling_and_case_is_a_part_and_training_comes_last():
    assert [*check.measuring(0.0)][-1] == "training"
    assert {"copy_bytes_per_s", "ring-64 products", "sign bits"} <= {*check.measuring(0.0)}


def test_training_is_set_beside_the_cpu_and_told_as_it_comes(monkeypatch, capsys):
    asked = []

    def measured(*arguments, limit_s):
        asked.append((*arguments, limit_s))
        return [row("a card" if "cuda" in arguments else "cpu", 0.1 if "cuda" in arguments else 2)]

    monkeypatch.setattr(trained, "measured", measured)
    monkeypatch.setattr(check, "_library", lambda: None)
    *_, last = check.measuring(time.monotonic())["training"]()
    assert last["training"]["ratio"] == pytest.approx(20)
    assert [a[0] for a in asked] == ["cnntrain@128"] * 2
    assert [a[2] for a in asked] == ["cuda", "cpu"] and asked[0][-1] == check.FOR_TRAINING
    said = capsys.readouterr().out
    assert "cnntrain, batch 128, a card" in said and "0.0750 computing and 0.0250 waiting" in said
    assert "20.0 times as fast as the CPU, asked 10" in said


def test_a_card_that_trained_is_kept_where_the_cpu_did_not(monkeypatch):
    def measured(*arguments, limit_s):
        if "cpu" in arguments:
            raise subprocess.CalledProcessError(124, "timeout")
        return [row("a card", 0.1)]

    monkeypatch.setattr(trained, "measured", measured)
    found = {"failed": {}}
    steps = trained.training(limit_s=1)
    found |= next(steps)
    assert found["cuda"]["seconds"] == 0.1
    with pytest.raises(subprocess.CalledProcessError):
        next(steps)
