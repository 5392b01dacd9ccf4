// Checks every load and store of a kernel: its bounds, and its order relative to other threads' accesses.
#pragma once
#include "order.h"
#include "types.h"

namespace cuda_cpu {
/// A buffer of the launch, allocated by the host.
struct Region {
    const char *name;
    unsigned char *begin;
    size_t bytes;
};

/// Sets the buffers, which lie within `[arena, arena + bytes)`. The space between them is out of bounds.
void bind(unsigned char *arena, size_t bytes, const Region *regions, size_t count);

/// Checks an access that the compiler has not instrumented. An invalid access ends the launch.
void touch(const void *address, size_t bytes, bool write);
/// Like `touch`, but checks an access by a copy or product that the running thread's warp started at `tick`.
void touch_started(const void *address, size_t bytes, bool write, uint32_t tick);

/// Makes AddressSanitizer forbid or allow accesses to these bytes. Does nothing without AddressSanitizer.
void forbid(const void *address, size_t bytes, bool forbidden);

// Functions that the scheduler calls to report which block and thread run, and which barriers order accesses.
void begin_launch(const unsigned char *shared, size_t shared_bytes, unsigned threads);
void begin_block();
void end_launch();
void begin_thread(unsigned thread, const char *stack, size_t bytes);
Order &order();
}  // namespace cuda_cpu
