// Correct and faulty kernels for the tests of the emulator.
#include "element.cuh"
#include "mma.cuh"

/// Sums each row of `x` with shuffles and shared memory.
extern "C" __global__ void check_row_sums(const float *__restrict__ x, float *__restrict__ y, int columns) {
    DYN_SHARED(float, part);
    float sum = 0.f;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += x[(size_t)blockIdx.x * columns + i];
    for (int d = 16; d > 0; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    if (lane == 0) part[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < warps; i++) sum += part[i];
        y[blockIdx.x] = sum;
    }
}
EXPORT_KERNEL(check_row_sums)

/// Reverses the 64 numbers of each block and rotates them by one. `fault` selects an error; 0 is the correct kernel.
extern "C" __global__ void check_faults(const float *__restrict__ x, float *__restrict__ y, int fault) {
    DYN_SHARED(float, held);
    __shared__ float fixed[64];
    const int i = threadIdx.x, n = blockDim.x;
    held[i] = x[blockIdx.x * n + i];
    if (fault == 1) held[n] = 1.f;                    // past the end of the shared memory
    if (fault == 2) held[i] = x[(int)gridDim.x * n + i]; // a read past the end of the operand
    if (fault == 3) y[-1] = 0.f;                      // a write before the output
    if (fault != 4) __syncthreads();                  // 4: no barrier
    fixed[i] = held[n - 1 - i];
    if (fault != 5) __syncthreads();                  // 5: no barrier for the static array
    const float value = fixed[(i + 1) % n];
    if (fault == 6 && i < 7) __syncthreads();         // not all threads of the block
    if (fault == 7) y[0] = value;                       // all blocks write the same element
    if (fault == 8) held[i] = load_vector<2>(held + 1).at[0];  // a misaligned load
    if (fault == 9 && i == 3) return;                 // before a barrier of the whole block
    if (fault == 10 && i == 3) __shfl_sync(0xffffffffu, value, 0);  // not all lanes of the warp
    if (fault == 11) cp_async4(held + i, x, true);    // no thread waits for the copy
    if (fault == 12) atomicExch(y, value);              // the result depends on the order of the blocks
    if (fault == 9 || fault == 10) __syncthreads();
    if (fault != 7 && fault != 12) y[blockIdx.x * n + i] = fault == 11 ? held[i] : value;
}
EXPORT_KERNEL(check_faults)

/// Reads the fragments of one warp's product element by element, in the documented layouts. The row-major factors
/// `x` and `w` are 16×K and K×8.
template <class T, int K>
static __device__ void fragments(uint32_t (&a)[4], uint32_t (&b)[2], const T *x, const T *w);
template <>
__device__ void fragments<float, 8>(uint32_t (&a)[4], uint32_t (&b)[2], const float *x, const float *w) {
    const int group = threadIdx.x / 4, member = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) a[i] = to_tf32(x[(group + i % 2 * 8) * 8 + member + i / 2 * 4]);
    for (int i = 0; i < 2; i++) b[i] = to_tf32(w[(member + i * 4) * 8 + group]);
}

static __device__ void store_tile(float *y, const float (&d)[4]) {
    const int group = threadIdx.x / 4, member = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) y[(group + i / 2 * 8) * 8 + member * 2 + i % 2] = d[i];
}

extern "C" __global__ void check_mma_tf32(const float *x, const float *w, float *y) {
    uint32_t a[4], b[2];
    float d[4] = {0.f, 0.f, 0.f, 0.f};
    fragments<float, 8>(a, b, x, w);
    mma_tf32(d, a, b);
    store_tile(y, d);
}
EXPORT_KERNEL(check_mma_tf32)

/// Loads the factors through shared memory, with cp.async and ldmatrix. Both factors are row-major, so ldmatrix
/// transposes the second one.
template <class T> static __device__ void mma_half_tile(const T *x, const T *w, float *y) {
    DYN_SHARED(T, tiles);
    T *tile_a = tiles, *tile_b = tiles + 256;
    const int lane = threadIdx.x;
    cp_async16(tile_a + lane * 8, x + lane * 8, true);
    if (lane < 16) cp_async16(tile_b + lane * 8, w + lane * 8, true);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    uint32_t a[4], b[2];
    ldmatrix_x4(a, tile_a + lane % 16 * 16 + lane / 16 * 8);
    ldmatrix_x2_trans(b, tile_b + lane % 16 * 8);
    float d[4] = {0.f, 0.f, 0.f, 0.f};
    mma_half<T>(d, a, b);
    store_tile(y, d);
}
extern "C" __global__ void check_mma_f16(const __half *x, const __half *w, float *y) { mma_half_tile(x, w, y); }
EXPORT_KERNEL(check_mma_f16)
extern "C" __global__ void check_mma_bf16(const __nv_bfloat16 *x, const __nv_bfloat16 *w, float *y) {
    mma_half_tile(x, w, y);
}
EXPORT_KERNEL(check_mma_bf16)

/// Rounds to the 16-bit types and to TF32.
extern "C" __global__ void check_rounding(const float *x, __half *half, __nv_bfloat16 *bfloat, float *tf32, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    store(half + i, x[i]);
    store(bfloat + i, x[i]);
    tf32[i] = __uint_as_float(to_tf32(x[i]));
}
EXPORT_KERNEL(check_rounding)
