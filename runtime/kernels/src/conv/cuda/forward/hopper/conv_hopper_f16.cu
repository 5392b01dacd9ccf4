// Convolution by warpgroups: f16.
#include "conv_hopper.cuh"

CONV_HOPPER(conv_hopper_f16_128, __half, 128)
CONV_HOPPER(conv_hopper_f16_64, __half, 64)
