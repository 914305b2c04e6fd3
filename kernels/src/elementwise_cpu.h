// Element-wise and bit-plane kernels as functions, instantiated for one instruction set (see kernels.h).

#include "planes.h"
#include "ring.h"

DEVICE void add_any(u64* out, const u64* x, i64 sx, const u64* y, i64 sy, i64 n) {
    multiply_add_u64(out, x, sx, y, sy, n);
}
DEVICE void add_any(u32* out, const u32* x, i64 sx, const u32* y, i64 sy, i64 n) {
    multiply_add_u32(out, x, sx, y, sy, n);
}
DEVICE void cross_any(u64* out, const u64* x0, const u64* x1, i64 sx, const u64* y0, const u64* y1, i64 sy,
                      i64 n) {
    multiply_cross_u64(out, x0, x1, sx, y0, y1, sy, n);
}
DEVICE void cross_any(u32* out, const u32* x0, const u32* x1, i64 sx, const u32* y0, const u32* y1, i64 sy,
                      i64 n) {
    multiply_cross_u32(out, x0, x1, sx, y0, y1, sy, n);
}

// The strides that matter are spelt out as constants, so that each case is vectorised.
template <class T> void ring_add(T* out, const T* x, i64 sx, const T* y, i64 sy, i64 n) {
    if (sx == 1 && sy == 1) add_any(out, x, 1, y, 1, n);
    else if (sx == 1 && sy == 0) add_any(out, x, 1, y, 0, n);
    else if (sx == 0 && sy == 1) add_any(out, x, 0, y, 1, n);
    else add_any(out, x, sx, y, sy, n);
}

template <class T>
void ring_cross(T* out, const T* x0, const T* x1, i64 sx, const T* y0, const T* y1, i64 sy, i64 n) {
    if (sx == 1 && sy == 1) cross_any(out, x0, x1, 1, y0, y1, 1, n);
    else if (sx == 1 && sy == 0) cross_any(out, x0, x1, 1, y0, y1, 0, n);
    else if (sx == 0 && sy == 1) cross_any(out, x0, x1, 0, y0, y1, 1, n);
    else cross_any(out, x0, x1, sx, y0, y1, sy, n);
}

void truncation_public(u64* out, const u64* c, const u64* rho, const u64* mu, int fraction, i64 n) {
    truncation_public_u64(out, c, rho, mu, fraction, n);
}

void truncation_private(u64* out, const u64* c, const u64* rho, const void* mu, int mu_bytes, int fraction,
                        i64 n) {
    switch (mu_bytes) {
        case 1: return truncation_private_u8(out, c, rho, static_cast<const u8*>(mu), fraction, n);
        case 2: return truncation_private_u16(out, c, rho, static_cast<const u16*>(mu), fraction, n);
        case 4: return truncation_private_u32(out, c, rho, static_cast<const u32*>(mu), fraction, n);
        default: return truncation_private_u64(out, c, rho, static_cast<const u64*>(mu), fraction, n);
    }
}

void select_term(u64* out, const u64* c, const u64* x, const u64* x1, const u64* beta, const u64* w, i64 n) {
    select_term_u64(out, c, x, x1, beta, w, n);
}

void conj(u64* out, const u64* a0, const u64* a1, const u64* b0, const u64* b1, i64 n) {
    conj_u64(out, a0, a1, b0, b1, n);
}

// Columns first .. last - 1 of every pair of planes.
void carry_step(u64* g_out, u64* p_out, const u64* g0, const u64* g1, const u64* p0, const u64* p1, i64 pairs,
                i64 width, i64 first, i64 last) {
    const i64 n = last - first;
    for (i64 i = 0; i < pairs; ++i) {
        const i64 lo = 2 * i * width + first, out = i * width + first;
        if (i == 0) carry_generate_u64(g_out + out, g0 + lo, g1 + lo, p0 + lo, p1 + lo, width, n);
        else carry_both_u64(g_out + out, p_out + out - width, g0 + lo, g1 + lo, p0 + lo, p1 + lo, width, n);
    }
}

// Planes are often a power of two apart, so that one word of each would fall into one cache set. Eight words of
// each are gathered here first, and every plane is then touched a cache line at a time.
constexpr i64 WORDS = 8;

// Bits of the 64 * count elements from word w on: line j holds `count` words of plane j.
DEVICE void gather_lines(u64 (*lines)[WORDS], const u64* x, i64 n, int first_bit, int k, i64 w, i64 count) {
    alignas(64) u64 square[64];
    for (i64 i = 0; i < count; ++i) {
        const i64 at = 64 * (w + i), left = n - at < 64 ? n - at : 64;
        for (i64 e = 0; e < left; ++e) square[e] = x[at + e];
        for (i64 e = left; e < 64; ++e) square[e] = 0;
        transpose64(square);
        for (int j = 0; j < k; ++j) lines[j][i] = square[first_bit + j];
    }
}

// f(w, count, lines): eight words of planes first_bit .. first_bit + k - 1 at a time, fewer at the end.
template <class F>
DEVICE void each_eight(const u64* x, i64 n, int first_bit, int k, i64 first, i64 last, F f) {
    alignas(64) u64 lines[64][WORDS] = {};
    for (i64 w = first; w < last; w += WORDS) {
        const i64 count = last - w < WORDS ? last - w : WORDS;
        gather_lines(lines, x, n, first_bit, k, w, count);
        f(w, count, lines);
    }
}

void to_planes(u64* planes, const u64* x, i64 n, int k, int first_bit, i64 width, i64 first, i64 last) {
    each_eight(x, n, first_bit, k, first, last, [&](i64 w, i64 count, const u64 (*lines)[WORDS]) {
        for (int j = 0; j < k; ++j) {
            u64* line = planes + j * width + w;
            if (count == WORDS) for (i64 i = 0; i < WORDS; ++i) line[i] = lines[j][i];
            else for (i64 i = 0; i < count; ++i) line[i] = lines[j][i];
        }
    });
}

void from_planes(u64* x, const u64* planes, i64 n, int k, i64 width, i64 first, i64 last) {
    alignas(64) u64 square[64];
    alignas(64) u64 lines[64][WORDS];
    for (i64 w = first; w < last; w += WORDS) {
        const i64 count = last - w < WORDS ? last - w : WORDS;
        for (int j = 0; j < k; ++j) {
            const u64* line = planes + j * width + w;
            if (count == WORDS) for (i64 i = 0; i < WORDS; ++i) lines[j][i] = line[i];
            else for (i64 i = 0; i < count; ++i) lines[j][i] = line[i];
        }
        for (i64 i = 0; i < count; ++i) {
            for (int j = 0; j < k; ++j) square[j] = lines[j][i];
            for (int j = k; j < 64; ++j) square[j] = 0;
            transpose64(square);
            const i64 at = 64 * (w + i), left = n - at < 64 ? n - at : 64;
            for (i64 e = 0; e < left; ++e) x[at + e] = square[e];
        }
    }
}

// Eight words of a plane as one value; the compiler cuts it to what the instruction set has. Every function that takes
// one is inlined, so how one would be passed does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"
typedef u64 Line __attribute__((vector_size(8 * WORDS)));

DEVICE Line load_line(const u64* from, i64 count) {
    Line line = {};
    if (count == WORDS) __builtin_memcpy(&line, from, sizeof line);
    else __builtin_memcpy(&line, from, count * sizeof *from);
    return line;
}

DEVICE void xor_line(u64* onto, const Line& line, i64 count) {
    const Line sum = load_line(onto, count) ^ line;
    if (count == WORDS) __builtin_memcpy(onto, &sum, sizeof sum);
    else __builtin_memcpy(onto, &sum, count * sizeof *onto);
}

constexpr int BLOCK = 4, PRODUCTS = (1 << BLOCK) - 1;   // bits of a carry block, and products of a whole one

// f(constant B) for each block of the low `bits` bits: blocks of four, and what is left.
template <class F> DEVICE void each_block(int bits, F f) {
    for (int b = 0; b * BLOCK < bits; ++b) switch (bits - b * BLOCK) {
        case 1: f(b, std::integral_constant<int, 1>()); break;
        case 2: f(b, std::integral_constant<int, 2>()); break;
        case 3: f(b, std::integral_constant<int, 3>()); break;
        default: f(b, std::integral_constant<int, BLOCK>());
    }
}

// Onto `out`: the products of each block of the low `bits` bits; onto top: bit `bits`. What belongs to the same eight
// words lies together, row by row, so that a pass over hundreds of planes walks through memory in order.
void block_products(u64* out, u64* top, const u64* x, i64 n, int bits, i64 rows, i64 first, i64 last) {
    each_eight(x, n, 0, bits + 1, first, last, [&](i64 w, i64 count, const u64 (*lines)[WORDS]) {
        each_block(bits, [&](int b, auto size) {
            constexpr int B = decltype(size)::value;
            Line t[B], products[(1 << B) - 1];
            for (int k = 0; k < B; ++k) t[k] = load_line(lines[b * BLOCK + k], WORDS);
            products_of_subsets<B>(products, t);
            u64* row = out + rows * w + b * PRODUCTS * count;
            for (int m = 0; m < (1 << B) - 1; ++m) xor_line(row + m * count, products[m], count);
        });
        xor_line(top + w, load_line(lines[bits], WORDS), count);
    });
}

// Onto g and p: the carry out of each block and, of all but the lowest, whether one passes through, from the shared
// products of one addend and the other addend x; `whole` adds what depends on x alone. Onto top: bit `bits` of x.
void block_carries(u64* g, u64* p, u64* top, const u64* shared, const u64* x, i64 n, int bits, bool whole, i64 rows,
                   i64 width, i64 first, i64 last) {
    each_eight(x, n, 0, bits + 1, first, last, [&](i64 w, i64 count, const u64 (*lines)[WORDS]) {
        each_block(bits, [&](int b, auto size) {
            constexpr int B = decltype(size)::value;
            Line s[B], products[(1 << B) - 1], carry, through, all;
            for (int k = 0; k < B; ++k) s[k] = load_line(lines[b * BLOCK + k], WORDS);
            const u64* row = shared + rows * w + b * PRODUCTS * count;
            for (int m = 0; m < (1 << B) - 1; ++m) products[m] = load_line(row + m * count, count);
            carry_of_block<B>(&carry, &through, &all, products, s);
            xor_line(g + b * width + w, carry, count);
            if (b) xor_line(p + (b - 1) * width + w, whole ? through ^ all : through, count);
        });
        xor_line(top + w, load_line(lines[bits], WORDS), count);
    });
}
