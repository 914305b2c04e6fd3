"""Products, and truncation from one masked opening."""

from __future__ import annotations

from functools import reduce

import numpy as np

from kernels import ring
from kernels.bilinear import Bilinear
from mpc.party import Buffer
from mpc.ring import WORD, Array
from mpc.rounds import Step, alone
from mpc.shares import Rep3, Summand
from protocols.rep3.sharing import Arrays, Sharing, flat, shaped

OFFSET = WORD(1 << 62)  # makes |z| < 2^62 non-negative before it is masked
TOP = WORD(63)


class Products(Sharing):
    """The words that multiply and scale."""

    def bilinear(self, f: Bilinear, *pairs: tuple[Rep3, Rep3]) -> tuple[Rep3, ...]:
        """f(x, y) for each pair, f linear in both.

        Cost: 1 round; each party sends one ring element for each of the results.
        """
        terms = [self._masked(z) for z in self.product(f, *pairs)]
        return tuple(map(Rep3, terms, self.party.rotate(*terms)))

    def product(self, f: Bilinear, *pairs: tuple[Rep3, Rep3]) -> tuple[Summand, ...]:
        """This party's term of an additive sharing of f(x, y), for each pair. No message.

        The term is a function of what this party holds, and masked by nothing: `_masked` comes
        before it is sent.
        """
        made = []
        for x, y in pairs:
            term = np.zeros(f.shape(x.shape, y.shape), WORD)
            f.cross_to(term, x.own, x.next, y.own, y.next)
            made.append(Summand(term))
        return tuple(made)

    def _masked(self, z: Summand) -> Array:
        """The term, masked in place by one of a fresh sharing of zero.

        To any other single party the mask is uniform (it lacks one of the two keys): what comes out
        may be sent, once.
        """
        return self.streams.zero.add_to(np.asarray(z.own, order="C"))

    def bilinear_truncate(
        self, f: Bilinear, *pairs: tuple[Rep3, Rep3], fraction: int
    ) -> tuple[Rep3, ...]:
        """f(x, y) / 2^fraction: the terms of the product go straight into the masked opening.

        Cost: 2 rounds; 58 bytes for each result in all, 19 1/3 a party on average (fraction <= 16).
        """
        return self.truncate_summands(*self.product(f, *pairs), fraction=fraction)

    def truncate_summands(self, *summands: Summand, fraction: int) -> tuple[Rep3, ...]:
        """z / 2^fraction from an additive sharing, whose terms are used up.

        Cost: 2 rounds; 58 bytes for each value in all, 19 1/3 a party on average (fraction <= 16).
        Safe: the terms are masked (`_masked`), and c = z + 2^62 + r with r known to the helper
        alone.
        """
        terms = [self._masked(z).reshape(-1) for z in summands]
        first, _, _ = self._turn()
        opening = self._opening(first, terms, self._masks(first, terms), fraction)
        _, cut = alone(self.party, opening)
        shares = alone(self.party, self._resharing(first, cut, [z.shape for z in terms]))
        return tuple(shaped(s, z.shape) for s, z in zip(shares, summands, strict=True))

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
        terms = [flat(x) for x in shares]
        first, _, helper = self._turn()
        if self.party.rank == helper:
            masks = self._masks(first, [x.own for x in terms])
            to_first = [x.own + r for x, r in zip(terms, masks, strict=True)]
            to_second = [x.next + r for x, r in zip(terms, masks, strict=True)]
            cut = alone(self.party, self._helping(first, masks, to_first, to_second, fraction))
        else:
            known = [x.own + x.next + OFFSET for x in terms]
            _, cut = alone(self.party, self._shifting(first, known, fraction))
        made = alone(self.party, self._resharing(first, cut, [x.shape for x in terms]))
        return tuple(shaped(y, x.shape) for y, x in zip(made, shares, strict=True))

    # The helper's and the evaluators' side of an opening: c becomes known, and is shifted.

    def _masks(self, first: int, like: Arrays) -> Arrays:
        """The helper's r for each value; nobody else has any."""
        if self.party.rank != (first + 2) % 3:
            return []
        return [self.streams.private.random(a.shape) for a in like]

    def _opening(
        self, first: int, terms: Arrays, masks: Arrays, fraction: int
    ) -> Step[tuple[Arrays, Arrays | None]]:
        """Masked additive terms to (c, additive terms of c >> f): at the evaluators. 1 round."""
        rank, second = self.party.rank, (first + 1) % 3
        if rank == first:
            raised = [z + OFFSET for z in terms]
            return (yield from self._shifting(first, raised, fraction, trade_with=(second,)))
        if rank == second:
            return (yield from self._shifting(first, terms, fraction, trade_with=(first,)))
        masked = [z + r for z, r in zip(terms, masks, strict=True)]
        yield from self._helping(first, masks, masked, masked, fraction)
        return [], None

    def _helping(
        self, first: int, masks: Arrays, to_first: Arrays, to_second: Arrays, fraction: int
    ) -> Step[None]:
        """Helper: its terms of c, each masked by r, and second's parts of what it knows of r."""
        corrections = self._corrections(first, masks, fraction)
        yield {first: to_first, (first + 1) % 3: to_second + corrections}, {}

    def _corrections(self, first: int, masks: Arrays, fraction: int) -> Arrays:
        """Helper: second's parts of r >> f and of r's top bit.

        First draws its own parts from the key k_0. Each is uniform to second, which lacks k_0. Of
        the top bit's part only the low f bits matter, and are sent.
        """
        high = [(r >> WORD(fraction)) - self.streams.common(first, r.shape) for r in masks]
        top = [(r >> TOP) - self.streams.common(first, r.shape) for r in masks]
        return high + [t.astype(_narrow(fraction)) for t in top]

    def _shifting(
        self, first: int, known: Arrays, fraction: int, *, trade_with: tuple[int, ...] = ()
    ) -> Step[tuple[Arrays, Arrays | None]]:
        """Evaluator: c from what it knows, what the helper sends and what it trades; then c >> f.

        Safe: c holds r. What is traded with the other evaluator is a term that `_masked` has made
        fit to be sent.
        """
        helper, is_first = (first + 2) % 3, self.party.rank == first
        k, shapes = len(known), [a.shape for a in known]
        terms = [Buffer(shape) for shape in shapes]
        corrections = [] if is_first else [*terms, *(Buffer(s, _narrow(fraction)) for s in shapes)]
        heard = yield (
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
        return opened, shifted


def _narrow(fraction: int) -> np.dtype[np.generic]:
    """The smallest word that holds the low `fraction` bits."""
    return np.dtype(
        next(t for t in (np.uint16, np.uint32, np.uint64) if np.iinfo(t).bits >= fraction)
    )
