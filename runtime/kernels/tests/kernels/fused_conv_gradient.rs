//! Compares the gradients of the fused convolution in candle's graph with the gradients of candle's own operations.

use candle_core::{DType, Device, Result, Tensor, Var};
use sconce_kernels::activation;
use sconce_kernels::conv::{ConvGeometry, Epilogue, conv2d};

use crate::common::check_close;
use crate::common::lists::ACTIVATIONS;

/// The shapes of the input, the weight and the output.
struct Shapes([[usize; 4]; 3]);

impl Shapes {
    /// Returns variables for the input, the weight, the scale, the shift and the residual.
    fn variables(&self) -> Result<[Var; 5]> {
        let [input, weight, output] = &self.0;
        let variable = |dims: &[usize]| Var::from_tensor(&Tensor::randn(0f64, 1., dims, &Device::Cpu)?);
        let channels = [weight[0]];
        Ok([
            variable(input)?,
            variable(weight)?,
            variable(&channels)?,
            variable(&channels)?,
            variable(output)?,
        ])
    }
}

/// Compares outputs and gradients in `dtype` with those of candle's operations in f64, for every activation and every
/// combination of scale, shift and residual.
fn check(shapes: &Shapes, geometry: &ConvGeometry, dtype: DType, tolerance: f64) -> Result<()> {
    let variables = shapes.variables()?;
    let [input, weight, scale, shift, residual] = &variables;
    for activation in ACTIVATIONS {
        for parts in 0..8 {
            let select = |bit: usize, var: &Var| (parts & bit != 0).then(|| var.as_tensor().clone());
            let [scale, shift, residual] = [select(1, scale), select(2, shift), select(4, residual)];
            let converted = |x: &Option<Tensor>| x.as_ref().map(|x| x.to_dtype(dtype)).transpose();
            let epilogue = Epilogue {
                scale: converted(&scale)?,
                shift: converted(&shift)?,
                residual: converted(&residual)?,
                activation,
            };
            let fused = conv2d(&input.to_dtype(dtype)?, &weight.to_dtype(dtype)?, geometry, &epilogue, None)?;
            let mut plain = input.conv2d(weight, geometry.padding[0][0], 1, 1, geometry.groups)?;
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
            let label = format!("{activation:?}, epilogue {parts:03b}");
            let fused = fused.to_dtype(DType::F64)?;
            check_close(&label, &fused, &plain, tolerance)?;
            let output_grad = Tensor::randn(0f64, 1., plain.dims(), &Device::Cpu)?;
            let grads = (fused * &output_grad)?.backward()?;
            let expected_grads = (plain * &output_grad)?.backward()?;
            for var in &variables {
                match (grads.get(var), expected_grads.get(var)) {
                    (Some(actual), Some(expected)) => check_close(&label, actual, expected, tolerance)?,
                    (None, None) => {}
                    (actual, expected) => panic!(
                        "{label}: gradient expected: {}, gradient found: {}",
                        expected.is_some(),
                        actual.is_some()
                    ),
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_agree_with_candle_for_every_epilogue() -> Result<()> {
    let geometry = ConvGeometry { padding: [[1; 2]; 2], groups: 2, ..Default::default() };
    check(&Shapes([[2, 4, 6, 5], [6, 2, 3, 3], [2, 6, 6, 5]]), &geometry, DType::F64, 1e-9)
}

#[test]
fn convolutions_whose_kernel_covers_the_input_agree_with_candle() -> Result<()> {
    for [batch, in_channels, out_channels, height, width] in
        [[1, 1, 1, 1, 1], [3, 40, 7, 1, 1], [1, 33, 70, 1, 1], [2, 5, 19, 4, 3], [5, 3, 2, 1, 6]]
    {
        let shapes = [
            [batch, in_channels, height, width],
            [out_channels, in_channels, height, width],
            [batch, out_channels, 1, 1],
        ];
        check(&Shapes(shapes), &ConvGeometry::default(), DType::F32, 1e-4)?;
    }
    Ok(())
}
