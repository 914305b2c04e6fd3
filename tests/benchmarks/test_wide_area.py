"""The report of the cases over far links: its columns add up, and no time is shorter than a link's.

Whether a round lasts as long as it should is `test_network`'s to prove.
"""

import json
import subprocess

import pytest

from benchmarks.cases import CASES
from benchmarks.layers import LIMITS
from benchmarks.network import Network
from benchmarks.wide_area import HEAD, NETWORKS, Row, format_row, report
from mpc.launch import mpirun, run_parties

ROW = Row("cnn", 32, 0.040, 100e6, seconds=12.0, rounds=90, bytes_per_party=125_000_000)


def test_a_row_says_what_of_its_time_the_network_explains():
    assert ROW.travelling_s == pytest.approx(1.8)
    assert ROW.sending_s == pytest.approx(10.0)
    assert ROW.as_dict()["sending_s"] == ROW.sending_s
    assert format_row(ROW).split()[-6:] == ["1.80", "s", "15%", "10.00", "s", "83%"]
    assert len(format_row(ROW)) == len(HEAD)


def test_each_case_is_measured_over_each_network_and_rounds_are_below(capsys):
    networks = (Network(0.0, 1e9), Network(0.002, 1e9))
    made = run_parties(
        3,
        lambda party: report(party, [(CASES["relu"], 10)], networks, width=64, repeats=1),
    )
    assert made[0] == made[1] == made[2]
    near, far = made[0]["rows"]
    assert (near["rounds"], near["bytes_per_party"]) == (far["rounds"], far["bytes_per_party"])
    assert far["travelling_s"] == pytest.approx(far["rounds"] * 0.001)
    said = capsys.readouterr().out
    assert HEAD in said
    assert all(layer in said for layer in LIMITS)


@pytest.mark.mpi
def test_the_command_puts_its_ranks_far_apart(tmp_path):
    out = tmp_path / "rows.json"
    command = ["-m", "benchmarks", "relu@10", "--network", "wan", "--json", str(out)]
    line, environment = mpirun(3, command)
    ran = subprocess.run(line, env=environment, capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    made = json.loads(out.read_text())
    assert [row["rtt_s"] for row in made["rows"]] == [n.rtt_s for n in NETWORKS["wan"]]
    assert made["rounds"].keys() == LIMITS.keys()
