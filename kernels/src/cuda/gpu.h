// What a GPU has and a CPU has not: warps, shared memory, matrix units, copies that run beside the work. Under NVRTC
// these are instructions; tests compile the same kernels against an emulator of a thread block that has the same words.
#pragma once
#include "../portable.h"

[[maybe_unused]] constexpr int WARP = 32;

// A declaration that says how many blocks of 256 threads shall fit a core, which bounds a thread's registers.
#ifdef __CUDACC__
#define FIT(per_core, kernel, ...) extern "C" __global__ void __launch_bounds__(256, per_core) kernel(__VA_ARGS__);
#else
#define FIT(per_core, kernel, ...)
#endif

#ifdef __CUDACC__

// The block's dynamic shared memory, aligned to 16 bytes.
DEVICE u8* shared_memory() {
    extern __shared__ uint4 dynamic[];
    return reinterpret_cast<u8*>(dynamic);
}

DEVICE void barrier() { __syncthreads(); }
// What is the same in all lanes, so that the compiler knows it.
DEVICE int uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }
DEVICE u32 shuffle_xor(u32 x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE void add_atomically(u64* at, u64 x) { atomicAdd(at, x); }
DEVICE void add_atomically(u32* at, u32 x) { atomicAdd(at, x); }

DEVICE u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

// Four 8 x 8 matrices of 16-bit elements, here rows of 16 bytes: lane l gives the address of row l % 8 of matrix l / 8,
// and gets of each matrix m, in r[m], bytes 4 (l % 4) .. + 3 of row l / 4 (PTX: ldmatrix).
DEVICE void load_matrices4(u32* r, const u8* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

#if __CUDA_ARCH__ < 800
#define TURING

// d += a b for an 8 x 16 matrix a and a 16 x 8 matrix b. Fragments as in PTX's mma.m8n8k16: with g and t as below, a is
// row g at columns 4 t .. + 3, b column g at rows 4 t .. + 3, and d row g at columns 2 t and 2 t + 1.
DEVICE void multiply_8_8_16(int* d, u32 a, u32 b) {
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(d[0]), "+r"(d[1]) : "r"(a), "r"(b));
}
#else
// d += a b for a 16 x 32 matrix a and a 32 x 8 matrix b of signed bytes, 32-bit sums that wrap. Fragments as in PTX's
// mma.m16n8k32: with g = lane / 4 and t = lane % 4, a[0] and a[1] are rows g and g + 8 at columns 4 t .. + 3, a[2] and
// a[3] the same at columns 16 + 4 t ..; b[0] and b[1] are column g at rows 4 t .. + 3 and 16 + 4 t ..; d[0], d[1] are
// row g at columns 2 t and 2 t + 1, d[2], d[3] the same of row g + 8.
DEVICE void multiply_accumulate(int* d, const u32* a, const u32* b) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// 16 bytes from global to shared memory, or zeros: begun now, there once waited for, and then behind a barrier.
DEVICE void copy_beside(u8* to, const u8* from, bool valid) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0) : "memory");
#else
    const uint4 zero = {0, 0, 0, 0};
    *reinterpret_cast<uint4*>(to) = valid ? *reinterpret_cast<const uint4*>(from) : zero;
#endif
}

#if __CUDA_ARCH_FEAT_SM90_ALL
// A product of a warpgroup, which runs beside its threads: d += a b for a 64 x 32 matrix a and a 32 x 64 matrix b of
// signed bytes, 32-bit sums that wrap (PTX: wgmma.m64n64k32). Warp w of the four has rows 16 w .. + 15 of a and d. Its
// fragment of a is the one of `multiply_accumulate`; d[4 n + 2 h + e] is row g + 8 h at column 8 n + 2 t + e. b lies in
// shared memory, column by column, and is given by `describe`.
DEVICE void multiply_group(int (&d)[32], const u32 (&a)[4], u64 b) {
    asm volatile(
        "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "
        "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, %36, add;\n}"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), "+r"(d[6]), "+r"(d[7]), "+r"(d[8]),
          "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]), "+r"(d[16]),
          "+r"(d[17]), "+r"(d[18]), "+r"(d[19]), "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), "+r"(d[24]),
          "+r"(d[25]), "+r"(d[26]), "+r"(d[27]), "+r"(d[28]), "+r"(d[29]), "+r"(d[30]), "+r"(d[31])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}

// Rows of 32 bytes one after the other, eight to 256 bytes, with the 32-byte swizzle (PTX: matrix descriptor). The
// address is a multiple of 256.
DEVICE u64 describe(const u8* at) { return (shared_address(at) & 0x3ffff) >> 4 | 1ull << 16 | 256ull >> 4 << 32 | 3ull << 62; }

// Before products: what this thread wrote into registers that they read is there.
DEVICE void begin_group_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// What was begun since the last of these is one group of products.
DEVICE void end_group_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most N groups of products are under way; what others read and write may not be touched.
template <int N> DEVICE void wait_for_products() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
// This thread's copies, once waited for, are seen by a warpgroup's products behind the next barrier.
DEVICE void show_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Sums are read from here on, and no earlier.
DEVICE void there(int (&d)[32]) {
    UNROLL(32)
    for (int e = 0; e < 32; ++e) asm volatile("" : "+r"(d[e])::"memory");
}
#endif

// What was begun since the last of these is one group.
DEVICE void end_group() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until at most N groups of this thread are under way.
template <int N> DEVICE void wait_for_groups() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

#endif

// A description of what lies so many bytes further: its upper half stays a constant.
DEVICE u64 moved(u64 description, int bytes, int more) {
    return (description & ~0xffffffffull) | ((u32)description + (u32)(bytes >> 4) + (u32)(more >> 4));
}

#ifdef TURING
// The same in four products of a quarter of the work.
DEVICE void multiply_accumulate(int* d, const u32* a, const u32* b) {
    UNROLL(2)
    for (int half = 0; half < 2; ++half)
        UNROLL(2)
        for (int k = 0; k < 2; ++k) multiply_8_8_16(d + 2 * half, a[half + 2 * k], b[k]);
}
#endif
