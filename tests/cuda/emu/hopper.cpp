// Matrix products are computed when all threads of a warpgroup wait for them: the thread that arrives last computes
// them for the whole warpgroup. The layouts are those of the PTX ISA ("Asynchronous Warpgroup Level Matrix
// Instructions").
#include "hopper.h"
#include "memory.h"

namespace cuda_cpu {
namespace {
/// A product is [ROWS, depth] · [depth, columns], with at most MAX_COLUMNS columns and a depth of DEPTH_BYTES bytes.
/// The THREADS threads of a warpgroup compute it. A core matrix of a factor has CORE_MATRIX bytes: 8 rows of 16 bytes.
constexpr unsigned THREADS = 128, ROWS = 64, DEPTH_BYTES = 32, CORE_MATRIX = 128, MAX_COLUMNS = 256;

/// A factor, decoded from its descriptor. The offset of its start and both strides between core matrices are in bytes.
struct Matrix {
    size_t start, depth_stride, row_stride;
    explicit Matrix(uint64_t d)
        : start((d & 0x3fff) << 4), depth_stride((d >> 16 & 0x3fff) << 4), row_stride((d >> 32 & 0x3fff) << 4) {}
    const unsigned char *core_matrix(unsigned row, unsigned depth) const {
        return static_cast<const unsigned char *>(dynamic_shared()) + start + row * row_stride + depth * depth_stride;
    }
};

struct Product {
    ElementType type;
    unsigned columns;
    uint64_t a, b;
    float *sums;
    /// The number of calls of `wgmma_commit` before the product.
    unsigned group;
    /// The tick at which the thread's warp started to read the factors.
    uint32_t tick;

    bool same(const Product &other) const {
        return type == other.type && columns == other.columns && a == other.a && b == other.b && group == other.group;
    }
};

/// An accumulator of a thread. Until the thread has waited for the `unfinished` products that are added to it, `values`
/// holds the sums, and the memory at `address` holds NaN.
struct Sums {
    float *address;
    std::vector<float> values;
    unsigned unfinished;
};

/// The products that a thread has started and not yet waited for, and their accumulators.
struct ThreadState {
    std::vector<Product> products;
    std::vector<Sums> sums;
    /// The number of calls of `wgmma_commit`, and how many of the newest groups the current wait may leave unfinished.
    unsigned group, pending;
    bool fenced;

    Sums &sums_at(float *address) {
        for (Sums &sums : this->sums)
            if (sums.address == address) return sums;
        return sums.emplace_back(Sums{address, {}, 0});
    }
};

/// The states of the threads of the block that runs on this OS thread.
thread_local std::vector<ThreadState> thread_states;

/// Stores the rows of a factor in `result` as floats, in the order `[depth, rows]`. Returns the depth.
template <class T> unsigned unpack(float (*result)[MAX_COLUMNS], const Matrix &matrix, unsigned rows) {
    constexpr unsigned IN_ROW = 16 / sizeof(T);
    for (unsigned row = 0; row < rows; row++) {
        for (unsigned depth = 0; depth < DEPTH_BYTES / 16; depth++) {
            T values[IN_ROW];
            memcpy(static_cast<void *>(values), matrix.core_matrix(row / 8, depth) + row % 8 * 16, 16);
            for (unsigned i = 0; i < IN_ROW; i++) result[depth * IN_ROW + i][row] = float(values[i]);
        }
    }
    return DEPTH_BYTES / sizeof(T);
}

/// A float operand of a tensor core, which uses only the upper 10 bits of the mantissa.
struct Tf32 {
    uint32_t bits;
    explicit operator float() const { return bit_cast<float>(bits & 0xffffe000u); }
};

unsigned unpack(float (*result)[MAX_COLUMNS], ElementType type, const Matrix &matrix, unsigned rows) {
    switch (type) {
        case ElementType::F16: return unpack<__half>(result, matrix, rows);
        case ElementType::BF16: return unpack<__nv_bfloat16>(result, matrix, rows);
        default: return unpack<Tf32>(result, matrix, rows);
    }
}

/// Computes the product that all threads of a warpgroup have at `index` in their lists, and adds each thread's part of
/// the result to the thread's sums. `first` is the first thread of the warpgroup.
void add_product(unsigned first, unsigned index) {
    static thread_local float a[16][MAX_COLUMNS], b[16][MAX_COLUMNS], d[ROWS][MAX_COLUMNS];
    const Product &product = thread_states[first].products[index];
    const unsigned depth = unpack(a, product.type, Matrix(product.a), ROWS);
    unpack(b, product.type, Matrix(product.b), product.columns);
    for (unsigned row = 0; row < ROWS; row++) {
        std::fill_n(d[row], product.columns, 0.f);
        for (unsigned k = 0; k < depth; k++) {
            const float a_value = a[k][row], *b_row = b[k];
            float *sums = d[row];
            for (unsigned column = 0; column < product.columns; column++) sums[column] += a_value * b_row[column];
        }
    }
    for (unsigned t = 0; t < THREADS; t++) {
        ThreadState &state = thread_states[first + t];
        Sums &sums = state.sums_at(state.products[index].sums);
        const unsigned row = t / 32 * 16 + t % 32 / 4, column = t % 4 * 2;
        for (unsigned i = 0; i < product.columns / 2; i++)
            sums.values[i] += d[row + i / 2 % 2 * 8][i / 4 * 8 + column + i % 2];
        sums.unfinished--;
    }
}

/// Returns how many products the current wait must finish. Fails unless all threads of the warpgroup have started the
/// same products.
unsigned count_finished(unsigned first) {
    const ThreadState &leader = thread_states[first];
    unsigned finished = 0;
    while (finished < leader.products.size() && leader.products[finished].group + leader.pending < leader.group)
        finished++;
    for (unsigned t = 1; t < THREADS; t++) {
        const ThreadState &state = thread_states[first + t];
        bool same = state.pending == leader.pending && state.group == leader.group &&
                    state.products.size() == leader.products.size();
        for (unsigned i = 0; same && i < finished; i++) same = state.products[i].same(leader.products[i]);
        if (!same)
            fail("the threads of a warpgroup must start the same products: thread %u differs from thread %u", first + t,
                 first);
    }
    return finished;
}

/// Computes the products that the current wait must finish, and stores the accumulators without unfinished products.
void finish_warpgroup(unsigned first) {
    const unsigned finished = count_finished(first);
    for (unsigned i = 0; i < finished; i++) add_product(first, i);
    for (unsigned t = 0; t < THREADS; t++) {
        for (unsigned lane = 0; finished && lane < THREADS; lane += 32)
            order().acquire_finished(first + t, (first + lane) / 32,
                                     thread_states[first + lane].products[finished - 1].tick);
    }
    for (unsigned t = 0; t < THREADS; t++) {
        ThreadState &state = thread_states[first + t];
        state.products.erase(state.products.begin(), state.products.begin() + finished);
        for (size_t i = state.sums.size(); i-- > 0;) {
            const Sums &sums = state.sums[i];
            if (sums.unfinished) continue;
            memcpy(sums.address, sums.values.data(), sums.values.size() * sizeof(float));
            state.sums.erase(state.sums.begin() + i);
        }
    }
}

/// Checks this warp's accesses to the factors: to its 16 rows of A, and to B.
void touch_factors(const Product &product) {
    const unsigned warp = thread() / 32;
    for (unsigned depth = 0; depth < DEPTH_BYTES / 16; depth++) {
        for (unsigned i = 0; i < 2; i++)
            touch_started(Matrix(product.a).core_matrix(warp % 4 * 2 + i, depth), CORE_MATRIX, false, product.tick);
        for (unsigned i = 0; i < product.columns / 8; i++)
            touch_started(Matrix(product.b).core_matrix(i, depth), CORE_MATRIX, false, product.tick);
    }
}
}  // namespace

void fence_async_proxy() {
    order().track_clocks();
    order().fence(thread());
}

uint64_t matrix_descriptor(const void *start, int depth_stride, int row_stride) {
    const size_t offset = shared_offset(start);
    if (offset % 16 || depth_stride % 16 || row_stride % 16) fail("expected core matrices at multiples of 16 bytes");
    if (depth_stride < 0 || row_stride < 0 || depth_stride >= 1 << 18 || row_stride >= 1 << 18)
        fail("expected core matrices less than 2^18 bytes apart");
    return uint64_t(offset >> 4) | uint64_t(depth_stride >> 4) << 16 | uint64_t(row_stride >> 4) << 32;
}

void start_product(ElementType type, unsigned columns, float *sums, uint64_t a, uint64_t b) {
    order().track_clocks();
    ThreadState &me = thread_states[thread()];
    if (!me.fenced) fail("expected a wgmma_fence() between the last wait for all products and the next wgmma");
    me.products.push_back({type, columns, a, b, sums, me.group, order().tick()});
    Sums &active = me.sums_at(sums);
    if (!active.unfinished++) {
        active.values.assign(sums, sums + columns / 2);
        memset(sums, 0xff, columns / 2 * sizeof(float));
    }
    if (active.values.size() != columns / 2)
        fail("wgmma of %u columns uses sums with a different number of columns", columns);
    if (lane() == 0) touch_factors(me.products.back());
}

void wgmma_fence() { thread_states[thread()].fenced = true; }

void wgmma_commit() { thread_states[thread()].group++; }

void finish_products(unsigned pending) {
    ThreadState &me = thread_states[thread()];
    me.pending = pending;
    if (pending == 0) me.fenced = false;
    const unsigned warpgroup = thread() / THREADS;
    rendezvous(FIRST_PRODUCT_WAIT + warpgroup, THREADS,
               [warpgroup](const auto &) { finish_warpgroup(warpgroup * THREADS); });
}

void begin_products(unsigned threads) {
    thread_states.resize(threads);
    for (ThreadState &state : thread_states)
        state.products.clear(), state.sums.clear(), state.group = 0, state.fenced = false;
}

std::string unfinished_products() {
    for (const ThreadState &state : thread_states)
        if (!state.products.empty()) return "the block ends before a wait for its products";
    return "";
}
}  // namespace cuda_cpu
