// A product with few columns, for one instruction set (see kernels.h): where a layer has a handful of places, each
// weight is used a handful of times, and packing it would cost more than using it. Rows of weights are read where
// they lie, once for both terms of a replicated product, and summed along.

template <class T> DEVICE typename Lane<T>::V thin_load(const T* from, i64 count) {
    typename Lane<T>::V v = {};
    if (count == Lane<T>::COUNT) __builtin_memcpy(&v, from, sizeof v);
    else __builtin_memcpy(&v, from, count * sizeof *from);
    return v;
}

template <class T> DEVICE T thin_sum(const typename Lane<T>::V& v) {
    T each[Lane<T>::COUNT], total = 0;
    __builtin_memcpy(each, &v, sizeof v);
    for (const T e : each) total += e;
    return total;
}

template <class T, int ROWS, int COLUMNS> void thin_tile(const Thin<T>& p, i64 i0, i64 j0, i64 k0, i64 k1) {
    typedef typename Lane<T>::V V;
    constexpr int L = Lane<T>::COUNT;
    V sums[ROWS][COLUMNS] = {};
    const auto step = [&](i64 k, i64 count) __attribute__((always_inline)) {
        V x0[COLUMNS], x1[COLUMNS];
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) {
            x0[j] = thin_load<T>(p.x0 + (j0 + j) * p.k + k, count);
            if (p.x1) x1[j] = thin_load<T>(p.x1 + (j0 + j) * p.k + k, count);
        }
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i) {
            const V own = thin_load<T>(p.weight + p.across[i0 + i] + k, count);
            const V both = p.plus ? own + thin_load<T>(p.plus + p.across[i0 + i] + k, count) : own;
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; ++j) {
                sums[i][j] += both * x0[j];
                if (p.x1) sums[i][j] += own * x1[j];
            }
        }
    };
    i64 k = k0;
    for (; k + L <= k1; k += L) step(k, L);
    if (k < k1) step(k, k1 - k);
    for (int i = 0; i < ROWS; ++i)
        for (int j = 0; j < COLUMNS; ++j) p.out[p.row[i0 + i] + p.column[j0 + j]] += thin_sum<T>(sums[i][j]);
}

template <class T, int ROWS> void thin_row(const Thin<T>& p, i64 i, i64 j, i64 k0, i64 k1) {
    switch (p.n - j) {
        case 1: return thin_tile<T, ROWS, 1>(p, i, j, k0, k1);
        case 2: return thin_tile<T, ROWS, 2>(p, i, j, k0, k1);
        case 3: return thin_tile<T, ROWS, 3>(p, i, j, k0, k1);
        default: return thin_tile<T, ROWS, 4>(p, i, j, k0, k1);
    }
}

template <class T> void thin(const Thin<T>& p) {
    constexpr i64 STRETCH = 1024;       // of the summed index: four rows of it, twice, stay in the first-level cache
    for (i64 k = 0; k < p.k; k += STRETCH) {
        const i64 end = p.k - k < STRETCH ? p.k : k + STRETCH;
        for (i64 i = 0; i < p.m; i += 4)
            for (i64 j = 0; j < p.n; j += 4) switch (p.m - i) {
                case 1: thin_row<T, 1>(p, i, j, k, end); break;
                case 2: thin_row<T, 2>(p, i, j, k, end); break;
                case 3: thin_row<T, 3>(p, i, j, k, end); break;
                default: thin_row<T, 4>(p, i, j, k, end);
            }
    }
}
