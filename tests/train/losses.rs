//! The losses: gradients by finite differences, extreme and empty inputs, and invalid arguments.

use proptest::prelude::*;
use sconce::Result;
use sconce::candle::{DType, Device, Tensor, Var};
use sconce::train::loss::*;

use crate::common::{check_close, check_gradients, config, fail};

const CPU: Device = Device::Cpu;

fn values(tensor: &Tensor) -> Vec<f64> {
    crate::common::values(tensor).unwrap()
}

/// Compares the gradients of `loss` with finite differences.
fn check_loss(loss: &dyn Loss, input: &Tensor, target: &Tensor) -> Result<(), TestCaseError> {
    let loss_of_both = |x: &[Tensor]| Ok(loss.forward(&x[0], &x[1])?);
    let loss_of_input = |x: &[Tensor]| Ok(loss.forward(&x[0], target)?);
    let checked = if target.dtype().is_float() {
        check_gradients(loss_of_both, &[input.clone(), target.clone()])
    } else {
        check_gradients(loss_of_input, std::slice::from_ref(input))
    };
    checked.map_err(fail)
}

/// Returns numbers within ±4 that are at least 0.01 away from every multiple of 1/4. Some losses have thresholds
/// at such multiples.
fn away_from_thresholds(seed: u64, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let draw = |i: u64| {
        let hash = (seed * 7919 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let x = hash as f64 / (1u64 << 24) as f64 * 8. - 4.;
        (x * 4.).floor() / 4. + 0.01 + (x * 4.).rem_euclid(1.) * 0.22
    };
    Tensor::from_vec((0..count as u64).map(draw).collect::<Vec<_>>(), shape, &CPU).unwrap()
}

fn reductions() -> impl Strategy<Value = Reduction> {
    prop::sample::select(vec![Reduction::Mean, Reduction::Sum, Reduction::None, Reduction::BatchMean])
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn kl_div_and_cosine_embedding_gradients_agree_with_finite_differences(
        seed in 0u64..1000, batch in 1usize..5, features in 1usize..5, margin in -0.9..0.9f64,
        reduction in reductions(),
    ) {
        let shape = [batch, features];
        let (x, y) = (away_from_thresholds(seed, &shape), away_from_thresholds(seed + 1, &shape));
        check_loss(&KlDivLoss::new().reduction(reduction), &x, &y.abs().unwrap())?;
        check_loss(&KlDivLoss::new().log_target(true).reduction(reduction), &x, &y)?;
        let target: Vec<i64> = (0..batch as i64).map(|i| (i + seed as i64) % 3 - 1).collect();
        let target = Tensor::from_vec(target, batch, &CPU).unwrap();
        let loss = CosineEmbeddingLoss::new().margin(margin).reduction(reduction);
        let run = |x: &[Tensor]| Ok(loss.forward(&crate::common::restride(&x[0])?, &x[1], &target)?);
        check_gradients(run, &[x.clone(), y.clone()]).map_err(fail)?;
        for row in 0..batch {
            let row_of = |x: &Tensor| x.get(row).unwrap();
            let with_mean = CosineEmbeddingLoss::new().margin(margin);
            let unbatched = with_mean.forward(&row_of(&x), &row_of(&y), &row_of(&target)).unwrap();
            let whole = with_mean.clone().reduction(Reduction::None).forward(&x, &y, &target).unwrap();
            check_close("unbatched", &unbatched, &whole.get(row).unwrap(), 1e-12).map_err(fail)?;
        }
    }
}

#[test]
fn a_target_probability_of_zero_adds_no_loss() -> Result<()> {
    let x = Var::new(&[[-1f64, -2.], [-0.5, f64::NEG_INFINITY]], &CPU)?;
    let target = Tensor::new(&[[0f64, 1.], [1., 0.]], &CPU)?;
    let loss =
        KlDivLoss::new().reduction(Reduction::Sum).forward(&x.narrow(0, 0, 1)?, &target.narrow(0, 0, 1)?)?;
    assert_eq!(values(&loss), [2.]);
    let mean = kl_div(&x.narrow(0, 0, 1)?, &target.narrow(0, 0, 1)?)?;
    assert_eq!(
        (values(&mean), values(mean.backward()?.get(&x).unwrap())),
        (vec![1.], vec![0., -0.5, 0., 0.])
    );
    let message = |loss: Result<Tensor>| loss.unwrap_err().to_string();
    assert!(
        message(kl_div(&x, &target.get(0)?)).starts_with("KlDivLoss: expected a target of the input's shape")
    );
    let one = Tensor::new(&[1i64], &CPU)?;
    let error = message(cosine_embedding_loss(&x, &target, &one));
    assert!(error.starts_with("CosineEmbeddingLoss: expected two inputs [batch, features]"), "{error}");
    assert!(message(cosine_embedding_loss(&x, &target.narrow(1, 0, 1)?, &one)).contains("[2, 1]"));
    let zeros = x.zeros_like()?;
    let both = Tensor::new(&[1i64, -1], &CPU)?;
    assert_eq!(values(&cosine_embedding_loss(&zeros, &zeros, &both)?), [0.5]);
    let (empty, empty_target) =
        (Tensor::zeros((0, 2), DType::F64, &CPU)?, Tensor::zeros(0, DType::I64, &CPU)?);
    let sum = CosineEmbeddingLoss::new().reduction(Reduction::Sum);
    assert_eq!(values(&sum.forward(&empty, &empty, &empty_target)?), [0.]);
    assert_eq!(values(&KlDivLoss::new().reduction(Reduction::Sum).forward(&empty, &empty)?), [0.]);
    assert!(values(&kl_div(&empty, &empty)?)[0].is_nan());
    Ok(())
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn class_loss_gradients_agree_with_finite_differences(
        seed in 0u64..1000, batch in 1usize..5, classes in 1usize..5, spatial in prop::collection::vec(1usize..4, 0..3),
        smoothing in prop::sample::select(vec![0., 0.2]), reduction in reductions(), weighted: bool, transposed: bool,
    ) {
        let shape = [&[batch, classes][..], &spatial].concat();
        let mut logits = away_from_thresholds(seed, &shape);
        if transposed {
            logits = crate::common::restride(&logits).unwrap();
        }
        let elements: usize = batch * spatial.iter().product::<usize>();
        // One element in five is ignored.
        let class = |i: i64| if i % 5 == 4 { -100 } else { (i * 7 + seed as i64) % classes as i64 };
        let index = (0..elements as i64).map(class);
        let target = Tensor::from_vec(index.collect::<Vec<_>>(), [&[batch][..], &spatial].concat(), &CPU).unwrap();
        let weight = away_from_thresholds(seed + 1, &[classes]).abs().unwrap();

        let mut loss = CrossEntropyLoss::new().label_smoothing(smoothing).reduction(reduction);
        let mut nll = NllLoss::new().reduction(reduction);
        if weighted {
            (loss, nll) = (loss.weight(weight.clone()), nll.weight(weight));
        }
        check_loss(&loss, &logits, &target)?;
        check_loss(&nll, &logits, &target)?;
        let probabilities = away_from_thresholds(seed + 2, &shape).abs().unwrap();
        check_loss(&loss, &logits, &probabilities)?;
    }

    #[test]
    fn pointwise_loss_gradients_agree_with_finite_differences(
        seed in 0u64..1000, shape in prop::collection::vec(1usize..4, 0..4), reduction in reductions(),
    ) {
        let x = away_from_thresholds(seed, &shape);
        let y = Tensor::full(0.25f64, &shape[..], &CPU).unwrap();
        let weight = Tensor::full(1.7f64, shape.last().copied().unwrap_or(1), &CPU).unwrap();
        let weight = if shape.is_empty() { weight.squeeze(0).unwrap() } else { weight };
        let bce = BceWithLogitsLoss::new().pos_weight(weight.clone()).weight(weight).reduction(reduction);
        let losses: [&dyn Loss; 6] = [
            &MseLoss::new().reduction(reduction), &L1Loss::new().reduction(reduction),
            &SmoothL1Loss::new().beta(0.5).reduction(reduction), &HuberLoss::new().delta(0.75).reduction(reduction),
            &bce, &BceWithLogitsLoss::new().reduction(reduction),
        ];
        for loss in losses {
            check_loss(loss, &x, &y)?;
        }
    }

    #[test]
    fn index_targets_agree_with_one_hot_probabilities(seed in 0u64..1000, batch in 1usize..6, classes in 1usize..6) {
        let logits = away_from_thresholds(seed, &[batch, classes]);
        let index: Vec<u32> = (0..batch).map(|i| ((i as u64 + seed) % classes as u64) as u32).collect();
        let one_hot = index.iter().flat_map(|&i| (0..classes).map(move |c| f64::from(u8::from(c as u32 == i))));
        let one_hot = Tensor::from_vec(one_hot.collect::<Vec<_>>(), (batch, classes), &CPU).unwrap();
        let index = Tensor::new(index, &CPU).unwrap();
        for smoothing in [0., 0.3] {
            let loss = CrossEntropyLoss::new().label_smoothing(smoothing);
            let (a, b) = (loss.forward(&logits, &index).unwrap(), loss.forward(&logits, &one_hot).unwrap());
            check_close("one-hot", &a, &b, 1e-12).map_err(fail)?;
        }
    }
}

#[test]
fn extreme_logits_have_finite_losses_and_gradients() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::from_tensor(&Tensor::new(&[-1e4f64, -30., 0., 30., 1e4], &CPU)?.to_dtype(dtype)?)?;
        let bce = BceWithLogitsLoss::new().reduction(Reduction::None);
        let ones = x.ones_like()?;
        let loss = bce.forward(&x, &ones)?;
        let tiny = (-30f64).exp();
        let expected = Tensor::new(&[1e4, 30., 2f64.ln(), tiny, 0.], &CPU)?;
        check_close("loss", &loss, &expected, 1e-6)?;
        assert!((values(&loss)[3] / tiny - 1.).abs() < 1e-5, "a tiny loss should not be rounded to 0");
        let grads = loss.sum_all()?.backward()?;
        let gradient = grads.get(&x).unwrap();
        check_close("gradient", gradient, &Tensor::new(&[-1., -1., -0.5, -tiny, 0.], &CPU)?, 1e-6)?;
        assert!((values(gradient)[3] / -tiny - 1.).abs() < 1e-5);

        let logits =
            Var::from_tensor(&Tensor::new(&[[1e4f64, 0., f64::NEG_INFINITY]], &CPU)?.to_dtype(dtype)?)?;
        let loss = cross_entropy(&logits, &Tensor::new(&[1u32], &CPU)?)?;
        assert_eq!(values(&loss), [1e4]);
        assert_eq!(values(loss.backward()?.get(&logits).unwrap()), [1., -1., 0.]);
    }
    Ok(())
}

#[test]
fn the_gradient_of_the_absolute_error_is_zero_at_zero() -> Result<()> {
    let x = Var::new(&[1f64, 2., f64::INFINITY], &CPU)?;
    let y = Tensor::new(&[1f64, 3., 0.], &CPU)?;
    let losses: [&dyn Loss; 3] = [
        &L1Loss::new().reduction(Reduction::Sum),
        &SmoothL1Loss::new().beta(0.).reduction(Reduction::Sum),
        &HuberLoss::new().reduction(Reduction::Sum),
    ];
    for loss in losses {
        assert_eq!(values(loss.forward(&x, &y)?.backward()?.get(&x).unwrap()), [0., -1., 1.]);
    }
    Ok(())
}

#[test]
fn ignored_elements_do_not_contribute() -> Result<()> {
    let logits = Var::new(&[[1f64, 2.], [f64::NEG_INFINITY, 0.], [3., 1.]], &CPU)?;
    let target = Tensor::new(&[1i64, 0, 0], &CPU)?;
    let rest = logits.index_select(&Tensor::new(&[0u32, 2], &CPU)?, 0)?;
    let expected = NllLoss::new().forward(&rest, &Tensor::new(&[1i64, 0], &CPU)?)?;
    let ignoring = Tensor::new(&[1i64, -100, 0], &CPU)?;
    check_close("mean without the ignored element", &nll_loss(&logits, &ignoring)?, &expected, 1e-12)?;
    let other = NllLoss::new().ignore_index(5).forward(&logits, &Tensor::new(&[1i64, 5, 0], &CPU)?)?;
    check_close("a different ignore_index", &other, &expected, 1e-12)?;
    assert!(values(&nll_loss(&logits, &target)?)[0].is_infinite());

    let none = Tensor::new(&[-100i64; 3], &CPU)?;
    assert!(values(&cross_entropy(&logits, &none)?)[0].is_nan());
    assert_eq!(values(&CrossEntropyLoss::new().reduction(Reduction::Sum).forward(&logits, &none)?), [0.]);
    Ok(())
}

#[test]
fn unbatched_and_empty_inputs_are_supported() -> Result<()> {
    let logits = Tensor::new(&[0.5f32, 1., 2.], &CPU)?;
    let target = Tensor::new(1u32, &CPU)?;
    let unbatched = CrossEntropyLoss::new().reduction(Reduction::None).forward(&logits, &target)?;
    assert!(unbatched.dims().is_empty());
    let batch = cross_entropy(&logits.unsqueeze(0)?, &target.unsqueeze(0)?)?;
    check_close("unbatched", &unbatched, &batch, 1e-7)?;

    let empty = Tensor::zeros((0, 3), DType::F32, &CPU)?;
    assert!(values(&cross_entropy(&empty, &Tensor::zeros(0, DType::U32, &CPU)?)?)[0].is_nan());
    assert!(values(&mse_loss(&empty, &empty)?)[0].is_nan());
    assert_eq!(values(&L1Loss::new().reduction(Reduction::Sum).forward(&empty, &empty)?), [0.]);
    Ok(())
}

#[test]
fn half_precision_is_summed_in_f32() -> Result<()> {
    let x = Var::from_tensor(&Tensor::full(2f32, 60_000, &CPU)?.to_dtype(DType::F16)?)?;
    let loss = mse_loss(&x, &x.zeros_like()?)?;
    assert_eq!((loss.dtype(), values(&loss)[0]), (DType::F16, 4.));
    assert_eq!(loss.backward()?.get(&x).unwrap().dtype(), DType::F16);
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let logits = Tensor::zeros((2, 3), DType::F32, &CPU)?;
    let message = |loss: Result<Tensor>| loss.unwrap_err().to_string();
    let classes = |index: [i64; 2]| Tensor::new(&index, &CPU).unwrap();
    let expected = "CrossEntropyLoss: class index 3 of element 1 is out of range for 3 classes";
    assert_eq!(message(cross_entropy(&logits, &classes([0, 3]))), expected);
    assert!(message(nll_loss(&logits, &classes([-1, 0]))).contains("index -1 of element 0"));
    assert!(
        message(cross_entropy(&logits, &Tensor::zeros(3, DType::U32, &CPU)?))
            .contains("expected class indices of shape [2]")
    );
    assert!(message(cross_entropy(&logits, &Tensor::zeros(2, DType::F32, &CPU)?)).contains("[2, 3]"));
    assert!(message(cross_entropy(&classes([0, 1]), &classes([0, 1]))).contains("floating-point"));
    assert!(message(cross_entropy(&Tensor::new(1f32, &CPU)?, &Tensor::new(1u32, &CPU)?)).contains("scalar"));
    let weighted = CrossEntropyLoss::new().weight(Tensor::zeros(2, DType::F32, &CPU)?);
    assert!(
        message(weighted.forward(&logits, &classes([0, 1])))
            .contains("expected a weight of shape [3], found [2]")
    );
    assert!(
        message(CrossEntropyLoss::new().label_smoothing(2.).forward(&logits, &classes([0, 1]))).contains("2")
    );

    let column = Tensor::zeros((2, 1), DType::F32, &CPU)?;
    assert!(
        message(mse_loss(&logits, &column)).starts_with("MseLoss: expected a target of the input's shape")
    );
    let wide = BceWithLogitsLoss::new().pos_weight(Tensor::zeros((4, 1, 1), DType::F32, &CPU)?);
    assert!(message(wide.forward(&logits, &logits)).contains("pos_weight"));
    assert!(
        message(HuberLoss::new().delta(0.).forward(&logits, &logits))
            .contains("expected a delta above 0, found 0")
    );
    assert!(message(SmoothL1Loss::new().beta(f64::NAN).forward(&logits, &logits)).contains("NaN"));
    Ok(())
}
