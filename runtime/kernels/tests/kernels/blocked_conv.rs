//! Compares channel-blocked convolutions with the `Nchw` kernels in f64, on every instruction set of the machine.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::activation::Activation;
use sconce_kernels::conv::{ConvGeometry, Epilogue, PackedCache};
use sconce_kernels::internal::blocked::conv::{self, Call};
use sconce_kernels::internal::{ConvShape, Layout, Packing};
use sconce_kernels::testing::{Isa, available, conv2d_with};

use crate::common::Rng;
use crate::common::lists::ACTIVATIONS;
use crate::nchwc::{to_nchw, to_nchwc};
use crate::relative_error::relative_error;

/// A convolution. The seed determines its operands.
#[derive(Clone, Copy, Debug)]
struct Setting {
    shape: ConvShape,
    activation: Activation,
    /// Whether the epilogue has a scale, whether it has a shift, and whether it has a residual.
    parts: [bool; 3],
    seed: u64,
}

/// The operands of a convolution, in f32.
struct Problem {
    setting: Setting,
    input: Tensor,
    weight: Tensor,
    epilogue: Epilogue,
}

impl Problem {
    fn new(setting: Setting) -> Result<Self> {
        let shape = &setting.shape;
        let mut numbers = Rng::new(setting.seed);
        let mut tensor = |shape: &[usize]| numbers.tensor(shape, 1.).to_dtype(DType::F32);
        let [height, width] = shape.input;
        let input = tensor(&[shape.batch, shape.in_channels, height, width])?;
        let weight = tensor(&shape.weight_dims())?;
        let [scale, shift] = [tensor(&[shape.out_channels])?, tensor(&[shape.out_channels])?];
        let residual = tensor(&shape.output_dims())?;
        let [has_scale, has_shift, has_residual] = setting.parts;
        let epilogue = Epilogue {
            scale: has_scale.then_some(scale),
            shift: has_shift.then_some(shift),
            residual: has_residual.then_some(residual),
            activation: setting.activation,
        };
        Ok(Self { setting, input, weight, epilogue })
    }

    /// Computes the output without the activation, with the `Nchw` kernels in f64.
    fn sums(&self) -> Result<Vec<f64>> {
        let cast = |tensor: &Option<Tensor>| tensor.as_ref().map(|t| t.to_dtype(DType::F64)).transpose();
        let epilogue = Epilogue {
            scale: cast(&self.epilogue.scale)?,
            shift: cast(&self.epilogue.shift)?,
            residual: cast(&self.epilogue.residual)?,
            activation: Activation::Identity,
        };
        let (input, weight) = (self.input.to_dtype(DType::F64)?, self.weight.to_dtype(DType::F64)?);
        let output = conv2d_with(Isa::Portable, &input, &weight, &self.setting.shape.geometry, &epilogue)?;
        crate::common::values(&output)
    }

    /// Computes the channel-blocked output with the `Nchwc` kernels. Every buffer is surrounded by NaNs.
    fn run(&self, isa: Isa, input_layout: Layout, cache: Option<&PackedCache>) -> Result<Vec<f32>> {
        let (shape, lanes) = (&self.setting.shape, isa.lanes());
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let input = if input_layout == Layout::Nchw {
            Guarded::new(&flat(&self.input)?)
        } else {
            Guarded::new(&to_nchwc(&flat(&self.input)?, shape.in_channels, shape.input, lanes))
        };
        let weight = Guarded::new(&flat(&self.weight)?);
        let part = |tensor: &Option<Tensor>| -> Result<Option<Guarded>> {
            tensor.as_ref().map(|t| Ok(Guarded::new(&flat(t)?))).transpose()
        };
        let [scale, shift] = [part(&self.epilogue.scale)?, part(&self.epilogue.shift)?];
        let residual = match &self.epilogue.residual {
            Some(r) => Some(Guarded::new(&to_nchwc(&flat(r)?, shape.out_channels, shape.output, lanes))),
            None => None,
        };
        let len = Layout::Nchwc.elements(shape.output_dims(), lanes);
        let mut output = Guarded::new(&vec![f32::NAN; len]);
        let packing = cache.map(|cache| Packing::new(cache, self.weight.id()));
        let call = Call {
            scale: scale.as_ref().map(Guarded::floats),
            shift: shift.as_ref().map(Guarded::floats),
            residual: residual.as_ref().map(|residual| residual.floats().into()),
            activation: self.setting.activation,
            packing,
            ..Call::new(input.floats(), weight.floats())
        };
        conv::conv2d(shape, input_layout, &call, output.floats_mut(), isa)?;
        assert!(output.is_intact(), "{isa:?} {:?}: the kernel wrote outside the output", self.setting);
        Ok(output.floats().to_vec())
    }

    fn check(&self) -> Result<()> {
        let setting = &self.setting;
        let sums = self.sums()?;
        for isa in available() {
            let cache = PackedCache::default();
            for layout in [Layout::Nchwc, Layout::Nchw] {
                // The first call with the cache packs the weight, and the second call reads the packed weight. Small
                // layers may use Winograd's kernels only with a cache.
                for cache in [None, Some(&cache), Some(&cache)] {
                    let output =
                        to_nchw(&self.run(isa, layout, cache)?, setting.shape.output_dims(), isa.lanes());
                    let error = relative_error(&output, &sums, setting.activation);
                    let cached = cache.is_some();
                    assert!(error < 1e-5, "{isa:?} {layout:?} cached {cached} {setting:?}: {error:e}");
                }
            }
        }
        Ok(())
    }
}

/// A buffer of floats, with NaNs before and after it.
struct Guarded(Vec<f32>);

impl Guarded {
    const GUARD: usize = 64;

    fn new(floats: &[f32]) -> Self {
        let guard = [f32::NAN; Self::GUARD];
        Self([&guard[..], floats, &guard[..]].concat())
    }

    fn floats(&self) -> &[f32] {
        &self.0[Self::GUARD..self.0.len() - Self::GUARD]
    }

    fn floats_mut(&mut self) -> &mut [f32] {
        let end = self.0.len() - Self::GUARD;
        &mut self.0[Self::GUARD..end]
    }

    fn is_intact(&self) -> bool {
        let guards = [&self.0[..Self::GUARD], &self.0[self.0.len() - Self::GUARD..]];
        guards.into_iter().flatten().all(|x| x.is_nan())
    }
}

prop_compose! {
    /// Generates geometries with one group. `settings` sets the groups of depthwise convolutions.
    fn geometries()(
        stride in prop::array::uniform2(1..=3usize),
        dilation in prop::array::uniform2(prop_oneof![3 => 1..=3usize, 1 => 4..=20usize]),
        padding in prop::array::uniform2(prop::array::uniform2(0..=3usize)),
        padding_only in any::<bool>(),
    ) -> ConvGeometry {
        if padding_only {
            ConvGeometry { padding, ..ConvGeometry::default() }
        } else {
            ConvGeometry { stride, dilation, padding, groups: 1 }
        }
    }
}

prop_compose! {
    fn settings(max_size: usize, max_channels: usize)(
        batch in 0..=2usize,
        channels in prop::array::uniform2(1..=max_channels),
        mut geometry in geometries(),
        kernel in prop::array::uniform2(prop::sample::select(&[1usize, 1, 2, 3, 3, 5][..])),
        pointwise in prop::bool::weighted(0.2),
        depthwise in prop::bool::weighted(0.3),
        mut input in prop::array::uniform2(1..=max_size),
        activation in prop::sample::select(&ACTIVATIONS[..]),
        parts in prop::array::uniform3(any::<bool>()),
        seed in 0..1u64 << 32,
    ) -> Setting {
        let kernel = if pointwise { [1; 2] } else { kernel };
        if pointwise {
            geometry = ConvGeometry { stride: geometry.stride, ..ConvGeometry::default() };
        }
        // Make the input large enough for the kernel.
        for axis in 0..2 {
            let kernel_extent = (kernel[axis] - 1) * geometry.dilation[axis] + 1;
            input[axis] = input[axis].max(kernel_extent.saturating_sub(geometry.padding[axis].iter().sum()));
        }
        let [in_channels, out_channels] = if depthwise { [channels[0]; 2] } else { channels };
        geometry.groups = if depthwise { in_channels } else { 1 };
        let output = geometry.output_size(input, kernel).unwrap_or([1; 2]);
        let shape =
            ConvShape { batch, in_channels, out_channels, input, kernel, output, geometry };
        Setting { shape, activation, parts, seed }
    }
}

prop_compose! {
    /// Generates depthwise 3×3 convolutions, like those of MobileNet.
    fn depthwise_settings(max_size: usize, max_channels: usize)(
        setting in settings(max_size, max_channels),
        stride in 1..=2usize,
        column_padding in prop::array::uniform2(0..=1usize),
    ) -> Setting {
        let ConvShape { batch, out_channels: channels, mut input, geometry, .. } = setting.shape;
        let padding = [geometry.padding[0], column_padding];
        let geometry = ConvGeometry { stride: [stride; 2], dilation: [1; 2], padding, groups: channels };
        for axis in 0..2 {
            input[axis] = input[axis].max(3usize.saturating_sub(padding[axis].iter().sum()));
        }
        let kernel = [3; 2];
        let output = geometry.output_size(input, kernel).unwrap_or([1; 2]);
        let shape =
            ConvShape { batch, in_channels: channels, out_channels: channels, input, kernel, output, geometry };
        Setting { shape, ..setting }
    }
}

proptest! {
    #![proptest_config(crate::common::config(300))]

    #[test]
    fn agrees_with_the_nchw_kernels(setting in settings(12, 40)) {
        Problem::new(setting).and_then(|problem| problem.check()).map_err(crate::common::fail)?;
    }

    #[test]
    fn depthwise_layers_agree_with_the_nchw_kernels(setting in depthwise_settings(40, 40)) {
        Problem::new(setting).and_then(|problem| problem.check()).map_err(crate::common::fail)?;
    }
}

proptest! {
    #![proptest_config(crate::common::config(24))]

    /// Uses layers that are large enough for several chunks, input tiles and panels.
    #[test]
    fn large_layers_agree_with_the_nchw_kernels(setting in settings(40, 150)) {
        Problem::new(setting).and_then(|problem| problem.check()).map_err(crate::common::fail)?;
    }
}

/// Returns a layer from `[in_channels, out_channels, size, kernel, stride, padding, groups]`.
fn layer([in_channels, out_channels, size, kernel, stride, padding, groups]: [usize; 7]) -> Setting {
    let geometry =
        ConvGeometry { stride: [stride; 2], padding: [[padding; 2]; 2], groups, ..ConvGeometry::default() };
    let (input, kernel) = ([size; 2], [kernel; 2]);
    let output = geometry.output_size(input, kernel).unwrap_or([1; 2]);
    let shape = ConvShape { batch: 2, in_channels, out_channels, input, kernel, output, geometry };
    Setting { shape, activation: Activation::Hardswish, parts: [true; 3], seed: 5 }
}

/// Layers in the form that [`layer`] expects.
const LAYERS: [[usize; 7]; 9] = [
    [3, 64, 61, 7, 2, 3, 1],
    [64, 96, 28, 1, 1, 0, 1],
    [300, 72, 7, 1, 1, 0, 1],
    [64, 128, 29, 1, 2, 0, 1],
    [200, 136, 14, 3, 2, 1, 1],
    [64, 64, 28, 3, 1, 1, 1],
    [96, 96, 30, 3, 2, 1, 96],
    [72, 72, 31, 3, 1, 1, 72],
    [40, 40, 56, 5, 1, 2, 40],
];

/// Most results of this layer's `tanh` are close to ±1. The other results have the full error of Winograd's sums.
#[test]
fn winograd_with_a_saturated_activation_agrees_with_the_nchw_kernels() -> Result<()> {
    let geometry = ConvGeometry { padding: [[3, 3], [0, 2]], ..ConvGeometry::default() };
    let shape = ConvShape {
        batch: 1,
        in_channels: 71,
        out_channels: 60,
        input: [13, 26],
        kernel: [3; 2],
        output: [17, 26],
        geometry,
    };
    let parts = [false, true, false];
    Problem::new(Setting { shape, activation: Activation::Tanh, parts, seed: 1122645529 })?.check()
}

#[test]
fn layers_of_networks_agree_with_the_nchw_kernels() -> Result<()> {
    LAYERS.into_iter().try_for_each(|sizes| Problem::new(layer(sizes))?.check())
}

/// By definition, the scale multiplies the finished sum. This product is finite here, but the product of the scale and
/// a weight overflows.
#[test]
fn a_scale_is_not_folded_into_weights_that_would_overflow() -> Result<()> {
    for stride in [1, 2] {
        let setting = Setting { activation: Activation::Relu, ..layer([20, 20, 9, 3, stride, 1, 20]) };
        let Problem { input, weight, epilogue, .. } = Problem::new(setting)?;
        let scale = epilogue.scale.map(|scale| scale * 1e30).transpose()?;
        let epilogue = Epilogue { scale, ..epilogue };
        Problem { setting, input: (input * 1e-30)?, weight: (weight * 1e30)?, epilogue }.check()?;
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for (sizes, isa) in
        LAYERS.into_iter().flat_map(|sizes| available().into_iter().map(move |isa| (sizes, isa)))
    {
        let problem = Problem::new(layer(sizes))?;
        for layout in [Layout::Nchwc, Layout::Nchw] {
            let on_threads = |threads| crate::common::on_threads(threads, || problem.run(isa, layout, None));
            let single = on_threads(1)?;
            for threads in [2, 3, 7] {
                assert!(single == on_threads(threads)?, "{sizes:?} {isa:?} {layout:?}, {threads} threads");
            }
        }
    }
    Ok(())
}

prop_compose! {
    /// Generates a setting, and the position of an infinity or NaN in its input or weight.
    fn settings_with_non_finite_values()(
        setting in prop_oneof![settings(7, 20), depthwise_settings(7, 20)],
        value in prop::sample::select(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN][..]),
        in_weight in any::<bool>(),
        position in 0..1usize << 20,
    ) -> (Setting, f32, bool, usize) {
        let activation = if position % 2 == 0 { Activation::Identity } else { Activation::Relu };
        let parts = [false, setting.parts[1], setting.parts[2]];
        (Setting { activation, parts, ..setting }, value, in_weight, position)
    }
}

fn with_value_at(tensor: &Tensor, value: f32, position: usize) -> Result<Tensor> {
    let mut values = tensor.flatten_all()?.to_vec1::<f32>()?;
    let position = position.checked_rem(values.len()).unwrap_or(0);
    if let Some(slot) = values.get_mut(position) {
        *slot = value;
    }
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
}

proptest! {
    #![proptest_config(crate::common::config(200))]

    /// An infinity or NaN affects exactly the outputs that depend on it according to the definition.
    #[test]
    fn nan_and_infinity_reach_exactly_the_dependent_outputs(
        (setting, value, in_weight, position) in settings_with_non_finite_values(),
    ) {
        let check = || -> Result<()> {
            let mut problem = Problem::new(setting)?;
            let operand = if in_weight { &mut problem.weight } else { &mut problem.input };
            *operand = with_value_at(operand, value, position)?;
            let expected: Vec<f64> = problem.sums()?.into_iter().map(|sum| setting.activation.value(sum)).collect();
            for (isa, layout) in available().into_iter().flat_map(|isa| [(isa, Layout::Nchwc), (isa, Layout::Nchw)]) {
                for cache in [None, Some(PackedCache::default())] {
                    let output = problem.run(isa, layout, cache.as_ref())?;
                    let output = to_nchw(&output, setting.shape.output_dims(), isa.lanes());
                    for (y, x) in output.iter().zip(&expected) {
                        let same = if x.is_finite() {
                            (f64::from(*y) - x).abs() < 1e-3 * (1. + x.abs())
                        } else {
                            f64::from(*y).to_bits() == x.to_bits() || (x.is_nan() && y.is_nan())
                        };
                        assert!(same, "{isa:?} {layout:?} {setting:?}: expected {x}, found {y}");
                    }
                }
            }
            Ok(())
        };
        check().map_err(crate::common::fail)?;
    }
}
