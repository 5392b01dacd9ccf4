#include "barriers.h"
#include "memory.h"
#include <memory>

namespace cuda_cpu {
namespace {
/// An initialized barrier in shared memory holds this value plus the index of its counter.
constexpr uint64_t INITIALIZED = 0x6261727269657200ull;
constexpr int MAX_ARRIVALS = (1 << 20) - 1;

/// The state of an initialized barrier.
struct Counter {
    /// The barrier, and its offset in the dynamic shared memory in bytes.
    Barrier *address;
    size_t offset;
    /// The thread that initialized the barrier, and whether it has since called `fence_barrier_init`.
    unsigned initializer;
    bool ready;
    /// The arrivals of each phase, and the arrivals and bytes that the current phase still waits for.
    int arrivals, pending_arrivals;
    int64_t pending_bytes;
    unsigned phase;
    std::vector<unsigned> waiting;
    /// `gathered` merges the clocks of all arrivals so far. `known` is the value of `gathered` at the end of the latest
    /// complete phase.
    VectorClock gathered, known;

    void complete_phase_if_done() {
        if (pending_arrivals || pending_bytes) return;
        phase++, pending_arrivals = arrivals, known = gathered;
        for (unsigned thread : waiting) wake(thread);
        waiting.clear();
    }
};

/// A bulk copy that is not finished. `barrier` is the index of the counter at which it arrives, `warp` the warp that
/// started it, and `tick` the time of the start (order.h).
struct Copy {
    void *to;
    const void *from;
    unsigned bytes, barrier, warp;
    uint32_t tick;
};

/// A meeting of `expected` threads. `threads` have arrived.
struct Rendezvous {
    unsigned expected;
    std::vector<unsigned> threads;
};

struct Barriers {
    std::vector<Counter> counters;
    std::vector<Copy> copies;
    Rendezvous rendezvous[RENDEZVOUS_COUNT];
};

/// The barriers of the block that runs on this OS thread.
thread_local Barriers block;

unsigned number_of(Barrier *barrier) {
    const size_t offset = shared_offset(barrier);
    touch(barrier, sizeof *barrier, false);
    const uint64_t number = barrier->state - INITIALIZED;
    if (number >= block.counters.size() || block.counters[number].address != barrier)
        fail("the barrier at byte %zu of the dynamic shared memory is not initialized", offset);
    if (!block.counters[number].ready) fail("a barrier is used before fence_barrier_init()");
    return unsigned(number);
}

void arrive(Barrier *barrier, int bytes) {
    Counter &counter = block.counters[number_of(barrier)];
    if (!counter.pending_arrivals)
        fail("more arrivals than the %d that the barrier at byte %zu expects", counter.arrivals, counter.offset);
    order().release(thread(), counter.gathered);
    counter.pending_bytes += bytes, counter.pending_arrivals--;
    counter.complete_phase_if_done();
}
}  // namespace

void barrier_init(Barrier *barrier, int arrivals) {
    const size_t offset = shared_offset(barrier);
    if (offset % 8)
        fail("expected a barrier at a multiple of 8 bytes, found byte %zu of the dynamic shared memory", offset);
    if (arrivals < 1 || arrivals > MAX_ARRIVALS) fail("expected 1 to %d arrivals, found %d", MAX_ARRIVALS, arrivals);
    order().track_clocks();
    touch(barrier, sizeof *barrier, true);
    barrier->state = INITIALIZED + block.counters.size();
    block.counters.push_back({barrier, offset, thread(), false, arrivals, arrivals, 0, 0, {}, {}, {}});
}

void fence_barrier_init() {
    for (Counter &counter : block.counters) counter.ready |= counter.initializer == thread();
}

void barrier_arrive(Barrier *barrier) { arrive(barrier, 0); }

void barrier_expect(Barrier *barrier, int bytes) {
    if (bytes < 0 || bytes >= 1 << 20) fail("expected 0 to 2^20 - 1 bytes, found %d", bytes);
    arrive(barrier, bytes);
}

void barrier_wait(Barrier *barrier, int parity) {
    if (parity != 0 && parity != 1) fail("expected parity 0 or 1, found %d", parity);
    const unsigned number = number_of(barrier);
    while (int(block.counters[number].phase & 1) == parity) {
        block.counters[number].waiting.push_back(thread());
        sleep();
    }
    order().acquire(thread(), block.counters[number].known);
}

void bulk_copy(void *to, const void *from, int bytes, Barrier *barrier) {
    if (bytes <= 0 || bytes % 16) fail("expected a bulk copy of a multiple of 16 bytes, found %d", bytes);
    if (shared_offset(to) % 16) fail("a bulk copy to a misaligned shared address");
    if (uintptr_t(from) % 16) fail("a bulk copy from a misaligned global address");
    const unsigned number = number_of(barrier);
    const uint32_t tick = order().tick();
    touch(from, bytes, false);
    touch_started(to, bytes, true, tick);
    memset(to, 0xff, bytes);
    block.copies.push_back({to, from, unsigned(bytes), number, thread() / 32, tick});
}

void rendezvous(unsigned number, unsigned threads, const std::function<void(const std::vector<unsigned> &)> &complete) {
    Rendezvous &meeting = block.rendezvous[number];
    if (!meeting.threads.empty() && meeting.expected != threads)
        fail("barrier %u is used both with %u and with %u threads", number, meeting.expected, threads);
    meeting.expected = threads;
    meeting.threads.push_back(thread());
    if (meeting.threads.size() < threads) return sleep();
    complete(meeting.threads);
    for (unsigned thread : meeting.threads)
        if (thread != cuda_cpu::thread()) wake(thread);
    meeting.threads.clear();
}

void sync_named_barrier(unsigned number, unsigned threads) {
    order().track_clocks();
    rendezvous(number, threads, [](const std::vector<unsigned> &all) { order().passed_barrier_of(all); });
}

void begin_barriers() {
    block.counters.clear(), block.copies.clear();
    for (Rendezvous &meeting : block.rendezvous) meeting.threads.clear();
}

unsigned pending_copies() { return unsigned(block.copies.size()); }

void finish_copy(unsigned index) {
    const Copy copy = block.copies[index];
    block.copies.erase(block.copies.begin() + index);
    memcpy(copy.to, copy.from, copy.bytes);
    Counter &counter = block.counters[copy.barrier];
    order().finish(copy.warp, copy.tick, counter.gathered);
    counter.pending_bytes -= copy.bytes;
    counter.complete_phase_if_done();
}

std::string deadlock() {
    char text[256];
    for (const Counter &counter : block.counters) {
        if (counter.waiting.empty()) continue;
        snprintf(text, sizeof text,
                 "a deadlock: thread %u waits for phase %u of the barrier at byte %zu of the dynamic shared memory, "
                 "which still expects %d arrivals and %lld bytes",
                 counter.waiting[0], counter.phase, counter.offset, counter.pending_arrivals,
                 (long long)counter.pending_bytes);
        return text;
    }
    for (unsigned i = 0; i < RENDEZVOUS_COUNT; i++) {
        const Rendezvous &meeting = block.rendezvous[i];
        if (meeting.threads.empty()) continue;
        const std::string name =
            i < FIRST_PRODUCT_WAIT ? "barrier " + std::to_string(i)
                                   : "the wait for products of warpgroup " + std::to_string(i - FIRST_PRODUCT_WAIT);
        snprintf(text, sizeof text, "a deadlock: %zu of %u threads have arrived at %s", meeting.threads.size(),
                 meeting.expected, name.c_str());
        return text;
    }
    return "";
}

std::string unfinished_barriers() {
    if (!block.copies.empty()) return "the block ends before a bulk copy is complete";
    for (const Counter &counter : block.counters)
        if (counter.pending_bytes)
            return "the block ends before the barrier at byte " + std::to_string(counter.offset) +
                   " has received all bytes";
    return "";
}
}  // namespace cuda_cpu
