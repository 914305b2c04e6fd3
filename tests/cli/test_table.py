"""The table of protocols shows what each declares and what its words cost on the wire."""

import re

import pytest

from protocols.cli import main
from protocols.cli.table import ELEMENTS, PARTIES, WORDS, protocols_table, word_costs
from protocols.nn.session import PROTOCOLS

REP3 = {  # rounds, and bytes a party for an element, as the docstrings of protocols/rep3 say
    "input": (1, 8 / 3),
    "open": (1, 8),
    "bilinear": (1, 8),
    "truncate": (2, 42 / 3),
    "bilinear_truncate": (2, 58 / 3),
    "conj": (1, 1 / 8),
    "bit_to_ring": (2, (3 * 8 + 2 / 8) / 3),
    "select": (2, (4 * 8 + 2 / 8) / 3),
    "sign_bit": (6, (233 / 8 + 2 * 31 / 8 + 3 * 26 / 8) / 3),
    "positive_part": (7, (233 / 8 + 2 * 31 / 8 + 3 * 25 / 8 + 4 / 8 + 4 * 8) / 3),
}

# Two parties: rounds, bytes that each sends, and bytes that the last is dealt, for an element.
ADDITIVE = {
    "input": (1, 1 / ELEMENTS, 0),
    "open": (1, 8, 0),
    "bilinear": (1, 16, 8),  # both factors are opened; f(a, b)
    "truncate": (1, 8, 10),  # high bits of the mask, and its top bit in 16
    "bilinear_truncate": (2, 24, 18),
    "conj": (1, 2 / 8, 1 / 8),
    "bit_to_ring": (1, 1 / 8, 8),
    "select": (1, 8 + 1 / 8, 16),
    "sign_bit": (3, 8 + 34 / 8, 42),
    "positive_part": (4, 8 + 35 / 8, 58),
}


@pytest.fixture(scope="module")
def costs():
    return {name: word_costs(name) for name in PROTOCOLS}


def test_every_protocol_is_in_the_table_with_what_it_declares():
    text = protocols_table()
    for name, kind in PROTOCOLS.items():
        a = kind.assumptions
        row = next(line for line in text.splitlines() if re.match(rf"[│|] {name} ", line))
        assert a.parties in row and a.corrupt in row
        assert a.adversary.split()[0] in row
    for word in WORDS:
        assert len([line for line in text.splitlines() if re.match(rf"[│|] {word} ", line)]) == 1
    assert max(map(len, text.splitlines())) <= 110 and "\x1b" not in text


def test_the_numbers_shown_are_those_measured(costs):
    rows = protocols_table().splitlines()
    for word in WORDS:
        row = next(line for line in rows if re.match(rf"[│|] {word} ", line))
        shown = [cell.strip() for cell in re.split("[│|]", row)[2:-1]]
        expected = []
        for name in PROTOCOLS:
            rounds, sent, dealt = costs[name][word]
            expected += [str(rounds), f"{sent:.2f}"]
            expected += [f"{dealt:.2f}"] if name == "additive" else []
        assert shown == expected


def test_the_clear_interpreter_sends_nothing(costs):
    assert set(costs["clear"].values()) == {(0, 0.0, 0.0)}


@pytest.mark.parametrize("word", REP3)
def test_what_a_word_of_rep3_costs_is_what_its_source_says(costs, word):
    assert costs["rep3"][word] == (REP3[word][0], pytest.approx(REP3[word][1]), 0)


@pytest.mark.parametrize("word", ADDITIVE)
def test_what_a_word_of_additive_costs_is_what_its_source_says(costs, word):
    rounds, sent, dealt = ADDITIVE[word]
    assert costs["additive"][word] == (rounds, pytest.approx(sent), pytest.approx(dealt))


def test_the_same_words_are_measured_for_every_protocol(costs):
    assert PARTIES.keys() == PROTOCOLS.keys()
    assert all(list(found) == list(WORDS) for found in costs.values())


def test_the_command_prints_the_table(capsys):
    assert main(["protocols"]) == 0
    out = capsys.readouterr().out
    assert "rep3" in out and "bilinear_truncate" in out and not out.endswith("\n\n")
