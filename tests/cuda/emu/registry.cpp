#include "registry.h"
#include <vector>

namespace cuda_cpu {
namespace {
/// Filled before `main` by the kernels' files, and only read afterwards.
std::vector<Kernel> &kernels() {
    static std::vector<Kernel> all;
    return all;
}
}  // namespace

void add(const Kernel &kernel) {
    if (cuda_cpu_find(kernel.name)) {
        fprintf(stderr, "the CUDA kernel %s is registered twice\n", kernel.name);
        abort();
    }
    kernels().push_back(kernel);
}
}  // namespace cuda_cpu

const cuda_cpu::Kernel *cuda_cpu_find(const char *name) {
    for (const cuda_cpu::Kernel &kernel : cuda_cpu::kernels())
        if (!strcmp(kernel.name, name)) return &kernel;
    return nullptr;
}
