// Convolution by warpgroups: TF32.
#include "conv_hopper.cuh"

CONV_HOPPER(conv_hopper_tf32_128, float, 128)
CONV_HOPPER(conv_hopper_tf32_64, float, 64)
