//! Errors of convolutions of videos, which state the shapes of the videos.

use candle_core::{DType, Device, Result, Tensor, Var};
use sconce_kernels::internal::without_backtrace;
use sconce_kernels::testing::on_composed_path;
use sconce_kernels::{ConvGeometry, Epilogue, TransposeGeometry, conv_transpose3d, conv3d};

fn ones(dims: &[usize]) -> Result<Tensor> {
    Tensor::ones(dims, DType::F32, &Device::Cpu)
}

fn message(outcome: Result<Tensor>) -> String {
    without_backtrace(&outcome.expect_err("expected an error")).to_string()
}

/// Kernels in the two forms: the windows of frames as channels, and flat frames.
const KERNELS: [[usize; 3]; 2] = [[2, 3, 3], [2, 1, 1]];

#[test]
fn errors_state_the_shapes_of_the_videos() -> Result<()> {
    let x = ones(&[2, 4, 3, 5, 6])?;
    for [depth, height, width] in KERNELS {
        let weight = |first: usize, second: usize| ones(&[first, second, depth, height, width]);
        let run = |weight: &Tensor, geometry: ConvGeometry<3>, epilogue: &Epilogue| {
            message(conv3d(&x, weight, &geometry, epilogue))
        };
        let geometry = ConvGeometry::new;
        let none = Epilogue::new();
        assert_eq!(
            run(&weight(6, 3)?, geometry(), &none),
            format!(
                "conv3d: expected 3 input channels (3 in each of 1 groups), found 4 (input [2, 4, 3, 5, 6], weight \
                 [6, 3, {depth}, {height}, {width}])"
            )
        );
        let error = run(&weight(5, 2)?, geometry().with_groups(2), &none);
        assert_eq!(error, "conv3d: expected output channels divisible by 2 groups, found 5");
        let error = run(&weight(6, 4)?, geometry().with_dilation(9), &none);
        assert!(error.starts_with("conv3d: expected an input of at least the kernel's size"), "{error}");
        for bias in [ones(&[5])?, ones(&[6, 1])?] {
            let error = run(&weight(6, 4)?, geometry(), &Epilogue::new().with_bias(&bias));
            assert_eq!(error, format!("conv3d: expected a shift of shape [6], found {:?}", bias.dims()));
        }
        let error = run(&weight(6, 4)?.to_dtype(DType::F64)?, geometry(), &none);
        assert!(error.starts_with("conv3d: expected a weight of dtype F32"), "{error}");

        let run = |weight: &Tensor, bias: Option<&Tensor>, groups: usize| {
            message(conv_transpose3d(&x, weight, bias, &TransposeGeometry::new().with_groups(groups)))
        };
        let name = "conv_transpose3d: expected";
        let error = run(&weight(3, 6)?, None, 1);
        assert!(
            error.starts_with(&format!("{name} 3 input channels, found 4 (input [2, 4, 3, 5, 6]")),
            "{error}"
        );
        assert_eq!(
            run(&weight(4, 6)?, None, 3),
            format!("{name} input channels divisible by 3 groups, found 4")
        );
        for bias in [ones(&[6])?, ones(&[12, 1])?] {
            let error = run(&weight(4, 6)?, Some(&bias), 2);
            assert_eq!(error, format!("{name} a bias of shape [12], found {:?}", bias.dims()));
        }
        let error = run(&weight(4, 6)?.to_dtype(DType::F64)?, None, 1);
        assert!(error.starts_with(&format!("{name} a weight of dtype F32")), "{error}");
    }
    for dims in [[6, 4, 0, 1, 1], [6, 4, 1, 0, 1]] {
        let error = message(conv3d(&x, &ones(&dims)?, &ConvGeometry::new(), &Epilogue::new()));
        assert!(error.starts_with("conv3d: expected a kernel that is not empty, found ["), "{error}");
        let dims = [4, 6, dims[2], dims[3], dims[4]];
        let error = message(conv_transpose3d(&x, &ones(&dims)?, None, &TransposeGeometry::new()));
        assert!(error.starts_with("conv_transpose3d: expected a kernel that is not empty"), "{error}");
    }
    Ok(())
}

/// The image forms of the residual and of the output can have the same shape although the videos have not.
#[test]
fn a_residual_with_exchanged_dimensions_is_an_error() -> Result<()> {
    let x = ones(&[2, 4, 3, 5, 6])?;
    for ([depth, height, width], residual, output) in
        [([1, 3, 3], [3, 6, 2, 3, 4], [2, 6, 3, 3, 4]), ([2, 1, 1], [2, 6, 2, 6, 5], [2, 6, 2, 5, 6])]
    {
        let weight = ones(&[6, 4, depth, height, width])?;
        let run = |residual: &[usize]| {
            conv3d(&x, &weight, &ConvGeometry::new(), &Epilogue::new().with_residual(&ones(residual)?))
        };
        assert_eq!(run(&output)?.dims(), output);
        let expected = format!("conv3d: expected a residual of shape {output:?}, found {residual:?}");
        assert_eq!(message(run(&residual)), expected);
    }
    Ok(())
}

/// In training, videos of halves are widened to f32. The dtypes of all operands must agree before that.
#[test]
fn epilogues_of_halves_are_checked_before_they_are_widened() -> Result<()> {
    let x = Var::from_tensor(&ones(&[1, 2, 4, 4, 4])?.to_dtype(DType::F16)?)?;
    let weight = ones(&[3, 2, 2, 3, 3])?.to_dtype(DType::F16)?;
    let run = |epilogue: &Epilogue| conv3d(&x, &weight, &ConvGeometry::new(), epilogue);
    let vector = ones(&[3])?;
    for dtype in [DType::F16, DType::F32] {
        assert_eq!(run(&Epilogue::new().with_bias(&vector.to_dtype(dtype)?))?.dims(), [1, 3, 3, 2, 2]);
    }
    let [half, wrong] = [vector.to_dtype(DType::F16)?, vector.to_dtype(DType::BF16)?];
    for (epilogue, name) in [
        (Epilogue::new().with_bias(&wrong), "shift"),
        (Epilogue::new().with_affine(&wrong, &half), "scale"),
        (Epilogue::new().with_residual(&ones(&[1, 3, 3, 2, 2])?), "residual"),
    ] {
        let error = message(run(&epilogue));
        assert!(error.starts_with(&format!("conv3d: expected a {name} of dtype F16")), "{error}");
    }
    Ok(())
}

/// The composed path allocates no padding.
#[test]
fn the_padding_of_the_depth_may_have_any_size() -> Result<()> {
    let x = Tensor::rand(-1f64, 1., (1, 2, 3, 4, 4), &Device::Cpu)?;
    let weight = Tensor::rand(-1f64, 1., (2, 2, 2, 3, 3), &Device::Cpu)?;
    let huge = 1 << 40;
    let geometry = ConvGeometry {
        stride: [huge, 1, 1],
        padding: [[huge, huge], [0; 2], [0; 2]],
        ..ConvGeometry::<3>::new()
    };
    let run = || conv3d(&x, &weight, &geometry, &Epilogue::new());
    let (kernel, composed) = (run()?, on_composed_path(run)?);
    assert_eq!(kernel.dims(), [1, 2, 3, 2, 2]);
    let difference = (kernel - composed)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(difference < 1e-13, "{difference}");
    Ok(())
}
