"""The kernels on a GPU, through CuPy: the same functions as the compiled module's, bit for bit.

The modules, each leaning only on those before it:

- `source`: the texts, one for each compilation, and what they may use of a GPU
- `launch`: what starts kernels: CuPy here, an emulator of a thread block in tests
- `operand`: the two sides of a product, as kernels read them
- `elementwise`, `planes`, `streams`: a launch an operation
- `products`, `convolutions`: through digits of 8 bits on the matrix units, or word by word
- `machine`: all of them under the names of the compiled module
"""
