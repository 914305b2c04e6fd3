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

// The carry out of B bits of t + s is a polynomial over GF(2): a sum over the subsets M of these bits of
// (product of t over M) * c_M(s), since G_k = s_k G_(k-1) + t_k (s_k + G_(k-1)). So is the product of all t_k + s_k,
// with d_M(s) the product of s outside M. Both cost one layer of ANDs between who knows the products of t and who
// knows s. L is a word or a vector of words; subsets are numbered by their bits.

// products[M - 1] for M = 1 .. 2^B - 1.
template <int B, class L> DEVICE void products_of_subsets(L* products, const L* t) {
    UNROLL(4)
    for (int k = 0; k < B; ++k) {
        const int bit = 1 << k;
        products[bit - 1] = t[k];
        UNROLL(8)
        for (int m = 1; m < bit; ++m) products[(m | bit) - 1] = products[m - 1] & t[k];
    }
}

// Sums over M > 0 of shared[M - 1] & c_M(s) and & d_M(s); `all` is d_0, the product of all s.
template <int B, class L> DEVICE void carry_of_block(L* g, L* p, L* all, const L* shared, const L* s) {
    L c[1 << B], d[1 << B];
    c[0] = s[0] ^ s[0];
    d[0] = ~c[0];
    UNROLL(4)
    for (int k = 0; k < B; ++k) {
        const int bit = 1 << k;
        UNROLL(8)
        for (int m = 0; m < 1 << (B - 1); ++m) {     // to a constant, so that c and d lie in registers
            if (m >= bit) continue;
            c[m | bit] = m ? c[m] : s[k];
            d[m | bit] = d[m];
            c[m] &= s[k];
            d[m] &= s[k];
        }
    }
    L carry = c[0] ^ c[0], through = carry;
    UNROLL(16)
    for (int m = 1; m < 1 << B; ++m) {
        carry ^= shared[m - 1] & c[m];
        through ^= shared[m - 1] & d[m];
    }
    *g = carry, *p = through, *all = d[0];
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
