// From NumPy to the drivers' views: operands are checked here, and the interpreter's lock is let go. For module.cpp.
#pragma once
#include <pybind11/numpy.h>

#include <algorithm>
#include <stdexcept>

#include "view.h"

namespace py = pybind11;

namespace {

template <class T> struct Npy;
template <> struct Npy<u64> { using Type = std::uint64_t; };
template <> struct Npy<u32> { using Type = std::uint32_t; };

template <class T> bool is(const py::array& a) { return a.dtype().equal(py::dtype::of<typename Npy<T>::Type>()); }

void need(bool holds, const char* what) { if (!holds) throw std::invalid_argument(what); }

template <class T> View<T> view(const py::array& a, T* data) {
    View<T> v = {data, {}, {}};
    need(reinterpret_cast<u64>(data) % sizeof(T) == 0, "an operand is not aligned to its elements");
    for (py::ssize_t d = 0; d < a.ndim(); ++d) {
        need(a.strides(d) % (py::ssize_t)sizeof(T) == 0, "an operand is not aligned to its elements");
        v.shape.push_back(a.shape(d));
        v.stride.push_back(a.strides(d) / (py::ssize_t)sizeof(T));
    }
    return v;
}

bool same_shape(const py::array& a, const py::array& b) {
    return a.ndim() == b.ndim() && std::equal(a.shape(), a.shape() + a.ndim(), b.shape());
}

bool contiguous(const py::array& a) { return a.flags() & py::array::c_style; }

py::array copied(const py::array& a) {
    return py::module_::import("numpy").attr("ascontiguousarray")(a);
}

// Pairs of terms are read through one set of strides; a pair laid out differently is copied first.
void alike(py::array& a, py::array& b) {
    need(same_shape(a, b), "both terms of a share must have one shape");
    if (!std::equal(a.strides(), a.strides() + a.ndim(), b.strides())) a = copied(a), b = copied(b);
}

template <class T> View<T> target(py::array& out) {
    need(is<T>(out) && contiguous(out), "the result must be C-contiguous and of the operands' dtype");
    return view<T>(out, static_cast<T*>(out.mutable_data()));     // raises if it is read-only
}

// Calls f(View out, Operands in) for the dtype of `out`, without the interpreter's lock.
template <class F> void with_operands(py::array out, py::array x0, py::array y0, py::array* x1, py::array* y1, F f) {
    if (x1) alike(x0, *x1), alike(y0, *y1);
    const auto run = [&](auto one) {
        using T = decltype(one);
        for (py::array* a : {&x0, &y0, x1, y1})
            need(!a || is<T>(*a), "operands differ in dtype");
        const auto at = [](const py::array& a) { return static_cast<const T*>(a.data()); };
        const View<T> to = target<T>(out);
        const Operands<T> in = {view<const T>(x0, at(x0)), view<const T>(y0, at(y0)), x1 ? at(*x1) : nullptr,
                                y1 ? at(*y1) : nullptr};
        py::gil_scoped_release release;
        f(to, in);
    };
    if (is<u64>(out)) run(u64{});
    else if (is<u32>(out)) run(u32{});
    else throw py::type_error("ring arrays are uint64 or uint32");
}

}  // namespace
