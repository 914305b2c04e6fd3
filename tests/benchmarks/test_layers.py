"""Rounds of the layers that a CNN is made of, against what they may take."""

import pytest

from benchmarks.layers import LIMITS, format_rounds, rounds_of_layers
from mpc.launch import run_parties


@pytest.fixture(scope="module")
def measured():
    parties = run_parties(3, rounds_of_layers)
    assert parties[0] == parties[1] == parties[2]
    return parties[0]


@pytest.mark.parametrize("layer", LIMITS)
def test_a_layer_takes_no_more_rounds_than_it_may(layer, measured):
    assert 0 < measured[layer] <= LIMITS[layer]


def test_the_limit_stands_beside_what_was_measured(measured):
    lines = format_rounds(measured).splitlines()
    assert len(lines) == len(LIMITS)
    for line, (layer, limit) in zip(lines, LIMITS.items(), strict=True):
        assert line.startswith(layer)
        assert line.endswith(f"{measured[layer]} rounds (limit {limit})")
