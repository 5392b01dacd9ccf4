//! The range and the ticks of an axis.

/// The maximum number of intervals between the ticks of an axis.
const MAX_INTERVALS: usize = 7;
/// A logarithmic scale is used if the values differ by at least this factor.
const LOG_FACTOR: f64 = 100.;
/// Values beyond this limit are not drawn, because their differences overflow.
const LIMIT: f64 = 1e300;

/// How the values of an axis are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Linear, with ticks at integers.
    Integers,
    /// Linear.
    Linear,
    /// Logarithmic if all values are positive and differ by orders of magnitude, otherwise linear.
    Logarithmic,
}

/// A range of values that is mapped to `0.0..=1.0`.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    pub is_log: bool,
    /// The position, from 0 to 1, and the label of each tick.
    pub ticks: Vec<(f64, String)>,
}

/// Returns `true` if a value can be drawn.
pub(super) fn is_drawable(value: f64) -> bool {
    value.abs() < LIMIT
}

impl Axis {
    /// Returns an axis for all drawable `values`, or `None` if there are none.
    pub fn from_values(values: impl Iterator<Item = f64> + Clone, scale: Scale) -> Option<Self> {
        let values = values.filter(|value| is_drawable(*value));
        let low = values.clone().reduce(f64::min)?;
        let high = values.reduce(f64::max)?;
        let is_log = scale == Scale::Logarithmic && low > 0. && high / low >= LOG_FACTOR;
        let (low, high) = if is_log { padded(low.log10(), high.log10()) } else { padded(low, high) };
        let ticks = match scale {
            _ if is_log => log_ticks(low, high),
            Scale::Integers => linear_ticks(low, high, 1.),
            Scale::Linear | Scale::Logarithmic => linear_ticks(low, high, 0.),
        };
        Some(Self { low, high, is_log, ticks })
    }

    /// Returns the position of a value, or `None` if it cannot be drawn.
    pub fn position(&self, value: f64) -> Option<f64> {
        let value = if self.is_log { value.log10() } else { value };
        is_drawable(value).then(|| (value - self.low) / (self.high - self.low))
    }
}

/// Returns the range from `low` to `high` with a margin on both sides. The result is never empty, even if `low` equals
/// `high`.
fn padded(low: f64, high: f64) -> (f64, f64) {
    let min_length = (low.abs().max(high.abs()) * 1e-9).max(f64::MIN_POSITIVE);
    let margin = if high - low > min_length { (high - low) * 0.04 } else { (low.abs() * 0.1).max(1e-3) };
    (low - margin, high + margin)
}

/// Returns ticks at the multiples of a step. The step is 1, 2 or 5 times a power of 10, and at least `smallest_step`.
fn linear_ticks(low: f64, high: f64, smallest_step: f64) -> Vec<(f64, String)> {
    let lower_bound = ((high - low) / MAX_INTERVALS as f64).max(smallest_step);
    let power = 10f64.powi(lower_bound.log10().floor() as i32);
    let step = [1., 2., 5., 10.].map(|factor| factor * power).into_iter().find(|step| *step >= lower_bound);
    let step = step.unwrap_or(lower_bound);
    let first = (low / step).ceil();
    let multiples = (0..=MAX_INTERVALS).map(|index| (first + index as f64) * step);
    let ticks: Vec<f64> = multiples.take_while(|tick| *tick <= high).collect();
    let largest = ticks.iter().fold(0f64, |largest, tick| largest.max(tick.abs()));
    let label = |tick: &f64| label(*tick, step, largest);
    ticks.iter().map(|tick| ((tick - low) / (high - low), label(tick))).collect()
}

/// Returns the text of a tick. It has a suffix such as `k` if the largest tick is at least 10,000, and a power of 10 if
/// the largest tick is less than 0.01 or at least 10¹².
fn label(tick: f64, step: f64, largest: f64) -> String {
    if tick.abs() < step / 2. {
        return "0".into();
    }
    for (unit, suffix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if largest >= 10. * unit && largest < 1e12 {
            return format!("{:.*}{suffix}", decimals(step / unit), tick / unit);
        }
    }
    if (1e-2..1e12).contains(&largest) {
        return format!("{tick:.*}", decimals(step));
    }
    let digits = (tick.abs().log10() + 1e-9).floor() - (step.log10() + 1e-9).floor();
    let text = format!("{tick:.*e}", digits.clamp(0., 15.) as usize);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches(['0']) } else { mantissa };
    format!("{}e{exponent}", mantissa.trim_end_matches('.'))
}

/// Returns the number of decimals that tell multiples of `step` apart.
fn decimals(step: f64) -> usize {
    (-(step.log10() + 1e-9).floor()).clamp(0., 15.) as usize
}

/// Returns ticks at powers of 10. `low` and `high` are exponents.
fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let exponents = low.ceil() as i32..=high.floor() as i32;
    let every = exponents.clone().count().div_ceil(MAX_INTERVALS).max(1);
    let position = |exponent: i32| (f64::from(exponent) - low) / (high - low);
    exponents.step_by(every).map(|exponent| (position(exponent), power_label(exponent))).collect()
}

fn power_label(exponent: i32) -> String {
    match exponent {
        -3..=-1 => format!("{:.*}", exponent.unsigned_abs() as usize, 10f64.powi(exponent)),
        0..=4 => format!("{}", 10f64.powi(exponent)),
        _ => format!("1e{exponent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], scale: Scale) -> Vec<String> {
        let axis = Axis::from_values(values.iter().copied(), scale).unwrap();
        assert!(axis.ticks.iter().all(|(position, _)| (0. ..=1.).contains(position)), "{axis:?}");
        axis.ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_have_short_labels() {
        assert_eq!(labels(&[0., 1.], Scale::Linear), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[1e-4, 3e-4], Scale::Linear), ["1e-4", "1.5e-4", "2e-4", "2.5e-4", "3e-4"]);
        assert_eq!(labels(&[100., 46_900.], Scale::Integers), ["0", "10k", "20k", "30k", "40k"]);
        assert_eq!(labels(&[2e6, 3e7], Scale::Integers), ["5M", "10M", "15M", "20M", "25M", "30M"]);
        assert_eq!(labels(&[1., 3.], Scale::Integers), ["1", "2", "3"]);
        assert_eq!(labels(&[3.], Scale::Integers), ["3"]);
        assert_eq!(labels(&[-5., 5.], Scale::Linear), ["-4", "-2", "0", "2", "4"]);
        assert_eq!(labels(&[1e-3, 20.], Scale::Logarithmic), ["0.001", "0.01", "0.1", "1", "10"]);
        assert_eq!(labels(&[1e-9, 1.], Scale::Logarithmic), ["1e-9", "1e-7", "1e-5", "0.001", "0.1"]);
    }

    #[test]
    fn every_range_has_an_axis() {
        for values in [
            vec![0.],
            vec![5.],
            vec![-1e299, 1e299],
            vec![1e-320, 1e299],
            vec![1e15, 1e15 + 1.],
            vec![f64::MIN_POSITIVE],
            vec![f64::NAN, 3., f64::INFINITY],
            vec![-0.5, 1e-30],
            vec![1e16, 1e16 + 2.],
        ] {
            for scale in [Scale::Integers, Scale::Linear, Scale::Logarithmic] {
                let axis = Axis::from_values(values.iter().copied(), scale).unwrap();
                for value in values.iter().filter(|value| is_drawable(**value)) {
                    let position = axis.position(*value).unwrap();
                    assert!((0. ..=1.).contains(&position), "{values:?}: {value} at {position}");
                }
                assert!(axis.ticks.len() <= MAX_INTERVALS + 1);
            }
        }
        assert!(
            Axis::from_values([f64::NAN, f64::INFINITY, 1e305].into_iter(), Scale::Logarithmic).is_none()
        );
    }

    #[test]
    fn a_logarithmic_scale_needs_positive_values_of_different_magnitude() {
        let is_log =
            |values: [f64; 2]| Axis::from_values(values.into_iter(), Scale::Logarithmic).unwrap().is_log;
        assert_eq!([[0.1, 9.], [0.01, 1.], [0., 5.], [-1., 100.]].map(is_log), [false, true, false, false]);
        let axis = Axis::from_values([0.01, 1.].into_iter(), Scale::Logarithmic).unwrap();
        assert_eq!((axis.position(0.), axis.position(-1.)), (None, None));
    }
}
