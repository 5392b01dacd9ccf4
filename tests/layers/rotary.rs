//! Rotary position embedding: agreement with candle-nn's `rope` and `rope_i` and with products of complex numbers,
//! gradients by finite differences, positions, tables, and invalid arguments.

use proptest::prelude::*;
use sconce::candle;
use sconce::nn::rotary_emb::{rope, rope_i};
use sconce::prelude::*;

use crate::common::{Rng, check_close, check_gradients, config, fail, message, restride, values};

const CPU: Device = Device::Cpu;

/// Returns the cosines and sines of random angles.
fn tables(numbers: &mut Rng, shape: &[usize]) -> Result<[Tensor; 2]> {
    let angles = numbers.tensor(shape, 7.);
    Ok([angles.cos()?, angles.sin()?])
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn rotation_agrees_with_candle(
        sizes in (0..4usize, 1..4usize, 0..6usize, 1..40usize), rest in 0..20usize, batched: bool, interleaved: bool,
        strided: bool, seed: u64,
    ) {
        let (batch, heads, length, pairs) = sizes;
        let check = || -> Result<()> {
            let mut numbers = Rng::new(seed);
            let x = numbers.tensor(&[batch, heads, length, 2 * pairs + rest], 1.);
            let shape = if batched { vec![batch, length, pairs] } else { vec![length, pairs] };
            let [cos, sin] = tables(&mut numbers, &shape)?;
            let rotated = x.narrow(3, 0, 2 * pairs)?.contiguous()?;
            let rotated = if rotated.elem_count() == 0 {
                rotated
            } else if interleaved {
                rope_i(&rotated, &cos, &sin)?
            } else {
                rope(&rotated, &cos, &sin)?
            };
            let expected = Tensor::cat(&[rotated, x.narrow(3, 2 * pairs, rest)?], 3)?;
            // A transposed view with consecutive features, or a view with distant ones.
            let view = if strided { restride(&x)? } else { x.transpose(1, 2)?.contiguous()?.transpose(1, 2)? };
            let run = |x: &Tensor| rotary_embedding(x, &cos, &sin, interleaved).into_tensor();
            check_close("f64", &run(&view)?, &expected, 1e-14)?;
            for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 2e-3), (DType::BF16, 2e-2)] {
                let y = run(&view.to_dtype(dtype)?)?;
                assert_eq!(y.dtype(), dtype);
                check_close("narrow dtype", &y, &expected, tolerance)?;
            }
            Ok(check_gradients(|x| Ok(run(&restride(&x[0])?)?), &[x])?)
        };
        check().map_err(fail)?;
    }

    #[test]
    fn the_layer_rotates_by_the_position_times_the_speed(
        half in 1..20usize, rest in 0..3usize, base in 1.5..20000f64, offset in 0..9000usize, length in 1..5usize,
        interleaved: bool, max_seq_len in prop::option::of(0..20000usize), seed: u64,
    ) {
        let check = || -> Result<()> {
            let dim = 2 * half;
            let x = Rng::new(seed).tensor(&[2, length, dim + rest], 1.);
            let config = RotaryEmbedding::config(dim).base(base).interleaved(interleaved);
            let config = max_seq_len.map_or(config.clone(), |positions| config.max_seq_len(positions));
            let rotary = config.init(&CPU)?;
            let mut expected = values(&x)?;
            for (row, x) in expected.chunks_mut(dim + rest).enumerate() {
                for i in 0..half {
                    let [first, second] = if interleaved { [2 * i, 2 * i + 1] } else { [i, i + half] };
                    let angle = (offset + row % length) as f64 * (-2. * i as f64 / dim as f64 * base.ln()).exp();
                    let (a, b) = (x[first], x[second]);
                    x[first] = a * angle.cos() - b * angle.sin();
                    x[second] = a * angle.sin() + b * angle.cos();
                }
            }
            let expected = Tensor::from_vec(expected, x.shape(), &CPU)?;
            let run = |x: &Tensor, positions: Positions| {
                rotary.call_with((x.into(), positions), Mode::Eval).into_tensor()
            };
            check_close("offset", &run(&x, offset.into())?, &expected, 1e-10)?;
            let positions = Tensor::arange(offset as u32, (offset + length) as u32, &CPU)?;
            check_close("positions", &run(&x, (&positions).into())?, &expected, 1e-10)?;
            let both = Tensor::stack(&[&positions, &positions], 0)?.to_dtype(DType::I64)?;
            check_close("positions of a batch", &run(&x, both.into())?, &expected, 1e-10)?;
            // The angles are computed in f64, so large positions do not lose precision in f32.
            check_close("f32", &run(&x.to_dtype(DType::F32)?, offset.into())?, &expected, 1e-6)?;
            check_close("f64 again", &run(&x, offset.into())?, &expected, 1e-10)?;
            Ok(())
        };
        check().map_err(fail)?;
    }
}

/// More than one task computes the rows.
#[test]
fn long_sequences_agree_with_candle() -> Result<()> {
    let mut numbers = Rng::new(2);
    let x = numbers.tensor(&[2, 3, 300, 128], 1.);
    for shape in [vec![300, 64], vec![2, 300, 64]] {
        let [cos, sin] = tables(&mut numbers, &shape)?;
        let y = rotary_embedding(&x, &cos, &sin, false).into_tensor()?;
        check_close("half", &y, &rope(&x, &cos, &sin)?, 1e-14)?;
        let y = rotary_embedding(&x, &cos, &sin, true).into_tensor()?;
        check_close("interleaved", &y, &rope_i(&x, &cos, &sin)?, 1e-14)?;
    }
    Ok(())
}

/// A network calls the layer with and without positions.
#[derive(Module)]
#[module(forward = |x, offset: usize| {
    let whole = rotary(x);
    let rest = rotary(x.narrow(1, offset, x.dim(1)? - offset), offset);
    (whole.narrow(1, offset, x.dim(1)? - offset), rest)
})]
struct TwoCalls {
    #[layer(4, max_seq_len = 2, interleaved = false)]
    rotary: RotaryEmbedding,
}

#[test]
fn an_offset_continues_a_sequence() -> Result<()> {
    let net = TwoCalls::new(&CPU)?;
    for length in [5, 70, 3] {
        let x = Rng::new(3).tensor(&[2, length, 4], 1.).to_dtype(DType::F32)?;
        let (whole, rest) = net.forward(&x, 2)?;
        assert_eq!(values(&whole)?, values(&rest)?);
    }
    assert_eq!(
        net.to_string(),
        "TwoCalls(\n  (rotary): RotaryEmbedding(4, base=10000.0, interleaved=False)\n)"
    );
    assert_eq!(net.state_dict().keys().count(), 0);
    let error = message(net.forward(Tensor::zeros((2, 5, 3), DType::F32, &CPU)?, 2));
    assert_eq!(error, "at TwoCalls.rotary (RotaryEmbedding 4): expected at least 4 features, found 3");
    Ok(())
}

/// The layer stores no angles for such positions.
#[test]
fn positions_may_be_larger_than_any_table() -> Result<()> {
    let rotary = RotaryEmbedding::config(2).interleaved(false).init(&CPU)?;
    let x = Tensor::new(&[[1f64, 0.], [0., 1.]], &CPU)?;
    for start in [(1 << 20) - 1, 1 << 20, 1 << 45] {
        let angles: Vec<f64> = [start, start + 1].map(|position| position as f64).to_vec();
        let expected = [[angles[0].cos(), angles[0].sin()], [-angles[1].sin(), angles[1].cos()]];
        let expected = Tensor::new(&expected, &CPU)?;
        let run = |positions: Positions| rotary.call_with(((&x).into(), positions), Mode::Eval).into_tensor();
        check_close("offset", &run(start.into())?, &expected, 1e-14)?;
        let each = Tensor::new(&[start as i64, start as i64 + 1], &CPU)?;
        check_close("each", &run(each.into())?, &expected, 1e-14)?;
    }
    let last = Tensor::new(&[0, i64::MAX], &CPU)?;
    let y = rotary.call_with(((&x).into(), last.into()), Mode::Eval).into_tensor()?;
    let angle = i64::MAX as f64;
    let expected = Tensor::new(&[[1., 0.], [-angle.sin(), angle.cos()]], &CPU)?;
    Ok(check_close("last", &y, &expected, 1e-14)?)
}

/// Inputs without numbers fail in the same way as inputs with numbers.
#[test]
fn inputs_without_numbers_are_checked() -> Result<()> {
    let rotary = RotaryEmbedding::config(4).init(&CPU)?;
    let tensor = |shape: &[usize], dtype: DType| Tensor::zeros(shape, dtype, &CPU);
    let failed = || Signal::fail(Error::msg("failed before"));
    for (shape, dtype, positions) in [
        (&[24][..], DType::F32, 0.into()),
        (&[2, 3, 3], DType::F32, 0.into()),
        (&[2, 3, 4], DType::U32, 0.into()),
        (&[2, 3, 4], DType::F32, Positions::Offset(usize::MAX)),
        (&[2, 3, 4], DType::F32, tensor(&[2], DType::U32)?.into()),
        (&[2, 3, 4], DType::F32, tensor(&[1, 3], DType::U32)?.into()),
        (&[2, 3, 4], DType::F32, tensor(&[3], DType::F32)?.into()),
        (&[2, 3, 4], DType::F32, failed().into()),
    ] {
        let run = |x: Signal, positions| message(rotary.call_with((x, positions), Mode::Eval).into_tensor());
        let expected = run(tensor(shape, dtype)?.into(), positions.clone());
        assert_eq!(run(Signal::meta(shape, dtype), positions.clone()), expected);
        if let Positions::Each(each) = positions
            && let (Ok(shape_of_each), Ok(dtype_of_each)) = (each.shape(), each.dtype())
        {
            let each = Signal::meta(shape_of_each, dtype_of_each);
            assert_eq!(run(tensor(shape, dtype)?.into(), each.into()), expected);
        }
    }
    let huge = Signal::meta((1 << 38, 1 << 20, 4), DType::F32);
    for positions in [Positions::Offset(1 << 45), Signal::meta(1 << 20, DType::U32).into()] {
        let y = rotary.call_with((huge.clone(), positions), Mode::Eval);
        assert_eq!(y.dims()?, [1 << 38, 1 << 20, 4]);
    }

    let [cos, sin] = [&[2, 3, 2], &[2, 3, 2]].map(|shape| Signal::meta(shape, DType::F32));
    let x = Signal::meta((2, 1 << 38, 3, 4), DType::F32);
    assert_eq!(rotary_embedding(&x, &cos, &sin, true).dims()?, x.dims()?);
    for (x, cos, sin) in [
        (Signal::meta((1, 3, 4), DType::F32), cos.clone(), sin.clone()),
        (x.clone(), cos.clone(), Signal::meta((2, 3, 1), DType::F32)),
        (Signal::meta((2, 3, 4), DType::I64), cos.clone(), sin.clone()),
        (failed(), cos.clone(), sin.clone()),
        (x.clone(), cos, failed()),
    ] {
        let error = message(rotary_embedding(x, cos, sin, true).into_tensor());
        assert!(!error.contains("with numbers"), "{error}");
    }
    Ok(())
}

#[test]
fn invalid_arguments_are_errors() -> Result<()> {
    let x = Tensor::zeros((2, 3, 4), DType::F32, &CPU)?;
    for (config, part) in [
        (RotaryEmbedding::config(0), "expected a positive and even dim, found 0"),
        (RotaryEmbedding::config(3), "expected a positive and even dim, found 3"),
        (RotaryEmbedding::config(4).base(0.), "expected a positive and finite base, found 0"),
        (RotaryEmbedding::config(4).base(f64::NAN), "found NaN"),
        (RotaryEmbedding::config(4).base(f64::INFINITY), "found inf"),
    ] {
        let error = message(config.clone().init(&CPU).map(drop));
        assert!(error.contains(part), "{error}");
        assert!(message(config.forward(&x)).contains(part));
    }
    let run = |x: &Tensor, positions: Positions| {
        message(RotaryEmbedding::config(4).call_with((x.into(), positions), Mode::Eval).into_tensor())
    };
    assert!(run(&x.flatten_all()?, 0.into()).contains("expected an input […, length, features], found [24]"));
    for offset in [usize::MAX - 2, usize::MAX] {
        let error = run(&x, offset.into());
        assert!(error.contains("expected 3 positions from an offset below 2^64"), "{error}");
    }
    let error = message(RotaryEmbedding::config(4).max_seq_len(usize::MAX).forward(&x));
    assert!(error.contains("not enough memory for the angles of 18446744073709551615 positions"), "{error}");
    let positions =
        |values: &[i64]| Positions::from(Tensor::new(values, &CPU).expect("the tensor should be created"));
    assert!(run(&x, positions(&[0, -1, 3])).contains("expected positions of at least 0, found -1"));
    let error = run(&x, positions(&[0, 1]));
    assert!(error.contains("found [2] and [2, 3, 4]"), "{error}");
    assert!(run(&x, Tensor::zeros((1, 3), DType::U32, &CPU)?.into()).contains("found [1, 3] and [2, 3, 4]"));
    assert!(run(&x, Tensor::zeros(3, DType::F32, &CPU)?.into()).contains("u8, u32 or i64, found [3] of F32"));
    assert!(
        run(&x.to_dtype(DType::U32)?, 0.into())
            .contains("expected a tensor of f32, f64, f16 or bf16, found U32")
    );

    let [cos, sin] = tables(&mut Rng::new(1), &[3, 2])?;
    let run =
        |x: &Tensor, cos: &Tensor, sin: &Tensor| message(rotary_embedding(x, cos, sin, true).into_tensor());
    assert!(run(&x, &cos.narrow(0, 0, 2)?, &sin).contains("found [2, 3, 4], [2, 2] and [3, 2]"));
    assert!(run(&x.narrow(2, 0, 3)?, &cos, &sin).contains("found [2, 3, 3], [3, 2] and [3, 2]"));
    assert!(run(&x.get(0)?, &cos.unsqueeze(0)?, &sin.unsqueeze(0)?).contains("found [3, 4], [1, 3, 2]"));
    let variable = candle::Var::from_tensor(&cos)?;
    assert!(run(&x, variable.as_tensor(), &sin).contains("cosines and sines that do not track gradients"));
    Ok(())
}
