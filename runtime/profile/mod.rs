//! The launches of a forward pass with their times.

mod chrome;
mod table;

use std::time::{Duration, Instant};

use crate::Result;
use crate::kernels::trace::{MeasuredLaunch, Work, measure};
use crate::module::{Forward, Mode};
use crate::signal::IntoTensors;
use crate::summary::{SummaryInput, enter_root};

/// The first runs pack weights and allocate activations, so their times are not those of later runs.
const DISCARDED_RUNS: usize = 2;
/// An odd number, so that the median is the time of a run.
const MEASURED_RUNS: usize = 9;

/// The launches of a forward pass with their times, in the order in which they began. Returned by
/// [`Network::profile`](crate::Network::profile).
///
/// `Display` prints a table. With the feature `serde`, the profile implements `serde::Serialize`.
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Module)]
/// #[module(forward = |x| head(flatten(relu(conv(x)), 1)))]
/// struct Net {
///     #[layer(1, 4, 3)]
///     conv: Conv2d,
///     #[layer(4 * 6 * 6, 10)]
///     head: Linear,
/// }
/// # fn main() -> Result<()> {
/// let net = Net::new(&Device::Cpu)?;
/// let x = Tensor::zeros((2, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let profile = net.profile(Signal::from(x))?;
/// println!("{profile}");
/// let conv = &profile.launches[0];
/// assert_eq!((conv.path.as_str(), conv.operations.as_str()), ("Net.conv", "conv2d + bias + relu"));
/// assert_eq!(conv.multiply_adds, 2 * 4 * 6 * 6 * (3 * 3));
/// assert!(conv.gigaflops_per_second() > Some(0.));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Profile {
    /// The type of the network, such as `Net`.
    pub network: String,
    /// The launches, in the order in which they began.
    pub launches: Vec<LaunchProfile>,
    /// The number of runs that were measured. Runs whose launches differ from those of the last run do not count.
    pub runs: usize,
    /// The time of the forward pass: the sum of the times of the launches and outside of launches.
    pub milliseconds: f64,
    /// The time outside of launches: the median over the runs. It includes the time that recording the launches takes.
    pub outside_milliseconds: f64,
    /// The multiply-adds of all launches.
    pub multiply_adds: u64,
    /// The size of the operands of all launches in bytes.
    pub bytes_read: u64,
    /// The size of the results of all launches in bytes.
    pub bytes_written: u64,
    /// The time of the run whose launches [`write_chrome_trace`](Self::write_chrome_trace) writes.
    #[cfg_attr(feature = "serde", serde(skip))]
    run_time: Duration,
}

/// A launch in a [`Profile`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LaunchProfile {
    /// The path of the layer that started the launch, such as `Net.conv`.
    pub path: String,
    /// The operations that ran in the launch, such as `conv2d + bias + relu`.
    pub operations: String,
    /// The time of the launch without that of the launches in it: the median over the runs.
    pub milliseconds: f64,
    /// The part of the time of the forward pass, between 0 and 1.
    pub share: f64,
    /// The multiply-adds, without those of the launches in this launch. 0 if the operations have none, or if their
    /// number is unknown.
    pub multiply_adds: u64,
    /// The size of the operands in bytes: of the inputs, the parameters and the residual. 0 if the result is a view.
    pub bytes_read: u64,
    /// The size of the results in bytes. 0 if the result is a view.
    pub bytes_written: u64,
    /// Whether the launch only converted an activation to or from the channel-blocked layout.
    pub changes_layout: bool,
    /// The time from the beginning of one run to that of the launch.
    #[cfg_attr(feature = "serde", serde(skip))]
    start: Duration,
    /// The time of the launch in this run, with that of the launches in it.
    #[cfg_attr(feature = "serde", serde(skip))]
    duration: Duration,
}

/// One forward pass.
struct Run {
    time: Duration,
    launches: Vec<MeasuredLaunch>,
}

impl Run {
    fn new<I, M: Forward<I, Output: IntoTensors>>(network: &M, input: I) -> Result<Self> {
        // The launches are in this time, because their measurement begins later.
        let began = Instant::now();
        let (result, launches) = measure(|| network.call(input, Mode::Eval).into_tensors().map(drop));
        let time = began.elapsed();
        result.map(|()| Self { time, launches })
    }

    fn has_launches_of(&self, other: &Self) -> bool {
        let launches = self.launches.iter().map(|measured| &measured.launch);
        launches.eq(other.launches.iter().map(|measured| &measured.launch))
    }

    fn outside_of_launches(&self) -> Duration {
        self.time.saturating_sub(self.launches.iter().map(own_time).sum())
    }
}

impl Profile {
    /// Runs the network several times in evaluation mode and measures its launches.
    pub(crate) fn new<I, M>(network: &M, input: I) -> Result<Self>
    where
        I: SummaryInput + Clone,
        M: Forward<I, Output: IntoTensors>,
    {
        let _scope = enter_root(network);
        let run = || Run::new(network, input.clone());
        for _ in 0..DISCARDED_RUNS {
            run()?;
        }
        let mut runs = (1..MEASURED_RUNS).map(|_| run()).collect::<Result<Vec<_>>>()?;
        let last = run()?;
        runs.retain(|run| run.has_launches_of(&last));
        runs.push(last);
        Ok(Self::from_runs(network.kind().into_owned(), runs))
    }

    /// Summarizes runs that have the same launches. There must be at least one.
    fn from_runs(network: String, mut runs: Vec<Run>) -> Self {
        runs.sort_by_key(|run| run.time);
        let outside_milliseconds = median(&runs, Run::outside_of_launches);
        let shown = &runs[runs.len() / 2];
        let times = (0..shown.launches.len()).map(|i| median(&runs, |run| own_time(&run.launches[i])));
        let times: Vec<f64> = times.collect();
        let milliseconds = times.iter().sum::<f64>() + outside_milliseconds;
        let launches = shown.launches.iter().zip(times);
        let launches = launches.map(|(measured, time)| LaunchProfile::new(measured, time, milliseconds));
        let mut work = Work::default();
        shown.launches.iter().for_each(|measured| work += measured.work);
        let Work { multiply_adds, bytes_read, bytes_written } = work;
        Self {
            network,
            launches: launches.collect(),
            runs: runs.len(),
            milliseconds,
            outside_milliseconds,
            multiply_adds,
            bytes_read,
            bytes_written,
            run_time: shown.time,
        }
    }

    /// Returns the part of the time of the forward pass that is outside of launches, between 0 and 1.
    pub fn outside_share(&self) -> f64 {
        share(self.outside_milliseconds, self.milliseconds)
    }

    /// Returns the time of all launches that only change a layout.
    pub fn layout_milliseconds(&self) -> f64 {
        let changes = self.launches.iter().filter(|launch| launch.changes_layout);
        // The sum of no numbers would be -0.
        changes.fold(0., |sum, launch| sum + launch.milliseconds)
    }

    /// Returns the floating-point operations per nanosecond of the forward pass, two for each multiply-add. Returns
    /// `None` if there are none.
    pub fn gigaflops_per_second(&self) -> Option<f64> {
        rate(self.multiply_adds as f64 * 2., self.milliseconds)
    }

    /// Returns the bytes per nanosecond that all launches read and write. Returns `None` if there are none.
    pub fn gigabytes_per_second(&self) -> Option<f64> {
        rate(self.bytes_read as f64 + self.bytes_written as f64, self.milliseconds)
    }
}

impl LaunchProfile {
    fn new(measured: &MeasuredLaunch, milliseconds: f64, total: f64) -> Self {
        let MeasuredLaunch { launch, start, duration, work, .. } = measured;
        let Work { multiply_adds, bytes_read, bytes_written } = *work;
        Self {
            path: launch.path.clone(),
            operations: launch.operations.clone(),
            milliseconds,
            share: share(milliseconds, total),
            multiply_adds,
            bytes_read,
            bytes_written,
            changes_layout: launch.changes_layout(),
            start: *start,
            duration: *duration,
        }
    }

    /// Returns the floating-point operations per nanosecond, two for each multiply-add. Returns `None` if there are
    /// none.
    pub fn gigaflops_per_second(&self) -> Option<f64> {
        rate(self.multiply_adds as f64 * 2., self.milliseconds)
    }

    /// Returns the bytes per nanosecond that the launch reads and writes. The size of an operand counts once, even if
    /// the kernel reads it several times. Returns `None` if there are no bytes.
    pub fn gigabytes_per_second(&self) -> Option<f64> {
        rate(self.bytes_read as f64 + self.bytes_written as f64, self.milliseconds)
    }
}

/// Returns the time of a launch without that of the launches in it.
fn own_time(measured: &MeasuredLaunch) -> Duration {
    measured.duration.saturating_sub(measured.inner)
}

/// Returns the median of a time of each run, in milliseconds. If the number of runs is even, the larger of the two
/// times in the middle.
fn median(runs: &[Run], time: impl Fn(&Run) -> Duration) -> f64 {
    let mut times: Vec<Duration> = runs.iter().map(time).collect();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn share(milliseconds: f64, total: f64) -> f64 {
    if total > 0. { milliseconds / total } else { 0. }
}

/// Returns the number per nanosecond.
fn rate(number: f64, milliseconds: f64) -> Option<f64> {
    (number > 0. && milliseconds > 0.).then(|| number / (milliseconds * 1e6))
}
