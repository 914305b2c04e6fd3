// The ChaCha20 block function (RFC 8439, section 2.3). Shared by CPU and GPU: see portable.h.
//
// W is a lane: u32 for one block in a GPU thread, a vector of u32 for many blocks side by side on a CPU.
#pragma once
#include "portable.h"

template <class W> DEVICE W rotate_left(W x, int n) { return (x << n) | (x >> (32 - n)); }

template <class W> DEVICE void quarter_round(W& a, W& b, W& c, W& d) {
    a += b; d = rotate_left(d ^ a, 16);
    c += d; b = rotate_left(b ^ c, 12);
    a += b; d = rotate_left(d ^ a, 8);
    c += d; b = rotate_left(b ^ c, 7);
}

template <class W> DEVICE void chacha20_rounds(W* s) {
    for (int i = 0; i < 10; ++i) {
        quarter_round(s[0], s[4], s[8], s[12]);
        quarter_round(s[1], s[5], s[9], s[13]);
        quarter_round(s[2], s[6], s[10], s[14]);
        quarter_round(s[3], s[7], s[11], s[15]);
        quarter_round(s[0], s[5], s[10], s[15]);
        quarter_round(s[1], s[6], s[11], s[12]);
        quarter_round(s[2], s[7], s[8], s[13]);
        quarter_round(s[3], s[4], s[9], s[14]);
    }
}

// Words 0-3 "expand 32-byte k", 4-11 key, 12 counter, 13-15 nonce.
DEVICE void chacha20_start(u32* s, const u32* key, const u32* nonce) {
    s[0] = 0x61707865; s[1] = 0x3320646e; s[2] = 0x79622d32; s[3] = 0x6b206574;
    for (int i = 0; i < 8; ++i) s[4 + i] = key[i];
    s[12] = 0;
    for (int i = 0; i < 3; ++i) s[13 + i] = nonce[i];
}
