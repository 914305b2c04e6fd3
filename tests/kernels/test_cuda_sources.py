"""Every text for a GPU compiles for every kind of card, within its budget, with nothing to say."""

import re

import pytest

from kernels.cuda.card import compiled
from kernels.cuda.source import ROOT, SOURCES, text

CARDS = ("75", "80", "86", "90")  # Turing, Ampere, and Hopper
HOPPER_ALONE = ("90a",)
EACH = [(n, card) for n, s in SOURCES.items() for card in (HOPPER_ALONE if s.hopper else CARDS)]
nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="needs NVRTC: radmpc[cuda]")


@pytest.mark.parametrize("source, card", EACH)
def test_a_source_compiles_without_a_warning_or_a_spill_and_within_its_registers(source, card):
    assert int(card[:2]) in nvrtc.getSupportedArchs()
    image, said = compiled(source, f"sm_{card}", "--ptxas-options=-v")
    assert image.startswith(b"\x7fELF")
    assert "warning" not in said and "Performance Loss" not in said, said
    kernels = re.findall(r"Compiling entry function '(\w+)'", said)
    stacks = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores", said)
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", said)]
    entries = re.findall(r"^KERNEL (\w+)\(", text(source), re.MULTILINE)
    assert set(kernels) == set(entries) and len(registers) == len(kernels)
    assert all(found == ("0", "0") for found in stacks), said
    assert max(registers) <= SOURCES[source].registers, dict(zip(kernels, registers, strict=True))


def test_every_source_is_listed_and_written_out_whole():
    assert {path.stem for path in (ROOT / "cuda").glob("*.cu")} == set(SOURCES)
    for name in SOURCES:
        assert '#include "' not in text(name) and text(name).count("typedef unsigned char u8;") == 1
