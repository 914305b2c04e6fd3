"""Products, and truncation from one masked opening."""

from __future__ import annotations

import numpy as np

from kernels import ring
from kernels.bilinear import Bilinear
from mpc.party import Buffer
from mpc.ring import WORD, Array
from mpc.rounds import Step
from mpc.shares import Rep3, Summand
from protocols.rep3.sharing import Sharing, flat, shaped

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
            term = self.party.xp.zeros(f.shape(x.shape, y.shape), WORD)
            f.cross_to(term, x.own, x.next, y.own, y.next)
            made.append(Summand(term))
        return tuple(made)

    def _masked(self, z: Summand) -> Array:
        """The term, masked in place by one of a fresh sharing of zero.

        To any other single party the mask is uniform (it lacks one of the two keys): what comes out
        may be sent, once.
        """
        return self.streams.zero.add_to(self.party.xp.asarray(z.own, order="C"))

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

        def step(first: int, z: Summand) -> Step[tuple[Rep3]]:
            term, r = self._masked(z), self._mask(first, z)
            _, cut = yield from self._opening(first, term, r, fraction)
            return ((yield from self._resharing(first, cut, z.shape)),)

        rows = [z.map(lambda v: v.reshape(-1)) for z in summands]
        made = self._in_parts(step, *rows)
        return tuple(shaped(y, z.shape) for (y,), z in zip(made, summands, strict=True))

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

        def step(first: int, x: Rep3) -> Step[tuple[Rep3]]:
            cut = None
            if (r := self._mask(first, x)) is not None:
                yield from self._helping(first, r, x.own + r, x.next + r, fraction)
            else:
                known = x.own + x.next + OFFSET
                _, cut = yield from self._shifting(first, known, fraction)
            return ((yield from self._resharing(first, cut, x.shape)),)

        made = self._in_parts(step, *map(flat, shares))
        return tuple(shaped(y, x.shape) for (y,), x in zip(made, shares, strict=True))

    # The helper's and the evaluators' side of an opening: c becomes known, and is shifted.

    def _mask(self, first: int, like: Rep3 | Summand) -> Array | None:
        """The helper's r for each value; nobody else has any."""
        is_helper = self.party.rank == (first + 2) % 3
        return self.streams.private.random(like.shape) if is_helper else None

    def _opening(
        self, first: int, term: Array, r: Array | None, fraction: int
    ) -> Step[tuple[Array | None, Array | None]]:
        """Masked additive terms to (c, additive terms of c >> f): at the evaluators. 1 round."""
        if r is not None:
            masked = term + r
            yield from self._helping(first, r, masked, masked, fraction)
            return None, None
        if self.party.rank == first:
            return (yield from self._shifting(first, term + OFFSET, fraction, (first + 1) % 3))
        return (yield from self._shifting(first, term, fraction, first))

    def _helping(
        self, first: int, r: Array, to_first: Array, to_second: Array, fraction: int
    ) -> Step[None]:
        """Helper: its terms of c, each masked by r, and second's parts of what it knows of r.

        That is r >> f, and r's top bit, of whose part only the low f bits matter. Safe: first draws
        its own parts from the key k_0; each is uniform to second, which lacks k_0.
        """
        high = (r >> WORD(fraction)) - self.streams.common(first, r.shape)
        top = (r >> TOP) - self.streams.common(first, r.shape)
        corrections = [high, top.astype(_narrow(fraction))]
        yield {first: [to_first], (first + 1) % 3: [to_second, *corrections]}, {}

    def _shifting(
        self, first: int, known: Array, fraction: int, trade_with: int | None = None
    ) -> Step[tuple[Array, Array]]:
        """Evaluator: c from what it knows, what the helper sends and what it trades; then c >> f.

        Safe: c holds r. What is traded with the other evaluator is a term that `_masked` has made
        fit to be sent.
        """
        helper, shape = (first + 2) % 3, known.shape
        is_first, term = self.party.rank == first, Buffer(shape)
        of_r = [self.streams.common(first, shape) for _ in range(2)] if is_first else []
        expect = [term] if is_first else [term, term, Buffer(shape, _narrow(fraction))]
        if trade_with is None:
            heard = yield {}, {helper: expect}
        else:
            heard = yield {trade_with: [known]}, {trade_with: [term], helper: expect}
        masked, *sent = heard[helper]
        c = known + masked
        if trade_with is not None:
            c += heard[trade_with][0]
        shift = ring.truncation_public if is_first else ring.truncation_private
        high, top = of_r or sent
        return c, shift(c, high, top, fraction)


def _narrow(fraction: int) -> np.dtype[np.generic]:
    """The smallest word that holds the low `fraction` bits."""
    return np.dtype(
        next(t for t in (np.uint16, np.uint32, np.uint64) if np.iinfo(t).bits >= fraction)
    )
