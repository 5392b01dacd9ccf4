//! Activations and dropout: gradients by finite differences, dtypes, dropped channels, invalid arguments.

use proptest::prelude::*;
use sconce::prelude::*;

use crate::common::{Rng, check_against_f64, check_close, check_gradients, config, fail, gradients, values};
use crate::on_tensors::on_tensors;

type Function = fn(Signal) -> Signal;

/// The activations, with their names for error messages. All inputs below have an even last dimension, because GLU
/// halves it.
const FUNCTIONS: [(&str, Function); 17] = [
    ("elu", |x| elu(x, 1.3)),
    ("elu with a negative alpha", |x| elu(x, -0.8)),
    ("celu", |x| celu(x, 0.6)),
    ("selu", |x| selu(x)),
    ("mish", |x| mish(x)),
    ("softplus", |x| softplus(x, 2., 5.)),
    ("hardsigmoid", |x| hardsigmoid(x)),
    ("hardtanh", |x| hardtanh(x, -1.5, 2.)),
    ("logsigmoid", |x| logsigmoid(x)),
    ("threshold", |x| threshold(x, -0.5, 2.)),
    ("softshrink", |x| softshrink(x, 0.8)),
    ("hardshrink", |x| hardshrink(x, 0.8)),
    ("tanhshrink", |x| tanhshrink(x)),
    ("softsign", |x| softsign(x)),
    ("gelu_tanh", |x| gelu_tanh(x)),
    ("glu", |x| glu(x, -1)),
    ("softmin", |x| softmin(x, 1)),
];

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn gradients_agree_with_finite_differences(n in 0..3usize, c in 1..4usize, half in 1..4usize, seed: u64) {
        for (name, function) in FUNCTIONS {
            // No entry is near a kink: the entries are 0.417 (k + 0.37) for integers k.
            let x = Rng::new(seed).distinct(&[n, c, 2 * half], 0.417);
            check_gradients(on_tensors(function), &[x]).map_err(|error| fail(format!("{name}: {error}")))?;
        }
    }

    #[test]
    fn every_dtype_agrees_with_f64(n in 0..3usize, c in 1..4usize, half in 1..9usize, seed: u64) {
        for (name, function) in FUNCTIONS {
            for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F16, 2e-3), (DType::BF16, 1.6e-2)] {
                let check = || -> Result<()> {
                    let x = Rng::new(seed).tensor(&[n, c, 2 * half], 6.).to_dtype(dtype)?;
                    let tolerances = [tolerance, 2. * tolerance];
                    Ok(check_against_f64(on_tensors(function), &[x], seed ^ 1, tolerances)?)
                };
                check().map_err(|error| fail(format!("{name} {dtype:?}: {error}")))?;
            }
        }
    }

    #[test]
    fn dropout_drops_whole_channels(
        n in 0..4usize, c in 1..5usize, (h, w) in (1..4usize, 1..4usize), p in 0.0..1.0f64, seed: u64,
    ) {
        type Dropout = fn(Signal, f64) -> Signal;
        let cases: [(Vec<usize>, usize, Dropout); 4] = [
            (vec![n, c, h, w], h * w, |x, p| dropout2d(x, p, Mode::Train)),
            (vec![n, c, w], w, |x, p| dropout2d(x, p, Mode::Train)),
            (vec![n, c, w], w, |x, p| dropout1d(x, p, Mode::Train)),
            (vec![c, w], w, |x, p| dropout1d(x, p, Mode::Train)),
        ];
        for (shape, channel_size, dropout) in cases {
            let check = || -> Result<()> {
                let x = Rng::new(seed).distinct(&shape, 0.3);
                let output_grad = Rng::new(seed ^ 1).tensor(&shape, 1.);
                let (y, dx) = gradients(on_tensors(|x| dropout(x, p)), std::slice::from_ref(&x), &output_grad)?;
                let kept = values(&y.ne(0.)?)?;
                assert!(kept.chunks(channel_size).all(|channel| channel.iter().all(|kept| *kept == channel[0])));
                let kept = (Tensor::from_vec(kept, shape.as_slice(), &Device::Cpu)? / (1. - p))?;
                check_close("output", &y, &x.mul(&kept)?, 1e-12)?;
                Ok(check_close("gradient", &dx[0], &output_grad.mul(&kept)?, 1e-12)?)
            };
            check().map_err(fail)?;
        }
    }
}

proptest! {
    #![proptest_config(config(100))]

    /// In training, each negative element has its own slope between the bounds, and so has its gradient.
    #[test]
    fn rrelu_multiplies_negative_elements_by_random_slopes(
        shape in prop::collection::vec(1..5usize, 0..4), lower in -1.0..1.0f64, width in 0.0..1.0f64, seed: u64,
    ) {
        let upper = lower + width;
        let check = || -> Result<()> {
            let x = Rng::new(seed).distinct(&shape, 0.3);
            let output_grad = Rng::new(seed ^ 1).distinct(&shape, 0.3);
            let op = on_tensors(|x| rrelu(x, lower, upper, Mode::Train));
            let (y, dx) = gradients(op, std::slice::from_ref(&x), &output_grad)?;
            let slopes = values(&(&y / &x)?)?;
            let bounds = lower - 1e-12..=upper + 1e-12;
            for (x, slope) in values(&x)?.into_iter().zip(&slopes) {
                assert!(if x > 0. { *slope == 1. } else { bounds.contains(slope) }, "slope {slope} of {x}");
            }
            let slopes = Tensor::from_vec(slopes, shape.as_slice(), &Device::Cpu)?;
            Ok(check_close("gradient", &dx[0], &output_grad.mul(&slopes)?, 1e-12)?)
        };
        check().map_err(fail)?;
    }

    /// Each element is one of two linear functions of the input. With probability `p`, the slope is 0.
    #[test]
    fn alpha_dropout_drops_elements_or_channels(
        shape in prop::collection::vec(1..5usize, 2..5), p in 0.0..1.0f64, by_channel: bool, seed: u64,
    ) {
        let check = || -> Result<()> {
            let x = Rng::new(seed).distinct(&shape, 0.3);
            let ones = x.ones_like()?;
            let drop = if by_channel { feature_alpha_dropout } else { alpha_dropout };
            let (y, dx) = gradients(on_tensors(|x| drop(x, p, Mode::Train)), std::slice::from_ref(&x), &ones)?;
            // The formulas of Klambauer et al. 2017, section 3.
            let limit = -1.0507009873554805 * 1.6732632423543772;
            let keep = 1. - p;
            let a = (keep + limit * limit * keep * p).powf(-0.5);
            let b = -a * limit * p;
            let slopes = values(&dx[0])?;
            for ((x, y), slope) in values(&x)?.into_iter().zip(values(&y)?).zip(&slopes) {
                let expected = if *slope == 0. { a * limit + b } else { a * x + b };
                assert!((y - expected).abs() <= 1e-9 * (1. + a), "{y} should be {expected}");
                assert!(*slope == 0. || (slope - a).abs() <= 1e-9 * a, "slope {slope} should be 0 or {a}");
            }
            if by_channel {
                let channel_size = shape[2..].iter().product();
                assert!(slopes.chunks(channel_size).all(|channel| channel.iter().all(|s| *s == channel[0])));
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    /// Each example, or the whole batch, is dropped or multiplied by `1 / (1 − p)`, and so is its gradient.
    #[test]
    fn stochastic_depth_drops_whole_examples(
        shape in prop::collection::vec(1..5usize, 1..5), p in 0.0..1.0f64, by_row: bool, seed: u64,
    ) {
        let mode = if by_row { "row" } else { "batch" };
        let check = || -> Result<()> {
            let x = Rng::new(seed).distinct(&shape, 0.3);
            let output_grad = Rng::new(seed ^ 1).tensor(&shape, 1.);
            let drop = on_tensors(|x| stochastic_depth(x, p, mode, Mode::Train));
            let (y, dx) = gradients(drop, std::slice::from_ref(&x), &output_grad)?;
            let kept = values(&y.ne(0.)?)?;
            let unit = kept.len() / if by_row { shape[0] } else { 1 };
            assert!(kept.chunks(unit).all(|unit| unit.iter().all(|kept| *kept == unit[0])));
            let kept = (Tensor::from_vec(kept, shape.as_slice(), &Device::Cpu)? / (1. - p))?;
            check_close("output", &y, &x.mul(&kept)?, 1e-12)?;
            check_close("gradient", &dx[0], &output_grad.mul(&kept)?, 1e-12)?;
            let y = stochastic_depth(&x, p, mode, Mode::Eval).into_tensor()?;
            Ok(check_close("evaluation", &y, &x, 0.)?)
        };
        check().map_err(fail)?;
    }
}

#[test]
fn examples_are_dropped_with_the_given_probability() -> Result<()> {
    sconce::manual_seed(12);
    let x = Tensor::ones((20_000, 2), DType::F32, &Device::Cpu)?;
    let y = StochasticDepth::config(0.3, "row").forward_t(&x, true)?;
    let kept = y.ne(0.)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
    assert!((kept - 0.7).abs() < 0.02, "{kept}"); // 0.02 is six standard deviations for 20,000 examples.
    for (p, expected) in [(0., 1.), (1., 0.)] {
        for mode in ["batch", "row"] {
            let y = StochasticDepth::config(p, mode).forward_t(&x, true)?;
            check_close("output", &y, &(x.ones_like()? * expected)?, 0.)?;
        }
    }
    Ok(())
}

#[test]
fn channels_are_dropped_with_the_given_probability() -> Result<()> {
    sconce::manual_seed(11);
    let x = Tensor::ones((200, 100, 2, 2), DType::F32, &Device::Cpu)?;
    let y = Dropout2d::config(0.3).call((&x).into(), Mode::Train).into_tensor()?;
    let kept = y.ne(0.)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
    assert!((kept - 0.7).abs() < 0.02, "{kept}"); // 0.02 is six standard deviations for 20,000 channels.
    for (p, mode, expected) in [(0.3, Mode::Eval, 1.), (0., Mode::Train, 1.), (1., Mode::Train, 0.)] {
        let y = Dropout2d::config(p).call((&x).into(), mode).into_tensor()?;
        check_close("output", &y, &(x.ones_like()? * expected)?, 0.)?;
    }
    Ok(())
}

#[test]
fn nan_and_infinity_agree_with_pytorch() -> Result<()> {
    const INF: f64 = f64::INFINITY;
    let inputs = [f64::NAN, -INF, INF, 1000., -1000., 0.];
    let expected: [(Function, [f64; 6]); 11] = [
        (|x| elu(x, 2.), [f64::NAN, -2., INF, 1000., -2., 0.]),
        (|x| celu(x, 2.), [f64::NAN, -2., INF, 1000., -2., 0.]),
        (|x| softplus(x, 1., 20.), [f64::NAN, 0., INF, 1000., 0., 2f64.ln()]),
        (|x| logsigmoid(x), [f64::NAN, -INF, 0., 0., -1000., -(2f64.ln())]),
        (|x| hardtanh(x, -1., 1.), [f64::NAN, -1., 1., 1., -1., 0.]),
        (|x| hardsigmoid(x), [f64::NAN, 0., 1., 1., 0., 0.5]),
        (|x| threshold(x, 0., 2.), [f64::NAN, 2., INF, 1000., 2., 2.]),
        (|x| softshrink(x, 0.5), [f64::NAN, -INF, INF, 999.5, -999.5, 0.]),
        (|x| hardshrink(x, 0.5), [f64::NAN, -INF, INF, 1000., -1000., 0.]),
        (|x| tanhshrink(x), [f64::NAN, -INF, INF, 999., -999., 0.]),
        (|x| softsign(x), [f64::NAN, f64::NAN, f64::NAN, 1000. / 1001., -1000. / 1001., 0.]),
    ];
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::new(&inputs, &Device::Cpu)?.to_dtype(dtype)?;
        for (i, (function, expected)) in expected.iter().enumerate() {
            let y = function((&x).into()).into_tensor()?;
            check_close(
                &format!("function {i} in {dtype:?}"),
                &y,
                &Tensor::new(expected, &Device::Cpu)?,
                1e-6,
            )?;
        }
    }
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let x = |dims: &[usize]| Signal::from(Tensor::zeros(dims, DType::F32, &Device::Cpu));
    let gelu = Gelu::config().approximate("sigmoid");
    for (signal, part) in [
        (glu(x(&[2, 3]), 1), "expected an even size, found 3 (dimension 1 of [2, 3])"),
        (glu(x(&[2, 3]), 2), "dimension 2 is out of range for a tensor with 2 dimensions"),
        (softmin(x(&[2, 3]), -3), "dimension -3"),
        (celu(x(&[2]), 0.), "expected a nonzero alpha"),
        (hardtanh(x(&[2]), 1., -1.), "expected min_val ≤ max_val, found 1 and -1"),
        (hardtanh(x(&[2]), f64::NAN, 1.), "expected min_val ≤ max_val"),
        (softshrink(x(&[2]), -0.5), "expected a lambd of at least 0, found -0.5"),
        (gelu.call(x(&[2]), Mode::Eval), "expected approximate \"none\" or \"tanh\", found \"sigmoid\""),
        (dropout2d(x(&[2, 3]), 0.5, Mode::Eval), "expected an input [batch, channels, height, width]"),
        (
            dropout1d(x(&[2, 3, 4, 5]), 0.5, Mode::Train),
            "[batch, channels, length] or [channels, length], found [2, 3, 4, 5]",
        ),
        (stochastic_depth(x(&[2]), 1.5, "row", Mode::Eval), "a probability between 0 and 1, found 1.5"),
        (stochastic_depth(x(&[2]), 0.5, "rows", Mode::Eval), "mode \"batch\" or \"row\", found \"rows\""),
        (stochastic_depth(x(&[]), 0.5, "row", Mode::Train), "expected an input [batch, …], found []"),
        (alpha_dropout(x(&[2]), 1.5, Mode::Train), "a probability between 0 and 1, found 1.5"),
        (
            feature_alpha_dropout(x(&[2]), 0.5, Mode::Eval),
            "expected an input [batch, channels, …], found [2]",
        ),
        (rrelu(x(&[2]), 0.5, 0.25, Mode::Eval), "with lower ≤ upper, found lower = 0.5 and upper = 0.25"),
        (rrelu(x(&[2]), 0.5, f64::INFINITY, Mode::Train), "expected finite slopes"),
        (
            Softmax2d.call(x(&[2, 3]), Mode::Eval),
            "Softmax2d: expected an input [batch, channels, height, width] or [channels, height, width], found [2, 3]",
        ),
        (dropout2d(x(&[2, 3, 4]), 1.5, Mode::Train), "a probability between 0 and 1, found 1.5"),
    ] {
        let message = signal.error().map(ToString::to_string).unwrap_or_default();
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
    let error = mish(Tensor::zeros(3, DType::U8, &Device::Cpu)?).into_tensor().unwrap_err();
    assert!(error.to_string().contains("found U8"), "{error}");
    assert!(gelu.init(&Device::Cpu).is_err() && Dropout2d::config(-0.1).init(&Device::Cpu).is_err());
    let depth = StochasticDepth::config(0.5, "rows").init(&Device::Cpu).unwrap_err();
    assert_eq!(depth.to_string(), "StochasticDepth: expected mode \"batch\" or \"row\", found \"rows\"");
    Ok(())
}

#[derive(Module)]
struct Activations {
    elu: Elu,
    #[layer(alpha = 0.5)]
    celu: Celu,
    selu: Selu,
    mish: Mish,
    #[layer(beta = 2.)]
    softplus: Softplus,
    hardsigmoid: Hardsigmoid,
    hardtanh: Hardtanh,
    #[layer(0.1, 20.)]
    threshold: Threshold,
    softshrink: Softshrink,
    #[layer(lambd = 0.25)]
    hardshrink: Hardshrink,
    tanhshrink: Tanhshrink,
    softsign: Softsign,
    log_sigmoid: LogSigmoid,
    #[layer(approximate = "tanh")]
    gelu_tanh: Gelu,
    gelu: Gelu,
    glu: Glu,
    #[layer(-1)]
    softmin: Softmin,
    #[layer(0.2)]
    dropout2d: Dropout2d,
    #[layer(0.2)]
    dropout1d: Dropout1d,
    #[layer(0.2, "row")]
    stochastic_depth: StochasticDepth,
    #[layer(0.2)]
    alpha_dropout: AlphaDropout,
    feature_alpha_dropout: FeatureAlphaDropout,
    #[layer(upper = 0.5)]
    rrelu: RRelu,
    softmax2d: Softmax2d,
}

#[test]
fn layers_work_as_fields_and_print_as_in_pytorch() -> Result<()> {
    let net = Activations::new(&Device::Cpu)?;
    assert_eq!(net.forward(&Tensor::zeros((2, 3, 8), DType::F32, &Device::Cpu)?)?.dims(), [2, 3, 4]);
    let expected = "Activations(
  (elu): ELU(alpha=1.0)
  (celu): CELU(alpha=0.5)
  (selu): SELU()
  (mish): Mish()
  (softplus): Softplus(beta=2.0, threshold=20.0)
  (hardsigmoid): Hardsigmoid()
  (hardtanh): Hardtanh(min_val=-1.0, max_val=1.0)
  (threshold): Threshold(threshold=0.1, value=20.0)
  (softshrink): Softshrink(0.5)
  (hardshrink): Hardshrink(0.25)
  (tanhshrink): Tanhshrink()
  (softsign): Softsign()
  (log_sigmoid): LogSigmoid()
  (gelu_tanh): GELU(approximate='tanh')
  (gelu): GELU(approximate='none')
  (glu): GLU(dim=-1)
  (softmin): Softmin(dim=-1)
  (dropout2d): Dropout2d(p=0.2, inplace=False)
  (dropout1d): Dropout1d(p=0.2, inplace=False)
  (stochastic_depth): StochasticDepth(p=0.2, mode=row)
  (alpha_dropout): AlphaDropout(p=0.2, inplace=False)
  (feature_alpha_dropout): FeatureAlphaDropout(p=0.5, inplace=False)
  (rrelu): RReLU(lower=0.125, upper=0.5)
  (softmax2d): Softmax2d()
)";
    assert_eq!(net.to_string(), expected);
    Ok(())
}
