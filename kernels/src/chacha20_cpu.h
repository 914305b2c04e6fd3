// ChaCha20 streams onto arrays, as many blocks at once as a vector has 32-bit lanes (see kernels.h).

#include "chacha20.h"

#if LANE_BYTES
constexpr int BLOCKS = LANE_BYTES / 4;
typedef u32 Words __attribute__((vector_size(LANE_BYTES)));
#else
constexpr int BLOCKS = 4;
typedef u32 Words __attribute__((vector_size(16)));
#endif

DEVICE Words interleave(Words a, Words b, int low) {
    // Lanes of a and b alternately, from the lower or the upper half of every 128-bit quarter.
    typedef u32 Index __attribute__((vector_size(sizeof(Words))));
    Index at;
    for (int i = 0; i < BLOCKS; ++i) at[i] = (i / 4 * 4) + (low ? 0 : 2) + (i % 4 / 2) + (i % 2 ? BLOCKS : 0);
    return __builtin_shuffle(a, b, at);
}

DEVICE Words interleave_pairs(Words a, Words b, int low) {
    typedef u32 Index __attribute__((vector_size(sizeof(Words))));
    Index at;
    for (int i = 0; i < BLOCKS; ++i) at[i] = (i / 4 * 4) + (low ? 0 : 2) + i % 2 + (i % 4 / 2 ? BLOCKS : 0);
    return __builtin_shuffle(a, b, at);
}

// Word w of every block in s[w] becomes the blocks one after the other.
DEVICE void write_blocks(u32* out, const Words* s) {
    for (int w = 0; w < 16; w += 4) {
        const Words a = interleave(s[w], s[w + 1], 1), b = interleave(s[w], s[w + 1], 0);
        const Words c = interleave(s[w + 2], s[w + 3], 1), d = interleave(s[w + 2], s[w + 3], 0);
        // Quarter q of rows[r] holds words w .. w + 3 of block 4 q + r.
        const Words rows[4] = {interleave_pairs(a, c, 1), interleave_pairs(a, c, 0), interleave_pairs(b, d, 1),
                               interleave_pairs(b, d, 0)};
        typedef u32 Quarter __attribute__((vector_size(16)));
        for (int r = 0; r < 4; ++r) {
            Quarter quarters[BLOCKS / 4];
            __builtin_memcpy(quarters, &rows[r], sizeof(Words));
            for (int q = 0; q < BLOCKS / 4; ++q)
                __builtin_memcpy(out + (4 * q + r) * 16 + w, &quarters[q], 16);
        }
    }
}

// BLOCKS blocks of one key, from `counter` on.
DEVICE void blocks(u32* out, const u32* start, u32 counter) {
    Words s[16], first[16];
    u32 counters[BLOCKS];
    for (int i = 0; i < BLOCKS; ++i) counters[i] = counter + (u32)i;
    for (int i = 0; i < 16; ++i) first[i] = start[i] + Words{};
    __builtin_memcpy(&first[12], counters, sizeof counters);
    for (int i = 0; i < 16; ++i) s[i] = first[i];
    chacha20_rounds(s);
    for (int i = 0; i < 16; ++i) s[i] += first[i];
    write_blocks(out, s);
}

template <Stream MODE, class T> DEVICE void onto(T* out, const T* a, const T* b, i64 n) {
    EACH(i, n) {
        if (MODE == FILL) out[i] = a[i];
        if (MODE == ADD) out[i] += a[i];
        if (MODE == SUBTRACT) out[i] -= a[i];
        if (MODE == XOR) out[i] ^= a[i];
        if (MODE == ADD_DIFFERENCE) out[i] += a[i] - b[i];
        if (MODE == XOR_BOTH) out[i] ^= a[i] ^ b[i];
    }
}

template <Stream MODE, class T>
void stream(u8* out, const u32* key_a, const u32* key_b, const u32* nonce, u32 counter, i64 bytes) {
    constexpr bool TWO = MODE == ADD_DIFFERENCE || MODE == XOR_BOTH;
    constexpr i64 CHUNK = 64 * BLOCKS;
    u32 start_a[16], start_b[16];
    alignas(64) u32 a[16 * BLOCKS], b[16 * BLOCKS];
    chacha20_start(start_a, key_a, nonce);
    if (TWO) chacha20_start(start_b, key_b, nonce);
    for (i64 at = 0; at < bytes; at += CHUNK, counter += BLOCKS) {
        const i64 left = bytes - at;
        if (MODE == FILL && left >= CHUNK) {
            blocks(reinterpret_cast<u32*>(out + at), start_a, counter);
            continue;
        }
        blocks(a, start_a, counter);
        if (TWO) blocks(b, start_b, counter);
        const T *wa = reinterpret_cast<const T*>(a), *wb = reinterpret_cast<const T*>(TWO ? b : a);
        if (left >= CHUNK) onto<MODE, T>(reinterpret_cast<T*>(out + at), wa, wb, CHUNK / sizeof(T));
        else onto<MODE, T>(reinterpret_cast<T*>(out + at), wa, wb, left / (i64)sizeof(T));
    }
    wipe(start_a, sizeof start_a), wipe(start_b, sizeof start_b), wipe(a, sizeof a), wipe(b, sizeof b);
}

void chacha20(Stream mode, int word_bytes, u8* out, const u32* key_a, const u32* key_b, const u32* nonce,
              u32 counter, i64 bytes) {
    const bool wide = word_bytes == 8;
    switch (mode) {
        case FILL: return stream<FILL, u8>(out, key_a, key_b, nonce, counter, bytes);
        case XOR: return stream<XOR, u8>(out, key_a, key_b, nonce, counter, bytes);
        case XOR_BOTH: return stream<XOR_BOTH, u8>(out, key_a, key_b, nonce, counter, bytes);
        case ADD:
            return (wide ? stream<ADD, u64> : stream<ADD, u32>)(out, key_a, key_b, nonce, counter, bytes);
        case SUBTRACT:
            return (wide ? stream<SUBTRACT, u64> : stream<SUBTRACT, u32>)(out, key_a, key_b, nonce, counter,
                                                                          bytes);
        case ADD_DIFFERENCE:
            return (wide ? stream<ADD_DIFFERENCE, u64> : stream<ADD_DIFFERENCE, u32>)(
                out, key_a, key_b, nonce, counter, bytes);
    }
}
