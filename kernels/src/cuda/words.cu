// Products word by word, on the cores: for thin and small shapes, and for cards whose matrix units take no bytes.
//
// A block makes a tile of the result. It walks along the summed index 16 steps at a time: its threads bring elements of
// both sides into shared memory, and each multiplies what its few elements of the result take.
#include "gather.h"
#include "gpu.h"

constexpr int THREADS = 256, DEPTH = 16;
static_assert(2 * DEPTH == WARP, "a warp makes the lines of both sides");

// One side of a product, as kernels/cuda/words.py hands it over: side 0's rows are rows of the result, side 1's are its
// columns.
struct Side {
    Gather gather;
    i64 first;                                  // of the dimensions that are in use; 3: none is
    i64 by_rows;                                // whether neighbours in memory are neighbouring rows
    i64 inner, outer_step, inner_step;          // of the result, along this side's rows
};

// What an index alone says of a place: it is divided once, and not once for each element of its row. Positions fit into
// 32 bits: words.py sees to it.
struct Line { i64 at; int position[3]; };       // at: -1 past the end

// An array and what is to be added to it, or null.
template <class T> struct Term { const T *x, *plus; };

// By its parts: a choice of the whole would be one of addresses, which needs both in memory.
template <class T> DEVICE Term<T> either(bool first, const Term<T>& a, const Term<T>& b) {
    return {first ? a.x : b.x, first ? a.plus : b.plus};
}

DEVICE Line line(const i64* sizes, i64 step, const i64* by, i64 i, bool exists) {
    Line is;
    UNROLL(3)
    for (int d = 2; d >= 0; --d) {
        is.position[d] = 0;
        if (sizes[d + 1] > 1) is.position[d] = (int)(by[d] * (i % sizes[d + 1])), i /= sizes[d + 1];
    }
    is.at = exists ? i * step : -1;
    return is;
}

// ROWS x 16 elements of a side into shared memory. Neighbouring threads take neighbours in memory.
// Places are as gather.h has them, found dimension by dimension for all turns at once.
template <int ROWS, class T>
DEVICE void fill(T (*to)[ROWS + 1], const Side& side, Term<T> term, i64 offset, const Line* rows,
                 const Line* columns) {
    constexpr int TURNS = (ROWS * DEPTH + THREADS - 1) / THREADS;
    const Gather& g = side.gather;
    const bool by_rows = side.by_rows;
    const int t = threadIdx.x;
    const int first_row = by_rows ? t % ROWS : t / DEPTH % ROWS, row_step = by_rows ? 0 : THREADS / DEPTH;
    const int first_column = by_rows ? t / ROWS % DEPTH : t % DEPTH, column_step = by_rows ? THREADS / ROWS : 0;
    auto row = [&](int turn) { return first_row + turn * row_step; };
    auto column = [&](int turn) { return first_column + turn * column_step; };
    i64 at[TURNS];
    UNROLL(8)
    for (int turn = 0; turn < TURNS; ++turn) {
        const i64 r = rows[row(turn)].at, c = columns[column(turn)].at;
        at[turn] = r < 0 || c < 0 ? -1 : offset + r + c;
    }
    for (int d = side.first; d < 3; ++d) {
        const int origin = (int)g.origin[d], limit = (int)g.limit[d];
        const i64 step = g.step[d];
        UNROLL(8)
        for (int turn = 0; turn < TURNS; ++turn) {
            const int position = origin + rows[row(turn)].position[d] + columns[column(turn)].position[d];
            const bool exists = at[turn] >= 0 && position >= 0 && position < limit;
            at[turn] = exists ? at[turn] + position * step : -1;
        }
    }
    T x[TURNS];
    UNROLL(8)
    for (int turn = 0; turn < TURNS; ++turn) {                   // all are under way before one is waited for
        x[turn] = at[turn] < 0 ? 0 : term.x[at[turn]];
        if (term.plus && at[turn] >= 0) x[turn] += term.plus[at[turn]];
    }
    UNROLL(8)
    for (int turn = 0; turn < TURNS; ++turn)
        if (t + turn * THREADS < ROWS * DEPTH) to[column(turn)][row(turn)] = x[turn];
}

// Rows one element longer than they are: an odd pitch, at which a column's elements are in different banks.
template <class T, int ROWS, int COLUMNS> struct Stage {
    Line rows[ROWS], columns[COLUMNS], steps[2][DEPTH];
    T a[DEPTH][ROWS + 1], b[DEPTH][COLUMNS + 1];
};

DEVICE i64 along(const Side& side, i64 i) {
    return i / side.inner * side.outer_step + i % side.inner * side.inner_step;
}

// A side's two terms follow each other along the summed index, each in a multiple of 16 steps, `total` together. A
// block sums `span` of them; if elements are `shared`, other blocks add to them too. The tile is ROWS x COLUMNS, with
// ACROSS threads to a row.
template <class T, int ROWS, int COLUMNS, int ACROSS>
DEVICE void words(T* out, Term<T> a0, Term<T> a1, Term<T> b0, Term<T> b1, const Side* sides, const i64* offsets,
                  i64 m, i64 n, i64 depth, i64 total, i64 span, i64 batch, bool shared) {
    constexpr int DOWN = THREADS / ACROSS, I = ROWS / DOWN, J = COLUMNS / ACROSS;
    static_assert(sizeof(Stage<T, ROWS, COLUMNS>) <= 24 << 10, "SHARED in kernels/cuda/words.py");
    Stage<T, ROWS, COLUMNS>& stage = *reinterpret_cast<Stage<T, ROWS, COLUMNS>*>(shared_memory());
    const int t = threadIdx.x;
    const i64 across = (n + COLUMNS - 1) / COLUMNS, splits = (total + span - 1) / span;
    const i64 next = (depth + DEPTH - 1) / DEPTH * DEPTH;        // where the second term begins
    const i64 top = blockIdx.x / across * ROWS, left = blockIdx.x % across * COLUMNS;

    for (int e = t; e < ROWS + COLUMNS; e += THREADS) {
        const bool second = e >= ROWS;
        const Gather& g = sides[second].gather;
        const i64 i = second ? left + e - ROWS : top + e;
        Line& to = second ? stage.columns[e - ROWS] : stage.rows[e];
        to = line(g.row, g.row_step, g.by_row, i, i < (second ? n : m));
    }
    for (i64 z = blockIdx.z; z < batch * splits; z += gridDim.z) {
        const i64* offset = offsets + z / splits * 3;
        const i64 begin = z % splits * span, end = begin + span < total ? begin + span : total;
        auto step = [&](i64 from) {                              // by one warp, while the others multiply
            if (t >= 2 * DEPTH) return;
            const Gather& g = sides[t / DEPTH].gather;
            const i64 k = (from < next ? from : from - next) + t % DEPTH;
            stage.steps[t / DEPTH][t % DEPTH] = line(g.column, g.column_step, g.by_column, k, k < depth);
        };
        T sum[I][J] = {};
        step(begin);
        barrier();
        for (i64 k = begin; k < end; k += DEPTH) {
            fill<ROWS>(stage.a, sides[0], either(k < next, a0, a1), offset[0], stage.rows, stage.steps[0]);
            fill<COLUMNS>(stage.b, sides[1], either(k < next, b0, b1), offset[1], stage.columns, stage.steps[1]);
            barrier();
            step(k + DEPTH);
            for (int d = 0; d < DEPTH; ++d) {
                T x[I], y[J];
                UNROLL(4)
                for (int i = 0; i < I; ++i) x[i] = stage.a[d][t / ACROSS + i * DOWN];
                UNROLL(4)
                for (int j = 0; j < J; ++j) y[j] = stage.b[d][t % ACROSS + j * ACROSS];
                UNROLL(4)
                for (int i = 0; i < I; ++i) {
                    UNROLL(4)
                    for (int j = 0; j < J; ++j) sum[i][j] += x[i] * y[j];
                }
            }
            barrier();
        }
        UNROLL(4)
        for (int i = 0; i < I; ++i) {
            const i64 row = top + t / ACROSS + i * DOWN;
            if (row >= m) continue;
            T* to = out + offset[2] + along(sides[0], row);
            UNROLL(4)
            for (int j = 0; j < J; ++j) {
                const i64 column = left + t % ACROSS + j * ACROSS;
                if (column >= n) continue;
                T* at = to + along(sides[1], column);
                if (shared) add_atomically(at, sum[i][j]);       // sums mod 2^64 and 2^32 have no order
                else *at += sum[i][j];
            }
        }
    }
}

#define PARAMETERS(T)                                                                                                 \
    T *out, const T *a0, const T *a0_plus, const T *a1, const T *a1_plus, const T *b0, const T *b0_plus, const T *b1, \
        const T *b1_plus, const Side *sides, const i64 *offsets, i64 m, i64 n, i64 depth, i64 total, i64 span,        \
        i64 batch, i64 shared
#define ARGUMENTS                                                                                                     \
    out, {a0, a0_plus}, {a1, a1_plus}, {b0, b0_plus}, {b1, b1_plus}, sides, offsets, m, n, depth, total, span, batch, \
        shared

// Thin ones have up to 8 rows: no thread is without work.
KERNEL words_u64(PARAMETERS(u64)) { words<u64, 64, 64, 16>(ARGUMENTS); }
KERNEL words_u32(PARAMETERS(u32)) { words<u32, 64, 64, 16>(ARGUMENTS); }
KERNEL words_thin_u64(PARAMETERS(u64)) { words<u64, 8, 128, 64>(ARGUMENTS); }
KERNEL words_thin_u32(PARAMETERS(u32)) { words<u32, 8, 128, 64>(ARGUMENTS); }
