//! Compares pooling with loops over every window, and its gradients with finite differences. Also tests NaN, ties and
//! invalid arguments.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use sconce_kernels::pool::{PoolGeometry, adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use sconce_kernels::testing::{available, max_pool2d_with};

use crate::common::{Rng, check_close, check_gradients, config, fail, gradients, restride, values};

/// One axis of pooling windows: kernel, stride, padding, dilation, input size.
type Axis = (usize, usize, usize, usize, usize);

fn axis() -> impl Strategy<Value = Axis> {
    (1..5usize, 1..5usize, 1..3usize, 1..12usize).prop_flat_map(|(kernel, stride, dilation, input)| {
        (Just(kernel), Just(stride), 0..=kernel / 2, Just(dilation), Just(input))
    })
}

fn geometry(rows: Axis, columns: Axis, ceil_mode: bool) -> PoolGeometry {
    PoolGeometry {
        kernel: [rows.0, columns.0],
        stride: [rows.1, columns.1],
        padding: [rows.2, columns.2],
        dilation: [rows.3, columns.3],
        ceil_mode,
    }
}

/// Pools with plain loops. `reduce` gets the elements of a window, and the number of the window's positions that lie in
/// the padded input.
fn naive(
    x: &Tensor,
    geometry: &PoolGeometry,
    output: [usize; 2],
    reduce: impl Fn(&[f64], f64) -> f64,
) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let x = values(x)?;
    let mut y = Vec::new();
    for plane in 0..n * c {
        for pixel in 0..output[0] * output[1] {
            let pixel = [pixel / output[1], pixel % output[1]];
            let mut elements = Vec::new();
            let mut padded_count = 0.0;
            for i in 0..geometry.kernel[0] * geometry.kernel[1] {
                let tap = [i / geometry.kernel[1], i % geometry.kernel[1]];
                let position =
                    [0, 1].map(|a| (pixel[a] * geometry.stride[a] + tap[a] * geometry.dilation[a]) as isize);
                let position = [0, 1].map(|a| position[a] - geometry.padding[a] as isize);
                let limit = [h + geometry.padding[0], w + geometry.padding[1]].map(|size| size as isize);
                if position[0] < limit[0] && position[1] < limit[1] {
                    padded_count += 1.0;
                }
                if (0..h as isize).contains(&position[0]) && (0..w as isize).contains(&position[1]) {
                    elements.push(x[(plane * h + position[0] as usize) * w + position[1] as usize]);
                }
            }
            y.push(reduce(&elements, padded_count));
        }
    }
    Tensor::from_vec(y, (n, c, output[0], output[1]), &Device::Cpu)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn max_pool_is_the_maximum_of_each_window(
        rows in axis(), columns in axis(), ceil: bool, n in 0..3usize, c in 1..3usize, seed: u64,
    ) {
        let geometry = geometry(rows, columns, ceil);
        let x = Rng::new(seed).distinct(&[n, c, rows.4, columns.4], 0.3);
        if let Ok(output) = geometry.output_size([rows.4, columns.4]) {
            let check = || {
                let maximum = |elements: &[f64], _| elements.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let y = max_pool2d(&restride(&x)?, &geometry)?;
                check_close("output", &y, &naive(&x, &geometry, output, maximum)?, 0.0)
            };
            check().map_err(fail)?;
            // A window that lies entirely in the padding gives -∞, which finite differences cannot handle.
            let finite = max_pool2d(&x, &geometry).and_then(|y| values(&y)).map_err(fail)?;
            if finite.iter().all(|y| y.is_finite()) {
                check_gradients(|x| max_pool2d(&restride(&x[0])?, &geometry), &[x]).map_err(fail)?;
            }
        } else {
            prop_assert!(max_pool2d(&x, &geometry).is_err());
        }
    }

    #[test]
    fn avg_pool_is_the_mean_of_each_window(
        rows in axis(), columns in axis(), ceil: bool, count_include_pad: bool, divisor in prop::option::of(1..9usize),
        n in 0..3usize, c in 1..3usize, seed: u64,
    ) {
        let geometry = PoolGeometry { dilation: [1; 2], ..geometry(rows, columns, ceil) };
        let x = Rng::new(seed).tensor(&[n, c, rows.4, columns.4], 1.0);
        if let Ok(output) = geometry.output_size([rows.4, columns.4]) {
            let check = || {
                let mean = |elements: &[f64], padded_count: f64| {
                    let count = if count_include_pad { padded_count } else { elements.len() as f64 };
                    elements.iter().sum::<f64>() / divisor.map_or(count, |divisor| divisor as f64)
                };
                let y = avg_pool2d(&restride(&x)?, &geometry, count_include_pad, divisor)?;
                check_close("output", &y, &naive(&x, &geometry, output, mean)?, 1e-12)?;
                check_gradients(|x| avg_pool2d(&x[0], &geometry, count_include_pad, divisor), std::slice::from_ref(&x))
            };
            check().map_err(fail)?;
        }
    }

    #[test]
    fn adaptive_pooling_has_the_given_size_and_correct_gradients(
        h in 1..9usize, w in 1..9usize, size in (1..9usize, prop::option::of(1..9usize)), seed: u64,
    ) {
        let x = Rng::new(seed).tensor(&[2, h, w], 1.0);
        let size = [Some(size.0), size.1];
        let y = adaptive_avg_pool2d(&x, size).map_err(fail)?;
        prop_assert_eq!(y.dims(), &[2, size[0].unwrap_or(h), size[1].unwrap_or(w)]);
        check_gradients(|x| adaptive_avg_pool2d(&restride(&x[0])?, size), &[x]).map_err(fail)?;
    }
}

proptest! {
    // The cases are large, with up to 152 planes, and differ only in the batch size and in the values.
    #![proptest_config(config(20))]

    #[test]
    fn every_dtype_agrees_with_f64_for_any_batch_size(seed: u64, n in 0..20usize) {
        // Up to 19 · 8 planes of 24 × 30, enough for several tasks.
        let x = Rng::new(seed).tensor(&[n, 8, 24, 30], 4.0);
        let geometry = PoolGeometry { stride: [2; 2], padding: [1; 2], ..PoolGeometry::new([3; 2]) };
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
            let check = |op: &dyn Fn(&Tensor) -> Result<Tensor>, tolerance| {
                let x = x.to_dtype(dtype)?;
                let output_grad = Rng::new(seed ^ 1).tensor(&[n, 8, 12, 15], 1.0).to_dtype(dtype)?;
                let (y, dx) = gradients(|x| op(&x[0]), std::slice::from_ref(&x), &output_grad)?;
                let in_f64 = [x.to_dtype(DType::F64)?];
                let (f64_y, f64_dx) = gradients(|x| op(&x[0]), &in_f64, &output_grad.to_dtype(DType::F64)?)?;
                check_close("output", &y, &f64_y, tolerance)?;
                check_close("gradient", &dx[0], &f64_dx[0], tolerance)
            };
            check(&|x| max_pool2d(x, &geometry), tolerance).map_err(fail)?;
            check(&|x| avg_pool2d(x, &geometry, true, None), tolerance).map_err(fail)?;
            check(&|x| adaptive_avg_pool2d(x, [Some(12), Some(15)]), tolerance).map_err(fail)?;
        }
    }
}

#[test]
fn nan_propagates_and_the_first_of_equal_maxima_gets_the_gradient() -> Result<()> {
    let device = &Device::Cpu;
    let x = Tensor::new(&[[[1f32, 3.0, f32::NAN, 0.0], [3.0, 2.0, 9.0, f32::NEG_INFINITY]]], device)?;
    let output_grad = Tensor::new(&[[[10f32, 20.0]]], device)?;
    let geometry = PoolGeometry::new([2, 2]);
    let (y, dx) = gradients(|x| max_pool2d(&x[0], &geometry), &[x], &output_grad)?;
    let y = values(&y)?;
    assert!(y[0] == 3.0 && y[1].is_nan());
    assert_eq!(values(&dx[0])?, [0.0, 10.0, 20.0, 0.0, 0.0, 0.0, 0.0, 0.0]);

    let negative_infinity = Tensor::full(f64::NEG_INFINITY, (1, 2, 2), device)?;
    let (y, dx) = gradients(
        |x| max_pool2d(&x[0], &geometry),
        &[negative_infinity],
        &Tensor::ones((1, 1, 1), DType::F64, device)?,
    )?;
    assert_eq!(values(&y)?, [f64::NEG_INFINITY]);
    assert_eq!(values(&dx[0])?, [1.0, 0.0, 0.0, 0.0]);
    Ok(())
}

/// Equal maxima are common after a ReLU. The first one in each window gets the gradient.
#[test]
fn the_first_of_many_equal_maxima_gets_the_gradient() -> Result<()> {
    let mut numbers = Rng::new(7);
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 2, 0)] {
        let geometry =
            PoolGeometry { stride: [stride; 2], padding: [padding; 2], ..PoolGeometry::new([kernel; 2]) };
        for [h, w] in [[5, 4], [9, 23], [16, 16]] {
            let x = numbers.tensor(&[2, h, w], 2.0).round()?.relu()?;
            let output = geometry.output_size([h, w])?;
            let output_grad = numbers.tensor(&[2, output[0], output[1]], 1.0);
            let (_, dx) =
                gradients(|x| max_pool2d(&x[0], &geometry), std::slice::from_ref(&x), &output_grad)?;
            let (elements, grad) = (values(&x)?, values(&output_grad)?);
            let mut expected = vec![0.0; elements.len()];
            for (i, grad) in grad.iter().enumerate() {
                let (plane, row, column) =
                    (i / output[1] / output[0], i / output[1] % output[0], i % output[1]);
                let taps = (0..kernel).flat_map(|y| (0..kernel).map(move |x| (y, x)));
                let inside = taps.filter_map(|(y, x)| {
                    let (y, x) = (
                        (row * stride + y).checked_sub(padding)?,
                        (column * stride + x).checked_sub(padding)?,
                    );
                    (y < h && x < w).then_some((plane * h + y) * w + x)
                });
                let first = inside.reduce(|best, i| if elements[i] > elements[best] { i } else { best });
                expected[first.expect("every window should overlap the input")] += grad;
            }
            let expected = Tensor::from_vec(expected, x.shape(), x.device())?;
            check_close("gradient", &dx[0], &expected, 1e-12)?;
        }
    }
    Ok(())
}

/// Compares the f32 kernels with the f64 kernels, on inputs with ties, with NaN, and with only -∞.
#[test]
fn max_pools_agree_with_f64_on_every_instruction_set() -> Result<()> {
    let two_by_two = |planes, h, w| (PoolGeometry::new([2, 2]), [planes, h, w]);
    let mut settings = [[3, 2, 2], [2, 5, 9], [40, 24, 24], [5, 8, 8], [2, 7, 67], [1, 4, 34]]
        .map(|[n, h, w]| two_by_two(n, h, w))
        .to_vec();
    for (kernel, stride, padding) in
        [(1, 1, 0), (3, 1, 1), (3, 2, 1), (5, 2, 2), (6, 1, 0), (3, 3, 0), (9, 2, 4)]
    {
        let geometry = PoolGeometry::new([kernel, kernel]).with_stride(stride).with_padding(padding);
        settings.extend([[2, 9, 9], [3, 16, 33], [1, 11, 70]].map(|shape| (geometry, shape)));
    }
    let mut numbers = Rng::new(9);
    for (geometry, [planes, h, w]) in settings {
        let x = numbers.tensor(&[planes, h, w], 2.0).round()?.relu()?;
        let nan = numbers.tensor(&[planes, h, w], 1.0).gt(0.9)?;
        for x in [x.clone(), nan.where_cond(&(&x * f64::NAN)?, &x)?, (&x - f64::INFINITY)?] {
            let [rows, columns] = geometry.output_size([h, w])?;
            // Sums of integers are exact.
            let output_grad = numbers.tensor(&[planes, rows, columns], 9.0).round()?.to_dtype(DType::F32)?;
            let pool = |x: &[Tensor]| max_pool2d(&x[0], &geometry);
            let (y, dx) = gradients(pool, std::slice::from_ref(&x), &output_grad.to_dtype(DType::F64)?)?;
            for isa in available() {
                let actual = max_pool2d_with(isa, &x.to_dtype(DType::F32)?, &output_grad, &geometry)?;
                for (actual, expected) in actual.iter().zip([&y, &dx[0]]) {
                    let mut pairs = values(actual)?.into_iter().zip(values(expected)?);
                    let same = pairs.all(|(a, b)| a == b || a.is_nan() && b.is_nan());
                    assert!(same, "{isa:?}, {planes} planes of {h}×{w}, {geometry:?}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn errors_name_the_invalid_argument() -> Result<()> {
    let x = Tensor::zeros((1, 2, 4, 5), DType::F32, &Device::Cpu)?;
    let valid = PoolGeometry::new([2, 2]);
    let message = |x: &Tensor, geometry: PoolGeometry| match max_pool2d(x, &geometry) {
        Ok(y) => format!("expected an error, found an output of shape {:?}", y.dims()),
        Err(error) => error.to_string(),
    };
    for (geometry, part) in [
        (PoolGeometry { kernel: [0, 2], ..valid }, "kernel of 1 or more on each axis, found [0, 2]"),
        (PoolGeometry { stride: [1, 0], ..valid }, "stride of 1 or more on each axis, found [1, 0]"),
        (PoolGeometry { dilation: [0, 0], ..valid }, "dilation of 1 or more"),
        (PoolGeometry { padding: [2, 0], ..valid }, "at most half the kernel [2, 2], found [2, 0]"),
        (PoolGeometry { kernel: [5, 5], ..valid }, "the output would be empty"),
        (PoolGeometry { kernel: [usize::MAX, 5], ..valid }, "the output would be empty"),
    ] {
        let message = message(&x, geometry);
        assert!(message.contains(part), "{message}");
    }
    let flat = message(&Tensor::zeros((4, 5), DType::F32, &Device::Cpu)?, valid);
    assert!(flat.contains("found [4, 5]"), "{flat}");
    assert!(message(&x.to_dtype(DType::U8)?, valid).contains("found U8"));
    assert!(adaptive_avg_pool2d(&x, [Some(0), None]).is_err());
    assert!(avg_pool2d(&x, &PoolGeometry { dilation: [2; 2], ..valid }, true, None).is_err());
    assert!(avg_pool2d(&x, &valid, true, Some(0)).is_err());
    Ok(())
}
