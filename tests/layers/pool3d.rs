//! Pooling of videos: agreement with the definition, gradients by finite differences, dtypes, NaN, invalid arguments.

use proptest::prelude::*;
use sconce::prelude::*;

use crate::common::{Rng, check_against_f64, config, fail, gradients, values};
use crate::on_tensors::on_tensors;
use crate::pool::check_pool;

/// The settings of one axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

/// The window of one output along one axis: the positions in the input, and the number of positions in the input or in
/// its padding.
type Window = (Vec<usize>, usize);

impl Axis {
    /// Returns the windows by the definition of PyTorch.
    fn windows(self, ceil: bool) -> Vec<Window> {
        let Self { size, kernel, stride, padding, dilation } = self;
        let padded = size + 2 * padding;
        let reach = (kernel - 1) * dilation;
        let exists = |start: &usize| {
            let rounded_up = ceil && start + reach < padded + stride - 1 && *start < size + padding;
            start + reach < padded || rounded_up
        };
        let window = |start: usize| {
            let taps = (0..kernel).map(|tap| start + tap * dilation).filter(|position| *position < padded);
            let inside = taps.clone().filter(|position| (padding..padding + size).contains(position));
            (inside.map(|position| position - padding).collect(), taps.count())
        };
        (0..).step_by(stride).take_while(exists).map(window).collect()
    }

    /// Returns the windows of adaptive pooling.
    fn adaptive_windows(self, outputs: usize) -> Vec<Window> {
        let window = |i: usize| {
            let positions: Vec<usize> =
                (i * self.size / outputs..((i + 1) * self.size).div_ceil(outputs)).collect();
            (positions.clone(), positions.len())
        };
        (0..outputs).map(window).collect()
    }
}

fn axis() -> impl Strategy<Value = Axis> {
    (1..7usize, 1..4usize, 1..4usize, 0..2usize, 1..3usize).prop_map(
        |(size, kernel, stride, padding, dilation)| Axis {
            size,
            kernel,
            stride,
            padding: padding.min(kernel / 2),
            dilation,
        },
    )
}

/// Pools a video by calling `reduce` with the elements of each window and with the number of positions in the input or
/// in the padding.
fn naive(x: &Tensor, windows: &[Vec<Window>; 3], reduce: impl Fn(&[f64], usize) -> f64) -> Result<Tensor> {
    let (n, c, depth, height, width) = x.dims5()?;
    let mut y = Vec::new();
    for video in values(x)?.chunks(depth * height * width) {
        for (frames, frame_count) in &windows[0] {
            for (rows, row_count) in &windows[1] {
                for (columns, column_count) in &windows[2] {
                    let mut elements = Vec::new();
                    for (frame, row) in
                        frames.iter().flat_map(|frame| rows.iter().map(move |row| (frame, row)))
                    {
                        elements.extend(
                            columns.iter().map(|column| video[(frame * height + row) * width + column]),
                        );
                    }
                    y.push(reduce(&elements, frame_count * row_count * column_count));
                }
            }
        }
    }
    let [depth, height, width] = windows.each_ref().map(Vec::len);
    Ok(Tensor::from_vec(y, (n, c, depth, height, width), &Device::Cpu)?)
}

fn maximum(elements: &[f64], _: usize) -> f64 {
    elements.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn pools_agree_with_the_definition(
        axes in [axis(), axis(), axis()], (n, c) in (1..3usize, 1..3usize), ceil: bool, count_include_pad: bool,
        divisor in prop::option::of(1..9usize), seed: u64,
    ) {
        let x = Rng::new(seed).distinct(&[n, c, axes[0].size, axes[1].size, axes[2].size], 0.3);
        let sizes = |f: fn(&Axis) -> usize| axes.each_ref().map(f);
        let max = MaxPool3d::config(sizes(|axis| axis.kernel))
            .stride(sizes(|axis| axis.stride))
            .padding(sizes(|axis| axis.padding))
            .dilation(sizes(|axis| axis.dilation))
            .ceil_mode(ceil);
        let average = AvgPool3d::config(sizes(|axis| axis.kernel))
            .stride(sizes(|axis| axis.stride))
            .padding(sizes(|axis| axis.padding))
            .ceil_mode(ceil)
            .count_include_pad(count_include_pad)
            .divisor_override(divisor);
        let mean = |elements: &[f64], padded_count: usize| {
            let count = if count_include_pad { padded_count } else { elements.len() };
            elements.iter().sum::<f64>() / divisor.unwrap_or(count) as f64
        };
        let check = || -> Result<()> {
            let windows = axes.map(|axis| axis.windows(ceil));
            if windows.iter().all(|windows| !windows.is_empty()) {
                check_pool(|x| max_pool3d(x, max), x.clone(), naive(&x, &windows, maximum)?, 0.)?;
            } else {
                assert!(max_pool3d(&x, max).error().is_some());
            }
            let windows = axes.map(|axis| Axis { dilation: 1, ..axis }.windows(ceil));
            if windows.iter().all(|windows| !windows.is_empty()) {
                check_pool(|x| avg_pool3d(x, average), x.clone(), naive(&x, &windows, mean)?, 1e-12)?;
            } else {
                assert!(avg_pool3d(&x, average).error().is_some());
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn adaptive_pools_agree_with_the_definition(
        axes in [axis(), axis(), axis()], (n, c) in (0..3usize, 1..3usize),
        outputs in [prop::option::of(1..8usize), prop::option::of(1..8usize), prop::option::of(1..8usize)], seed: u64,
    ) {
        let x = Rng::new(seed).distinct(&[n, c, axes[0].size, axes[1].size, axes[2].size], 0.3);
        let windows = [0, 1, 2].map(|i| axes[i].adaptive_windows(outputs[i].unwrap_or(axes[i].size)));
        let mean = |elements: &[f64], count: usize| elements.iter().sum::<f64>() / count as f64;
        let check = || -> Result<()> {
            let expected = naive(&x, &windows, maximum)?;
            check_pool(|x| adaptive_max_pool3d(x, OutputSize(outputs)), x.clone(), expected, 0.)?;
            let expected = naive(&x, &windows, mean)?;
            check_pool(|x| adaptive_avg_pool3d(x, OutputSize(outputs)), x.clone(), expected.clone(), 1e-12)?;
            if n > 0 {
                let first_video = |x: &Tensor| x.narrow(0, 0, 1)?.squeeze(0);
                let pool = |x| adaptive_avg_pool3d(x, OutputSize(outputs));
                check_pool(pool, first_video(&x)?, first_video(&expected)?, 1e-12)?;
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn every_dtype_agrees_with_f64(axes in [axis(), axis(), axis()], seed: u64) {
        let x = Rng::new(seed).distinct(&[2, 2, axes[0].size, axes[1].size, axes[2].size], 0.3);
        let pools: [fn(Signal) -> Signal; 3] = [
            |x| max_pool3d(x, MaxPool3d::config(3).stride(1).padding(1)),
            |x| avg_pool3d(x, AvgPool3d::config(3).stride(1).padding(1)),
            |x| adaptive_avg_pool3d(x, (2, 3, 4)),
        ];
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
            for pool in pools {
                let check = || -> Result<()> {
                    let x = x.to_dtype(dtype)?;
                    Ok(check_against_f64(on_tensors(pool), &[x], seed ^ 1, [tolerance; 2])?)
                };
                check().map_err(|error| fail(format!("{dtype:?} {error}")))?;
            }
        }
    }
}

/// The elements of a window are compared frame by frame, then row by row. PyTorch gives the gradient to the first of
/// several maxima, and to the last NaN.
#[test]
fn the_first_maximum_or_the_last_nan_gets_the_gradient() -> Result<()> {
    let positions = |special: [usize; 3], value: f64| {
        let elements = (0..27).map(|i| if special.contains(&i) { value } else { 0. }).collect::<Vec<f64>>();
        Tensor::from_vec(elements, (1, 1, 3, 3, 3), &Device::Cpu)
    };
    let one = Tensor::ones((1, 1, 1, 1, 1), DType::F64, &Device::Cpu)?;
    for pool in [|x| max_pool3d(x, 3), |x| adaptive_max_pool3d(x, 1)] as [fn(Signal) -> Signal; 2] {
        for (value, expected) in [(5., 7), (f64::NAN, 20)] {
            let (y, dx) = gradients(on_tensors(pool), &[positions([7, 10, 20], value)?], &one)?;
            assert!(values(&y)?[0] == value || value.is_nan() && values(&y)?[0].is_nan());
            let expected = (0..27).map(|i| if i == expected { 1. } else { 0. }).collect::<Vec<f64>>();
            assert_eq!(values(&dx[0])?, expected, "{value}");
        }
    }
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let x = |dims: &[usize]| Signal::from(Tensor::zeros(dims, DType::F32, &Device::Cpu));
    let huge = usize::MAX;
    for (signal, part) in [
        (
            max_pool3d(x(&[1, 2, 4, 4, 4]), (5, 1, 1)),
            "the kernel [5, 1, 1] (dilation [1, 1, 1]) does not fit in the input [4, 4, 4] with padding [0, 0, 0]",
        ),
        (
            max_pool3d(x(&[1, 2, 4, 4, 4]), MaxPool3d::config(2).padding((2, 0, 0))),
            "at most half the kernel [2, 2, 2]",
        ),
        (max_pool3d(x(&[1, 2, 4, 4, 4]), MaxPool3d::config(2).stride((0, 1, 1))), "stride of 1 or more"),
        (max_pool3d(x(&[1, 2, 4, 4, 4]), huge), "the output would be empty"),
        (
            max_pool3d(x(&[2, 4, 4]), 2),
            "max_pool3d: expected an input [batch, channels, depth, height, width]",
        ),
        (max_pool3d(x(&[1, 2, 0, 4, 4]), 2), "only the batch may be 0, found [1, 2, 0, 4, 4]"),
        (avg_pool3d(x(&[4, 4]), 2), "avg_pool3d: expected an input"),
        (avg_pool3d(x(&[1, 2, 4, 4, 4]), AvgPool3d::config(2).divisor_override(0)), "a divisor other than 0"),
        (adaptive_avg_pool3d(x(&[1, 2, 4, 4, 4]), (0, 1, 1)), "an output of 1 or more"),
        (adaptive_max_pool3d(x(&[1, 2, 4, 4, 4]), (1, 1, huge)), "is too large"),
        (adaptive_max_pool3d(x(&[1, 2, 4, 4, 4]), huge), "is too large"),
        (adaptive_avg_pool3d(x(&[1, 2, 4]), 3), "adaptive_avg_pool3d: expected an input"),
        (dropout3d(x(&[1, 2, 4]), 0.5, Mode::Train), "dropout3d: expected an input [batch, channels, depth"),
    ] {
        let message = signal.error().map(ToString::to_string).unwrap_or_default();
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
    Ok(())
}

#[derive(Module)]
struct Pools {
    #[layer((1, 2, 2), stride = 2)]
    max: MaxPool3d,
    #[layer(2)]
    average: AvgPool3d,
    #[layer(0.5)]
    dropout: Dropout3d,
    #[layer((4, 2, 2))]
    adaptive_max: AdaptiveMaxPool3d,
    #[layer((None, Some(1), Some(1)))]
    adaptive_average: AdaptiveAvgPool3d,
}

#[test]
fn layers_work_as_fields_and_print_as_in_pytorch() -> Result<()> {
    let pools = Pools::new(&Device::Cpu)?;
    let x = Tensor::zeros((2, 3, 9, 12, 12), DType::F32, &Device::Cpu)?;
    assert_eq!(pools.forward(&x)?.dims(), [2, 3, 4, 1, 1]);
    let expected = "Pools(
  (max): MaxPool3d(kernel_size=(1, 2, 2), stride=2, padding=0, dilation=1, ceil_mode=False)
  (average): AvgPool3d(kernel_size=2, stride=2, padding=0)
  (dropout): Dropout3d(p=0.5, inplace=False)
  (adaptive_max): AdaptiveMaxPool3d(output_size=(4, 2, 2))
  (adaptive_average): AdaptiveAvgPool3d(output_size=(None, 1, 1))
)";
    assert_eq!(pools.to_string(), expected);
    Ok(())
}
