// Kernels for any CPU.
#define ISA plain
#define LANE_BYTES 0
#include "kernels.h"
