// Bit planes: see kernels/bits.py. A block takes the 1,024 elements of 16 words of every plane at a time: its warps
// transpose 64 x 64 bits each, and meet in shared memory, so that elements and planes are both walked through in rows
// of 128 bytes. The ANDs of a carry tree are the text that the CPU has.
#include "../planes.h"
#include "gpu.h"

constexpr int THREADS = 128, WORDS = 16;             // of a tile; as in kernels/cuda/planes.py
constexpr int ROW = WORDS + 1;                       // words of a plane in shared memory: 32 planes meet all banks
constexpr int TOGETHER = 8;                          // words whose products lie together: see kernels/bits.py
constexpr int BLOCK = 4, PRODUCTS = (1 << BLOCK) - 1;    // bits of a carry block, and products of a whole one

DEVICE u32 rotated(u32 x, int n) { return (x << n) | (x >> (32 - n)); }

// A 32 x 32 bit matrix, one row in each lane; squares off the diagonal are swapped at every scale, as in planes.h.
DEVICE u32 transpose32(u32 row, int lane) {
    UNROLL(5)
    for (int half = 16; half > 0; half /= 2) {
        const u32 low = half == 16 ? 0x0000ffffu : half == 8 ? 0x00ff00ffu : half == 4 ? 0x0f0f0f0fu
                                                 : half == 2 ? 0x33333333u : 0x55555555u;
        const bool upper = lane & half;
        const u32 kept = upper ? ~low : low, other = rotated(shuffle_xor(row, half), upper ? 32 - half : half);
        row = (row & kept) | (other & ~kept);
    }
    return row;
}

// A lane has rows `lane` and 32 + lane of a 64 x 64 bit matrix, and then its columns of these numbers.
DEVICE void transpose64_by_warp(u64& a, u64& b, int lane) {
    const u64 low = transpose32((u32)a, lane) | (u64)transpose32((u32)b, lane) << 32;
    const u64 high = transpose32((u32)(a >> 32), lane) | (u64)transpose32((u32)(b >> 32), lane) << 32;
    a = low, b = high;
}

DEVICE u64* tile_of_planes() { return reinterpret_cast<u64*>(shared_memory()); }

// Each tile of the block: f(first word).
template <class F> DEVICE void each_tile(i64 width, F f) {
    for (i64 first = (i64)blockIdx.x * WORDS; first < width; first += (i64)gridDim.x * WORDS) f(first);
}

// Word w of plane j is at j * ROW + w of the tile, for all 64 planes of the elements from word `first` on.
DEVICE void load_elements(u64* tile, const u64* x, i64 n, i64 first) {
    constexpr int EACH_WARP = WORDS * WARP / THREADS;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u64 a[EACH_WARP], b[EACH_WARP];
    UNROLL(4)
    for (int i = 0; i < EACH_WARP; ++i) {
        const i64 at = 64 * (first + warp * EACH_WARP + i) + lane;
        a[i] = at < n ? x[at] : 0;
        b[i] = at + 32 < n ? x[at + 32] : 0;
    }
    UNROLL(4)
    for (int i = 0; i < EACH_WARP; ++i) {
        transpose64_by_warp(a[i], b[i], lane);
        tile[lane * ROW + warp * EACH_WARP + i] = a[i];
        tile[(lane + 32) * ROW + warp * EACH_WARP + i] = b[i];
    }
}

KERNEL to_planes(u64* planes, const u64* x, i64 n, i64 k, i64 first_bit, i64 width) {
    u64* tile = tile_of_planes();
    each_tile(width, [=](i64 first) {
        load_elements(tile, x, n, first);
        barrier();
        const int w = threadIdx.x % WORDS;
        if (first + w < width)
            for (int j = threadIdx.x / WORDS; j < (int)k; j += THREADS / WORDS)
                planes[j * width + first + w] = tile[((int)first_bit + j) * ROW + w];
        barrier();
    });
}

KERNEL from_planes(u64* x, const u64* planes, i64 n, i64 k, i64 width) {
    constexpr int EACH_WARP = WORDS * WARP / THREADS;
    u64* tile = tile_of_planes();
    each_tile(width, [=](i64 first) {
        const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, w = threadIdx.x % WORDS;
        UNROLL(8)
        for (int i = 0; i < 64; i += THREADS / WORDS) {
            const int j = i + threadIdx.x / WORDS;
            tile[j * ROW + w] = j < k && first + w < width ? planes[j * width + first + w] : 0;
        }
        barrier();
        UNROLL(4)
        for (int i = 0; i < EACH_WARP; ++i) {
            const int word = warp * EACH_WARP + i;
            u64 a = tile[lane * ROW + word], b = tile[(lane + 32) * ROW + word];
            transpose64_by_warp(a, b, lane);
            const i64 at = 64 * (first + word) + lane;
            if (at < n) x[at] = a;
            if (at + 32 < n) x[at + 32] = b;
        }
        barrier();
    });
}

template <int N> struct Constant { static constexpr int VALUE = N; };

// f(b, word, constant B) for each block b of the low `bits` bits and each word of the tile, a thread each: blocks of
// four bits, and what is left.
template <class F> DEVICE void each_block(int bits, i64 first, i64 width, F f) {
    const int w = threadIdx.x % WORDS;
    if (first + w >= width) return;
    for (int b = threadIdx.x / WORDS; b * BLOCK < bits; b += THREADS / WORDS) switch (bits - b * BLOCK) {
        case 1: f(b, w, Constant<1>()); break;
        case 2: f(b, w, Constant<2>()); break;
        case 3: f(b, w, Constant<3>()); break;
        default: f(b, w, Constant<BLOCK>());
    }
}

// Where the products of block b for a word begin, and how far apart they are.
struct Products { i64 at; int step; };
DEVICE Products products_at(int b, i64 word, i64 rows, i64 width) {
    const i64 first = word / TOGETHER * TOGETHER;
    const int count = width - first < TOGETHER ? (int)(width - first) : TOGETHER;
    return {rows * first + b * PRODUCTS * count + (word - first), count};
}

DEVICE void top_onto(u64* top, const u64* tile, int bits, i64 first, i64 width) {
    const int w = threadIdx.x;
    if (w < WORDS && first + w < width) top[first + w] ^= tile[bits * ROW + w];
}

KERNEL block_products(u64* out, u64* top, const u64* x, i64 n, i64 bits, i64 rows, i64 width) {
    u64* tile = tile_of_planes();
    each_tile(width, [=](i64 first) {
        load_elements(tile, x, n, first);
        barrier();
        each_block((int)bits, first, width, [=](int b, int w, auto size) {
            constexpr int B = decltype(size)::VALUE, COUNT = (1 << B) - 1;
            u64 t[B], products[COUNT], before[COUNT];
            const Products to = products_at(b, first + w, rows, width);
            UNROLL(15)
            for (int m = 0; m < COUNT; ++m) before[m] = out[to.at + m * to.step];   // all before the first store
            UNROLL(4)
            for (int k = 0; k < B; ++k) t[k] = tile[(b * BLOCK + k) * ROW + w];
            products_of_subsets<B>(products, t);
            UNROLL(15)
            for (int m = 0; m < COUNT; ++m) out[to.at + m * to.step] = before[m] ^ products[m];
        });
        top_onto(top, tile, (int)bits, first, width);
        barrier();
    });
}

KERNEL block_carries(u64* g, u64* p, u64* top, const u64* shared, const u64* x, i64 n, i64 bits, i64 whole, i64 rows,
                     i64 width) {
    u64* tile = tile_of_planes();
    each_tile(width, [=](i64 first) {
        load_elements(tile, x, n, first);
        barrier();
        each_block((int)bits, first, width, [=](int b, int w, auto size) {
            constexpr int B = decltype(size)::VALUE, COUNT = (1 << B) - 1;
            u64 s[B], products[COUNT], carry, through, all;
            const Products from = products_at(b, first + w, rows, width);
            UNROLL(15)
            for (int m = 0; m < COUNT; ++m) products[m] = shared[from.at + m * from.step];
            UNROLL(4)
            for (int k = 0; k < B; ++k) s[k] = tile[(b * BLOCK + k) * ROW + w];
            carry_of_block<B>(&carry, &through, &all, products, s);
            g[b * width + first + w] ^= carry;
            if (b) p[(b - 1) * width + first + w] ^= whole ? through ^ all : through;
        });
        top_onto(top, tile, (int)bits, first, width);
        barrier();
    });
}

// Every pair of planes of one level of a carry tree; a row of blocks has a pair, and the lowest needs no propagate.
KERNEL carry_level_u64(u64* g_out, u64* p_out, const u64* g0, const u64* g1, const u64* p0, const u64* p1, i64 pairs,
                       i64 width) {
    for (i64 pair = blockIdx.y; pair < pairs; pair += gridDim.y)
        EACH(i, width) {
            const i64 lo = 2 * pair * width + i, hi = lo + width, out = pair * width + i;
            const u64 h0 = p0[hi], h1 = p1[hi];
            g_out[out] ^= g0[hi] ^ conj_term(h0, h1, g0[lo], g1[lo]);
            if (pair) p_out[out - width] ^= conj_term(h0, h1, p0[lo], p1[lo]);
        }
}
