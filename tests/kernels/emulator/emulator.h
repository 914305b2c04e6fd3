// A thread block of a GPU on one CPU thread: each of its threads is a fiber that runs until it waits for others.
//
// It has the words of kernels/src/cuda/gpu.h, and is stricter than a GPU: a warp's or a block's threads that do not
// all come to the same wait are an error, a copy that runs beside the work is made as late as it may be, and the order
// of the threads is drawn anew between two waits and some warps fall behind, so that what leans on an order comes out
// differently. Arrays lie between pages that may not be touched (guarded.py): who does, and who does what is undefined,
// such as a wide read at an odd address, ends the run with a word about it.
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <vector>

struct Dim { unsigned x = 1, y = 1, z = 1; };

namespace emulator {

struct Copy { void* to; const void* from; bool valid; };
struct Product { int* sum; const unsigned* a; std::uint64_t b; };
struct Sum { int value[32]; int under_way; };

enum State { READY, AT_WARP, AT_BLOCK, DONE };

struct Thread {
    ucontext_t context;                              // how it is entered
    jmp_buf here;                                    // where it waits
    bool entered;
    std::unique_ptr<char[]> stack;
    State state;
    Dim index;
    int turn;                                        // of the warp's slots
    std::vector<Copy> begun;                         // copies of the group that is open
    std::deque<std::vector<Copy>> groups;
    std::vector<Copy> landed;                        // not yet shown to the matrix units
    std::vector<Product> asked;                      // products of the group that is open
    std::deque<std::vector<Product>> products;
    std::map<int*, Sum> sums;                        // what products under way have of them
    bool fenced;
};

constexpr int LANES = 32;
constexpr size_t STACK = 1 << 17;
struct Slot { unsigned char bytes[64]; };

struct Block {
    std::vector<Thread> threads;
    std::vector<Slot> slots;                         // two a thread, by turns
    unsigned char* shared = nullptr;
    std::vector<unsigned char> seen;                 // shared memory as the matrix units' products see it
    ucontext_t scheduler;
    jmp_buf back;
    int now = 0;
    void (*body)() = nullptr;
};

inline Block block;
inline const char* failure = nullptr;
inline Dim block_index, block_size, grid_size;
inline Thread& self() { return block.threads[block.now]; }

inline void wait(State where) {
    self().state = where;
    if (!_setjmp(self().here)) _longjmp(block.back, 1);      // cheaper than swapcontext, which asks the system
}

// What every lane gives, once all have come.
template <class T> const T& given(const T& mine, T* all) {
    static_assert(sizeof(T) <= sizeof(Slot));
    const int me = block.now, first = me / LANES * LANES, turn = self().turn ^= 1;
    memcpy(&block.slots[2 * me + turn], &mine, sizeof(T));
    wait(AT_WARP);
    for (int lane = 0; lane < LANES; ++lane) memcpy(&all[lane], &block.slots[2 * (first + lane) + turn], sizeof(T));
    return all[me - first];
}

inline void entry() {
    block.body();
    if (!self().groups.empty() || !self().begun.empty()) failure = "a thread ended with copies under way";
    if (!self().products.empty() || !self().asked.empty()) failure = "a thread ended with products under way";
    self().state = DONE;
    _longjmp(block.back, 1);
}

inline bool all_at(size_t first, size_t last, State where) {
    for (size_t i = first; i < last; ++i) if (block.threads[i].state != where) return false;
    return true;
}

__attribute__((noinline)) inline void run_thread(Thread& t) {
    if (_setjmp(block.back)) return;
    if (t.entered) _longjmp(t.here, 1);
    t.entered = true;
    swapcontext(&block.scheduler, &t.context);
}

// Runs one block; false if its threads wait for each other in vain.
inline bool run_block(std::mt19937& draw) {
    const size_t n = block.threads.size();
    std::vector<int> order(n);
    std::vector<char> held((n + LANES - 1) / LANES);
    for (size_t i = 0; i < n; ++i) order[i] = (int)i;
    for (size_t i = 0; i < n; ++i) {
        Thread& t = block.threads[i];
        if (!t.stack) t.stack.reset(new char[STACK]);
        getcontext(&t.context);
        t.context.uc_stack.ss_sp = t.stack.get();
        t.context.uc_stack.ss_size = STACK;
        t.context.uc_link = &block.scheduler;
        makecontext(&t.context, entry, 0);
        t.state = READY, t.entered = false, t.turn = 0, t.begun.clear(), t.groups.clear();
        t.landed.clear(), t.asked.clear(), t.products.clear(), t.sums.clear(), t.fenced = false;
        const unsigned x = (unsigned)i;
        t.index = {x % block_size.x, x / block_size.x % block_size.y, x / block_size.x / block_size.y};
    }
    for (;;) {
        bool moved = false;
        for (size_t w = 0; w < held.size(); ++w) held[w] = draw() % 4 == 0;     // some warps fall behind
        for (size_t i = n; i > 1; --i) std::swap(order[i - 1], order[draw() % i]);
        for (int i : order) {
            if (block.threads[i].state != READY || held[i / LANES]) continue;
            moved = true;
            block.now = i;
            run_thread(block.threads[i]);
        }
        for (size_t w = 0; w < n; w += LANES) {
            const size_t end = w + LANES < n ? w + LANES : n;
            if (end - w == LANES && all_at(w, end, AT_WARP))
                for (size_t i = w; i < end; ++i) block.threads[i].state = READY;
        }
        if (all_at(0, n, AT_BLOCK)) for (Thread& t : block.threads) t.state = READY;
        if (all_at(0, n, DONE)) return true;
        bool ready = false;
        for (Thread& t : block.threads) ready |= t.state == READY;
        if (!moved && !ready) return false;
    }
}

inline sigjmp_buf caught;

inline void on_signal(int number) { siglongjmp(caught, number); }

// While it lives, a forbidden address and an undefined step come back to whoever has set `caught`.
struct Watch {
    char* const stack = new char[1 << 16];           // a fiber's own may be what is full
    stack_t before_stack;
    struct sigaction before[3];
    static constexpr int NUMBERS[3] = {SIGSEGV, SIGBUS, SIGILL};
    Watch() {
        stack_t own = {};
        own.ss_sp = stack, own.ss_size = 1 << 16;
        sigaltstack(&own, &before_stack);
        struct sigaction ours = {};
        ours.sa_handler = on_signal, ours.sa_flags = SA_ONSTACK;
        for (int i = 0; i < 3; ++i) sigaction(NUMBERS[i], &ours, &before[i]);
    }
    ~Watch() {
        for (int i = 0; i < 3; ++i) sigaction(NUMBERS[i], &before[i], nullptr);
        sigaltstack(&before_stack, nullptr);
        delete[] stack;
    }
};

// A block's shared memory, between pages that may not be touched.
struct Shared {
    static constexpr size_t PAGE = 4096;
    const size_t size, room;
    unsigned char* const pages;
    explicit Shared(size_t bytes)
        : size((bytes + 15) / 16 * 16), room((size + PAGE - 1) / PAGE * PAGE),
          pages((unsigned char*)mmap(nullptr, room + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        if (pages == MAP_FAILED || mprotect(pages + PAGE, room, PROT_READ | PROT_WRITE)) abort();
        block.shared = pages + PAGE + room - size;
    }
    ~Shared() { munmap(pages, room + 2 * PAGE); }
};

typedef std::uint64_t Word;
inline Word arguments[24];
inline void* kernel = nullptr;

inline void call() {
    typedef void (*Any)(Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word,
                        Word, Word, Word, Word, Word, Word, Word, Word);
    const Word* a = arguments;                       // what a kernel does not take is not looked at
    reinterpret_cast<Any>(kernel)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13],
                                  a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23]);
}

}  // namespace emulator

#define threadIdx (emulator::self().index)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)

// Arguments are pointers and integers, 8 bytes each. Returns what went wrong, or null.
extern "C" inline __attribute__((used, visibility("default"))) const char* emulate(
    void* kernel, const std::uint64_t* arguments, int count, const unsigned* grid, const unsigned* size, long shared,
    unsigned seed) {
    using namespace emulator;
    std::mt19937 draw(seed);
    memset(emulator::arguments, 0, sizeof emulator::arguments);
    memcpy(emulator::arguments, arguments, count * sizeof(Word));
    emulator::kernel = kernel, block.body = call, failure = nullptr;
    grid_size = {grid[0], grid[1], grid[2]}, block_size = {size[0], size[1], size[2]};
    const size_t n = (size_t)size[0] * size[1] * size[2];
    block.threads = std::vector<Thread>(n);
    block.slots.resize(2 * n);
    Shared memory(shared);
    Watch watch;
    if (const int number = sigsetjmp(caught, 1))
        return number == SIGILL ? "an undefined step: an odd address, a shift or a sum too large, an index out of bounds"
                                : "an address outside the arrays and the shared memory";
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                block_index = {x, y, z};
                memset(block.shared, 0xa5, memory.size);    // not zeros: nothing may lean on them
                block.seen.assign(memory.size, 0xa5);
                if (!run_block(draw)) return "threads wait for others that never come";
                if (failure) return failure;
            }
    return nullptr;
}

// ---- the words of gpu.h -------------------------------------------------------------------------------------------

static inline unsigned char* shared_memory() { return emulator::block.shared; }

static inline void barrier() { emulator::wait(emulator::AT_BLOCK); }

static inline unsigned shuffle_xor(unsigned x, int mask) {
    unsigned all[32];
    emulator::given(x, all);
    return all[(emulator::block.now % 32) ^ mask];
}

static inline int uniform(int x) {
    int all[32];
    emulator::given(x, all);
    for (int other : all)
        if (other != x) emulator::failure = "what is said to be the same in all lanes is not";
    return x;
}

template <class T> static inline void add_atomically(T* at, T x) { *at += x; }

static inline void load_matrices4(unsigned* r, const unsigned char* row) {
    const unsigned char* all[32];
    emulator::given(row, all);
    const int lane = emulator::block.now % 32;
    emulator::self().fenced = false;                 // for products that run beside: registers were written
    for (int i = 0; i < 32; ++i)                     // eight rows are read at once, each from four of the 32 banks
        for (int j = i / 8 * 8; j < i; ++j)
            if (all[i] != all[j] && ((std::uintptr_t)all[i] / 16 - (std::uintptr_t)all[j] / 16) % 8 == 0)
                emulator::failure = "two rows of a matrix lie in the same banks";
    for (int m = 0; m < 4; ++m) {
        const unsigned char* at = all[8 * m + lane / 4];
        if ((std::uintptr_t)at % 16) emulator::failure = "a matrix row is not aligned to 16 bytes";
        memcpy(&r[m], at + 4 * (lane % 4), 4);
    }
}

#ifdef TURING                                        // the older form, of which gpu.h makes the newer one
static inline void multiply_8_8_16(int* d, unsigned a, unsigned b) {
    struct Both { unsigned a, b; } mine = {a, b}, all[32];
    emulator::given(mine, all);
    const int lane = emulator::block.now % 32, row = lane / 4;
    for (int i = 0; i < 2; ++i) {
        const int column = 2 * (lane % 4) + i;
        unsigned sum = (unsigned)d[i];
        for (int k = 0; k < 16; ++k) {
            const unsigned from_a = all[4 * row + k / 4].a, from_b = all[4 * column + k / 4].b;
            const int shift = 8 * (k % 4);
            sum += (unsigned)((int)(signed char)(from_a >> shift) * (int)(signed char)(from_b >> shift));
        }
        d[i] = (int)sum;
    }
}
#else
static inline void multiply_accumulate(int* d, const unsigned* a, const unsigned* b) {
    struct Both { unsigned a[4], b[2]; } mine, all[32];
    memcpy(mine.a, a, sizeof mine.a), memcpy(mine.b, b, sizeof mine.b);
    emulator::given(mine, all);
    const int lane = emulator::block.now % 32, g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
        const int row = g + 8 * (i / 2), column = 2 * t + i % 2;
        unsigned sum = (unsigned)d[i];
        for (int k = 0; k < 32; ++k) {
            const unsigned from_a = all[4 * (row % 8) + k % 16 / 4].a[row / 8 + 2 * (k / 16)];
            const unsigned from_b = all[4 * column + k % 16 / 4].b[k / 16];
            const int shift = 8 * (k % 4);
            sum += (unsigned)((int)(signed char)(from_a >> shift) * (int)(signed char)(from_b >> shift));
        }
        d[i] = (int)sum;
    }
}
#endif

static inline void copy_beside(unsigned char* to, const unsigned char* from, bool valid) {
    if ((std::uintptr_t)to % 16 || (valid && (std::uintptr_t)from % 16))
        emulator::failure = "a copy beside the work is not aligned to 16 bytes";
    memset(to, 0x5a, 16);                            // until it is waited for, it is not there
    memset(&emulator::block.seen[to - emulator::block.shared], 0x5a, 16);
    emulator::self().begun.push_back({to, from, valid});
}

static inline void end_group() {
    emulator::Thread& me = emulator::self();
    me.groups.push_back(std::move(me.begun));
    me.begun.clear();
}

template <int N> static inline void wait_for_groups() {
    auto& groups = emulator::self().groups;
    for (; groups.size() > N; groups.pop_front())
        for (const emulator::Copy& c : groups.front()) {
            if (c.valid) memcpy(c.to, c.from, 16);
            else memset(c.to, 0, 16);
            emulator::self().landed.push_back(c);
        }
}

// ---- products of a warpgroup: made as late as they may be, from shared memory as it then is ------------------------

static inline unsigned shared_address(const void* at) { return (unsigned)((unsigned char*)at - emulator::block.shared); }

static inline std::uint64_t describe(const unsigned char* at) {
    if (shared_address(at) % 256) emulator::failure = "what is described does not begin at a multiple of 256";
    return (shared_address(at) & 0x3ffff) >> 4 | 1ull << 16 | 256ull >> 4 << 32 | 3ull << 62;
}

static inline void show_copies() {
    for (const emulator::Copy& c : emulator::self().landed)
        memcpy(&emulator::block.seen[(unsigned char*)c.to - emulator::block.shared], c.to, 16);
    emulator::self().landed.clear();
}

static inline void begin_group_products() { emulator::self().fenced = true; }

static inline void multiply_group(int (&d)[32], const unsigned (&a)[4], std::uint64_t b) {
    emulator::Thread& me = emulator::self();
    if (!me.fenced) emulator::failure = "a product whose registers were written without a fence";
    emulator::Sum& sum = me.sums[d];
    if (!sum.under_way++) {
        memcpy(sum.value, d, sizeof sum.value);
        memset(d, 0x5a, sizeof sum.value);           // until they are waited for, sums are not there
    }
    me.asked.push_back({d, a, b});
}

static inline void end_group_products() {
    emulator::Thread& me = emulator::self();
    me.products.push_back(std::move(me.asked));
    me.asked.clear();
}

namespace emulator {

// Row `row` of what a description gives, where PTX's 32-byte swizzle has its pieces: bit 7 of an address over bit 4.
inline void described(signed char* to, std::uint64_t b, int row) {
    const unsigned start = (b & 0x3fff) << 4, group = (b >> 32 & 0x3fff) << 4;
    if (start % 256) failure = "what is described does not begin at a multiple of 256";
    if (b >> 62 != 3) failure = "a description without the 32-byte swizzle";
    for (int piece = 0; piece < 2; ++piece) {
        unsigned at = start + row / 8 * group + row % 8 * 32 + 16 * piece;
        at ^= at >> 3 & 16;
        if (at + 16 > block.seen.size()) failure = "a description beyond the shared memory";
        else memcpy(to + 16 * piece, &block.seen[at], 16);
    }
}

// 32 products of bytes, whose sum does not wrap; most of the emulator's time is here.
__attribute__((optimize("O3"), no_sanitize("undefined"))) inline int dot(const signed char* x, const signed char* y) {
    int total = 0;
    for (int k = 0; k < 32; ++k) total += x[k] * y[k];
    return total;
}

inline void make(const Product& p) {
    struct Four { unsigned a[4]; } mine, all[32];
    struct Two { signed char rows[2][32]; } columns, of_all[32];   // each lane reads two of b
    const int lane = block.now % 32, g = lane / 4, t = lane % 4;
    memcpy(mine.a, p.a, sizeof mine.a);
    for (int i = 0; i < 2; ++i) described(columns.rows[i], p.b, 2 * lane + i);
    given(mine, all), given(columns, of_all);
    signed char rows[2][32];
    for (int i = 0; i < 16; ++i) memcpy(&rows[i / 8][4 * (i % 8)], &all[4 * g + i % 4].a[i / 8 + 2 * (i % 8 / 4)], 4);
    Sum& sum = self().sums[p.sum];
    for (int i = 0; i < 32; ++i) {
        const signed char *x = rows[i / 2 % 2], *y = of_all[4 * (i / 4) + t].rows[i % 2];
        sum.value[i] = (int)((unsigned)sum.value[i] + (unsigned)dot(x, y));
    }
    if (!--sum.under_way) {
        memcpy(p.sum, sum.value, sizeof sum.value);
        self().sums.erase(p.sum);
    }
}

}  // namespace emulator

template <int N> static inline void wait_for_products() {
    auto& products = emulator::self().products;
    for (; products.size() > N; products.pop_front())
        for (const emulator::Product& p : products.front()) emulator::make(p);
}

static inline void there(int (&)[32]) {}
