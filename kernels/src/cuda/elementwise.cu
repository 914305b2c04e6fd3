// Element-wise steps: the texts that the CPU has, a grid-stride loop each; and products whose operands are laid out in
// any way.
#include "../ring.h"

constexpr int MOST_DIMS = 6;

// Sizes of the result, slowest first, and both operands' steps; of leading dimensions that are not needed, size 1.
struct Layout { i64 size[MOST_DIMS], x[MOST_DIMS], y[MOST_DIMS]; };

// f(element of out, place in x, place in y).
template <class F> DEVICE void each_place(const i64* words, i64 n, F f) {
    const Layout& to = *reinterpret_cast<const Layout*>(words);
    EACH(i, n) {
        i64 rest = i, x = 0, y = 0;
        UNROLL(6)
        for (int d = MOST_DIMS - 1; d >= 0; --d) {
            if (to.size[d] == 1) continue;
            const i64 at = rest % to.size[d];
            rest /= to.size[d], x += at * to.x[d], y += at * to.y[d];
        }
        f(i, x, y);
    }
}

template <class T> DEVICE void multiply_any(T* out, const T* x, const T* y, const i64* layout, i64 n) {
    each_place(layout, n, [=](i64 i, i64 at_x, i64 at_y) { out[i] += x[at_x] * y[at_y]; });
}

template <class T>
DEVICE void multiply_any_cross(T* out, const T* x0, const T* x1, const T* y0, const T* y1, const i64* layout, i64 n) {
    each_place(layout, n, [=](i64 i, i64 x, i64 y) { out[i] += cross_term(x0[x], x1[x], y0[y], y1[y]); });
}

KERNEL multiply_any_add_u64(u64* out, const u64* x, const u64* y, const i64* layout, i64 n) {
    multiply_any(out, x, y, layout, n);
}
KERNEL multiply_any_add_u32(u32* out, const u32* x, const u32* y, const i64* layout, i64 n) {
    multiply_any(out, x, y, layout, n);
}
KERNEL multiply_any_cross_u64(u64* out, const u64* x0, const u64* x1, const u64* y0, const u64* y1,
                              const i64* layout, i64 n) {
    multiply_any_cross(out, x0, x1, y0, y1, layout, n);
}
KERNEL multiply_any_cross_u32(u32* out, const u32* x0, const u32* x1, const u32* y0, const u32* y1,
                              const i64* layout, i64 n) {
    multiply_any_cross(out, x0, x1, y0, y1, layout, n);
}
