"""Share arithmetic on arrays, mod 2^64 or 2^32: exact, fast, unaware of parties and protocols.

The modules, each leaning only on those before it:

- `array`: what counts as an array, and the checks before memory is touched
- `machines`: which kernels work on which kind of array
- `bilinear`: maps linear in each of two arguments, as values
- `native`: threads and instruction sets of the compiled kernels
- `bits`: bit planes, ANDs and carries on them
- `ring`, `gemm`, `conv`: products, matrix products, convolutions and their gradients
- `prg`: ChaCha20 streams
- `cuda`: the same kernels on a GPU
- `reference`: every kernel in plain NumPy, the definition
"""

from importlib.util import find_spec

if find_spec("kernels._native") is None:
    raise ImportError(
        "the compiled kernels are missing: build them with `python setup.py build_ext --inplace` "
        "or `pip install .`"
    )

from kernels import native as native
