//! The bilinear map.

use candle_core::{D, Tensor};

use crate::graph::Op;
use crate::kernels::arithmetic::{Binary, binary, sum};
use crate::kernels::internal::empty_output;
use crate::kernels::matmul::matmul;
use crate::signal::{Recording, Signal, add_multiply_adds, add_operands, leading_meta, product};
use crate::{Error, Result};

/// Computes `x1ᵀ · weight[o] · x2 + bias[o]` for each output feature `o`.
///
/// The shapes are `[…, in1_features]` for `x1`, `[…, in2_features]` for `x2`,
/// `[out_features, in1_features, in2_features]` for `weight` and `[out_features]` for `bias`. The output is
/// `[…, out_features]`, or a failed signal if the shapes do not match.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x1 = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let x2 = Tensor::new(&[[3f32, 4.]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[[1f32, 0.], [0., 1.]]], &Device::Cpu)?; // one output: the inner product
/// assert_eq!(bilinear(&x1, &x2, &weight, None).into_tensor()?.to_vec2::<f32>()?, [[11.]]);
/// # Ok(())
/// # }
/// ```
pub fn bilinear(
    x1: impl Into<Signal>,
    x2: impl Into<Signal>,
    weight: impl Into<Signal>,
    bias: impl Into<Option<Tensor>>,
) -> Signal {
    let bias = bias.into();
    let weight = match weight.into().into_tensor() {
        Ok(weight) => weight,
        Err(error) => return Signal::fail(error),
    };
    let products = |x1: &[usize], y: &[usize]| {
        let x2_features = weight.dims().last().copied().unwrap_or_default();
        // The products of `x1` and the weight, and those of their sums and `x2`.
        let sums = product(y.iter().chain([&x2_features]));
        sums.saturating_mul(product(x1.last()).saturating_add(1))
    };
    let on_tensors = |x1: &Tensor, x2: &Tensor| {
        let y = bilinear_map(x1, x2, &weight, bias.as_ref())?;
        add_operands([Some(&weight), bias.as_ref()]);
        add_multiply_adds(|| products(x1.dims(), y.dims()));
        Ok(y)
    };
    let (x1, x2) = (x1.into(), x2.into());
    let recording = Recording::start_all([&x1, &x2]);
    let y = x1.combine("bilinear", x2, |x1, x2| leading_meta(x1, x2, on_tensors), on_tensors);
    let description = ("bilinear", Op::Bilinear, [Some(&weight), bias.as_ref()]);
    recording.finish_products(y, description, products)
}

fn bilinear_map(x1: &Tensor, x2: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let &[out_features, in1_features, in2_features] = weight.dims() else {
        let found = weight.dims();
        return Err(Error::msg(format!("expected a weight [out_features, in1, in2], found {found:?}")));
    };
    let layer_error = |error: String| {
        Error::msg(error).in_layer(format!("Bilinear {in1_features}×{in2_features}→{out_features}"))
    };
    let shape = output_shape(x1.dims(), x2.dims(), [out_features, in1_features, in2_features])
        .map_err(layer_error)?;
    let rows = shape.iter().rev().skip(1).product::<usize>();
    if let Some(bias) = bias.filter(|bias| bias.dims() != [out_features]) {
        return Err(layer_error(format!("expected a bias [{out_features}], found {:?}", bias.dims())));
    }
    if shape.contains(&0) {
        let operands = [Some(x1), Some(x2), Some(weight), bias];
        return Ok(empty_output(&operands.into_iter().flatten().collect::<Vec<_>>(), shape)?);
    }
    // Multiply x1 by the weights of all output features in one product, then take the inner products with x2.
    let flat =
        weight.permute((1, 0, 2))?.contiguous()?.reshape((in1_features, out_features * in2_features))?;
    let x1_weight =
        matmul(&x1.reshape((rows, in1_features))?, &flat)?.reshape((rows, out_features, in2_features))?;
    let products = binary(Binary::Mul, &x1_weight, &x2.reshape((rows, 1, in2_features))?)?;
    let y = sum(&products, D::Minus1)?;
    let y = if let Some(bias) = bias { binary(Binary::Add, &y, bias)? } else { y };
    Ok(y.reshape(shape)?)
}

/// Returns the shape of the output, or an error message if the shapes of the inputs do not match the weight.
fn output_shape(
    x1: &[usize],
    x2: &[usize],
    [out_features, in1_features, in2_features]: [usize; 3],
) -> std::result::Result<Vec<usize>, String> {
    match (x1.split_last(), x2.split_last()) {
        (Some((last1, batch1)), Some((last2, batch2)))
            if *last1 == in1_features && *last2 == in2_features && batch1 == batch2 =>
        {
            Ok([batch1, &[out_features]].concat())
        }
        _ => Err(format!(
            "expected inputs […, {in1_features}] and […, {in2_features}] with equal leading dimensions, found \
             {x1:?} and {x2:?}"
        )),
    }
}
