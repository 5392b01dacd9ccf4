// Barriers that lie in shared memory, copies that tell them, and barriers of some threads of a block.
#pragma once
#include "engine.h"
#include <functional>
#include <string>
#include <vector>

namespace cuda_cpu {
/// In the block's dynamic shared memory. What it counts is kept beside it, in barriers.cpp.
struct alignas(8) Barrier { uint64_t state; };

void barrier_init(Barrier *barrier, int arrivals);
void fence_barrier_init();
void barrier_arrive(Barrier *barrier);
void barrier_expect(Barrier *barrier, int bytes);
void barrier_wait(Barrier *barrier, int parity);
/// Destroys what was at `to` at once, and lands as late as it can.
void bulk_copy(void *to, const void *from, int bytes, Barrier *barrier);

/// Waits until so many threads have come to the meeting of that number; `last` is then called once, with all of them.
void meet(unsigned number, unsigned threads, const std::function<void(const std::vector<unsigned> &)> &last);
void sync_some(unsigned number, unsigned threads);
template <int NUMBER, int THREADS> inline void named_barrier_sync() {
    static_assert(NUMBER >= 1 && NUMBER <= 15 && THREADS % 32 == 0, "whole warps, and barriers 1 to 15");
    sync_some(NUMBER, THREADS);
}
/// The meeting of a warpgroup: behind those of `named_barrier_sync`.
constexpr unsigned WARPGROUPS = 16, MEETINGS = WARPGROUPS + 8;

// The scheduler's part.
void begin_barriers();
unsigned copies_under_way();
void land_copy(unsigned which);
/// What a sleeping thread waits for, if there is one.
std::string deadlock();
/// What is wrong when the block's threads have all returned, or nothing.
std::string left_barriers();
}  // namespace cuda_cpu
