// The Python module kernels._native: sizes are checked here, the interpreter's lock is let go, and a driver runs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <cstring>
#include <stdexcept>

#include "arrays.h"
#include "threads.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

// ---- which instruction set ----------------------------------------------------------------------------------

namespace {

struct Offered { const char* name; const Table* table; };

std::vector<Offered> offered() {
    std::vector<Offered> all;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2"))
        all.push_back({"avx512", table_avx512()});
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        all.push_back({"avx2", table_avx2()});
#endif
    all.push_back({"plain", table_plain()});
    return all;
}

const std::vector<Offered> all_offered = offered();
std::atomic<const Offered*> in_use{&all_offered.front()};

}  // namespace

const Table& table() { return *in_use.load(std::memory_order_relaxed)->table; }

namespace {

// ---- products ---------------------------------------------------------------------------------------------------

struct Multiply {
    template <class T> void operator()(const View<T>& out, const Operands<T>& in) const {
        need(in.x.shape == out.shape && in.y.shape == out.shape, "multiply: operands must be broadcast to the result");
        multiply<T>(out, in);
    }
};

struct Matmul {
    template <class T> void operator()(const View<T>& out, const Operands<T>& in) const {
        const std::vector<i64>&x = in.x.shape, &y = in.y.shape, &z = out.shape;
        const size_t d = z.size();
        need(d >= 2 && x.size() == d && y.size() == d && x[d - 1] == y[d - 2] && x[d - 2] == z[d - 2] &&
                 y[d - 1] == z[d - 1] && std::equal(z.begin(), z.end() - 2, x.begin()) &&
                 std::equal(z.begin(), z.end() - 2, y.begin()),
             "matmul: shapes do not fit");
        matmul<T>(out, in);
    }
};

struct Convolve {
    int kind;
    Walk walk;

    template <class T> void operator()(const View<T>& out, const Operands<T>& in) const {
        const size_t dims = walk.stride.size();
        need(kind >= FORWARD && kind <= WEIGHT_GRAD && dims >= 1 && dims <= 3 && walk.padding.size() == dims &&
                 walk.dilation.size() == dims && walk.groups >= 1, "conv: no such walk");
        const std::vector<i64>& image = (kind == INPUT_GRAD ? out.shape : in.x.shape);
        const std::vector<i64>& weight = (kind == WEIGHT_GRAD ? out.shape : in.y.shape);
        const std::vector<i64>& reach = kind == FORWARD ? out.shape : kind == INPUT_GRAD ? in.x.shape : in.y.shape;
        const size_t d = dims + 2;
        need(image.size() == d && weight.size() == d && reach.size() == d && image[0] == reach[0] &&
                 image[1] == weight[1] * walk.groups && reach[1] == weight[0] && weight[0] % walk.groups == 0,
             "conv: shapes do not fit");
        for (size_t i = 0; i < dims; ++i) {
            const i64 s = walk.stride[i], p = walk.padding[i], l = walk.dilation[i];
            need(s >= 1 && p >= 0 && l >= 1 && weight[2 + i] >= 1, "conv: no such walk");
            const i64 room = image[2 + i] + 2 * p - l * (weight[2 + i] - 1) - 1;
            need(room >= 0 && room / s + 1 == reach[2 + i], "conv: shapes do not fit");
        }
        convolve<T>((Kind)kind, walk, out, in);
    }
};

template <class F> F walked(int kind, std::vector<i64> s, std::vector<i64> p, std::vector<i64> d, i64 groups) {
    return {kind, {std::move(s), std::move(p), std::move(d), groups}};
}

// ---- element-wise -----------------------------------------------------------------------------------------------

const u64* words(const py::array& a, i64 n) {
    need(is<u64>(a) && contiguous(a) && a.size() == n, "an operand is not n contiguous uint64");
    return static_cast<const u64*>(a.data());
}

u64* words(py::array& a) {
    need(is<u64>(a) && contiguous(a), "the result must be C-contiguous uint64");
    return static_cast<u64*>(a.mutable_data());
}

constexpr i64 LEAST = 1 << 15;      // elements that are worth a thread

void need_fraction(int f) { need(f >= 1 && f <= 62, "a truncation drops 1 to 62 bits"); }

void truncation_public(py::array out, int f, const py::array& c, const py::array& rho, const py::array& mu) {
    need_fraction(f);
    u64* o = words(out);
    const i64 n = out.size();
    const u64 *pc = words(c, n), *pr = words(rho, n), *pm = words(mu, n);
    py::gil_scoped_release release;
    threads::ranges(n, LEAST, 64, [&](i64 i, i64 j) {
        table().truncation_public(o + i, pc + i, pr + i, pm + i, f, j - i);
    });
}

void truncation_private(py::array out, int f, const py::array& c, const py::array& rho, const py::array& mu) {
    need_fraction(f);
    u64* o = words(out);
    const i64 n = out.size();
    const int wide = (int)mu.itemsize();
    need(mu.dtype().kind() == 'u' && contiguous(mu) && mu.size() == n, "mu is not n contiguous unsigned elements");
    const u64 *pc = words(c, n), *pr = words(rho, n);
    const u8* pm = static_cast<const u8*>(mu.data());
    py::gil_scoped_release release;
    threads::ranges(n, LEAST, 64, [&](i64 i, i64 j) {
        table().truncation_private(o + i, pc + i, pr + i, pm + i * wide, wide, f, j - i);
    });
}

void select_term(py::array out, const py::array& c, const py::array& x, const py::array& x1, const py::array& beta,
                 const py::array& w) {
    u64* o = words(out);
    const i64 n = out.size();
    const u64 *pc = words(c, (n + 63) / 64), *px = words(x, n), *p1 = words(x1, n), *pb = words(beta, n),
              *pw = words(w, n);
    py::gil_scoped_release release;
    threads::ranges(n, LEAST, 64, [&](i64 i, i64 j) {
        table().select_term(o + i, pc + i / 64, px + i, p1 + i, pb + i, pw + i, j - i);
    });
}

void conj_to(py::array out, const py::array& a0, const py::array& a1, const py::array& b0, const py::array& b1) {
    u64* o = words(out);
    const i64 n = out.size();
    const u64 *p0 = words(a0, n), *p1 = words(a1, n), *q0 = words(b0, n), *q1 = words(b1, n);
    py::gil_scoped_release release;
    threads::ranges(n, LEAST, 64, [&](i64 i, i64 j) { table().conj(o + i, p0 + i, p1 + i, q0 + i, q1 + i, j - i); });
}

void carry_step(py::array g_out, py::array p_out, const py::array& g0, const py::array& g1, const py::array& p0,
                const py::array& p1) {
    need(g0.ndim() == 2 && g_out.ndim() == 2 && p_out.ndim() == 2, "planes have two dimensions");
    const i64 width = g0.shape(1), pairs = g0.shape(0) / 2, n = g0.size();
    need(g_out.shape(0) == pairs && g_out.shape(1) == width && p_out.shape(1) == width &&
             p_out.shape(0) == (pairs > 0 ? pairs - 1 : 0), "carry_step: shapes do not fit");
    u64 *g = words(g_out), *p = words(p_out);
    const u64 *a0 = words(g0, n), *a1 = words(g1, n), *b0 = words(p0, n), *b1 = words(p1, n);
    py::gil_scoped_release release;
    threads::ranges(width, pairs ? LEAST / pairs + 1 : LEAST, 8,
                    [&](i64 i, i64 j) { table().carry_step(g, p, a0, a1, b0, b1, pairs, width, i, j); });
}

void to_planes(py::array planes, const py::array& x, int first_bit) {
    const i64 n = x.size(), width = (n + 63) / 64;
    need(planes.ndim() == 2 && planes.shape(1) == width && first_bit >= 0 && first_bit + planes.shape(0) <= 64,
         "to_planes: shapes do not fit");
    const int k = (int)planes.shape(0);
    u64* to = words(planes);
    const u64* from = words(x, n);
    py::gil_scoped_release release;
    threads::ranges(width, LEAST / 64, 8,
                    [&](i64 i, i64 j) { table().to_planes(to, from, n, k, first_bit, width, i, j); });
}

void from_planes(py::array x, const py::array& planes) {
    const i64 n = x.size(), width = (n + 63) / 64;
    need(planes.ndim() == 2 && planes.shape(1) == width && planes.shape(0) <= 64, "from_planes: shapes do not fit");
    const int k = (int)planes.shape(0);
    u64* to = words(x);
    const u64* from = words(planes, planes.size());
    py::gil_scoped_release release;
    threads::ranges(width, LEAST / 64, 8, [&](i64 i, i64 j) { table().from_planes(to, from, n, k, width, i, j); });
}

// Products for a carry over `bits` bits: 15 of each block of four, fewer of what is left.
i64 product_rows(i64 bits) { return 15 * (bits / 4) + (1 << bits % 4) - 1; }

void block_products(py::array out, py::array top, const py::array& x, int bits) {
    const i64 n = x.size(), width = (n + 63) / 64;
    need(bits >= 1 && bits <= 63, "a carry passes 1 to 63 bits");
    const i64 rows = product_rows(bits);
    need(out.size() == rows * width && top.size() == width, "block_products: shapes do not fit");
    u64 *to = words(out), *highest = words(top);
    const u64* from = words(x, n);
    py::gil_scoped_release release;
    threads::ranges(width, LEAST / 64, 8,
                    [&](i64 i, i64 j) { table().block_products(to, highest, from, n, bits, rows, i, j); });
}

void block_carries(py::array g, py::array p, py::array top, const py::array& shared, const py::array& x, int bits,
                   bool whole) {
    const i64 n = x.size(), width = (n + 63) / 64, blocks = (bits + 3) / 4;
    need(bits >= 1 && bits <= 63, "a carry passes 1 to 63 bits");
    const i64 rows = product_rows(bits);
    need(g.size() == blocks * width && p.size() == (blocks - 1) * width && top.size() == width,
         "block_carries: shapes do not fit");
    u64 *carry = words(g), *through = words(p), *highest = words(top);
    const u64 *products = words(shared, rows * width), *from = words(x, n);
    py::gil_scoped_release release;
    threads::ranges(width, LEAST / 64, 8, [&](i64 i, i64 j) {
        table().block_carries(carry, through, highest, products, from, n, bits, whole, rows, width, i, j);
    });
}

// ---- streams ------------------------------------------------------------------------------------------------------

void chacha20(int mode, py::array out, const py::bytes& key_a, const py::bytes& key_b, const py::bytes& nonce) {
    const auto read = [](const py::bytes& from, u32* to, size_t size) {
        const std::string_view text = from;
        need(text.size() == size, "a ChaCha20 key is 32 bytes and a nonce 12");
        std::memcpy(to, text.data(), size);     // little-endian machines only; setup.py says so
    };
    u32 a[8], b[8], c[3];
    read(key_a, a, 32), read(key_b, b, 32), read(nonce, c, 12);
    const i64 bytes = out.nbytes();
    const int word = (int)out.itemsize();
    const bool adds = mode == ADD || mode == SUBTRACT || mode == ADD_DIFFERENCE;
    need(mode >= FILL && mode <= XOR_BOTH && out.dtype().kind() == 'u' && contiguous(out) &&
             (!adds || word == 8 || word == 4), "a stream goes onto contiguous unsigned words");
    need(bytes <= (i64)64 << 32, "a stream has at most 2^32 blocks");
    u8* to = static_cast<u8*>(out.mutable_data());
    {
        py::gil_scoped_release release;
        threads::ranges(bytes, 1 << 17, 1024, [&](i64 i, i64 j) {
            table().chacha20((Stream)mode, word, to + i, a, b, c, (u32)(i / 64), j - i);
        });
    }
    wipe(a, sizeof a), wipe(b, sizeof b);
}

void keep_memory() {
#if defined(__GLIBC__)
    // Shares are large, short-lived arrays. By default glibc maps each one anew and gives it back, so the kernel
    // clears its pages and faults them in at every step, which costs more than the arithmetic. Kept in the heap,
    // the same pages serve again. 32 MiB is the largest threshold that glibc takes.
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
}

}  // namespace

PYBIND11_MODULE(_native, m) {
    keep_memory();
    m.attr("FILL") = (int)FILL, m.attr("ADD") = (int)ADD, m.attr("SUBTRACT") = (int)SUBTRACT;
    m.attr("XOR") = (int)XOR, m.attr("ADD_DIFFERENCE") = (int)ADD_DIFFERENCE, m.attr("XOR_BOTH") = (int)XOR_BOTH;

    m.def("set_threads", &threads::set);
    m.def("get_threads", &threads::get);
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (const Offered& o : all_offered) names.push_back(o.name);
        return names;
    });
    m.def("get_instruction_set", [] { return std::string(in_use.load()->name); });
    m.def("set_instruction_set", [](const std::string& name) {
        for (const Offered& o : all_offered)
            if (name == o.name) return in_use.store(&o);
        throw std::invalid_argument("this CPU cannot run " + name);
    });

    m.def("multiply_add", [](py::array out, py::array x, py::array y) {
        with_operands(out, x, y, nullptr, nullptr, Multiply{});
    });
    m.def("multiply_cross", [](py::array out, py::array x0, py::array x1, py::array y0, py::array y1) {
        with_operands(out, x0, y0, &x1, &y1, Multiply{});
    });
    m.def("matmul_add", [](py::array out, py::array x, py::array y) {
        with_operands(out, x, y, nullptr, nullptr, Matmul{});
    });
    m.def("matmul_cross", [](py::array out, py::array x0, py::array x1, py::array y0, py::array y1) {
        with_operands(out, x0, y0, &x1, &y1, Matmul{});
    });
    m.def("conv_add", [](int kind, std::vector<i64> s, std::vector<i64> p, std::vector<i64> d, i64 groups,
                         py::array out, py::array x, py::array y) {
        with_operands(out, x, y, nullptr, nullptr, walked<Convolve>(kind, s, p, d, groups));
    });
    m.def("conv_cross", [](int kind, std::vector<i64> s, std::vector<i64> p, std::vector<i64> d, i64 groups,
                           py::array out, py::array x0, py::array x1, py::array y0, py::array y1) {
        with_operands(out, x0, y0, &x1, &y1, walked<Convolve>(kind, s, p, d, groups));
    });

    m.def("truncation_public", &truncation_public);
    m.def("truncation_private", &truncation_private);
    m.def("select_term", &select_term);
    m.def("conj_to", &conj_to);
    m.def("carry_step", &carry_step);
    m.def("block_products", &block_products);
    m.def("block_carries", &block_carries);
    m.def("to_planes", &to_planes);
    m.def("from_planes", &from_planes);
    m.def("chacha20", &chacha20);
}
