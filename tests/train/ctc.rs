//! The loss of connectionist temporal classification (CTC): agreement with an enumeration of all alignments,
//! gradients by finite differences, and invalid arguments.

use proptest::prelude::*;
use sconce::Result;
use sconce::candle::{D, DType, Device, Result as CandleResult, Tensor, Var};
use sconce::kernels::softmax::log_softmax;
use sconce::train::loss::{CtcLoss, Reduction, ctc_loss};

use crate::common::{Rng, check_close, check_gradients, config, fail, values};

const CPU: Device = Device::Cpu;

/// A batch of samples, each with a label sequence and a number of time steps. For some samples, the labels do not
/// fit into the time steps.
#[derive(Clone, Debug)]
struct Setting {
    /// The number of time steps of the input.
    time: usize,
    classes: usize,
    blank: usize,
    labels: Vec<Vec<i64>>,
    /// The number of time steps of each sample, at most `time`.
    times: Vec<usize>,
}

fn settings() -> impl Strategy<Value = Setting> {
    (0..6usize, 2..5usize, 0..4usize, 0..4usize).prop_flat_map(|(time, classes, blank, batch)| {
        let blank = blank % classes;
        let label = (0..classes as i64 - 1).prop_map(move |label| label + i64::from(label >= blank as i64));
        let labels = prop::collection::vec(prop::collection::vec(label, 0..4), batch..=batch);
        let times = prop::collection::vec(0..=time, batch..=batch);
        (labels, times).prop_map(move |(labels, times)| Setting { time, classes, blank, labels, times })
    })
}

impl Setting {
    fn batch(&self) -> usize {
        self.labels.len()
    }

    /// Returns the number of labels of each sample.
    fn counts(&self) -> Vec<usize> {
        self.labels.iter().map(Vec::len).collect()
    }

    /// Returns the labels of all samples, concatenated.
    fn concatenated(&self) -> CandleResult<Tensor> {
        let all: Vec<i64> = self.labels.concat();
        Tensor::from_vec(all.clone(), all.len(), &CPU)
    }

    /// Returns the labels of each sample in a row of length 4, which is padded with an invalid class.
    fn padded(&self) -> CandleResult<Tensor> {
        let pad = |labels: &Vec<i64>| [labels.clone(), vec![-7; 4 - labels.len()]].concat();
        let all: Vec<i64> = self.labels.iter().flat_map(pad).collect();
        Tensor::from_vec(all, (self.batch(), 4), &CPU)
    }

    /// Returns the loss of one sample: the negative logarithm of the summed probabilities of all alignments
    /// that collapse to its labels.
    fn by_enumeration(&self, log_probs: &Tensor, sample: usize) -> CandleResult<f64> {
        let (time, log_probs) = (self.times[sample], log_probs.to_vec3::<f64>()?);
        let mut total = 0.;
        for alignment in 0..self.classes.pow(time as u32) {
            let classes: Vec<usize> =
                (0..time).map(|t| alignment / self.classes.pow(t as u32) % self.classes).collect();
            let mut collapsed = classes.clone();
            collapsed.dedup();
            collapsed.retain(|class| *class != self.blank);
            if collapsed.iter().map(|class| *class as i64).eq(self.labels[sample].iter().copied()) {
                total += classes
                    .iter()
                    .enumerate()
                    .map(|(t, class)| log_probs[t][sample][*class])
                    .sum::<f64>()
                    .exp();
            }
        }
        Ok(-f64::ln(total))
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn the_loss_sums_over_every_alignment(setting in settings(), seed: u64) {
        let check = || -> Result<()> {
            let (batch, counts) = (setting.batch(), setting.counts());
            let logits = Rng::new(seed).tensor(&[setting.time, batch, setting.classes], 2.);
            let log_probs = log_softmax(&logits, D::Minus1)?;
            let expected = (0..batch).map(|sample| setting.by_enumeration(&log_probs, sample));
            let expected = expected.collect::<CandleResult<Vec<_>>>()?;
            let unreduced = CtcLoss::new().blank(setting.blank).reduction(Reduction::None);
            for targets in [setting.padded()?, setting.concatenated()?] {
                let losses = unreduced.forward(&log_probs, &targets, &setting.times, &counts)?;
                check_close("losses", &losses, &Tensor::new(&expected[..], &CPU)?, 1e-9)?;
            }
            let finite = |loss: &f64| if loss.is_finite() { *loss } else { 0. };
            let zeroed = unreduced.clone().zero_infinity(true);
            let losses = zeroed.forward(&log_probs, &setting.padded()?, &setting.times, &counts)?;
            let finite: Vec<f64> = expected.iter().map(finite).collect();
            check_close("with zero_infinity", &losses, &Tensor::new(&finite[..], &CPU)?, 1e-9)?;
            if batch > 0 {
                let per_label = expected.iter().zip(&counts).map(|(loss, count)| loss / (*count).max(1) as f64);
                let mean = per_label.sum::<f64>() / batch as f64;
                let loss = CtcLoss::new().blank(setting.blank);
                let actual = loss.forward(&log_probs, &setting.padded()?, &setting.times, &counts)?;
                check_close("mean", &actual, &Tensor::new(mean, &CPU)?, 1e-9)?;
            }
            // Differentiate with respect to the logits: the gradient of CTC assumes that the log-probabilities are
            // the output of log_softmax.
            check_gradients(|x| {
                let log_probs = log_softmax(&crate::common::restride(&x[0])?, D::Minus1)?;
                Ok(zeroed.forward(&log_probs, &setting.padded()?, &setting.times, &counts)?)
            }, &[logits])?;
            Ok(())
        };
        check().map_err(fail)?;
    }
}

#[test]
fn long_inputs_do_not_underflow_in_any_dtype() -> Result<()> {
    let logits = Rng::new(5).tensor(&[2000, 1, 30], 8.);
    let targets = Tensor::from_vec((0..400u32).map(|i| 1 + i * 7 % 29).collect::<Vec<_>>(), 400, &CPU)?;
    let loss = |dtype: DType| -> Result<(f64, Vec<f64>)> {
        let logits = Var::from_tensor(&logits.to_dtype(dtype)?)?;
        let log_probs = log_softmax(logits.as_tensor(), D::Minus1)?;
        let loss = ctc_loss(&log_probs, &targets, &[2000], &[400])?;
        assert_eq!(loss.dtype(), dtype);
        let grads = loss.backward()?;
        Ok((values(&loss)?[0], values(grads.get(&logits).expect("the logits should have a gradient"))?))
    };
    let (exact, gradient) = loss(DType::F64)?;
    assert!(exact.is_finite() && gradient.iter().all(|g| g.is_finite()));
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 2e-2), (DType::BF16, 5e-2)] {
        let (loss, _) = loss(dtype)?;
        assert!((loss / exact - 1.).abs() < tolerance, "{dtype:?}: expected {exact}, found {loss}");
    }
    Ok(())
}

#[test]
fn infeasible_targets_have_an_infinite_or_zero_loss() -> Result<()> {
    let x = Var::from_tensor(&log_softmax(&Rng::new(1).tensor(&[2, 1, 3], 1.), D::Minus1)?)?;
    // Two equal labels need a blank between them, hence three steps, but the input has only two.
    let targets = Tensor::new(&[[1i64, 1]], &CPU)?;
    let loss = ctc_loss(&x, &targets, &[2], &[2])?;
    assert_eq!(values(&loss)?, [f64::INFINITY]);
    assert!(
        values(loss.backward()?.get(&x).expect("the input should have a gradient"))?
            .iter()
            .all(|g| g.is_nan())
    );
    let loss = CtcLoss::new().zero_infinity(true).forward(&x, &targets, &[2], &[2])?;
    assert_eq!(values(&loss)?, [0.]);
    assert!(
        values(loss.backward()?.get(&x).expect("the input should have a gradient"))?.iter().all(|g| *g == 0.)
    );
    Ok(())
}

#[test]
fn an_unbatched_sample_gives_the_result_of_a_batch_of_one() -> Result<()> {
    let x = log_softmax(&Rng::new(2).tensor(&[4, 1, 3], 1.), D::Minus1)?;
    let targets = Tensor::new(&[2i64, 1], &CPU)?;
    let unreduced = CtcLoss::new().reduction(Reduction::None);
    let unbatched = unreduced.forward(&x.squeeze(1)?, &targets, &[4], &[2])?;
    assert!(unbatched.dims().is_empty());
    check_close("unbatched", &unbatched.unsqueeze(0)?, &unreduced.forward(&x, &targets, &[4], &[2])?, 1e-12)?;
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let x = Tensor::zeros((4, 2, 3), DType::F32, &CPU)?;
    let targets = Tensor::new(&[[1i64, 2], [2, 1]], &CPU)?;
    let message = |x: &Tensor, targets: &Tensor, times: &[usize], counts: &[usize]| {
        ctc_loss(x, targets, times, counts).expect_err("expected an error").to_string()
    };
    let error = message(&x, &targets, &[5, 4], &[2, 2]);
    assert_eq!(error, "CtcLoss: ctc_loss: input length 5 exceeds the 4 time steps of the input");
    assert!(message(&x, &targets, &[4], &[2, 2]).contains("2 label sequences and 2 input lengths"));
    assert!(
        message(&x, &targets, &[4, 4], &[3, 2])
            .contains("matches the target lengths [3, 2], found shape [2, 2]")
    );
    assert!(message(&x, &targets, &[4, 4], &[2]).contains("target lengths [2]"));
    let wrong = |labels: [i64; 2]| Tensor::new(&[labels, [1, 1]], &CPU);
    assert!(message(&x, &wrong([3, 1])?, &[4, 4], &[2, 2]).contains("class 3 is out of range for 3"));
    assert!(message(&x, &wrong([0, 1])?, &[4, 4], &[2, 2]).contains("blank 0 cannot be a label"));
    assert!(
        message(&x, &wrong([-1, 1])?, &[4, 4], &[2, 2]).contains("expected labels of at least 0, found -1")
    );
    assert!(message(&x.flatten_all()?, &targets, &[4, 4], &[2, 2]).contains("[time, batch, classes]"));
    let error =
        CtcLoss::new().blank(3).forward(&x, &targets, &[4, 4], &[2, 2]).expect_err("expected an error");
    assert!(error.to_string().contains("class 3 is out of range for 3"));
    assert!(message(&x.to_dtype(DType::U32)?, &targets, &[4, 4], &[2, 2]).contains("floating-point"));
    Ok(())
}
