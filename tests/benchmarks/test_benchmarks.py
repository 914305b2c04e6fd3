"""Every benchmark runs once, tiny, so that none can rot. Nothing is timed here."""

import json
import subprocess

import pytest

from benchmarks.__main__ import main
from benchmarks.cases import CASES
from benchmarks.peers.beside import PEERS, SHARED, Row, as_json
from benchmarks.peers.beside import format_row as format_beside
from benchmarks.peers.chart import draw
from benchmarks.roofline import Machine, floor_seconds, measure
from benchmarks.runner import format_row, run
from mpc.launch import mpirun, run_parties

MACHINE = Machine("a CPU", 2, "avx512", 18.0, 5.0, 3.0, 20.0)
KEYS = {"case", "protocol", "parties", "device", "seconds", "rounds", "bytes_per_party", "peak_mib"}


def beside(**peers):
    return Row("cnn", 32, 0.5, 90, 120_000_000, {p.name: peers.get(p.environment) for p in PEERS})


@pytest.mark.parametrize("name", CASES)
def test_each_case_runs_and_is_metered_alike_at_all_parties(name):
    rows = run_parties(
        3,
        lambda party: run(party, CASES[name], protocol="rep3", width=64, batch=1, repeats=1),
    )
    assert rows[0] == rows[1] == rows[2]
    assert rows[0].rounds > 0
    assert rows[0].bytes_per_party > 0
    assert rows[0].as_dict().keys() >= KEYS
    assert name in format_row(rows[0])


def test_floors_count_products_masks_and_the_wire():
    assert floor_seconds(MACHINE, products=18 * 10**9, bytes_per_party=0) == pytest.approx(3.0)
    only_bytes = floor_seconds(MACHINE, products=0, bytes_per_party=3e9)
    assert only_bytes == pytest.approx(1.0 + 6 * 3e9 / 5e9 / 2)


def test_the_machine_is_measured_the_same_for_all_parties():
    rates = run_parties(3, measure)
    assert rates[0] == rates[1] == rates[2]
    assert min(rates[0].products_g, rates[0].stream_gb, rates[0].wire_gb, rates[0].round_us) > 0


def test_a_row_beside_peers_names_the_fastest_that_ran():
    row = beside(crypten=9.0, spu=8.0)
    assert row.fastest == ("SPU aby3 3PC", 8.0)
    assert "16.0x faster than SPU aby3 3PC" in format_beside(row)
    (made,) = as_json([row], MACHINE)
    assert made["ratio_to_fastest_peer"] == pytest.approx(0.5 / 8.0)
    assert 0 < made["floor"] < 0.5


def test_a_row_without_peers_says_so():
    assert beside().fastest is None
    assert "no peer ran" in format_beside(beside())


def test_the_chart_has_a_group_for_each_case(tmp_path):
    draw([beside(crypten=9.0)], tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    assert "<svg" in text


def test_an_unknown_case_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["cnnn"])
    said = capsys.readouterr().err
    assert all(name in said for name in SHARED)


@pytest.mark.mpi
def test_the_command_starts_its_own_ranks_and_writes_the_rows(tmp_path):
    line, environment = mpirun(
        3, ["-m", "benchmarks", "relu@100", "--repeats", "1", "--json", str(tmp_path / "rows.json")]
    )
    ran = subprocess.run(line, env=environment, capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row.keys() >= KEYS
    assert (row["case"], row["parties"], row["batch"]) == ("relu", 3, 100)
