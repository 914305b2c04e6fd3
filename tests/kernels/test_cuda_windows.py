"""Products of windows on a warpgroup's matrix units, and when they are chosen."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference
from kernels.conv import Geometry
from kernels.cuda import convolutions, products, source, windows
from kernels.cuda.convolutions import FORWARD, INPUT_GRAD, WEIGHT_GRAD
from kernels.cuda.digits import BY_CHUNK
from kernels.cuda.operand import Side, Target, matrix
from tests.kernels import emulator
from tests.kernels.drawing import RING, SEEDS, Words, crossed, largest_digits
from tests.kernels.emulator import GPU

HOPPER, OTHER = replace(GPU, hopper=True), replace(GPU, hopper=False)
pytestmark = pytest.mark.skipif(
    emulator.ON_A_CARD and not GPU.hopper, reason="these units are Hopper's alone"
)
PLAIN = (1, 1), (1, 1), (1, 1), 1  # stride, padding, dilation and groups
few = settings(deadline=None, max_examples=4)


def sides(x, y):
    """Of x @ y.T, plain matrices."""
    return tuple(Side(matrix(*a.shape, a.shape[1], 1), ((a, None),)) for a in (x, y))


@pytest.mark.parametrize("dtype", RING)
@few
@given(m=st.integers(1, 130), k=st.integers(1, 230), n=st.integers(1, 70), seed=SEEDS)
def test_a_product_without_windows_is_exact(dtype, m, k, n, seed):
    words = Words(seed, dtype)
    x, y, out = words(m, k), words(n, k), words(m, n)
    expected = out + x @ y.T
    windows.product(HOPPER, out, Target(m, 0, n, 1), *sides(x, y))
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", RING)
def test_blocks_that_share_a_tile_add_up(dtype, monkeypatch):
    monkeypatch.setattr(windows, "LEAST_CHUNKS", 2)
    words = Words(1, dtype)
    x, y, out = words(5, 300), words(3, 300), words(5, 3)
    for cores in (1, 2, 100):
        expected = out + x @ y.T
        windows.product(replace(HOPPER, cores=cores), out, Target(5, 0, 3, 1), *sides(x, y))
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("k", [32736, 32768])
def test_sums_of_the_largest_digits_do_not_overflow(k):
    x, out = largest_digits(1, k), Words(6)(1, 1)
    expected = out + x @ x.T
    windows.product(replace(HOPPER, cores=0), out, Target(1, 0, 1, 1), *sides(x, x))
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("kind", [FORWARD, INPUT_GRAD, WEIGHT_GRAD])
def test_convolutions_take_this_way_where_it_is_the_shorter(kind, monkeypatch):
    monkeypatch.setattr(windows, "LEAST_PRODUCTS", 1)
    monkeypatch.setattr(windows, "LEAST_ROWS", 8)
    taken = []
    monkeypatch.setattr(
        windows, "product", lambda *args, made=windows.product: taken.append(made(*args))
    )
    words = Words(2)
    x, weight, grad = words(32, 32, 5, 4), words(32, 32, 3, 3), words(32, 32, 5, 4)
    geometry = Geometry(*PLAIN)
    definition, first, second = {
        FORWARD: (lambda a, b: reference.conv(geometry, a, b), x, weight),
        INPUT_GRAD: (lambda a, b: reference.conv_input_grad(geometry, (5, 4), a, b), grad, weight),
        WEIGHT_GRAD: (lambda a, b: reference.conv_weight_grad(geometry, (3, 3), a, b), x, grad),
    }[kind]
    windows.sound(HOPPER)
    taken.clear()
    out = words(*definition(first, second).shape)
    expected = crossed(definition, out, first, first[::-1], second, second[:, ::-1])
    terms = (np.ascontiguousarray(a) for a in (first, first[::-1], second, second[:, ::-1]))
    convolutions.conv_cross(HOPPER, kind, *PLAIN, out, *terms)
    assert np.array_equal(out, expected) and len(taken) == 1
    convolutions.conv_add(OTHER, kind, *PLAIN, out, first, second)
    assert len(taken) == 1  # not without these units


def suited(gpu, image, weight, walk=PLAIN):
    x, w = (np.broadcast_to(np.zeros(1, np.uint64), shape) for shape in (image, weight))
    spatial = Geometry(*walk).reach(image[2:], weight[2:])
    a, b, target = convolutions.sides(
        FORWARD, *walk, (image[0], weight[0], *spatial), ((x, None),), ((w, None),)
    )
    return windows.suits(gpu, target, a, b)


def test_what_has_one_tap_or_little_work_or_much_padding_goes_another_way():
    assert suited(HOPPER, (32, 64, 28, 28), (64, 64, 3, 3))
    assert not suited(OTHER, (32, 64, 28, 28), (64, 64, 3, 3))
    assert not suited(HOPPER, (32, 64, 28, 28), (64, 64, 1, 1), ((1, 1), (0, 0), (1, 1), 1))
    assert not suited(HOPPER, (32, 3, 28, 28), (64, 3, 7, 7))
    assert not suited(HOPPER, (1, 64, 5, 5), (64, 64, 3, 3))
    assert not suited(HOPPER, (32, 64, 28, 28), (32, 64, 3, 3))
    assert not suited(HOPPER, (32, 64, 28, 28), (64, 32, 3, 3), ((1, 1), (1, 1), (1, 1), 2))


def test_a_card_that_multiplies_otherwise_is_not_trusted():
    def wrong(source, kernel, grid, block, arguments, shared=0):
        HOPPER.launch(source, kernel, grid, block, arguments, shared)
        if source == "windows":
            arguments[0][0] += arguments[0].dtype.type(1)

    card = replace(HOPPER, launch=wrong)
    with pytest.warns(UserWarning, match="fail on this card, or differ"):
        assert not suited(card, (32, 64, 28, 28), (64, 64, 3, 3))
    assert windows.sound(HOPPER) and not windows.sound(card)


def test_a_card_whose_memory_is_used_up_is_not_distrusted_for_it():
    launches = []

    def fails_once(*arguments):
        launches.append(arguments)
        if len(launches) == 1:
            raise MemoryError("no room")
        HOPPER.launch(*arguments)

    card = replace(HOPPER, launch=fails_once)
    with pytest.raises(MemoryError):
        windows.sound(card)
    assert windows.sound(card)


def test_a_card_that_does_not_take_it_goes_another_way():
    def fails(source, *rest):
        raise RuntimeError("a compiler that is too old")

    with pytest.warns(UserWarning, match=r"are not used: .* \(RuntimeError\)"):
        assert not windows.sound(replace(HOPPER, launch=fails))


MUTANTS = {
    "copies that are not shown": ("show_copies();", ""),
    "registers written without a fence": ("begin_group_products();", ""),
    "products that are not waited for": ("wait_for_products<SETS - 1>", "wait_for_products<2>"),
    "copies that are not waited for": ("wait_for_groups<AHEAD - 1>", "wait_for_groups<AHEAD>"),
    "no barrier": ("        barrier();", ""),
    "sums that are read too early": ("    wait_for_products<0>();", ""),
    "digits overwritten while they are read": ("multiply(x[SETS - 1])", "multiply(x[0])"),
}


@pytest.mark.slow
@pytest.mark.skipif(emulator.ON_A_CARD, reason="of the emulator: on a card they may go well")
@pytest.mark.parametrize("name", MUTANTS)
def test_what_a_card_might_not_forgive_fails_on_the_emulator(name, tmp_path, monkeypatch):
    whole, (word, instead) = source.ROOT, MUTANTS[name]
    shutil.copytree(whole, tmp_path / "src")
    file = tmp_path / "src" / "cuda" / "windows.cu"
    assert file.read_text().count(word) == 1
    file.write_text(file.read_text().replace(word, instead))
    monkeypatch.setattr(emulator, "ROOT", tmp_path / "src")
    kind = f"MUTANT_{[*MUTANTS].index(name)}"
    mutant = replace(HOPPER, launch=partial(emulator.emulate, kind=(kind,)))
    words = Words(11)
    x, y, out = words(64, 700), words(64, 700), words(64, 64)
    target, expected = Target(64, 0, 64, 1), out + x @ y.T
    planes = [windows.planes_of(HOPPER, s, order=BY_CHUNK) for s in sides(x, y)]
    monkeypatch.setattr(windows, "planes_of", lambda *_, order: planes.pop(0))
    try:
        windows.product(mutant, out, target, *sides(x, y))
    except AssertionError:
        return
    assert not np.array_equal(out, expected)


def test_sides_that_do_not_fit_are_refused():
    words = Words(10)
    out, x, y = words(2, 2), words(2, 40), words(2, 4)
    with pytest.raises(ValueError, match="no product"):
        windows.product(HOPPER, out, Target(2, 0, 2, 1), *sides(x, y))
    large = np.broadcast_to(x[:1], (1 << 30, 40))
    a = Side(matrix(1 << 30, 40, 0, 1), ((large, None),))
    with pytest.raises(ValueError, match="too many"):
        windows.product(HOPPER, out, Target(2, 0, 2, 1), a, sides(x, x)[1])
    assert products.choose(9999, 9999, 9999) is products.product
