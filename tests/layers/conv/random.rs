//! Convolutions with random settings: agreement with plain loops, gradients by finite differences, and agreement of
//! every dtype with f64.

use proptest::prelude::*;
use sconce::prelude::*;

use crate::common::{check_close, config, fail, message};

use super::setting::{
    Axis, build, call, check_dtypes, check_dtypes_within, check_layer, image_settings, sequence_settings,
    video_settings,
};

proptest! {
    // At least 60 % of the settings have an output. For the others, `check_layer` expects an error.
    #![proptest_config(config(400))]

    #[test]
    fn conv1d_agrees_with_plain_loops(setting in sequence_settings()) {
        let tensors = setting.conv_tensors(3);
        check_layer(&setting.conv1d(), &tensors, setting.naive(&tensors))?;
    }

    #[test]
    fn conv2d_agrees_with_plain_loops(setting in image_settings()) {
        let tensors = setting.conv_tensors(4);
        check_layer(&setting.conv2d(), &tensors, setting.naive(&tensors))?;
    }

    #[test]
    fn conv_transpose1d_agrees_with_plain_loops(setting in sequence_settings()) {
        let tensors = setting.conv_transpose_tensors(3);
        check_layer(&setting.conv_transpose1d(), &tensors, setting.naive_transposed(&tensors))?;
    }

    #[test]
    fn conv_transpose2d_agrees_with_plain_loops(setting in image_settings()) {
        let tensors = setting.conv_transpose_tensors(4);
        check_layer(&setting.conv_transpose2d(), &tensors, setting.naive_transposed(&tensors))?;
    }

    #[test]
    fn conv3d_agrees_with_plain_loops(setting in video_settings()) {
        let tensors = setting.conv_tensors(5);
        check_layer(&setting.conv3d(), &tensors, setting.naive(&tensors))?;
    }

    #[test]
    fn conv_transpose3d_agrees_with_plain_loops(setting in video_settings()) {
        let tensors = setting.conv_transpose_tensors(5);
        check_layer(&setting.conv_transpose3d(), &tensors, setting.naive_transposed(&tensors))?;
    }

    /// An `output_size` selects the output padding that gives an output of this size.
    #[test]
    fn output_sizes_are_reached_by_output_padding(setting in video_settings(), unreachable in 0..2usize) {
        let mut plain = setting.clone();
        plain.axes.iter_mut().for_each(|axis| axis.output_padding = axis.output_padding.min(axis.stride - 1));
        let Some(size) = plain.output_size(Axis::conv_transpose_output_size) else { return Ok(()) };
        let check = || -> Result<()> {
            let tensors = plain.conv_transpose_tensors(5);
            let expected = call(&plain.conv_transpose3d(), &tensors)?;
            let layer = build(&plain.conv_transpose3d().output_padding(0), &tensors)?;
            let found = layer.call_with(((&tensors[0]).into(), Triple(size)), Mode::Eval).into_tensor()?;
            check_close("output", &found, &expected, 0.)?;
            let input = Signal::meta(tensors[0].shape(), tensors[0].dtype());
            assert_eq!(layer.call_with((input, Triple(size)), Mode::Eval).dims()?, expected.dims());

            // The output padding must be smaller than the stride, so these sizes are out of range.
            let too_large = plain.axes[2].stride - plain.axes[2].output_padding + unreachable;
            let size = Triple([size[0], size[1], size[2] + too_large]);
            let error = message(layer.call_with(((&tensors[0]).into(), size), Mode::Eval).into_tensor());
            assert!(error.contains("expected an output_size between ("), "{error}");
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn every_dtype_of_videos_agrees_with_f64(setting in video_settings()) {
        if setting.output_size(Axis::conv_output_size).is_some() {
            check_dtypes(&setting.conv3d(), &setting.conv_tensors(5))?;
            check_dtypes_within(&setting.conv3d().padding_mode("replicate"), &setting.conv_tensors(5), 4.)?;
        }
        if setting.output_size(Axis::conv_transpose_output_size).is_some() {
            check_dtypes(&setting.conv_transpose3d(), &setting.conv_transpose_tensors(5))?;
        }
    }

    #[test]
    fn every_dtype_agrees_with_f64(setting in image_settings()) {
        if setting.axes.iter().all(|axis| axis.conv_output_size().is_some()) {
            check_dtypes(&setting.conv2d(), &setting.conv_tensors(4))?;
            check_dtypes(&setting.conv2d().padding_mode("replicate"), &setting.conv_tensors(4))?;
        }
        if setting.axes.iter().all(|axis| axis.conv_transpose_output_size().is_some()) {
            check_dtypes(&setting.conv_transpose2d(), &setting.conv_transpose_tensors(4))?;
        }
    }

    #[test]
    fn every_dtype_agrees_with_f64_on_sequences(setting in sequence_settings()) {
        if setting.axes[2].conv_output_size().is_some() {
            check_dtypes(&setting.conv1d(), &setting.conv_tensors(3))?;
        }
        if setting.axes[2].conv_transpose_output_size().is_some() {
            check_dtypes(&setting.conv_transpose1d(), &setting.conv_transpose_tensors(3))?;
        }
    }
}

/// The convolutions are large enough to be split into several tasks. Their outputs are compared with candle's.
#[test]
fn large_transposed_convolutions_agree_with_candle() -> Result<()> {
    let random = |shape: &[usize]| Tensor::rand(-1f32, 1., shape, &Device::Cpu);
    for (in_channels, out_channels, size, kernel, stride) in
        [(33, 18, 14, 3, 2), (8, 40, 25, 4, 2), (24, 7, 30, 5, 1)]
    {
        let (x, weight) = (
            random(&[3, in_channels, size, size + 1])?,
            random(&[in_channels, out_channels, kernel, kernel])?,
        );
        let bias = random(&[out_channels])?;
        let options = ConvTranspose2dOptions::default().stride(stride).padding(1).output_padding(stride - 1);
        let actual = conv_transpose2d(&x, &weight, Some(&bias), options).into_tensor()?;
        let expected = x.conv_transpose2d(&weight, 1, stride - 1, stride, 1)?;
        let expected = expected.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
        check_close("output", &actual, &expected, 1e-4)?;
    }
    Ok(())
}
