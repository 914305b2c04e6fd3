// What one instruction set offers: the serial kernels, as a table of functions that the drivers call.
//
// Each instruction set has a translation unit of its own, in a namespace of its own, and shares no inline function
// with the others: what is compiled for AVX-512 cannot be picked by the linker for a machine without it.
#pragma once
#include "portable.h"

// One operand of a matrix product, read through tables: its element at (across i, along k) is
// base[across[i] + along[k]], plus the same place of `plus` where there is one. `along` is the summed index.
template <class T> struct Side {
    const T* base;
    const T* plus;
    const i64* across;
    const i64* along;
};

// out[row[i] + column[j]] += sum over k of a(i, k) * b(j, k).
template <class T> struct Product {
    Side<T> a, b;
    T* out;
    const i64* row;
    const i64* column;
    i64 m, n, k;
};

// out[row[i] + column[j]] += sum over k of x0[j, k] * (weight + plus)[across[i] + k] + x1[j, k] * weight[across[i] + k],
// for few j: x0 and x1 are n rows of k. Without `plus` and `x1` it is one product.
template <class T> struct Thin {
    const T* weight;
    const T* plus;
    const i64* across;
    const T* x0;
    const T* x1;
    T* out;
    const i64* row;
    const i64* column;
    i64 m, n, k;
};

template <class T> struct RingTable {
    void (*multiply_add)(T* out, const T* x, i64 sx, const T* y, i64 sy, i64 n);
    void (*multiply_cross)(T* out, const T* x0, const T* x1, i64 sx, const T* y0, const T* y1, i64 sy, i64 n);
    void (*product)(const Product<T>& p, void* scratch);
    void (*thin)(const Thin<T>& p);
    i64 scratch_bytes;      // aligned to 64
    i64 tile_rows, tile_columns;
};

enum Stream { FILL, ADD, SUBTRACT, XOR, ADD_DIFFERENCE, XOR_BOTH };

struct Table {
    RingTable<u64> r64;
    RingTable<u32> r32;
    void (*truncation_public)(u64* out, const u64* c, const u64* rho, const u64* mu, int fraction, i64 n);
    void (*truncation_private)(u64* out, const u64* c, const u64* rho, const void* mu, int mu_bytes,
                               int fraction, i64 n);
    void (*select_term)(u64* out, const u64* c, const u64* x, const u64* x1, const u64* beta, const u64* w,
                        i64 n);
    void (*conj)(u64* out, const u64* a0, const u64* a1, const u64* b0, const u64* b1, i64 n);
    void (*carry_step)(u64* g_out, u64* p_out, const u64* g0, const u64* g1, const u64* p0, const u64* p1,
                       i64 pairs, i64 width, i64 first, i64 last);
    // Words first .. last - 1 of each plane; n elements in all.
    void (*to_planes)(u64* planes, const u64* x, i64 n, int k, int first_bit, i64 width, i64 first, i64 last);
    void (*from_planes)(u64* x, const u64* planes, i64 n, int k, i64 width, i64 first, i64 last);
    void (*block_products)(u64* out, u64* top, const u64* x, i64 n, int bits, i64 rows, i64 first, i64 last);
    void (*block_carries)(u64* g, u64* p, u64* top, const u64* shared, const u64* x, i64 n, int bits, bool whole,
                          i64 rows, i64 width, i64 first, i64 last);
    // From block `counter` on; word_bytes matters to the additive modes only.
    void (*chacha20)(Stream mode, int word_bytes, u8* out, const u32* key_a, const u32* key_b,
                     const u32* nonce, u32 counter, i64 bytes);
};

const Table* table_plain();
#if defined(__x86_64__)
const Table* table_avx2();
const Table* table_avx512();
#endif
