// Convolution on tensor cores: TF32.
#include "conv_matrix.cuh"

CONV_MATRIX_TILES(conv_matrix_tf32, float)
