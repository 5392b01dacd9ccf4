// What may be touched, and in which order: every load and store of a kernel is checked.
#pragma once
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

/// Under AddressSanitizer, makes an access to these bytes an error, or none again. Else nothing.
void forbid(const void *address, size_t bytes, bool forbidden);

// The scheduler's part: what orders accesses.
void begin_launch(const unsigned char *shared, size_t shared_bytes);
void begin_block();
void end_launch();
void begin_thread(unsigned thread, const char *stack, size_t bytes);
void passed_block_barrier();
void passed_warp_barrier(unsigned warp, unsigned mask);
}  // namespace cuda_cpu
