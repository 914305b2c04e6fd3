"""Fixed point: what goes in comes out, and what does not fit is refused without being told."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import NotOffered, RangeError, UsageError
from mpc.ring import FixedPoint
from tests.kernels.oncard import CARD, OnCard

FORMS = st.tuples(st.integers(0, 40), st.integers(1, 40)).filter(lambda f: sum(f) <= 62)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(form=FORMS.map(lambda f: FixedPoint(*f)), part=st.floats(-1, 1, exclude_max=True))
def test_decoding_undoes_encoding_to_within_half_a_step(form, part):
    x = part * 2.0**form.integer
    if abs(x) >= 2.0**form.integer:
        return
    (word,) = form.encode(np.array([x]))
    assert word.dtype == np.uint64
    exact = Fraction(int(word) - (int(word) >> 63 << 64), 2**form.fraction)
    assert abs(exact - Fraction(x)) <= Fraction(1, 2 ** (form.fraction + 1))
    assert form.decode(np.array([word]))[0] == float(exact)


@given(form=FORMS.map(lambda f: FixedPoint(*f)), steps=st.integers(-(2**52), 2**52))
def test_encoding_undoes_decoding_of_whole_steps(form, steps):
    x = steps / 2.0**form.fraction
    if abs(x) < 2.0**form.integer:
        assert form.encode(np.array([x])).view(np.int64)[0] == steps


@given(st.integers(-(2**40), 2**40))
def test_half_way_cases_go_to_the_even_neighbour(n):
    form = FixedPoint(fraction=3, integer=45)
    encoded = int(form.encode(np.array([(n + 0.5) / 8])).view(np.int64)[0])
    assert encoded == (n if n % 2 == 0 else n + 1)


@given(st.lists(FINITE, max_size=20))
def test_what_fits_is_encoded_and_what_does_not_is_counted(values):
    form = FixedPoint(fraction=16, integer=10)
    large = sum(abs(v) >= 2**10 for v in values)
    if not large:
        assert form.encode(values).shape == (len(values),)
        return
    with pytest.raises(RangeError, match=rf"^{large} of {len(values)} numbers") as refused:
        form.encode(values)
    assert f"(NaN 0, infinite 0, too large {large})" in str(refused.value)


def test_nan_infinity_and_large_numbers_are_refused_with_counts_and_never_a_value():
    x = np.array([0.5, math.nan, math.inf, -math.inf, 31337.25, -31337.25, 31337.25, 1023.9])
    with pytest.raises(RangeError) as refused:
        FixedPoint(fraction=16, integer=10).encode(x)
    message = str(refused.value)
    assert message.startswith("6 of 8 numbers do not fit (NaN 1, infinite 2, too large 3)")
    assert "31337" not in message and "1023.9" not in message
    assert isinstance(refused.value, UsageError | ValueError)


def test_the_bound_itself_does_not_fit_and_the_number_below_does():
    form = FixedPoint(fraction=16, integer=30)
    for sign in (1, -1):
        with pytest.raises(RangeError):
            form.encode(sign * 2.0**30)
        below = sign * np.nextafter(2.0**30, 0)
        assert abs(form.decode(form.encode(below)) - below) <= 2.0**-17


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3)])
def test_a_shape_is_kept(shape):
    form = FixedPoint()
    word = form.encode(np.full(shape, -1.5))
    assert word.shape == shape and word.dtype == np.uint64
    assert np.array_equal(form.decode(word), np.full(shape, -1.5))


def test_decoding_does_not_mind_the_layout():
    form = FixedPoint()
    x = np.arange(12.0).reshape(3, 4) - 6
    assert np.array_equal(form.decode(form.encode(x).T[::2]), x.T[::2])


@pytest.mark.parametrize("fraction, integer", [(32, 31), (62, 1), (0, 63), (-1, 30), (16, 0)])
def test_a_form_that_truncation_could_not_handle_is_refused(fraction, integer):
    with pytest.raises(NotOffered, match="truncation could wrap"):
        FixedPoint(fraction, integer)


def test_a_form_is_for_products_when_twice_the_fraction_still_fits():
    assert FixedPoint(16, 30).for_products() == FixedPoint(16, 30)
    assert FixedPoint(20, 22).for_products() == FixedPoint(20, 22)
    for form in (FixedPoint(16, 31), FixedPoint(20, 23), FixedPoint(31, 30)):
        with pytest.raises(NotOffered, match=f"2·{form.fraction} \\+ {form.integer} <= 62"):
            form.for_products()


def on_both(work, x):
    """What the host makes of it, and what a card does, or how it is refused."""
    found = []
    for a in (x, CARD.put(x)):
        try:
            found.append(work(a))
        except RangeError as error:
            found.append(str(error))
    return found


@given(form=FORMS.map(lambda f: FixedPoint(*f)), values=st.lists(st.floats(), max_size=20))
def test_a_card_encodes_to_the_same_bits_and_refuses_in_the_same_words(form, values):
    here, there = on_both(form.encode, np.array(values))
    if isinstance(here, str):
        assert here == there
    else:
        assert type(there) is OnCard and np.array_equal(here, CARD.get(there))
        assert there.shape == here.shape and there.dtype == here.dtype


@pytest.mark.parametrize("kind", ["f2", "f4", "i4", "i8", "u8", "?"])
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 3)])
def test_a_card_encodes_numbers_of_any_type_and_shape(kind, shape):
    x = np.ones(shape, kind).T
    here, there = on_both(FixedPoint(16, 10).encode, x)
    assert np.array_equal(here, CARD.get(there)) and there.shape == x.shape


@given(form=FORMS.map(lambda f: FixedPoint(*f)), words=st.lists(st.integers(0, 2**64 - 1)))
def test_a_card_decodes_to_the_same_numbers(form, words):
    here, there = on_both(form.decode, np.array(words, np.uint64))
    assert type(there) is OnCard and here.tobytes() == CARD.get(there).tobytes()
