// Tracks which memory accesses happen before which others.
//
// Barriers of the whole block order the accesses of all threads, and barriers of a warp order the accesses of the
// warp's threads. One tick per thread is enough to record this order. A kernel with other barriers (barriers.h) also
// needs a vector clock for each thread.
#pragma once
#include "types.h"
#include <vector>

namespace cuda_cpu {
/// The vector clock of a thread. It has one tick for each agent of the block: the accesses that the agent made before
/// this tick happen before the thread's next accesses. The agents are, in this order:
/// - the block's threads, for their own accesses;
/// - its warps, for the accesses of the copies and products that they started;
/// - its threads again, for the writes that they have fenced.
///
/// A barrier also has vector clocks, which merge those of the threads that arrive.
using VectorClock = std::vector<uint32_t>;

inline void join(VectorClock &into, const VectorClock &from) {
    into.resize(std::max(into.size(), from.size()));
    for (size_t i = 0; i < from.size(); i++) into[i] = std::max(into[i], from[i]);
}

class Order {
  public:
    void begin_launch(unsigned threads) {
        threads_ = threads, warps_ = (threads + 31) / 32;
        launch_ = block_ = last_block_barrier_ = ++now_;
    }

    void begin_block() {
        block_ = last_block_barrier_ = ++now_;
        std::fill_n(last_barriers_.begin(), threads_, now_);
        tracks_clocks_ = false;
    }

    void passed_block_barrier() {
        last_block_barrier_ = ++now_;
        std::fill_n(last_barriers_.begin(), threads_, now_);
        if (!tracks_clocks_) return;
        for (const VectorClock &clock : thread_clocks_)
            for (size_t i = threads_; i < clock.size(); i++) block_clock_[i] = std::max(block_clock_[i], clock[i]);
    }

    void passed_warp_barrier(unsigned warp, unsigned mask) {
        ++now_;
        std::vector<unsigned> lanes;
        for (unsigned lane = 0; lane < 32; lane++) {
            if (!(mask >> lane & 1)) continue;
            last_barriers_[warp * 32 + lane] = now_;
            if (tracks_clocks_) lanes.push_back(warp * 32 + lane);
        }
        if (tracks_clocks_) share(lanes);
    }

    void passed_barrier_of(const std::vector<unsigned> &threads) {
        ++now_;
        for (unsigned thread : threads) last_barriers_[thread] = now_;
        share(threads);
    }

    /// Starts to track vector clocks. If the recorded reader of a byte stands for several threads, later writes are not
    /// checked against these reads.
    void track_clocks() {
        if (tracks_clocks_) return;
        tracks_clocks_ = true;
        if (thread_clocks_.size() != threads_) {
            thread_clocks_.assign(threads_, VectorClock(2 * threads_ + warps_));
            block_clock_.assign(2 * threads_ + warps_, 0);
        }
        for (unsigned thread = 0; thread < threads_; thread++)
            for (unsigned other = thread / 32 * 32; other < std::min(threads_, thread / 32 * 32 + 32); other++)
                thread_clocks_[thread][other] = last_barriers_[thread];
    }
    bool tracks_clocks() const { return tracks_clocks_; }

    uint32_t tick() { return ++now_; }
    uint32_t clock(unsigned thread) const { return last_barriers_[thread]; }
    /// The agent of a warp's copies and products.
    unsigned started_by(unsigned warp) const { return threads_ + warp; }
    bool is_thread(unsigned agent) const { return agent < threads_; }

    /// Updates the thread's clock to include the thread's accesses so far, and merges it into `to`.
    void release(unsigned thread, VectorClock &to) {
        thread_clocks_[thread][thread] = last_barriers_[thread] = ++now_;
        join(to, thread_clocks_[thread]);
    }
    void acquire(unsigned thread, const VectorClock &from) { join(thread_clocks_[thread], from); }
    /// Records in `to` that the copies and products of the warp up to `tick` have finished.
    void finish(unsigned warp, uint32_t tick, VectorClock &to) const {
        to.resize(2 * threads_ + warps_);
        to[started_by(warp)] = std::max(to[started_by(warp)], tick + 1);
    }
    void acquire_finished(unsigned thread, unsigned warp, uint32_t tick) { finish(warp, tick, thread_clocks_[thread]); }
    void fence(unsigned thread) { thread_clocks_[thread][fences_of(thread)] = last_barriers_[thread] = ++now_; }

    /// Returns a tick: all accesses before it are ordered before the next access of every thread. This quick check
    /// covers most accesses.
    uint32_t ordered_before(bool global) const { return global || tracks_clocks_ ? launch_ : last_block_barrier_; }
    /// Returns `true` if a tick belongs to this block.
    bool of_block(uint32_t tick) const { return tick >= block_; }
    /// Returns `true` if the write that the thread `writer` made at `tick` is unfenced: no later fence of `writer`
    /// happens before the next access of `thread`.
    bool unfenced(unsigned thread, uint32_t tick, unsigned writer) const {
        return is_thread(writer) && of_block(tick) && unordered_after(thread, tick, fences_of(writer));
    }

    /// Returns `true` if no barrier orders the access by `agent` at `tick` before the next access of `thread`.
    bool unordered(unsigned thread, uint32_t tick, unsigned agent) const {
        if (tracks_clocks_ && !is_thread(agent))
            return agent < thread_clocks_[thread].size() && unordered_after(thread, tick, agent);
        if (tick < last_block_barrier_ || agent == thread) return false;
        if (tracks_clocks_) return tick >= thread_clocks_[thread][agent];
        const unsigned warp = agent & SEVERAL_OF_WARP ? agent & 31u : agent / 32u;
        const bool same_warp = agent != SEVERAL_WARPS && warp == thread / 32;
        return !(same_warp && tick < last_barriers_[thread]);
    }
    bool of_launch(uint32_t tick) const { return tick >= launch_; }

    /// Special values of a recorded agent (memory.cpp): none; threads of several warps; and, combined with the index of
    /// a warp, several threads of this warp.
    static constexpr uint16_t NO_AGENT = 0xfffe, SEVERAL_WARPS = 0xffff, SEVERAL_OF_WARP = 0x8000;

  private:
    unsigned fences_of(unsigned thread) const { return threads_ + warps_ + thread; }
    bool unordered_after(unsigned thread, uint32_t tick, unsigned agent) const {
        return tick >= std::max(thread_clocks_[thread][agent], block_clock_[agent]);
    }

    /// Sets the clocks of these threads to the maximum of their clocks.
    void share(const std::vector<unsigned> &threads) {
        VectorClock all;
        for (unsigned thread : threads) {
            thread_clocks_[thread][thread] = last_barriers_[thread];
            join(all, thread_clocks_[thread]);
        }
        for (unsigned thread : threads) thread_clocks_[thread] = all;
    }

    /// Ticks: the current one, the start of the launch, the start of the block, and the last barrier of the whole
    /// block.
    uint32_t now_ = 0, launch_ = 0, block_ = 0, last_block_barrier_ = 0;
    /// The tick of each thread's last barrier, release or fence. The thread's accesses are recorded with this tick.
    std::vector<uint32_t> last_barriers_ = std::vector<uint32_t>(1024);
    unsigned threads_ = 0, warps_ = 0;
    bool tracks_clocks_ = false;
    std::vector<VectorClock> thread_clocks_;
    /// The ticks of copies, products and fences, merged from the clocks of all threads at the block's last barrier.
    VectorClock block_clock_;
};
}  // namespace cuda_cpu
