// Words as balanced digits, for the matrix units: x = sum over d of x_d 256^d mod 2^64 with -128 <= x_d < 128. They are
// written as bytes that follow each other along the summed index, [product][row][digit][summed index]: so digits 0 to d
// of a row are one run, and from the highest on if asked. Or by chunks, [product][row][chunk][digit][32]: so all digits
// of a row's next 32 words are one run. Balanced digits cost an addition: the carries that it makes are the ones that
// signed digits need.
#include "gather.h"
#include "gpu.h"

constexpr int SPLITTERS = 8 * WARP;                  // threads of a block
constexpr int TILE_BITS = 12, TILE = 1 << TILE_BITS; // elements of a block: 2^shift columns, and rows to match
constexpr int RUN = 16;                              // digits stored at once
constexpr int CHUNK = 32;                            // of the summed index, whose digits are one run if asked
enum Order { RISING, FALLING, BY_CHUNK };

// Four words' bytes the other way round: word d has byte d of each.
DEVICE void transpose_bytes(u32* at, int step, u32 a, u32 b, u32 c, u32 d) {
    const u32 even = 0x00ff00ff, odd = 0xff00ff00, low = 0x0000ffff;
    const u32 ab0 = (a & even) | (b & even) << 8, ab1 = (a & odd) >> 8 | (b & odd);
    const u32 cd0 = (c & even) | (d & even) << 8, cd1 = (c & odd) >> 8 | (d & odd);
    at[0] = (ab0 & low) | cd0 << 16, at[step] = (ab1 & low) | cd1 << 16;
    at[2 * step] = ab0 >> 16 | (cd0 & ~low), at[3 * step] = ab1 >> 16 | (cd1 & ~low);
}

// What one index, of a row or of a column, adds to a place: `place` of gather.h, cut in two. A block works it out once
// for each row and column of its tile and not for each element, which would be most of the work.
DEVICE void walk(i64* at, int apart, const i64* sizes, i64 step, const i64* by, const i64* origin, i64 index) {
    UNROLL(3)
    for (int d = 2; d >= 0; --d) {
        i64 part = 0;
        if (sizes[d + 1] > 1) part = index % sizes[d + 1], index /= sizes[d + 1];
        at[(d + 1) * apart] = by[d] * part + (origin ? origin[d] : 0);
    }
    at[0] = index * step;
}

#define PARAMETERS(T)                                                                                                 \
    u8 *planes, const T *base, const T *plus, const Gather *gather, const i64 *offsets, i64 first, i64 rows,          \
        i64 depth, i64 row_bytes, i64 column, i64 columns, i64 shift, i64 along_rows, i64 padded, i64 order
#define ARGUMENTS                                                                                                     \
    planes, base, plus, gather, offsets, first, rows, depth, row_bytes, column, columns, shift, along_rows, padded,   \
        order

// Row `first` + i of a side's matrices is row i of the planes, which have `padded` rows; those that are too many are
// not written. `columns`, a multiple of RUN, are written from `column` on: `depth` digits, then zeros. Words are read
// with neighbouring lanes along the rows or along the summed index, whichever way they lie in memory, and turn in
// shared memory. Its rows have an odd length and each RUN a word to spare, so lanes along rows and lanes a RUN apart
// both find different banks.
template <class T> DEVICE void split(PARAMETERS(T)) {
    constexpr int PARTS = sizeof(T) / 4, DIGITS = sizeof(T);
    constexpr T BIAS = (T)0x8080808080808080;
    const int me = threadIdx.x, width = 1 << shift, height = TILE >> shift, length = (width + width / RUN) | 1;
    const i64 across = (columns + width - 1) / width, down = (rows + height - 1) / height;
    const i64 top = blockIdx.x / across % down * height, left = blockIdx.x % across * width;
    const i64 product = blockIdx.x / across / down;

    Gather& g = *(Gather*)shared_memory();
    i64* at_row = (i64*)(&g + 1);                    // [place, then three positions][row]
    i64* at_column = at_row + 4 * height;
    u32* tile = (u32*)(at_column + 4 * width);
    if (me < (int)(sizeof(Gather) / sizeof(i64))) ((i64*)&g)[me] = ((const i64*)gather)[me];
    barrier();
    for (int n = me; n < height + width; n += SPLITTERS)
        if (n < height) walk(at_row + n, height, g.row, g.row_step, g.by_row, g.origin, first + top + n);
        else walk(at_column + n - height, width, g.column, g.column_step, g.by_column, nullptr, left + n - height);
    barrier();
    int moves = 0;                                   // a bit for each dimension that is not always at position 0
    UNROLL(3)
    for (int d = 0; d < 3; ++d)
        moves |= (g.row[d + 1] > 1 || g.column[d + 1] > 1 || g.origin[d] != 0 || g.limit[d] < 1) << d;
    const T* from = base + offsets[product];
    const T* and_from = plus ? plus + offsets[product] : nullptr;

    UNROLL(1)
    for (int turn = 0; turn < TILE; turn += 4 * SPLITTERS) {
        T x[4];                                      // several reads under way at once
        int to[4];
        UNROLL(4)
        for (int u = 0; u < 4; ++u) {
            const int n = turn + u * SPLITTERS + me;
            const int i = along_rows ? n & (height - 1) : n >> shift;
            const int k = along_rows ? n >> (TILE_BITS - shift) : n & (width - 1);
            to[u] = i * length + k + k / RUN;
            x[u] = 0;
            i64 at = at_row[i] + at_column[k];
            bool inside = top + i < rows && left + k < depth;
            UNROLL(3)
            for (int d = 0; d < 3; ++d) {
                if (!(moves >> d & 1)) continue;
                const i64 position = at_row[(d + 1) * height + i] + at_column[(d + 1) * width + k];
                inside &= position >= 0 && position < g.limit[d];
                at += position * g.step[d];
            }
            if (inside) x[u] = and_from ? from[at] + and_from[at] : from[at];
        }
        UNROLL(4)
        for (int u = 0; u < 4; ++u) {
            const T y = (x[u] + BIAS) ^ BIAS;
            UNROLL(2)
            for (int part = 0; part < PARTS; ++part) tile[part * height * length + to[u]] = (u32)(y >> 32 * part);
        }
    }
    barrier();

    struct alignas(16) Digits { u32 four[4]; };
    const int runs = width / RUN, i = me / runs, k = me % runs * RUN;
    if (top + i >= rows || left + k >= columns) return;
    const i64 at = column + left + k, within = order == BY_CHUNK ? at % CHUNK + at / CHUNK * CHUNK * DIGITS : at;
    const i64 apart = order == BY_CHUNK ? CHUNK : row_bytes;
    u8* out = planes + (product * padded + top + i) * DIGITS * row_bytes + within;
    UNROLL(2)
    for (int part = 0; part < PARTS; ++part) {
        const u32* four = tile + (part * height + i) * length + k + k / RUN;
        Digits digits[4];
        UNROLL(4)
        for (int q = 0; q < 4; ++q, four += 4)
            transpose_bytes(&digits[0].four[q], 4, four[0], four[1], four[2], four[3]);
        UNROLL(4)
        for (int d = 0; d < 4; ++d) {
            const int digit = 4 * part + d;
            *(Digits*)(out + (order == FALLING ? DIGITS - 1 - digit : digit) * apart) = digits[d];
        }
    }
}

FIT(4, split_u64, PARAMETERS(u64))
FIT(4, split_u32, PARAMETERS(u32))
KERNEL split_u64(PARAMETERS(u64)) { split(ARGUMENTS); }
KERNEL split_u32(PARAMETERS(u32)) { split(ARGUMENTS); }
