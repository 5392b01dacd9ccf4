//! Metrics measure the quality of a network over any number of batches.
//!
//! Each metric is a value that implements [`Metric`]. [`update`](Metric::update) adds a batch and
//! [`value`](Metric::value) returns the metric of all batches so far. Values follow scikit-learn's definitions.
//!
//! | metric | output | target |
//! |---|---|---|
//! | [`Accuracy`], [`Precision`], [`Recall`], [`F1`] | logits `[batch, classes, …]` | classes `[batch, …]` |
//! | [`ConfusionMatrix`], [`Auroc`], [`AveragePrecision`] | logits `[batch, classes, …]` | classes `[batch, …]` |
//! | [`MeanIou`], [`Perplexity`] | logits `[batch, classes, …]` | classes `[batch, …]` |
//! | the metrics with a constructor `binary` | binary logits of any shape | 0 or 1, in the shape of the logits |
//! | [`MeanAbsoluteError`], [`RootMeanSquaredError`], [`R2`] | numbers of any shape | numbers of the same shape |
//!
//! - **Classes.** The predicted class has the largest logit. If several logits are equally large, their first class is
//!   predicted. A binary logit `z` counts as the two logits `[0, z]`: class 1 is predicted if `z > 0`. The constructors
//!   `binary` also accept two-class logits `[batch, 2, …]` with class indices `[batch, …]`.
//! - **Ignored elements.** Metrics of class indices skip the elements whose target is `ignore_index`, by default −100
//!   as in [`CrossEntropyLoss`](super::loss::CrossEntropyLoss).
//! - **No elements.** Before the first element, every value is NaN.
//! - **Errors.** `update` fails if the shapes do not match, if a class index is out of range, or if the number of
//!   classes differs from that of earlier batches. A logit may be −∞, as in a mask, but neither NaN nor +∞, and each
//!   element needs at least one finite logit. A metric does not change if `update` fails.
//! - **Exactness.** Counts are integers, and sums over elements do not depend on their order, so values do not depend
//!   on the order of the elements or on how they are split into batches. Logits of every dtype are read as f64.
//!
//! `update` copies outputs and targets to the CPU. On a GPU, it waits until they are computed.
//!
//! ```
//! use sconce::prelude::*;
//! # fn main() -> Result<()> {
//! # manual_seed(0);
//! # let net = Linear::config(4, 3).init(&Device::Cpu)?;
//! # let x = Tensor::ones((10, 4), DType::F32, &Device::Cpu)?;
//! # let data = TensorDataset::new(x, Tensor::zeros(10, DType::U32, &Device::Cpu)?)?.batch_size(4);
//! let mut metrics: [Box<dyn Metric>; 2] = [Box::new(Accuracy::top(2)), Box::new(F1::macro_average())];
//! for batch in data.epoch()? {
//!     let (input, target) = batch?;
//!     let output = net.forward(&input)?;
//!     for metric in &mut metrics {
//!         metric.update(&output, &target)?;
//!     }
//! }
//! for metric in &metrics {
//!     println!("{} {:.4}", metric.name(), metric.value()?);
//! }
//! # Ok(())
//! # }
//! ```

mod accuracy;
mod class_counts;
mod confusion;
mod exact_sum;
mod mean;
mod perplexity;
mod ranking;
mod reader;
mod regression;
mod select;
mod state;

use candle_core::Tensor;

use crate::{Error, Result};

pub(super) use accuracy::count_correct;
pub use accuracy::{Accuracy, accuracy, binary_accuracy, top_k_accuracy};
pub use class_counts::{F1, MeanIou, Precision, Recall};
pub use confusion::{ConfusionMatrix, confusion_matrix};
pub use mean::Mean;
pub use perplexity::Perplexity;
pub use ranking::{Auroc, AveragePrecision};
pub(super) use reader::class_count;
pub use regression::{MeanAbsoluteError, R2, RootMeanSquaredError};
pub use select::{Select, of};

/// A metric that is computed over batches. `Output` is the output of the network, and `Target` the target of a
/// [`Batch`](super::Batch).
///
/// A custom metric, the largest absolute error:
///
/// ```
/// use sconce::prelude::*;
///
/// #[derive(Default)]
/// struct MaxError(f64);
///
/// impl Metric for MaxError {
///     fn name(&self) -> String {
///         "max_error".into()
///     }
///
///     fn update(&mut self, output: &Tensor, target: &Tensor) -> Result<()> {
///         let error = output.sub(target)?.abs()?.max_all()?.to_dtype(DType::F64)?;
///         self.0 = self.0.max(error.to_scalar()?);
///         Ok(())
///     }
///
///     fn value(&self) -> Result<f64> {
///         Ok(self.0)
///     }
///
///     fn reset(&mut self) {
///         self.0 = 0.;
///     }
///
///     fn higher_is_better(&self) -> bool {
///         false
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let mut metric = MaxError::default();
/// metric.update(&Tensor::new(&[1f32, 2.], &Device::Cpu)?, &Tensor::new(&[1f32, 5.], &Device::Cpu)?)?;
/// metric.update(&Tensor::new(&[4f32], &Device::Cpu)?, &Tensor::new(&[3f32], &Device::Cpu)?)?;
/// assert_eq!(metric.value()?, 3.);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a metric of the output `{Output}` and the target `{Target}`",
    note = "the metrics of `sconce::train::metrics` compare tensors; `metrics::of` selects the tensors of other outputs"
)]
pub trait Metric<Output = Tensor, Target = Tensor> {
    /// Returns the name of the value in logs, such as `top_5_accuracy`.
    fn name(&self) -> String;

    /// Adds a batch.
    ///
    /// # Errors
    /// Fails if the shapes do not match or a value is invalid. The metrics of this module do not change if `update`
    /// fails.
    fn update(&mut self, output: &Output, target: &Target) -> Result<()>;

    /// Returns the metric of all batches since the last [`reset`](Self::reset), or NaN if the metric is not defined for
    /// them.
    ///
    /// # Errors
    /// The metrics of this module never fail.
    fn value(&self) -> Result<f64>;

    /// Removes all batches.
    fn reset(&mut self);

    /// Returns what the metric keeps of the batches since the last [`reset`](Self::reset), as a list of numbers for
    /// [`load_state`](Self::load_state). A trainer that saves [checkpoints](super::Trainer::checkpoint) needs this
    /// method.
    ///
    /// # Errors
    /// The default implementation fails.
    fn state(&self) -> Result<Vec<f64>> {
        let name = self.name();
        Err(Error::msg(format!(
            "the state of the metric `{name}` cannot be saved: implement `Metric::state`"
        )))
    }

    /// Restores a state returned by [`state`](Self::state).
    ///
    /// # Errors
    /// Fails, and changes nothing, if the metric cannot have this state. The default implementation fails.
    fn load_state(&mut self, state: &[f64]) -> Result<()> {
        let _ = state;
        let name = self.name();
        Err(Error::msg(format!(
            "the state of the metric `{name}` cannot be loaded: implement `Metric::load_state`"
        )))
    }

    /// Adds the batches of another metric with the same settings, whose [`state`](Self::state) is `state`.
    /// [Distributed](super::distributed) training needs this method.
    ///
    /// # Errors
    /// Fails, and changes nothing, if the metric cannot have this state. The default implementation fails.
    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let _ = state;
        let name = self.name();
        Err(Error::msg(format!(
            "the metric `{name}` cannot be combined with that of other ranks: implement `Metric::merge`"
        )))
    }

    /// Returns `true` if a higher value is better, as for an accuracy, and `false` if a lower value is better, as for
    /// an error.
    fn higher_is_better(&self) -> bool;
}

macro_rules! forward_to_content {
    ($($pointer:ty),+) => {
        $(impl<Output, Target, M: Metric<Output, Target> + ?Sized> Metric<Output, Target> for $pointer {
            fn name(&self) -> String {
                (**self).name()
            }

            fn update(&mut self, output: &Output, target: &Target) -> Result<()> {
                (**self).update(output, target)
            }

            fn value(&self) -> Result<f64> {
                (**self).value()
            }

            fn reset(&mut self) {
                (**self).reset();
            }

            fn state(&self) -> Result<Vec<f64>> {
                (**self).state()
            }

            fn load_state(&mut self, state: &[f64]) -> Result<()> {
                (**self).load_state(state)
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                (**self).merge(state)
            }

            fn higher_is_better(&self) -> bool {
                (**self).higher_is_better()
            }
        })+
    };
}

forward_to_content!(&mut M, Box<M>);
