"""Threads, instruction sets, and what the compiled module refuses by itself."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kernels import _native, native, prg, reference
from kernels.conv import Geometry, conv, conv_weight_grad
from kernels.gemm import matmul
from tests.kernels.drawing import Words


def test_plain_is_always_offered_and_the_best_comes_first():
    assert native.available()[-1] == "plain"
    assert native.instruction_set() in native.available()


def test_an_instruction_set_that_this_cpu_lacks_raises():
    with pytest.raises(ValueError, match="this CPU runs"):
        native.use_instruction_set("mmx")


def test_the_number_of_threads_can_be_set_and_starts_at_one():
    before = native.threads()
    assert native.threads(3) == native.threads() == 3
    native.threads(before)
    with pytest.raises(ValueError, match="at least one thread"):
        native.threads(0)


def test_parties_as_threads_may_call_at_once(machine):
    words = Words(1)
    x, y = words(90, 80), words(80, 70)
    image, weight = words(3, 5, 20, 20), words(7, 5, 3, 3)
    geometry = Geometry((1, 1), (1, 1), (1, 1))
    grad = words(3, 7, 20, 20)
    expected = (
        x @ y,
        reference.conv(geometry, image, weight),
        reference.conv_weight_grad(geometry, (3, 3), image, grad),
        reference.chacha20(8 * 100_000, bytes(32), bytes(12)).view("<u8"),
    )

    def program(_):
        return (
            matmul(x, y),
            conv(geometry)(image, weight),
            conv_weight_grad(geometry, (3, 3))(image, grad),
            prg.random(100_000, bytes(32), bytes(12)),
        )

    with ThreadPoolExecutor(8) as parties:
        for results in parties.map(program, range(60)):
            for result, right in zip(results, expected, strict=True):
                assert np.array_equal(result, right)


def test_a_forked_process_can_go_on_computing():
    program = """
import os
import numpy as np
from kernels import native, prg
native.threads(3)
here = prg.random(1_000_000, bytes(32), bytes(12))
child = os.fork()
same = np.array_equal(here, prg.random(1_000_000, bytes(32), bytes(12)))
if child == 0:
    os._exit(0 if same and native.threads() == 3 else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or not same)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_without_the_compiled_module_the_import_says_how_to_build_it():
    program = "import sys; sys.modules['kernels._native'] = None; import kernels.gemm"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "build them with `python setup.py build_ext --inplace`" in done.stderr.splitlines()[-1]


def test_kernels_shared_with_the_gpu_include_nothing_but_each_other():
    sources = Path(native.__file__).with_name("src")
    for name in ("portable.h", "ring.h", "planes.h", "chacha20.h"):
        text = sources.joinpath(name).read_text()
        assert set(re.findall(r"#\s*include (.*)", text)) <= {'"portable.h"', "<emulator.h>"}, name


def test_the_compiled_module_checks_sizes_by_itself():
    words = Words(0)
    x, out = words(4, 4), words(4, 4)
    walk = (0, (1, 1), (0, 0), (1, 1), 1)
    calls = (
        lambda: _native.multiply_add(out, x, words(4)),
        lambda: _native.matmul_add(out, x, words(5, 4)),
        lambda: _native.matmul_add(out, x, words(4)),
        lambda: _native.matmul_cross(out, x, words(4, 5), x, x),
        lambda: _native.conv_add(*walk, words(1, 1, 9, 9), words(1, 1, 4, 4), words(1, 1, 3, 3)),
        lambda: _native.conv_add(7, *walk[1:], words(1, 1, 2, 2), words(1, 1, 4, 4), x),
        lambda: _native.conv_add(0, (0, 0), *walk[2:], out, x, x),
        lambda: _native.truncation_public(out, 16, x, x, words(3, 4)),
        lambda: _native.truncation_public(out, 64, x, x, x),
        lambda: _native.truncation_private(out, 16, x, x, words(16, 2)[:, 0]),
        lambda: _native.select_term(words(65), words(1), *(words(65) for _ in range(4))),
        lambda: _native.conj_to(out, x, x, x, x.T),
        lambda: _native.carry_step(words(2, 4), words(2, 4), x, x, x, x),
        lambda: _native.block_products(words(14), words(1), words(9), 4),
        lambda: _native.block_products(words(15), words(1), words(9), 64),
        lambda: _native.block_carries(words(1), words(0), words(1), words(14), words(9), 4, True),
        lambda: _native.block_carries(words(1), words(1), words(1), words(15), words(9), 4, True),
        lambda: _native.to_planes(words(3, 2), words(64), 0),
        lambda: _native.to_planes(words(3, 1), words(64), 62),
        lambda: _native.from_planes(words(64), words(65, 1)),
        lambda: _native.chacha20(_native.FILL, out.T, bytes(32), bytes(32), bytes(12)),
        lambda: _native.chacha20(9, out, bytes(32), bytes(32), bytes(12)),
        lambda: _native.chacha20(_native.FILL, out, bytes(31), bytes(32), bytes(12)),
    )
    for number, call in enumerate(calls):
        with pytest.raises((ValueError, TypeError)):
            call()
            pytest.fail(f"call {number} was let through")
