// Kernels are compiled with `-fsanitize=thread,alignment` but not linked with these sanitizers' libraries.
// These options make the compiler insert a function call at every load and store, and at every misaligned access.
// This file defines the called functions.
#include "memory.h"
#include "engine.h"
#include <dlfcn.h>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace cuda_cpu {
namespace {
constexpr uint16_t NO_AGENT = Order::NO_AGENT, SEVERAL_WARPS = Order::SEVERAL_WARPS;
constexpr uint16_t SEVERAL_OF_WARP = Order::SEVERAL_OF_WARP;

/// The last write and the last read of two adjacent bytes, each with its agent (order.h) and tick.
struct Record {
    uint32_t written, read;
    uint16_t writer, reader;
};

constexpr Record UNTOUCHED = {0, 0, NO_AGENT, NO_AGENT};

/// The records of a page that contains static shared arrays. The bounds of these arrays are unknown.
struct Page {
    Record records[2048];
};

/// Two bytes of a static shared array that a block has written.
struct Written {
    Record *record;
    void *bytes;
};

class Memory {
  public:
    void bind(unsigned char *arena, size_t bytes, const Region *regions, size_t count) {
        arena_ = arena, arena_bytes_ = bytes;
        regions_.assign(regions, regions + count);
        global_.assign(bytes / 2 + 1, UNTOUCHED);
        last_ = nullptr;
    }

    void begin_launch(const unsigned char *shared, size_t bytes, unsigned threads) {
        shared_ = shared, shared_bytes_ = bytes, active_ = true, started_ = 0;
        dynamic_.resize(std::max(dynamic_.size(), bytes / 2 + 1), UNTOUCHED);
        order.begin_launch(threads);
    }

    void begin_block() {
        order.begin_block();
        poison_written();
    }

    void end_launch() { active_ = false; }

    void begin_thread(unsigned thread, const char *stack, size_t bytes) {
        thread_ = thread, stack_ = stack, stack_bytes_ = bytes;
    }

    /// Checks an access by a copy or product that the running thread's warp started at `tick`.
    void access_started(const void *address, size_t bytes, bool write, uint32_t tick) {
        started_ = tick;
        access(address, bytes, write, nullptr);
        started_ = 0;
    }

    Order order;

    /// Returns `false` outside of launches and for memory that only the running thread uses.
    bool needs_check(const void *address) const {
        return active_ && size_t(static_cast<const char *>(address) - stack_) >= stack_bytes_ &&
               size_t(static_cast<const char *>(address) - reinterpret_cast<const char *>(&coordinates)) >=
                   sizeof coordinates;
    }

    /// Checks one access. An invalid access ends the launch. This function and those it calls for a valid access are
    /// inlined into functions for one size, because every load and store of a kernel calls them.
    __attribute__((always_inline)) void access(const void *address, size_t bytes, bool write, const void *pc) {
        if (!needs_check(address)) return;
        const unsigned char *at = static_cast<const unsigned char *>(address);
        if (size_t(at - shared_) < shared_bytes_) {
            const size_t from = at - shared_;
            if (from + bytes > shared_bytes_)
                outside("the dynamic shared memory", from, shared_bytes_, bytes, write, pc);
            record(&dynamic_[from / 2], from, bytes, write, false, "the dynamic shared memory", pc);
        } else if (size_t(at - arena_) < arena_bytes_) {
            const Region &region = find(at, bytes, write, pc);
            record(&global_[(at - arena_) / 2], at - region.begin, bytes, write, true, region.name, pc);
        } else if (size_t(at - shared_ + NEAR) < shared_bytes_ + 2 * NEAR) {
            outside("the dynamic shared memory", at - shared_, shared_bytes_, bytes, write, pc);
        } else {
            access_static(at, bytes, write, pc);
        }
    }

  private:
    /// A recently used page. `page` is null for pages without records.
    struct CachedPage {
        uintptr_t number;
        Page *page;
    };
    static constexpr size_t CACHED_PAGES = 64;

    /// An access at most this many bytes away from the dynamic shared memory is reported as out of its bounds.
    static constexpr size_t NEAR = 1024;

    __attribute__((always_inline)) const Region &find(const unsigned char *at, size_t bytes, bool write,
                                                      const void *pc) {
        if (last_ && at >= last_->begin && at + bytes <= last_->begin + last_->bytes) return *last_;
        return search(at, bytes, write, pc);
    }

    __attribute__((noinline)) const Region &search(const unsigned char *at, size_t bytes, bool write, const void *pc) {
        const Region *nearest = nullptr;
        ptrdiff_t least = 0;
        for (const Region &region : regions_) {
            const unsigned char *end = region.begin + region.bytes;
            if (at >= region.begin && at + bytes <= end) return *(last_ = &region);
            const ptrdiff_t distance = at < region.begin ? region.begin - at : at - end;
            if (!nearest || distance < least) nearest = &region, least = distance;
        }
        outside(nearest ? nearest->name : "no buffer at all", nearest ? at - nearest->begin : 0,
                nearest ? nearest->bytes : 0, bytes, write, pc);
    }

    /// Checks an access to other memory, which includes static shared arrays. Reads of a page that no kernel has
    /// written are not checked, because the page contains only constants.
    __attribute__((always_inline)) void access_static(const unsigned char *at, size_t bytes, bool write, const void *pc) {
        const uintptr_t number = uintptr_t(at) >> 12;
        CachedPage &cached = cached_pages_[number % CACHED_PAGES];
        if (cached.number != number || (write && !cached.page)) find_page(cached, number, write);
        Page *page = cached.page;
        if (!page) return;
        const size_t from = uintptr_t(at) & 4095;
        bytes = std::min<size_t>(bytes, 4096 - from);
        for (size_t i = from & ~size_t(1); write && i < from + bytes; i += 2)
            if (page->records[i / 2].writer == NO_AGENT) remember_written(page, number, i);
        record(&page->records[from / 2], from, bytes, write, false, "static memory", pc);
    }

    /// Caches the page with this number, or null if the page has no records. If `create`, such a page gets records.
    __attribute__((noinline)) void find_page(CachedPage &cached, uintptr_t number, bool create) {
        const auto found = pages_.find(number);
        cached = {number, found == pages_.end() ? nullptr : found->second.get()};
        if (cached.page || !create) return;
        cached.page = (pages_[number] = std::make_unique<Page>()).get();
        std::fill(std::begin(cached.page->records), std::end(cached.page->records), UNTOUCHED);
    }

    __attribute__((noinline)) void remember_written(Page *page, uintptr_t number, size_t at) {
        written_.push_back({&page->records[at / 2], reinterpret_cast<void *>(number << 12 | at)});
    }

    /// Poisons the static shared arrays that the last block wrote, so that the next block cannot read the old
    /// values.
    void poison_written() {
        for (const Written &entry : written_) {
            *entry.record = UNTOUCHED;
            memset(entry.bytes, 0xff, 2);
        }
        written_.clear();
    }

    __attribute__((always_inline)) void record(Record *record, size_t from, size_t bytes, bool write, bool global,
                                               const char *name, const void *pc) {
        const uint32_t now = started_ ? started_ : order.clock(thread_);
        const uint16_t me = uint16_t(started_ ? order.started_by(thread_ / 32) : thread_);
        const uint32_t ordered = order.ordered_before(global), ordered_in_block = order.ordered_before(false);
        for (size_t i = from & ~size_t(1); i < from + bytes; i += 2, record++) {
            Record &it = *record;
            if (it.written >= ordered && unordered(it.written, it.writer, global))
                race(name, i, write, true, it.writer, it.written, pc);
            if (write) {
                if (it.read >= ordered && unordered(it.read, it.reader, global))
                    race(name, i, true, false, it.reader, it.read, pc);
                it.written = now, it.writer = me;
            } else {
                if (started_ && order.unfenced(thread_, it.written, it.writer)) unfenced(name, i, it.writer);
                // With vector clocks, only the last reader is recorded. Conflicts with earlier readers are
                // found in a different thread order.
                const bool merge = !order.tracks_clocks() && it.read >= ordered_in_block &&
                                   unordered(it.read, it.reader, false);
                it.reader = merge ? merged_reader(it.reader, me) : me;
                it.read = now;
            }
        }
    }

    /// Returns the agent that stands for `reader` and `me` together: several threads of one warp, or several warps.
    static uint16_t merged_reader(uint16_t reader, uint16_t me) {
        const uint16_t warp = SEVERAL_OF_WARP | me / 32;
        if (reader == warp || (reader < SEVERAL_OF_WARP && reader / 32 == me / 32)) return warp;
        return SEVERAL_WARPS;
    }

    /// Returns `true` if no barrier orders the access by the agent `who` at `tick` before the access being checked.
    bool unordered(uint32_t tick, uint16_t who, bool global) const {
        if (who == NO_AGENT || !order.of_launch(tick)) return false;
        if (!order.of_block(tick)) return global;  // by another block: conflicts only in global memory
        return order.unordered(thread_, tick, who);
    }

    [[noreturn, gnu::noinline]] void race(const char *name, size_t at, bool write, bool wrote, uint16_t who, uint32_t tick,
                           const void *pc) {
        std::string other = "several threads";
        if (!order.of_block(tick)) other = "a thread of another block";
        else if (order.is_thread(who)) other = "thread " + std::to_string(who);
        else if (who < SEVERAL_OF_WARP)
            other = (wrote ? "a copy by warp " : "a product by warp ") + std::to_string(who - order.started_by(0));
        fail("%s byte %zu of %s, which %s %s with no barrier in between%s", write ? "writes" : "reads", at, name,
             other.c_str(), wrote ? "wrote" : "read", source_location(pc).c_str());
    }

    [[noreturn, gnu::noinline]] void unfenced(const char *name, size_t at, unsigned writer) {
        fail("a product reads byte %zu of %s, which thread %u wrote with no fence_async_proxy() in between", at, name,
             writer);
    }

    [[noreturn, gnu::noinline]] void outside(const char *name, ptrdiff_t at, size_t size, size_t bytes, bool write,
                                             const void *pc) {
        fail("out of bounds: %s %zu bytes at byte %td of %s, which has %zu bytes%s", write ? "writes" : "reads", bytes,
             at, name, size, source_location(pc).c_str());
    }

    static std::string source_location(const void *pc) {
        Dl_info info;
        if (!pc || !dladdr(pc, &info) || !info.dli_fbase) return "";
        char text[512];
        snprintf(text, sizeof text, " (addr2line -Cfpie %s 0x%zx)", info.dli_fname,
                 size_t(static_cast<const char *>(pc) - static_cast<const char *>(info.dli_fbase)) - 1);
        return text;
    }

    bool active_ = false;
    unsigned char *arena_ = nullptr;
    size_t arena_bytes_ = 0;
    std::vector<Region> regions_;
    const Region *last_ = nullptr;
    const unsigned char *shared_ = nullptr;
    size_t shared_bytes_ = 0;
    const char *stack_ = nullptr;
    size_t stack_bytes_ = 0;
    unsigned thread_ = 0;
    /// The tick at which the checked copy or product was started, or 0 for an access of the thread itself.
    uint32_t started_ = 0;

    std::vector<Record> global_, dynamic_;
    std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
    std::vector<Written> written_;
    CachedPage cached_pages_[CACHED_PAGES] = {};
};

/// The memory of this OS thread, or null before its first call of `bind`. `owned_memory` deletes it when the thread
/// ends.
__thread Memory *memory;
thread_local std::unique_ptr<Memory> owned_memory;

/// Checks an access of a size that the compiler knows.
template <size_t BYTES, bool WRITE> __attribute__((noinline)) void check_sized(const void *address, const void *pc) {
    memory->access(address, BYTES, WRITE, pc);
}
template <size_t BYTES, bool WRITE> inline void check(const void *address, const void *pc) {
    if (memory && memory->needs_check(address)) check_sized<BYTES, WRITE>(address, pc);
}

/// Checks an access of any size.
void check_range(const void *address, size_t bytes, bool write, const void *pc) {
    if (memory) memory->access(address, bytes, write, pc);
}
}  // namespace

void bind(unsigned char *arena, size_t bytes, const Region *regions, size_t count) {
    if (!memory) owned_memory.reset(memory = new Memory);
    memory->bind(arena, bytes, regions, count);
}
void touch(const void *address, size_t bytes, bool write) { check_range(address, bytes, write, nullptr); }
void touch_started(const void *address, size_t bytes, bool write, uint32_t tick) {
    if (memory) memory->access_started(address, bytes, write, tick);
}
Order &order() { return memory->order; }
void begin_launch(const unsigned char *shared, size_t bytes, unsigned threads) {
    memory->begin_launch(shared, bytes, threads);
}
void begin_block() { memory->begin_block(); }
void end_launch() { memory->end_launch(); }
void begin_thread(unsigned thread, const char *stack, size_t bytes) { memory->begin_thread(thread, stack, bytes); }

void forbid(const void *address, size_t bytes, bool forbidden) {
#ifdef __SANITIZE_ADDRESS__
    if (forbidden) ASAN_POISON_MEMORY_REGION(address, bytes);
    else ASAN_UNPOISON_MEMORY_REGION(address, bytes);
#else
    (void)address, (void)bytes, (void)forbidden;
#endif
}
}  // namespace cuda_cpu

extern "C" {
void cuda_cpu_bind(unsigned char *arena, size_t bytes, const cuda_cpu::Region *regions, size_t count) {
    cuda_cpu::bind(arena, bytes, regions, count);
}
void cuda_cpu_forbid(const void *address, size_t bytes, int forbidden) {
    cuda_cpu::forbid(address, bytes, forbidden != 0);
}

// The functions that `-fsanitize=thread` calls.
#define CUDA_CPU_ACCESS(bytes)                                                                                        \
    void __tsan_read##bytes(void *p) { cuda_cpu::check<bytes, false>(p, __builtin_return_address(0)); }               \
    void __tsan_write##bytes(void *p) { cuda_cpu::check<bytes, true>(p, __builtin_return_address(0)); }               \
    void __tsan_volatile_read##bytes(void *p) { cuda_cpu::check<bytes, false>(p, nullptr); }                          \
    void __tsan_volatile_write##bytes(void *p) { cuda_cpu::check<bytes, true>(p, nullptr); }
#define CUDA_CPU_UNALIGNED(bytes)                                                                                     \
    CUDA_CPU_ACCESS(bytes)                                                                                            \
    void __tsan_unaligned_read##bytes(void *p) { cuda_cpu::check<bytes, false>(p, nullptr); }                         \
    void __tsan_unaligned_write##bytes(void *p) { cuda_cpu::check<bytes, true>(p, nullptr); }
CUDA_CPU_ACCESS(1)
CUDA_CPU_UNALIGNED(2)
CUDA_CPU_UNALIGNED(4)
CUDA_CPU_UNALIGNED(8)
CUDA_CPU_UNALIGNED(16)
void __tsan_read_range(void *p, size_t bytes) { cuda_cpu::check_range(p, bytes, false, __builtin_return_address(0)); }
void __tsan_write_range(void *p, size_t bytes) { cuda_cpu::check_range(p, bytes, true, __builtin_return_address(0)); }
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}

// The function that `-fsanitize=alignment` calls, with the location, the expected alignment and the address.
struct Misaligned {
    const char *file;
    uint32_t line, column;
    const void *type;
    unsigned char log_alignment, kind;
};
void __ubsan_handle_type_mismatch_v1(Misaligned *access, uintptr_t address) {
    cuda_cpu::fail("misaligned access at %s:%u: expected a multiple of %u, found an address that ends in 0x%02x",
                   access->file, access->line, 1u << access->log_alignment, unsigned(address & 0xff));
}
}
