// Bit planes: 64 elements' worth of one bit in a word. Shared by CPU and GPU: see portable.h.
#pragma once
#include "portable.h"

// One party's term of a replicated AND, on packed bits.
DEVICE u64 conj_term(u64 a0, u64 a1, u64 b0, u64 b1) { return (a0 & (b0 ^ b1)) ^ (a1 & b0); }

KERNEL conj_u64(u64* out, const u64* a0, const u64* a1, const u64* b0, const u64* b1, i64 n) {
    EACH(i, n) out[i] ^= conj_term(a0[i], a1[i], b0[i], b1[i]);
}

// The pair (lo, hi) of a carry tree, all four planes of it: each pointer is at plane lo, plane hi is `width` later.
KERNEL carry_generate_u64(u64* out, const u64* g0, const u64* g1, const u64* p0, const u64* p1, i64 width,
                          i64 n) {
    EACH(i, n) out[i] ^= g0[i + width] ^ conj_term(p0[i + width], p1[i + width], g0[i], g1[i]);
}

KERNEL carry_both_u64(u64* g_out, u64* p_out, const u64* g0, const u64* g1, const u64* p0, const u64* p1,
                      i64 width, i64 n) {
    EACH(i, n) {
        const u64 h0 = p0[i + width], h1 = p1[i + width];
        g_out[i] ^= g0[i + width] ^ conj_term(h0, h1, g0[i], g1[i]);
        p_out[i] ^= conj_term(h0, h1, p0[i], p1[i]);
    }
}

// Swap, at one scale, the off-diagonal squares of a 64 x 64 bit matrix (Warren, Hacker's Delight, 7-3).
template <int HALF> DEVICE void swap_squares(u64* a, u64 low) {
    for (int block = 0; block < 64; block += 2 * HALF)
        for (int i = block; i < block + HALF; ++i) {
            const u64 t = ((a[i] >> HALF) ^ a[i + HALF]) & low;
            a[i] ^= t << HALF;
            a[i + HALF] ^= t;
        }
}

// Bit j of word i becomes bit i of word j.
DEVICE void transpose64(u64* a) {
    swap_squares<32>(a, 0x00000000ffffffffull);
    swap_squares<16>(a, 0x0000ffff0000ffffull);
    swap_squares<8>(a, 0x00ff00ff00ff00ffull);
    swap_squares<4>(a, 0x0f0f0f0f0f0f0f0full);
    swap_squares<2>(a, 0x3333333333333333ull);
    swap_squares<1>(a, 0x5555555555555555ull);
}
