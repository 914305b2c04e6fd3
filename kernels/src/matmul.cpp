// Matrix products, batched: each becomes one Product, or a range of rows and columns of it for each thread.
#include <algorithm>

#include "threads.h"
#include "view.h"

namespace {

using Offsets = std::vector<i64>;

// Offsets of every combination of the dimensions from..to-1 of an array with these strides, in C order.
Offsets grid(const Offsets& shape, const Offsets& stride, size_t from, size_t to) {
    Offsets all = {0};
    for (size_t d = from; d < to; ++d) {
        Offsets next;
        next.reserve(all.size() * shape[d]);
        for (i64 base : all)
            for (i64 i = 0; i < shape[d]; ++i) next.push_back(base + i * stride[d]);
        all.swap(next);
    }
    return all;
}

bool still(const Offsets& shape, const Offsets& stride, size_t dims) {
    for (size_t d = 0; d < dims; ++d)
        if (shape[d] > 1 && stride[d] != 0) return false;
    return true;
}

// Into how many rows and columns of parts to cut an m x n result, so that `parts` threads pack little twice.
void cut(i64 m, i64 n, i64 parts, i64 rows, i64 columns, i64& by_rows, i64& by_columns) {
    double best = -1;
    for (i64 r = 1; r <= parts; ++r) {
        const i64 c = std::min(parts / r, std::max<i64>(1, (n + columns - 1) / columns));
        if (r > 1 && r > (m + rows - 1) / rows) break;
        const double m_part = (double)((m + r - 1) / r), n_part = (double)((n + c - 1) / c);
        const double cost = m_part * n_part + 4 * (m_part + n_part);
        if (best < 0 || cost < best) best = cost, by_rows = r, by_columns = c;
    }
}

}  // namespace

template <class T> void matmul(const View<T>& out, const Operands<T>& in) {
    const size_t dims = out.shape.size(), outer = dims - 2;
    const i64 k = in.x.shape[outer + 1];
    for (i64 size : out.shape) if (size == 0) return;
    if (k == 0) return;

    // A batch on one side only is more rows, or more columns, of a single product.
    const bool rows = still(in.y.shape, in.y.stride, outer), columns = !rows && still(in.x.shape, in.x.stride, outer);
    const size_t row_from = rows ? 0 : outer, column_from = columns ? 0 : outer;
    const auto joined = [&](const Offsets& shape, const Offsets& stride, size_t from, size_t last) {
        Offsets s(shape.begin() + from, shape.begin() + outer), t(stride.begin() + from, stride.begin() + outer);
        s.push_back(shape[last]), t.push_back(stride[last]);
        return grid(s, t, 0, s.size());
    };
    const Offsets x_row = joined(in.x.shape, in.x.stride, row_from, outer);
    const Offsets y_column = joined(in.y.shape, in.y.stride, column_from, outer + 1);
    const Offsets row = joined(out.shape, out.stride, row_from, outer);
    const Offsets column = joined(out.shape, out.stride, column_from, outer + 1);
    const Offsets x_along = grid(in.x.shape, in.x.stride, outer + 1, dims);
    const Offsets y_along = grid(in.y.shape, in.y.stride, outer, outer + 1);
    const size_t batch_dims = rows || columns ? 0 : outer;
    const Offsets x_batch = grid(in.x.shape, in.x.stride, 0, batch_dims);
    const Offsets y_batch = grid(in.y.shape, in.y.stride, 0, batch_dims);
    const Offsets out_batch = grid(out.shape, out.stride, 0, batch_dims);

    const i64 height = row.size(), width = column.size(), batch = out_batch.size();
    const i64 worth = std::max<i64>(1, (i64)((double)height * width * k * batch / 200000));     // threads that pay
    const i64 parts = std::min<i64>(threads::get(), worth);
    i64 by_rows = 1, by_columns = 1;
    if (batch < parts)
        cut(height, width, (parts + batch - 1) / batch, ring<T>().tile_rows, ring<T>().tile_columns, by_rows,
            by_columns);
    const i64 tasks = std::min(batch, parts);
    const bool few = height <= FEW && k >= MANY && follow(y_along);      // a small batch and a layer's weights, for one

    threads::each(tasks * by_rows * by_columns, [&](i64 task) {
        const i64 r = task % by_rows, c = task / by_rows % by_columns, t = task / by_rows / by_columns;
        const auto round = [](i64 at, i64 to, i64 end) { return at >= end ? end : at / to * to; };
        const i64 i0 = round(height * r / by_rows, ring<T>().tile_rows, height);
        const i64 i1 = round(height * (r + 1) / by_rows, ring<T>().tile_rows, height);
        const i64 j0 = round(width * c / by_columns, ring<T>().tile_columns, width);
        const i64 j1 = round(width * (c + 1) / by_columns, ring<T>().tile_columns, width);
        if (few) {
            T* const x = static_cast<T*>(threads::scratch(threads::ROWS, 2 * (i1 - i0) * k * (i64)sizeof(T)));
            for (i64 b = batch * t / tasks; b < batch * (t + 1) / tasks; ++b) {
                T* to = x;
                for (const T* from : {in.x.data, in.x1})
                    if (from) for (i64 i = i0; i < i1; ++i)
                        for (const i64 along : x_along) *to++ = from[x_batch[b] + x_row[i] + along];
                ring<T>().thin({in.y.data + y_batch[b], in.y1 ? in.y1 + y_batch[b] : nullptr, y_column.data() + j0,
                                x, in.x1 ? x + (i1 - i0) * k : nullptr, out.data + out_batch[b], column.data() + j0,
                                row.data() + i0, j1 - j0, i1 - i0, k});
            }
            return;
        }
        void* scratch = threads::scratch(threads::PRODUCT, ring<T>().scratch_bytes);
        for (i64 b = batch * t / tasks; b < batch * (t + 1) / tasks; ++b) {
            Product<T> p = {{in.x.data + x_batch[b], nullptr, x_row.data() + i0, x_along.data()},
                            {in.y.data + y_batch[b], in.y1 ? in.y1 + y_batch[b] : nullptr, y_column.data() + j0,
                             y_along.data()},
                            out.data + out_batch[b], row.data() + i0, column.data() + j0, i1 - i0, j1 - j0, k};
            ring<T>().product(p, scratch);
            if (!in.x1) continue;
            p.a.base = in.x1 + x_batch[b];
            p.b.plus = nullptr;
            ring<T>().product(p, scratch);
        }
    });
}

template void matmul(const View<u64>&, const Operands<u64>&);
template void matmul(const View<u32>&, const Operands<u32>&);
