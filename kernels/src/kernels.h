// Everything one instruction set compiles: included once by each isa_*.cpp, which says which set and how wide.
#include "table.h"

#include <type_traits>

#if LANE_BYTES
#include <immintrin.h>
#endif

namespace ISA {
namespace {
#include "elementwise_cpu.h"
#include "chacha20_cpu.h"
#include "gemm_cpu.h"
#include "thin_cpu.h"
}  // namespace
}  // namespace ISA

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

const Table* JOIN(table_, ISA)() {
    using namespace ISA;
    static const Table table = {
        {ring_add<u64>, ring_cross<u64>, product<u64>, thin<u64>, scratch_bytes<u64>(), Tile<u64>::ROWS,
         Tile<u64>::VECTORS * Lane<u64>::COUNT},
        {ring_add<u32>, ring_cross<u32>, product<u32>, thin<u32>, scratch_bytes<u32>(), Tile<u32>::ROWS,
         Tile<u32>::VECTORS * Lane<u32>::COUNT},
        truncation_public, truncation_private, select_term, conj, carry_step, to_planes, from_planes,
        block_products, block_carries, chacha20,
    };
    return &table;
}
