// CUDA's vector types.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };

#define CUDA_CPU_VECTORS(T, name, align2, align4)                                        \
    struct alignas(align2) name##2 { T x, y; };                                        \
    struct alignas(align4) name##4 { T x, y, z, w; };                                  \
    static inline name##2 make_##name##2(T x, T y) { return {x, y}; }                    \
    static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

CUDA_CPU_VECTORS(float, float, 8, 16)
CUDA_CPU_VECTORS(int, int, 8, 16)
CUDA_CPU_VECTORS(unsigned, uint, 8, 16)
CUDA_CPU_VECTORS(unsigned short, ushort, 4, 8)
CUDA_CPU_VECTORS(unsigned char, uchar, 2, 4)
#undef CUDA_CPU_VECTORS

struct alignas(16) double2 { double x, y; };
static inline double2 make_double2(double x, double y) { return {x, y}; }
