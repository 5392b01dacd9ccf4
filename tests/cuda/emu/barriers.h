// Barriers in shared memory, bulk copies that arrive at these barriers, and named barriers for some of the
// threads of a block.
#pragma once
#include "engine.h"
#include <functional>
#include <string>
#include <vector>

namespace cuda_cpu {
/// A barrier in the block's dynamic shared memory. Its counters are kept in barriers.cpp.
struct alignas(8) Barrier { uint64_t state; };

void barrier_init(Barrier *barrier, int arrivals);
void fence_barrier_init();
void barrier_arrive(Barrier *barrier);
void barrier_expect(Barrier *barrier, int bytes);
void barrier_wait(Barrier *barrier, int parity);
/// Starts a bulk copy. Fills the destination with NaN. The emulator writes the data as late as possible, so that a
/// missing wait is noticed.
void bulk_copy(void *to, const void *from, int bytes, Barrier *barrier);

/// Waits until `threads` threads have arrived at the rendezvous `number`. The last thread to arrive calls `complete`
/// with the indices of all these threads.
void rendezvous(unsigned number, unsigned threads, const std::function<void(const std::vector<unsigned> &)> &complete);
void sync_named_barrier(unsigned number, unsigned threads);
template <int NUMBER, int THREADS> inline void named_barrier_sync() {
    static_assert(NUMBER >= 1 && NUMBER <= 15 && THREADS % 32 == 0,
                  "expected whole warps and a barrier number from 1 to 15");
    sync_named_barrier(NUMBER, THREADS);
}
/// A rendezvous with a smaller number is a named barrier. At the rendezvous `FIRST_PRODUCT_WAIT` + i, warpgroup i waits
/// for its matrix products.
constexpr unsigned FIRST_PRODUCT_WAIT = 16;
/// The number of rendezvous. A block has up to eight warpgroups.
constexpr unsigned RENDEZVOUS_COUNT = FIRST_PRODUCT_WAIT + 8;

// Functions that the scheduler calls.
void begin_barriers();
/// Returns the number of bulk copies that are not finished.
unsigned pending_copies();
/// Finishes the bulk copy with this index.
void finish_copy(unsigned index);
/// Describes what a sleeping thread waits for. Returns an empty string if no thread sleeps.
std::string deadlock();
/// Describes an error in the state of the barriers at the end of a block. Returns an empty string if there is no error.
std::string unfinished_barriers();
}  // namespace cuda_cpu
