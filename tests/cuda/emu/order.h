// What orders accesses: barriers, and what each thread knows of the others by them.
//
// Barriers of the whole block order everything, and those of a warp its own accesses: a tick for each thread tells
// that. Where there are others (barriers.h), each thread keeps what it knows of every other one.
#pragma once
#include "types.h"
#include <vector>

namespace cuda_cpu {
/// For each of the block's authors, the tick before which its accesses are known. Authors are its threads, then its
/// warps, by what they have started and not waited for (copies, products), then its threads by the writes that they
/// have fenced.
using Knowledge = std::vector<uint32_t>;

inline void join(Knowledge &into, const Knowledge &from) {
    into.resize(std::max(into.size(), from.size()));
    for (size_t i = 0; i < from.size(); i++) into[i] = std::max(into[i], from[i]);
}

class Order {
  public:
    void begin_launch(unsigned threads) {
        threads_ = threads, warps_ = (threads + 31) / 32;
        launch_ = block_ = barrier_ = ++now_;
    }

    void begin_block() {
        block_ = barrier_ = ++now_;
        clocks_.assign(1024, now_);
        knows_ = false;
    }

    void passed_block_barrier() {
        barrier_ = ++now_;
        clocks_.assign(1024, now_);
        if (!knows_) return;
        for (const Knowledge &known : known_)
            for (size_t i = threads_; i < known.size(); i++) common_[i] = std::max(common_[i], known[i]);
    }

    void passed_warp_barrier(unsigned warp, unsigned mask) {
        ++now_;
        std::vector<unsigned> lanes;
        for (unsigned lane = 0; lane < 32; lane++) {
            if (!(mask >> lane & 1)) continue;
            clocks_[warp * 32 + lane] = now_;
            if (knows_) lanes.push_back(warp * 32 + lane);
        }
        if (knows_) share(lanes);
    }

    void passed_barrier_of(const std::vector<unsigned> &threads) {
        ++now_;
        for (unsigned thread : threads) clocks_[thread] = now_;
        share(threads);
    }

    /// From here on, threads know of each other. Whatever several threads have read so far is forgotten.
    void know() {
        if (knows_) return;
        knows_ = true;
        if (known_.size() != threads_) {
            known_.assign(threads_, Knowledge(2 * threads_ + warps_));
            common_.assign(2 * threads_ + warps_, 0);
        }
        for (unsigned thread = 0; thread < threads_; thread++)
            for (unsigned other = thread / 32 * 32; other < std::min(threads_, thread / 32 * 32 + 32); other++)
                known_[thread][other] = clocks_[thread];
    }
    bool knows() const { return knows_; }

    uint32_t tick() { return ++now_; }
    uint32_t clock(unsigned thread) const { return clocks_[thread]; }
    /// The author of what a warp has started and not waited for.
    unsigned started_by(unsigned warp) const { return threads_ + warp; }
    bool is_thread(unsigned author) const { return author < threads_; }

    /// Tells all that the thread knows, its own accesses among them.
    void release(unsigned thread, Knowledge &to) {
        known_[thread][thread] = clocks_[thread] = ++now_;
        join(to, known_[thread]);
    }
    void acquire(unsigned thread, const Knowledge &from) { join(known_[thread], from); }
    /// Tells what the warp had started by that tick.
    void finish(unsigned warp, uint32_t tick, Knowledge &to) const {
        to.resize(2 * threads_ + warps_);
        to[started_by(warp)] = std::max(to[started_by(warp)], tick + 1);
    }
    void learn(unsigned thread, unsigned warp, uint32_t tick) { finish(warp, tick, known_[thread]); }
    void fence(unsigned thread) { known_[thread][fences_of(thread)] = clocks_[thread] = ++now_; }

    /// Whether a tick is of this block.
    bool of_block(uint32_t tick) const { return tick >= block_; }
    /// Whether `thread` knows of no fence after what the writer wrote then.
    bool unfenced(unsigned thread, uint32_t tick, unsigned writer) const {
        return is_thread(writer) && of_block(tick) && unknown(thread, tick, fences_of(writer));
    }

    /// Whether nothing orders an access at that tick by that author before the running thread's.
    bool unordered(unsigned thread, uint32_t tick, unsigned author) const {
        if (knows_ && !is_thread(author)) return author < known_[thread].size() && unknown(thread, tick, author);
        if (tick < barrier_ || author == thread) return false;
        if (knows_) return tick >= known_[thread][author];
        const bool same_warp = author != SEVERAL_WARPS && (author & SEVERAL_OF_WARP ? author & 31u : author / 32u) == thread / 32;
        return !(same_warp && tick < clocks_[thread]);
    }
    bool of_launch(uint32_t tick) const { return tick >= launch_; }

    static constexpr uint16_t NOBODY = 0xfffe, SEVERAL_WARPS = 0xffff, SEVERAL_OF_WARP = 0x8000;

  private:
    unsigned fences_of(unsigned thread) const { return threads_ + warps_ + thread; }
    bool unknown(unsigned thread, uint32_t tick, unsigned author) const {
        return tick >= std::max(known_[thread][author], common_[author]);
    }

    void share(const std::vector<unsigned> &threads) {
        Knowledge all;
        for (unsigned thread : threads) {
            known_[thread][thread] = clocks_[thread];
            join(all, known_[thread]);
        }
        for (unsigned thread : threads) known_[thread] = all;
    }

    /// Ticks: of the launch's, the block's and the last barrier's begin, and each thread's last barrier.
    uint32_t now_ = 0, launch_ = 0, block_ = 0, barrier_ = 0;
    std::vector<uint32_t> clocks_ = std::vector<uint32_t>(1024);
    unsigned threads_ = 0, warps_ = 0;
    bool knows_ = false;
    std::vector<Knowledge> known_;
    /// What everybody knows since the last barrier of the block.
    Knowledge common_;
};
}  // namespace cuda_cpu
