//! Padding, alone and before a convolution.

use proptest::prelude::*;
use sconce::candle;
use sconce::prelude::*;

use crate::common::{Rng, check_close, check_gradients, config, fail, gradients, restride, values};

use super::setting::{Axis, Setting, call, check_layer, image_settings, sequence_settings, video_settings};

const MODES: [&str; 4] = ["zeros", "reflect", "replicate", "circular"];

/// Returns the index of the input element that padding copies to `position`, or `None` if padding fills this position
/// with zero. Position 0 is the first element of the input; the positions before the input are negative.
fn source(mode: &str, position: isize, size: isize) -> Option<usize> {
    let index = match mode {
        "reflect" if position < 0 => -position,
        "reflect" if position >= size => 2 * size - 2 - position,
        "replicate" => position.max(0).min(size - 1),
        "circular" => (position + size) % size,
        _ => position,
    };
    (0..size).contains(&index).then_some(index as usize)
}

/// Pads according to the definition of `mode`. Negative sides crop the input before it is padded.
fn naive_pad(x: &Tensor, sides: [isize; 4], mode: &str) -> candle::Result<Tensor> {
    let [left, right, top, bottom] = sides;
    let cropped = |x: &Tensor, dim: usize, [before, after]: [isize; 2]| {
        let (before, after) = ((-before).max(0) as usize, (-after).max(0) as usize);
        x.narrow(dim, before, x.dim(dim)? - before - after)
    };
    let x = cropped(&cropped(x, 2, [top, bottom])?, 3, [left, right])?;
    let (n, c, h, w) = x.dims4()?;
    let x = values(&x)?;
    let [left, right, top, bottom] = sides.map(|side| side.max(0));
    let (rows, columns) = (h as isize + top + bottom, w as isize + left + right);
    let mut y = Vec::new();
    for plane in 0..n * c {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let row = source(mode, row - top, h as isize);
            let column = source(mode, column - left, w as isize);
            let element = row.zip(column).map(|(row, column)| x[(plane * h + row) * w + column]);
            y.push(element.unwrap_or(0.));
        }
    }
    Tensor::from_vec(y, (n, c, rows as usize, columns as usize), &Device::Cpu)
}

/// Generates the padding before and after an axis of `size` elements, up to the maximum that `mode` allows. For modes
/// without a maximum, the padding is at most 4.
fn sides(mode: &'static str, size: usize) -> impl Strategy<Value = [isize; 2]> {
    let max = match mode {
        "reflect" => size as isize - 1,
        "circular" => size as isize,
        _ => 4,
    };
    [0..=max, 0..=max]
}

/// Generates the batch size, the channels, the size `[height, width]`, the mode, the padding and a seed.
fn padding_cases() -> impl Strategy<Value = (usize, usize, [usize; 2], &'static str, [isize; 4], u64)> {
    (0..=2usize, 1..=2usize, [1..=6usize, 1..=6usize], prop::sample::select(&MODES[..]), any::<u64>())
        .prop_flat_map(|(n, c, size, mode, seed)| {
            let sides = (sides(mode, size[1]), sides(mode, size[0]))
                .prop_map(|([left, right], [top, bottom])| [left, right, top, bottom]);
            (Just(n), Just(c), Just(size), Just(mode), sides, Just(seed))
        })
}

/// Calls the padding layer for `mode`.
fn pad_layer(x: &Tensor, sides: [isize; 4], mode: &str) -> Result<Tensor> {
    let x = Signal::from(x);
    match mode {
        "zeros" => ZeroPad2d::config(sides).init(&Device::Cpu)?.call(x, Mode::Eval),
        "reflect" => ReflectionPad2d::config(sides).init(&Device::Cpu)?.call(x, Mode::Eval),
        "replicate" => ReplicationPad2d::config(sides).init(&Device::Cpu)?.call(x, Mode::Eval),
        _ => CircularPad2d::config(sides).init(&Device::Cpu)?.call(x, Mode::Eval),
    }
    .into_tensor()
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn padding_agrees_with_the_definition((n, c, [h, w], mode, sides, seed) in padding_cases()) {
        let x = Rng::new(seed).tensor(&[n, c, h, w], 1.);
        let check = || -> candle::Result<()> {
            let expected = naive_pad(&x, sides, mode)?;
            check_close("output", &pad_layer(&x, sides, mode)?, &expected, 0.)?;
            check_close("strided", &pad_layer(&restride(&x)?, sides, mode)?, &expected, 0.)?;
            let pad = |x: &[Tensor]| Ok(pad(&x[0], sides, mode).into_tensor()?);
            check_gradients(pad, std::slice::from_ref(&x))?;
            for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 2e-3), (DType::BF16, 2e-2)] {
                let in_dtype = [x.to_dtype(dtype)?];
                let output_grad = Rng::new(seed ^ 1).tensor(expected.dims(), 1.).to_dtype(dtype)?;
                let (y, dx) = gradients(pad, &in_dtype, &output_grad)?;
                let in_f64 = [in_dtype[0].to_dtype(DType::F64)?];
                let (f64_y, f64_dx) = gradients(pad, &in_f64, &output_grad.to_dtype(DType::F64)?)?;
                check_close("output", &y, &f64_y, 0.)?;
                // The gradient of an element is the sum of the gradients of its copies, which may cancel.
                let magnitudes = &gradients(pad, &in_f64, &output_grad.to_dtype(DType::F64)?.abs()?)?.1[0];
                let magnitude = values(magnitudes)?.into_iter().fold(1., f64::max);
                check_close("gradient", &dx[0], &f64_dx[0], tolerance * magnitude)?;
            }
            Ok(())
        };
        check().map_err(fail)?;
    }

    #[test]
    fn negative_padding_crops(
        (h, w) in (1..=5usize, 1..=5usize), sides in [-5..=3isize, -5..=3isize, -5..=3isize, -5..=3isize],
        mode in prop::sample::select(&MODES[..]), seed: u64,
    ) {
        let x = Rng::new(seed).tensor(&[2, 1, h, w], 1.);
        let [left, right, top, bottom] = sides;
        let fits = |size: usize, [before, after]: [isize; 2]| {
            let kept = size as isize + before.min(0) + after.min(0);
            let max = before.max(after);
            kept > 0 && match mode {
                "reflect" => max < kept || max <= 0,
                "circular" => max <= kept,
                _ => true,
            }
        };
        if fits(h, [top, bottom]) && fits(w, [left, right]) {
            let check = || {
                let actual = pad(&x, sides, mode).into_tensor()?;
                check_close("output", &actual, &naive_pad(&x, sides, mode)?, 0.)?;
                check_gradients(|x| Ok(pad(&x[0], sides, mode).into_tensor()?), std::slice::from_ref(&x))
            };
            check().map_err(fail)?;
        } else {
            // Only zero padding may crop the whole input, or more. Its output then contains only zeros.
            let actual = pad(&x, sides, mode).into_tensor();
            if let Ok(actual) = actual {
                prop_assert_eq!(mode, "zeros");
                prop_assert!(values(&actual).map_err(fail)?.iter().all(|y| *y == 0.));
            }
        }
    }

    #[test]
    fn conv2d_with_a_padding_mode_agrees_with_a_padded_input(
        setting in image_settings(), mode in prop::sample::select(&MODES[..]),
    ) {
        let tensors = setting.conv_tensors(4);
        let config = setting.conv2d().padding_mode(mode);
        let fits = setting.axes.iter().all(|axis| match mode {
            "reflect" => axis.padding < axis.size,
            "circular" => axis.padding <= axis.size,
            _ => true,
        });
        let expected = || {
            let [top, left] = setting.map_image_axes(|axis| axis.padding).map(|padding| padding as isize);
            let padded = naive_pad(&tensors[0], [left, left, top, top], mode).map_err(fail)?;
            let tensors = [&[padded], &tensors[1..]].concat();
            let axes = setting.axes.map(|axis| Axis { size: axis.size + 2 * axis.padding, padding: 0, ..axis });
            Ok::<_, TestCaseError>(Setting { axes, ..setting.clone() }.naive(&tensors))
        };
        check_layer(&config, &tensors, if fits { expected()? } else { None })?;
    }

    #[test]
    fn conv3d_with_a_padding_mode_agrees_with_a_padded_input(
        setting in video_settings(), mode in prop::sample::select(&MODES[..]),
    ) {
        let tensors = setting.conv_tensors(5);
        let fits = setting.axes.iter().all(|axis| match mode {
            "reflect" => axis.padding < axis.size,
            "circular" => axis.padding <= axis.size,
            _ => true,
        });
        let expected = || {
            let [front, top, left] = setting.map_axes(|axis| axis.padding).map(|padding| padding as isize);
            let [depth, height, width] = setting.map_axes(|axis| axis.size + 2 * axis.padding);
            let flat_frames = naive_pad(&tensors[0].flatten_from(3)?, [0, 0, front, front], mode)?;
            let (n, c) = (flat_frames.dim(0)?, flat_frames.dim(1)?);
            let frames = flat_frames.reshape((n, c * depth, setting.axes[1].size, setting.axes[2].size))?;
            let padded = naive_pad(&frames, [left, left, top, top], mode)?;
            let padded = padded.reshape((n, c, depth, height, width))?;
            let tensors = [&[padded], &tensors[1..]].concat();
            let axes = setting.axes.map(|axis| Axis { size: axis.size + 2 * axis.padding, padding: 0, ..axis });
            Ok::<_, candle::Error>(Setting { axes, ..setting.clone() }.naive(&tensors))
        };
        let expected = if fits { expected().map_err(fail)? } else { None };
        check_layer(&setting.conv3d().padding_mode(mode), &tensors, expected)?;
    }

    #[test]
    fn conv1d_with_a_padding_mode_agrees_with_a_padded_input(
        setting in sequence_settings(), mode in prop::sample::select(&MODES[..]),
    ) {
        let tensors = setting.conv_tensors(3);
        let axis = setting.axes[2];
        let fits = match mode {
            "reflect" => axis.padding < axis.size,
            "circular" => axis.padding <= axis.size,
            _ => true,
        };
        let expected = || {
            let side = axis.padding as isize;
            let padded = naive_pad(&tensors[0].unsqueeze(2)?, [side, side, 0, 0], mode)?.squeeze(2)?;
            let tensors = [&[padded], &tensors[1..]].concat();
            let padded = Axis { size: axis.size + 2 * axis.padding, padding: 0, ..axis };
            let setting = Setting { axes: [Axis::FLAT, Axis::FLAT, padded], ..setting.clone() };
            Ok::<_, candle::Error>(setting.naive(&tensors))
        };
        let expected = if fits { expected().map_err(fail)? } else { None };
        check_layer(&setting.conv1d().padding_mode(mode), &tensors, expected)?;
    }
}

#[test]
fn padding_with_a_constant_and_of_a_single_axis_is_supported() -> Result<()> {
    let x = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
    let padded = |x: &Tensor, sides: [isize; 2], mode: PadMode| pad(x, sides, mode).into_tensor();
    assert_eq!(padded(&x, [1, 2], PadMode::Constant(-7.))?.to_vec1::<f32>()?, [-7., 1., 2., 3., -7., -7.]);
    assert_eq!(padded(&x, [2, 0], "circular".into())?.to_vec1::<f32>()?, [2., 3., 1., 2., 3.]);
    assert_eq!(padded(&x, [-1, 1], "replicate".into())?.to_vec1::<f32>()?, [2., 3., 3.]);
    // Padding may crop more elements than the input has.
    assert_eq!(padded(&x, [-4, 3], "zeros".into())?.to_vec1::<f32>()?, [0., 0.]);
    // If padding multiplied the input by zero, these infinities would become NaN.
    let infinite = Tensor::new(&[[f32::INFINITY, f32::NEG_INFINITY]], &Device::Cpu)?;
    let y = padded(&infinite, [1, 1], "zeros".into())?.to_vec2::<f32>()?;
    assert_eq!(y, [[0., f32::INFINITY, f32::NEG_INFINITY, 0.]]);
    Ok(())
}

/// With an even kernel, PyTorch pads one element more at the right and at the bottom than at the left and at the top.
#[test]
fn same_padding_of_even_kernels_agrees_with_pytorch() -> Result<()> {
    let x = Tensor::new(&[[1f64, 2., 3., 4.]], &Device::Cpu)?.unsqueeze(0)?;
    let weight = Tensor::ones((1, 1, 4), DType::F64, &Device::Cpu)?;
    let y = conv1d(&x, &weight, None, Conv1dOptions::default().padding("same")).into_tensor()?;
    assert_eq!(values(&y)?, [6., 10., 9., 7.]);
    for (mode, expected) in
        [("reflect", [8., 10., 12., 12.]), ("replicate", [7., 10., 13., 15.]), ("circular", [10.; 4])]
    {
        let config = Conv1d::config(1, 1, 4).padding("same").padding_mode(mode).bias(false);
        assert_eq!(values(&call(&config, &[x.clone(), weight.clone()])?)?, expected, "{mode}");
    }
    Ok(())
}
