//! Splits a result into tasks. The split depends on the shape alone, so results are bit-identical for any number of
//! threads.

use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Isa, Real, Task};

/// The minimum number of tasks of a gradient, if there is enough work for them.
pub(super) const MIN_TASKS: usize = 32;

/// Runs all tasks, in rayon's thread pool if `work`, the number of multiply-adds, is large enough.
pub(super) fn run_tasks<R: Real, T: Task<R>>(isa: Isa, work: usize, tasks: Vec<T>) {
    if work < cost::MIN_SPLIT_MULTIPLY_ADDS || tasks.len() < 2 {
        tasks.into_iter().for_each(|task| R::dispatch(isa, task));
    } else {
        let mut tasks: Vec<Option<T>> = tasks.into_iter().map(Some).collect();
        for_each_chunk(&mut tasks, 1, |_, task| {
            task.iter_mut().filter_map(Option::take).for_each(|task| R::dispatch(isa, task));
        });
    }
}

/// Returns the number of channels of a task if there are `channels` channels in groups of `per_group`.
///
/// `work` is the number of multiply-adds of a channel. A task covers whole groups, or a multiple of `block` channels of
/// one group (fewer in the last task of the group).
pub(super) fn channels_per_task(channels: usize, per_group: usize, block: usize, work: usize) -> usize {
    // The minimum number of channels whose work is worth a task.
    let enough = cost::MIN_MULTIPLY_ADDS.div_ceil(work.max(1));
    if enough >= per_group {
        return (enough / per_group * per_group).min(channels);
    }
    // The number of channels that gives `MIN_TASKS` tasks, within limits.
    let wanted = (channels / MIN_TASKS).clamp(1, 4 * block).max(enough);
    wanted.next_multiple_of(block).min(per_group)
}

/// Splits `data`, which has `size` elements per channel, into parts of `per_task` channels.
///
/// A part covers whole groups or lies within one group; the last part of a group may be smaller. Returns each part with
/// the index of its first channel.
pub(super) fn split_channels<R>(
    mut data: &mut [R],
    size: usize,
    per_group: usize,
    per_task: usize,
) -> Vec<(usize, &mut [R])> {
    let mut parts = Vec::new();
    let mut first = 0;
    while !data.is_empty() {
        let left = data.len() / size;
        let count = if per_task < per_group {
            per_task.min(per_group - first % per_group)
        } else {
            per_task.min(left)
        };
        let (part, rest) = data.split_at_mut(count * size);
        parts.push((first, part));
        (data, first) = (rest, first + count);
    }
    parts
}
