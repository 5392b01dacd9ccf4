//! Compares losses and their gradients with the golden data.

use sconce::Result;
use sconce::candle::{Tensor, Var};
use sconce::train::loss::*;

use crate::cases::{Case, golden_tests};
use crate::common::check_close;

fn reduction(case: &Case) -> Reduction {
    match case.args["reduction"].as_str() {
        Some("sum") => Reduction::Sum,
        Some("none") => Reduction::None,
        Some("batchmean") => Reduction::BatchMean,
        _ => Reduction::Mean,
    }
}

/// Checks a loss of the case's first input, and the gradient of this input.
fn check_with(case: &Case, loss: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<()> {
    let x = Var::from_tensor(&case.tensor("input.0")?)?;
    let loss = loss(&x)?;
    check_close(&case.label(), &loss, &case.tensor("output")?, 1e-6)?;
    let grads = (loss * case.tensor("grad_output")?)?.sum_all()?.backward()?;
    let gradient = grads.get(&x).expect("the input should have a gradient");
    Ok(check_close(&case.label(), gradient, &case.tensor("grad.input.0")?, 1e-6)?)
}

/// Checks a loss with an input and a target.
fn check(loss: impl Loss, case: &Case) -> Result<()> {
    check_with(case, |x| loss.forward(x, &case.tensor("input.1")?))
}

fn lengths(case: &Case, name: &str) -> Result<Vec<usize>> {
    Ok(case.tensor(name)?.to_vec1::<i64>()?.into_iter().map(|length| length as usize).collect())
}

golden_tests! {
    cross_entropy_loss: "CrossEntropyLoss", 16 => |case| {
        let smoothing = case.number("label_smoothing").unwrap_or(0.);
        let loss = CrossEntropyLoss::new().label_smoothing(smoothing).reduction(reduction(case));
        match case.find("arg.weight")? {
            Some(weight) => check(loss.weight(weight), case),
            None => check(loss, case),
        }
    };
    nll_loss: "NLLLoss", 4 => |case| check(NllLoss::new().reduction(reduction(case)), case);
    bce_with_logits_loss: "BCEWithLogitsLoss", 6 => |case| {
        let loss = BceWithLogitsLoss::new().reduction(reduction(case));
        match case.find("arg.pos_weight")? {
            Some(weight) => check(loss.pos_weight(weight), case),
            None => check(loss, case),
        }
    };
    mse_loss: "MSELoss", 4 => |case| check(MseLoss::new().reduction(reduction(case)), case);
    l1_loss: "L1Loss", 4 => |case| check(L1Loss::new().reduction(reduction(case)), case);
    smooth_l1_loss: "SmoothL1Loss", 4 => |case| {
        let beta = case.number("beta").unwrap_or(1.);
        check(SmoothL1Loss::new().beta(beta).reduction(reduction(case)), case)
    };
    huber_loss: "HuberLoss", 4 => |case| {
        let delta = case.number("delta").unwrap_or(1.);
        check(HuberLoss::new().delta(delta).reduction(reduction(case)), case)
    };
    kl_div_loss: "KLDivLoss", 4 => |case| {
        let log_target = case.is_true("log_target");
        check(KlDivLoss::new().log_target(log_target).reduction(reduction(case)), case)
    };
    cosine_embedding_loss: "CosineEmbeddingLoss", 4 => |case| {
        let margin = case.number("margin").unwrap_or(0.);
        let loss = CosineEmbeddingLoss::new().margin(margin).reduction(reduction(case));
        check_with(case, |x| loss.forward(x, &case.tensor("input.1")?, &case.tensor("input.2")?))
    };
    ctc_loss: "CTCLoss", 4 => |case| {
        let loss = CtcLoss::new().reduction(reduction(case));
        let (input_lengths, target_lengths) = (lengths(case, "input.2")?, lengths(case, "input.3")?);
        check_with(case, |x| loss.forward(x, &case.tensor("input.1")?, &input_lengths, &target_lengths))
    };
}
