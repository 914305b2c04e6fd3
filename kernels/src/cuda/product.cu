// Matrix products mod 2^64 and 2^32 on matrix units for signed bytes. Both sides come as balanced digits (digits.cu).
// The product of digits i and j belongs to class i + j, which counts from bit 8 (i + j): beyond the top digit it
// vanishes, so 64 bits take 36 products of bytes and 32 bits take 10. Each class is summed in 32 bits.
//
// Why that is exact: class w matters mod 2^(64 - 8 w), so classes 4 to 7, and all of a product mod 2^32, may wrap.
// Classes 0 to 3 of 64 bits must not. Each of their sums has at most 4 products of at most 2^14 for each summed index,
// and 4 * 2^14 * 32,767 < 2^31: so they are added to the result, and begun anew, before that depth.
#include "gpu.h"

constexpr int SIDE = 64;                             // rows and columns of the tile of a block
constexpr int CHUNK = 32;                            // of the summed index, in one stage of shared memory
constexpr int PIECE = 16;                            // bytes copied at once
constexpr int PLANE = SIDE * CHUNK;                  // bytes of one digit of one side
constexpr int UNIT = 16;                             // rows that a side's matrices are filled up to
constexpr int BAND = 8;                              // rows of tiles taken together, which share what L2 has of a and b

// Pieces of 32-byte rows, exchanged in every other four rows: the 8 rows of a matrix then lie in different banks.
DEVICE int swizzled(int row, int piece) { return row * CHUNK + (piece ^ (row >> 2 & 1)) * PIECE; }

// The classes of one element, put together.
DEVICE u64 combined(const int (&sum)[8][2][2][4], int m, int n, int e) {
    u64 low = 0;
    u32 high = 0;
    UNROLL(4)
    for (int w = 3; w >= 0; --w) {
        low = (low << 8) + (u64)(i64)sum[w][m][n][e];
        high = (high << 8) + (u32)sum[w + 4][m][n][e];
    }
    return low + ((u64)high << 32);
}
DEVICE u32 combined(const int (&sum)[4][2][2][4], int m, int n, int e) {
    u32 all = 0;
    UNROLL(4)
    for (int w = 3; w >= 0; --w) all = (all << 8) + (u32)sum[w][m][n][e];
    return all;
}

#define PARAMETERS(T)                                                                                                 \
    T *out, const i64 *offsets, i64 inner, i64 outer_step, i64 inner_step, i64 column_step, const u8 *a,              \
        const i64 *a_of, i64 rows, const u8 *b, const i64 *b_of, i64 columns, i64 depth, i64 splits, i64 shared,      \
        i64 first_row, i64 first_column
#define ARGUMENTS                                                                                                     \
    out, offsets, inner, outer_step, inner_step, column_step, a, a_of, rows, b, b_of, columns, depth, splits, shared, \
        first_row, first_column

// `a` and `b` have `rows` and `columns` rows of `depth` digits, a multiple of CHUNK, for each digit of a word; a_of and
// b_of say which of their matrices each product of the batch takes. A product has `splits` blocks for each tile, which
// share its depth; `shared` is whether an element of the result is added to by several blocks. The tile's rows begin at
// `first_row` and its columns at `first_column` of the result.
template <class T, int STAGES> DEVICE void product(PARAMETERS(T)) {
    constexpr int DIGITS = sizeof(T), STAGE = DIGITS * 2 * PLANE;
    constexpr int MOST = DIGITS == 8 ? 32767 / CHUNK : 0;           // chunks until sums are emptied, or 0: never

    const int down = (int)((rows + SIDE - 1) / SIDE), across = (int)((columns + SIDE - 1) / SIDE);
    const i64 tiles = (i64)down * across, number = blockIdx.x / tiles / splits;
    const int tile = (int)(blockIdx.x % tiles), part = (int)(blockIdx.x / tiles % splits);
    const int band = tile / (BAND * across) * BAND, height = down - band < BAND ? down - band : BAND;
    const int top = (band + tile % (BAND * across) % height) * SIDE;
    const int left = tile % (BAND * across) / height * SIDE;

    const i64 chunks = depth / CHUNK;
    int chunk = (int)(chunks * part / splits);
    const int end = (int)(chunks * (part + 1) / splits);

    // In each chunk a thread copies one piece of each plane: half of them of a, half of b.
    u8* memory = shared_memory();
    const int me = threadIdx.x, mine = me % 128 / 2;
    const bool of_a = me < 128;
    const int row = (of_a ? top : left) + mine;
    const i64 most = of_a ? rows : columns, bytes = DIGITS * depth, matrix = (most + UNIT - 1) / UNIT * UNIT * bytes;
    const bool inside = row < most;
    const u8* from = (of_a ? a + a_of[number] * matrix : b + b_of[number] * matrix) + (inside ? row : 0) * bytes
                     + me % 2 * PIECE + (i64)chunk * CHUNK;
    u8* to = memory + (of_a ? 0 : PLANE) + swizzled(mine, me % 2);

    // Warps are 2 by 4, with 32 by 16 elements each. One that is wholly outside copies, and does not multiply; mod 2^32
    // it does, as asking costs registers that two blocks on a core have not.
    const int lane = me % WARP, warp = me / WARP, warp_row = warp / 4 * 32, warp_column = warp % 4 * 16;
    const bool works = DIGITS == 4 || (top + warp_row < rows && left + warp_column < columns);
    const u8* read_a = memory + swizzled(warp_row + lane % 16, lane / 16);
    const u8* read_b = memory + PLANE + swizzled(warp_column + lane % 8 + lane / 16 * 8, lane / 8 % 2);

    while (chunk < end) {
        const int stop = MOST == 0 || end - chunk < MOST ? end : chunk + MOST;
        int sum[DIGITS][2][2][4];
        UNROLL(8)
        for (int w = 0; w < DIGITS; ++w)
            UNROLL(2)
            for (int m = 0; m < 2; ++m)
                UNROLL(2)
                for (int n = 0; n < 2; ++n)
                    UNROLL(4)
                    for (int e = 0; e < 4; ++e) sum[w][m][n][e] = 0;

        int used = 0;                                // where in shared memory the chunk is
        auto copy = [&](bool some, int filled) {
            if (some) {
                const u8* piece = from;
                UNROLL(8)
                for (int d = 0; d < DIGITS; ++d, piece += depth)
                    copy_beside(to + filled + d * 2 * PLANE, piece, inside);
                from += CHUNK;
            }
            end_group();                             // an empty one at the end, so that counts stay the same
        };
        UNROLL(4)
        for (int s = 0; s < STAGES - 1; ++s) copy(chunk + s < stop, s * STAGE);
        UNROLL(1)
        for (; chunk < stop; ++chunk) {
            wait_for_groups<STAGES - 2>();
            barrier();                               // this chunk is there, and nobody reads the one before it
            copy(chunk + STAGES - 1 < stop, used == 0 ? (STAGES - 1) * STAGE : used - STAGE);
            if (works) {
                u32 y[DIGITS][4];
                UNROLL(8)
                for (int d = 0; d < DIGITS; ++d) load_matrices4(y[d], read_b + used + d * 2 * PLANE);
                UNROLL(8)
                for (int i = 0; i < DIGITS; ++i)
                    UNROLL(2)
                    for (int m = 0; m < 2; ++m) {
                        u32 x[4];
                        load_matrices4(x, read_a + used + i * 2 * PLANE + m * 16 * CHUNK);
                        UNROLL(8)
                        for (int j = 0; j < DIGITS - i; ++j)
                            UNROLL(2)
                            for (int n = 0; n < 2; ++n) multiply_accumulate(sum[i + j][m][n], x, y[j] + 2 * n);
                    }
            }
            used = used == (STAGES - 1) * STAGE ? 0 : used + STAGE;
        }
        wait_for_groups<0>();
        barrier();                                   // nobody reads what the next run, if there is one, copies over
        if (!works) continue;

        T* result = out + offsets[number];
        UNROLL(2)
        for (int m = 0; m < 2; ++m)
            UNROLL(2)
            for (int half = 0; half < 2; ++half) {
                const int i = top + warp_row + 16 * m + 8 * half + lane / 4;
                if (i >= rows) continue;
                const u32 to_row = (u32)(first_row + i), outer = to_row / (u32)inner;
                T* line = result + outer * outer_step + (to_row - outer * (u32)inner) * inner_step;
                UNROLL(2)
                for (int n = 0; n < 2; ++n)
                    UNROLL(2)
                    for (int e = 0; e < 2; ++e) {
                        const int j = left + warp_column + 8 * n + 2 * (lane % 4) + e;
                        if (j >= columns) continue;
                        const T r = combined(sum, m, n, 2 * half + e);
                        T* at = line + (first_column + j) * column_step;
                        if (shared) add_atomically(at, r);
                        else *at += r;
                    }
            }
    }
}

// Two stages where a block has 64 KB of shared memory, three where it has 96. A product mod 2^32 has half the sums and
// half the planes, so two blocks fit a core.
FIT(1, product_u64_2, PARAMETERS(u64))
FIT(1, product_u64_3, PARAMETERS(u64))
FIT(2, product_u32_2, PARAMETERS(u32))
FIT(2, product_u32_3, PARAMETERS(u32))
KERNEL product_u64_2(PARAMETERS(u64)) { product<u64, 2>(ARGUMENTS); }
KERNEL product_u64_3(PARAMETERS(u64)) { product<u64, 3>(ARGUMENTS); }
KERNEL product_u32_2(PARAMETERS(u32)) { product<u32, 2>(ARGUMENTS); }
KERNEL product_u32_3(PARAMETERS(u32)) { product<u32, 3>(ARGUMENTS); }
