//! A timer for calls that return a `Result`.

use std::time::{Duration, Instant};

/// Times many calls of a function. The measurement ends after `budget` or `max_calls`, whichever comes first, but not
/// before `min_calls`.
#[derive(Clone, Copy)]
pub struct Timer {
    pub budget: Duration,
    pub min_calls: usize,
    pub max_calls: usize,
}

/// The median and the minimum time of many calls, in milliseconds.
#[derive(Clone, Copy)]
pub struct Times {
    pub median: f64,
    #[allow(dead_code, reason = "only some examples print the minimum")]
    pub min: f64,
}

impl Timer {
    /// Times `call`. Two calls before the measurement are not timed.
    pub fn times<E>(&self, mut call: impl FnMut() -> Result<(), E>) -> Result<Times, E> {
        call()?;
        call()?;
        let start = Instant::now();
        let mut times = Vec::new();
        while times.len() < self.min_calls || (start.elapsed() < self.budget && times.len() < self.max_calls)
        {
            let before = Instant::now();
            call()?;
            times.push(before.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(Times { median: 1e3 * times[times.len() / 2], min: 1e3 * times[0] })
    }
}
