//! Metrics of a part of the output.

use candle_core::Tensor;

use crate::Result;

use super::Metric;

/// A metric of the tensors that a function selects from output and target. [`of`] creates it.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::metrics::{self, Select};
///
/// type Heads = (Tensor, Tensor);
/// type Choose = fn(&Heads, &Heads) -> Result<(Tensor, Tensor)>;
/// let colors: Choose = |output, target| Ok((output.0.clone(), target.0.clone()));
/// let metric: Select<Accuracy, Choose> = metrics::of("color_accuracy", Accuracy::top(1), colors);
/// assert_eq!(Metric::<Heads, Heads>::name(&metric), "color_accuracy");
/// ```
#[derive(Clone, Debug)]
pub struct Select<M, F> {
    name: String,
    metric: M,
    select: F,
}

/// Computes `metric` on the tensors that `select` returns for an output and a target. A network with several outputs
/// needs this function to use the metrics of this module. `name` distinguishes the metrics of several outputs.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::metrics;
/// # fn main() -> Result<()> {
/// type Heads = (Tensor, Tensor);
/// let second = |output: &Heads, target: &Tensor| Ok((output.1.clone(), target.clone()));
/// let mut error = metrics::of("second_mae", MeanAbsoluteError::new(), second);
/// let output = (Tensor::new(&[9f32], &Device::Cpu)?, Tensor::new(&[1f32], &Device::Cpu)?);
/// error.update(&output, &Tensor::new(&[3f32], &Device::Cpu)?)?;
/// assert_eq!(Metric::<Heads, Tensor>::value(&error)?, 2.);
/// # Ok(())
/// # }
/// ```
pub fn of<O, T, M: Metric, F>(name: impl Into<String>, metric: M, select: F) -> Select<M, F>
where
    F: Fn(&O, &T) -> Result<(Tensor, Tensor)>,
{
    Select { name: name.into(), metric, select }
}

impl<O, T, M: Metric, F> Metric<O, T> for Select<M, F>
where
    F: Fn(&O, &T) -> Result<(Tensor, Tensor)>,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    fn update(&mut self, output: &O, target: &T) -> Result<()> {
        let (output, target) = (self.select)(output, target)?;
        self.metric.update(&output, &target)
    }

    fn value(&self) -> Result<f64> {
        self.metric.value()
    }

    fn reset(&mut self) {
        self.metric.reset();
    }

    fn state(&self) -> Result<Vec<f64>> {
        self.metric.state()
    }

    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        self.metric.load_state(state)
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        self.metric.merge(state)
    }

    fn higher_is_better(&self) -> bool {
        self.metric.higher_is_better()
    }
}
