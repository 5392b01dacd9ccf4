// The scheduler's functions for the running kernel: barriers, exchanges between lanes, asynchronous copies.
#pragma once
#include "types.h"

namespace cuda_cpu {
/// The position of the running thread. keywords.h maps CUDA's variables to the members of the same names.
struct Coordinates {
    uint3 threadIdx, blockIdx;
    dim3 blockDim, gridDim;
};
/// One instance per OS thread. (With `thread_local` instead of `__thread`, each read would need a function call.)
extern __thread Coordinates coordinates;

/// The value that a lane passes to an exchange within its warp. The largest values are the fragments of an `mma`.
struct alignas(8) Slot { unsigned char bytes[32]; };

/// Returns the index of the running thread in its block.
unsigned thread();
inline unsigned lane() { return thread() & 31u; }

/// Waits for every thread of the block. Returns the sum of all threads' `value`.
int wait_block(int value = 0);
/// Waits for the lanes of `mask`. If `fence`, also orders their memory accesses.
void wait_warp(unsigned mask, bool fence);
/// Waits for the lanes of `mask`. Returns a pointer to the values of all lanes of the warp, valid until this lane waits
/// again. The values of lanes that are not in the mask or have returned consist of bytes 0xff.
const Slot *exchange(unsigned mask, const void *value, size_t bytes);

/// Pauses the running thread until another thread wakes it.
void sleep();
void wake(unsigned thread);

/// The element types of tensor-core products.
enum class ElementType { Tf32, F16, BF16 };
/// Computes D += A·B with the whole warp (tensor_core.cpp).
void mma(ElementType type, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
/// Loads `count` matrices of 8×8 16-bit elements from shared memory. Lanes 8i to 8i + 7 pass the addresses of
/// the rows of matrix i.
void load_matrices(uint32_t *registers, unsigned count, bool transposed, const void *row);

/// Returns the start of the block's dynamic shared memory.
void *dynamic_shared();
/// Returns the offset of an address in the dynamic shared memory. Fails for other addresses.
size_t shared_offset(const void *address);

/// Starts an asynchronous copy to shared memory. Fills the destination with NaN. `wait_copies` writes the data, so that
/// a missing wait is noticed. If not `valid`, the data are zeros.
void copy_async(void *shared, const void *global, unsigned bytes, bool valid);
void commit_copies();
/// Finishes the committed groups of copies, except for the newest `pending` groups.
void wait_copies(unsigned pending);

/// Ends the launch with this error message.
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
}  // namespace cuda_cpu
