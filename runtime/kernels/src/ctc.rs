//! Connectionist temporal classification: the probability of a label sequence, summed over all of its alignments.
//!
//! Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with Recurrent
//! Neural Networks", 2006. All probabilities are kept as logarithms in f64, so that they do not underflow for long
//! inputs.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Result, Shape, Tensor, WithDType, bail};

use crate::element::{Element, elements, in_f32, with_element, with_elements};
use crate::memory::zeros;
use crate::operation::{self, CpuOperand, Operation};
use crate::parallel::for_each_chunk;

const NAME: &str = "ctc_loss";

/// The labels of a batch, and the settings of [`ctc_loss`].
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Ctc, ctc_loss, log_softmax};
///
/// # fn main() -> Result<()> {
/// let log_probs = log_softmax(&Tensor::zeros((2, 1, 3), candle_core::DType::F32, &Device::Cpu)?, 2)?;
/// let ctc = |labels| Ctc { labels: vec![labels], input_lengths: vec![2], blank: 0, zero_infinity: false };
/// // The three alignments of one label to two steps have probability 1/9 each.
/// let loss = ctc_loss(&log_probs, ctc(vec![1]))?.to_vec1::<f32>()?;
/// assert!((loss[0] - 3f32.ln()).abs() < 1e-5);
/// // Three labels cannot be aligned to two steps.
/// assert_eq!(ctc_loss(&log_probs, ctc(vec![1, 2, 1]))?.to_vec1::<f32>()?, [f32::INFINITY]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Ctc {
    /// The label sequence of each sample. A sequence must not contain the blank.
    pub labels: Vec<Vec<usize>>,
    /// The number of time steps of each sample.
    pub input_lengths: Vec<usize>,
    /// The class of the blank.
    pub blank: usize,
    /// Whether the loss is 0 instead of infinity for a label sequence that cannot be aligned.
    pub zero_infinity: bool,
}

/// Computes the connectionist temporal classification loss.
///
/// - `log_probs`: log-probabilities `[time, batch, classes]`, the output of [`log_softmax`](crate::log_softmax)
/// - returns the negative log-likelihood of each sample's labels, `[batch]`
///
/// Like PyTorch, assumes that `log_probs` is the output of a log-softmax. The gradient of `log_probs` is therefore the
/// gradient with respect to the logits: the backward pass of the log-softmax leaves it unchanged. Runs on the CPU for
/// tensors on any device.
///
/// # Errors
/// Fails if the rank of `log_probs` is not 3, the number of label sequences or lengths is not the batch size, a length
/// exceeds the number of time steps, a label or the blank is not a class, or a label is the blank.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Ctc, ctc_loss, log_softmax};
///
/// # fn main() -> Result<()> {
/// let logits = Tensor::randn(0f32, 1., (20, 2, 5), &Device::Cpu)?;
/// let ctc = Ctc {
///     labels: vec![vec![1, 2, 3], vec![4, 4]],
///     input_lengths: vec![20, 15],
///     blank: 0,
///     zero_infinity: false,
/// };
/// let loss = ctc_loss(&log_softmax(&logits, 2)?, ctc)?;
/// assert_eq!(loss.dims(), [2]);
/// # Ok(())
/// # }
/// ```
pub fn ctc_loss(log_probs: &Tensor, ctc: Ctc) -> Result<Tensor> {
    let [time, batch, classes] = *log_probs.dims() else {
        bail!("{NAME}: expected log-probabilities [time, batch, classes], found {:?}", log_probs.dims());
    };
    let labels = ctc.labels.len();
    let lengths = ctc.input_lengths.len();
    if labels != batch || lengths != batch {
        bail!(
            "{NAME}: expected {batch} label sequences and {batch} input lengths, found {labels} and {lengths}"
        );
    }
    if let Some(length) = ctc.input_lengths.iter().find(|length| **length > time) {
        bail!("{NAME}: input length {length} exceeds the {time} time steps of the input");
    }
    let labels = ctc.labels.iter().flatten();
    if let Some(class) = labels.chain([&ctc.blank]).find(|class| **class >= classes) {
        bail!("{NAME}: class {class} is out of range for {classes} classes");
    }
    if ctc.labels.iter().flatten().any(|label| *label == ctc.blank) {
        bail!("{NAME}: the blank {} cannot be a label", ctc.blank);
    }
    let device = log_probs.device();
    let log_probs = log_probs.to_device(&candle_core::Device::Cpu)?;
    in_f32(&log_probs, |x| operation::apply([&x.contiguous()?], ctc))?.to_device(device)
}

impl Operation<1> for Ctc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        let (_, batch, classes) = layout.shape().dims3()?;
        with_element!(NAME, x.dtype(), E => {
            let losses = self.losses::<E>(elements(x, layout)?, batch, classes);
            Ok((E::to_cpu_storage_owned(losses), Shape::from(batch)))
        })
    }

    fn backward(&self, [x]: [&Tensor; 1], _losses: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let (_, batch, classes) = x.dims3()?;
        with_element!(NAME, x.dtype(), E => {
            let dx = with_elements::<E, _>(x, |x| {
                with_elements::<E, _>(grad, |grad| self.gradient(x, grad, batch, classes))
            })??;
            Tensor::from_vec(dx, x.shape(), x.device()).map(|dx| [Some(dx)])
        })
    }
}

impl Ctc {
    /// Returns one sample of `[time, batch, classes]`.
    fn sample<'a, E: Element>(
        &'a self,
        x: &'a [E],
        batch: usize,
        classes: usize,
        index: usize,
    ) -> Sample<'a, E> {
        let (labels, time) = (&self.labels[index][..], self.input_lengths[index]);
        Sample {
            x,
            time_stride: batch * classes,
            offset: index * classes,
            classes,
            labels,
            blank: self.blank,
            time,
        }
    }

    fn losses<E: Element>(&self, x: &[E], batch: usize, classes: usize) -> Vec<E> {
        let mut losses = zeros::<E>(batch);
        for_each_chunk(&mut losses, 1, |index, losses| {
            for loss in losses {
                let sample = self.sample(x, batch, classes, index);
                let nll = sample.loss(&sample.forward());
                let is_zeroed = self.zero_infinity && nll == f64::INFINITY;
                *loss = E::from_f64(if is_zeroed { 0.0 } else { nll });
            }
        });
        losses
    }

    fn gradient<E: Element>(&self, x: &[E], grad: &[E], batch: usize, classes: usize) -> Vec<E> {
        let mut parts: Vec<Vec<f64>> = vec![Vec::new(); batch];
        for_each_chunk(&mut parts, 1, |index, parts| {
            for part in parts {
                *part = self.sample(x, batch, classes, index).gradient(self.zero_infinity);
            }
        });
        let mut dx = zeros::<E>(x.len());
        for (index, (part, grad)) in parts.iter().zip(grad).enumerate() {
            let grad = grad.to_f64();
            for (t, row) in part.chunks_exact(classes).enumerate() {
                let at = (t * batch + index) * classes;
                for (dx, g) in dx[at..at + classes].iter_mut().zip(row) {
                    *dx = E::from_f64(g * grad);
                }
            }
        }
        dx
    }
}

/// The log-probabilities and the labels of one sample.
///
/// The states are the labels with a blank before, between and after them. State `s` is label `s / 2` if `s` is odd, and
/// a blank otherwise.
struct Sample<'a, E> {
    /// The log-probabilities of the whole batch, `[time, batch, classes]`.
    x: &'a [E],
    /// The distance between neighboring time steps in `x`.
    time_stride: usize,
    /// The offset of the sample's first time step in `x`.
    offset: usize,
    classes: usize,
    labels: &'a [usize],
    blank: usize,
    /// The number of time steps.
    time: usize,
}

/// The logarithm of probability 0.
const LOG_ZERO: f64 = f64::NEG_INFINITY;

impl<E: Element> Sample<'_, E> {
    /// Returns the number of states.
    fn states(&self) -> usize {
        2 * self.labels.len() + 1
    }

    /// Returns the class of a state.
    fn class(&self, state: usize) -> usize {
        if state % 2 == 1 { self.labels[state / 2] } else { self.blank }
    }

    /// Returns `true` if an alignment may go from `state - 2` directly to `state`, skipping a blank between two
    /// different labels.
    fn can_skip_to(&self, state: usize) -> bool {
        state % 2 == 1 && state >= 2 && self.class(state) != self.class(state - 2)
    }

    /// Returns the log-probability of a class at time `t`.
    fn log_prob(&self, t: usize, class: usize) -> f64 {
        self.x[t * self.time_stride + self.offset + class].to_f64()
    }

    /// Returns, for each time and state, the log-probability of all partial alignments that reach this state at this
    /// time.
    fn forward(&self) -> Vec<f64> {
        let states = self.states();
        let mut alpha = vec![LOG_ZERO; self.time * states];
        for t in 0..self.time {
            let (earlier, current) = alpha.split_at_mut(t * states);
            let previous = earlier.rchunks_exact(states).next();
            for (state, alpha) in current[..states].iter_mut().enumerate() {
                let partial = match previous {
                    Some(previous) => {
                        let skip = if self.can_skip_to(state) { previous[state - 2] } else { LOG_ZERO };
                        let step = if state > 0 { previous[state - 1] } else { LOG_ZERO };
                        log_sum_exp([previous[state], step, skip])
                    }
                    None if state < 2 => 0.0,
                    None => LOG_ZERO,
                };
                *alpha = partial + self.log_prob(t, self.class(state));
            }
        }
        alpha
    }

    /// Returns, for each time and state, the log-probability of all ways to complete an alignment that is in this state
    /// at this time. The log-probability of the state's class at this time is not included.
    fn backward(&self) -> Vec<f64> {
        let states = self.states();
        let mut beta = vec![LOG_ZERO; self.time * states];
        for t in (0..self.time).rev() {
            let (current, later) = beta.split_at_mut((t + 1) * states);
            // The log-probability of all ways to enter `state` at time `t + 1` and to complete the alignment from it.
            let continuation = |state: usize| match later.get(state) {
                Some(partial) if state < states => partial + self.log_prob(t + 1, self.class(state)),
                _ => LOG_ZERO,
            };
            for (state, beta) in current[t * states..].iter_mut().enumerate() {
                *beta = if t + 1 == self.time {
                    if state + 2 >= states { 0.0 } else { LOG_ZERO }
                } else {
                    let skip = state + 2 < states && self.can_skip_to(state + 2);
                    let skip = if skip { continuation(state + 2) } else { LOG_ZERO };
                    let next = if state + 1 < states { continuation(state + 1) } else { LOG_ZERO };
                    log_sum_exp([continuation(state), next, skip])
                };
            }
        }
        beta
    }

    /// Returns the negative log-probability of all alignments together.
    fn loss(&self, alpha: &[f64]) -> f64 {
        match alpha.rchunks_exact(self.states()).next() {
            Some(&[.., label, blank]) => -log_sum_exp([label, blank, LOG_ZERO]),
            Some(&[blank]) => -blank,
            _ if self.labels.is_empty() => 0.0,
            _ => f64::INFINITY,
        }
    }

    /// Returns the gradient of the loss for the time steps of this sample, `[time, classes]`.
    fn gradient(&self, zero_infinity: bool) -> Vec<f64> {
        let (alpha, beta, states) = (self.forward(), self.backward(), self.states());
        let nll = self.loss(&alpha);
        if nll == f64::INFINITY {
            return vec![if zero_infinity { 0.0 } else { f64::NAN }; self.time * self.classes];
        }
        let mut gradient = Vec::with_capacity(self.time * self.classes);
        for t in 0..self.time {
            let mut row: Vec<f64> = (0..self.classes).map(|class| self.log_prob(t, class).exp()).collect();
            for state in 0..states {
                row[self.class(state)] -= (alpha[t * states + state] + beta[t * states + state] + nll).exp();
            }
            gradient.extend(row);
        }
        gradient
    }
}

/// Returns `ln Σ e^term`.
fn log_sum_exp(terms: [f64; 3]) -> f64 {
    let largest = terms.into_iter().fold(LOG_ZERO, f64::max);
    if largest == LOG_ZERO {
        return if terms.iter().any(|term| term.is_nan()) { f64::NAN } else { LOG_ZERO };
    }
    largest + terms.into_iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}
