// Products are made when they are waited for, by the last of the warpgroup's threads to come, for all of them. The
// layouts are those of the PTX ISA ("Asynchronous Warpgroup Level Matrix Instructions").
#include "hopper.h"
#include "memory.h"

namespace cuda_cpu {
namespace {
constexpr unsigned THREADS = 128, ROWS = 64, DEPTH_BYTES = 32, BRICK = 128, MOST_COLUMNS = 256;

/// A factor, as its descriptor says.
struct Matrix {
    size_t start, deeper, further;
    explicit Matrix(uint64_t d)
        : start((d & 0x3fff) << 4), deeper((d >> 16 & 0x3fff) << 4), further((d >> 32 & 0x3fff) << 4) {}
    const unsigned char *brick(unsigned down, unsigned along) const {
        return static_cast<const unsigned char *>(dynamic_shared()) + start + down * further + along * deeper;
    }
};

struct Product {
    Factor factor;
    unsigned columns;
    uint64_t a, b;
    float *sums;
    unsigned group;
    /// When the thread's warp began to read the factors.
    uint32_t tick;

    bool same(const Product &other) const {
        return factor == other.factor && columns == other.columns && a == other.a && b == other.b && group == other.group;
    }
};

/// A thread's sums while products are added to them.
struct Sums {
    float *place;
    std::vector<float> values;
    unsigned products;
};

struct Worker {
    std::vector<Product> products;
    std::vector<Sums> sums;
    unsigned group, pending;
    bool fenced;

    Sums &of(float *place) {
        for (Sums &sums : this->sums)
            if (sums.place == place) return sums;
        return sums.emplace_back(Sums{place, {}, 0});
    }
};

/// One for each of the host's threads.
thread_local std::vector<Worker> workers;

/// The rows of a factor as numbers, `[depth, rows]`.
template <class T> unsigned spread(float (*into)[MOST_COLUMNS], const Matrix &matrix, unsigned rows) {
    constexpr unsigned IN_BRICK = 16 / sizeof(T);
    for (unsigned row = 0; row < rows; row++) {
        for (unsigned along = 0; along < DEPTH_BYTES / 16; along++) {
            T values[IN_BRICK];
            memcpy(static_cast<void *>(values), matrix.brick(row / 8, along) + row % 8 * 16, 16);
            for (unsigned i = 0; i < IN_BRICK; i++) into[along * IN_BRICK + i][row] = float(values[i]);
        }
    }
    return DEPTH_BYTES / sizeof(T);
}

/// What of a float a tensor core sees: the upper 10 bits of the mantissa.
struct Tf32 {
    uint32_t bits;
    explicit operator float() const { return bit_cast<float>(bits & 0xffffe000u); }
};

unsigned spread(float (*into)[MOST_COLUMNS], Factor factor, const Matrix &matrix, unsigned rows) {
    switch (factor) {
        case Factor::F16: return spread<__half>(into, matrix, rows);
        case Factor::BF16: return spread<__nv_bfloat16>(into, matrix, rows);
        default: return spread<Tf32>(into, matrix, rows);
    }
}

/// Adds one product to the sums of all threads from `first` on; `at` is its number in each one's list.
void multiply(unsigned first, unsigned at) {
    static thread_local float a[16][MOST_COLUMNS], b[16][MOST_COLUMNS], d[ROWS][MOST_COLUMNS];
    const Product &product = workers[first].products[at];
    const unsigned depth = spread(a, product.factor, Matrix(product.a), ROWS);
    spread(b, product.factor, Matrix(product.b), product.columns);
    for (unsigned row = 0; row < ROWS; row++) {
        std::fill_n(d[row], product.columns, 0.f);
        for (unsigned k = 0; k < depth; k++) {
            const float factor = a[k][row], *other = b[k];
            float *sums = d[row];
            for (unsigned column = 0; column < product.columns; column++) sums[column] += factor * other[column];
        }
    }
    for (unsigned t = 0; t < THREADS; t++) {
        Worker &worker = workers[first + t];
        Sums &sums = worker.of(worker.products[at].sums);
        const unsigned row = t / 32 * 16 + t % 32 / 4, column = t % 4 * 2;
        for (unsigned i = 0; i < product.columns / 2; i++)
            sums.values[i] += d[row + i / 2 % 2 * 8][i / 4 * 8 + column + i % 2];
        sums.products--;
    }
}

/// Checks that the threads of a warpgroup have the same in hand. The number of the products that are to be over.
unsigned agree(unsigned first) {
    const Worker &leader = workers[first];
    unsigned over = 0;
    while (over < leader.products.size() && leader.products[over].group + leader.pending < leader.group) over++;
    for (unsigned t = 1; t < THREADS; t++) {
        const Worker &worker = workers[first + t];
        bool same = worker.pending == leader.pending && worker.group == leader.group && worker.products.size() == leader.products.size();
        for (unsigned i = 0; same && i < over; i++) same = worker.products[i].same(leader.products[i]);
        if (!same) fail("the threads of a warpgroup disagree on its products: thread %u with thread %u", first + t, first);
    }
    return over;
}

void finish(unsigned first) {
    const unsigned over = agree(first);
    for (unsigned i = 0; i < over; i++) multiply(first, i);
    for (unsigned t = 0; t < THREADS; t++) {
        for (unsigned lane = 0; over && lane < THREADS; lane += 32)
            order().learn(first + t, (first + lane) / 32, workers[first + lane].products[over - 1].tick);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        Worker &worker = workers[first + t];
        worker.products.erase(worker.products.begin(), worker.products.begin() + over);
        for (size_t i = worker.sums.size(); i-- > 0;) {
            const Sums &sums = worker.sums[i];
            if (sums.products) continue;
            memcpy(sums.place, sums.values.data(), sums.values.size() * sizeof(float));
            worker.sums.erase(worker.sums.begin() + i);
        }
    }
}

/// Checks what this warp reads: its own 16 rows of A, and B.
void touch_factors(const Product &product) {
    const unsigned warp = thread() / 32;
    for (unsigned along = 0; along < DEPTH_BYTES / 16; along++) {
        for (unsigned i = 0; i < 2; i++)
            touch_started(Matrix(product.a).brick(warp % 4 * 2 + i, along), BRICK, false, product.tick);
        for (unsigned i = 0; i < product.columns / 8; i++)
            touch_started(Matrix(product.b).brick(i, along), BRICK, false, product.tick);
    }
}
}  // namespace

void fence_async_proxy() {
    order().know();
    order().fence(thread());
}

uint64_t matrix_descriptor(const void *start, int deeper, int further) {
    const size_t place = shared_offset(start);
    if (place % 16 || deeper % 16 || further % 16) fail("a matrix whose bricks do not lie at multiples of 16 bytes");
    if (deeper < 0 || further < 0 || deeper >= 1 << 18 || further >= 1 << 18) fail("a matrix whose bricks lie too far apart");
    return uint64_t(place >> 4) | uint64_t(deeper >> 4) << 16 | uint64_t(further >> 4) << 32;
}

void start_product(Factor factor, unsigned columns, float *sums, uint64_t a, uint64_t b) {
    order().know();
    Worker &me = workers[thread()];
    if (!me.fenced) fail("wgmma without a wgmma_fence() since the last wait for all products");
    me.products.push_back({factor, columns, a, b, sums, me.group, order().tick()});
    Sums &held = me.of(sums);
    if (!held.products++) {
        held.values.assign(sums, sums + columns / 2);
        memset(sums, 0xff, columns / 2 * sizeof(float));
    }
    if (held.values.size() != columns / 2) fail("wgmma of %u columns into the sums of another width", columns);
    if (lane() == 0) touch_factors(me.products.back());
}

void wgmma_fence() { workers[thread()].fenced = true; }

void wgmma_commit() { workers[thread()].group++; }

void finish_products(unsigned pending) {
    Worker &me = workers[thread()];
    me.pending = pending;
    if (pending == 0) me.fenced = false;
    const unsigned group = thread() / THREADS;
    meet(WARPGROUPS + group, THREADS, [group](const auto &) { finish(group * THREADS); });
}

void begin_products(unsigned threads) {
    workers.resize(threads);
    for (Worker &worker : workers) worker.products.clear(), worker.sums.clear(), worker.group = 0, worker.fenced = false;
}

std::string left_products() {
    for (const Worker &worker : workers)
        if (!worker.products.empty()) return "the block ends while a product is not waited for";
    return "";
}
}  // namespace cuda_cpu
