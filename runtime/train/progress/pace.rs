//! The speed of an epoch, and the time until its end.

use std::fmt;
use std::time::Duration;

/// The numbers of batches and examples since an epoch started or was resumed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    batches: usize,
    examples: usize,
}

impl Pace {
    /// Counts a batch.
    pub fn add(&mut self, examples: usize) {
        self.batches += 1;
        self.examples += examples;
    }

    /// Returns the number of examples per second.
    pub fn examples_per_second(self, elapsed: Duration) -> f64 {
        self.examples as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Returns the time until `batches` more batches are finished, or `None` before the first batch.
    pub fn time_left(self, elapsed: Duration, batches: usize) -> Option<TimeLeft> {
        let seconds = elapsed.as_secs_f64() / self.batches as f64 * batches as f64;
        seconds.is_finite().then_some(TimeLeft(seconds))
    }
}

/// A time in seconds that is displayed roughly: `12 s`, `3 min 20 s` or `2 h 5 min`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TimeLeft(f64);

impl fmt::Display for TimeLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.round() as u64;
        let minutes = seconds / 60;
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{minutes} min {} s", seconds % 60),
            _ => write!(f, "{} h {} min", minutes / 60, minutes % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_remaining_batches() {
        let mut pace = Pace::default();
        assert_eq!(pace.time_left(Duration::from_secs(1), 10), None);
        (0..4).for_each(|_| pace.add(32));
        let elapsed = Duration::from_secs(2);
        assert_eq!(pace.examples_per_second(elapsed), 64.);
        let left = |batches| pace.time_left(elapsed, batches).unwrap().to_string();
        assert_eq!([left(0), left(24), left(400), left(15_000)], ["0 s", "12 s", "3 min 20 s", "2 h 5 min"]);
    }
}
