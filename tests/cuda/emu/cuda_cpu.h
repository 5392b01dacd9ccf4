// Runs CUDA C++ kernels on the CPU. Compiled with `-include cuda_cpu.h`, a `.cu` file is plain C++.
//
// Each CUDA thread is a fiber of one OS thread, and blocks run one after another (engine.h). Every load and store
// is checked for its bounds, its alignment, and races with other threads (memory.h). Kernels are found by name
// (registry.h).
#pragma once
#define CUDA_CPU_EMU 1

#include "types.h"
#include "half.h"
#include "engine.h"
#include "memory.h"
#include "registry.h"
#include "builtins.h"
#include "tensor_core.h"
#include "barriers.h"
#include "hopper.h"
#include "keywords.h"
