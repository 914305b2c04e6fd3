"""Cost against size: rows of their own ranks, each compared with the one before."""

import json

import pytest

from benchmarks import sizes
from benchmarks.__main__ import main
from benchmarks.sizes import HEAD, LADDERS, climb, follow, format_row

RESULT = {"case": "relu", "rounds": 10, "bytes_per_party": 36_000, "peak_mib": 300.0}


def results(*rows):
    return [RESULT | {"batch": n, "seconds": seconds} for n, seconds in rows]


def test_growth_compares_seconds_an_input_with_the_row_before():
    small, large = results((1000, 0.5), (10_000, 10.0))
    first = follow(None, small)
    second = follow(first, large)
    assert (first.seconds_each, first.growth) == (pytest.approx(5e-4), None)
    assert second.growth == pytest.approx(2.0)
    assert second.as_dict()["seconds_each"] == pytest.approx(1e-3)
    assert format_row(second).endswith("2.00")
    assert len(format_row(first)) == len(format_row(second)) == len(HEAD)


def test_every_size_is_measured_on_its_own_and_starts_afresh_with_each_case(monkeypatch, tmp_path):
    asked = []

    def measured(case, *passed):
        name, _, batch = case.partition("@")
        asked.append((name, int(batch), passed))
        return [RESULT | {"case": name, "batch": int(batch), "seconds": 1e-3 * int(batch)}]

    monkeypatch.setattr(sizes, "measured", measured)
    assert main(["--sizes", "--width", "32", "--json", str(tmp_path / "rows.json")]) == 0
    every = [(name, n, ("--width", "32")) for name, ladder in LADDERS.items() for n in ladder]
    assert asked == every
    rows = json.loads((tmp_path / "rows.json").read_text())
    firsts = {name: ladder[0] for name, ladder in LADDERS.items()}
    for row in rows:
        first = row["inputs"] == firsts[row["case"]]
        assert row["growth"] == (None if first else pytest.approx(1.0))


@pytest.mark.mpi
def test_a_size_is_measured_by_ranks_of_its_own():
    (row,) = climb("relu", [100], ["--repeats", "1"])
    assert (row.case, row.inputs, row.growth) == ("relu", 100, None)
    assert min(row.seconds, row.rounds, row.bytes_per_party, row.peak_mib) > 0
