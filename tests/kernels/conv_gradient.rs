//! Compares the gradients of the fused convolution in candle's graph with those of candle's own operations.

use sconce::candle::{Device, Result, Tensor, Var};
use sconce::kernels::activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, conv2d};

use crate::common::lists::ACTIVATIONS;
use crate::common::magnitude::largest_magnitude;

fn variable(dims: &[usize]) -> Result<Var> {
    Var::from_tensor(&Tensor::randn(0f64, 1., dims, &Device::Cpu)?)
}

#[test]
fn gradients_agree_with_candle_for_every_epilogue() -> Result<()> {
    let geometry = ConvGeometry { padding: [[1; 2]; 2], groups: 2, ..Default::default() };
    let [input, weight, scale_var, shift_var, residual_var] =
        [&[2, 4, 6, 5][..], &[6, 2, 3, 3], &[6], &[6], &[2, 6, 6, 5]].map(|dims| variable(dims).unwrap());
    for activation in ACTIVATIONS {
        for parts in 0..8 {
            let select = |bit: usize, var: &Var| (parts & bit != 0).then(|| var.as_tensor().clone());
            let scale = select(1, &scale_var);
            let shift = select(2, &shift_var);
            let residual = select(4, &residual_var);
            let epilogue = Epilogue {
                scale: scale.clone(),
                shift: shift.clone(),
                residual: residual.clone(),
                activation,
            };
            let fused = conv2d(&input, &weight, &geometry, &epilogue, None)?;
            let mut plain = input.conv2d(&weight, 1, 1, 1, 2)?;
            if let Some(scale) = scale {
                plain = plain.broadcast_mul(&scale.reshape((1, (), 1, 1))?)?;
            }
            if let Some(shift) = shift {
                plain = plain.broadcast_add(&shift.reshape((1, (), 1, 1))?)?;
            }
            if let Some(residual) = residual {
                plain = (plain + residual)?;
            }
            let plain = activation::apply(activation, &plain)?;
            let upstream = Tensor::randn(0f64, 1., plain.dims(), &Device::Cpu)?;
            let grads = (fused * &upstream)?.backward()?;
            let expected_grads = (plain * &upstream)?.backward()?;
            for var in [&input, &weight, &scale_var, &shift_var, &residual_var] {
                match (grads.get(var), expected_grads.get(var)) {
                    (Some(actual), Some(expected)) => {
                        let difference = largest_magnitude(&(actual - expected)?)?;
                        assert!(difference < 1e-9, "{activation:?}, epilogue {parts:03b}: {difference}");
                    }
                    (None, None) => {}
                    (actual, expected) => panic!(
                        "{activation:?}, epilogue {parts:03b}: gradient expected: {}, gradient found: {}",
                        expected.is_some(),
                        actual.is_some()
                    ),
                }
            }
        }
    }
    Ok(())
}
