// What the running kernel asks of the scheduler: barriers, exchanges between lanes, asynchronous copies.
#pragma once
#include "types.h"

namespace cuda_cpu {
/// Where the running thread is: CUDA's variables of these names (keywords.h).
struct Coordinates {
    uint3 threadIdx, blockIdx;
    dim3 blockDim, gridDim;
};
/// One for each of the host's threads. (`__thread`, not `thread_local`: read without a call.)
extern __thread Coordinates here;

/// What one lane gives the others of its warp: at most the fragments of one `mma`.
struct alignas(8) Slot { unsigned char bytes[32]; };

/// The number of the running thread within its block.
unsigned thread();
inline unsigned lane() { return thread() & 31u; }

/// Waits for every thread of the block; the sum of what each brought.
int wait_block(int brought = 0);
/// Waits for the lanes of `mask`, and orders their memory accesses where `fence` says so.
void wait_warp(unsigned mask, bool fence);
/// Waits for the lanes of `mask`; what each lane of the warp brought, until this lane's next call. A lane
/// that is not in the mask, or has returned, shows the bytes 0xff.
const Slot *exchange(unsigned mask, const void *brought, size_t bytes);

/// Pauses the running thread until another one wakes it.
void sleep();
void wake(unsigned thread);

/// What tensor cores multiply.
enum class Factor { Tf32, F16, BF16 };
/// D += A·B over the whole warp (tensor_core.cpp).
void multiply(Factor factor, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
/// Loads `count` matrices of 8×8 16-bit elements from shared memory; lanes 8i to 8i + 7 give the addresses of the
/// i-th one's rows.
void load_matrices(uint32_t *registers, unsigned count, bool transposed, const void *row);

/// The block's dynamic shared memory.
void *dynamic_shared();
/// The distance of a place in it from its beginning; anything else is an error.
size_t shared_offset(const void *place);

/// An asynchronous copy to shared memory: it destroys what was there at once and lands at its wait.
void copy_async(void *shared, const void *global, unsigned bytes, bool valid);
void commit_copies();
/// Lands all groups but the newest `pending`.
void wait_copies(unsigned pending);

/// Ends the launch with this message.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
}  // namespace cuda_cpu
