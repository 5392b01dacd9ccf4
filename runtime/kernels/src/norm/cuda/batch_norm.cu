// Batch normalization, forward and backward. The elements of a channel are split into parts. The forward pass in
// training runs two kernels, and so does every backward pass. The first kernel computes the sums of each part. The
// second combines the sums of each channel and computes the elements of the result. The forward pass in evaluation runs
// one kernel.
#include "batch_norm.cuh"

// Writes the moments of each part of each channel: the mean, and the sum of the squared deviations.
template <class T, int WIDTH>
__device__ __forceinline__ void moments(const T *x, Accumulator<T> *means, Accumulator<T> *squares, const Channels &c) {
    using A = Accumulator<T>;
    __shared__ Moments<A> shared[NORM_THREADS];
    const ChannelThread<WIDTH> thread(c);
    Moments<A> acc{0, 0, 0};
    thread.for_each(c, [&](size_t at) { acc.add(load(x + at)); });
    acc = reduce_channel<WIDTH>(shared, acc);
    if (thread.index == 0 && thread.exists(c)) {
        const size_t index = (size_t)thread.channel * c.parts + thread.part;
        means[index] = acc.mean;
        squares[index] = acc.squares;
    }
}

// Returns the moments of a whole channel, combined from the moments of its parts.
template <int WIDTH, class A>
__device__ __forceinline__ Moments<A> channel_moments(const A *means, const A *squares, const Channels &c,
                                                      const ChannelThread<WIDTH> &thread, Moments<A> *shared) {
    Moments<A> acc{0, 0, 0};
    constexpr int step = ChannelThread<WIDTH>::THREADS_PER_CHANNEL;
    for (int part = thread.index; thread.exists(c) && part < c.parts; part += step) {
        const size_t index = (size_t)thread.channel * c.parts + part;
        acc = combine(acc, Moments<A>{A(c.count(part)), means[index], squares[index]});
    }
    return reduce_channel<WIDTH>(shared, acc);
}

// The running statistics, which are updated in place. The pointers are null if there are no running statistics.
template <class A> struct Running {
    A *mean, *variance;
    double momentum;

    __device__ __forceinline__ void update(int channel, const Moments<A> &batch) const {
        if (!mean || batch.count < A(2)) return;
        const A share = (A)momentum, keep = A(1) - share;
        mean[channel] = keep * mean[channel] + share * batch.mean;
        variance[channel] = keep * variance[channel] + share * (batch.squares / (batch.count - A(1)));
    }
};

// Normalizes with the statistics of the batch and writes these statistics. For an empty batch the statistics are NaN,
// and the running statistics do not change.
template <class T, int WIDTH>
__device__ __forceinline__ void normalize(const T *x, const Accumulator<T> *means, const Accumulator<T> *squares, T *y,
                                          Accumulator<T> *mean, Accumulator<T> *variance,
                                          const Affine<Accumulator<T>> &affine, const Running<Accumulator<T>> &running,
                                          double eps, const Channels &c) {
    using A = Accumulator<T>;
    __shared__ Moments<A> shared[NORM_THREADS];
    const ChannelThread<WIDTH> thread(c);
    const Moments<A> batch = channel_moments(means, squares, c, thread, shared);
    const A biased_variance = batch.squares / batch.count;  // 0 / 0 for an empty batch
    if (thread.part == 0 && thread.index == 0 && thread.exists(c)) {
        mean[thread.channel] = batch.count == A(0) ? biased_variance : batch.mean;
        variance[thread.channel] = biased_variance;
        running.update(thread.channel, batch);
    }
    const A inv_std = A(1) / square_root(biased_variance + (A)eps);
    const Normalize<A> f = affine.for_channel(c, thread, batch.mean, inv_std);
    thread.for_each(c, [&](size_t at) { store(y + at, f(load(x + at))); });
}

// Writes two sums for each part of each channel: the sum of the masked gradients, and the sum of the products of
// the masked gradients and the normalized inputs.
template <class T, int WIDTH>
__device__ __forceinline__ void gradient_sums(const T *x, const T *gradient, const Accumulator<T> *mean,
                                              const Accumulator<T> *variance, Accumulator<T> *sums,
                                              Accumulator<T> *products, const Affine<Accumulator<T>> &affine,
                                              double eps, const Channels &c) {
    using A = Accumulator<T>;
    __shared__ Sums<A> shared[NORM_THREADS];
    const ChannelThread<WIDTH> thread(c);
    const bool exists = thread.exists(c);
    const A inv_std = exists ? A(1) / square_root(variance[thread.channel] + (A)eps) : A(0);
    const Normalize<A> f = affine.for_channel(c, thread, exists ? mean[thread.channel] : A(0), inv_std);
    Sums<A> acc{0, 0};
    thread.for_each(c, [&](size_t at) {
        const A value = load(x + at), masked = f.masked_gradient(value, load(gradient + at));
        acc.gradient += masked;
        acc.product += masked * f.normalized(value);
    });
    acc = reduce_channel<WIDTH>(shared, acc);
    if (thread.index == 0 && exists) {
        const size_t index = (size_t)thread.channel * c.parts + thread.part;
        sums[index] = acc.gradient;
        products[index] = acc.product;
    }
}

// Writes the gradients of the input, the weight and the bias. `dweight` and `dbias` may be null. The statistics are
// constants unless `training` is set.
template <class T, int WIDTH>
__device__ __forceinline__ void gradients(const T *x, const T *gradient, const Accumulator<T> *mean,
                                          const Accumulator<T> *variance, const Accumulator<T> *sums,
                                          const Accumulator<T> *products, T *dx, Accumulator<T> *dweight,
                                          Accumulator<T> *dbias, const Affine<Accumulator<T>> &affine, double eps,
                                          bool training, const Channels &c) {
    using A = Accumulator<T>;
    __shared__ Sums<A> shared[NORM_THREADS];
    const ChannelThread<WIDTH> thread(c);
    const bool exists = thread.exists(c);
    Sums<A> acc{0, 0};
    for (int part = thread.index; exists && part < c.parts; part += ChannelThread<WIDTH>::THREADS_PER_CHANNEL) {
        const size_t index = (size_t)thread.channel * c.parts + part;
        acc = combine(acc, Sums<A>{sums[index], products[index]});
    }
    acc = reduce_channel<WIDTH>(shared, acc);
    if (thread.part == 0 && thread.index == 0 && exists) {
        if (dweight) dweight[thread.channel] = acc.product;
        if (dbias) dbias[thread.channel] = acc.gradient;
    }
    const A inv_std = exists ? A(1) / square_root(variance[thread.channel] + (A)eps) : A(0);
    const Normalize<A> f = affine.for_channel(c, thread, exists ? mean[thread.channel] : A(0), inv_std);
    const A count = A(c.count()), scale = f.weight * inv_std;
    const A shift = training ? acc.gradient / count : A(0), slope = training ? acc.product / count : A(0);
    thread.for_each(c, [&](size_t at) {
        const A value = load(x + at), masked = f.masked_gradient(value, load(gradient + at));
        store(dx + at, (masked - shift - f.normalized(value) * slope) * scale);
    });
}

// Normalizes with given statistics.
template <class T, int WIDTH>
__device__ __forceinline__ void evaluate(const T *x, const Accumulator<T> *mean, const Accumulator<T> *variance, T *y,
                                         const Affine<Accumulator<T>> &affine, double eps, const Channels &c) {
    using A = Accumulator<T>;
    const ChannelThread<WIDTH> thread(c);
    if (!thread.exists(c)) return;
    const A inv_std = A(1) / square_root(variance[thread.channel] + (A)eps);
    const Normalize<A> f = affine.for_channel(c, thread, mean[thread.channel], inv_std);
    thread.for_each(c, [&](size_t at) { store(y + at, f(load(x + at))); });
}

#define KERNEL extern "C" __global__ void __launch_bounds__(NORM_THREADS)

// Defines the kernels for elements of type T, sums of type A, and WIDTH channels for each block.
#define BATCH_NORM(NAME, T, A, WIDTH)                                                                              \
    KERNEL batch_norm_moments_##NAME(const T *x, A *means, A *squares, Channels c) {                               \
        moments<T, WIDTH>(x, means, squares, c);                                                                   \
    }                                                                                                              \
    EXPORT_KERNEL(batch_norm_moments_##NAME)                                                                       \
    KERNEL batch_norm_train_##NAME(const T *x, const A *means, const A *squares, const A *weight, const A *bias,   \
                                   T *y, A *mean, A *variance, A *running_mean, A *running_variance,               \
                                   double momentum, double eps, int activation, double parameter, Channels c) {    \
        normalize<T, WIDTH>(x, means, squares, y, mean, variance, {weight, bias, activation, parameter, 0},        \
                            {running_mean, running_variance, momentum}, eps, c);                                   \
    }                                                                                                              \
    EXPORT_KERNEL(batch_norm_train_##NAME)                                                                         \
    KERNEL batch_norm_eval_##NAME(const T *x, const A *mean, const A *variance, const A *weight, const A *bias,    \
                                  T *y, double eps, int activation, double parameter, Channels c) {                \
        evaluate<T, WIDTH>(x, mean, variance, y, {weight, bias, activation, parameter, 0}, eps, c);                \
    }                                                                                                              \
    EXPORT_KERNEL(batch_norm_eval_##NAME)                                                                          \
    KERNEL batch_norm_sums_##NAME(const T *x, const T *gradient, const A *mean, const A *variance,                 \
                                  const A *weight, const A *bias, A *sums, A *products, double eps,                \
                                  int activation, double parameter, int from_output, Channels c) {                 \
        gradient_sums<T, WIDTH>(x, gradient, mean, variance, sums, products,                                       \
                                {weight, bias, activation, parameter, from_output}, eps, c);                       \
    }                                                                                                              \
    EXPORT_KERNEL(batch_norm_sums_##NAME)                                                                          \
    KERNEL batch_norm_gradients_##NAME(const T *x, const T *gradient, const A *mean, const A *variance,            \
                                       const A *weight, const A *bias, const A *sums, const A *products, T *dx,    \
                                       A *dweight, A *dbias, double eps, int activation, double parameter,         \
                                       int from_output, int training, Channels c) {                                \
        gradients<T, WIDTH>(x, gradient, mean, variance, sums, products, dx, dweight, dbias,                       \
                            {weight, bias, activation, parameter, from_output}, eps, training != 0, c);            \
    }                                                                                                              \
    EXPORT_KERNEL(batch_norm_gradients_##NAME)

BATCH_NORM(f32, float, float, 1)
BATCH_NORM(f64, double, double, 1)
BATCH_NORM(f16, __half, float, 1)
BATCH_NORM(bf16, __nv_bfloat16, float, 1)
BATCH_NORM(short_f32, float, float, 32)
BATCH_NORM(short_f64, double, double, 32)
BATCH_NORM(short_f16, __half, float, 32)
BATCH_NORM(short_bf16, __nv_bfloat16, float, 32)
