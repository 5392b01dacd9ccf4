//! Random settings of convolutions, the layers with these settings, and the outputs that plain loops compute.

use std::collections::HashMap;

use candle_nn::VarBuilder;
use proptest::prelude::*;
use sconce::candle;
use sconce::prelude::*;

use crate::common::{Rng, check_close, check_gradients, fail, gradients, restride, values};

/// The sizes and settings of one axis of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub padding: usize,
    pub output_padding: usize,
}

impl Axis {
    /// An axis that the tensors do not have, such as the height of a sequence.
    pub const FLAT: Self = Self { size: 1, kernel: 1, stride: 1, dilation: 1, padding: 0, output_padding: 0 };

    /// Returns the extent of the dilated kernel.
    pub fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Returns the output size of a convolution, or `None` if the kernel does not fit.
    pub fn conv_output_size(&self) -> Option<usize> {
        Some((self.size + 2 * self.padding).checked_sub(self.extent())? / self.stride + 1)
    }

    /// Returns the output size of a transposed convolution, or `None` if the output would be empty.
    pub fn conv_transpose_output_size(&self) -> Option<usize> {
        let uncropped = (self.size - 1) * self.stride + self.extent() + self.output_padding;
        uncropped.checked_sub(2 * self.padding).filter(|size| *size > 0)
    }
}

/// The settings of a convolution.
#[derive(Clone, Debug)]
pub struct Setting {
    pub batch: usize,
    pub groups: usize,
    /// Input and output channels per group.
    pub channels: [usize; 2],
    /// Depth, height and width.
    pub axes: [Axis; 3],
    pub bias: bool,
    pub seed: u64,
}

pub fn axis() -> impl Strategy<Value = Axis> {
    (1..=6usize, 1..=4usize, 1..=3usize, 1..=3usize, 0..=3usize, 0..=2usize).prop_map(
        |(size, kernel, stride, dilation, padding, output_padding)| Axis {
            size,
            kernel,
            stride,
            dilation,
            padding,
            output_padding: output_padding.min(stride.max(dilation) - 1),
        },
    )
}

pub fn settings(axes: impl Strategy<Value = [Axis; 3]>) -> impl Strategy<Value = Setting> {
    (0..=2usize, 1..=3usize, [1..=2usize, 1..=2usize], axes, any::<bool>(), any::<u64>()).prop_map(
        |(batch, groups, channels, axes, bias, seed)| Setting { batch, groups, channels, axes, bias, seed },
    )
}

pub fn image_settings() -> impl Strategy<Value = Setting> {
    settings([axis(), axis()].prop_map(|[height, width]| [Axis::FLAT, height, width]))
}

pub fn sequence_settings() -> impl Strategy<Value = Setting> {
    settings(axis().prop_map(|axis| [Axis::FLAT, Axis::FLAT, axis]))
}

/// Returns settings of videos: of any kernels, of kernels of one pixel without settings for the height and width, and
/// of kernels of one frame. The last two are computed in their own ways.
pub fn video_settings() -> impl Strategy<Value = Setting> {
    let flat = |axis: Axis| Axis { size: axis.size, ..Axis::FLAT };
    settings(prop_oneof![
        [axis(), axis(), axis()],
        [axis(), axis(), axis()].prop_map(move |[depth, height, width]| [depth, flat(height), flat(width)]),
        [axis(), axis(), axis()].prop_map(move |[depth, height, width]| [flat(depth), height, width]),
    ])
}

impl Setting {
    pub fn in_channels(&self) -> usize {
        self.groups * self.channels[0]
    }

    pub fn out_channels(&self) -> usize {
        self.groups * self.channels[1]
    }

    pub fn map_axes(&self, f: impl Fn(&Axis) -> usize) -> [usize; 3] {
        self.axes.each_ref().map(f)
    }

    /// Like [`map_axes`](Self::map_axes), for the height and the width.
    pub fn map_image_axes(&self, f: impl Fn(&Axis) -> usize) -> [usize; 2] {
        let [_, height, width] = self.map_axes(f);
        [height, width]
    }

    /// Returns the size of each axis, or `None` if `f` returns `None` for one.
    pub fn output_size(&self, f: impl Fn(&Axis) -> Option<usize>) -> Option<[usize; 3]> {
        self.axes.iter().map(f).collect::<Option<Vec<_>>>()?.try_into().ok()
    }

    /// Returns random tensors for sequences (`rank` 3), images (`rank` 4) or videos (`rank` 5): the input, the weight
    /// (its first two dimensions are `channels`) and, if `self.bias` is set, the bias.
    pub fn tensors(&self, channels: [usize; 2], rank: usize) -> Vec<Tensor> {
        let mut numbers = Rng::new(self.seed);
        let shape = |first: [usize; 2], sizes: [usize; 3]| [&first[..], &sizes[5 - rank..]].concat();
        let input = shape([self.batch, self.in_channels()], self.map_axes(|axis| axis.size));
        let weight = shape(channels, self.map_axes(|axis| axis.kernel));
        let mut tensors = vec![numbers.tensor(&input, 1.), numbers.tensor(&weight, 1.)];
        tensors.extend(self.bias.then(|| numbers.tensor(&[self.out_channels()], 1.)));
        tensors
    }

    /// Returns random tensors for a convolution.
    pub fn conv_tensors(&self, rank: usize) -> Vec<Tensor> {
        self.tensors([self.out_channels(), self.channels[0]], rank)
    }

    /// Returns random tensors for a transposed convolution.
    pub fn conv_transpose_tensors(&self, rank: usize) -> Vec<Tensor> {
        self.tensors([self.in_channels(), self.channels[1]], rank)
    }

    pub fn conv2d(&self) -> Conv2dConfig {
        Conv2d::config(self.in_channels(), self.out_channels(), self.map_image_axes(|axis| axis.kernel))
            .stride(self.map_image_axes(|axis| axis.stride))
            .padding(self.map_image_axes(|axis| axis.padding))
            .dilation(self.map_image_axes(|axis| axis.dilation))
            .groups(self.groups)
            .bias(self.bias)
    }

    pub fn conv3d(&self) -> Conv3dConfig {
        Conv3d::config(self.in_channels(), self.out_channels(), self.map_axes(|axis| axis.kernel))
            .stride(self.map_axes(|axis| axis.stride))
            .padding(self.map_axes(|axis| axis.padding))
            .dilation(self.map_axes(|axis| axis.dilation))
            .groups(self.groups)
            .bias(self.bias)
    }

    pub fn conv1d(&self) -> Conv1dConfig {
        let axis = self.axes[2];
        Conv1d::config(self.in_channels(), self.out_channels(), axis.kernel)
            .stride(axis.stride)
            .padding(axis.padding)
            .dilation(axis.dilation)
            .groups(self.groups)
            .bias(self.bias)
    }

    pub fn conv_transpose2d(&self) -> ConvTranspose2dConfig {
        ConvTranspose2d::config(
            self.in_channels(),
            self.out_channels(),
            self.map_image_axes(|axis| axis.kernel),
        )
        .stride(self.map_image_axes(|axis| axis.stride))
        .padding(self.map_image_axes(|axis| axis.padding))
        .output_padding(self.map_image_axes(|axis| axis.output_padding))
        .dilation(self.map_image_axes(|axis| axis.dilation))
        .groups(self.groups)
        .bias(self.bias)
    }

    pub fn conv_transpose3d(&self) -> ConvTranspose3dConfig {
        ConvTranspose3d::config(self.in_channels(), self.out_channels(), self.map_axes(|axis| axis.kernel))
            .stride(self.map_axes(|axis| axis.stride))
            .padding(self.map_axes(|axis| axis.padding))
            .output_padding(self.map_axes(|axis| axis.output_padding))
            .dilation(self.map_axes(|axis| axis.dilation))
            .groups(self.groups)
            .bias(self.bias)
    }

    pub fn conv_transpose1d(&self) -> ConvTranspose1dConfig {
        let axis = self.axes[2];
        ConvTranspose1d::config(self.in_channels(), self.out_channels(), axis.kernel)
            .stride(axis.stride)
            .padding(axis.padding)
            .output_padding(axis.output_padding)
            .dilation(axis.dilation)
            .groups(self.groups)
            .bias(self.bias)
    }

    /// Calls `f` for each product of an input element and a weight. A convolution maps a large video to a small one; a
    /// transposed convolution maps a small video to a large one. The arguments of `f` are an index in the small video,
    /// an index in the weight, and an index in the large video. `small` and `large` are the sizes of the videos, and
    /// `small_channels` and `large_channels` their channels per group.
    pub fn for_each_product(
        &self,
        [small_channels, large_channels]: [usize; 2],
        small: [usize; 3],
        large: [usize; 3],
        mut f: impl FnMut(usize, usize, usize),
    ) {
        let kernel = self.map_axes(|axis| axis.kernel);
        for (n, g, s, l) in (0..self.batch).flat_map(|n| {
            (0..self.groups).flat_map(move |g| {
                (0..small_channels).flat_map(move |s| (0..large_channels).map(move |l| (n, g, s, l)))
            })
        }) {
            let s = g * small_channels + s;
            let small_start = (n * self.groups * small_channels + s) * elements(small);
            let large_start = ((n * self.groups + g) * large_channels + l) * elements(large);
            let weight = (s * large_channels + l) * elements(kernel);
            for pixel in 0..elements(small) {
                for tap in 0..elements(kernel) {
                    let (pixel_position, tap_position) = (position(pixel, small), position(tap, kernel));
                    let large_position = [0, 1, 2].map(|i| {
                        let axis = &self.axes[i];
                        (pixel_position[i] * axis.stride + tap_position[i] * axis.dilation)
                            .wrapping_sub(axis.padding)
                    });
                    if large_position.iter().zip(large).all(|(position, size)| *position < size) {
                        let [depth, row, column] = large_position;
                        let index = (depth * large[1] + row) * large[2] + column;
                        f(small_start + pixel, weight + tap, large_start + index);
                    }
                }
            }
        }
    }

    /// Adds the bias, if `tensors` has one, and returns the sums as a tensor of the given depth, height and width.
    pub fn with_bias(
        &self,
        mut sums: Vec<f64>,
        tensors: &[Tensor],
        size: [usize; 3],
        rank: usize,
    ) -> candle::Result<Tensor> {
        if let Some(bias) = tensors.get(2) {
            let bias = values(bias)?;
            sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += bias[i / elements(size) % bias.len()]);
        }
        let shape = [&[self.batch, self.out_channels()], &size[5 - rank..]].concat();
        Tensor::from_vec(sums, shape, &Device::Cpu)
    }

    /// Computes the convolution with plain loops. Returns `None` if the kernel does not fit.
    pub fn naive(&self, tensors: &[Tensor]) -> Option<candle::Result<Tensor>> {
        let size = self.output_size(Axis::conv_output_size)?;
        let run = || {
            let (input, weight) = (values(&tensors[0])?, values(&tensors[1])?);
            let mut sums = vec![0.; self.batch * self.out_channels() * elements(size)];
            let [group_in_channels, group_out_channels] = self.channels;
            let add = |small: usize, index: usize, large: usize| sums[small] += weight[index] * input[large];
            self.for_each_product(
                [group_out_channels, group_in_channels],
                size,
                self.map_axes(|axis| axis.size),
                add,
            );
            self.with_bias(sums, tensors, size, tensors[0].rank())
        };
        Some(run())
    }

    /// Computes the transposed convolution with plain loops. Returns `None` if the output would be empty.
    pub fn naive_transposed(&self, tensors: &[Tensor]) -> Option<candle::Result<Tensor>> {
        let size = self.output_size(Axis::conv_transpose_output_size)?;
        let run = || {
            let (input, weight) = (values(&tensors[0])?, values(&tensors[1])?);
            let mut sums = vec![0.; self.batch * self.out_channels() * elements(size)];
            let add = |small: usize, index: usize, large: usize| sums[large] += weight[index] * input[small];
            self.for_each_product(self.channels, self.map_axes(|axis| axis.size), size, add);
            self.with_bias(sums, tensors, size, tensors[0].rank())
        };
        Some(run())
    }
}

fn elements(size: [usize; 3]) -> usize {
    size.iter().product()
}

/// Returns the position of the element with the given index, per axis.
fn position(index: usize, [_, height, width]: [usize; 3]) -> [usize; 3] {
    [index / width / height, index / width % height, index % width]
}

/// Builds the layer with the weight and the bias from `tensors[1..]`, and calls it with `tensors[0]`.
pub fn call<C>(config: &C, tensors: &[Tensor]) -> candle::Result<Tensor>
where
    C: Config<Output: Forward<Signal, Output = Signal>> + Clone,
{
    let output = build(config, tensors)?.call((&tensors[0]).into(), Mode::Train).into_tensor();
    let input = Signal::meta(tensors[0].shape(), tensors[0].dtype());
    let shape = build(config, tensors)?.call(input, Mode::Train);
    match (&output, shape.dims()) {
        (Ok(output), Ok(dims)) => assert_eq!(output.dims(), dims),
        (Err(error), Err(found)) => assert_eq!(error.to_string(), found.to_string()),
        (output, shape) => panic!("expected the shape {shape:?} of {output:?}"),
    }
    Ok(output?)
}

/// Builds the layer with the weight and the bias from `tensors[1..]`.
pub fn build<C: Config + Clone>(config: &C, tensors: &[Tensor]) -> candle::Result<C::Output> {
    let names = ["weight", "bias"].map(String::from).into_iter();
    let named: HashMap<String, Tensor> = names.zip(tensors[1..].iter().cloned()).collect();
    let vb = VarBuilder::from_tensors(named, tensors[0].dtype(), &Device::Cpu);
    Ok(config.clone().build(vb)?)
}

/// Checks the output against `expected` and the gradients against finite differences. If `expected` is `None`, expects
/// an error.
pub fn check_layer<C>(
    config: &C,
    tensors: &[Tensor],
    expected: Option<candle::Result<Tensor>>,
) -> Result<(), TestCaseError>
where
    C: Config<Output: Forward<Signal, Output = Signal>> + Clone,
{
    let Some(expected) = expected else {
        prop_assert!(call(config, tensors).is_err());
        return Ok(());
    };
    let check = || {
        let actual = call(config, tensors)?;
        check_close("output", &actual, &expected?, 1e-12)?;
        let strided = [&[restride(&tensors[0])?], &tensors[1..]].concat();
        check_close("output for a strided input", &call(config, &strided)?, &actual, 1e-12)?;
        check_gradients(|tensors| call(config, tensors), tensors)
    };
    check().map_err(fail)
}

/// Compares the output and gradients in f32, f16 and bf16 with those in f64.
pub fn check_dtypes<C>(config: &C, tensors: &[Tensor]) -> Result<(), TestCaseError>
where
    C: Config<Output: Forward<Signal, Output = Signal>> + Clone,
{
    check_dtypes_within(config, tensors, 1.)
}

/// Like [`check_dtypes`], with larger tolerances. The gradient of padding that copies a border is a sum of rounded
/// gradients: of more than a hundred for a video of one row that is padded on all sides.
pub fn check_dtypes_within<C>(config: &C, tensors: &[Tensor], factor: f64) -> Result<(), TestCaseError>
where
    C: Config<Output: Forward<Signal, Output = Signal>> + Clone,
{
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F16, 3e-3), (DType::BF16, 2e-2)] {
        let tolerance = factor * tolerance;
        let check = || {
            let in_dtype = tensors.iter().map(|t| t.to_dtype(dtype)).collect::<candle::Result<Vec<_>>>()?;
            let exact =
                in_dtype.iter().map(|t| t.to_dtype(DType::F64)).collect::<candle::Result<Vec<_>>>()?;
            let output = call(config, &exact)?;
            let output_grad = Rng::new(7).tensor(output.dims(), 1.).to_dtype(dtype)?;
            let (y, grads) = gradients(|t| call(config, t), &in_dtype, &output_grad)?;
            let (exact_y, exact_grads) =
                gradients(|t| call(config, t), &exact, &output_grad.to_dtype(DType::F64)?)?;
            assert_eq!(y.dtype(), dtype);
            check_close("output", &y, &exact_y, tolerance)?;
            grads.iter().zip(&exact_grads).try_for_each(|(a, b)| check_close("gradient", a, b, tolerance))
        };
        check().map_err(|error: candle::Error| fail(format!("{dtype:?}: {error}")))?;
    }
    Ok(())
}
