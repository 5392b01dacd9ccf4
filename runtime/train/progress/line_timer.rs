//! When to write a line about an unfinished epoch.

use std::time::Duration;

/// The minimum time between two lines.
const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// The time after which a line is written even if little of the epoch has passed.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// The number of equal parts into which an epoch is divided. A line is due after each part, but not before
/// `MIN_INTERVAL`.
const PARTS: usize = 10;

/// Decides when a line is due: after each tenth of a long epoch, and after each minute without a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineTimer {
    last_time: Duration,
    last_batch: usize,
}

impl LineTimer {
    /// Returns `true` if a line is due after `batch` batches. `batches` is the number of batches of the epoch, or
    /// `None` if it is unknown. `elapsed` is the time since the epoch started.
    pub fn is_due(&mut self, elapsed: Duration, batch: usize, batches: Option<usize>) -> bool {
        let part = |batch: usize| batches.map_or(0, |batches| batch.saturating_mul(PARTS) / batches.max(1));
        let since_last = elapsed.saturating_sub(self.last_time);
        let is_new_part = part(batch) > part(self.last_batch);
        // After the last batch, the line about the finished epoch follows immediately.
        let is_last = batches == Some(batch);
        let is_due = !is_last && (since_last >= MAX_INTERVAL || since_last >= MIN_INTERVAL && is_new_part);
        if is_due {
            *self = Self { last_time: elapsed, last_batch: batch };
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the batches with a line in an epoch of 1000 batches.
    fn lines(batches: Option<usize>, milliseconds_per_batch: u64) -> Vec<usize> {
        let mut timer = LineTimer::default();
        let elapsed = |batch: usize| Duration::from_millis(batch as u64 * milliseconds_per_batch);
        (1..=1000).filter(|batch| timer.is_due(elapsed(*batch), *batch, batches)).collect()
    }

    #[test]
    fn lines_are_neither_frequent_nor_rare() {
        assert!(lines(Some(1000), 9).is_empty(), "an epoch of 9 seconds");
        assert_eq!(lines(Some(1000), 40), [250, 500, 750], "an epoch of 40 seconds");
        assert_eq!(lines(Some(1000), 200), (1..10).map(|part| part * 100).collect::<Vec<_>>());
        assert_eq!(lines(Some(1000), 1200)[..3], [50, 100, 150], "an epoch of 20 minutes");
        assert_eq!(lines(None, 200), [300, 600, 900]);
    }
}
