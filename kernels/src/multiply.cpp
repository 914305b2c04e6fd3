// The element-wise product under broadcasting: dimensions that can be walked as one are merged, and the inner one
// goes to the kernel.
#include <algorithm>

#include "threads.h"
#include "view.h"

template <class T> void multiply(const View<T>& out, const Operands<T>& in) {
    std::vector<i64> size, sx, sy;
    for (size_t d = 0; d < out.shape.size(); ++d) {
        if (out.shape[d] == 0) return;
        if (out.shape[d] == 1) continue;
        const i64 n = out.shape[d], x = in.x.stride[d], y = in.y.stride[d];
        if (!size.empty() && sx.back() == x * n && sy.back() == y * n) {
            size.back() *= n, sx.back() = x, sy.back() = y;
        } else {
            size.push_back(n), sx.push_back(x), sy.push_back(y);
        }
    }
    if (size.empty()) size = {1}, sx = {1}, sy = {1};
    const i64 inner = size.back(), ix = sx.back(), iy = sy.back();
    i64 outer = 1;
    for (size_t d = 0; d + 1 < size.size(); ++d) outer *= size[d];
    const auto run = [&](i64 row, i64 first, i64 last) {
        i64 x = first * ix, y = first * iy, left = row;
        for (size_t d = size.size() - 1; d-- > 0; left /= size[d]) {
            x += left % size[d] * sx[d];
            y += left % size[d] * sy[d];
        }
        T* to = out.data + row * inner + first;
        if (in.x1)
            ring<T>().multiply_cross(to, in.x.data + x, in.x1 + x, ix, in.y.data + y, in.y1 + y, iy, last - first);
        else
            ring<T>().multiply_add(to, in.x.data + x, ix, in.y.data + y, iy, last - first);
    };
    if (outer == 1)
        threads::ranges(inner, 1 << 15, 64, [&](i64 first, i64 last) { run(0, first, last); });
    else
        threads::ranges(outer, std::max<i64>(1, (1 << 15) / inner), 1, [&](i64 first, i64 last) {
            for (i64 row = first; row < last; ++row) run(row, 0, inner);
        });
}

template void multiply(const View<u64>&, const Operands<u64>&);
template void multiply(const View<u32>&, const Operands<u32>&);
