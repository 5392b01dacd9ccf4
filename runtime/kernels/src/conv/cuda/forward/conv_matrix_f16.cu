// Convolution on tensor cores: f16.
#include "conv_matrix.cuh"

CONV_MATRIX_TILES(conv_matrix_f16, __half)
