"""Cards through CuPy, which is looked for by who calls one of these functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kernels.cuda.cublas import cublas_gemm
from kernels.cuda.launch import Gemm, Gpu
from kernels.cuda.machine import cuda_machine
from kernels.cuda.source import OPTIONS, SOURCES, text
from kernels.cuda.staging import Staging
from kernels.machines import Machine, Memory, make_known

OLDEST = 75  # compute capability, without its point: what CUDA 13 has and `ldmatrix` needs
HOPPER, HOPPER_ALONE = "90", "sm_90a"  # a capability, and what has its own instructions as well
_NONE = "no card is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES"
KEPT_SHARE = 32  # of a card's memory, for what a process keeps; several may share the card
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
    if not count:
        raise DeviceError(f"device cuda: {_NONE}")
    return [runtime.getDeviceProperties(i)["name"].decode() for i in range(count)]


def _why(error: Exception) -> str:
    said = str(error)
    if "InsufficientDriver" in said:
        if not _cupy().cuda.runtime.driverGetVersion():
            return "there is no NVIDIA driver on this machine"
        return "the NVIDIA driver is older than CUDA 13 needs: update it to 580 or newer"
    return _NONE if "NoDevice" in said else f"no card can be used: {said}"


class CupyLaunch:
    """Starts kernels on the current stream and card; a source is compiled when it is first used."""

    def __init__(self) -> None:
        """Nothing is compiled yet."""
        self._cupy = _cupy()
        self._kernels: dict[tuple[str, str], Any] = {}
        self._folder: TemporaryDirectory[str] | None = None

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
            found = self._kernels[source, kernel] = self._module(source).get_function(kernel)
        if shared > STATIC_SHARED and found.max_dynamic_shared_size_bytes < shared:
            found.max_dynamic_shared_size_bytes = shared
        found(grid, (block, 1, 1), tuple(arguments), shared_mem=shared)

    def _module(self, source: str) -> Any:
        if not SOURCES[source].hopper:
            return self._cupy.RawModule(code=text(source), options=OPTIONS)
        # CuPy compiles for a capability, without what that one has alone. What is compiled it reads
        # from a file, for each card when it is first used there.
        self._folder = self._folder or TemporaryDirectory()
        file = Path(self._folder.name) / f"{source}.cubin"
        file.write_bytes(compiled(source, HOPPER_ALONE)[0])
        return self._cupy.RawModule(path=str(file))


def compiled(source: str, card: str, *options: str) -> tuple[bytes, str]:
    """A source compiled for a kind of card, such as "sm_90a", and what the compiler said."""
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(text(source), f"{source}.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*OPTIONS, f"-arch={card}", *options))
        # CuPy leaves the last byte out, as of a text.
        return bytes(nvrtc.getCUBIN(program)) + b"\0", str(nvrtc.getProgramLog(program))
    finally:
        nvrtc.destroyProgram(program)


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
        has = f"{card.compute_capability[:-1]}.{card.compute_capability[-1]}"
        raise DeviceError(f"{name} is of compute capability {has}: 7.5 or more is needed")
    has = card.attributes
    return Gpu(
        cupy,
        CupyLaunch(),
        cores=has["MultiProcessorCount"],
        shared_bytes=has["MaxSharedMemoryPerBlockOptin"],
        gemm=_gemm(),
        hopper=card.compute_capability == HOPPER,
        kept_bytes=min(Gpu.kept_bytes, card.mem_info[1] // KEPT_SHARE),
    )


def _gemm() -> Gemm | None:
    try:
        from cupy_backends.cuda.libs import cublas
    except ImportError:  # CuPy comes without it; our own kernels do all of it
        return None
    return cublas_gemm(_cupy().cuda.device.get_cublas_handle, cublas)


@cache
def machine(device: int) -> Machine:
    """The kernels of one card."""
    return cuda_machine(gpu(device))


class Cards:
    """The kernels of the card that the arrays lie on."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        """A kernel, on that card; its device is the current one meanwhile."""
        kind = _cupy().ndarray

        def there(*arguments: Any) -> None:
            device = next(a for a in arguments if isinstance(a, kind)).device
            with device:
                getattr(machine(device.id), name)(*arguments)

        return there


def enable() -> Memory:
    """Let kernels take CuPy's arrays from now on.

    Raises:
        DeviceError: there is no CuPy, or no card that it can use.
    """
    devices()
    memory, cupy = _memory(), _cupy()
    make_known(cupy.ndarray, memory)
    return memory


@cache
def _memory() -> Memory:
    import cupyx

    cupy, staging = _cupy(), Staging(_cupy(), cupyx)

    def device() -> str:
        return f"cuda:{cupy.cuda.Device().id}"

    return Memory(cupy, Cards(), staging.get, staging.crossing, staging.settle, device)


def use(number: int) -> Memory:
    """The memory of a card, which is this thread's from now on; several ranks may share one.

    Args:
        number: any; of the cards that this process may use, counted round and round.

    Raises:
        DeviceError: there is no card, or this one will not do.
    """
    memory, names = enable(), devices()
    gpu(number % len(names))
    _cupy().cuda.Device(number % len(names)).use()
    return memory


def shortage(error: BaseException) -> str | None:
    """What was asked for and what was free, if an error says that a card's memory is used up."""
    if type(error).__name__ != "OutOfMemoryError" or not type(error).__module__.startswith("cupy"):
        return None
    free, total = _cupy().cuda.runtime.memGetInfo()
    return f"the card is out of memory: {error} {free:,} of its {total:,} bytes are free"
