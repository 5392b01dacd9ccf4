//! Convolutions into blocks with another operation behind them in the same launch: against candle's convolutions and
//! maxima in double precision, and bit by bit against the two one after the other.

use crate::common::Numbers;
use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce::kernels::activation::Activation;
use sconce::kernels::conv::ConvGeometry;
use sconce::kernels::internal::blocked::conv::{self, Consumer, Input, Weight};
use sconce::kernels::internal::{ConvShape, Layout};
use sconce::kernels::pool::PoolGeometry;
use sconce::kernels::testing::{Isa, available, isa};

#[derive(Clone, Copy, Debug)]
enum Second {
    MaxPool(PoolGeometry),
    Depthwise { stride: usize, padding: usize },
}

/// A convolution of one group, and what is behind it.
#[derive(Clone, Copy, Debug)]
struct Setting {
    batch: usize,
    channels: [usize; 2],
    size: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    second: Second,
    seed: u64,
}

struct Problem {
    shape: ConvShape,
    /// Of the depthwise convolution, or of one alike where there is none.
    behind: ConvShape,
    second: Second,
    /// In f32: an input, two weights, and a scale and a shift for each.
    input: Tensor,
    weights: [Tensor; 2],
    vectors: [Tensor; 4],
}

fn geometry(stride: usize, padding: usize, groups: usize) -> ConvGeometry {
    ConvGeometry { stride: [stride; 2], padding: [[padding; 2]; 2], groups, ..ConvGeometry::default() }
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

impl Problem {
    fn new(setting: Setting) -> Result<Self> {
        let Setting { batch, channels: [inputs, outputs], size: [height, width], kernel, .. } = setting;
        let mut numbers = Numbers::new(setting.seed);
        let mut tensor = |shape: &[usize]| numbers.tensor(shape, 1.).to_dtype(DType::F32);
        let input = tensor(&[batch, inputs, height, width])?;
        let weights = [tensor(&[outputs, inputs, kernel, kernel])?, tensor(&[outputs, 1, 3, 3])?];
        let vectors = [tensor(&[outputs])?, tensor(&[outputs])?, tensor(&[outputs])?, tensor(&[outputs])?];
        let first = geometry(setting.stride, setting.padding, 1);
        let shape = ConvShape::new(input.dims(), weights[0].dims(), &first)?;
        let behind = match setting.second {
            Second::MaxPool(_) => geometry(1, 1, outputs),
            Second::Depthwise { stride, padding } => geometry(stride, padding, outputs),
        };
        let behind = ConvShape::new(&shape.output_dims(), weights[1].dims(), &behind)?;
        Ok(Self { shape, behind, second: setting.second, input, weights, vectors })
    }

    /// `[batch, channels, height, width]` of the results.
    fn dims(&self) -> Result<[usize; 4]> {
        match self.second {
            Second::MaxPool(geometry) => {
                let [height, width] = geometry.output_size(self.shape.output)?;
                Ok([self.shape.batch, self.shape.out_channels, height, width])
            }
            Second::Depthwise { .. } => Ok(self.behind.output_dims()),
        }
    }

    /// By candle, in f64.
    fn expected(&self) -> Result<Vec<f64>> {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let convolve = |x: &Tensor, which: usize, geometry: ConvGeometry| -> Result<Tensor> {
            let (stride, padding) = (geometry.stride[0], geometry.padding[0][0]);
            let y = x.conv2d(&double(&self.weights[which])?, padding, stride, 1, geometry.groups)?;
            let vector = |at: usize| double(&self.vectors[at])?.reshape((1, (), 1, 1));
            y.broadcast_mul(&vector(2 * which)?)?.broadcast_add(&vector(2 * which + 1)?)
        };
        let first = convolve(&double(&self.input)?, 0, self.shape.geometry)?.relu()?;
        match self.second {
            Second::MaxPool(geometry) => self.largest(&crate::common::values(&first)?, geometry),
            Second::Depthwise { .. } => crate::common::values(&convolve(&first, 1, self.behind.geometry)?),
        }
    }

    /// The largest numbers of windows, as the definition has them.
    fn largest(&self, x: &[f64], geometry: PoolGeometry) -> Result<Vec<f64>> {
        let ([height, width], [_, _, rows, columns]) = (self.shape.output, self.dims()?);
        let taps = |axis: usize, index: usize, size: usize| {
            let first = index * geometry.stride[axis];
            let padded = first..first + geometry.kernel[axis];
            padded.filter_map(move |i| i.checked_sub(geometry.padding[axis]).filter(|i| *i < size))
        };
        let planes = x.chunks(height * width).flat_map(|plane| {
            (0..rows * columns).map(move |i| {
                let window = taps(0, i / columns, height)
                    .flat_map(|y| taps(1, i % columns, width).map(move |x| plane[y * width + x]));
                window.fold(f64::NEG_INFINITY, f64::max)
            })
        });
        Ok(planes.collect())
    }

    /// In blocks, in one launch, where there is a kernel, or one after the other.
    fn blocked(&self, isa: Isa, planes: bool, together: bool) -> Result<Option<Vec<f32>>> {
        let (shape, lanes) = (&self.shape, isa.lanes());
        let numbers = floats(&self.input)?;
        let blocks = to_blocks(&numbers, shape.in_channels, shape.input, lanes);
        let input = if planes {
            Input { elements: &numbers, layout: Layout::Nchw }
        } else {
            Input { elements: &blocks, layout: Layout::Nchwc }
        };
        let weights = [floats(&self.weights[0])?, floats(&self.weights[1])?];
        let vectors = self.vectors.iter().map(floats).collect::<Result<Vec<_>>>()?;
        let weight = |which: usize| Weight { values: &weights[which], packing: None };
        let epilogue = |which: usize, activation| conv::Epilogue {
            scale: Some(&vectors[2 * which]),
            shift: Some(&vectors[2 * which + 1]),
            residual: None,
            activation,
        };
        let (first, second) = (epilogue(0, Activation::Relu), epilogue(1, Activation::Identity));
        let [batch, channels, height, width] = self.dims()?;
        let mut output = vec![f32::NAN; Layout::Nchwc.elements([batch, channels, height, width], lanes)];
        if together {
            let consumer = match self.second {
                Second::MaxPool(geometry) => Consumer::MaxPool(geometry),
                Second::Depthwise { .. } => {
                    Consumer::Depthwise { shape: &self.behind, weight: weight(1), epilogue: second }
                }
            };
            let done = conv::conv2d_and_consume(shape, input, weight(0), &first, &consumer, &mut output, isa);
            return Ok(done.then_some(output));
        }
        let mut between = vec![f32::NAN; Layout::Nchwc.elements(shape.output_dims(), lanes)];
        conv::conv2d(shape, input, weight(0), &first, &mut between, isa)?;
        match self.second {
            Second::Depthwise { .. } => {
                let input = Input { elements: &between, layout: Layout::Nchwc };
                conv::conv2d(&self.behind, input, weight(1), &second, &mut output, isa)?;
            }
            Second::MaxPool(geometry) => {
                let image = Tensor::from_vec(
                    self.planes(&between, lanes, shape.output),
                    &shape.output_dims(),
                    &Device::Cpu,
                )?;
                let pooled = sconce::kernels::pool::max_pool2d(&image, &geometry)?;
                output = to_blocks(&floats(&pooled)?, channels, [height, width], lanes);
            }
        }
        Ok(Some(output))
    }

    /// The elements as `[batch, channels, height, width]`; asserts that all others are zero.
    fn planes(&self, blocks: &[f32], lanes: usize, [height, width]: [usize; 2]) -> Vec<f32> {
        let (channels, pixels) = (self.shape.out_channels, height * width);
        let mut planes = vec![f32::NAN; self.shape.batch * channels * pixels];
        for (i, value) in blocks.iter().enumerate() {
            let (vector, lane) = (i / lanes, i % lanes);
            let (block, pixel) = (vector / pixels, vector % pixels);
            let (image, channel) =
                (block / channels.div_ceil(lanes), block % channels.div_ceil(lanes) * lanes + lane);
            match channel < channels {
                true => planes[(image * channels + channel) * pixels + pixel] = *value,
                false => assert!(*value == 0., "{value} in a lane that is no channel"),
            }
        }
        planes
    }

    fn check(&self) -> Result<()> {
        let ([_, _, height, width], expected) = (self.dims()?, self.expected()?);
        for (isa, planes) in available().into_iter().flat_map(|isa| [(isa, false), (isa, true)]) {
            let Some(output) = self.blocked(isa, planes, true)? else {
                // Winograd's kernels, or sums in several steps.
                assert!(self.shape.kernel != [1; 2], "{isa:?}, planes: {planes}: there is a kernel");
                continue;
            };
            let apart = self.blocked(isa, planes, false)?.unwrap_or_default();
            assert!(bits(&output) == bits(&apart), "{isa:?}, planes: {planes}: not as one after the other");
            let output = self.planes(&output, isa.lanes(), [height, width]);
            let scale = expected.iter().fold(0.1f64, |most, x| most.max(x.abs()));
            for (y, x) in output.iter().zip(&expected) {
                let error = (f64::from(*y) - x).abs() / scale;
                assert!(error < 1e-5, "{isa:?}, planes: {planes}: {y} in place of {x}");
            }
        }
        Ok(())
    }
}

/// All NaNs, and both zeros, alike.
fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { (x + 0.).to_bits() }).collect()
}

fn to_blocks(planes: &[f32], channels: usize, [height, width]: [usize; 2], lanes: usize) -> Vec<f32> {
    let pixels = height * width;
    let images = planes.len() / (channels * pixels);
    let mut blocks = vec![0.; images * channels.next_multiple_of(lanes) * pixels];
    for (i, value) in planes.iter().enumerate() {
        let (plane, pixel) = (i / pixels, i % pixels);
        let (image, channel) = (plane / channels, plane % channels);
        let block = image * channels.div_ceil(lanes) + channel / lanes;
        blocks[(block * pixels + pixel) * lanes + channel % lanes] = *value;
    }
    blocks
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
    fn settings(sizes: usize, widest: usize)(
        batch in 1..=3usize,
        inputs in 1..=widest,
        // One channel alone is no depthwise convolution.
        outputs in 2..=widest,
        size in prop::array::uniform2(5..=sizes),
        kernel in prop::sample::select(&[1usize, 1, 3, 5][..]),
        stride in 1..=2usize,
        padded: bool,
        second in prop_oneof![
            pools().prop_map(Second::MaxPool),
            (1..=2usize, 0..=1usize).prop_map(|(stride, padding)| Second::Depthwise { stride, padding }),
        ],
        seed in 0..1u64 << 32,
    ) -> Setting {
        let padding = if padded { kernel / 2 } else { 0 };
        // What is behind finds room.
        let size = size.map(|size| size.max(kernel + 4 * stride));
        let channels = [inputs, outputs];
        Setting { batch, channels, size, kernel, stride, padding, second, seed }
    }
}

proptest! {
    #![proptest_config(crate::common::config(200))]

    #[test]
    fn agrees_with_candle_and_with_two_launches(setting in settings(14, 40)) {
        Problem::new(setting).and_then(|problem| problem.check()).map_err(crate::common::fail)?;
    }
}

proptest! {
    #![proptest_config(crate::common::config(16))]

    /// With several bands and panels.
    #[test]
    fn agrees_on_larger_ones(setting in settings(60, 140)) {
        Problem::new(setting).and_then(|problem| problem.check()).map_err(crate::common::fail)?;
    }
}

const WINDOWS: PoolGeometry =
    PoolGeometry { kernel: [3; 2], stride: [2; 2], padding: [1; 2], dilation: [1; 2], ceil_mode: false };

fn layers() -> [Setting; 3] {
    let setting = |channels, size, kernel, second| Setting {
        batch: 2,
        channels,
        size: [size; 2],
        kernel,
        stride: 1,
        padding: kernel / 2,
        second,
        seed: 7,
    };
    [
        setting([16, 96], 70, 1, Second::Depthwise { stride: 2, padding: 1 }),
        setting([24, 72], 29, 1, Second::Depthwise { stride: 1, padding: 1 }),
        setting([3, 64], 60, 5, Second::MaxPool(WINDOWS)),
    ]
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for (setting, isa) in
        layers().into_iter().flat_map(|setting| available().into_iter().map(move |i| (setting, i)))
    {
        let problem = Problem::new(setting)?;
        let with = |threads| crate::common::on_threads(threads, || problem.blocked(isa, false, true));
        let one = with(1)?;
        assert!(one.is_some());
        for threads in crate::common::lists::THREADS {
            assert!(one == with(threads)?, "{setting:?} {isa:?}: {threads} threads");
        }
    }
    Ok(())
}

/// Where the input has an infinity or NaN, the same become of it as in two launches.
#[test]
fn what_is_not_finite_is_handed_on() -> Result<()> {
    for (setting, value) in layers().into_iter().flat_map(|s| [(s, f32::NAN), (s, f32::INFINITY)]) {
        let mut problem = Problem::new(setting)?;
        let mut numbers = floats(&problem.input)?;
        let len = numbers.len();
        [0, len / 3, len / 2, len - 1].into_iter().for_each(|place| numbers[place] = value);
        problem.input = Tensor::from_vec(numbers, problem.input.shape(), &Device::Cpu)?;
        for isa in available() {
            let [together, apart] = [true, false]
                .map(|together| problem.blocked(isa, false, together).map(|y| y.as_deref().map(bits)));
            assert!(together? == apart?, "{isa:?} {setting:?} {value}");
        }
    }
    Ok(())
}

/// A weight that makes NaN of a padding's zero is left to others, who leave that zero out.
#[test]
fn weights_that_are_not_finite_are_left_to_others() -> Result<()> {
    let [setting, ..] = layers();
    let mut problem = Problem::new(setting)?;
    problem.weights[1] = (&problem.weights[1] * f64::INFINITY)?;
    let (shape, isa) = (&problem.shape, isa());
    let blocks = to_blocks(&floats(&problem.input)?, shape.in_channels, shape.input, isa.lanes());
    let weights = [floats(&problem.weights[0])?, floats(&problem.weights[1])?];
    let weight = |which: usize| Weight { values: &weights[which], packing: None };
    let consumer = Consumer::Depthwise {
        shape: &problem.behind,
        weight: weight(1),
        epilogue: conv::Epilogue::default(),
    };
    let [batch, channels, height, width] = problem.dims()?;
    let mut output = vec![1.; Layout::Nchwc.elements([batch, channels, height, width], isa.lanes())];
    let input = Input { elements: &blocks, layout: Layout::Nchwc };
    let done = conv::conv2d_and_consume(
        shape,
        input,
        weight(0),
        &conv::Epilogue::default(),
        &consumer,
        &mut output,
        isa,
    );
    assert!(!done && output.iter().all(|x| *x == 1.));
    Ok(())
}
