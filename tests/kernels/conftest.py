"""Tests of kernels run under every instruction set of this CPU, on one thread and on three."""

import pytest

from kernels import native

MACHINES = [(name, n) for name in native.available() for n in (1, 3)]


@pytest.fixture(scope="module", params=MACHINES, ids=[f"{name}-{n}" for name, n in MACHINES])
def machine(request):
    before = native.instruction_set(), native.threads()
    native.use_instruction_set(request.param[0])
    native.threads(request.param[1])
    yield request.param
    native.use_instruction_set(before[0])
    native.threads(before[1])
