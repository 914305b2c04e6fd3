"""Replicated sharing among three parties, one of whom may look but not lie.

x = x0 + x1 + x2 (mod 2^64) and party i holds (x_i, x_(i+1)); bits likewise under XOR. Products
follow Araki, Furukawa, Lindell, Nof and Ohara (CCS 2016); truncation, signs and choices give two
parties, the evaluators, a value masked by the third, the helper. Which rank plays which role turns
with every step, so that the load is even over time.

Below, first and second are the evaluators and helper is the third; with the roles turned by o,
first is rank o, and terms and keys are counted from o: first holds (x0, x1), second (x1, x2),
helper (x2, x0). Key k_j is held by the same two parties as x_j. What each party sees is argued
where it is sent.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from kernels import bits as planes_of
from kernels import ring
from kernels.bilinear import Bilinear
from mpc.correlated import ReplicatedStreams
from mpc.errors import UsageError
from mpc.party import Buffer, Party
from mpc.prg import Stream
from mpc.ring import BITS, WORD, Array, Shape
from mpc.shares import Bits, Rep3
from protocols.base import Assumptions
from protocols.bits import BitProtocol

OFFSET = WORD(1 << 62)  # makes |z| < 2^62 non-negative before it is masked
TOP = WORD(63)
Arrays = list[Array]


class Rep3Protocol(BitProtocol[Rep3]):
    """Three parties, honest majority, semi-honest."""

    share_type: ClassVar[type[Any]] = Rep3
    terms: ClassVar[int] = 2
    name: ClassVar[str] = "rep3"
    assumptions: ClassVar[Assumptions] = Assumptions(
        parties="3",
        corrupt="1",
        adversary="semi-honest (looks, does not lie)",
        setup="pairwise keys, agreed in one round",
        source="Araki et al., CCS 2016; Mohassel and Rindal (ABY3), CCS 2018",
    )
    party: Party

    def __init__(self, party: Party, *, width: int = BITS) -> None:
        """Agree on pairwise keys. Cost: 1 round, 96 bytes a party."""
        super().__init__(party, width=width)
        self.streams = agree_on_keys(party)
        self._turns = 0

    # Input and opening.

    def input(self, x: Array | None, shape: Shape, owner: int) -> Rep3:
        """x_o from the key that owner and helper hold; the rest goes to the party after.

        x_(o+1) = x - x_o, and x_(o+2) = 0.

        Cost: 1 round; the owner sends one element for each value. The party after lacks k_o, so
        what it gets is uniform to it; the party before gets nothing.
        """
        role = (self.party.rank - owner) % 3
        zeros = np.zeros(shape, WORD)
        if role == 2:
            self.party.exchange({}, {})
            return Rep3(zeros, self.streams.common(owner, shape))
        if role == 1:
            ((sent,),) = self.party.exchange({}, {owner: [Buffer(shape)]}).values()
            return Rep3(sent, zeros)
        if x is None or x.shape != shape:
            raise UsageError(f"the owner of an input of shape {shape} must hold it in that shape")
        first = self.streams.common(owner, shape)
        masked = np.subtract(x, first, out=np.empty(shape, WORD))
        self.party.exchange({self._after: [masked]}, {})
        return Rep3(first, masked)

    def reveal(self, *shares: Rep3, to: int | None) -> list[Array | None]:
        """Each party sends its own term to the party after, which lacks just that one.

        Cost: 1 round; each party sends one element for each value, or only the party before `to`
        does.
        """
        own = [share.own for share in shares]
        send = {self._after: own} if to in (None, self._after) else {}
        lacking = [Buffer.like(a) for a in own]
        expect = {self._before: lacking} if to in (None, self.party.rank) else {}
        heard = self.party.exchange(send, expect)
        if not expect:
            return [None for _ in shares]
        flat = [_flat(s) for s in shares]
        opened = [
            s.own + s.next + t.reshape(-1) for s, t in zip(flat, heard[self._before], strict=True)
        ]
        return [v.reshape(s.shape) for v, s in zip(opened, shares, strict=True)]

    def constant(self, x: Array) -> Rep3:
        """x0 is the value, x1 and x2 are zero. No message."""
        zero = np.zeros_like(x)
        return Rep3(x if self.party.rank == 0 else zero, x if self.party.rank == 2 else zero)

    def constant_bits(self, planes: Array, shape: Shape) -> Bits[Rep3]:
        """As `constant`, under XOR."""
        return Bits(self.constant(planes), shape)

    def coins(self, shape: Shape) -> Array:
        """From a key that all three made together."""
        return self.streams.public.random(shape)

    # Products and truncation.

    def bilinear(self, f: Bilinear, *pairs: tuple[Rep3, Rep3]) -> tuple[Rep3, ...]:
        """f(x, y) for each pair, f linear in both.

        Cost: 1 round; each party sends one ring element for each of the results.
        """
        terms = [self._term(f, x, y) for x, y in pairs]
        return tuple(map(Rep3, terms, self.party.rotate(*terms)))

    def _term(self, f: Bilinear, x: Rep3, y: Rep3) -> Array:
        """This party's term of an additive sharing of f(x, y), masked by one of a sharing of zero.

        The mask comes first and the product is added onto it, so the bare product never stands in
        memory alone. To any other single party the mask is uniform (it lacks one of the two keys):
        the term may be sent.
        """
        term = self.streams.zero.add_to(np.zeros(f.shape(x.shape, y.shape), WORD))
        f.cross_to(term, x.own, x.next, y.own, y.next)
        return term

    def bilinear_truncate(
        self, f: Bilinear, *pairs: tuple[Rep3, Rep3], fraction: int
    ) -> tuple[Rep3, ...]:
        """f(x, y) / 2^fraction: the terms of the product go straight into the masked opening.

        Cost: 2 rounds; 58 bytes for each result in all, 19 1/3 a party on average (fraction <= 16).
        Safe: the terms are masked (`_term`), and c = z + 2^62 + r with r known to the helper alone.
        """
        whole = [self._term(f, x, y) for x, y in pairs]
        terms = [z.reshape(-1) for z in whole]
        first, second, helper = self._turn()
        if self.party.rank == helper:
            masks = [self.streams.private.random(z.shape) for z in terms]
            masked = [z + r for z, r in zip(terms, masks, strict=True)]
            shares = self._help_truncate(first, masks, masked, masked, fraction)
        elif self.party.rank == first:
            raised = [z + OFFSET for z in terms]
            shares = self._open_and_shift(first, raised, fraction, trade_with=(second,))
        else:
            shares = self._open_and_shift(first, terms, fraction, trade_with=(first,))
        return tuple(_shaped(s, z.shape) for s, z in zip(shares, whole, strict=True))

    def truncate(self, *shares: Rep3, fraction: int) -> tuple[Rep3, ...]:
        """x / 2^fraction, rounded down or one ulp more.

        With r uniform it is rounded up with the chance of the part cut off.

        c = x + 2^62 + r is opened to the evaluators; x + 2^62 < 2^63, so c wraps exactly when r has
        its top bit set and c has not, which the helper's shared top bit of r corrects. If the
        result is opened, its rounding tells about the bits that were cut off, as any stochastic
        rounding does.

        Cost: 2 rounds; 42 bytes for each value in all, 14 a party on average (fraction <= 16).
        Safe: each evaluator gets one term masked by r, which only the helper knows.
        """
        flat = [_flat(x) for x in shares]
        first, _, helper = self._turn()
        if self.party.rank == helper:
            masks = [self.streams.private.random(x.shape) for x in flat]
            to_first = [x.own + r for x, r in zip(flat, masks, strict=True)]
            to_second = [x.next + r for x, r in zip(flat, masks, strict=True)]
            cut = self._help_truncate(first, masks, to_first, to_second, fraction)
        else:
            known = [x.own + x.next + OFFSET for x in flat]
            cut = self._open_and_shift(first, known, fraction)
        return tuple(_shaped(y, x.shape) for y, x in zip(cut, shares, strict=True))

    # The helper's and the evaluators' side of a truncation: c is opened, shifted and shared again.

    def _help_truncate(
        self, first: int, masks: Arrays, to_first: Arrays, to_second: Arrays, fraction: int
    ) -> tuple[Rep3, ...]:
        """Helper: its terms of c, each masked by r, and second's parts of what it knows of r."""
        corrections = self._corrections(first, masks, fraction)
        second = (first + 1) % 3
        self.party.exchange({first: to_first, second: to_second + corrections}, {})
        return self._reshare(first, None, [r.shape for r in masks])

    def _corrections(self, first: int, masks: Arrays, fraction: int) -> Arrays:
        """Helper: second's parts of r >> f and of r's top bit.

        First draws its own parts from the key k_0. Each is uniform to second, which lacks k_0. Of
        the top bit's part only the low f bits matter, and are sent.
        """
        high = [(r >> WORD(fraction)) - self.streams.common(first, r.shape) for r in masks]
        top = [(r >> TOP) - self.streams.common(first, r.shape) for r in masks]
        return high + [t.astype(_narrow(fraction)) for t in top]

    def _open_and_shift(
        self, first: int, known: Arrays, fraction: int, *, trade_with: tuple[int, ...] = ()
    ) -> tuple[Rep3, ...]:
        """Evaluator: c from what it knows, what the helper sends and what it trades; then c >> f.

        Safe: c holds r. What is traded with the other evaluator is a term that `_term` has masked.
        """
        helper, is_first = (first + 2) % 3, self.party.rank == first
        k, shapes = len(known), [a.shape for a in known]
        terms = [Buffer(shape) for shape in shapes]
        corrections = [] if is_first else [*terms, *(Buffer(s, _narrow(fraction)) for s in shapes)]
        heard = self.party.exchange(
            dict.fromkeys(trade_with, known),
            dict.fromkeys(trade_with, terms) | {helper: terms + corrections},
        )
        parts = [heard[peer][:k] for peer in (*trade_with, helper)]
        opened = [reduce(np.add, of_one) for of_one in zip(known, *parts, strict=True)]
        if is_first:
            high = [self.streams.common(first, shape) for shape in shapes]
            top = [self.streams.common(first, shape) for shape in shapes]
            shift = ring.truncation_public
        else:
            high, top = heard[helper][k : 2 * k], heard[helper][2 * k :]
            shift = ring.truncation_private
        shifted = [shift(*of_one, fraction) for of_one in zip(opened, high, top, strict=True)]
        return self._reshare(first, shifted, shapes)

    def _reshare(self, first: int, terms: Arrays | None, shapes: list[Shape]) -> tuple[Rep3, ...]:
        """From two additive terms at the evaluators, none at the helper, back to replicated.

        x0 comes from k_0, x2 from k_2, x1 from one exchange. Safe: each evaluator's term is masked
        by the key that the other lacks. Cost: 1 round, two elements a value in all.
        """
        second = (first + 1) % 3
        if terms is None:
            low = [self.streams.common(first, shape) for shape in shapes]
            high = [self.streams.common(first + 2, shape) for shape in shapes]
            self.party.exchange({}, {})
            return tuple(map(Rep3, high, low))
        is_first = self.party.rank == first
        key, other = (first, second) if is_first else (first + 2, first)
        kept = [self.streams.common(key, shape) for shape in shapes]
        masked = [y - s for y, s in zip(terms, kept, strict=True)]
        heard = self.party.exchange({other: masked}, {other: [Buffer(shape) for shape in shapes]})
        middle = [m + h for m, h in zip(masked, heard[other], strict=True)]
        return tuple(map(Rep3, kept, middle) if is_first else map(Rep3, middle, kept))

    # Bits.

    def conj(self, a: Bits[Rep3], b: Bits[Rep3]) -> Bits[Rep3]:
        """AND of bit planes. Cost: 1 round; one bit a party for each AND. Masked like `_term`."""
        x, y = a.planes, b.planes
        term = self.streams.zero.xor_to(np.zeros(x.shape, WORD))
        planes_of.conj_to(term, x.own, x.next, y.own, y.next)
        (heard,) = self.party.rotate(term)
        return Bits(Rep3(term, heard), a.shape)

    def addends(self, x: Rep3, width: int) -> tuple[Bits[Rep3], Bits[Rep3]]:
        """t = x0 + x1, which first knows, and s = x2, which second and helper hold.

        Cost: 1 round; first sends `width` bits for each value to second, masked by k_0, which
        second lacks.
        """
        first, second, _ = self._turn()
        n, rank = math.prod(x.shape), self.party.rank
        shape = (width, planes_of.words(n))
        nothing = np.zeros(shape, WORD)
        if rank == first:
            mask = self.streams.common(first, shape)
            masked = planes_of.to_planes(x.own.reshape(-1) + x.next.reshape(-1), width) ^ mask
            self.party.exchange({second: [masked]}, {})
            t, s = Rep3(mask, masked), Rep3(nothing, nothing)
        elif rank == second:
            (masked,) = self.party.exchange({}, {first: [Buffer(shape)]})[first]
            t, s = Rep3(masked, nothing), Rep3(nothing, planes_of.to_planes(x.next, width))
        else:
            mask = self.streams.common(first, shape)
            self.party.exchange({}, {})
            t, s = Rep3(nothing, mask), Rep3(planes_of.to_planes(x.own, width), nothing)
        return Bits(t, x.shape), Bits(s, x.shape)

    def merge(self, g: Bits[Rep3], q: Bits[Rep3]) -> tuple[Bits[Rep3], Bits[Rep3]]:
        """One level of the carry tree in one pass over the planes.

        Cost: 1 round; 2·(m // 2) - 1 bits a party, since the lowest pair needs no propagate. Masked
        like `_term`.
        """
        m = g.planes.shape[0]
        h, width = m // 2, g.planes.shape[1]
        if h == 0:  # one pair has no neighbour
            return g, q
        message = self.streams.zero.xor_to(np.zeros((2 * h - 1, width), WORD))
        planes_of.carry_step(
            g.planes.own, g.planes.next, q.planes.own, q.planes.next, message[:h], message[h:]
        )
        (heard,) = self.party.rotate(message)

        def level(merged: Array, old_g: Array, old_q: Array) -> tuple[Array, Array]:
            rest = slice(2 * h, m)
            lowest = np.zeros((1, width), WORD)  # never used
            return (
                np.concatenate([merged[:h], old_g[rest]]),
                np.concatenate([lowest, merged[h:], old_q[rest]]),
            )

        own_g, own_q = level(message, g.planes.own, q.planes.own)
        next_g, next_q = level(heard, g.planes.next, q.planes.next)
        return Bits(Rep3(own_g, next_g), g.shape), Bits(Rep3(own_q, next_q), g.shape)

    def select(self, b: Bits[Rep3], x: Rep3) -> Rep3:
        """b·x, element by element.

        b·x = c·x + (1 - 2c)·beta·x, with beta and beta·(x2 + x0) shared between the evaluators by
        the helper (`_open_masked`).

        Cost: 2 rounds; four elements and two bits for each value in all, 10.8 bytes a party on
        average.
        """
        first, _, _ = self._turn()
        n = x.own.size
        own, after = x.own.reshape(-1), x.next.reshape(-1)

        def helped(beta_bits: Array) -> Arrays:
            beta = planes_of.from_planes(beta_bits, n)
            return [beta * (own + after), beta]

        terms = None
        if opened := self._open_masked(first, b, helped, [(n,), (n,)]):
            c, (w, beta) = opened
            mine, common = (own + after, after) if self.party.rank == first else (after, own)
            terms = [ring.select_term(c[0], mine, common, beta, w)]
        (chosen,) = self._reshare(first, terms, [(n,)])
        return _shaped(chosen, x.shape)

    def bit_to_ring(self, b: Bits[Rep3]) -> Rep3:
        """Bits as ring elements; several planes become a leading axis.

        As `select` of 1, where beta alone is shared.

        Cost: 2 rounds; three elements and two bits for each bit in all, 8.1 bytes a party on
        average.
        """
        first, _, _ = self._turn()
        k, n = b.planes.shape[0], math.prod(b.shape)

        def unpacked(planes: Array) -> Array:
            return np.stack([planes_of.from_planes(planes[j : j + 1], n) for j in range(k)])

        terms = None
        if opened := self._open_masked(first, b, lambda beta: [unpacked(beta)], [(k, n)]):
            packed, (beta,) = opened
            c = unpacked(packed)
            term = beta - WORD(2) * c * beta
            terms = [c + term if self.party.rank == first else term]
        (x,) = self._reshare(first, terms, [(k, n)])
        return _shaped(x, b.shape if k == 1 else (k, *b.shape))

    def _open_masked(
        self, first: int, b: Bits[Rep3], helped: Callable[[Array], Arrays], shapes: list[Shape]
    ) -> tuple[Array, Arrays] | None:
        """The evaluators learn c = b ^ beta, and get shares of what the helper makes of beta.

        The helper draws the bits beta; it learns nothing and gets None. Cost: 1 round; for each bit
        two bits, and one element for each array of `helped`, in all. Safe: c is uniform since beta
        is, and only the helper knows beta; second's parts are masked by k_0, which it lacks, and
        first draws its own from k_0.
        """
        second, helper = (first + 1) % 3, (first + 2) % 3
        own, after = b.planes.own, b.planes.next
        if self.party.rank == helper:
            beta = self.streams.private.random(own.shape)
            parts = [made - self.streams.common(first, made.shape) for made in helped(beta)]
            self.party.exchange({first: [own ^ beta], second: [after ^ beta, *parts]}, {})
            return None
        is_first, bit = self.party.rank == first, Buffer(own.shape)
        expect = [bit] if is_first else [bit, *map(Buffer, shapes)]
        heard, *parts = self.party.exchange({}, {helper: expect})[helper]
        if is_first:
            parts = [self.streams.common(first, shape) for shape in shapes]
        return own ^ after ^ heard, parts

    # Ranks.

    def _turn(self) -> tuple[int, int, int]:
        """Ranks of first, second and helper for the next step."""
        first = self._turns % 3
        self._turns += 1
        return first, (first + 1) % 3, (first + 2) % 3

    @property
    def _before(self) -> int:
        return (self.party.rank - 1) % 3

    @property
    def _after(self) -> int:
        return (self.party.rank + 1) % 3


def agree_on_keys(party: Party) -> ReplicatedStreams:
    """Pairwise keys and common coins for three parties.

    Each draws k_i and a coin from its own seed, sends k_i to the party before and the coin to both.
    Key k_i is held by party i and the party before it, so what is drawn from it is uniform to the
    third. Cost: 1 round, 96 bytes a party.

    Raises:
        UsageError: not three parties.
    """
    if party.size != 3:
        raise UsageError(f"rep3 needs 3 parties, not {party.size}: use mpirun -n 3")
    key = np.frombuffer(party.seed("replicated key"), np.uint8).copy()
    coin = np.frombuffer(party.seed("public coin"), np.uint8).copy()
    before, after = (party.rank - 1) % 3, (party.rank + 1) % 3
    buffer = Buffer((32,), np.dtype(np.uint8))
    send = {before: [key, coin], after: [coin]}
    heard = party.exchange(send, {after: [buffer, buffer], before: [buffer]})
    keys = {party.rank: key.tobytes(), after: heard[after][0].tobytes()}
    coins = {party.rank: coin, after: heard[after][1], before: heard[before][0]}
    public = hashlib.sha256(b"".join(coins[r].tobytes() for r in range(3))).digest()
    private = Stream(party.seed("private words"), "private words")
    return ReplicatedStreams(party.rank, keys, public, private)


def _flat(x: Rep3) -> Rep3:
    """One axis: NumPy takes arrays without one for scalars, which warn where the ring wraps."""
    return x.map(lambda v: v.reshape(-1))


def _shaped(x: Rep3, shape: Shape) -> Rep3:
    return x.map(lambda v: v.reshape(shape))


def _narrow(fraction: int) -> np.dtype[np.generic]:
    """The smallest word that holds the low `fraction` bits."""
    return np.dtype(
        next(t for t in (np.uint16, np.uint32, np.uint64) if np.iinfo(t).bits >= fraction)
    )
