//! Interpolation, pixel and channel shuffling, and permutation: agreement with plain loops, gradients by finite
//! differences, dtypes, invalid arguments.

use proptest::prelude::*;
use sconce::candle;
use sconce::prelude::*;

use crate::common::{Rng, check_against_f64, check_close, check_gradients, config, fail, gradients, values};
use crate::on_tensors::on_tensors;

/// Returns the weight of an input element at a distance from the center of an output: a triangle function of the
/// distance in the linear modes, and Keys' cubic function with a = -3/4 in bicubic mode.
fn weight(mode: &str, distance: f64) -> f64 {
    let d = distance.abs();
    match mode {
        "bicubic" if d <= 1. => 1.25 * d * d * d - 2.25 * d * d + 1.,
        "bicubic" if d < 2. => -0.75 * (d * d * d - 5. * d * d + 8. * d - 4.),
        "bicubic" => 0.,
        _ => (1. - d).max(0.),
    }
}

/// Returns the interpolation along one axis as a matrix. Each row holds the weights of all inputs for one output.
/// Positions outside the input are clamped to its edge.
fn axis_matrix(
    mode: &str,
    in_size: usize,
    out_size: usize,
    scale: Option<f64>,
    align: bool,
) -> Vec<Vec<f64>> {
    let step = match (align, scale) {
        (true, _) => (in_size as f64 - 1.) / (out_size as f64 - 1.).max(1.),
        (false, Some(scale)) => 1. / scale,
        (false, None) => in_size as f64 / out_size as f64,
    };
    let row = |output: usize| {
        let center = if align { step * output as f64 } else { step * (output as f64 + 0.5) - 0.5 };
        let mut row = vec![0.; in_size];
        // In the linear modes, the center itself is clamped to the input. In bicubic mode, only the positions that are
        // read are clamped.
        let center = if mode == "bicubic" { center } else { center.clamp(0., in_size as f64 - 1.) };
        for position in center.floor() as i64 - 2..center.floor() as i64 + 4 {
            let inside = position.clamp(0, in_size as i64 - 1) as usize;
            row[inside] += weight(mode, center - position as f64);
        }
        row
    };
    (0..out_size).map(row).collect()
}

/// Interpolates along both axes with plain loops. `rows` and `columns` are the matrices of the axes.
fn naive(x: &Tensor, rows: &[Vec<f64>], columns: &[Vec<f64>]) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let mut y: Vec<f64> = Vec::new();
    for plane in values(x)?.chunks(h * w) {
        for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
            let row_sum = |i: usize| (0..w).map(|j| plane[i * w + j] * column[j]).sum::<f64>();
            y.push((0..h).map(|i| row[i] * row_sum(i)).sum());
        }
    }
    Ok(Tensor::from_vec(y, (n, c, rows.len(), columns.len()), &Device::Cpu)?)
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn bilinear_and_bicubic_agree_with_plain_loops(
        cubic: bool, align: bool, (n, c) in (0..3usize, 1..4usize), (h, w) in (1..8usize, 1..8usize),
        size in (1..10usize, 1..10usize), factor in prop::option::of((0.3..3.2f64, 0.3..3.2f64)), seed: u64,
    ) {
        let mode = if cubic { "bicubic" } else { "bilinear" };
        let x = Rng::new(seed).tensor(&[n, c, h, w], 1.);
        let target = Upsample::config().mode(mode).align_corners(align);
        let scaled = |input: usize, factor: f64| (input as f64 * factor).floor() as usize;
        let (target, (rows, columns), scales) = match factor {
            None => (target.size(size), size, [None; 2]),
            Some((a, b)) => (target.scale_factor((a, b)), (scaled(h, a), scaled(w, b)), [Some(a), Some(b)]),
        };
        if rows == 0 || columns == 0 {
            prop_assert!(interpolate(&x, target).error().is_some());
            return Ok(());
        }
        // In the linear modes, PyTorch ignores the scale factor of an axis whose size does not change.
        let scale = |input: usize, output: usize, scale: Option<f64>| scale.filter(|_| cubic || input != output);
        let check = || -> Result<()> {
            let rows = axis_matrix(mode, h, rows, scale(h, rows, scales[0]), align);
            let columns = axis_matrix(mode, w, columns, scale(w, columns, scales[1]), align);
            let op = on_tensors(|x| interpolate(x, target));
            check_close("output", &op(std::slice::from_ref(&x))?, &naive(&x, &rows, &columns)?, 1e-12)?;
            Ok(check_gradients(op, std::slice::from_ref(&x))?)
        };
        check().map_err(|error| fail(format!("{target:?} of {:?}: {error}", x.dims())))?;
    }

    #[test]
    fn sequences_agree_with_images_of_equal_rows(
        mode in prop::sample::select(vec!["nearest", "nearest-exact", "linear", "area"]),
        (n, c, length) in (0..3usize, 1..4usize, 1..12usize), target in prop_oneof![
            (1..20usize).prop_map(|size| Upsample::config().size(size)),
            (0.2..4f64).prop_map(|factor| Upsample::config().scale_factor(factor)),
        ], seed: u64,
    ) {
        let x = Rng::new(seed).tensor(&[n, c, length], 1.);
        let op = on_tensors(|x| interpolate(x, target.mode(mode)));
        let Ok(y) = op(std::slice::from_ref(&x)) else {
            // The scale factor is so small that the output is empty.
            let one = Tensor::zeros((1, 1, length), DType::F64, &Device::Cpu).map_err(fail)?;
            prop_assert!(interpolate(one, target.mode(mode)).error().is_some());
            return Ok(());
        };
        prop_assert_eq!(&y.dims()[..2], &[n, c]);
        check_gradients(&op, std::slice::from_ref(&x)).map_err(fail)?;
        // A constant stays constant. If every row of an image equals the sequence, every row of the output equals
        // the interpolated sequence.
        let ones = op(&[x.ones_like().map_err(fail)?]).map_err(fail)?;
        check_close("a constant", &ones, &ones.ones_like().map_err(fail)?, 1e-12).map_err(fail)?;
        if mode != "linear" {
            let image = x.unsqueeze(2).and_then(|x| x.broadcast_as((n, c, length, length))).map_err(fail)?;
            let image_output = op(&[image]).map_err(fail)?;
            let row = image_output.narrow(2, 0, 1).and_then(|row| row.squeeze(2)).map_err(fail)?;
            check_close("row", &row, &y, 1e-12).map_err(fail)?;
        }
    }

    #[test]
    fn channel_shuffle_agrees_with_its_definition(
        (n, groups, size) in (1..3usize, 1..5usize, 1..5usize),
        pixels in prop::collection::vec(1..4usize, 1..4),
        seed: u64,
    ) {
        let x = Rng::new(seed).tensor(&[vec![n, groups * size], pixels].concat(), 1.);
        let check = || -> Result<()> {
            let shuffled = on_tensors(|x| channel_shuffle(x, groups));
            let y = shuffled(std::slice::from_ref(&x))?;
            for (group, index) in (0..groups).flat_map(|group| (0..size).map(move |index| (group, index))) {
                let from = x.narrow(1, group * size + index, 1)?;
                check_close("channel", &y.narrow(1, group + index * groups, 1)?, &from, 0.)?;
            }
            Ok(check_gradients(shuffled, std::slice::from_ref(&x))?)
        };
        check().map_err(fail)?;
    }

    #[test]
    fn permute_agrees_with_candle(
        (dims, order) in prop::collection::vec(1..4usize, 1..6)
            .prop_flat_map(|dims| (Just(dims.clone()), Just((0..dims.len()).collect::<Vec<_>>()).prop_shuffle())),
        from_end: bool, seed: u64,
    ) {
        let x = Rng::new(seed).tensor(&dims, 1.);
        let offset = if from_end { dims.len() as isize } else { 0 };
        let layer = Permute::config(order.iter().map(|dim| *dim as isize - offset));
        let permute = on_tensors(|x| layer.call(x, Mode::Eval));
        let check = || -> Result<()> {
            check_close("output", &permute(std::slice::from_ref(&x))?, &x.permute(order)?, 0.)?;
            Ok(check_gradients(permute, std::slice::from_ref(&x))?)
        };
        check().map_err(fail)?;
    }

    #[test]
    fn pixel_shuffle_and_unshuffle_are_inverse(
        leading in prop::collection::vec(0..3usize, 0..3),
        (c, h, w, r) in (1..4usize, 1..4usize, 1..4usize, 1..4usize),
        seed: u64,
    ) {
        let x = Rng::new(seed).tensor(&[leading.clone(), vec![c * r * r, h, w]].concat(), 1.);
        let check = || -> Result<()> {
            let (up, down) = (on_tensors(|x| pixel_shuffle(x, r)), on_tensors(|x| pixel_unshuffle(x, r)));
            let y = up(std::slice::from_ref(&x))?;
            assert_eq!(y.dims(), [leading.clone(), vec![c, h * r, w * r]].concat());
            check_close("round trip", &down(std::slice::from_ref(&y))?, &x, 0.)?;
            check_gradients(down, &[y])?;
            Ok(check_gradients(up, std::slice::from_ref(&x))?)
        };
        check().map_err(fail)?;
    }

    #[test]
    fn every_dtype_agrees_with_f64(
        n in 0..3usize, c in 1..4usize, (h, w) in (1..9usize, 1..9usize),
        (rows, columns) in (1..15usize, 1..15usize), seed: u64,
    ) {
        let targets = [
            Upsample::config().scale_factor(2).mode("nearest"),
            Upsample::config().scale_factor(2.).mode("nearest-exact"),
            Upsample::config().size((rows, columns)).mode("bilinear"),
            Upsample::config().size((rows, columns)).mode("bicubic").align_corners(true),
            Upsample::config().size((rows, columns)).mode("area"),
        ];
        for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
            for target in targets {
                let check = || -> Result<()> {
                    let x = Rng::new(seed).tensor(&[n, c, h, w], 4.).to_dtype(dtype)?;
                    let op = on_tensors(|x| interpolate(x, target));
                    Ok(check_against_f64(op, &[x], seed ^ 1, [tolerance; 2])?)
                };
                check().map_err(|error| fail(format!("{dtype:?} {target}: {error}")))?;
            }
        }
    }
}

#[test]
fn a_large_tensor_gives_the_results_of_its_parts() -> Result<()> {
    let x = Rng::new(1).tensor(&[5, 7, 40, 50], 1.);
    let op = |x: &Tensor| interpolate(x, Upsample::config().scale_factor(1.7).mode("bilinear")).into_tensor();
    let (whole, last) = (op(&x)?, op(&x.narrow(0, 4, 1)?)?);
    check_close("the last image", &whole.narrow(0, 4, 1)?, &last, 0.)?;
    let output_grad = Rng::new(2).tensor(whole.dims(), 1.);
    let op = |x: &[Tensor]| -> candle::Result<Tensor> { Ok(op(&x[0])?) };
    let (_, whole) = gradients(op, std::slice::from_ref(&x), &output_grad)?;
    let (_, last) = gradients(op, &[x.narrow(0, 4, 1)?.contiguous()?], &output_grad.narrow(0, 4, 1)?)?;
    Ok(check_close("the last image's gradient", &whole[0].narrow(0, 4, 1)?, &last[0], 0.)?)
}

#[test]
fn nan_affects_only_the_outputs_that_read_it() -> Result<()> {
    let x = Tensor::new(&[[[1., f64::NAN, 3., 4.]]], &Device::Cpu)?;
    let y = values(&interpolate(&x, Upsample::config().scale_factor(2)).into_tensor()?)?;
    assert_eq!(
        y.iter().map(|y| y.is_nan()).collect::<Vec<_>>(),
        [0, 0, 1, 1, 0, 0, 0, 0].map(|nan| nan == 1)
    );
    let y = values(&interpolate(&x, Upsample::config().scale_factor(2).mode("linear")).into_tensor()?)?;
    assert_eq!(
        y.iter().map(|y| y.is_nan()).collect::<Vec<_>>(),
        [1, 1, 1, 1, 1, 0, 0, 0].map(|nan| nan == 1)
    );
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let x = |dims: &[usize]| Signal::from(Tensor::zeros(dims, DType::F32, &Device::Cpu));
    let image = || x(&[1, 2, 4, 5]);
    let target = Upsample::config;
    for (signal, part) in [
        (
            interpolate(image(), target().scale_factor(0.)),
            "expected a scale_factor greater than 0, found [0.0, 0.0]",
        ),
        (interpolate(image(), target().scale_factor(-1.5)), "expected a scale_factor greater than 0"),
        (interpolate(image(), target().scale_factor(f64::NAN)), "expected a scale_factor greater than 0"),
        (
            interpolate(image(), target().scale_factor(f64::INFINITY)),
            "expected a scale_factor greater than 0",
        ),
        (interpolate(image(), target().scale_factor(1e30)), "is too large"),
        (
            interpolate(image(), target().scale_factor(0.1)),
            "an output of 1 or more on each axis, found [0, 0]",
        ),
        (interpolate(image(), (0, 3)), "expected a size of at least 1 on each axis, found [0, 3]"),
        (interpolate(image(), usize::MAX), "is too large"),
        (interpolate(image(), target()), "either size or scale_factor, found neither"),
        (interpolate(image(), target().size(3).scale_factor(2)), "either size or scale_factor, found both"),
        (interpolate(image(), target().size(3).recompute_scale_factor(true)), "requires a scale_factor"),
        (interpolate(image(), target().size(3).mode("cubic")), "expected mode \"nearest\""),
        (
            interpolate(image(), target().size(3).align_corners(true)),
            "align_corners requires mode \"linear\", \"bilinear\" or \"bicubic\", found \"nearest\"",
        ),
        (
            interpolate(image(), target().size(3).mode("linear")),
            "[batch, channels, length] for mode = \"linear\", found [1, 2, 4, 5]",
        ),
        (
            interpolate(x(&[1, 2, 4]), target().size(3).mode("bilinear")),
            "[batch, channels, height, width] for mode",
        ),
        (interpolate(x(&[1, 2, 4]), (3, 4)), "expected one size or scale_factor for a sequence"),
        (interpolate(x(&[2, 4]), 3), "[batch, channels, length] or [batch, channels, height, width]"),
        (interpolate(x(&[1, 0, 4, 4]), 3), "only the batch may be 0"),
        (unfold(x(&[4, 4]), 2), "unfold: expected an input [batch, channels, height, width]"),
        (
            unfold(x(&[1, 4, 4]), 5),
            "expected a padded image of at least one window, found the size [4, 4], the padding [0, 0], the kernel [5, 5]",
        ),
        (unfold(x(&[1, 4, 4]), 0), "expected a kernel of 1 or more on each axis, found [0, 0]"),
        (unfold(x(&[1, 4, 4]), Unfold::config(1).stride((1, 0))), "expected a stride of 1 or more"),
        (unfold(x(&[1, 4, 4]), Unfold::config(1).dilation(0)), "expected a dilation of 1 or more"),
        (unfold(x(&[1, 4, 0]), Unfold::config(1).padding(1)), "expected an image with at least one pixel"),
        (unfold(x(&[1, 4, 4]), Unfold::config(1).padding(usize::MAX)), "expected a padded image"),
        (unfold(x(&[1, 4, 4]), Unfold::config(1).padding(1 << 31)), "are too large"),
        (unfold(x(&[1, 4, 4]), Unfold::config(1).padding((1 << 31) - 2)), "are too large"),
        (unfold(x(&[0, 1, 4, 4]), Unfold::config(9).padding(1 << 33)), "are too large"),
        (
            unfold(x(&[1, 4, 4]), Unfold::config(9).padding(1 << 24)),
            "not enough memory for an output of [1, 81, ",
        ),
        (fold(x(&[1, 1]), Fold::config(1 << 34, 1)), "are too large"),
        (fold(x(&[4]), Fold::config(3, 2)), "fold: expected an input [batch, rows, windows]"),
        (
            fold(x(&[6, 4]), Fold::config(3, 2)),
            "expected a multiple of 4 rows and 4 columns, one for each window of an image [3, 3], found 6 and 4",
        ),
        (fold(x(&[8, 5]), Fold::config(3, 2)), "one for each window of an image [3, 3], found 8 and 5"),
        (pixel_shuffle(x(&[1, 6, 2, 2]), 2), "channels divisible by upscale_factor² = 2², found 6"),
        (pixel_shuffle(x(&[1, 6, 2, 2]), 0), "upscale_factor² = 0²"),
        (pixel_shuffle(x(&[1, 6, 2, 2]), usize::MAX), "channels divisible"),
        (channel_shuffle(x(&[1, 6, 2]), 4), "channels divisible by groups = 4, found 6 (input [1, 6, 2])"),
        (channel_shuffle(x(&[1, 6, 2]), 0), "channels divisible by groups = 0"),
        (channel_shuffle(x(&[1, 6]), 2), "[batch, channels, …] with at least three dimensions, found [1, 6]"),
        (Permute::config([0, 2]).call(x(&[4, 2]), Mode::Eval), "dimension 2 is out of range"),
        (Permute::config([0, 0]).call(x(&[4, 2]), Mode::Eval), "permute"),
        (pixel_shuffle(x(&[4, 2]), 2), "expected an input [channels, height, width], found [4, 2]"),
        (pixel_unshuffle(x(&[1, 3, 4, 5]), 2), "divisible by downscale_factor = 2, found 4 and 5"),
        (pixel_unshuffle(x(&[1, 3, 4, 5]), 0), "downscale_factor = 0"),
        (
            unflatten(x(&[2, 12]), 1, [5, -1]),
            "sizes whose product is 12 (dimension 1 of [2, 12]), found [5, -1]",
        ),
        (unflatten(x(&[2, 12]), 1, [-1, -1]), "sizes whose product is 12"),
        (unflatten(x(&[2, 12]), 1, [0, -1]), "sizes whose product is 12"),
        (unflatten(x(&[2, 12]), 1, [-3, -4]), "sizes whose product is 12"),
        (unflatten(x(&[2, 12]), 1, [isize::MAX, isize::MAX, 7]), "sizes whose product is 12"),
        (unflatten(x(&[2, 1]), 1, []), "sizes whose product is 1"),
        (unflatten(x(&[2, 12]), 2, [12]), "dimension 2 is out of range for a tensor with 2 dimensions"),
    ] {
        let message = signal.error().map(ToString::to_string).unwrap_or_default();
        assert!(message.contains(part), "{message:?} should contain {part:?}");
    }
    let far = unfold(x(&[1, 4, 4]), Unfold::config(2).padding(2).stride(usize::MAX));
    assert_eq!(far.dims()?, [4, 1]);
    for error in [
        target().scale_factor(-1.).init(&Device::Cpu).err(),
        target().init(&Device::Cpu).err(),
        PixelShuffle::config(0).init(&Device::Cpu).err(),
        PixelUnshuffle::config(0).init(&Device::Cpu).err(),
        ChannelShuffle::config(0).init(&Device::Cpu).err(),
    ] {
        assert!(error.is_some(), "expected an error from `init`");
    }
    Ok(())
}

#[derive(Module)]
struct Decoder {
    #[layer(1, [3, -1])]
    split: Unflatten,
    #[layer(scale_factor = 2, mode = "bilinear", align_corners = true)]
    up: Upsample,
    #[layer(size = (6, 9))]
    to: Upsample,
    #[layer(3)]
    fold: PixelUnshuffle,
    #[layer(3)]
    spread: PixelShuffle,
    #[layer(2)]
    mix: ChannelShuffle,
    #[layer([0, 2, 3, 1])]
    to_nhwc: Permute,
}

#[test]
fn layers_work_as_fields_and_print_as_in_pytorch() -> Result<()> {
    let decoder = Decoder::new(&Device::Cpu)?;
    let x = Tensor::zeros((2, 12, 4, 5), DType::F32, &Device::Cpu)?;
    // `split` returns five dimensions, but `up` expects an image.
    assert!(decoder.forward(&x).is_err());
    let unflattened = unflatten(x.flatten_from(1)?, -1, [12, 4, -1]).into_tensor()?;
    assert_eq!(unflattened.dims(), [2, 12, 4, 5]);
    let y = decoder.up.call((&x).into(), Mode::Eval);
    let y = decoder.spread.call(decoder.fold.call(decoder.to.call(y, Mode::Eval), Mode::Eval), Mode::Eval);
    assert_eq!(y.dims()?, [2, 12, 6, 9]);
    let y = decoder.to_nhwc.call(decoder.mix.call(y, Mode::Eval), Mode::Eval);
    assert_eq!(y.dims()?, [2, 6, 9, 12]);
    let expected = "Decoder(
  (split): Unflatten(dim=1, unflattened_size=(3, -1))
  (up): Upsample(scale_factor=2.0, mode='bilinear')
  (to): Upsample(size=(6, 9), mode='nearest')
  (fold): PixelUnshuffle(downscale_factor=3)
  (spread): PixelShuffle(upscale_factor=3)
  (mix): ChannelShuffle(groups=2)
  (to_nhwc): Permute()
)";
    assert_eq!(decoder.to_string(), expected);
    Ok(())
}
