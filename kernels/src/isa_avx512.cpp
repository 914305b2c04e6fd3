// Kernels for CPUs with AVX-512 F, DQ, BW and VL.
#if defined(__x86_64__)
#pragma GCC target("avx2,bmi,bmi2,avx512f,avx512dq,avx512bw,avx512vl,prefer-vector-width=512")
#define ISA avx512
#define LANE_BYTES 64
#include "kernels.h"
#endif
