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

#ifdef TURING
// The same in four products of a quarter of the work.
DEVICE void multiply_accumulate(int* d, const u32* a, const u32* b) {
    UNROLL(2)
    for (int half = 0; half < 2; ++half)
        UNROLL(2)
        for (int k = 0; k < 2; ++k) multiply_8_8_16(d + 2 * half, a[half + 2 * k], b[k]);
}
#endif
