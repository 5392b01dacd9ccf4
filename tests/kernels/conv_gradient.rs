//! The fused convolution in candle's graph: `backward()` through it agrees with candle's own operations.

use crate::common::lists::ACTIVATIONS;
use sconce::candle::{DType, Device, Result, Tensor, Var};
use sconce::kernels::activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, conv2d};

fn variable(dims: &[usize]) -> Result<Var> {
    Var::from_tensor(&Tensor::randn(0f64, 1., dims, &Device::Cpu)?)
}

#[test]
fn every_form_of_the_operation_carries_gradients() -> Result<()> {
    let geometry = ConvGeometry { padding: [[1; 2]; 2], groups: 2, ..Default::default() };
    let [input, weight, scale, shift, residual] =
        [&[2, 4, 6, 5][..], &[6, 2, 3, 3], &[6], &[6], &[2, 6, 6, 5]].map(|dims| variable(dims).unwrap());
    for activation in ACTIVATIONS {
        for form in 0..8 {
            let chosen = |bit: usize, var: &Var| (form & bit != 0).then(|| var.as_tensor().clone());
            let (scale_of, shift_of, residual_of) =
                (chosen(1, &scale), chosen(2, &shift), chosen(4, &residual));
            let epilogue = Epilogue {
                scale: scale_of.clone(),
                shift: shift_of.clone(),
                residual: residual_of.clone(),
                activation,
            };
            let fused = conv2d(&input, &weight, &geometry, &epilogue, None)?;
            let mut plain = input.conv2d(&weight, 1, 1, 1, 2)?;
            if let Some(scale) = scale_of {
                plain = plain.broadcast_mul(&scale.reshape((1, (), 1, 1))?)?;
            }
            if let Some(shift) = shift_of {
                plain = plain.broadcast_add(&shift.reshape((1, (), 1, 1))?)?;
            }
            if let Some(residual) = residual_of {
                plain = (plain + residual)?;
            }
            let plain = activation::apply(activation, &plain)?;
            let upstream = Tensor::randn(0f64, 1., plain.dims(), &Device::Cpu)?;
            let ours = (fused * &upstream)?.backward()?;
            let theirs = (plain * &upstream)?.backward()?;
            for var in [&input, &weight, &scale, &shift, &residual] {
                match (ours.get(var), theirs.get(var)) {
                    (Some(got), Some(expected)) => {
                        let off =
                            (got - expected)?.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                        assert!(off < 1e-9, "{activation:?}, form {form}: {off}");
                    }
                    (None, None) => {}
                    (got, _) => panic!("{activation:?}, form {form}: a gradient is there: {}", got.is_some()),
                }
            }
        }
    }
    Ok(())
}
