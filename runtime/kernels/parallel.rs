//! Sharing work among the threads of rayon's pool.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `run` with every index below `count`, on this thread and on as many of the pool as help.
///
/// The calling thread begins at once, where a parallel iterator would hand everything to the pool and
/// sleep: waking a thread takes longer than a small layer. Each thread takes the next index when it has
/// done its last, so `run` must not care who calls it, or in which order. Behind a pointer, because a copy
/// of rayon's machinery for every caller would take longer to compile than the kernels.
pub(crate) fn for_each(count: usize, run: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            run(index);
        }
    };
    let helpers = rayon::current_num_threads().min(count).saturating_sub(1);
    if helpers == 0 {
        return work();
    }
    rayon::in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| work());
        }
        work();
    });
}

/// Calls `run` with every run of `len` elements of `data` and its number; the last one may be shorter.
pub(crate) fn for_each_chunk<T: Send>(data: &mut [T], len: usize, run: impl Fn(usize, &mut [T]) + Sync) {
    let (start, total) = (Start(data.as_mut_ptr()), data.len());
    for_each(total.div_ceil(len.max(1)), &|index| {
        let from = index * len;
        // SAFETY: `from < total`, and no two indices share an element; `data` is borrowed until all are done.
        run(index, unsafe { std::slice::from_raw_parts_mut(start.at(from), len.min(total - from)) });
    });
}

/// Calls `run` with every row of `row` elements of `data` and its number; a task takes as many rows as have
/// `least` elements.
pub(crate) fn for_each_row<T: Send>(
    row: usize,
    least: usize,
    data: &mut [T],
    run: impl Fn(usize, &mut [T]) + Sync,
) {
    if row == 0 {
        return;
    }
    let rows = least.div_ceil(row);
    for_each_chunk(data, rows * row, |task, data| {
        data.chunks_exact_mut(row).enumerate().for_each(|(i, row)| run(task * rows + i, row));
    });
}

/// Where the data of several threads begins.
struct Start<T>(*mut T);

impl<T> Start<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

// SAFETY: each thread reads and writes elements of its own, which may be sent to it.
unsafe impl<T: Send> Sync for Start<T> {}

#[cfg(test)]
mod tests {
    use super::{for_each, for_each_chunk};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_index_once() {
        for count in [0, 1, 2, 7, 1000] {
            let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for_each(count, &|index| {
                calls[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn chunks_cover_the_data() {
        for (count, len) in [(0, 3), (1, 3), (9, 3), (10, 3), (1000, 7)] {
            let mut data = vec![usize::MAX; count];
            for_each_chunk(&mut data, len, |index, chunk| {
                chunk.iter_mut().enumerate().for_each(|(i, x)| *x = index * len + i);
            });
            assert!(data.iter().copied().eq(0..count));
        }
    }
}
