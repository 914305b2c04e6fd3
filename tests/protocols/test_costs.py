"""Declared costs are promises: what the wire saw is what the docstrings say.

Bytes are those of the three parties together for each element, in parts: a third of them is a
party's on average. Each word is run three times, so that each rank plays each role; then all three
have sent the same.
"""

import pytest

from kernels.gemm import matmul
from kernels.ring import multiply
from mpc.launch import run_parties
from protocols import functions
from protocols.functions import extremes
from protocols.rep3 import Rep3Protocol
from protocols.secret import SecretArray, products
from tests.protocols.cases import (
    HALF,
    THIRD,
    N,
    after_product,
    chosen,
    given,
    given_by_first,
    of_array,
    of_bits,
    of_share,
    opened,
    ring,
    row,
    square,
    tree,
    with_planes,
)


def merges(pairs):
    """Bits a party for the levels of the carry tree, and how many levels there are."""
    bits, levels, m = 0, 0, pairs
    while m > 1:
        bits, levels, m = bits + 2 * (m // 2) - 1, levels + 1, (m + 1) // 2
    return bits, levels


def sign(width):
    """Rounds and bytes of a sign: products of blocks and the top bit, carries, and the tree."""
    low = width - 1
    products, blocks = 15 * (low // 4) + 2 ** (low % 4) - 1, -(-low // 4)
    bits, levels = merges(blocks)
    return 2 + levels, (products + 1) / 8 + 2 * (2 * blocks - 1) / 8 + 3 * bits / 8


def positive_part(width):
    """As a sign and a choice, but its last AND is opened: four bits in place of three and two."""
    rounds, size = sign(width)
    ands = 3 / 8 if width > 5 else 0  # five bits and fewer have one block, and no AND
    return rounds + 2 - (width > 5), size - ands + 4 / 8 + 4 * 8


SELECT, TO_RING = (2, 4 * 8 + 2 / 8), (2, 3 * 8 + 2 / 8)


def added(*parts):
    return tuple(sum(column) for column in zip(*parts, strict=True))


def times(count, cost):
    return cost[0], count * cost[1]


RELU = positive_part(64)
TRUNCATION = 2, 42


# name: (case, comparison width, rounds, bytes an element)
COSTS = {
    "input": (given, 64, 1, 8),
    "reveal to all": (of_share(lambda p, x: p.open(x, reason="a test")), 64, 1, 24),
    "reveal to one": (opened, 64, 1, 8),
    "constant": (of_share(lambda p, x: p.constant(ring())), 64, 0, 0),
    "coins": (of_share(lambda p, x: p.coins((N,))), 64, 0, 0),
    "bilinear": (of_share(lambda p, x: p.bilinear(multiply, (x, x))), 64, 1, 24),
    "bilinear, two pairs": (of_share(lambda p, x: p.bilinear(multiply, (x, x), (x, x))), 64, 1, 48),
    "dot": (of_share(lambda p, x: p.dot(x.map(square), x.map(square))), 64, 1, 24 * 64 / N),
    "truncate": (of_share(lambda p, x: p.truncate(x, fraction=16)), 64, *TRUNCATION),
    "truncate by 17 bits": (of_share(lambda p, x: p.truncate(x, fraction=17)), 64, 2, 44),
    "truncate by 33 bits": (of_share(lambda p, x: p.truncate(x, fraction=33)), 64, 2, 48),
    "bilinear_truncate": (
        of_share(lambda p, x: p.bilinear_truncate(multiply, (x, x), fraction=16)),
        *(64, 2, 58),
    ),
    "bilinear_truncate by 32 bits": (
        of_share(lambda p, x: p.bilinear_truncate(multiply, (x, x), fraction=32)),
        *(64, 2, 60),
    ),
    "conj": (of_bits(lambda p, b, x: p.conj(b, b)), 64, 1, 3 / 8),
    "invert": (of_bits(lambda p, b, x: p.invert(b)), 64, 0, 0),
    "select": (of_bits(lambda p, b, x: p.select(b, x)), 64, *SELECT),
    "bit_to_ring": (of_bits(lambda p, b, x: p.bit_to_ring(b)), 64, *TO_RING),
    "bit_to_ring, 5 planes": (
        with_planes(lambda p, b: p.bit_to_ring(b), 5),
        64,
        *times(5, TO_RING),
    ),
    "any_above, 8 planes": (
        with_planes(lambda p, b: p.any_above(b), 8),
        64,
        3,
        3 * (7 + 6 + 4) / 8,
    ),
    "any_above, 45 planes": (
        with_planes(lambda p, b: p.any_above(b), 45),
        *(64, 6, 3 * (6 * 45 - 63) / 8),
    ),
    "addends": (of_share(lambda p, x: p.addends(x, 64)), 64, 1, 8),
    "addends of 40 bits": (of_share(lambda p, x: p.addends(x, 40)), 40, 1, 5),
    "generate": (of_share(lambda p, x: p.generate(x, 64)), 64, 2, 8 + 3 * 63 / 8),
    "merge of 63": (tree(64), 64, 1, 3 * 61 / 8),
    "merge of 32": (tree(33), 64, 1, 3 * 31 / 8),
    "merge of 1": (tree(2), 64, 0, 0),
    "sign_bit": (of_share(lambda p, x: p.sign_bit(x)), 64, *sign(64)),
    "sign_bit of 40 bits": (of_share(lambda p, x: p.sign_bit(x)), 40, *sign(40)),
    "sign_bit of 32 bits": (of_share(lambda p, x: p.sign_bit(x)), 32, *sign(32)),
    "sign_bit of 2 bits": (of_share(lambda p, x: p.sign_bit(x)), 2, *sign(2)),
    "equal_zero": (of_share(lambda p, x: p.equal_zero(x)), 64, *times(2, sign(64))),
    "bits": (of_share(lambda p, x: p.bits(x)), 64, 8, 8 + 3 * 63 / 8 + 6 * 3 * 62 / 8),
    # Functions of one comparison and one choice.
    "relu": (of_array(functions.relu), 64, *RELU),
    "relu of 32 bits": (of_array(functions.relu), 32, *positive_part(32)),
    "relu of 5 bits": (of_array(functions.relu), 5, *positive_part(5)),
    "relu after a product": (after_product(functions.relu), 64, RELU[0], RELU[1] + 58),
    "relu of 32 bits after a product": (
        after_product(functions.relu),
        *(32, positive_part(48)[0], positive_part(48)[1] + 58),
    ),
    "a product, and what is added to it": (after_product(lambda z: (z + z - 1).share), 64, 2, 58),
    "leaky_relu": (of_array(lambda x: functions.leaky_relu(x, 0.6)), 64, *added(RELU, TRUNCATION)),
    "maximum": (of_array(lambda x: functions.maximum(x, -x)), 64, *RELU),
    "minimum": (of_array(lambda x: functions.minimum(x, -x)), 64, *RELU),
    "absolute": (of_array(functions.absolute), 64, *RELU),
    "clamp from below": (of_array(lambda x: functions.clamp(x, -1)), 64, *RELU),
    "clamp": (of_array(lambda x: functions.clamp(x, -1, 1)), 64, RELU[0], 2 * RELU[1]),
    "sign": (of_array(functions.sign), 64, *times(2, added(sign(64), TO_RING))),
    "where": (chosen, 64, *SELECT),
    "a comparison": (of_array(lambda x: x < 1.0), 64, *sign(64)),
    "equals": (of_array(lambda x: x.equals(1.0)), 64, *times(2, sign(64))),
    # Tournaments among rows.
    "tournament of 2": (row(HALF)(extremes.tournament), 64, RELU[0], RELU[1] / 2),
    "tournament of 3": (row(THIRD)(extremes.tournament), 64, 2 * RELU[0], 2 * RELU[1] / 3),
    "maximum_along": (row((N // 3, 3))(functions.maximum_along), 64, 2 * RELU[0], 2 * RELU[1] / 3),
    "argmax of 2": (row((N // 2, 2))(functions.argmax), 64, RELU[0] + 2, (RELU[1] + SELECT[1]) / 2),
    "argmax of 3": (
        row((N // 3, 3))(functions.argmax),
        *(64, 2 * (RELU[0] + 2), 2 * (RELU[1] + SELECT[1]) / 3),
    ),
    # Secret arrays.
    "x + y, -x, x[0], x.sum()": (of_array(lambda x: (x + x + 1 - x, -x, x[:3].sum())), 64, 0, 0),
    "x * y": (of_array(lambda x: x * x), 64, 2, 58),
    "x * whole": (of_array(lambda x: x * x.times_power(16)), 64, 1, 24),
    "x * public": (of_array(lambda x: x * 0.7), 64, *TRUNCATION),
    "x * public below a half": (of_array(lambda x: x * 0.35), 64, 2, 44),
    "x * public whole number": (of_array(lambda x: x * 3), 64, 0, 0),
    "x / public": (of_array(lambda x: x / 3), 64, 2, 44),
    "a product that keeps its bits": (
        of_array(lambda x: products(multiply, (x, x), fraction=32)),
        *(64, 1, 24),
    ),
    "x @ y": (
        of_array(lambda x: x[:64].reshape(8, 8).bilinear(matmul, x[64:128].reshape(8, 8))),
        *(64, 2, 58 * 64 / N),
    ),
    "x.at() of fewer bits": (of_array(lambda x: x.at(10)), 64, *TRUNCATION),
    "x.finer(), x.times_power()": (of_array(lambda x: x.finer(20).times_power(3)), 64, 0, 0),
    "x.mean() over a power of two": (
        of_array(lambda x: x.reshape(6, 64).mean(1)),
        *(64, 2, 42 * 6 / N),
    ),
    "bits & bits": (of_bits(lambda p, b, x: p.conj(b, p.invert(b))), 64, 1, 3 / 8),
}


def metered(prepare, width):
    """Rounds and bytes that each party sent, in each of three turns."""

    def program(party):
        p = Rep3Protocol(party, width=width)
        total, seen = party.meter.total, []
        for turn in range(3):
            run = prepare(p, given_by_first(p), turn)
            p.turns = turn
            before = total.rounds, total.sent_bytes
            run()
            seen.append((total.rounds - before[0], total.sent_bytes - before[1]))
        return seen

    return run_parties(3, program)


@pytest.mark.parametrize("name", COSTS)
def test_the_declared_cost_is_what_the_wire_saw(name):
    prepare, width, rounds, element_bytes = COSTS[name]
    seen = metered(prepare, width)
    for calls in zip(*seen, strict=True):
        assert {r for r, _ in calls} == {rounds}  # a round is everyone's
        assert sum(sent for _, sent in calls) == element_bytes * N
    by_party = {sum(sent for _, sent in calls) for calls in seen}
    assert by_party == {element_bytes * N}, "after three turns each party has sent the same"


@pytest.mark.parametrize(
    "word, said",
    [
        (Rep3Protocol.input, "1 round; the owner sends one element"),
        (Rep3Protocol.reveal, "1 round; each party sends one element"),
        (Rep3Protocol.bilinear, "1 round; each party sends one ring element"),
        (Rep3Protocol.bilinear_truncate, "2 rounds; 58 bytes for each result in all"),
        (Rep3Protocol.truncate, "2 rounds; 42 bytes for each value in all, 14 a party"),
        (Rep3Protocol.conj, "1 round; one bit a party for each AND"),
        (Rep3Protocol.addends, "1 round; first sends `width` bits"),
        (Rep3Protocol.merge, "1 round; 2·(m // 2) - 1 bits a party"),
        (Rep3Protocol.select, "10.8 bytes a party"),
        (Rep3Protocol.bit_to_ring, "8.1 bytes a party"),
        (Rep3Protocol.truncate_summands, "2 rounds; 58 bytes for each value in all"),
        (Rep3Protocol.sign_bit, "6 rounds and 15.5 bytes a party on average"),
        (Rep3Protocol.sign_bit, "5 rounds and 7.3 bytes at width 32"),
        (Rep3Protocol.positive_part, "7 rounds and 26.2 bytes a party on average"),
        (Rep3Protocol.positive_part, "6 rounds and 18.0 bytes at width 32"),
        (Rep3Protocol.truncated_positive_part, "7 rounds and 45.6 bytes a party on average"),
        (
            functions.relu,
            "7 rounds and 26 bytes a party for each element at width 64, 18 at width 32",
        ),
    ],
)
def test_the_docstrings_quote_these_costs(word, said):
    assert said in " ".join(word.__doc__.split())


def test_the_quoted_numbers_are_those_of_the_table():
    assert round(SELECT[1] / 3, 1) == 10.8
    assert round(TO_RING[1] / 3, 1) == 8.1
    assert RELU[0] == 7 and round(RELU[1] / 3, 1) == 26.2
    assert positive_part(32)[0] == 6 and round(positive_part(32)[1] / 3, 1) == 18.0
    assert sign(64)[0] == 6 and round(sign(64)[1] / 3, 1) == 15.5
    assert sign(32)[0] == 5 and round(sign(32)[1] / 3, 1) == 7.3
    assert round((RELU[1] + 58) / 3, 1) == 45.6


def test_a_session_starts_with_one_round_of_96_bytes_a_party():
    def program(party):
        Rep3Protocol(party)
        return party.meter.total.rounds, party.meter.total.sent_bytes

    assert set(run_parties(3, program)) == {(1, 96)}


def test_a_large_array_takes_the_rounds_of_its_chunks_and_no_more_bytes(monkeypatch):
    monkeypatch.setattr("protocols.base.CHUNK", 128)
    for calls in zip(*metered(of_array(functions.relu), 64), strict=True):
        assert {rounds for rounds, _ in calls} == {3 * RELU[0]}
        assert sum(sent for _, sent in calls) == RELU[1] * N


@pytest.mark.parametrize("name", ["truncate", "bilinear_truncate", "relu", "relu after a product"])
def test_three_parts_side_by_side_cost_the_same_and_load_all_parties_alike(monkeypatch, name):
    monkeypatch.setattr("protocols.rep3.sharing.APART", 192)
    prepare, width, rounds, element_bytes = COSTS[name]
    for party in metered(prepare, width):
        assert party == [(rounds, element_bytes * N / 3)] * 3


def test_a_sign_that_was_asked_for_twice_is_found_once():
    def program(party):
        x = SecretArray(p := Rep3Protocol(party), p.constant(ring()))
        functions.relu(x)
        before = party.meter.total.rounds
        functions.relu(x)
        return party.meter.total.rounds - before

    assert set(run_parties(3, program)) == {SELECT[0]}
