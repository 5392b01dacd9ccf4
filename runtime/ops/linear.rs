//! The linear map.

use std::sync::Arc;

use candle_core::{Shape, Tensor};

use crate::graph::Op;
use crate::kernels::linear::LinearCache;
use crate::signal::{Deferred, Meta, Product, Recording, Signal, matrix_products};
use crate::{Error, Result};

/// Computes `x · weightᵀ + bias` for an input `[…, in_features]`, a weight `[out_features, in_features]` and an
/// optional bias `[out_features]`. A following activation is fused.
///
/// The output is `[…, out_features]`, or a failed signal if the shapes or dtypes do not match.
///
/// ```
/// use sconce::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[1f32, 1.], [0., -2.]], &Device::Cpu)?;
/// let bias = Tensor::new(&[10f32, 0.], &Device::Cpu)?;
/// assert_eq!(linear(&x, &weight, bias.clone()).into_tensor()?.to_vec2::<f32>()?, [[13., -4.]]);
/// // The bias and the ReLU run in the kernel of the matrix product.
/// let (y, launches) = sconce::trace(|| relu(linear(&x, &weight, bias)).into_tensor());
/// assert_eq!(y?.to_vec2::<f32>()?, [[13., 0.]]);
/// assert_eq!(launches.len(), 1);
/// # Ok(())
/// # }
/// ```
pub fn linear(x: impl Into<Signal>, weight: impl Into<Signal>, bias: impl Into<Option<Tensor>>) -> Signal {
    match weight.into().into_tensor() {
        Ok(weight) => cached_linear(x, &weight, bias.into().as_ref(), None),
        Err(error) => Signal::fail(error),
    }
}

/// Computes [`linear`] for a layer that keeps its packed weight in `cache`.
pub(crate) fn cached_linear(
    x: impl Into<Signal>,
    weight: &Tensor,
    bias: Option<&Tensor>,
    cache: Option<Arc<LinearCache>>,
) -> Signal {
    let x = x.into();
    let recording = Recording::start(&x);
    let y = defer(x, weight, bias, cache).into();
    let description = ("linear", Op::Linear, [Some(weight), bias]);
    recording.finish_products(y, description, matrix_products)
}

fn defer(
    x: Signal,
    weight: &Tensor,
    bias: Option<&Tensor>,
    cache: Option<Arc<LinearCache>>,
) -> Result<Signal> {
    let &[out_features, in_features] = weight.dims() else {
        let found = weight.dims();
        return Err(Error::msg(format!("expected a weight [out_features, in_features], found {found:?}")));
    };
    let layer_error =
        |error: String| Error::msg(error).in_layer(format!("Linear {in_features}→{out_features}"));
    if let Some(bias) = bias.filter(|bias| bias.dims() != [out_features]) {
        return Err(layer_error(format!("expected a bias [{out_features}], found {:?}", bias.dims())));
    }
    let mut shape = x.dims()?.to_vec();
    match shape.last_mut() {
        Some(last) if *last == in_features => *last = out_features,
        _ => return Err(layer_error(format!("expected an input […, {in_features}], found {shape:?}"))),
    }
    let dtype = x.dtype()?;
    for (name, tensor) in [("weight", Some(weight)), ("bias", bias)] {
        if let Some(other) = tensor.map(Tensor::dtype).filter(|found| *found != dtype) {
            return Err(layer_error(format!(
                "expected a {name} of dtype {dtype:?}, the dtype of the input, found {other:?}"
            )));
        }
    }
    if x.is_meta() {
        return Ok(Meta::like(weight, shape).into());
    }
    let product = Product::new(x.into_tensor()?, weight.clone(), bias.cloned(), cache);
    Ok(Signal::deferred(Deferred::product(product, Shape::from(shape))))
}
