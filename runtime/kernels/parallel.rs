//! Sharing work among the threads of rayon's pool.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `run` with every index below `count`, on this thread and on as many of the pool as help.
///
/// The calling thread begins at once, where a parallel iterator would hand everything to the pool and
/// sleep: waking a thread takes longer than a small layer. Each thread takes the next index when it has
/// done its last, so `run` must not care who calls it, or in which order.
pub(crate) fn for_each(count: usize, run: impl Fn(usize) + Sync) {
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

#[cfg(test)]
mod tests {
    use super::for_each;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_index_once() {
        for count in [0, 1, 2, 7, 1000] {
            let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for_each(count, |index| {
                calls[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
        }
    }
}
