//! Settings larger than any image or memory, and sizes of 0. Each must give a result, or an error that states the
//! reason, but never a panic.

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use sconce::prelude::*;
use sconce_kernels::recurrent::{self, Recurrence, RecurrentWeights};

use crate::common::{Rng, config, values};

/// Sizes that no memory can hold.
const HUGE: [usize; 6] = [1 << 45, 1 << 62, usize::MAX / 4, usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX];

fn ones(dims: &[usize]) -> Tensor {
    Tensor::ones(dims, DType::F32, &Device::Cpu).expect("a tensor of ones should be created")
}

fn small_image() -> Tensor {
    Rng::new(3).tensor(&[1, 4, 6, 6], 1.).to_dtype(DType::F32).expect("f64 should convert to f32")
}

/// Returns the output of a layer in training, the gradient of its input, and the output of the layer and a ReLU in
/// inference.
fn run<L>(layer: &L, x: &Tensor) -> Result<[Tensor; 3]>
where
    L: Forward<Signal, Output = Signal> + Network,
{
    let x = Var::from_tensor(x)?;
    let y = layer.call(x.as_tensor().into(), Mode::Train).into_tensor()?;
    let gradient = y.sum_all()?.backward()?.get(&x).cloned().unwrap_or(x.zeros_like()?);
    let inference_output =
        relu(layer.inference()?.call(x.as_detached_tensor().into(), Mode::Eval)).into_tensor()?;
    Ok([y, gradient, inference_output])
}

/// Runs the layer in all dtypes on an input of the given shape. The layer may fail but must not panic.
fn assert_no_panic<C>(config: impl Fn() -> C, dims: &[usize]) -> Result<()>
where
    C: Config<Output: Forward<Signal, Output = Signal>>,
{
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let Ok(mut layer) = config().init(&Device::Cpu) else { continue };
        layer.to_dtype(dtype)?;
        let _ = run(&layer, &Tensor::ones(dims, dtype, &Device::Cpu)?);
    }
    Ok(())
}

/// Returns a pointwise convolution followed by `second`. In inference, the two layers can be a fused pair.
fn after_convolution<C: Config<Output: Layer + 'static>>(second: C) -> Result<Sequential> {
    let first = Conv2d::config(4, 16, 1).init(&Device::Cpu)?;
    Ok(Sequential::new().push(first).push(second.init(&Device::Cpu)?))
}

/// A stride has no effect if only one window fits, and a dilation has no effect on a kernel of size 1.
#[test]
fn settings_that_have_no_effect_may_have_any_size() -> Result<()> {
    for huge in HUGE {
        for (kernel, out_channels, groups, dtype) in
            [(1, 16, 1, DType::F32), (3, 16, 1, DType::F32), (3, 4, 4, DType::F32), (3, 16, 1, DType::F64)]
        {
            let conv = |stride: usize, dilation: usize| -> Result<[Vec<f64>; 3]> {
                let conv =
                    Conv2d::config(4, out_channels, kernel).groups(groups).stride(stride).dilation(dilation);
                let mut conv = conv.init(&Device::Cpu)?;
                let (mut numbers, mut state) = (Rng::new(5), conv.state_dict());
                for (name, tensor) in conv.named_parameters() {
                    state.insert(name, numbers.tensor(tensor.dims(), 1.));
                }
                conv.load_state_dict(&state)?;
                conv.to_dtype(dtype)?;
                let [y, gradient, inference_output] = run(&conv, &small_image().to_dtype(dtype)?)?;
                Ok([values(&y)?, values(&gradient)?, values(&inference_output)?])
            };
            assert_eq!(conv(huge, 1)?, conv(7, 1)?, "kernel {kernel}, {groups} groups, size {huge}");
            if kernel == 1 {
                assert_eq!(conv(1, huge)?, conv(1, 1)?, "kernel {kernel}, {groups} groups, size {huge}");
            }
        }
    }
    Ok(())
}

#[test]
fn tensors_that_do_not_fit_in_memory_are_errors() -> Result<()> {
    let x = small_image();
    let pixel = || Tensor::ones((1, 4, 1, 1), DType::F32, &Device::Cpu);
    let options = Conv2dOptions::default;
    for huge in HUGE {
        let message_of = |error: Option<Error>| error.map(|error| error.to_string()).unwrap_or_default();
        let init_errors = [
            message_of(Conv2d::config(huge, 4, 3).init(&Device::Cpu).err()),
            message_of(Conv2d::config(4, huge, 3).init(&Device::Cpu).err()),
            message_of(Conv2d::config(4, 4, huge).init(&Device::Cpu).err()),
            message_of(ConvTranspose2d::config(huge, 4, 3).init(&Device::Cpu).err()),
            message_of(Linear::config(huge, 4).init(&Device::Cpu).err()),
            message_of(BatchNorm::config(huge).init(&Device::Cpu).err()),
            message_of(LayerNorm::config([huge, huge]).init(&Device::Cpu).err()),
            message_of(Embedding::config(huge, huge).init(&Device::Cpu).err()),
            message_of(MultiheadAttention::config(huge, 1).init(&Device::Cpu).err()),
            message_of(LSTM::config(4, huge).init(&Device::Cpu).err()),
        ];
        for message in init_errors {
            assert!(message.contains("not enough memory for a tensor of shape"), "{huge}: {message:?}");
        }
        let weight = Tensor::ones((16, 4, 3, 3), DType::F32, &Device::Cpu)?;
        let (video, video_weight) = (ones(&[1, 4, 3, 6, 6]), ones(&[16, 4, 3, 3, 3]));
        for signal in [
            conv2d(&x, &weight, None, options().padding(huge)),
            conv2d(&x, &weight, None, options().padding((huge, 0)).stride((huge, 1))),
            conv2d(&x, &weight, None, options().padding((huge / 2, 0)).dilation((huge / 2, 1))),
            conv2d(&x, &weight, None, options().padding("same").dilation(huge)),
            conv2d(&x, &weight, None, options().dilation(huge)),
            conv_transpose2d(
                &x,
                &weight.transpose(0, 1)?,
                None,
                ConvTranspose2dOptions::default().stride(huge),
            ),
            conv3d(&video, &video_weight, None, Conv3dOptions::default().padding((huge, 0, 0))),
            conv3d(&video, &video_weight, None, Conv3dOptions::default().padding("same").dilation(huge)),
            conv_transpose3d(
                &video,
                &video_weight.transpose(0, 1)?,
                None,
                ConvTranspose3dOptions::default().stride((huge, 1, 1)),
            ),
            max_pool3d(&video, (huge, 1, 1)),
            adaptive_avg_pool3d(&video, (huge, 1, 1)),
            pad(&x, isize::try_from(huge).unwrap_or(isize::MAX), "replicate"),
            interpolate(&x, huge),
            interpolate(&x, (huge, 1)),
            adaptive_avg_pool2d(&x, (huge, 1)),
            adaptive_max_pool2d(&x, (huge, 1)),
            max_pool2d(&x, MaxPool2d::config(huge).stride(1).padding(huge / 2)),
            avg_pool2d(&x, AvgPool2d::config(huge).stride(1).padding(huge / 2)),
            max_pool2d(pixel()?, huge),
        ] {
            let message = signal.into_tensor().unwrap_err().to_string();
            let reasons = ["memory", "too large", "smaller than the dilated kernel", "would be empty"];
            assert!(reasons.iter().any(|reason| message.contains(reason)), "{huge}: {message}");
        }
    }
    Ok(())
}

/// A view can have more elements than any memory, and a tensor without elements can have any size.
#[test]
fn sequences_and_bags_of_any_size_are_errors() -> Result<()> {
    let empty = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &Device::Cpu);
    let single = |dtype| Tensor::zeros((), dtype, &Device::Cpu);
    let packed = pack_padded_sequence(ones(&[3, 2, 4]), [3, 1], false);
    let wide = pack_padded_sequence(ones(&[3, 2, 1024]), [3, 1], false);
    let table = ones(&[3, 4]);
    let lstm = LSTM::config(0, 4).init(&Device::Cpu)?;
    let cell = LSTMCell::config(0, 4).init(&Device::Cpu)?;
    let cos = |dims: &[usize]| single(DType::F32)?.broadcast_as(dims);
    for huge in [1 << 45, 1 << 60] {
        let rows = single(DType::U32)?.broadcast_as((huge, 1))?;
        let samples = Bags { offsets: Some(single(DType::U32)?.broadcast_as(huge)?), ..Bags::default() };
        for signal in [
            pad_packed_sequence(&packed, true, 0., Some(huge)).0,
            pad_packed_sequence(&wide, true, 0., Some(1 << 40)).0,
            pack_padded_sequence(empty(&[huge, 2, 0], DType::F32)?, [huge, 1], false).data().clone(),
            pack_padded_sequence(cos(&[huge, 2, 4])?, [2, 1], false).data().clone(),
            pack_padded_sequence(Signal::meta((huge, 2, 3), DType::F32), [huge, 1], false).data().clone(),
            lstm.call((&empty(&[huge, 2, 0], DType::F32)?).into(), Mode::Eval).0,
            lstm.call((&empty(&[0, huge, 0], DType::F32)?).into(), Mode::Eval).0,
            cell.call((&empty(&[huge, 0], DType::F32)?).into(), Mode::Eval).0,
            embedding(&rows, &table),
            embedding_bag(&rows, &table, &Bags::default()),
            embedding_bag(empty(&[huge, 0], DType::U32)?, &table, &Bags::default()),
            embedding_bag(empty(&[huge, 0], DType::U32)?, ones(&[3, 0]), &Bags::default()),
            embedding_bag(empty(&[0], DType::U32)?, &table, &samples),
            rotary_embedding(cos(&[huge, 1 << 10, 4])?, cos(&[1 << 10, 2])?, cos(&[1 << 10, 2])?, true),
        ] {
            let message = signal.into_tensor().unwrap_err().to_string();
            assert!(message.contains("memory"), "{huge}: {message}");
        }
        // The width of the inputs, the gates, is 0.
        let weight = empty(&[0, 0], DType::F32)?;
        let weights = RecurrentWeights { weight: &weight, bias: None, projection: None };
        let state = empty(&[2, 0], DType::F32)?;
        let inputs = empty(&[huge, 2, 0], DType::F32)?;
        assert!(recurrent::run(Recurrence::Relu, &inputs, &weights, &[state], false).is_err());
        // These have nothing to rotate.
        let x = empty(&[huge, 0, 4], DType::F32)?;
        let y = rotary_embedding(&x, cos(&[0, 2])?, cos(&[0, 2])?, false).into_tensor()?;
        assert_eq!(y.dims(), [huge, 0, 4]);
    }
    Ok(())
}

/// Generates a size or a setting: mostly a small number, sometimes 0 or a number from [`HUGE`].
fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![16 => 1..9usize, 1 => Just(0), 1 => prop::sample::select(&HUGE[..])]
}

fn size_pairs() -> impl Strategy<Value = (usize, usize)> {
    (any_size(), any_size())
}

fn size_triples() -> impl Strategy<Value = [usize; 3]> {
    [any_size(), any_size(), any_size()]
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn convolutions_of_videos_never_panic(
        channels in prop::array::uniform2(prop::sample::select(&[0usize, 1, 4, 16][..])),
        size in prop::array::uniform3(0..7usize),
        batch in 0..3usize,
        kernel in prop::array::uniform3(prop_oneof![9 => 1..4usize, 1 => Just(0)]),
        (stride, padding, dilation) in (size_triples(), size_triples(), size_triples()),
        groups in prop_oneof![3 => Just(1usize), 1 => any_size()],
        mode in prop::sample::select(&["zeros", "replicate"][..]),
    ) {
        let [in_channels, out_channels] = channels;
        let dims = [batch, in_channels, size[0], size[1], size[2]];
        let plain = || {
            let conv = Conv3d::config(in_channels, out_channels, kernel).stride(stride).padding(padding);
            conv.dilation(dilation).groups(groups).padding_mode(mode)
        };
        assert_no_panic(plain, &dims).map_err(crate::common::fail)?;
        let transposed = || {
            let conv = ConvTranspose3d::config(in_channels, out_channels, kernel).stride(stride).padding(padding);
            conv.dilation(dilation).groups(groups)
        };
        assert_no_panic(transposed, &dims).map_err(crate::common::fail)?;
    }

    #[test]
    fn pooling_of_videos_never_panics(
        dims in prop::array::uniform5(0..6usize),
        (kernel, stride, padding) in (size_triples(), size_triples(), size_triples()),
        largest_padding: bool,
        ceil_mode: bool,
        count_include_pad: bool,
    ) {
        let padding = if largest_padding { kernel.map(|size| size / 2) } else { padding };
        let max = || MaxPool3d::config(kernel).stride(stride).padding(padding).ceil_mode(ceil_mode);
        let mean = || {
            let pool = AvgPool3d::config(kernel).stride(stride).padding(padding).ceil_mode(ceil_mode);
            pool.count_include_pad(count_include_pad)
        };
        assert_no_panic(max, &dims).map_err(crate::common::fail)?;
        assert_no_panic(mean, &dims).map_err(crate::common::fail)?;
        let size = OutputSize(stride.map(Some));
        assert_no_panic(|| AdaptiveMaxPool3d::config(size), &dims).map_err(crate::common::fail)?;
        assert_no_panic(|| AdaptiveAvgPool3d::config(size), &dims).map_err(crate::common::fail)?;
    }

    #[test]
    fn convolutions_never_panic(
        channels in prop::array::uniform2(prop::sample::select(&[0usize, 1, 4, 16, 33][..])),
        size in prop::array::uniform2(0..12usize),
        batch in 0..3usize,
        kernel in prop::array::uniform2(prop_oneof![9 => 1..5usize, 1 => Just(0)]),
        (stride, padding, dilation) in (size_pairs(), size_pairs(), size_pairs()),
        groups in prop_oneof![3 => Just(1usize), 1 => any_size()],
        depthwise: bool,
    ) {
        let [in_channels, out_channels] = channels;
        let (out_channels, groups) = if depthwise { (in_channels, in_channels) } else { (out_channels, groups) };
        let dims = [batch, in_channels, size[0], size[1]];
        let plain = || {
            let conv = Conv2d::config(in_channels, out_channels, kernel).stride(stride).padding(padding);
            conv.dilation(dilation).groups(groups)
        };
        assert_no_panic(plain, &dims).map_err(crate::common::fail)?;
        let transposed = || {
            let conv = ConvTranspose2d::config(in_channels, out_channels, kernel).stride(stride).padding(padding);
            conv.dilation(dilation).groups(groups)
        };
        assert_no_panic(transposed, &dims).map_err(crate::common::fail)?;
        let depthwise = Conv2d::config(16, 16, kernel).groups(16).stride(stride).padding(padding);
        if let Ok(network) = after_convolution(depthwise) {
            let _ = run(&network, &ones(&[batch, 4, size[0], size[1]]));
        }
    }

    #[test]
    fn pooling_never_panics(
        dims in prop::array::uniform4(0..8usize),
        (kernel, stride, padding) in (size_pairs(), size_pairs(), size_pairs()),
        largest_padding: bool,
        ceil_mode: bool,
        count_include_pad: bool,
    ) {
        let padding = if largest_padding { (kernel.0 / 2, kernel.1 / 2) } else { padding };
        let max = || MaxPool2d::config(kernel).stride(stride).padding(padding).ceil_mode(ceil_mode);
        let mean = || {
            let pool = AvgPool2d::config(kernel).stride(stride).padding(padding).ceil_mode(ceil_mode);
            pool.count_include_pad(count_include_pad)
        };
        assert_no_panic(max, &dims).map_err(crate::common::fail)?;
        assert_no_panic(mean, &dims).map_err(crate::common::fail)?;
        for network in [after_convolution(max()), after_convolution(mean())].into_iter().flatten() {
            let _ = run(&network, &ones(&[1, 4, dims[2], dims[3]]));
        }
    }
}

#[test]
fn empty_inputs_of_instance_norm_are_supported() -> Result<()> {
    for dims in [[2, 0, 6, 6], [0, 4, 6, 6], [2, 4, 0, 6]] {
        let norm =
            InstanceNorm2d::config(dims[1]).affine(true).track_running_stats(true).init(&Device::Cpu)?;
        let x = Tensor::ones(&dims, DType::F32, &Device::Cpu)?;
        assert_eq!(norm.call((&x).into(), Mode::Train).into_tensor()?.dims(), dims);
        // The comparison also excludes NaN.
        assert!(
            norm.buffers().iter().all(|(_, buffer)| values(buffer).is_ok_and(|x| x.iter().all(|x| *x < 2.)))
        );
    }
    Ok(())
}

/// Inputs with and without rows give the same error.
#[test]
fn linear_errors_name_the_operand_with_the_wrong_dtype() -> Result<()> {
    let weight = Tensor::ones((3, 6), DType::F32, &Device::Cpu)?;
    for (rows, dtype) in [(0, DType::I64), (2, DType::U8), (2, DType::F64)] {
        let x = Tensor::ones((rows, 6), dtype, &Device::Cpu)?;
        let error = linear(&x, &weight, None).into_tensor().unwrap_err();
        let expected =
            format!("Linear 6→3: expected a weight of dtype {dtype:?}, the dtype of the input, found F32");
        assert_eq!(error.to_string(), expected);
    }
    Ok(())
}
