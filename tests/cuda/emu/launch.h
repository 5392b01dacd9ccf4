// The host's interface: finding and running kernels.
#pragma once
#include "types.h"

namespace cuda_cpu {
/// The type of a kernel's parameter. `src/kernel.rs` uses the same numbers.
enum class Kind : uint8_t { Pointer, Int, Float, Double, Struct, Other };
enum class Pointee : uint8_t { None, F32, F64, F16, BF16, U8, U32, I32, I64, Other };

struct Parameter {
    Kind kind;
    Pointee pointee;
    bool constant;
    uint32_t bytes;
};

struct Kernel {
    const char *name;
    const char *file;
    const Parameter *parameters;
    size_t parameter_count;
    const void *function;
    void (*call)(const void *function, void **args);
};

/// The number of the reversed order of warps, lanes and blocks. 0 is the forward order, and any other number is the
/// seed of a shuffle.
constexpr unsigned REVERSED = 1;
}  // namespace cuda_cpu

extern "C" {
/// Returns the kernel of this name, or null.
const cuda_cpu::Kernel *cuda_cpu_find(const char *name);
/// Runs a kernel. Returns null, or an error message that lives until this thread's next launch.
const char *cuda_cpu_launch(const cuda_cpu::Kernel *kernel, const unsigned *grid, const unsigned *block, size_t shared,
                            void **args, unsigned order);
}
