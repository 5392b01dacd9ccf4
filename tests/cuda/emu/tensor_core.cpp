// Warp-wide matrix instructions, with the fragment layouts of the PTX ISA ("Matrix Fragments for mma.m16n8k8"
// and following). With `group` = lane / 4 and `member` = lane % 4, a lane holds rows `group` and `group + 8`
// of A and D, and column `group` of B.
#include "tensor_core.h"
#include "memory.h"

namespace cuda_cpu {
namespace {
struct Fragments {
    uint32_t a[4], b[2];
};

/// The fragments of all lanes.
class Lanes {
  public:
    explicit Lanes(const Slot *slots) : slots_(slots) {}
    uint32_t a(unsigned lane, unsigned index) const { return bits(lane, offsetof(Fragments, a) + 4 * index); }
    uint32_t b(unsigned lane, unsigned index) const { return bits(lane, offsetof(Fragments, b) + 4 * index); }

  private:
    uint32_t bits(unsigned lane, size_t offset) const {
        uint32_t bits;
        memcpy(&bits, slots_[lane].bytes + offset, sizeof bits);
        return bits;
    }

    const Slot *slots_;
};

/// m16n8k8. A's registers are (row, k), (row + 8, k), (row, k + 4), (row + 8, k + 4); B's are (k), (k + 4).
/// Tensor cores use only the upper 10 bits of a float's mantissa.
struct Tf32 {
    static constexpr unsigned K = 8;
    static float value(uint32_t bits) { return bit_cast<float>(bits & 0xffffe000u); }
    static float a(Lanes lanes, unsigned row, unsigned k) {
        return value(lanes.a(row % 8 * 4 + k % 4, row / 8 + k / 4 * 2));
    }
    static float b(Lanes lanes, unsigned k, unsigned column) { return value(lanes.b(column * 4 + k % 4, k / 4)); }
};

/// m16n8k16: as above, with two adjacent elements along k in each register, the first one in the lower half.
template <class T> struct Half {
    static constexpr unsigned K = 16;
    static float value(uint32_t pair, unsigned k) { return bit_cast<T>(uint16_t(pair >> k % 2 * 16)); }
    static float a(Lanes lanes, unsigned row, unsigned k) {
        return value(lanes.a(row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2), k);
    }
    static float b(Lanes lanes, unsigned k, unsigned column) {
        return value(lanes.b(column * 4 + k % 8 / 2, k / 8), k);
    }
};

template <class Layout> void mma_with_layout(float (&d)[4], Lanes lanes) {
    const unsigned group = lane() / 4, member = lane() % 4;
    float sums[4] = {0.f, 0.f, 0.f, 0.f};
    for (unsigned k = 0; k < Layout::K; k++) {
        const float a[2] = {Layout::a(lanes, group, k), Layout::a(lanes, group + 8, k)};
        const float b[2] = {Layout::b(lanes, k, member * 2), Layout::b(lanes, k, member * 2 + 1)};
        for (unsigned i = 0; i < 4; i++) sums[i] += a[i / 2] * b[i % 2];
    }
    for (unsigned i = 0; i < 4; i++) d[i] += sums[i];
}
}  // namespace

void mma(ElementType type, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    Fragments fragments;
    memcpy(fragments.a, a, sizeof a), memcpy(fragments.b, b, sizeof b);
    const Lanes lanes(exchange(~0u, &fragments, sizeof fragments));
    switch (type) {
        case ElementType::Tf32: return mma_with_layout<Tf32>(d, lanes);
        case ElementType::F16: return mma_with_layout<Half<__half>>(d, lanes);
        case ElementType::BF16: return mma_with_layout<Half<__nv_bfloat16>>(d, lanes);
    }
}

void load_matrices(uint32_t *registers, unsigned count, bool transposed, const void *row) {
    if (lane() < 8 * count) {
        if (uintptr_t(row) % 16) fail("expected an ldmatrix row at a multiple of 16 bytes");
        touch(row, 16, false);
    }
    const Slot *rows = exchange(~0u, &row, sizeof row);
    for (unsigned i = 0; i < count; i++) {
        uint16_t pair[2];
        for (unsigned half = 0; half < 2; half++) {
            unsigned row_index = lane() / 4, column = lane() % 4 * 2 + half;
            if (transposed) std::swap(row_index, column);
            const unsigned char *source;
            memcpy(&source, rows[i * 8 + row_index].bytes, sizeof source);
            memcpy(&pair[half], source + column * 2, 2);
        }
        registers[i] = pair[0] | uint32_t(pair[1]) << 16;
    }
}
}  // namespace cuda_cpu
