"""Cards through CuPy, which is looked for by who calls one of these functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from kernels.cuda.launch import Gpu
from kernels.cuda.machine import CudaMachine
from kernels.cuda.source import OPTIONS, text
from kernels.machines import Memory, make_known

OLDEST = 75  # compute capability, without its point: what CUDA 13 has and `ldmatrix` needs
STATIC_SHARED = 48 << 10  # bytes that a block may have without being asked for


class DeviceError(RuntimeError):
    """A card is not there, or will not do: one line that says what to do."""


def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            f"device cuda needs CuPy, which did not import ({error}): pip install 'radmpc[cuda]'"
        ) from None
    return cupy


def devices() -> list[str]:
    """The names of the cards that this process may use.

    Raises:
        DeviceError: there is no driver, or it is too old.
    """
    runtime = _cupy().cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise DeviceError(f"device cuda: {_why(error)}") from None
    return [runtime.getDeviceProperties(i)["name"].decode() for i in range(count)]


def _why(error: Exception) -> str:
    said = str(error)
    if "InsufficientDriver" in said:
        return (
            "the NVIDIA driver is older than this CuPy needs: update it, or install an older CuPy"
        )
    if "NoDevice" in said:
        return "no card is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES"
    return f"no card can be used: {said}"


class CupyLaunch:
    """Starts kernels on the current stream of one card; each source is compiled when first used."""

    def __init__(self, device: int) -> None:
        """Nothing is compiled yet."""
        self._cupy, self._device = _cupy(), device
        self._kernels: dict[tuple[str, str], Any] = {}

    def __call__(
        self,
        source: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: int,
        arguments: Sequence[Any],
        shared: int = 0,
    ) -> None:
        """See `Launch`."""
        found = self._kernels.get((source, kernel))
        if found is None:
            module = self._cupy.RawModule(code=text(source), options=OPTIONS)
            found = self._kernels[source, kernel] = module.get_function(kernel)
        if shared > STATIC_SHARED and found.max_dynamic_shared_size_bytes < shared:
            found.max_dynamic_shared_size_bytes = shared
        found(grid, (block, 1, 1), tuple(arguments), shared_mem=shared)


@cache
def gpu(device: int) -> Gpu:
    """One card.

    Args:
        device: its number among those that this process may use.

    Raises:
        DeviceError: it is too old.
    """
    cupy = _cupy()
    card = cupy.cuda.Device(device)
    if int(card.compute_capability) < OLDEST:
        name = devices()[device]
        raise DeviceError(f"{name} is of compute capability {card.compute_capability}: needs 7.5")
    has = card.attributes
    return Gpu(
        cupy,
        CupyLaunch(device),
        cores=has["MultiProcessorCount"],
        shared_bytes=has["MaxSharedMemoryPerBlockOptin"],
    )


@cache
def machine(device: int) -> CudaMachine:
    """The kernels of one card."""
    return CudaMachine(gpu(device))


class Cards:
    """The kernels of whichever card is current when one is used."""

    def __getattr__(self, name: str) -> Any:
        """A kernel; the card's arrays are on the current device, which the caller sees to."""
        return getattr(machine(_cupy().cuda.runtime.getDevice()), name)


def enable() -> None:
    """Let kernels take CuPy's arrays from now on.

    Raises:
        DeviceError: there is no CuPy, or no card that it can use.
    """
    devices()
    cupy = _cupy()
    make_known(cupy.ndarray, Memory(cupy, Cards(), cupy.asnumpy))
