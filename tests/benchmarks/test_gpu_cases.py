"""Every case for a card runs once, tiny, on a card's stand-in; nothing is timed."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.gpu import cases, ceilings
from benchmarks.gpu.timing import LIMIT_S, REPEATS, WARM, seconds
from kernels.cuda import card, classes
from tests.kernels.emulator import ON_A_CARD
from tests.kernels.oncard import CARD, Library

if ON_A_CARD:
    pytest.skip("scripts/gpu-check runs the cases themselves", allow_module_level=True)

from tests.kernels.oncard import GPU


class Events:
    """A clock that the work moves on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return SimpleNamespace(record=lambda: None, synchronize=lambda: None)

    def between(self, start, end):
        return 1e3 * self.now


class Cupy(Library):
    """As much of CuPy as the cases use."""

    def __init__(self):
        events = Events()
        events.now = 2.0
        device = SimpleNamespace(id=0, attributes={"MultiProcessorCount": 2})
        self.cuda = SimpleNamespace(
            Event=events, get_elapsed_time=events.between, Device=lambda: device
        )
        draw = np.random.default_rng(0)
        self.random = SimpleNamespace(random=draw.random, standard_normal=draw.standard_normal)

    @staticmethod
    def RawKernel(text, name):  # noqa: N802
        assert f"void {name}(" in text
        return lambda grid, block, arguments: None


def gemm(out, a, b, error=0):
    a, b = (x.view(np.ndarray).astype(np.int64) for x in (a, b))
    out.view(np.ndarray)[...] = a @ b.T + error


@pytest.fixture
def cupy(monkeypatch):
    for module, sizes in {
        cases: {"SIDE": 48, "IMAGES": (2, 3, 5, 5), "STREAM": 1 << 10, "CHUNK": 128},
        ceilings: {"SIDE": 16, "COPIED": 64},
    }.items():
        for name, value in sizes.items():
            monkeypatch.setattr(module, name, value)
    for name in ("LEAST_ROWS", "LEAST_STEPS", "LEAST_PRODUCTS"):  # a library is asked all the same
        monkeypatch.setattr(classes, name, 0)
    monkeypatch.setattr("kernels.cuda.words.suits", lambda *_: False)
    monkeypatch.setattr(card, "gpu", lambda device: replace(GPU, gemm=gemm))
    monkeypatch.setattr(card, "enable", lambda: CARD)
    monkeypatch.setitem(cases.CASES, "sign bits", lambda cupy: cases.signs(cupy, 300, words=1000))
    return Cupy()


@pytest.mark.parametrize("name", cases.CASES)
def test_each_case_runs(cupy, name):
    found = list(cases.CASES[name](cupy))
    assert found and all(rate.rate > 0 for rate in found)
    assert len({rate.case for rate in found}) == len(found)


@pytest.mark.parametrize("name", sorted(set(ceilings.CEILINGS) - {"int8_macs_per_s"}))
def test_each_ceiling_runs(cupy, name):
    assert ceilings.CEILINGS[name](cupy) > 0


def test_the_ceilings_own_text_compiles_for_a_card_with_nothing_to_say():
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="needs NVRTC")
    program = nvrtc.createProgram(ceilings.MULTIPLIER, "text.cu", (), ())
    nvrtc.compileProgram(program, ("-arch=sm_90",))
    said = nvrtc.getProgramLog(program).strip("\0\n ")
    nvrtc.destroyProgram(program)
    assert not said


@pytest.mark.parametrize("name", ["ring-64 products", "ring-32 products"])
def test_a_library_that_disagrees_with_our_kernel_is_not_timed(cupy, name, monkeypatch):
    wrong = replace(GPU, gemm=lambda *arrays: gemm(*arrays, error=1))
    monkeypatch.setattr(card, "gpu", lambda device: wrong)
    with pytest.raises(ArithmeticError, match="2304 of 2304 elements"):
        list(cases.CASES[name](cupy))


def runs(took):
    """How often work is run that takes so long, and what is said of it."""
    events, count = Events(), 0

    def work():
        nonlocal count
        count += 1
        events.now = 100.0 if count == 1 else took  # the first run compiles

    cuda = SimpleNamespace(Event=events, get_elapsed_time=events.between)
    assert seconds(SimpleNamespace(cuda=cuda), work) == pytest.approx(took)
    return count


def test_short_work_is_repeated_and_long_work_is_not():
    assert runs(1e-3) == 1 + WARM + REPEATS
    assert runs(LIMIT_S / 5) == 7
    assert runs(2 * LIMIT_S) == 2
