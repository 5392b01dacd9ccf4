//! Limits the time that is spent on work for display.

use std::time::{Duration, Instant};

/// Runs work at most once per interval, and for at most a 50th of the time.
pub(super) struct Throttle {
    interval: Duration,
    /// When the work is due, or `None` at first.
    next: Option<Instant>,
}

impl Throttle {
    /// The minimum pause after the work, as a multiple of its duration.
    const PAUSE: u32 = 50;

    pub fn new(interval: Duration) -> Self {
        Self { interval, next: None }
    }

    /// Runs `work` and returns its result, or returns `None` if it is not due.
    pub fn run<R>(&mut self, work: impl FnOnce() -> R) -> Option<R> {
        let start = Instant::now();
        if self.next.is_some_and(|next| start < next) {
            return None;
        }
        let result = work();
        let end = Instant::now();
        self.next = end.checked_add(self.interval.max((end - start).saturating_mul(Self::PAUSE)));
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_a_small_part_of_the_time() {
        let mut throttle = Throttle::new(Duration::ZERO);
        let work = || std::thread::sleep(Duration::from_millis(2));
        let start = Instant::now();
        let mut runs = 0;
        while start.elapsed() < Duration::from_millis(50) {
            runs += usize::from(throttle.run(work).is_some());
        }
        assert_eq!(runs, 1, "the second run is due after 100 ms");
        let mut throttle = Throttle::new(Duration::from_secs(3600));
        assert_eq!((throttle.run(|| 1), throttle.run(|| 2)), (Some(1), None));
    }
}
