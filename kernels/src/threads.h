// Workers that every kernel shares, and memory that each thread keeps for itself.
#pragma once
#include <functional>

#include "portable.h"

namespace threads {

void set(int n);
int get();

// Run body(0) .. body(tasks - 1), on this thread and, where allowed, on workers. Several threads may call at once.
// An exception of one task is thrown again here, once every task has ended.
void each(i64 tasks, const std::function<void(i64)>& body);

// Cut 0 .. n - 1 into ranges of at least `least`, multiples of `step`, and run body(first, last) on each.
void ranges(i64 n, i64 least, i64 step, const std::function<void(i64, i64)>& body);

// Memory of this thread, 64-byte aligned, valid until the thread asks the same slot again.
enum Slot { PRODUCT, TILE, ROWS, SLOTS };
void* scratch(Slot slot, i64 bytes);

}  // namespace threads
