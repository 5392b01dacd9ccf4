// Convolution on tensor cores: bf16.
#include "conv_matrix.cuh"

CONV_MATRIX_TILES(conv_matrix_bf16, __nv_bfloat16)
