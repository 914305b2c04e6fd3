"""CrypTen programs on our wires, kernels, comparisons and streams, each checked by itself."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from mpc.launch import mpirun

pytest.importorskip("protocols.interop.crypten", exc_type=ImportError)

from tests.interop.body import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.mpi


def ranks(parties, *command):
    """Run a Python command under mpirun."""
    line, environment = mpirun(parties, command)
    return subprocess.run(
        line, env=environment, cwd=ROOT, capture_output=True, timeout=280, check=False
    )


@cache
def outcomes(parties, folder):
    """What came of every program, all of them under one mpirun."""
    results = Path(folder) / "results.json"
    ran = ranks(parties, "-m", "tests.interop.body", str(results))
    found = json.loads(results.read_text()) if results.exists() else {}
    return found, ran.stderr.decode(errors="replace")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("crypten"))


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("name", [program.__name__ for program in PROGRAMS])
def test_with(name, parties, folder, tmp_path_factory):
    where = Path(folder) / str(parties)
    where.mkdir(exist_ok=True)
    found, errors = outcomes(parties, str(where))
    assert found.get(name) == "passed", errors[-4000:]


PROGRAM = """
import sys
import crypten, torch
import crypten.mpc as mpc

@mpc.run_multiprocess(world_size=2)
def main():
    x = crypten.cryptensor(torch.tensor([1.0, -2.0]), src=0)
    crypten.print(sys.argv[1], x.relu().get_plain_text().tolist())

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("parties", [0, 2])
def test_a_program_runs_unchanged_under_mpirun_and_without(parties, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = ("-m", "protocols.interop.crypten", str(program), "said")
    if parties:
        ran = ranks(parties, *command)
    else:
        ran = subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, timeout=280, check=False
        )
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.decode().split() == ["said", "[1.0,", "0.0]"]


def test_a_program_that_fails_at_one_party_ends_all(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        PROGRAM.replace("x.relu()", "x.relu() + x.get_plain_text()[x._tensor.rank:1][0] * 0")
    )
    ran = ranks(2, "-m", "protocols.interop.crypten", str(program), "said")
    assert ran.returncode != 0


def test_what_a_failing_program_says_is_not_repeated(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys\nraise ValueError('seen: ' + sys.argv[1])")
    ran = ranks(1, "-m", "protocols.interop.crypten", str(program), "12.25")
    said = ran.stderr.decode()
    assert ran.returncode != 0
    assert "ValueError" in said and "line 2" in said and "12.25" not in said


def test_another_number_of_ranks_is_refused_by_name(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ran = ranks(3, "-m", "protocols.interop.crypten", str(program), "said")
    assert ran.returncode != 0
    assert "mpirun -n 2" in ran.stderr.decode()
