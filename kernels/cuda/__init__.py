"""The kernels on a GPU, through CuPy: the same functions as the compiled module's, bit for bit.

The modules, each leaning only on those before it:

- `source`: the texts, one for each compilation, and what they may use of a GPU
- `launch`: what a kernel is started with
- `operand`: the two sides of a product, as kernels read them
- `elementwise`, `planes`, `streams`: a launch an operation
- `words`, `products`, `convolutions`: word by word, or through digits of 8 bits on the matrix units
- `machine`: all of them under the names of the compiled module
- `card`: CuPy, which starts them and makes the arrays
"""
