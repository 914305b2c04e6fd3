// The matrix product that every convolution and matmul becomes, for one instruction set (see kernels.h).
//
// The usual blocking: a block of `a` is packed once and stays in the second-level cache, panels of `b` are packed one
// at a time, and a tile of results is summed in registers. Operands are read through tables of offsets while they
// are packed, so a convolution costs no unfolded copy and a transpose costs nothing.

template <class T> struct Lane {
#if LANE_BYTES
    static constexpr int COUNT = LANE_BYTES / sizeof(T);
    typedef T V __attribute__((vector_size(LANE_BYTES)));
#else
    static constexpr int COUNT = 1;
    typedef T V;
#endif
};

// Rows and vectors of the register tile.
template <class T> struct Tile;
#if LANE_BYTES == 64
template <> struct Tile<u64> { static constexpr int ROWS = 8, VECTORS = 3; };
template <> struct Tile<u32> { static constexpr int ROWS = 8, VECTORS = 3; };
#elif LANE_BYTES == 32
template <> struct Tile<u64> { static constexpr int ROWS = 4, VECTORS = 1; };
template <> struct Tile<u32> { static constexpr int ROWS = 4, VECTORS = 2; };
#else
template <> struct Tile<u64> { static constexpr int ROWS = 2, VECTORS = 4; };
template <> struct Tile<u32> { static constexpr int ROWS = 2, VECTORS = 4; };
#endif

constexpr int DEPTH = 256;      // of the summed index in one block
constexpr int HEIGHT = 256;     // rows of `a` in one block

template <class T> constexpr int tile_width() { return Tile<T>::VECTORS * Lane<T>::COUNT; }
template <class T> constexpr i64 scratch_bytes() {
    return (i64)sizeof(T) * (DEPTH * (HEIGHT + tile_width<T>()) + Tile<T>::ROWS * tile_width<T>()) + 4 * 64;
}

// ---- the tile in registers --------------------------------------------------------------------------------------

template <class T, int ROWS, int VECTORS> struct Sum {
    typedef typename Lane<T>::V V;
    V total[ROWS][VECTORS] = {};

    __attribute__((always_inline)) void step(const T* a, const V* b) {
        V y[VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) y[j] = b[j];
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            const V x = a[i] + V{};
#pragma GCC unroll 8
            for (int j = 0; j < VECTORS; ++j) total[i][j] += x * y[j];
        }
    }
    __attribute__((always_inline)) V result(int i, int j) const { return total[i][j]; }
};

#if LANE_BYTES == 32
// No 64-bit multiply here: low halves multiply into `low`; both cross products of the halves come from one 32-bit
// multiply with the halves of b exchanged, and count from bit 32 up.
template <int ROWS, int VECTORS> struct Sum<u64, ROWS, VECTORS> {
    typedef Lane<u64>::V V;
    typedef u32 H __attribute__((vector_size(32)));
    V low[ROWS][VECTORS] = {};
    H cross[ROWS][VECTORS] = {};

    __attribute__((always_inline)) void step(const u64* a, const V* b) {
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) {
            const V y = b[j];
            const H exchanged = (H)_mm256_shuffle_epi32((__m256i)y, 0xb1);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i) {
                const V x = a[i] + V{};
                low[i][j] += (V)_mm256_mul_epu32((__m256i)x, (__m256i)y);
                cross[i][j] += (H)x * exchanged;
            }
        }
    }
    __attribute__((always_inline)) V result(int i, int j) const {
        const V c = (V)cross[i][j];
        return low[i][j] + (c << 32) + (c >> 32 << 32);
    }
};
#endif

template <class T, int ROWS, int VECTORS> void tile(i64 depth, const T* a, const T* b, T* out) {
    typedef typename Lane<T>::V V;
    Sum<T, ROWS, VECTORS> sum;
    for (i64 k = 0; k < depth; ++k, a += ROWS, b += VECTORS * Lane<T>::COUNT)
        sum.step(a, reinterpret_cast<const V*>(b));
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j)
            reinterpret_cast<V*>(out)[i * VECTORS + j] = sum.result(i, j);
}

template <class T, int ROWS> void tile_of(int vectors, i64 depth, const T* a, const T* b, T* out) {
    constexpr int MOST = Tile<T>::VECTORS;
    if (vectors == MOST) return tile<T, ROWS, MOST>(depth, a, b, out);
    if constexpr (MOST > 1) if (vectors == 1) return tile<T, ROWS, 1>(depth, a, b, out);
    if constexpr (MOST > 2) if (vectors == 2) return tile<T, ROWS, 2>(depth, a, b, out);
    if constexpr (MOST > 3) if (vectors == 3) return tile<T, ROWS, 3>(depth, a, b, out);
}

template <class T> void any_tile(int rows, int vectors, i64 depth, const T* a, const T* b, T* out) {
    if (rows == 1) return tile_of<T, 1>(vectors, depth, a, b, out);
    if (rows == 2) return tile_of<T, 2>(vectors, depth, a, b, out);
    if constexpr (Tile<T>::ROWS > 2) if (rows == 4) return tile_of<T, 4>(vectors, depth, a, b, out);
    if constexpr (Tile<T>::ROWS > 4) if (rows == 8) return tile_of<T, 8>(vectors, depth, a, b, out);
}

// ---- runs: stretches of a table where one offset follows the other --------------------------------------------

struct Run { int start, count; };

DEVICE int find_runs(Run* runs, const i64* table, int n) {
    int found = 0;
    for (int i = 0, start = 0; i < n; ++i)
        if (i + 1 == n || table[i + 1] != table[i] + 1) {
            runs[found++] = {start, i + 1 - start};
            start = i + 1;
        }
    return found;
}

#if LANE_BYTES == 64
template <class T> DEVICE __m512i load_some(const T* p, int n) {
    if constexpr (sizeof(T) == 8) return _mm512_maskz_loadu_epi64((__mmask8)((1u << n) - 1), p);
    else return _mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p);
}
template <class T> DEVICE void store_some(T* p, __m512i v, int n) {
    if constexpr (sizeof(T) == 8) _mm512_mask_storeu_epi64(p, (__mmask8)((1u << n) - 1), v);
    else _mm512_mask_storeu_epi32(p, (__mmask16)((1u << n) - 1), v);
}
template <class T> DEVICE __m512i sum_of(__m512i a, __m512i b) {
    if constexpr (sizeof(T) == 8) return _mm512_add_epi64(a, b);
    else return _mm512_add_epi32(a, b);
}
#endif

// to = a, or a + b where b is given.
template <class T> DEVICE void copy_run(T* to, const T* a, const T* b, int n) {
#if LANE_BYTES == 64
    constexpr int L = Lane<T>::COUNT;
    for (; n > 0; n -= L, a += L, to += L) {
        const int now = n < L ? n : L;
        __m512i v = load_some(a, now);
        if (b) { v = sum_of<T>(v, load_some(b, now)); b += L; }
        store_some(to, v, now);
    }
#else
    if (b) for (int i = 0; i < n; ++i) to[i] = a[i] + b[i];
    else for (int i = 0; i < n; ++i) to[i] = a[i];
#endif
}

template <class T> DEVICE void add_run(T* to, const T* a, int n) {
#if LANE_BYTES == 64
    constexpr int L = Lane<T>::COUNT;
    for (; n > 0; n -= L, a += L, to += L) {
        const int now = n < L ? n : L;
        store_some(to, sum_of<T>(load_some(to, now), load_some(a, now)), now);
    }
#else
    for (int i = 0; i < n; ++i) to[i] += a[i];
#endif
}

// ---- packing ----------------------------------------------------------------------------------------------------

#if LANE_BYTES == 64
// Eight rows of eight words become eight columns.
DEVICE void transpose8(__m512i* r) {
    __m512i t[8], s[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
        s[i] = _mm512_shuffle_i64x2(t[i], t[i + 2], 0x88);
        s[i + 2] = _mm512_shuffle_i64x2(t[i], t[i + 2], 0xdd);
        s[i + 4] = _mm512_shuffle_i64x2(t[i + 4], t[i + 6], 0x88);
        s[i + 6] = _mm512_shuffle_i64x2(t[i + 4], t[i + 6], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_i64x2(s[i], s[i + 4], 0x88);
        r[i + 4] = _mm512_shuffle_i64x2(s[i], s[i + 4], 0xdd);
    }
}

// Where the summed index runs through memory: read along it, eight by eight.
DEVICE void pack_across(u64* to, int width, int valid, const Side<u64>& s, const i64* across, const i64* along,
                        int depth) {
    for (int k = 0; k < depth;) {
        int n = 1;
        while (n < 8 && k + n < depth && along[k + n] == along[k] + n) ++n;
        for (int j = 0; j < width; j += 8) {
            __m512i r[8];
            for (int i = 0; i < 8; ++i) {
                r[i] = _mm512_setzero_si512();
                if (j + i < valid) {
                    const i64 at = across[j + i] + along[k];
                    r[i] = load_some(s.base + at, n);
                    if (s.plus) r[i] = _mm512_add_epi64(r[i], load_some(s.plus + at, n));
                }
            }
            transpose8(r);
            const int columns = width - j < 8 ? width - j : 8;
            if (columns == 8) for (int i = 0; i < n; ++i) _mm512_storeu_si512(to + (k + i) * width + j, r[i]);
            else for (int i = 0; i < n; ++i) store_some(to + (k + i) * width + j, r[i], columns);
        }
        k += n;
    }
}
#endif

// Element (k, j) of the panel is the operand at (first + j, k0 + k); columns past `valid` are zero.
template <class T>
void pack(T* to, int width, int valid, const Side<T>& s, i64 first, i64 k0, int depth) {
    const i64 *across = s.across + first, *along = s.along + k0;
    Run runs[64];
    const int found = find_runs(runs, across, valid);
    if (valid > 1 && (found == 1 || found * 3 <= valid)) {
        for (int k = 0; k < depth; ++k, to += width) {
            for (int r = 0; r < found; ++r) {
                const i64 at = across[runs[r].start] + along[k];
                copy_run(to + runs[r].start, s.base + at, s.plus ? s.plus + at : nullptr, runs[r].count);
            }
            for (int j = valid; j < width; ++j) to[j] = 0;
        }
        return;
    }
#if LANE_BYTES == 64
    if constexpr (sizeof(T) == 8)
        if (depth >= 4 && along[3] == along[0] + 3) return pack_across(to, width, valid, s, across, along, depth);
#endif
    for (int k = 0; k < depth; ++k, to += width) {
        const T* base = s.base + along[k];
        for (int j = 0; j < valid; ++j) to[j] = base[across[j]];
        if (s.plus) for (int j = 0; j < valid; ++j) to[j] += s.plus[along[k] + across[j]];
        for (int j = valid; j < width; ++j) to[j] = 0;
    }
}

// ---- the blocked product ----------------------------------------------------------------------------------------

DEVICE int up_to_power(i64 n, int most) {
    int p = 1;
    while (p < most && p < n) p *= 2;
    return p;
}

// Multiplications a product costs, padding included, with m of its sizes in rows and n in columns.
template <class T> DEVICE i64 padded(i64 m, i64 n) {
    constexpr int R = Tile<T>::ROWS, L = Lane<T>::COUNT;
    const i64 rows = m / R * R + (m % R ? up_to_power(m % R, R) : 0);
    return rows * ((n + L - 1) / L * L);
}

template <class T> DEVICE T* align(void*& at, i64 count) {
    const u64 p = (reinterpret_cast<u64>(at) + 63) & ~63ull;
    at = reinterpret_cast<void*>(p + count * sizeof(T));
    return reinterpret_cast<T*>(p);
}

template <class T> void product(const Product<T>& given, void* scratch) {
    constexpr int R = Tile<T>::ROWS, L = Lane<T>::COUNT, W = tile_width<T>();
    Product<T> p = given;
    if (padded<T>(p.n, p.m) * 10 < padded<T>(p.m, p.n) * 9)     // thin: let the longer side fill the vectors
        p = {given.b, given.a, given.out, given.column, given.row, given.n, given.m, given.k};
    T* block = align<T>(scratch, DEPTH * HEIGHT);
    T* panel = align<T>(scratch, DEPTH * W);
    T* sums = align<T>(scratch, R * W);
    Run runs[64];
    const i64 deep = (p.k + DEPTH - 1) / DEPTH;
    for (i64 d = 0; d < deep; ++d) {
        const i64 k0 = p.k * d / deep;
        const int depth = (int)(p.k * (d + 1) / deep - k0);
        for (i64 i0 = 0; i0 < p.m; i0 += HEIGHT) {
            const i64 height = p.m - i0 < HEIGHT ? p.m - i0 : HEIGHT;
            for (i64 i = 0; i < height; i += R) {
                const int rows = (int)(height - i < R ? height - i : R);
                pack(block + i * depth, up_to_power(rows, R), rows, p.a, i0 + i, k0, depth);
            }
            for (i64 j = 0; j < p.n; j += W) {
                const int valid = (int)(p.n - j < W ? p.n - j : W), vectors = (valid + L - 1) / L;
                pack(panel, vectors * L, valid, p.b, j, k0, depth);
                const int found = find_runs(runs, p.column + j, valid);
                for (i64 i = 0; i < height; i += R) {
                    const int rows = (int)(height - i < R ? height - i : R);
                    any_tile(up_to_power(rows, R), vectors, depth, block + i * depth, panel, sums);
                    for (int q = 0; q < rows; ++q) {
                        T* to = p.out + p.row[i0 + i + q];
                        const T* from = sums + q * vectors * L;
                        if (found * 3 <= valid || found == 1)
                            for (int r = 0; r < found; ++r)
                                add_run(to + p.column[j + runs[r].start], from + runs[r].start, runs[r].count);
                        else
                            for (int c = 0; c < valid; ++c) to[p.column[j + c]] += from[c];
                    }
                }
            }
        }
    }
}
