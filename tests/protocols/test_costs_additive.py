"""Declared costs are promises: what the wire saw of additive sharing is what its docstrings say.

Bytes are those that a party sends to each peer for each element; every party sends the same.
Beside them stands what the source has to make: bytes of corrections for each element.
"""

import numpy as np
import pytest

from kernels.gemm import matmul
from kernels.ring import multiply
from protocols import functions
from protocols.additive import AdditiveProtocol
from protocols.additive.sharing import Sharing
from protocols.functions import extremes
from protocols.secret import SecretArray
from tests.protocols.cases import (
    HALF,
    THIRD,
    N,
    after_product,
    chosen,
    given_by_first,
    of_array,
    of_bits,
    of_share,
    ring,
    row,
    square,
    tree,
    with_planes,
)
from tests.protocols.words import ADDITIVE, FOUR, THREE, TWO, additive, asked

ELEMENT, BIT = 8, 1 / 8


def carries(low):
    """Rounds, bits opened and bits dealt of a tree of the carries out of blocks of four bits."""
    blocks, rounds, opened, dealt = -(-low // 4), 0, 0, 0
    while blocks > 1:
        fours, rest = divmod(blocks, 4)
        blocks = fours + (rest > 0)
        through = blocks > 1
        for groups, size in ((fours, 4), (1, rest)):
            if size > 1:
                opened += groups * (2 * (size - 1) + through)
                dealt += groups * SUBSETS[size, through]
        rounds += 1
    return rounds, opened, dealt


# Products of two masks or more, of which a merge of so many needs each once. Without a propagate:
# the subsets of p3·p2·p1·g0 (11), p3·p2·g1 (4, less p3·p2) and p3·g2 (1), and so on; those of
# p3·p2·p1·p0 that hold p0 are 7 more.
SUBSETS = {
    **{(2, False): 1, (3, False): 5, (4, False): 15},
    **{(2, True): 2, (3, True): 8, (4, True): 22},
}


def sign(low=63):
    """Opened: the value, and factors. Dealt: products within blocks, a top bit, of the tree."""
    rounds, opened, dealt = carries(low)
    blocks = 15 * (low // 4) + 2 ** (low % 4) - 1
    return 1 + rounds, ELEMENT + opened * BIT, (blocks + 1 + dealt) * BIT


def positive_part(low=63):
    """A sign, and its bit opened; dealt: another bit, and that times the mask."""
    rounds, sent, dealt = sign(low)
    return rounds + 1, sent + BIT, dealt + 2 * ELEMENT


def truncated_positive_part(low=63, top=2):
    """Dealt beyond a positive part: the mask's high bits and top bit, and the top bit once more."""
    rounds, sent, dealt = positive_part(low)
    return rounds, sent, dealt + ELEMENT + 2 * top


def added(*parts):
    return tuple(sum(column) for column in zip(*parts, strict=True))


def times(count, cost):
    return cost[0], count * cost[1], count * cost[2]


def factors(word):
    """A word of a share and of another one that is a factor for the first time, too."""

    def prepared(p, x, _turn):
        y = p.input(ring() if p.party.rank == 0 else None, (N,), 0)
        return lambda: word(p, x, y)

    return prepared


def again(word):
    """The second time that a word is said of the same factors."""

    def prepared(p, x, turn):
        run = factors(word)(p, x, turn)
        run()
        return run

    return prepared


def product(p, x, y):
    return p.bilinear(multiply, (x, y))


SELECT, TO_RING = (1, ELEMENT + BIT, 2 * ELEMENT), (1, BIT, ELEMENT)
TRUNCATION, SQUARE = (1, ELEMENT, ELEMENT + 2), (1, ELEMENT, ELEMENT)
RELU = positive_part()

# name: (case, comparison width, rounds, bytes an element to each peer, corrections an element)
COSTS = {
    "reveal to all": (of_share(lambda p, x: p.open(x, reason="a test")), 64, 1, 8, 0),
    "constant": (of_share(lambda p, x: p.constant(ring())), 64, 0, 0, 0),
    "coins": (of_share(lambda p, x: p.coins((N,))), 64, 0, 0, 0),
    "bilinear": (factors(product), 64, 1, 16, 8),
    "bilinear of a square": (of_share(lambda p, x: p.bilinear(multiply, (x, x))), 64, *SQUARE),
    "bilinear of known factors": (again(product), 64, 0, 0, 8),
    "bilinear, a known and a new one": (
        again(lambda p, x, y: p.bilinear(multiply, (x, y.map(np.negative)))),
        *(64, 1, 8, 8),
    ),
    "bilinear, two pairs": (
        factors(lambda p, x, y: p.bilinear(multiply, (x, y), (y, x))),
        *(64, 1, 16, 16),
    ),
    "dot": (
        factors(lambda p, x, y: p.dot(x.map(square), y.map(square))),
        *(64, 1, 16 * 64 / N, 8 * 64 / N),
    ),
    "truncate": (of_share(lambda p, x: p.truncate(x, fraction=16)), 64, *TRUNCATION),
    "truncate by 17 bits": (of_share(lambda p, x: p.truncate(x, fraction=17)), 64, 1, 8, 16),
    "truncate, two at once": (
        of_share(lambda p, x: p.truncate(x, x, fraction=16)),
        *(64, *times(2, TRUNCATION)),
    ),
    "bilinear_truncate": (
        factors(lambda p, x, y: p.bilinear_truncate(multiply, (x, y), fraction=16)),
        *(64, 2, 24, 18),
    ),
    "conj": (of_bits(lambda p, b, x: p.conj(b, b)), 64, 1, 2 * BIT, BIT),
    "invert": (of_bits(lambda p, b, x: p.invert(b)), 64, 0, 0, 0),
    "select": (of_bits(lambda p, b, x: p.select(b, x)), 64, *SELECT),
    "bit_to_ring": (of_bits(lambda p, b, x: p.bit_to_ring(b)), 64, *TO_RING),
    "bit_to_ring, 5 planes": (
        with_planes(lambda p, b: p.bit_to_ring(b), 5),
        *(64, *times(5, TO_RING)),
    ),
    "any_above, 8 planes": (
        with_planes(lambda p, b: p.any_above(b), 8),
        *(64, 3, 2 * 17 * BIT, 17 * BIT),
    ),
    "addends": (of_share(lambda p, x: p.addends(x, 64)), 64, 1, 8, 8),
    "addends of 40 bits": (of_share(lambda p, x: p.addends(x, 40)), 40, 1, 8, 5),
    "generate": (of_share(lambda p, x: p.generate(x, 64)), 64, 1, 8, 8),
    "merge of 63": (tree(64), 64, 1, 2 * 62 * BIT, 62 * BIT),
    "sign_bit": (of_share(lambda p, x: p.sign_bit(x)), 64, *sign()),
    "sign_bit of 40 bits": (of_share(lambda p, x: p.sign_bit(x)), 40, *sign(39)),
    "sign_bit of 32 bits": (of_share(lambda p, x: p.sign_bit(x)), 32, *sign(31)),
    "sign_bit of 5 bits": (of_share(lambda p, x: p.sign_bit(x)), 5, *sign(4)),
    "sign_bit of 2 bits": (of_share(lambda p, x: p.sign_bit(x)), 2, *sign(1)),
    "equal_zero": (of_share(lambda p, x: p.equal_zero(x)), 64, *times(2, sign())),
    "bits": (
        of_share(lambda p, x: p.bits(x)),
        *(64, 1 + 6, 8 + 6 * 2 * 2 * 32 * BIT - 2 * 12 * BIT, 8 + (6 * 2 * 32 - 12) * BIT),
    ),
    # Functions of one comparison and one choice.
    "relu": (of_array(functions.relu), 64, *RELU),
    "relu of 32 bits": (of_array(functions.relu), 32, *positive_part(31)),
    "relu of 5 bits": (of_array(functions.relu), 5, *positive_part(4)),
    "relu after a product": (
        after_product(functions.relu),
        *(64, *added(SQUARE, truncated_positive_part())),
    ),
    "relu of 32 bits after a product": (
        after_product(functions.relu),
        *(32, *added(SQUARE, truncated_positive_part(47))),
    ),
    "a product, and what is added to it": (
        after_product(lambda z: (z + z - 1).share),
        *(64, *added(SQUARE, TRUNCATION)),
    ),
    "leaky_relu": (of_array(lambda x: functions.leaky_relu(x, 0.6)), 64, *added(RELU, TRUNCATION)),
    "maximum": (of_array(lambda x: functions.maximum(x, -x)), 64, *RELU),
    "clamp": (of_array(lambda x: functions.clamp(x, -1, 1)), 64, RELU[0], *times(2, RELU)[1:]),
    "sign": (of_array(functions.sign), 64, *times(2, added(sign(), TO_RING))),
    "where": (chosen, 64, *SELECT),
    "a comparison": (of_array(lambda x: x < 1.0), 64, *sign()),
    "tournament of 2": (row(HALF)(extremes.tournament), 64, *times(1 / 2, RELU)),
    "tournament of 3": (
        row(THIRD)(extremes.tournament),
        *(64, 2 * RELU[0], *times(2 / 3, RELU)[1:]),
    ),
    "x + y, -x, x[0], x.sum()": (
        of_array(lambda x: (x + x + 1 - x, -x, x[:3].sum())),
        *(64, 0, 0, 0),
    ),
    "x * x": (of_array(lambda x: x * x), 64, *added(SQUARE, TRUNCATION)),
    "x * public": (of_array(lambda x: x * 0.7), 64, *TRUNCATION),
}


def metered(at, prepare, width):
    """For each party: rounds and bytes to each peer; and what the items' corrections come to."""

    def program(party):
        p = additive(party, width)
        run = prepare(p, given_by_first(p), 0)
        items, total = asked(p), party.meter.total
        before, sent = total.rounds, dict(total.sent)
        run()
        to_peers = {total.sent[peer] - sent.get(peer, 0) for peer in party.others}
        dealt = sum(item.correction_bytes for item in items)
        return total.rounds - before, to_peers, dealt

    return at.run(program)


@pytest.mark.parametrize("name", COSTS)
def test_the_declared_cost_is_what_the_wire_and_the_source_saw(name):
    prepare, width, rounds, to_a_peer, dealt = COSTS[name]
    expected = (rounds, {round(to_a_peer * N)}, round(dealt * N))
    assert to_a_peer * N == pytest.approx(round(to_a_peer * N), abs=1e-6)
    assert metered(TWO, prepare, width) == [expected] * 2


@pytest.mark.parametrize("at", [THREE, FOUR], ids=str)
@pytest.mark.parametrize("name", ["bilinear", "truncate", "select", "relu after a product", "bits"])
def test_with_more_parties_the_same_goes_to_each_peer_and_no_more_is_dealt(at, name):
    prepare, width, rounds, to_a_peer, dealt = COSTS[name]
    expected = (rounds, {round(to_a_peer * N)}, round(dealt * N))
    assert metered(at, prepare, width) == [expected] * at.parties


@pytest.mark.parametrize(
    "word, said",
    [
        (Sharing.__init__, "1 round; 64 bytes to each peer of a higher rank, 32 to others"),
        (AdditiveProtocol.input, "1 round and 2 bytes"),
        (AdditiveProtocol.reveal, "1 round; one element for each value to each who learns it"),
        (AdditiveProtocol.bilinear, "1 round; each party sends each peer an element"),
        (AdditiveProtocol.bilinear, "no round if all were"),
        (AdditiveProtocol.truncate, "1 round; each party sends each peer one element"),
        (AdditiveProtocol.conj, "1 round; two bits to each peer for each AND"),
        (AdditiveProtocol.select, "1 round; one element and one bit to each peer"),
        (AdditiveProtocol.bit_to_ring, "1 round; one bit to each peer for each bit"),
        (AdditiveProtocol.addends, "1 round; one element to each peer"),
        (
            AdditiveProtocol.sign_bit,
            "3 rounds, and for each element 8 bytes and 34 bits to each peer at width 64; "
            "8 bytes and 16 bits at width 32",
        ),
        (
            AdditiveProtocol.positive_part,
            "4 rounds, and for each element 8 bytes and 35 bits to each peer at width 64; "
            "8 bytes and 17 bits at width 32",
        ),
        (
            AdditiveProtocol.truncated_positive_part,
            "4 rounds, and for each value 8 bytes and 35 bits to each peer at width 64; "
            "8 bytes and 26 bits at width 32 and 16 bits of fraction",
        ),
    ],
)
def test_the_docstrings_quote_these_costs(word, said):
    assert said in " ".join(word.__doc__.split())


def test_the_quoted_numbers_are_those_of_the_table():
    def cost(case):
        rounds, sent, _ = case
        return rounds, (sent - 8) * 8

    assert cost(sign()) == (3, 34) and cost(sign(31)) == (3, 16)
    assert cost(positive_part()) == (4, 35) and cost(positive_part(31)) == (4, 17)
    assert cost(truncated_positive_part()) == (4, 35)
    assert cost(truncated_positive_part(47)) == (4, 26)


def test_truncation_and_relu_after_a_product_cost_4_rounds_and_12_and_a_half_bytes():
    """Of a party of two; the specification that the protocol goes beyond has 8 rounds, 39 bytes."""
    rounds, sent, _ = truncated_positive_part()
    assert rounds == 4 and 12.3 < sent < 12.5


@pytest.mark.parametrize("at", ADDITIVE, ids=str)
def test_an_input_costs_its_owner_two_bytes_to_each_peer(at):
    def program(party):
        p, seen = additive(party), []
        for owner in range(party.size):
            mine = ring() if party.rank == owner else None
            before = party.meter.total.rounds, party.meter.total.sent_bytes
            p.input(mine, (N,), owner)
            total = party.meter.total
            seen.append((total.rounds - before[0], total.sent_bytes - before[1]))
        return seen

    for rank, seen in enumerate(at.run(program)):
        assert seen == [(1, 2 * (at.parties - 1) * (owner == rank)) for owner in range(at.parties)]


@pytest.mark.parametrize("at", ADDITIVE, ids=str)
def test_an_opening_to_one_costs_the_others_an_element_each(at):
    def program(party):
        p = additive(party)
        x, before = given_by_first(p), party.meter.total.sent_bytes
        p.open(x, reason="a test", to=1)
        return party.meter.total.sent_bytes - before

    assert at.run(program) == [8 * N * (rank != 1) for rank in range(at.parties)]


@pytest.mark.parametrize("at", ADDITIVE, ids=str)
def test_a_session_starts_with_one_round_of_a_coin_and_a_key(at):
    """32 bytes to each peer for the coins, and 32 to each of a higher rank for a key in common."""

    def program(party):
        source = additive(party).source
        before = party.meter.total.rounds, party.meter.total.sent_bytes
        AdditiveProtocol(party, source=source)
        total = party.meter.total
        return total.rounds - before[0], total.sent_bytes - before[1]

    n = at.parties
    assert at.run(program) == [(1, 32 * (n - 1) + 32 * (n - 1 - rank)) for rank in range(n)]


def test_a_large_array_takes_the_rounds_of_its_chunks_and_no_more_bytes(monkeypatch):
    monkeypatch.setattr("protocols.base.CHUNK", 128)
    rounds, sent, dealt = RELU
    expected = (3 * rounds, {round(sent * N)}, round(dealt * N))
    assert metered(TWO, of_array(functions.relu), 64) == [expected] * 2


def test_a_sign_that_was_asked_for_twice_is_found_once():
    def program(party):
        x = SecretArray(p := additive(party), p.constant(ring()))
        functions.relu(x)
        before = party.meter.total.rounds
        functions.relu(x)
        return party.meter.total.rounds - before

    assert set(TWO.run(program)) == {SELECT[0]}


def test_a_layer_forward_and_back_opens_each_tensor_once():
    """x @ w, then both gradients: three tensors are opened, where three products have six."""

    def prepared(p, x, _turn):
        w, g = (p.input(ring() if p.party.rank == 0 else None, (N,), 0) for _ in "wg")
        x, w, g = (v.map(square) for v in (x, w, g))

        def run():
            p.dot(x, w)
            p.dot(x.map(np.transpose), g)
            p.dot(g, w.map(np.transpose))

        return run

    element = 64 * 8
    assert metered(TWO, prepared, 64) == [(2, {3 * element}, 3 * element)] * 2


def test_matrix_products_are_dealt_in_the_shape_of_their_result():
    def prepared(p, x, _turn):
        rows, columns = (x.map(lambda v, s=s: v.reshape(s)) for s in ((2, N // 2), (N // 2, 2)))
        return lambda: p.bilinear(matmul, (rows, columns))

    assert metered(TWO, prepared, 64) == [(1, {2 * 8 * N}, 4 * 8)] * 2
