"""Descriptions of items: read back as they were written, and hostile ones refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.correlated.descriptions import KINDS, LARGEST, described, read_item
from mpc.correlated.items import (
    Addend,
    Carries,
    Choice,
    Conjunction,
    DoubleBits,
    Mask,
    Masked,
    Triple,
)
from mpc.correlated.seeded import Maker
from mpc.errors import OutOfStep, UsageError
from tests.mpc.dealt import ITEMS

SIDES = st.integers(0, 6)
SHAPES = st.lists(SIDES, max_size=3).map(tuple)
ORDERS = st.sampled_from([(), (1, 0)])
MASKS = st.none() | st.builds(Mask, st.integers(0, 99), st.integers(0, 1), ORDERS)
DESCRIBED = st.one_of(
    st.builds(Triple, st.just("multiply"), st.just((3, 4)), st.just((3, 4)), MASKS, MASKS),
    st.builds(Triple, st.just("matmul"), st.just((3, 4)), st.just((4, 2)), MASKS, MASKS),
    st.builds(lambda m: Triple("multiply", (3, 4), (3, 4), m, square=True), MASKS),
    st.builds(Masked, SIDES, st.integers(0, 62), st.integers(0, 63), st.booleans()),
    st.builds(Carries, st.integers(0, 16), SIDES),
    st.builds(Conjunction, SHAPES),
    st.builds(Addend, SIDES, st.integers(0, 64)),
    st.builds(Choice, SIDES),
    st.builds(DoubleBits, SIDES, SIDES),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.sampled_from(["matmul", "conv2d", "conv1d stride=0", "conv3d padding=9x9", "", "x" * 99]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(DESCRIBED)
def test_an_item_is_read_back_as_it_was_described(item):
    assert read_item(described(item)) == item == read_item(described(item).encode())


@settings(max_examples=300)
@given(DESCRIBED, st.data())
def test_a_description_with_another_value_is_refused_or_of_an_item_that_can_be(item, data):
    values = json.loads(described(item))
    name = data.draw(st.sampled_from(sorted(values)))
    values[name] = data.draw(JSON)
    text = json.dumps(values)
    try:
        found = read_item(text)
    except UsageError as error:
        assert str(error) == "no item of correlated randomness is described so"
    else:
        parts = [*found.masks(), *found.products(), *(field for _, field in found.reused())]
        assert all(field.nbytes < LARGEST and min(field.shape, default=0) >= 0 for field in parts)
        assert read_item(described(found)) == found


@given(JSON)
def test_no_other_json_is_an_item(value):
    with pytest.raises(UsageError):
        read_item(json.dumps(value))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", '{"kind":[]}', '{"kind":"choice"}', '{"kind":"choice","n":1,"m":1}'),
        *('{"kind":"choice","n":true}', '{"kind":"choice","n":1e3}', "[" * 100_000),
        '{"kind":"conjunction","shape":[4294967296,4294967296]}',  # 2^64 elements, which wrap to 0
        f'{{"kind":"conjunction","shape":{[1] * 65}}}',
        '{"kind":"choice","n":1099511627775}',
        '{"kind":"carries","blocks":17,"n":1}',
        '{"f":"os.system","kind":"triple","square":false,"x":[1],"x_mask":null,"y":[1],'
        '"y_mask":null}',
        # A place beyond a triple's masks, where the streams hold what hides products.
        '{"f":"multiply","kind":"triple","square":false,"x":[1],"x_mask":[0,65536,[]],"y":[1],'
        '"y_mask":null}',
    ],
)
def test_what_nobody_asks_for_is_refused(text):
    with pytest.raises(UsageError, match="no item of correlated randomness is described so"):
        read_item(text)


def test_an_item_never_names_a_mask_that_comes_after_it():
    maker = Maker([bytes(32), bytes(range(32))])
    for item in (3, 4):
        with pytest.raises(OutOfStep, match="item 3 names a mask of item"):
            maker.corrections(3, Triple("multiply", (1,), (1,), Mask(item, 0)))


def test_every_kind_of_item_is_in_these_tests():
    assert {type(item) for item in ITEMS} == set(KINDS.values())
