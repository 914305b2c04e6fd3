// Element-wise arithmetic mod 2^64 and 2^32. Shared by CPU and GPU: see portable.h.
#pragma once
#include "portable.h"

// One party's additive term of a replicated product.
template <class T> DEVICE T cross_term(T x0, T x1, T y0, T y1) { return x0 * (y0 + y1) + x1 * y0; }

// sx and sy are strides: 1, or 0 where an operand is broadcast.
KERNEL multiply_add_u64(u64* out, const u64* x, i64 sx, const u64* y, i64 sy, i64 n) {
    EACH(i, n) out[i] += x[i * sx] * y[i * sy];
}

KERNEL multiply_add_u32(u32* out, const u32* x, i64 sx, const u32* y, i64 sy, i64 n) {
    EACH(i, n) out[i] += x[i * sx] * y[i * sy];
}

KERNEL multiply_cross_u64(u64* out, const u64* x0, const u64* x1, i64 sx, const u64* y0, const u64* y1,
                          i64 sy, i64 n) {
    EACH(i, n) out[i] += cross_term(x0[i * sx], x1[i * sx], y0[i * sy], y1[i * sy]);
}

KERNEL multiply_cross_u32(u32* out, const u32* x0, const u32* x1, i64 sx, const u32* y0, const u32* y1,
                          i64 sy, i64 n) {
    EACH(i, n) out[i] += cross_term(x0[i * sx], x1[i * sx], y0[i * sy], y1[i * sy]);
}

// The carry that masking may have caused: it did exactly when the mask has its top bit (mu) and c has not.
DEVICE u64 wrapped(u64 c, u64 mu, int fraction) { return (1 - (c >> 63)) * (mu << (64 - fraction)); }

KERNEL truncation_public_u64(u64* out, const u64* c, const u64* rho, const u64* mu, int fraction, i64 n) {
    const u64 offset = (1ull << 62) >> fraction;
    EACH(i, n) out[i] = (c[i] >> fraction) - offset - rho[i] + wrapped(c[i], mu[i], fraction);
}

template <class M>
DEVICE void truncation_private(u64* out, const u64* c, const u64* rho, const M* mu, int fraction, i64 n) {
    EACH(i, n) out[i] = wrapped(c[i], mu[i], fraction) - rho[i];
}

KERNEL truncation_private_u8(u64* out, const u64* c, const u64* rho, const u8* mu, int fraction, i64 n) {
    truncation_private(out, c, rho, mu, fraction, n);
}
KERNEL truncation_private_u16(u64* out, const u64* c, const u64* rho, const u16* mu, int fraction, i64 n) {
    truncation_private(out, c, rho, mu, fraction, n);
}
KERNEL truncation_private_u32(u64* out, const u64* c, const u64* rho, const u32* mu, int fraction, i64 n) {
    truncation_private(out, c, rho, mu, fraction, n);
}
KERNEL truncation_private_u64(u64* out, const u64* c, const u64* rho, const u64* mu, int fraction, i64 n) {
    truncation_private(out, c, rho, mu, fraction, n);
}

// c is a packed bit plane. With v = beta * x1 + w: v where the bit is 0, x - v where it is 1.
KERNEL select_term_u64(u64* out, const u64* c, const u64* x, const u64* x1, const u64* beta, const u64* w,
                       i64 n) {
    EACH(i, n) {
        const u64 v = beta[i] * x1[i] + w[i];
        const u64 on = 0 - (c[i >> 6] >> (i & 63) & 1);
        out[i] = (x[i] & on) + ((v ^ on) - on);
    }
}
