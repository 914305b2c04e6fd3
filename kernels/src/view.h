// An array as the drivers see it: where it starts, its sizes, and its strides in elements.
#pragma once
#include <vector>

#include "portable.h"
#include "table.h"

template <class T> struct View {
    T* data;
    std::vector<i64> shape, stride;
};

// The operands of f(x, y), or of f(x0, y0 + y1) + f(x1, y0) where x1 and y1 are given. x1 is laid out as x0, and
// y1 as y0.
template <class T> struct Operands {
    View<const T> x, y;
    const T* x1;
    const T* y1;
};

const Table& table();
template <class T> const RingTable<T>& ring();
template <> inline const RingTable<u64>& ring<u64>() { return table().r64; }
template <> inline const RingTable<u32>& ring<u32>() { return table().r32; }

// Where there are so few columns, and so many terms to a sum, packing the other operand costs more than using it.
constexpr i64 FEW = 16, MANY = 32;

// Whether a table counts up by one from zero.
inline bool follow(const std::vector<i64>& table) {
    for (size_t i = 0; i < table.size(); ++i) if (table[i] != (i64)i) return false;
    return true;
}

template <class T> void multiply(const View<T>& out, const Operands<T>& in);
template <class T> void matmul(const View<T>& out, const Operands<T>& in);

enum Kind { FORWARD, INPUT_GRAD, WEIGHT_GRAD };
struct Walk {
    std::vector<i64> stride, padding, dilation;
    i64 groups;
};
template <class T> void convolve(Kind kind, const Walk& walk, const View<T>& out, const Operands<T>& in);
