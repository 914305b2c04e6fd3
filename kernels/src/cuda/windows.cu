// Matrix products mod 2^64 and 2^32 whose left side is windows in an image, on Hopper's matrix units: a warpgroup's
// products of bytes (wgmma), whose operands tiles gather out of the image's digits themselves, so that each word is
// split once and not once for each window that it is in. How a product is put together of digits, and why it is exact,
// is said in product.cu.
//
// Both sides' digits are stored [row][chunk of 32][digit][32] (digits.cu): a row's next chunk is one run of bytes. A row
// of the left side is a position of the image; one of the right side is a column of the result, with one row of digits
// for each tap. The summed index is all taps, and at each the depth of a row.
#include "gather.h"
#include "gpu.h"

constexpr int SIDE = 64;                             // rows and columns of a block's tile
constexpr int HALF = SIDE / 2;                       // columns of one of its two warpgroups
constexpr int CHUNK = 32;                            // of the summed index, in one stage of shared memory
constexpr int PIECE = 16;                            // bytes copied at once
constexpr int ATOM = 256;                            // bytes that a descriptor's rows repeat in: 8 rows
constexpr int BAND = 8;                              // rows of tiles taken together, which share what L2 has

// Pieces of 32-byte rows, exchanged in every other four rows: what PTX calls the 32-byte swizzle.
DEVICE int swizzled(int row, int piece) { return row * CHUNK + (piece ^ (row >> 2 & 1)) * PIECE; }

DEVICE bool below(int position, int limit) { return (u32)position < (u32)limit; }

#define PARAMETERS(T)                                                                                                 \
    T *out, i64 inner, i64 outer_step, i64 inner_step, i64 column_step, const u8 *a, const Gather *windows, i64 rows, \
        const u8 *b, i64 columns, i64 depth, i64 taps, i64 splits
#define ARGUMENTS out, inner, outer_step, inner_step, column_step, a, windows, rows, b, columns, depth, taps, splits

// `windows` says where window i is at each tap, as a position of the image, whose sizes are its limits and which row
// numbers count through. Both sides have rows of `depth` digits, a multiple of CHUNK; the right one has `taps` of them
// for each column. A tile has `splits` blocks, which share its summed index; none of them has more than 1023 chunks mod
// 2^64 (product.cu: 32,767 of the depth).
template <class T, int STAGES> DEVICE void product(PARAMETERS(T)) {
    constexpr int DIGITS = sizeof(T), PAIRS = DIGITS / 2, ROW = DIGITS * CHUNK;
    constexpr int LEFT_PLANE = SIDE * CHUNK, LEFT = DIGITS * LEFT_PLANE;
    constexpr int PLANE = HALF * CHUNK, RIGHT = (DIGITS + 1) * PLANE;           // a plane of zeros, then the digits
    constexpr int STAGE = LEFT + 2 * RIGHT, AHEAD = STAGES - 2;

    const int down = (int)((rows + SIDE - 1) / SIDE), across = (int)((columns + SIDE - 1) / SIDE);
    const int tile = (int)(blockIdx.x / splits), part = (int)(blockIdx.x % splits);
    const int band = tile / (BAND * across) * BAND, height = down - band < BAND ? down - band : BAND;
    const int top = (band + tile % (BAND * across) % height) * SIDE;
    const int left = tile % (BAND * across) / height * SIDE;
    const int each = (int)(depth / CHUNK);                                      // chunks of a tap
    const i64 chunks = each * taps;
    int ahead = (int)(chunks * part / splits);                                  // the next chunk to be copied
    const int end = (int)(chunks * (part + 1) / splits), count = end - ahead;

    // A warp copies four neighbouring rows at a time, of each the same four digits: 128 bytes that follow each other in
    // device memory, and in each plane of shared memory 128 that fill all its banks.
    u8* memory = shared_memory();
    memory += -shared_address(memory) & (ATOM - 1);
    const int me = threadIdx.x, lane = me % WARP, warp = me / WARP;
    const int mine = 4 * warp + lane / 2 % 4, digit = lane / 8, piece = lane % 2;    // rows `mine` and `mine` + HALF
    int base[2], at[2][3], limit[3], move[3] = {0, 0, 0};
    UNROLL(3)
    for (int d = 0; d < 3; ++d) limit[d] = (int)windows->limit[d];
    UNROLL(2)
    for (int u = 0; u < 2; ++u) {
        i64 index = top + mine + u * HALF;
        const bool inside = index < rows;
        UNROLL(3)
        for (int d = 2; d >= 0; --d) {
            const i64 size = windows->row[d + 1];
            at[u][d] = (int)(windows->origin[d] + windows->by_row[d] * (index % size)), index /= size;
        }
        if (!inside) at[u][0] = -(1 << 30);                                     // outside, wherever it moves
        base[u] = (int)index * limit[0] * limit[1] * limit[2];
    }
    int within = ahead % each * ROW;                                            // of a tap's row of digits
    auto moved_to = [&](int tap) {
        UNROLL(3)
        for (int d = 2; d >= 0; --d) {
            const int size = (int)windows->column[d + 1];
            move[d] = (int)windows->by_column[d] * (tap % size), tap /= size;
        }
    };
    int tap = ahead / each;
    moved_to(tap);
    const u8* column = b + (left + mine) * taps * each * ROW + (i64)ahead * ROW + digit * CHUNK + piece * PIECE;
    const bool here[2] = {left + mine < columns, left + mine + HALF < columns};
    const i64 half_on = here[1] ? HALF * taps * each * ROW : 0;
    const u8* image = a + digit * CHUNK + piece * PIECE;
    u8* to = memory + digit * LEFT_PLANE + swizzled(mine, piece);
    u8* to_right = memory + LEFT + (1 + digit) * PLANE + swizzled(mine, piece);

    auto copy = [&](int filled) {
        if (ahead < end) {
            UNROLL(2)
            for (int u = 0; u < 2; ++u) {
                const int x = at[u][0] + move[0], y = at[u][1] + move[1], z = at[u][2] + move[2];
                const bool inside = below(x, limit[0]) && below(y, limit[1]) && below(z, limit[2]);
                const u32 row = inside ? base[u] + (x * limit[1] + y) * limit[2] + z : 0;
                const u8* from = image + (row * (u32)(each * ROW) + (u32)within);    // in an image of at most 2^31
                const u8* from_right = column + (u ? half_on : 0);
                UNROLL(2)
                for (int d = 0; d < DIGITS; d += 4) {
                    copy_beside(to + filled + u * HALF * CHUNK + d * LEFT_PLANE, from + d * CHUNK, inside);
                    copy_beside(to_right + filled + u * RIGHT + d * PLANE, from_right + d * CHUNK, here[u]);
                }
            }
            column += ROW, within += ROW;
            ++ahead;
            if (within == each * ROW) within = 0, moved_to(++tap);
        }
        end_group();                                 // an empty one at the end, so that counts stay the same
    };

    // Before each warpgroup's lowest digit a plane of zeros: a pair of classes takes its neighbour's digit as well.
    for (int n = me; n < STAGES * 2 * (PLANE / PIECE); n += 2 * 4 * WARP)
        copy_beside(memory + n / (2 * (PLANE / PIECE)) * STAGE + LEFT + n / (PLANE / PIECE) % 2 * RIGHT
                        + n % (PLANE / PIECE) * PIECE, a, false);
    UNROLL(4)
    for (int s = 0; s < AHEAD; ++s) copy(s * STAGE);

    // Classes 2 k and 2 k + 1 are sums of one product: digit i with digits j = 2 k - i and j + 1, which lie side by side.
    // All have one shape, so that they may follow each other without waiting. An odd i begins at j = -1, the zeros.
    const int group = uniform(warp / 4), quarter = warp % 4 * 16;
    const u8* read = memory + swizzled(quarter + lane % 16, lane / 16);
    const u64 right = describe(memory + LEFT + group * RIGHT);
    int sum[PAIRS][32];
    UNROLL(4)
    for (int k = 0; k < PAIRS; ++k)
        UNROLL(32)
        for (int e = 0; e < 32; ++e) sum[k][e] = 0;
    // Of 64 bits, a chunk is multiplied while the next one's digits are read. Of 32, another block fills the wait: its
    // sums are half as many, so two fit a core.
    constexpr int SETS = DIGITS == 8 ? 2 : 1;
    u32 x[SETS][DIGITS][4];
    int used = 0;
    auto multiply = [&](u32 (&digits)[DIGITS][4]) {
        wait_for_groups<AHEAD - 1>();
        show_copies();                               // to the matrix units
        barrier();                                   // the chunk is there, and nobody's units read the one two before
        const int next = used < 2 * STAGE ? used + AHEAD * STAGE : used - 2 * STAGE;
        if (group) copy(next);                       // one warpgroup before its products and one after: so they alternate
        UNROLL(8)
        for (int i = 0; i < DIGITS; ++i) load_matrices4(digits[i], read + used + i * LEFT_PLANE);
        begin_group_products();
        UNROLL(8)
        for (int i = 0; i < DIGITS; ++i)
            UNROLL(4)
            for (int k = i / 2; k < PAIRS; ++k)
                multiply_group(sum[k], digits[i], moved(right, used, (1 + 2 * k - i) * PLANE));
        end_group_products();
        if (!group) copy(next);
        wait_for_products<SETS - 1>();
        used = used == (STAGES - 1) * STAGE ? 0 : used + STAGE;
    };
    int n = 0;
    UNROLL(1)
    for (; n + 1 < count; n += 2) multiply(x[0]), multiply(x[SETS - 1]);
    if (n < count) multiply(x[0]);
    wait_for_products<0>();
    wait_for_groups<0>();
    UNROLL(4)
    for (int k = 0; k < PAIRS; ++k) there(sum[k]);

    UNROLL(2)
    for (int half = 0; half < 2; ++half) {
        const i64 i = top + quarter + 8 * half + lane / 4;
        if (i >= rows) continue;
        const u32 outer = (u32)i / (u32)inner;
        T* line = out + outer * outer_step + ((u32)i - outer * (u32)inner) * inner_step;
        UNROLL(4)
        for (int n8 = 0; n8 < 4; ++n8)
            UNROLL(2)
            for (int e = 0; e < 2; ++e) {
                const int j = left + group * HALF + 8 * n8 + 2 * (lane % 4) + e;
                if (j >= columns) continue;
                T r = 0;
                UNROLL(4)
                for (int k = PAIRS - 1; k >= 0; --k) {
                    const int* s = sum[k] + 4 * n8 + 2 * half + e;
                    r = (r << 16) + ((T)(i64)s[16] << 8) + (T)(i64)s[0];
                }
                add_atomically(line + j * column_step, r);      // also of one block alone: nobody waits for what was there
            }
    }
}

FIT(1, windows_u64, PARAMETERS(u64))
FIT(2, windows_u32, PARAMETERS(u32))
KERNEL windows_u64(PARAMETERS(u64)) { product<u64, 6>(ARGUMENTS); }
KERNEL windows_u32(PARAMETERS(u32)) { product<u32, 6>(ARGUMENTS); }
