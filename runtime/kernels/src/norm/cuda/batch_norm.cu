// Batch normalisation's training pass: each channel by its own mean and variance, forward and backward. Two sweeps
// each: one for a channel's sums in parts, one that joins the parts and goes over the elements.
#include "batch_norm.cuh"

/// The moments of each part of each channel.
template <class T, int WIDTH>
__device__ __forceinline__ void moments(const T *x, Accumulator<T> *means, Accumulator<T> *squares, const Channels &c) {
    using A = Accumulator<T>;
    __shared__ Moments<A> shared[NORM_THREADS];
    const Worker<WIDTH> worker(c);
    Moments<A> found{0, 0, 0};
    worker.for_each(c, [&](size_t at) { found.add(load(x + at)); });
    found = join_workers<WIDTH>(shared, found);
    if (worker.number == 0 && worker.exists(c)) {
        const size_t place = (size_t)worker.channel * c.parts + worker.part;
        means[place] = found.mean;
        squares[place] = found.squares;
    }
}

/// The moments of a whole channel, from those of its parts.
template <int WIDTH, class A>
__device__ __forceinline__ Moments<A> whole(const A *means, const A *squares, const Channels &c,
                                            const Worker<WIDTH> &worker, Moments<A> *shared) {
    Moments<A> found{0, 0, 0};
    for (int part = worker.number; worker.exists(c) && part < c.parts; part += Worker<WIDTH>::WORKERS) {
        const size_t place = (size_t)worker.channel * c.parts + part;
        found = join(found, Moments<A>{A(c.count(part)), means[place], squares[place]});
    }
    return join_workers<WIDTH>(shared, found);
}

/// The running statistics, blended in place; null where there are none.
template <class A> struct Running {
    A *mean, *variance;
    double momentum;

    __device__ __forceinline__ void blend(int channel, const Moments<A> &batch) const {
        if (!mean || batch.count < A(2)) return;
        const A share = (A)momentum, keep = A(1) - share;
        mean[channel] = keep * mean[channel] + share * batch.mean;
        variance[channel] = keep * variance[channel] + share * (batch.squares / (batch.count - A(1)));
    }
};

/// Normalises, and writes the statistics: NaN for an empty batch, whose running statistics stay.
template <class T, int WIDTH>
__device__ __forceinline__ void normalise(const T *x, const Accumulator<T> *means, const Accumulator<T> *squares, T *y,
                                          Accumulator<T> *mean, Accumulator<T> *variance,
                                          const Affine<Accumulator<T>> &affine, const Running<Accumulator<T>> &running,
                                          double eps, const Channels &c) {
    using A = Accumulator<T>;
    __shared__ Moments<A> shared[NORM_THREADS];
    const Worker<WIDTH> worker(c);
    const Moments<A> batch = whole(means, squares, c, worker, shared);
    const A spread = batch.squares / batch.count;  // 0 / 0 for an empty batch
    if (worker.part == 0 && worker.number == 0 && worker.exists(c)) {
        mean[worker.channel] = batch.count == A(0) ? spread : batch.mean;
        variance[worker.channel] = spread;
        running.blend(worker.channel, batch);
    }
    const Normalise<A> to = affine.of(c, worker, batch.mean, A(1) / square_root(spread + (A)eps));
    worker.for_each(c, [&](size_t at) { store(y + at, to(load(x + at))); });
}

/// For each part of each channel, the sum of the gradient before the activation and that of its product with the
/// normalised input.
template <class T, int WIDTH>
__device__ __forceinline__ void gradient_sums(const T *x, const T *gradient, const Accumulator<T> *mean,
                                              const Accumulator<T> *variance, Accumulator<T> *sums,
                                              Accumulator<T> *products, const Affine<Accumulator<T>> &affine, double eps,
                                              const Channels &c) {
    using A = Accumulator<T>;
    __shared__ Sums<A> shared[NORM_THREADS];
    const Worker<WIDTH> worker(c);
    const bool exists = worker.exists(c);
    const A inv_std = exists ? A(1) / square_root(variance[worker.channel] + (A)eps) : A(0);
    const Normalise<A> by = affine.of(c, worker, exists ? mean[worker.channel] : A(0), inv_std);
    Sums<A> found{0, 0};
    worker.for_each(c, [&](size_t at) {
        const A value = load(x + at), slope = by.before_activation(value, load(gradient + at));
        found.gradient += slope;
        found.product += slope * by.hat(value);
    });
    found = join_workers<WIDTH>(shared, found);
    if (worker.number == 0 && exists) {
        const size_t place = (size_t)worker.channel * c.parts + worker.part;
        sums[place] = found.gradient;
        products[place] = found.product;
    }
}

/// The gradients of input, weight and bias (the latter two may be null). Without `of_batch`, the statistics are
/// constants.
template <class T, int WIDTH>
__device__ __forceinline__ void gradients(const T *x, const T *gradient, const Accumulator<T> *mean,
                                          const Accumulator<T> *variance, const Accumulator<T> *sums,
                                          const Accumulator<T> *products, T *dx, Accumulator<T> *dweight,
                                          Accumulator<T> *dbias, const Affine<Accumulator<T>> &affine, double eps,
                                          bool of_batch, const Channels &c) {
    using A = Accumulator<T>;
    __shared__ Sums<A> shared[NORM_THREADS];
    const Worker<WIDTH> worker(c);
    const bool exists = worker.exists(c);
    Sums<A> found{0, 0};
    for (int part = worker.number; exists && part < c.parts; part += Worker<WIDTH>::WORKERS) {
        const size_t place = (size_t)worker.channel * c.parts + part;
        found = join(found, Sums<A>{sums[place], products[place]});
    }
    found = join_workers<WIDTH>(shared, found);
    if (worker.part == 0 && worker.number == 0 && exists) {
        if (dweight) dweight[worker.channel] = found.product;
        if (dbias) dbias[worker.channel] = found.gradient;
    }
    const A inv_std = exists ? A(1) / square_root(variance[worker.channel] + (A)eps) : A(0);
    const Normalise<A> by = affine.of(c, worker, exists ? mean[worker.channel] : A(0), inv_std);
    const A count = A(c.count()), scale = by.weight * inv_std;
    const A shift = of_batch ? found.gradient / count : A(0), slope = of_batch ? found.product / count : A(0);
    worker.for_each(c, [&](size_t at) {
        const A value = load(x + at), before = by.before_activation(value, load(gradient + at));
        store(dx + at, (before - shift - by.hat(value) * slope) * scale);
    });
}

/// Normalises by given statistics.
template <class T, int WIDTH>
__device__ __forceinline__ void evaluate(const T *x, const Accumulator<T> *mean, const Accumulator<T> *variance, T *y,
                                         const Affine<Accumulator<T>> &affine, double eps, const Channels &c) {
    using A = Accumulator<T>;
    const Worker<WIDTH> worker(c);
    if (!worker.exists(c)) return;
    const A inv_std = A(1) / square_root(variance[worker.channel] + (A)eps);
    const Normalise<A> to = affine.of(c, worker, mean[worker.channel], inv_std);
    worker.for_each(c, [&](size_t at) { store(y + at, to(load(x + at))); });
}

// Each kernel for a dtype T, whose sums are of A, and a number of channels that a block takes.
#define KERNEL extern "C" __global__ void __launch_bounds__(NORM_THREADS)

#define BATCH_NORM(NAME, T, A, WIDTH)                                                                              \
    KERNEL batch_norm_moments_##NAME(const T *x, A *means, A *squares, Channels c) {                               \
        moments<T, WIDTH>(x, means, squares, c);                                                                   \
    }                                                                                                              \
    EXPORT_KERNEL(batch_norm_moments_##NAME)                                                                       \
    KERNEL batch_norm_train_##NAME(const T *x, const A *means, const A *squares, const A *weight, const A *bias,   \
                                   T *y, A *mean, A *variance, A *running_mean, A *running_variance,               \
                                   double momentum, double eps, int activation, double parameter, Channels c) {    \
        normalise<T, WIDTH>(x, means, squares, y, mean, variance, {weight, bias, activation, parameter, 0},        \
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
                                       int from_output, int of_batch, Channels c) {                                \
        gradients<T, WIDTH>(x, gradient, mean, variance, sums, products, dx, dweight, dbias,                       \
                            {weight, bias, activation, parameter, from_output}, eps, of_batch != 0, c);            \
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
