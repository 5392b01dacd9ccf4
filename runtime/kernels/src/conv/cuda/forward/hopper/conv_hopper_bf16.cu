// Convolution by warpgroups: bf16.
#include "conv_hopper.cuh"

CONV_HOPPER(conv_hopper_bf16_128, __nv_bfloat16, 128)
CONV_HOPPER(conv_hopper_bf16_64, __nv_bfloat16, 64)
