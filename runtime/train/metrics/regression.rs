//! Regression metrics: mean absolute error, root mean squared error and R².

use candle_core::Tensor;

use crate::Result;

use super::Metric;
use super::exact_sum::{ExactMean, ExactSum};
use super::reader::read_numbers;
use super::state::StateReader;

/// The mean of the absolute differences between outputs and targets.
///
/// Outputs and targets have the same shape, and every element counts once. NaN and infinity are errors.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut error = MeanAbsoluteError::new();
/// error.update(&Tensor::new(&[1f32, 2.], &Device::Cpu)?, &Tensor::new(&[1f32, 5.], &Device::Cpu)?)?;
/// error.update(&Tensor::new(&[4f32], &Device::Cpu)?, &Tensor::new(&[1f32], &Device::Cpu)?)?;
/// assert_eq!(error.value()?, 2.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MeanAbsoluteError(ExactMean);

/// The square root of the mean of the squared differences between outputs and targets.
///
/// Outputs and targets have the same shape, and every element counts once. NaN and infinity are errors.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut error = RootMeanSquaredError::new();
/// error.update(&Tensor::new(&[1f32, 1.], &Device::Cpu)?, &Tensor::new(&[0f32, 8.], &Device::Cpu)?)?;
/// assert_eq!(error.value()?, 5.);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RootMeanSquaredError(ExactMean);

/// The coefficient of determination R²: `1 − e / c`, where `e` is the squared error of the outputs, and `c` is the
/// squared error of a constant output, the mean of the targets.
///
/// Outputs and targets have the same shape, and all elements count as one sample. (scikit-learn's `r2_score` averages
/// over the columns of a matrix. Pass `y.ravel()` to it for the same value.) NaN and infinity are errors. As in
/// scikit-learn, the value is NaN for fewer than two elements. If all targets are equal, the value is 1 if all outputs
/// equal them and 0 otherwise. If the sum of the squared targets times the number of elements exceeds the range of f64,
/// the value is NaN.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let mut r2 = R2::new();
/// r2.update(&Tensor::new(&[1f32, 2., 4.], &Device::Cpu)?, &Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?)?;
/// assert_eq!(r2.value()?, 0.5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct R2 {
    squared_errors: ExactMean,
    targets: ExactSum,
    squared_targets: ExactSum,
}

macro_rules! error_metric {
    ($metric:ident, $name:literal, $error:expr, $value:expr) => {
        impl $metric {
            /// Creates the metric.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl Metric for $metric {
            fn name(&self) -> String {
                $name.into()
            }

            fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
                let error: fn(f64) -> f64 = $error;
                let mut batch = ExactMean::default();
                let add = |output: f64, target: f64| batch.add(error(output - target));
                read_numbers(stringify!($metric), output, target, add)?;
                self.0.merge(&batch);
                Ok(())
            }

            fn value(&self) -> Result<f64> {
                let value: fn(f64) -> f64 = $value;
                Ok(value(self.0.value()))
            }

            fn reset(&mut self) {
                *self = Self::default();
            }

            fn state(&self) -> Result<Vec<f64>> {
                Ok(self.0.state())
            }

            fn load_state(&mut self, state: &[f64]) -> Result<()> {
                let mut state = StateReader::new(stringify!($metric), state);
                let mean = ExactMean::read(&mut state)?;
                state.finish()?;
                self.0 = mean;
                Ok(())
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                let mut other = self.clone();
                other.load_state(state)?;
                self.0.merge(&other.0);
                Ok(())
            }

            fn higher_is_better(&self) -> bool {
                false
            }
        }
    };
}

error_metric!(MeanAbsoluteError, "mae", f64::abs, |mean| mean);
error_metric!(RootMeanSquaredError, "rmse", |error| error * error, f64::sqrt);

impl R2 {
    /// Creates the metric.
    pub fn new() -> Self {
        Self::default()
    }

    fn add(&mut self, output: f64, target: f64) {
        let error = output - target;
        self.squared_errors.add(error * error);
        self.targets.add(target);
        self.squared_targets.add_product(target, target);
    }

    fn merge(&mut self, other: &Self) {
        self.squared_errors.merge(&other.squared_errors);
        self.targets.merge(&other.targets);
        self.squared_targets.merge(&other.squared_targets);
    }
}

impl Metric for R2 {
    fn name(&self) -> String {
        "r2".into()
    }

    fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
        let mut batch = Self::default();
        read_numbers("R2", output, target, |output, target| batch.add(output, target))?;
        self.merge(&batch);
        Ok(())
    }

    fn value(&self) -> Result<f64> {
        let elements = self.squared_errors.elements as f64;
        let residual = self.squared_errors.sum.value();
        // The sum of (y - mean)² is (n Σy² - (Σy)²) / n. With exact sums, the difference does not suffer from
        // cancellation.
        let total = self.targets.spread(&self.squared_targets, elements) / elements;
        Ok(if elements < 2. || total.is_nan() {
            f64::NAN
        } else if total > 0. {
            1. - residual / total
        } else if residual > 0. {
            0.
        } else {
            1.
        })
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn state(&self) -> Result<Vec<f64>> {
        Ok([self.squared_errors.state(), self.targets.state(), self.squared_targets.state()].concat())
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let mut state = StateReader::new("R2", state);
        let squared_errors = ExactMean::read(&mut state)?;
        let targets = ExactSum::read(&mut state)?;
        let squared_targets = ExactSum::read(&mut state)?;
        state.finish()?;
        *self = Self { squared_errors, targets, squared_targets };
        Ok(())
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let mut other = self.clone();
        other.load_state(state)?;
        Self::merge(self, &other);
        Ok(())
    }

    fn higher_is_better(&self) -> bool {
        true
    }
}
