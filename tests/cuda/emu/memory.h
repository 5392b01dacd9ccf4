// What may be touched, and in which order: every load and store of a kernel is checked.
#pragma once
#include "order.h"
#include "types.h"

namespace cuda_cpu {
/// A buffer of the launch, as the host made it.
struct Region {
    const char *name;
    unsigned char *begin;
    size_t bytes;
};

/// Says which buffers there are, all within `[arena, arena + bytes)`. What lies between them is out of bounds.
void bind(unsigned char *arena, size_t bytes, const Region *regions, size_t count);

/// An access that no instrumented instruction makes. As for those, a wrong one ends the launch.
void touch(const void *address, size_t bytes, bool write);
/// The same by what the running thread's warp started at that tick (a copy, a product), which is not over.
void touch_started(const void *address, size_t bytes, bool write, uint32_t tick);

/// Under AddressSanitizer, makes an access to these bytes an error, or none again. Else nothing.
void forbid(const void *address, size_t bytes, bool forbidden);

// The scheduler's part: who runs, and what orders accesses.
void begin_launch(const unsigned char *shared, size_t shared_bytes, unsigned threads);
void begin_block();
void end_launch();
void begin_thread(unsigned thread, const char *stack, size_t bytes);
Order &order();
}  // namespace cuda_cpu
