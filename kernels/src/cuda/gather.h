// A matrix that stands in an array only as what a kernel reads: the rows and columns of a product, the windows of a
// convolution and of its gradients. Nothing is unfolded in memory.
#pragma once
#include "../portable.h"

// An index is up to four numbers, the first of them slowest; a matrix that needs fewer has sizes of 1. Number 0 of the
// row and of the column walk through the array. Numbers 1 to 3 go together, dimension by dimension, to a position
// origin + by_row * row + by_column * column, of which there is an element if it is at least 0 and below the limit;
// elsewhere the matrix is zero. Handed over as an array of words in this order: kernels/cuda/operand.py makes it.
struct Gather {
    i64 row[4], column[4];
    i64 row_step, column_step;
    i64 by_row[3], by_column[3], origin[3], limit[3], step[3];
};
