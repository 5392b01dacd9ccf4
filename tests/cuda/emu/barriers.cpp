#include "barriers.h"
#include "memory.h"
#include <memory>

namespace cuda_cpu {
namespace {
/// A barrier's bytes: this plus its number.
constexpr uint64_t MADE = 0x6261727269657200ull;
constexpr int MOST_ARRIVALS = (1 << 20) - 1;

struct Counter {
    Barrier *place;
    size_t offset;
    unsigned maker;
    bool ready;
    /// Of each phase, and what the running one still waits for.
    int arrivals, missing;
    int64_t bytes;
    unsigned phase;
    std::vector<unsigned> waiting;
    /// What those that arrived tell, so far and until the last phase was over.
    Knowledge gathered, known;

    void settle() {
        if (missing || bytes) return;
        phase++, missing = arrivals, known = gathered;
        for (unsigned thread : waiting) wake(thread);
        waiting.clear();
    }
};

struct Copy {
    void *to;
    const void *from;
    unsigned bytes, barrier, warp;
    uint32_t tick;
};

struct Meeting {
    unsigned expected;
    std::vector<unsigned> threads;
};

struct Barriers {
    std::vector<Counter> counters;
    std::vector<Copy> copies;
    Meeting meetings[MEETINGS];
};

/// One for each of the host's threads.
thread_local Barriers block;

unsigned number_of(Barrier *barrier) {
    const size_t offset = shared_offset(barrier);
    touch(barrier, sizeof *barrier, false);
    const uint64_t number = barrier->state - MADE;
    if (number >= block.counters.size() || block.counters[number].place != barrier)
        fail("the use of a barrier at byte %zu of the dynamic shared memory, where none was made", offset);
    if (!block.counters[number].ready) fail("the use of a barrier before fence_barrier_init()");
    return unsigned(number);
}

void arrive(Barrier *barrier, int bytes) {
    Counter &counter = block.counters[number_of(barrier)];
    if (!counter.missing) fail("more arrivals than the %d of the barrier at byte %zu", counter.arrivals, counter.offset);
    order().release(thread(), counter.gathered);
    counter.bytes += bytes, counter.missing--;
    counter.settle();
}
}  // namespace

void barrier_init(Barrier *barrier, int arrivals) {
    const size_t offset = shared_offset(barrier);
    if (offset % 8) fail("a barrier at the misaligned byte %zu of the dynamic shared memory", offset);
    if (arrivals < 1 || arrivals > MOST_ARRIVALS) fail("a barrier for %d arrivals", arrivals);
    order().know();
    touch(barrier, sizeof *barrier, true);
    barrier->state = MADE + block.counters.size();
    block.counters.push_back({barrier, offset, thread(), false, arrivals, arrivals, 0, 0, {}, {}, {}});
}

void fence_barrier_init() {
    for (Counter &counter : block.counters) counter.ready |= counter.maker == thread();
}

void barrier_arrive(Barrier *barrier) { arrive(barrier, 0); }

void barrier_expect(Barrier *barrier, int bytes) {
    if (bytes < 0 || bytes >= 1 << 20) fail("a barrier that is to expect %d bytes", bytes);
    arrive(barrier, bytes);
}

void barrier_wait(Barrier *barrier, int parity) {
    if (parity != 0 && parity != 1) fail("a wait for parity %d", parity);
    const unsigned number = number_of(barrier);
    while (int(block.counters[number].phase & 1) == parity) {
        block.counters[number].waiting.push_back(thread());
        sleep();
    }
    order().acquire(thread(), block.counters[number].known);
}

void bulk_copy(void *to, const void *from, int bytes, Barrier *barrier) {
    if (bytes <= 0 || bytes % 16) fail("a bulk copy of %d bytes, which are to be a multiple of 16", bytes);
    if (shared_offset(to) % 16) fail("a bulk copy to a misaligned shared address");
    if (uintptr_t(from) % 16) fail("a bulk copy from a misaligned global address");
    const unsigned number = number_of(barrier);
    const uint32_t tick = order().tick();
    touch(from, bytes, false);
    touch_started(to, bytes, true, tick);
    memset(to, 0xff, bytes);
    block.copies.push_back({to, from, unsigned(bytes), number, thread() / 32, tick});
}

void meet(unsigned number, unsigned threads, const std::function<void(const std::vector<unsigned> &)> &last) {
    Meeting &meeting = block.meetings[number];
    if (!meeting.threads.empty() && meeting.expected != threads)
        fail("barrier %u is of %u threads and of %u", number, meeting.expected, threads);
    meeting.expected = threads;
    meeting.threads.push_back(thread());
    if (meeting.threads.size() < threads) return sleep();
    last(meeting.threads);
    for (unsigned thread : meeting.threads)
        if (thread != cuda_cpu::thread()) wake(thread);
    meeting.threads.clear();
}

void sync_some(unsigned number, unsigned threads) {
    order().know();
    meet(number, threads, [](const std::vector<unsigned> &all) { order().passed_barrier_of(all); });
}

void begin_barriers() {
    block.counters.clear(), block.copies.clear();
    for (Meeting &meeting : block.meetings) meeting.threads.clear();
}

unsigned copies_under_way() { return unsigned(block.copies.size()); }

void land_copy(unsigned which) {
    const Copy copy = block.copies[which];
    block.copies.erase(block.copies.begin() + which);
    memcpy(copy.to, copy.from, copy.bytes);
    Counter &counter = block.counters[copy.barrier];
    order().finish(copy.warp, copy.tick, counter.gathered);
    counter.bytes -= copy.bytes;
    counter.settle();
}

std::string deadlock() {
    char text[256];
    for (const Counter &counter : block.counters) {
        if (counter.waiting.empty()) continue;
        snprintf(text, sizeof text,
                 "a deadlock: thread %u waits for phase %u of the barrier at byte %zu of the dynamic shared memory, which "
                 "still expects %d arrivals and %lld bytes",
                 counter.waiting[0], counter.phase, counter.offset, counter.missing, (long long)counter.bytes);
        return text;
    }
    for (unsigned i = 0; i < MEETINGS; i++) {
        const Meeting &meeting = block.meetings[i];
        if (meeting.threads.empty()) continue;
        const std::string what = i < WARPGROUPS ? "barrier " + std::to_string(i) : "the wait for products of warpgroup " + std::to_string(i - WARPGROUPS);
        snprintf(text, sizeof text, "a deadlock: %zu of %u threads come to %s", meeting.threads.size(), meeting.expected, what.c_str());
        return text;
    }
    return "";
}

std::string left_barriers() {
    if (!block.copies.empty()) return "the block ends while a bulk copy is under way";
    for (const Counter &counter : block.counters)
        if (counter.bytes) return "the block ends while the barrier at byte " + std::to_string(counter.offset) + " expects bytes";
    return "";
}
}  // namespace cuda_cpu
