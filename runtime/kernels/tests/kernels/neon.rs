//! Compares the NEON kernels with the portable kernels. The NEON intrinsics are emulated on machines without NEON.

use candle_core::{Device, Result, Tensor};
use sconce_kernels::conv::backward::Needs;
use sconce_kernels::testing::{Isa, backward_with, conv2d_with, gradients_with, max_pool2d_with};
use sconce_kernels::{Activation, ConvGeometry, Epilogue, PoolGeometry};

/// The shapes of input and weight, then `[stride, padding, dilation, groups]`. Stride, padding and dilation apply to
/// both axes.
type Case = ([usize; 4], [usize; 4], [usize; 4]);

/// At least one case for each forward kernel (3×3 on many channels selects Winograd), most with sizes that are not
/// multiples of the vector or tile size.
const CASES: [Case; 9] = [
    ([2, 3, 17, 19], [21, 3, 5, 5], [1, 0, 1, 1]),
    ([1, 3, 23, 25], [8, 3, 7, 7], [2, 3, 1, 1]),
    ([2, 40, 9, 11], [37, 40, 1, 1], [1, 0, 1, 1]),
    ([1, 20, 12, 14], [19, 20, 3, 3], [2, 1, 1, 1]),
    ([1, 64, 21, 26], [70, 64, 3, 3], [1, 1, 1, 1]),
    ([1, 32, 22, 22], [32, 32, 3, 3], [1, 2, 2, 1]),
    ([2, 11, 15, 18], [22, 1, 3, 3], [1, 1, 1, 11]),
    ([1, 11, 15, 18], [11, 1, 3, 3], [2, 1, 1, 11]),
    ([2, 12, 7, 9], [18, 4, 3, 2], [1, 1, 1, 3]),
];

fn geometry([stride, padding, dilation, groups]: [usize; 4]) -> ConvGeometry {
    ConvGeometry { stride: [stride; 2], padding: [[padding; 2]; 2], dilation: [dilation; 2], groups }
}

fn random(dims: &[usize]) -> Result<Tensor> {
    Tensor::randn(0f32, 1., dims, &Device::Cpu)
}

/// Returns the norm of the difference, relative to the norm of `expected`.
fn distance(actual: &Tensor, expected: &Tensor) -> Result<f32> {
    let norm = |x: Tensor| x.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
    Ok(norm((actual - expected)?)? / norm(expected.clone())?)
}

/// Checks that `Isa::Neon` does not fall back to the portable kernels, whose vectors have eight lanes. Otherwise the
/// other tests would compare the portable kernels with themselves.
#[test]
fn neon_vectors_have_four_lanes() {
    assert_eq!(Isa::Neon.lanes(), 4);
}

#[test]
fn forward_matches_the_portable_kernels() -> Result<()> {
    for (input, weight, settings) in CASES {
        let x = random(&input)?;
        let w = random(&weight)?;
        let channels = [weight[0]];
        let epilogue = Epilogue::new()
            .with_affine(&random(&channels)?, &random(&channels)?)
            .with_activation(Activation::Relu);
        let on = |isa| conv2d_with(isa, &x, &w, &geometry(settings), &epilogue);
        let difference = distance(&on(Isa::Neon)?, &on(Isa::Portable)?)?;
        assert!(difference < 2e-5, "input {input:?}, weight {weight:?}, {settings:?}: {difference}");
    }
    Ok(())
}

#[test]
fn backward_matches_the_portable_kernels() -> Result<()> {
    let needs = Needs { input: true, weight: true, bias: true, residual: true };
    for (input, weight, settings) in CASES {
        let x = random(&input)?;
        let w = random(&weight)?;
        let geometry = geometry(settings);
        let y = conv2d_with(Isa::Portable, &x, &w, &geometry, &Epilogue::default())?.relu()?;
        let g = random(y.dims())?;
        let on = |isa| backward_with(isa, [&x, &w, &y, &g], &geometry, Activation::Relu, needs);
        let actual = on(Isa::Neon)?;
        let expected = on(Isa::Portable)?;
        let pairs = [
            (actual.input, expected.input),
            (actual.weight, expected.weight),
            (actual.bias, expected.bias),
            (actual.residual, expected.residual),
        ];
        for (actual, expected) in pairs {
            let difference = distance(
                &actual.expect("every gradient is requested"),
                &expected.expect("every gradient is requested"),
            )?;
            assert!(difference < 2e-5, "input {input:?}, weight {weight:?}, {settings:?}: {difference}");
        }
    }
    Ok(())
}

#[test]
fn pooling_matches_the_portable_kernels() -> Result<()> {
    for [h, w] in [[2, 2], [7, 13], [24, 24]] {
        // Small integers, so that many elements are equal.
        let x = (random(&[3, h, w])? * 2.)?.round()?;
        let grad = random(&[3, h / 2, w / 2])?;
        let on = |isa| max_pool2d_with(isa, &x, &grad, &PoolGeometry::new([2, 2]));
        for (actual, expected) in on(Isa::Neon)?.iter().zip(&on(Isa::Portable)?) {
            assert_eq!(distance(actual, expected)?, 0., "{h}×{w}");
        }
    }
    Ok(())
}

#[test]
fn linear_gradients_match_the_portable_kernels() -> Result<()> {
    let x = random(&[13, 70])?;
    let weight = random(&[33, 70])?;
    let grad = random(&[13, 33])?;
    let on = |isa| gradients_with(isa, &x, &weight, &grad);
    for (actual, expected) in on(Isa::Neon)?.iter().zip(&on(Isa::Portable)?) {
        assert!(distance(actual, expected)? < 2e-5);
    }
    Ok(())
}
