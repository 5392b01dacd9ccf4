// The scheduler. The threads of a block are fibers that switch at barriers.
#include "engine.h"
#include "barriers.h"
#include "fiber.h"
#include "hopper.h"
#include "launch.h"
#include "memory.h"
#include <cstdarg>
#include <memory>
#include <string>
#include <vector>

namespace cuda_cpu {
__thread Coordinates coordinates;

namespace {
/// The size of a fiber's stack, in bytes.
constexpr size_t STACK = 256 << 10;
/// The size of the guard zones before and after the dynamic shared memory, in bytes.
constexpr size_t SHARED_GUARD = 1024;
/// The bytes of uninitialized memory (NaN in every floating-point type) and of guard zones.
constexpr unsigned char POISON = 0xff, GUARD = 0xa5;

enum class State : uint8_t { Ready, AtBlock, AtWarp, Asleep, Done };

/// An asynchronous copy (`cp.async`) that is not finished. If not `valid`, it writes zeros.
struct Copy {
    void *to;
    const void *from;
    unsigned bytes;
    bool valid;
};

struct Fiber {
    Context context;
    uint3 index;  // `threadIdx`
    State state;
    /// The arguments of the `wait_warp` in which the fiber waits.
    bool fence;
    unsigned mask;
    /// The values that the last barrier of the warp exchanged: one for each lane of the warp.
    const Slot *received;
    /// The groups of copies that are not finished. The last group is not committed yet.
    std::vector<std::vector<Copy>> copies;
};

/// The order in which warps, lanes and blocks run.
class Schedule {
  public:
    explicit Schedule(unsigned order) : order_(order), random_(0x9e3779b97f4a7c15ull * (order + 1)) {}

    bool shuffled() const { return order_ > REVERSED; }

    /// Stores the order of `count` warps, lanes or blocks in `sequence`.
    void fill(std::vector<unsigned> &sequence, unsigned count) {
        if (!shuffled() && sequence.size() == count) return;
        sequence.resize(count);
        for (unsigned i = 0; i < count; i++) sequence[i] = order_ == REVERSED ? count - 1 - i : i;
        for (unsigned i = count; shuffled() && i > 1; i--) std::swap(sequence[i - 1], sequence[next() % i]);
    }

    /// Picks an index below `count`.
    unsigned pick(unsigned count) { return shuffled() ? next() % count : order_ == REVERSED ? count - 1 : 0; }

  private:
    uint64_t next() {
        random_ ^= random_ << 13, random_ ^= random_ >> 7, random_ ^= random_ << 17;
        return random_ >> 11;
    }

    unsigned order_;
    uint64_t random_;
};

class Engine {
  public:
    const char *launch(const Kernel &kernel, dim3 grid, dim3 block, size_t shared, void **args, unsigned order);

    unsigned current = 0;  // the running thread
    /// The sum of the values of the threads that wait at the block's barrier.
    int value_sum = 0;
    /// The sum of the values of all threads at the block's last barrier.
    int sum = 0;
    std::vector<Fiber> fibers;
    std::vector<Slot> sent;
    std::vector<unsigned char> shared;
    std::string error;

    void call() { kernel_->call(kernel_->function, args_); }
    void pause(State state) {
        fibers[current].state = state;
        fibers[current].context.go_to(scheduler_);
    }
    void describe(const char *format, va_list list);
    size_t shared_bytes() const { return shared_bytes_; }

  private:
    bool run_block(Schedule &schedule);
    bool run_warp(unsigned warp, Schedule &schedule);
    bool release_warp(unsigned warp);
    void run(unsigned thread);
    void start(unsigned thread);
    bool shared_guards_intact() const;
    void forbid_guards(bool forbidden) const {
        forbid(&shared[0], SHARED_GUARD, forbidden);
        forbid(&shared[SHARED_GUARD] + shared_bytes_, SHARED_GUARD, forbidden);
    }
    char *stack(unsigned thread) { return stacks_.get() + thread * STACK; }

    Context scheduler_;
    std::unique_ptr<char[]> stacks_;
    /// The values that a barrier of a warp exchanged, one for each lane, at 32 times the index of the barrier's first
    /// thread. The next barrier may overwrite them as soon as no thread of the warp can run.
    std::vector<Slot> received_;
    std::vector<unsigned> warps_, lanes_;
    const Kernel *kernel_ = nullptr;
    void **args_ = nullptr;
    size_t shared_bytes_ = 0;
};

/// The engine of this OS thread, or null before its first launch. `owned_engine` deletes it when the thread ends.
__thread Engine *engine;
thread_local std::unique_ptr<Engine> owned_engine;

void entry() {
    engine->call();
    engine->pause(State::Done);
}

/// Returns a bit mask of the lanes that exist in a warp.
unsigned lanes_of(unsigned warp, size_t threads) {
    const size_t lanes = std::min<size_t>(32, threads - warp * 32);
    return lanes == 32 ? ~0u : (1u << lanes) - 1;
}

void Engine::describe(const char *format, va_list list) {
    char text[512], location[256];
    vsnprintf(text, sizeof text, format, list);
    const uint3 block = coordinates.blockIdx, thread = coordinates.threadIdx;
    snprintf(location, sizeof location, "%s, block (%u, %u, %u), thread (%u, %u, %u): ", kernel_->name, block.x, block.y,
             block.z, thread.x, thread.y, thread.z);
    if (error.empty()) error = std::string(location) + text;
}

void Engine::start(unsigned thread) {
    Fiber &fiber = fibers[thread];
    fiber.state = State::Ready;
    fiber.copies.assign(1, {});
    forbid(stack(thread), STACK, false);  // clears AddressSanitizer's marks of an aborted thread
    // Start stacks at different offsets within a page, because equal offsets would map to the same cache sets.
    fiber.context.start(stack(thread), STACK - 192 * (thread % 32), entry);
}

void Engine::run(unsigned thread) {
    current = thread;
    coordinates.threadIdx = fibers[thread].index;
    begin_thread(thread, stack(thread), STACK);
    scheduler_.go_to(fibers[thread].context);
}

/// Runs every ready lane of the warp until the lane waits, then releases barriers of the warp. Returns `true` if any
/// lane ran or any barrier was released. Returns `false` after an error.
bool Engine::run_warp(unsigned warp, Schedule &schedule) {
    const unsigned first = warp * 32, count = std::min<unsigned>(32, fibers.size() - first);
    bool ran = false;
    schedule.fill(lanes_, count);
    for (unsigned lane : lanes_) {
        if (fibers[first + lane].state != State::Ready) continue;
        ran = true;
        run(first + lane);
        if (!error.empty()) return false;
    }
    return release_warp(warp) || ran;
}

/// Releases each barrier of the warp if every lane in the barrier's mask either waits at this barrier or has returned.
/// Returns whether any barrier was released.
bool Engine::release_warp(unsigned warp) {
    const unsigned first = warp * 32, existing = lanes_of(warp, fibers.size());
    bool released = false;
    for (unsigned lane = 0; lane < 32 && first + lane < fibers.size(); lane++) {
        if (fibers[first + lane].state != State::AtWarp) continue;
        const unsigned mask = fibers[first + lane].mask;
        unsigned waiting = 0, done = 0;
        for (unsigned i = 0; i < 32; i++) {
            if (!((mask & existing) >> i & 1)) continue;
            const Fiber &fiber = fibers[first + i];
            waiting |= unsigned(fiber.state == State::AtWarp && fiber.mask == mask) << i;
            done |= unsigned(fiber.state == State::Done) << i;
        }
        if ((waiting | done) != (mask & existing)) continue;
        released = true;
        if (fibers[first + lane].fence) order().passed_warp_barrier(warp, waiting);
        // The waiting lanes receive the values of the waiting lanes, and poison for all other lanes.
        Slot *received = &received_[(first + lane) * 32];
        for (unsigned i = 0; i < 32; i++) {
            if (waiting >> i & 1) received[i] = sent[first + i];
            else memset(&received[i], POISON, sizeof(Slot));
            if (waiting >> i & 1) fibers[first + i].state = State::Ready, fibers[first + i].received = received;
        }
    }
    return released;
}

bool Engine::run_block(Schedule &schedule) {
    const unsigned threads = fibers.size(), warps = (threads + 31) / 32;
    for (unsigned i = 0; i < threads; i++) start(i);
    begin_block();
    begin_barriers();
    begin_products(threads);
    for (;;) {
        bool ran;
        do {
            ran = false;
            schedule.fill(warps_, warps);
            for (unsigned warp : warps_) {
                // In the unshuffled orders, a warp runs as far as possible before the next one starts.
                while (run_warp(warp, schedule)) {
                    ran = true;
                    if (schedule.shuffled()) break;
                }
                if (!error.empty()) return false;
            }
        } while (ran);
        unsigned done = 0, at_block = 0;
        for (const Fiber &fiber : fibers) {
            done += fiber.state == State::Done;
            at_block += fiber.state == State::AtBlock;
        }
        if (done == threads) {
            error = unfinished_barriers() + unfinished_products();
            return error.empty();
        }
        // Finish copies as late as possible: when no thread can continue.
        if (const unsigned copies = pending_copies()) {
            finish_copy(schedule.pick(copies));
            continue;
        }
        error = deadlock();
        if (!error.empty()) return false;
        if (done + at_block < threads) error = "expected every lane of the mask in a warp-level call";
        else if (done) error = "__syncthreads() after some threads of the block have returned";
        if (!error.empty()) return false;
        sum = value_sum, value_sum = 0;
        order().passed_block_barrier();
        for (Fiber &fiber : fibers) fiber.state = State::Ready;
    }
}

bool Engine::shared_guards_intact() const {
    for (size_t i = 0; i < SHARED_GUARD; i++)
        if (shared[i] != GUARD || shared[SHARED_GUARD + shared_bytes_ + i] != GUARD) return false;
    return true;
}

const char *Engine::launch(const Kernel &kernel, dim3 grid, dim3 block, size_t bytes, void **args, unsigned order) {
    Schedule schedule(order);
    warps_.clear(), lanes_.clear();
    kernel_ = &kernel, args_ = args, shared_bytes_ = bytes, error.clear(), value_sum = 0;
    coordinates.gridDim = grid, coordinates.blockDim = block;
    fibers.resize(block.x * block.y * block.z);
    for (unsigned i = 0; i < fibers.size(); i++)
        fibers[i].index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
    sent.resize(fibers.size() + 31), received_.resize(fibers.size() * 32);
    if (!stacks_) stacks_.reset(new char[1024 * STACK]);  // untouched pages use no memory
    // Keep the shared memory at a fixed address, with the device's minimum alignment of 16 bytes.
    shared.reserve(SHARED_GUARD * 2 + (256 << 10) + 64);
    shared.assign(SHARED_GUARD * 2 + bytes, GUARD);
    std::vector<unsigned> blocks;
    schedule.fill(blocks, unsigned(size_t(grid.x) * grid.y * grid.z));
    begin_launch(&shared[SHARED_GUARD], bytes, fibers.size());
    forbid_guards(true);
    for (unsigned i : blocks) {
        coordinates.blockIdx = {i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)};
        memset(&shared[SHARED_GUARD], POISON, bytes);
        const bool ran = run_block(schedule);
        forbid_guards(false);
        const bool intact = shared_guards_intact();
        forbid_guards(true);
        if (ran && intact) continue;
        if (ran) error = "out-of-bounds write next to the dynamic shared memory";
        if (error.find(kernel.name) == std::string::npos) error = std::string(kernel.name) + ": " + error;
        break;
    }
    end_launch();
    forbid_guards(false);
    return error.empty() ? nullptr : error.c_str();
}
}  // namespace

unsigned thread() { return engine->current; }

int wait_block(int value) {
    engine->value_sum += value;
    engine->pause(State::AtBlock);
    return engine->sum;
}

void wait_warp(unsigned mask, bool fence) {
    Fiber &me = engine->fibers[engine->current];
    if (!(mask >> lane() & 1))
        fail("lane %u is in a warp-level call whose mask 0x%x does not contain it", lane(), mask);
    me.mask = mask, me.fence = fence;
    engine->pause(State::AtWarp);
}

const Slot *exchange(unsigned mask, const void *value, size_t bytes) {
    memcpy(&engine->sent[engine->current], value, bytes);
    wait_warp(mask, false);
    return engine->fibers[engine->current].received;
}

void sleep() { engine->pause(State::Asleep); }
void wake(unsigned thread) { engine->fibers[thread].state = State::Ready; }

size_t shared_offset(const void *address) {
    const size_t offset = static_cast<const unsigned char *>(address) - &engine->shared[SHARED_GUARD];
    if (offset >= engine->shared_bytes()) fail("expected an address in the dynamic shared memory");
    return offset;
}

void *dynamic_shared() { return &engine->shared[SHARED_GUARD]; }

void copy_async(void *shared, const void *global, unsigned bytes, bool valid) {
    if (uintptr_t(shared) % bytes) fail("cp.async of %u bytes to a misaligned shared address", bytes);
    if (uintptr_t(global) % bytes) fail("cp.async of %u bytes from a misaligned global address", bytes);
    if (valid) touch(global, bytes, false);
    touch(shared, bytes, true);
    memset(shared, POISON, bytes);
    engine->fibers[engine->current].copies.back().push_back({shared, global, bytes, valid});
}

void commit_copies() { engine->fibers[engine->current].copies.emplace_back(); }

void wait_copies(unsigned pending) {
    auto &groups = engine->fibers[engine->current].copies;
    while (groups.size() > pending + 1) {
        for (const Copy &copy : groups.front()) {
            touch(copy.to, copy.bytes, true);
            if (copy.valid) memcpy(copy.to, copy.from, copy.bytes);
            else memset(copy.to, 0, copy.bytes);
        }
        groups.erase(groups.begin());
    }
}

void fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    engine->describe(format, list);
    va_end(list);
    engine->pause(State::Done);
    abort();  // a finished thread never continues
}
}  // namespace cuda_cpu

extern "C" const char *cuda_cpu_launch(const cuda_cpu::Kernel *kernel, const unsigned *grid, const unsigned *block,
                                       size_t shared, void **args, unsigned order) {
    if (!cuda_cpu::engine) cuda_cpu::owned_engine.reset(cuda_cpu::engine = new cuda_cpu::Engine);
    return cuda_cpu::engine->launch(*kernel, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared, args,
                                   order);
}
