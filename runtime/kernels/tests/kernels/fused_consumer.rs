//! Tests channel-blocked convolutions with a fused consumer. The reference runs in double precision, with candle's
//! convolutions and with plain loops for max pooling. The results must also be bit-identical to those of
//! two separate launches.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::activation::Activation;
use sconce_kernels::conv::ConvGeometry;
use sconce_kernels::internal::blocked::conv::{self, Call, FusedConsumer};
use sconce_kernels::internal::blocked::policy::Refusal;
use sconce_kernels::internal::{ConvShape, Layout};
use sconce_kernels::pool::PoolGeometry;
use sconce_kernels::testing::{Isa, available, isa};

use crate::common::Rng;
use crate::nchwc::{to_nchw, to_nchwc};

/// The operation that reads the output of the convolution.
#[derive(Clone, Copy, Debug)]
enum ConsumerKind {
    MaxPool(PoolGeometry),
    Depthwise { stride: usize, padding: usize },
}

/// A convolution with one group, and its consumer.
#[derive(Clone, Copy, Debug)]
struct Setting {
    batch: usize,
    channels: [usize; 2],
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    consumer: ConsumerKind,
    seed: u64,
}

struct Problem {
    shape: ConvShape,
    /// The shape of the depthwise consumer. If the consumer is a max pool, this shape is not used.
    depthwise: ConvShape,
    consumer: ConsumerKind,
    /// The input, in f32.
    input: Tensor,
    /// The weights of both operations, in f32.
    weights: [Tensor; 2],
    /// The scale and the shift of the convolution, and the scale and the shift of the consumer, in f32.
    scales_and_shifts: [Tensor; 4],
}

fn geometry(stride: usize, padding: usize, groups: usize) -> ConvGeometry {
    ConvGeometry { stride: [stride; 2], padding: [[padding; 2]; 2], groups, ..ConvGeometry::default() }
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

impl Problem {
    fn new(setting: Setting) -> Result<Self> {
        let Setting { batch, channels: [in_channels, out_channels], size: [height, width], kernel, .. } =
            setting;
        let mut numbers = Rng::new(setting.seed);
        let mut tensor = |shape: &[usize]| numbers.tensor(shape, 1.).to_dtype(DType::F32);
        let input = tensor(&[batch, in_channels, height, width])?;
        let weights =
            [tensor(&[out_channels, in_channels, kernel, kernel])?, tensor(&[out_channels, 1, 3, 3])?];
        let scales_and_shifts = [
            tensor(&[out_channels])?,
            tensor(&[out_channels])?,
            tensor(&[out_channels])?,
            tensor(&[out_channels])?,
        ];
        let first = geometry(setting.stride, setting.padding, 1);
        let shape = ConvShape::new(input.dims(), weights[0].dims(), &first)?;
        let depthwise = match setting.consumer {
            ConsumerKind::MaxPool(_) => geometry(1, 1, out_channels),
            ConsumerKind::Depthwise { stride, padding } => geometry(stride, padding, out_channels),
        };
        let depthwise = ConvShape::new(&shape.output_dims(), weights[1].dims(), &depthwise)?;
        Ok(Self { shape, depthwise, consumer: setting.consumer, input, weights, scales_and_shifts })
    }

    /// Returns the shape `[batch, channels, height, width]` of the results.
    fn dims(&self) -> Result<[usize; 4]> {
        match self.consumer {
            ConsumerKind::MaxPool(geometry) => {
                let [height, width] = geometry.output_size(self.shape.output)?;
                Ok([self.shape.batch, self.shape.out_channels, height, width])
            }
            ConsumerKind::Depthwise { .. } => Ok(self.depthwise.output_dims()),
        }
    }

    /// Computes the results in f64, with candle's convolutions and with plain loops for max pooling.
    fn expected(&self) -> Result<Vec<f64>> {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let convolve = |x: &Tensor, operation: usize, geometry: ConvGeometry| -> Result<Tensor> {
            let (stride, padding) = (geometry.stride[0], geometry.padding[0][0]);
            let y = x.conv2d(&double(&self.weights[operation])?, padding, stride, 1, geometry.groups)?;
            let per_channel = |index: usize| double(&self.scales_and_shifts[index])?.reshape((1, (), 1, 1));
            y.broadcast_mul(&per_channel(2 * operation)?)?.broadcast_add(&per_channel(2 * operation + 1)?)
        };
        let first = convolve(&double(&self.input)?, 0, self.shape.geometry)?.relu()?;
        match self.consumer {
            ConsumerKind::MaxPool(geometry) => self.max_pool(&crate::common::values(&first)?, geometry),
            ConsumerKind::Depthwise { .. } => {
                crate::common::values(&convolve(&first, 1, self.depthwise.geometry)?)
            }
        }
    }

    /// Returns the maximum of each window, according to the definition.
    fn max_pool(&self, x: &[f64], geometry: PoolGeometry) -> Result<Vec<f64>> {
        let ([height, width], [_, _, rows, columns]) = (self.shape.output, self.dims()?);
        let positions = |axis: usize, index: usize, size: usize| {
            let first = index * geometry.stride[axis];
            let padded = first..first + geometry.kernel[axis];
            padded.filter_map(move |i| i.checked_sub(geometry.padding[axis]).filter(|i| *i < size))
        };
        let planes = x.chunks(height * width).flat_map(|plane| {
            (0..rows * columns).map(move |i| {
                let window = positions(0, i / columns, height)
                    .flat_map(|y| positions(1, i % columns, width).map(move |x| plane[y * width + x]));
                window.fold(f64::NEG_INFINITY, f64::max)
            })
        });
        Ok(planes.collect())
    }

    /// Runs the convolution and its consumer: in one launch if `fused` is true, and otherwise in two. Returns `None` if
    /// `fused` is true and no kernel runs the pair in one launch.
    fn run(&self, isa: Isa, input_layout: Layout, fused: bool) -> Result<Option<Vec<f32>>> {
        let (shape, lanes) = (&self.shape, isa.lanes());
        let nchw = floats(&self.input)?;
        let nchwc = to_nchwc(&nchw, shape.in_channels, shape.input, lanes);
        let input = match input_layout {
            Layout::Nchw => &nchw[..],
            Layout::Nchwc => &nchwc[..],
        };
        let weights = [floats(&self.weights[0])?, floats(&self.weights[1])?];
        let vectors = self.scales_and_shifts.iter().map(floats).collect::<Result<Vec<_>>>()?;
        let first = Call {
            scale: Some(&vectors[0]),
            shift: Some(&vectors[1]),
            activation: Activation::Relu,
            ..Call::new(input, &weights[0][..])
        };
        let second = Call {
            scale: Some(&vectors[2]),
            shift: Some(&vectors[3]),
            ..Call::new(&[][..], &weights[1][..])
        };
        let [batch, channels, height, width] = self.dims()?;
        let mut output = vec![f32::NAN; Layout::Nchwc.elements([batch, channels, height, width], lanes)];
        if fused {
            let consumer = match self.consumer {
                ConsumerKind::MaxPool(geometry) => FusedConsumer::MaxPool(geometry),
                ConsumerKind::Depthwise { .. } => FusedConsumer::Depthwise(&self.depthwise, second),
            };
            let fused = conv::conv2d_and_consume(shape, input_layout, &first, &consumer, &mut output, isa);
            return Ok(fused.is_ok().then_some(output));
        }
        let mut intermediate = vec![f32::NAN; Layout::Nchwc.elements(shape.output_dims(), lanes)];
        conv::conv2d(shape, input_layout, &first, &mut intermediate, isa)?;
        match self.consumer {
            ConsumerKind::Depthwise { .. } => {
                let second = Call { input: intermediate[..].into(), ..second };
                conv::conv2d(&self.depthwise, Layout::Nchwc, &second, &mut output, isa)?;
            }
            ConsumerKind::MaxPool(geometry) => {
                let image = Tensor::from_vec(
                    to_nchw(&intermediate, shape.output_dims(), lanes),
                    &shape.output_dims(),
                    &Device::Cpu,
                )?;
                let pooled = sconce_kernels::pool::max_pool2d(&image, &geometry)?;
                output = to_nchwc(&floats(&pooled)?, channels, [height, width], lanes);
            }
        }
        Ok(Some(output))
    }

    fn check(&self) -> Result<()> {
        let (dims, expected) = (self.dims()?, self.expected()?);
        for (isa, layout) in
            available().into_iter().flat_map(|isa| [(isa, Layout::Nchwc), (isa, Layout::Nchw)])
        {
            let Some(output) = self.run(isa, layout, true)? else {
                // Winograd's kernels, and kernels that sum over several chunks of channels, cannot run a consumer.
                assert!(
                    self.shape.kernel != [1; 2],
                    "{isa:?}, {layout:?}: a pointwise convolution should be fused"
                );
                continue;
            };
            let two_launches = self.run(isa, layout, false)?.unwrap_or_default();
            assert!(bits(&output) == bits(&two_launches), "{isa:?}, {layout:?}: differs from two launches");
            let output = to_nchw(&output, dims, isa.lanes());
            let largest = expected.iter().fold(0.1f64, |largest, x| largest.max(x.abs()));
            for (y, x) in output.iter().zip(&expected) {
                let error = (f64::from(*y) - x).abs() / largest;
                assert!(error < 1e-5, "{isa:?}, {layout:?}: expected {x}, found {y}");
            }
        }
        Ok(())
    }
}

/// Returns bit patterns that are equal for all NaNs and for both zeros.
fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { (x + 0.).to_bits() }).collect()
}

prop_compose! {
    fn pools()(
        kernel in prop::array::uniform2(1..=3usize),
        stride in prop::array::uniform2(1..=3usize),
        padded in prop::array::uniform2(any::<bool>()),
        ceil_mode: bool,
    ) -> PoolGeometry {
        let padding = [0, 1].map(|axis| if padded[axis] { kernel[axis] / 2 } else { 0 });
        PoolGeometry { kernel, stride, padding, dilation: [1; 2], ceil_mode }
    }
}

prop_compose! {
    fn settings(max_size: usize, max_channels: usize)(
        batch in 1..=3usize,
        in_channels in 1..=max_channels,
        // With one channel, the consumer would have one group and would not be depthwise.
        out_channels in 2..=max_channels,
        size in prop::array::uniform2(5..=max_size),
        kernel in prop::sample::select(&[1usize, 1, 3, 5][..]),
        stride in 1..=2usize,
        padded: bool,
        consumer in prop_oneof![
            pools().prop_map(ConsumerKind::MaxPool),
            (1..=2usize, 0..=1usize).prop_map(|(stride, padding)| ConsumerKind::Depthwise { stride, padding }),
        ],
        seed in 0..1u64 << 32,
    ) -> Setting {
        let padding = if padded { kernel / 2 } else { 0 };
        // The output of the convolution must be large enough for the kernel of the consumer.
        let size = size.map(|size| size.max(kernel + 4 * stride));
        let channels = [in_channels, out_channels];
        Setting { batch, channels, size, kernel, stride, padding, consumer, seed }
    }
}

proptest! {
    #![proptest_config(crate::common::config(200))]

    #[test]
    fn fused_pairs_agree_with_candle_and_with_two_launches(setting in settings(14, 40)) {
        Problem::new(setting).and_then(|problem| problem.check()).map_err(crate::common::fail)?;
    }
}

proptest! {
    #![proptest_config(crate::common::config(10))]

    /// Uses layers that are large enough for several tasks and several panels.
    #[test]
    fn large_fused_pairs_agree_with_candle_and_with_two_launches(setting in settings(60, 140)) {
        Problem::new(setting).and_then(|problem| problem.check()).map_err(crate::common::fail)?;
    }
}

const MAX_POOL_3X3: PoolGeometry =
    PoolGeometry { kernel: [3; 2], stride: [2; 2], padding: [1; 2], dilation: [1; 2], ceil_mode: false };

fn layers() -> [Setting; 3] {
    let setting = |channels, size, kernel, consumer| Setting {
        batch: 2,
        channels,
        size: [size; 2],
        kernel,
        stride: 1,
        padding: kernel / 2,
        consumer,
        seed: 7,
    };
    [
        setting([16, 96], 70, 1, ConsumerKind::Depthwise { stride: 2, padding: 1 }),
        setting([24, 72], 29, 1, ConsumerKind::Depthwise { stride: 1, padding: 1 }),
        setting([3, 64], 60, 5, ConsumerKind::MaxPool(MAX_POOL_3X3)),
    ]
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for (setting, isa) in
        layers().into_iter().flat_map(|setting| available().into_iter().map(move |isa| (setting, isa)))
    {
        let problem = Problem::new(setting)?;
        let on_threads =
            |threads| crate::common::on_threads(threads, || problem.run(isa, Layout::Nchwc, true));
        let single = on_threads(1)?;
        assert!(single.is_some());
        for threads in crate::common::lists::THREADS {
            assert!(single == on_threads(threads)?, "{setting:?} {isa:?}: {threads} threads");
        }
    }
    Ok(())
}

/// Infinities and NaN in the input affect the same outputs as in two launches.
#[test]
fn nan_and_infinity_propagate_as_in_two_launches() -> Result<()> {
    for (setting, value) in layers().into_iter().flat_map(|s| [(s, f32::NAN), (s, f32::INFINITY)]) {
        let mut problem = Problem::new(setting)?;
        let mut numbers = floats(&problem.input)?;
        let len = numbers.len();
        [0, len / 3, len / 2, len - 1].into_iter().for_each(|index| numbers[index] = value);
        problem.input = Tensor::from_vec(numbers, problem.input.shape(), &Device::Cpu)?;
        for isa in available() {
            let [one_launch, two_launches] = [true, false]
                .map(|fused| problem.run(isa, Layout::Nchwc, fused).map(|y| y.as_deref().map(bits)));
            assert!(one_launch? == two_launches?, "{isa:?} {setting:?} {value}");
        }
    }
    Ok(())
}

/// The fused kernel would multiply the zeros of the padding by the weights. For a non-finite weight, the product would
/// be NaN, so the kernel rejects such weights.
#[test]
fn non_finite_depthwise_weights_are_not_fused() -> Result<()> {
    let [setting, ..] = layers();
    let mut problem = Problem::new(setting)?;
    problem.weights[1] = (&problem.weights[1] * f64::INFINITY)?;
    let (shape, isa) = (&problem.shape, isa());
    let input = to_nchwc(&floats(&problem.input)?, shape.in_channels, shape.input, isa.lanes());
    let weights = [floats(&problem.weights[0])?, floats(&problem.weights[1])?];
    let consumer = FusedConsumer::Depthwise(&problem.depthwise, Call::new(&[][..], &weights[1][..]));
    let [batch, channels, height, width] = problem.dims()?;
    let mut output = vec![1.; Layout::Nchwc.elements([batch, channels, height, width], isa.lanes())];
    let call = Call::new(&input[..], &weights[0][..]);
    let fused = conv::conv2d_and_consume(shape, Layout::Nchwc, &call, &consumer, &mut output, isa);
    assert_eq!(fused, Err(Refusal::Depthwise));
    assert!(output.iter().all(|x| *x == 1.));
    Ok(())
}
