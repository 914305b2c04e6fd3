// The weight classes of a product put together: sums [class][row][column] of 32 bits, in each of which class c counts
// from bit 8 c on, are added to their places in the result. One pass.
#include "gpu.h"

// Element (i, j) of the product is sum (i, j), or (j, i) where the sums are `turned`. A class has `plane` sums, in rows
// of `pitch`; `rows` and `columns` of them count. Neighbouring threads have neighbours in a row of sums.
#define PARAMETERS(T)                                                                                                 \
    T *out, const int *sums, i64 rows, i64 columns, i64 pitch, i64 plane, i64 inner, i64 outer_step, i64 inner_step,  \
        i64 column_step, i64 first_row, i64 first_column, i64 turned
#define ARGUMENTS                                                                                                     \
    out, sums, rows, columns, pitch, plane, inner, outer_step, inner_step, column_step, first_row, first_column, turned

template <class T> DEVICE void combine(PARAMETERS(T)) {
    for (i64 r = blockIdx.y; r < rows; r += gridDim.y)
        for (i64 c = (i64)blockIdx.x * blockDim.x + threadIdx.x; c < columns; c += (i64)gridDim.x * blockDim.x) {
            T all = 0;
            UNROLL(8)
            for (int w = sizeof(T) - 1; w >= 0; --w) all = (all << 8) + (T)(i64)sums[w * plane + r * pitch + c];
            const i64 i = first_row + (turned ? c : r), j = first_column + (turned ? r : c);
            out[i / inner * outer_step + i % inner * inner_step + j * column_step] += all;
        }
}

KERNEL combine_u64(PARAMETERS(u64)) { combine(ARGUMENTS); }
KERNEL combine_u32(PARAMETERS(u32)) { combine(ARGUMENTS); }
