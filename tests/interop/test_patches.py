"""Nothing of CrypTen is touched before `accelerate()` nor after it was undone."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("protocols.interop.crypten", exc_type=ImportError)

from protocols.interop.crypten import accelerate
from protocols.interop.crypten.importing import crypten
from protocols.interop.crypten.overhead import Settings

ROOT = Path(__file__).resolve().parents[2]


def names():
    """Every attribute of CrypTen's modules and classes."""
    found = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] == "crypten":
            for name, value in list(vars(module).items()):
                found[module_name, name] = id(value)
                if isinstance(value, type) and value.__module__.startswith("crypten"):
                    of_class = {(module_name, name, k): id(v) for k, v in vars(value).items()}
                    found |= of_class
    return found


@pytest.mark.parametrize("mpi", [False, True])
def test_undoing_puts_every_name_back(mpi):
    before = names()
    with accelerate(mpi=mpi) as done:
        during = names()
        assert accelerate() is done, "asked again, it does nothing more"
        assert names() == during
        assert crypten.mpc.MPCTensor.relu is not crypten.CrypTensor.relu
        assert before != during
    assert names() == before
    with accelerate(mpi=mpi) as again:
        assert again is not done
    assert names() == before


def test_a_program_without_accelerate_is_cryptens_own():
    code = """
import protocols.interop.crypten, crypten, torch
from crypten.mpc.primitives import arithmetic
assert arithmetic.torch is torch
assert crypten.communicator.DistributedCommunicator.__module__.startswith("crypten.")
assert "relu" not in vars(crypten.mpc.MPCTensor)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=100)


def test_a_missing_crypten_is_one_clear_line():
    code = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name in ("crypten", "onnx"):
            raise ModuleNotFoundError(name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in ("crypten", "onnx") else found(name, *a)
import protocols.interop.crypten
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=100, check=False
    )
    last = ran.stderr.decode().splitlines()[-1]
    assert "CrypTenMissing: not found: crypten, onnx; pip install" in last
    runner = code.replace(
        "import protocols.interop.crypten",
        "import runpy; runpy._run_module_as_main('protocols.interop.crypten')",
    )
    ran = subprocess.run(
        [sys.executable, "-c", runner], cwd=ROOT, capture_output=True, timeout=100, check=False
    )
    (line,) = ran.stderr.decode().splitlines()
    assert "not found: crypten, onnx; pip install" in line and ran.returncode == 1


def test_settings_read_quickly_are_those_of_the_moment():
    cfg, quick = crypten.cfg, Settings()
    assert quick.encoder.precision_bits == cfg.encoder.precision_bits == 16
    assert quick.debug.validation_mode is False
    with cfg.temp_override({"debug.validation_mode": True, "mpc.provider": "TTP"}):
        assert quick.debug.validation_mode is True and quick.mpc.provider == "TTP"
    cfg.debug.validation_mode = True
    assert quick.debug.validation_mode is True
    cfg.debug.validation_mode = False
    assert quick.debug.validation_mode is False
    with cfg.temp_override({"encoder.precision_bits": "'${functions.exp_iterations}'"}):
        assert quick.encoder.precision_bits == cfg.encoder.precision_bits
    with pytest.raises(Exception, match="unheard"):
        _ = quick.mpc.unheard
