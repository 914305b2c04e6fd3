// ChaCha20 streams onto arrays: a block a thread, 2 KB a warp. Keys are arguments, so that no array holds one.
#include "../chacha20.h"
#include "gpu.h"

constexpr int BLOCK_BYTES = 64, QUARTER = 16;

enum Step { SET, PLUS, MINUS, EXCLUSIVE_OR };

// What one thread reads or writes at once.
template <class V> struct alignas(QUARTER) Quarter {
    static constexpr int COUNT = QUARTER / sizeof(V);
    V word[COUNT];
};

// Where byte `at` of a warp's 2 KB lies in shared memory. The quarters of each pair of blocks change places: eight
// threads who write the same quarter of eight blocks, and eight who read quarters in a row, each meet all banks.
DEVICE int swizzled(int at) { return at ^ ((at / (2 * BLOCK_BYTES) & 3) * QUARTER); }

template <Step STEP, class V> DEVICE V stepped(V out, V stream) {
    return STEP == SET ? stream : STEP == PLUS ? out + stream : STEP == MINUS ? out - stream : out ^ stream;
}

template <class V> DEVICE V word_of(const u32* s) { return sizeof(V) == 8 ? (V)(s[0] | (u64)s[1] << 32) : s[0]; }

// A thread's block of a stream into its warp's shared memory, or onto what it has put there before.
template <Step STEP, class V>
DEVICE void block_onto(u8* stream, const u64* key, const u64* nonce, u32 counter, int lane) {
    u32 k[8], start[16], s[16];
    const u32 n[3] = {(u32)nonce[0], (u32)(nonce[0] >> 32), (u32)nonce[1]};
    UNROLL(4)
    for (int i = 0; i < 4; ++i) k[2 * i] = (u32)key[i], k[2 * i + 1] = (u32)(key[i] >> 32);
    chacha20_start(start, k, n);
    start[12] = counter;
    UNROLL(16)
    for (int i = 0; i < 16; ++i) s[i] = start[i];
    chacha20_rounds(s);
    UNROLL(16)
    for (int i = 0; i < 16; ++i) s[i] += start[i];
    UNROLL(4)
    for (int q = 0; q < 4; ++q) {
        Quarter<V>& at = *reinterpret_cast<Quarter<V>*>(stream + swizzled(lane * BLOCK_BYTES + q * QUARTER));
        Quarter<V> now;
        if (STEP != SET) now = at;
        UNROLL(4)
        for (int j = 0; j < Quarter<V>::COUNT; ++j)
            now.word[j] = stepped<STEP>(STEP == SET ? V() : now.word[j], word_of<V>(s + 4 * q + j * sizeof(V) / 4));
        at = now;
    }
}

// A warp's 2 KB of stream onto `out`, in quarters: what the lanes touch at once lies in a row.
template <Step STEP, class V> DEVICE void quarters_onto(u8* out, const u8* stream, int lane) {
    typedef Quarter<V> Q;
    UNROLL(4)
    for (int i = 0; i < BLOCK_BYTES / QUARTER; ++i) {
        const int at = (i * WARP + lane) * QUARTER;
        Q now = *reinterpret_cast<const Q*>(stream + swizzled(at));
        if (STEP != SET) {
            const Q before = *reinterpret_cast<const Q*>(out + at);
            UNROLL(4)
            for (int j = 0; j < Q::COUNT; ++j) now.word[j] = stepped<STEP>(before.word[j], now.word[j]);
        }
        *reinterpret_cast<Q*>(out + at) = now;
    }
}

// Bytes `from` to end - 1 of it, word by word: of the array's end, or of a view that is not aligned to quarters.
template <Step STEP, class V> DEVICE void words_onto(u8* out, const u8* stream, int from, int end, int lane) {
    for (int at = from + lane * (int)sizeof(V); at < end; at += WARP * (int)sizeof(V)) {
        V& to = *reinterpret_cast<V*>(out + at);
        to = stepped<STEP>(STEP == SET ? V() : to, *reinterpret_cast<const V*>(stream + swizzled(at)));
    }
}

// TWO: A - B if the stream is added, A ^ B if it is XORed. V is the ring of the words that are added; T is what may
// stand alone at the array's end, or at an odd address.
template <Step STEP, bool TWO, class V, class T = V>
DEVICE void stream_onto(u8* out, i64 bytes, const u64* key_a, const u64* key_b, const u64* nonce) {
    constexpr int WORD = sizeof(V), OF_WARP = WARP * BLOCK_BYTES;
    const int lane = threadIdx.x % WARP, off = (int)((u64)out % QUARTER);
    u8* stream = shared_memory() + threadIdx.x / WARP * OF_WARP;
    const i64 tile = (i64)blockDim.x * BLOCK_BYTES;
    for (i64 first = blockIdx.x * tile; first < bytes; first += gridDim.x * tile) {
        const i64 mine = first + (threadIdx.x - lane) * BLOCK_BYTES, left = bytes - mine;   // of this warp
        const u32 counter = (u32)(mine / BLOCK_BYTES) + lane;
        block_onto<SET, V>(stream, key_a, nonce, counter, lane);
        if (TWO) block_onto<STEP == PLUS ? MINUS : EXCLUSIVE_OR, V>(stream, key_b, nonce, counter, lane);
        barrier();
        if (left >= OF_WARP && off == 0) quarters_onto<STEP, V>(out + mine, stream, lane);
        else if (left > 0) {
            const int end = left < OF_WARP ? (int)left : OF_WARP, done = off % WORD ? 0 : end / WORD * WORD;
            words_onto<STEP, V>(out + mine, stream, 0, done, lane);
            if (sizeof(T) < sizeof(V)) words_onto<STEP, T>(out + mine, stream, done, end, lane);
        }
        barrier();
    }
    // The stream does not stay behind for whoever has this shared memory next.
    volatile u32* left_behind = reinterpret_cast<volatile u32*>(stream + lane * BLOCK_BYTES);
    for (int i = 0; i < BLOCK_BYTES / 4; ++i) left_behind[i] = 0;
}

// Keys and nonce come as little-endian words; the nonce's second ends in four zero bytes.
KERNEL chacha20_fill(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1) {
    const u64 a[] = {a0, a1, a2, a3}, nonce[] = {n0, n1};
    stream_onto<SET, false, u32, u8>(out, bytes, a, a, nonce);
}
KERNEL chacha20_xor(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1) {
    const u64 a[] = {a0, a1, a2, a3}, nonce[] = {n0, n1};
    stream_onto<EXCLUSIVE_OR, false, u32, u8>(out, bytes, a, a, nonce);
}
KERNEL chacha20_add_u64(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1) {
    const u64 a[] = {a0, a1, a2, a3}, nonce[] = {n0, n1};
    stream_onto<PLUS, false, u64>(out, bytes, a, a, nonce);
}
KERNEL chacha20_add_u32(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1) {
    const u64 a[] = {a0, a1, a2, a3}, nonce[] = {n0, n1};
    stream_onto<PLUS, false, u32>(out, bytes, a, a, nonce);
}
KERNEL chacha20_subtract_u64(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1) {
    const u64 a[] = {a0, a1, a2, a3}, nonce[] = {n0, n1};
    stream_onto<MINUS, false, u64>(out, bytes, a, a, nonce);
}
KERNEL chacha20_subtract_u32(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1) {
    const u64 a[] = {a0, a1, a2, a3}, nonce[] = {n0, n1};
    stream_onto<MINUS, false, u32>(out, bytes, a, a, nonce);
}

KERNEL chacha20_add_difference_u64(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1, u64 b0, u64 b1,
                                   u64 b2, u64 b3) {
    const u64 a[] = {a0, a1, a2, a3}, b[] = {b0, b1, b2, b3}, nonce[] = {n0, n1};
    stream_onto<PLUS, true, u64>(out, bytes, a, b, nonce);
}
KERNEL chacha20_add_difference_u32(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1, u64 b0, u64 b1,
                                   u64 b2, u64 b3) {
    const u64 a[] = {a0, a1, a2, a3}, b[] = {b0, b1, b2, b3}, nonce[] = {n0, n1};
    stream_onto<PLUS, true, u32>(out, bytes, a, b, nonce);
}
KERNEL chacha20_xor_both(u8* out, i64 bytes, u64 a0, u64 a1, u64 a2, u64 a3, u64 n0, u64 n1, u64 b0, u64 b1, u64 b2,
                         u64 b3) {
    const u64 a[] = {a0, a1, a2, a3}, b[] = {b0, b1, b2, b3}, nonce[] = {n0, n1};
    stream_onto<EXCLUSIVE_OR, true, u32, u8>(out, bytes, a, b, nonce);
}
