// The few words that let one kernel text compile under g++ for the CPU and under NVRTC for the GPU.
//
// KERNEL declares an entry point, DEVICE a function it calls, EACH(i, n) the one loop over elements: a plain loop
// here, a grid-stride loop there. On the CPU a caller hands a kernel its own range of the arrays. UNROLL(n) stands
// before a loop of n turns. A third compiler is g++ with EMULATED, for tests: the threads of a GPU's block, one after
// the other, on a CPU.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifdef __CUDACC__
#define UNROLL(n) UNROLL_(unroll n)
#else
#define UNROLL(n) UNROLL_(GCC unroll n)
#endif
#define UNROLL_(words) _Pragma(#words)

#if defined(__CUDACC__) || defined(EMULATED)
#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#else
#include <emulator.h>
#define DEVICE static inline
#define KERNEL extern "C" void
#endif
#define EACH(i, n)                                                                         \
    for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < (n); i += (i64)gridDim.x * blockDim.x)
#else
#define DEVICE static inline __attribute__((always_inline))
#define KERNEL static inline __attribute__((always_inline)) void
// Elements are independent of each other, which lets the loop be vectorised without a check for overlap.
#define EACH(i, n) _Pragma("GCC ivdep") for (i64 i = 0; i < (n); ++i)

// Keys and masks do not stay on a stack; the empty statement keeps the compiler from leaving the clearing out.
DEVICE void wipe(void* at, u64 bytes) {
    __builtin_memset(at, 0, bytes);
    __asm__ volatile("" ::"r"(at) : "memory");
}
#endif
