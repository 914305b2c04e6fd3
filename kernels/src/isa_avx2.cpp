// Kernels for CPUs with AVX2.
#if defined(__x86_64__)
#pragma GCC target("avx2,bmi,bmi2")
#define ISA avx2
#define LANE_BYTES 32
#include "kernels.h"
#endif
