//! The pooling layers: agreement with plain loops, gradients by finite differences, dtypes, NaN, invalid
//! arguments.

use proptest::prelude::*;
use sconce::prelude::*;

use crate::common::{Rng, check_against_f64, check_close, check_gradients, config, fail, gradients, values};
use crate::on_tensors::on_tensors;

/// A function that reduces a window to one output. Its arguments are the input elements in the window, and the number
/// of the window's taps that lie in the input or in its padding.
type Reduce = fn(&[f64], f64) -> f64;

fn maximum(elements: &[f64], _: f64) -> f64 {
    elements.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Pools `[batch, channels, length]` with plain loops.
fn naive1d(
    x: &Tensor,
    [kernel, stride, padding, dilation]: [usize; 4],
    ceil: bool,
    reduce: Reduce,
) -> Result<Tensor> {
    let (n, c, length) = x.dims3()?;
    let mut y = Vec::new();
    for row in values(x)?.chunks(length) {
        for start in (0..).step_by(stride) {
            let fits = start + (kernel - 1) * dilation < length + 2 * padding;
            // With `ceil`, the last window may reach past the end of the padded row by less than a stride, if it
            // does not start in the padding at the end.
            let overlaps = start + (kernel - 1) * dilation < length + 2 * padding + stride - 1;
            if !(fits || ceil && overlaps && start < length + padding) {
                break;
            }
            let taps = (0..kernel)
                .map(|tap| start + tap * dilation)
                .filter(|position| *position < length + 2 * padding);
            let inside = taps.clone().filter(|position| (padding..padding + length).contains(position));
            y.push(reduce(
                &inside.map(|position| row[position - padding]).collect::<Vec<_>>(),
                taps.count() as f64,
            ));
        }
    }
    let outputs = y.len() / (n * c).max(1);
    Ok(Tensor::from_vec(y, (n, c, outputs), &Device::Cpu)?)
}

/// Computes adaptive max pooling of `[batch, channels, height, width]` with plain loops.
fn naive_adaptive_max(x: &Tensor, [rows, columns]: [usize; 2]) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let window = |i: usize, input: usize, output: usize| {
        let start = (i as f64 * input as f64 / output as f64).floor() as usize;
        start..((i + 1) as f64 * input as f64 / output as f64).ceil() as usize
    };
    let mut y = Vec::new();
    for plane in values(x)?.chunks(h * w) {
        for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            let elements =
                window(i, h, rows).flat_map(|i| window(j, w, columns).map(move |j| plane[i * w + j]));
            y.push(maximum(&elements.collect::<Vec<_>>(), 0.));
        }
    }
    Ok(Tensor::from_vec(y, (n, c, rows, columns), &Device::Cpu)?)
}

/// Checks the output against `expected` and the gradients against finite differences. Leaves out the gradients if a
/// window lies entirely in the padding, so that the output contains -∞.
pub fn check_pool(op: impl Fn(Signal) -> Signal, x: Tensor, expected: Tensor, tolerance: f64) -> Result<()> {
    let op = on_tensors(op);
    let y = op(std::slice::from_ref(&x))?;
    check_close("output", &y, &expected, tolerance)?;
    if values(&y)?.iter().all(|y| y.is_finite()) {
        check_gradients(op, &[x])?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn pools_1d_agree_with_plain_loops(
        (kernel, stride, dilation, n, c, length) in (1..5usize, 1..7usize, 1..4usize, 0..3usize, 1..4usize, 1..13usize),
        padding in 0..3usize, ceil: bool, count_include_pad: bool, seed: u64,
    ) {
        let padding = padding.min(kernel / 2);
        let mut numbers = Rng::new(seed);
        let x = numbers.distinct(&[n, c, length], 0.3);
        let max = MaxPool1d::config(kernel).stride(stride).padding(padding).dilation(dilation).ceil_mode(ceil);
        let avg = AvgPool1d::config(kernel).stride(stride).padding(padding).ceil_mode(ceil);
        let avg = avg.count_include_pad(count_include_pad);
        let mean: Reduce = if count_include_pad {
            |elements, padded_count| elements.iter().sum::<f64>() / padded_count
        } else {
            |elements, _| elements.iter().sum::<f64>() / elements.len() as f64
        };
        let check = |settings, reduce, pool: &dyn Fn(Signal) -> Signal, tolerance| -> Result<()> {
            let row = Tensor::zeros((1, 1, length), DType::F64, &Device::Cpu)?;
            if naive1d(&row, settings, ceil, reduce)?.dim(2)? == 0 {
                assert!(pool((&row).into()).error().is_some(), "expected an error for an empty output");
            } else if n > 0 {
                check_pool(pool, x.clone(), naive1d(&x, settings, ceil, reduce)?, tolerance)?;
            }
            Ok(())
        };
        check([kernel, stride, padding, dilation], maximum, &|x| max_pool1d(x, max), 0.).map_err(fail)?;
        check([kernel, stride, padding, 1], mean, &|x| avg_pool1d(x, avg), 1e-12).map_err(fail)?;
        // Apart from the batch size, an empty batch gives the output shape of a batch of one.
        let empty = Tensor::zeros((0, c, length), DType::F64, &Device::Cpu).map_err(fail)?;
        let full = Tensor::zeros((1, c, length), DType::F64, &Device::Cpu).map_err(fail)?;
        for pool in [&|x| max_pool1d(x, max), &|x| avg_pool1d(x, avg)] as [&dyn Fn(Tensor) -> Signal; 2] {
            match (pool(empty.clone()).into_tensor(), pool(full.clone()).into_tensor()) {
                (Ok(empty), Ok(full)) => prop_assert_eq!(&empty.dims()[1..], &full.dims()[1..]),
                (Err(_), Err(_)) => {}
                _ => prop_assert!(false, "only one of the batches of 0 and of 1 is an error"),
            }
        }
    }

    #[test]
    fn adaptive_pools_agree_with_plain_loops(
        (n, c, h, w) in (0..3usize, 1..4usize, 1..9usize, 1..9usize),
        (rows, columns) in (1..10usize, 1..10usize), seed: u64,
    ) {
        let x = Rng::new(seed).distinct(&[n, c, h, w], 0.3);
        let check = || -> Result<()> {
            let expected = naive_adaptive_max(&x, [rows, columns])?;
            check_pool(|x| adaptive_max_pool2d(x, (rows, columns)), x.clone(), expected.clone(), 0.)?;
            if n > 0 {
                let first_image = |x: &Tensor| x.narrow(0, 0, 1)?.squeeze(0);
                let pool = |x| adaptive_max_pool2d(x, (rows, columns));
                check_pool(pool, first_image(&x)?, first_image(&expected)?, 0.)?;
            }
            // An image with one row is pooled like a sequence.
            let (row, expected) = (x.narrow(2, 0, 1)?, naive_adaptive_max(&x.narrow(2, 0, 1)?, [1, columns])?);
            check_pool(|x| adaptive_max_pool1d(x, columns), row.squeeze(2)?, expected.squeeze(2)?, 0.)?;
            let mean = adaptive_avg_pool2d(&row, (1, columns)).into_tensor()?;
            check_pool(|x| adaptive_avg_pool1d(x, columns), row.squeeze(2)?, mean.squeeze(2)?, 1e-12)
        };
        check().map_err(fail)?;
    }

    #[test]
    fn every_dtype_agrees_with_f64(n in 0..3usize, c in 1..4usize, h in 1..12usize, w in 3..12usize, seed: u64) {
        type Pool = fn(Signal) -> Signal;
        let pools: [(Pool, bool); 6] = [
            (|x| max_pool1d(x, MaxPool1d::config(3).stride(1).padding(1)), true),
            (|x| avg_pool1d(x, AvgPool1d::config(3).stride(1).padding(1)), true),
            (|x| adaptive_avg_pool1d(x, 5), true),
            (|x| adaptive_max_pool1d(x, 5), true),
            (|x| adaptive_max_pool2d(x, (4, 5)), false),
            (|x| max_pool2d(x, MaxPool2d::config((1, 3)).stride((2, 1)).dilation((3, 1))), false),
        ];
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
            for (pool, is_sequence) in pools {
                let check = || -> Result<()> {
                    let shape = if is_sequence { vec![n, c, w] } else { vec![n, c, h, w] };
                    let x = Rng::new(seed).tensor(&shape, 4.).to_dtype(dtype)?;
                    Ok(check_against_f64(on_tensors(pool), &[x], seed ^ 1, [tolerance; 2])?)
                };
                check().map_err(|error| fail(format!("{dtype:?} {error}")))?;
            }
        }
    }
}

#[test]
fn nan_propagates_and_the_first_of_equal_maxima_gets_the_gradient() -> Result<()> {
    const NAN: f64 = f64::NAN;
    let x = Tensor::new(&[[[1., NAN, 2., 5., 5., 3., NAN, NAN, 1.]]], &Device::Cpu)?;
    let ones = Tensor::ones((1, 1, 3), DType::F64, &Device::Cpu)?;
    for pool in [|x| max_pool1d(x, 3), |x| adaptive_max_pool1d(x, 3)] as [fn(Signal) -> Signal; 2] {
        let (y, dx) = gradients(on_tensors(pool), std::slice::from_ref(&x), &ones)?;
        let y = values(&y)?;
        assert!(y[0].is_nan() && y[1] == 5. && y[2].is_nan(), "{y:?}");
        // If a window contains NaN, its last NaN gets the gradient, as in PyTorch.
        assert_eq!(values(&dx[0])?, [0., 1., 0., 1., 0., 0., 0., 1., 0.]);
    }
    let negative_infinity = Tensor::full(f64::NEG_INFINITY, (1, 2, 3), &Device::Cpu)?;
    let (y, dx) = gradients(
        on_tensors(|x| adaptive_max_pool1d(x, 1)),
        &[negative_infinity],
        &ones.narrow(2, 0, 2)?.reshape((1, 2, 1))?,
    )?;
    assert_eq!(values(&y)?, [f64::NEG_INFINITY; 2]);
    assert_eq!(values(&dx[0])?, [1., 0., 0., 1., 0., 0.]);
    Ok(())
}

#[test]
fn overlapping_windows_add_their_gradients() -> Result<()> {
    // The three windows over the 5 elements are 0..2, 1..4 and 3..5. The maximum of the first two is the element 9.
    let x = Tensor::new(&[[[1., 9., 2., 3., 4.]]], &Device::Cpu)?;
    let output_grad = Tensor::new(&[[[10., 20., 40.]]], &Device::Cpu)?;
    let (y, dx) = gradients(on_tensors(|x| adaptive_max_pool1d(x, 3)), &[x], &output_grad)?;
    assert_eq!(values(&y)?, [9., 9., 4.]);
    assert_eq!(values(&dx[0])?, [0., 30., 0., 0., 40.]);
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let x = |dims: &[usize]| Signal::from(Tensor::zeros(dims, DType::F32, &Device::Cpu));
    let huge = usize::MAX;
    for (signal, part) in [
        (
            max_pool1d(x(&[1, 2, 4]), 5),
            "the kernel [5] (dilation [1]) does not fit in the input [4] with padding [0]",
        ),
        (
            max_pool1d(x(&[1, 2, 4]), MaxPool1d::config(2).padding(2)),
            "at most half the kernel [2], found [2]",
        ),
        (max_pool1d(x(&[1, 2, 4]), MaxPool1d::config(2).dilation(4)), "(dilation [4]) does not fit"),
        (max_pool1d(x(&[1, 2, 4]), MaxPool1d::config(2).dilation(0)), "dilation of 1 or more"),
        (max_pool1d(x(&[1, 2, 4]), MaxPool1d::config(2).stride(0)), "stride of 1 or more"),
        (max_pool1d(x(&[1, 2, 4]), 0), "kernel of 1 or more"),
        (max_pool1d(x(&[1, 2, 4]), huge), "the output would be empty"),
        (max_pool1d(x(&[1, 2, 3, 4]), 2), "[batch, channels, length] or [channels, length]"),
        (max_pool1d(x(&[4]), 2), "found [4]"),
        (max_pool1d(x(&[1, 0, 4]), 2), "only the batch may be 0, found [1, 0, 4]"),
        (avg_pool1d(x(&[1, 2, 4]), 5), "with padding [0]: the output would be empty"),
        (
            avg_pool1d(x(&[1, 2, 4]), AvgPool1d::config(3).padding(2)),
            "at most half the kernel [3], found [2]",
        ),
        (avg_pool1d(x(&[1, 2, 3, 4]), 2), "avg_pool1d: expected an input [batch, channels, length]"),
        (adaptive_avg_pool1d(x(&[1, 2, 4]), 0), "an output of 1 or more"),
        (adaptive_max_pool1d(x(&[1, 2, 4]), 0), "an output of 1 or more"),
        (adaptive_max_pool1d(x(&[1, 2, 4]), huge), "is too large"),
        (adaptive_max_pool1d(x(&[2, 2, 4, 4]), 3), "adaptive_max_pool1d: expected an input"),
        (adaptive_max_pool2d(x(&[2, 2, 4, 4]), (0, 3)), "an output of 1 or more"),
        (adaptive_max_pool2d(x(&[2, 2, 4, 4]), (huge, huge)), "is too large"),
        (adaptive_avg_pool2d(x(&[2, 2, 4, 4]), (huge, 2)), "is too large"),
        (adaptive_max_pool2d(x(&[4, 4]), 3), "found [4, 4]"),
        (adaptive_max_pool2d(x(&[1, 2, 4, 0]), 3), "found [1, 2, 4, 0]"),
    ] {
        let message = signal.error().map(ToString::to_string).unwrap_or_default();
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
    let integers = Tensor::zeros((1, 2, 4, 4), DType::U8, &Device::Cpu)?;
    let error = adaptive_max_pool2d(integers, 2).into_tensor().unwrap_err();
    assert!(error.to_string().contains("found U8"), "{error}");
    // With ceil_mode, a window may be much larger than the input if the stride is equally large.
    let large_window = MaxPool2d::config(1 << 60).stride(1 << 60).ceil_mode(true);
    assert_eq!(max_pool2d(x(&[1, 2, 4, 4]), large_window).dims()?, [1, 2, 1, 1]);
    let large_window = AvgPool1d::config(huge).stride(huge).ceil_mode(true);
    assert_eq!(avg_pool1d(x(&[1, 2, 4]), large_window).dims()?, [1, 2, 1]);
    Ok(())
}

#[derive(Module)]
struct Pools {
    #[layer(3, stride = 2, padding = 1)]
    max: MaxPool1d,
    #[layer(2, count_include_pad = false)]
    avg: AvgPool1d,
    #[layer(6)]
    adaptive_max: AdaptiveMaxPool1d,
    #[layer(5)]
    adaptive_avg: AdaptiveAvgPool1d,
}

#[derive(Module)]
struct Grid {
    #[layer((4, 2))]
    max: AdaptiveMaxPool2d,
    #[layer((None, Some(7)))]
    avg: AdaptiveAvgPool2d,
}

#[test]
fn layers_work_as_fields_and_print_as_in_pytorch() -> Result<()> {
    let pools = Pools::new(&Device::Cpu)?;
    let x = Tensor::zeros((2, 3, 40), DType::F32, &Device::Cpu)?;
    assert_eq!(pools.forward(&x)?.dims(), [2, 3, 5]);
    let expected = "Pools(
  (max): MaxPool1d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)
  (avg): AvgPool1d(kernel_size=(2,), stride=(2,), padding=(0,))
  (adaptive_max): AdaptiveMaxPool1d(output_size=6)
  (adaptive_avg): AdaptiveAvgPool1d(output_size=5)
)";
    assert_eq!(pools.to_string(), expected);
    let grid = Grid::new(&Device::Cpu)?;
    let expected = "Grid(
  (max): AdaptiveMaxPool2d(output_size=(4, 2))
  (avg): AdaptiveAvgPool2d(output_size=(None, 7))
)";
    assert_eq!(grid.to_string(), expected);
    let x = Tensor::zeros((2, 3, 9, 8), DType::F32, &Device::Cpu)?;
    assert_eq!(grid.forward(&x)?.dims(), [2, 3, 4, 7]);
    Ok(())
}
