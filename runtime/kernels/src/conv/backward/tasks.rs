//! Splits a result into tasks by its shape alone, so that it is bit-equal for any number of threads.

use crate::parallel::{cost, for_each_chunk};
use crate::simd::{Isa, Real, Work};

/// Tasks a gradient is split into at least, where it has the work.
pub(super) const TASKS: usize = 32;

/// Runs every task, on the threads of rayon's pool where `work` multiply-adds are worth it.
pub(super) fn run_all<R: Real, W: Work<R>>(isa: Isa, work: usize, tasks: Vec<W>) {
    if work < cost::SPLIT_MULTIPLY_ADDS || tasks.len() < 2 {
        tasks.into_iter().for_each(|task| R::dispatch(isa, task));
    } else {
        let mut tasks: Vec<Option<W>> = tasks.into_iter().map(Some).collect();
        for_each_chunk(&mut tasks, 1, |_, task| {
            task.iter_mut().filter_map(Option::take).for_each(|task| R::dispatch(isa, task));
        });
    }
}

/// How many channels make a task, for `channels` of them in groups of `per_group`, each with `work`
/// multiply-adds: whole groups, or a multiple of `block` within one.
pub(super) fn channels_per_task(channels: usize, per_group: usize, block: usize, work: usize) -> usize {
    let enough = cost::MULTIPLY_ADDS.div_ceil(work.max(1));
    if enough >= per_group {
        return (enough / per_group * per_group).min(channels);
    }
    let wanted = (channels / TASKS).clamp(1, 4 * block).max(enough);
    wanted.next_multiple_of(block).min(per_group)
}

/// Splits `data`, `size` numbers a channel, into runs of `per_task` channels that end with their group
/// unless they are of whole groups. Each comes with the number of its first channel.
pub(super) fn split_channels<R>(
    mut data: &mut [R],
    size: usize,
    per_group: usize,
    per_task: usize,
) -> Vec<(usize, &mut [R])> {
    let (mut parts, mut first) = (Vec::new(), 0);
    while !data.is_empty() {
        let left = data.len() / size;
        let count = match per_task < per_group {
            true => per_task.min(per_group - first % per_group),
            false => per_task.min(left),
        };
        let (part, rest) = data.split_at_mut(count * size);
        parts.push((first, part));
        (data, first) = (rest, first + count);
    }
    parts
}
