// Convolutions and their two gradients, as matrix products over tables of offsets.
//
// In every one of the three maps, x (the input, or the gradient of the output) is looked at through a window: at
// place q of an axis, kernel position k sees x at q * step + shift[k]. So with x padded, the address of what is seen
// is a sum of one part that depends on the place and one that depends on (channel, kernel position): a matrix that
// need not be written down. x is padded a tile at a time: some images, or a slab of one image.
//
// The gradient of the input under a stride falls apart into phases, one for each residue of the input position: each
// is an unstrided convolution by those kernel positions that reach its residue.
#include <algorithm>

#include "threads.h"
#include "view.h"

namespace {

using Offsets = std::vector<i64>;

struct Axis {
    i64 from, to;               // places q
    i64 step;
    Offsets position, shift;    // kernel positions, and where each looks
    i64 start, stride;          // place q of the result, or of its gradient, is start + stride * q
    i64 extent;                 // of x

    i64 at(i64 q) const { return start + stride * q; }
    i64 low(i64 q) const { return q * step + *std::min_element(shift.begin(), shift.end()); }
    i64 high(i64 q) const { return (q - 1) * step + *std::max_element(shift.begin(), shift.end()) + 1; }
};

struct Phase { Axis axis[3]; };

struct Block {
    const Phase* phase;
    i64 image, images;
    i64 from[3], to[3];
    i64 places() const { return images * (to[0] - from[0]) * (to[1] - from[1]) * (to[2] - from[2]); }
};

i64 floor_divide(i64 a, i64 b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

Axis window_axis(i64 extent, i64 kernel, i64 reach, i64 stride, i64 padding, i64 dilation) {
    Axis a = {0, reach, stride, {}, {}, 0, 1, extent};
    for (i64 k = 0; k < kernel; ++k) a.position.push_back(k), a.shift.push_back(k * dilation - padding);
    return a;
}

// Residue r: input position q * stride + r - padding is reached from output place q - k * dilation / stride.
Axis residue_axis(i64 r, i64 input, i64 kernel, i64 reach, i64 stride, i64 padding, i64 dilation) {
    Axis a = {-floor_divide(r - padding, stride), -floor_divide(r - padding - input, stride), 1, {}, {},
              r - padding, stride, reach};
    for (i64 k = 0; k < kernel; ++k)
        if (k * dilation % stride == r) a.position.push_back(k), a.shift.push_back(-(k * dilation / stride));
    return a;
}

// What a block sees. Its element at (place j, tap k) is tile[where[j] + look[k]], where a tap is a channel and a
// kernel position; weight[k] is the tap's place in the weight, place[j] the place's in the array that is not x.
struct Sight {
    bool inside;
    i64 low[3], size[3];        // of the tile, in positions of x
    i64 stride[5], origin;      // of the tile
    Offsets where, place, look, weight;
};

// Everything about one call, with one and two dimensions written as three.
template <class T> struct Convolution {
    Kind kind;
    i64 stride[3], padding[3], dilation[3], groups;
    View<T> out;
    Operands<T> in;
    std::vector<Phase> phases;
    std::vector<Block> blocks;

    // Weight (or its gradient), and the image-like array that is not x: the result, or its gradient.
    i64 weight_stride(int d) const { return kind == WEIGHT_GRAD ? out.stride[d] : in.y.stride[d]; }
    i64 weight_shape(int d) const { return kind == WEIGHT_GRAD ? out.shape[d] : in.y.shape[d]; }
    i64 image_stride(int d) const { return kind == WEIGHT_GRAD ? in.y.stride[d] : out.stride[d]; }
    i64 channels() const { return in.x.shape[1] / groups; }     // of x, in one group
    i64 rows() const { return kind == INPUT_GRAD ? weight_shape(1) : weight_shape(0) / groups; }
    i64 channel_weight() const { return weight_stride(kind == INPUT_GRAD ? 0 : 1); }

    void find_phases() {
        std::vector<Axis> axes[3];
        for (int d = 0; d < 3; ++d) {
            const i64 kernel = weight_shape(2 + d), extent = in.x.shape[2 + d];
            if (kind != INPUT_GRAD) {
                const i64 reach = (kind == FORWARD ? out : View<T>{nullptr, in.y.shape, {}}).shape[2 + d];
                axes[d].push_back(window_axis(extent, kernel, reach, stride[d], padding[d], dilation[d]));
            } else {
                for (i64 r = 0; r < stride[d]; ++r) {
                    Axis a = residue_axis(r, out.shape[2 + d], kernel, extent, stride[d], padding[d], dilation[d]);
                    if (!a.shift.empty() && a.from < a.to) axes[d].push_back(a);
                }
            }
        }
        for (const Axis& a : axes[0])
            for (const Axis& b : axes[1])
                for (const Axis& c : axes[2]) phases.push_back({{a, b, c}});
    }

    // A block is a few small images, or a slab of a large one: its padded x fits a cache.
    void find_blocks() {
        const i64 images = in.x.shape[0], most_words = (4 << 20) / (i64)sizeof(T);
        const i64 words = kind == WEIGHT_GRAD ? most_words : most_words / 8;
        const i64 most_places = kind == WEIGHT_GRAD ? 1024 : 4096;
        for (const Phase& p : phases) {
            Block b = {&p, 0, 1, {}, {}};
            i64 tile = in.x.shape[1];
            for (int d = 0; d < 3; ++d) {
                b.from[d] = p.axis[d].from, b.to[d] = p.axis[d].to;
                tile *= p.axis[d].high(b.to[d]) - p.axis[d].low(b.from[d]);
            }
            const i64 fair = (images + threads::get() - 1) / threads::get();
            // Where many channels meet few places, weights are packed over and over unless a tile takes more images.
            const i64 enough = std::min((384 + b.places() - 1) / b.places(), most_words / tile);
            const i64 fit = std::max(enough, std::min(words / tile, most_places / b.places()));
            const i64 group = std::max<i64>(1, std::min(fit, fair));
            int cut = 0;        // the outermost axis with more than one place
            while (cut < 2 && b.to[cut] - b.from[cut] == 1) ++cut;
            const i64 length = b.to[cut] - b.from[cut];
            const i64 parts = std::min(length, std::max(tile / words, b.places() / (2 * most_places)) + 1);
            for (i64 n = 0; n < images; n += group)
                for (i64 part = 0; part < parts; ++part) {
                    Block c = b;
                    c.image = n, c.images = std::min(group, images - n);
                    c.from[cut] = b.from[cut] + length * part / parts;
                    c.to[cut] = b.from[cut] + length * (part + 1) / parts;
                    blocks.push_back(c);
                }
        }
    }

    // How one block sees x: through tables, into a padded tile or, where no place looks outside, into x itself.
    Sight sight(const Block& b) const {
        Sight s;
        s.inside = true;
        for (int d = 0; d < 3; ++d) {
            const Axis& a = b.phase->axis[d];
            s.low[d] = a.low(b.from[d]);
            s.size[d] = a.high(b.to[d]) - s.low[d];
            s.inside = s.inside && s.low[d] >= 0 && s.low[d] + s.size[d] <= a.extent;
        }
        s.origin = 0;
        if (s.inside) {
            for (int d = 0; d < 5; ++d) s.stride[d] = in.x.stride[d];
            s.origin = b.image * s.stride[0];
        } else {
            s.stride[4] = 1;
            for (int d = 4; d > 1; --d) s.stride[d - 1] = s.size[d - 2] * s.stride[d];
            s.stride[0] = in.x.shape[1] * s.stride[1];
            for (int d = 0; d < 3; ++d) s.origin -= s.low[d] * s.stride[2 + d];
        }
        list_places(b, s);
        list_taps(b, s);
        return s;
    }

    void list_places(const Block& b, Sight& s) const {
        const Axis* a = b.phase->axis;
        s.where.reserve(b.places()), s.place.reserve(b.places());
        for (i64 n = 0; n < b.images; ++n)
            for (i64 q0 = b.from[0]; q0 < b.to[0]; ++q0)
                for (i64 q1 = b.from[1]; q1 < b.to[1]; ++q1) {
                    const i64 w = n * s.stride[0] + q0 * a[0].step * s.stride[2] + q1 * a[1].step * s.stride[3];
                    const i64 o = (b.image + n) * image_stride(0) + a[0].at(q0) * image_stride(2) +
                                  a[1].at(q1) * image_stride(3);
                    for (i64 q2 = b.from[2]; q2 < b.to[2]; ++q2) {
                        s.where.push_back(w + q2 * a[2].step * s.stride[4]);
                        s.place.push_back(o + a[2].at(q2) * image_stride(4));
                    }
                }
    }

    void list_taps(const Block& b, Sight& s) const {
        const Axis* a = b.phase->axis;
        const size_t n0 = a[0].shift.size(), n1 = a[1].shift.size(), n2 = a[2].shift.size();
        s.look.reserve(channels() * n0 * n1 * n2), s.weight.reserve(channels() * n0 * n1 * n2);
        for (i64 c = 0; c < channels(); ++c)
            for (size_t i = 0; i < n0; ++i)
                for (size_t j = 0; j < n1; ++j)
                    for (size_t k = 0; k < n2; ++k) {
                        s.look.push_back(s.origin + c * s.stride[1] + a[0].shift[i] * s.stride[2] +
                                         a[1].shift[j] * s.stride[3] + a[2].shift[k] * s.stride[4]);
                        s.weight.push_back(c * channel_weight() + a[0].position[i] * weight_stride(2) +
                                           a[1].position[j] * weight_stride(3) + a[2].position[k] * weight_stride(4));
                    }
    }

    // Work through one block for the rows first .. last - 1 of every group, adding to `result`.
    void run(const Block& b, i64 first, i64 last, T* result) const {
        const Sight s = sight(b);
        const i64 places = (i64)s.where.size(), taps = (i64)s.look.size(), count = last - first;
        Offsets row_weight, row_image;
        for (i64 m = first; m < last; ++m)
            row_weight.push_back(m * weight_stride(kind == INPUT_GRAD)), row_image.push_back(m * image_stride(1));

        if (kind != WEIGHT_GRAD && places <= FEW && taps >= MANY && follow(s.weight))
            return run_thin(b, s, row_weight, row_image, result);
        void* scratch = threads::scratch(threads::PRODUCT, ring<T>().scratch_bytes);
        for (const T* x : {in.x.data, in.x1}) {
            if (!x) continue;
            const T* tile = s.inside ? x : padded(x, b, s);
            const T* plus = x == in.x.data && in.x1 ? in.y1 : nullptr;
            for (i64 g = 0; g < groups; ++g) {
                const T* seen = tile + g * channels() * s.stride[1];
                const i64 weight = g * (weight_shape(0) / groups) * weight_stride(0);
                const i64 image = g * rows() * image_stride(1);
                const i64 y = kind == WEIGHT_GRAD ? image : weight;
                const T *base = in.y.data + y, *more = plus ? plus + y : nullptr;
                if (kind == WEIGHT_GRAD)
                    ring<T>().product({{base, more, row_image.data(), s.place.data()},
                                       {seen, nullptr, s.look.data(), s.where.data()},
                                       result + weight, row_weight.data(), s.weight.data(), count, taps, places},
                                      scratch);
                else
                    ring<T>().product({{base, more, row_weight.data(), s.weight.data()},
                                       {seen, nullptr, s.where.data(), s.look.data()},
                                       result + image, row_image.data(), s.place.data(), count, places, taps},
                                      scratch);
            }
        }
    }

    // The same for a few places and weights that lie one after the other: see `Thin`.
    void run_thin(const Block& b, const Sight& s, const Offsets& row_weight, const Offsets& row_image,
                  T* result) const {
        const i64 places = (i64)s.where.size(), taps = (i64)s.look.size();
        T* const rows = static_cast<T*>(threads::scratch(threads::ROWS, 2 * groups * places * taps * (i64)sizeof(T)));
        T* to = rows;
        for (const T* x : {in.x.data, in.x1}) {
            if (!x) continue;
            const T* tile = s.inside ? x : padded(x, b, s);
            for (i64 g = 0; g < groups; ++g)
                for (const i64 place : s.where)
                    for (const i64 look : s.look) *to++ = tile[g * channels() * s.stride[1] + place + look];
        }
        for (i64 g = 0; g < groups; ++g) {
            const i64 weight = g * (weight_shape(0) / groups) * weight_stride(0), size = places * taps;
            ring<T>().thin({in.y.data + weight, in.y1 ? in.y1 + weight : nullptr, row_weight.data(), rows + g * size,
                            in.x1 ? rows + (groups + g) * size : nullptr, result + g * this->rows() * image_stride(1),
                            row_image.data(), s.place.data(), (i64)row_weight.size(), places, taps});
        }
    }

    // The part of x that a block sees, with zeros where there is no x.
    const T* padded(const T* x, const Block& b, const Sight& s) const {
        const i64 channels = in.x.shape[1], *extent = in.x.shape.data() + 2, *stride = in.x.stride.data();
        const i64 *low = s.low, *size = s.size;
        T* const tile = static_cast<T*>(threads::scratch(threads::TILE, b.images * s.stride[0] * (i64)sizeof(T)));
        T* to = tile;
        const i64 left = std::clamp<i64>(-low[2], 0, size[2]);
        const i64 right = std::clamp<i64>(extent[2] - low[2], left, size[2]);
        const auto row = [&](const T* from) {
            std::fill(to, to + left, T(0));
            if (stride[4] == 1) std::copy(from + left + low[2], from + right + low[2], to + left);
            else for (i64 k = left; k < right; ++k) to[k] = from[(k + low[2]) * stride[4]];
            std::fill(to + right, to + size[2], T(0));
        };
        for (i64 n = b.image; n < b.image + b.images; ++n)
            for (i64 c = 0; c < channels; ++c)
                for (i64 i = low[0]; i < low[0] + size[0]; ++i)
                    for (i64 j = low[1]; j < low[1] + size[1]; ++j, to += size[2]) {
                        if (i < 0 || i >= extent[0] || j < 0 || j >= extent[1]) std::fill(to, to + size[2], T(0));
                        else row(x + n * stride[0] + c * stride[1] + i * stride[2] + j * stride[3]);
                    }
        return tile;
    }

    // Blocks write to different places of the result.
    void run_apart() const {
        const i64 count = blocks.size(), few = (threads::get() + count - 1) / count;
        const i64 parts = std::max<i64>(1, std::min(few, rows() / (2 * ring<T>().tile_rows)));
        threads::each(count * parts, [&](i64 task) {
            const i64 part = task % parts;
            run(blocks[task / parts], rows() * part / parts, rows() * (part + 1) / parts, out.data);
        });
    }

    // Blocks all add to the one small result: a few teams sum on their own, and inside a team the rows are split.
    void run_together() const {
        i64 size = 1;
        for (i64 s : out.shape) size *= s;
        const i64 count = blocks.size(), most = std::max<i64>(1, (64 << 20) / (size * (i64)sizeof(T)));
        const i64 teams = std::min({count, (i64)threads::get(), most});
        const i64 parts = std::max<i64>(1, std::min(threads::get() / teams, rows() / (2 * ring<T>().tile_rows)));
        std::vector<std::vector<T>> sums(teams - 1, std::vector<T>(size));
        threads::each(teams * parts, [&](i64 task) {
            const i64 team = task / parts, part = task % parts;
            for (i64 i = count * team / teams; i < count * (team + 1) / teams; ++i)
                run(blocks[i], rows() * part / parts, rows() * (part + 1) / parts,
                    team ? sums[team - 1].data() : out.data);
        });
        for (const std::vector<T>& s : sums)
            for (i64 i = 0; i < size; ++i) out.data[i] += s[i];
    }
};

// Put in dimensions of size one after the first two, until there are five.
template <class V> V widened(V v) {
    while (v.shape.size() < 5) {
        v.shape.insert(v.shape.begin() + 2, 1);
        v.stride.insert(v.stride.begin() + 2, 0);
    }
    return v;
}

}  // namespace

template <class T> void convolve(Kind kind, const Walk& walk, const View<T>& out, const Operands<T>& in) {
    Convolution<T> c = {kind, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, walk.groups, widened(out),
                        {widened(in.x), widened(in.y), in.x1, in.y1}, {}, {}};
    for (const View<const T>* v : {&c.in.x, &c.in.y})
        for (i64 s : v->shape) if (s == 0) return;
    for (i64 s : c.out.shape) if (s == 0) return;
    const size_t dims = walk.stride.size();
    for (size_t d = 0; d < dims; ++d) {
        c.stride[3 - dims + d] = walk.stride[d];
        c.padding[3 - dims + d] = walk.padding[d];
        c.dilation[3 - dims + d] = walk.dilation[d];
    }
    c.find_phases();
    if (c.phases.empty()) return;
    c.find_blocks();
    if (kind == WEIGHT_GRAD) c.run_together();
    else c.run_apart();
}

template void convolve(Kind, const Walk&, const View<u64>&, const Operands<u64>&);
template void convolve(Kind, const Walk&, const View<u32>&, const Operands<u32>&);
