//! The linear map.

use candle_core::{Shape, Tensor};

use crate::signal::{Deferred, Product, Signal};
use crate::{Error, Result};

/// Computes `x · weightᵀ + bias` for an input `[…, in_features]`, a weight `[out_features, in_features]` and an
/// optional bias `[out_features]`. A following activation is fused.
pub fn linear(x: impl Into<Signal>, weight: impl Into<Signal>, bias: impl Into<Option<Tensor>>) -> Signal {
    defer(x.into(), weight.into(), bias.into()).into()
}

fn defer(x: Signal, weight: Signal, bias: Option<Tensor>) -> Result<Signal> {
    let weight = weight.into_tensor()?;
    let &[outputs, inputs] = weight.dims() else {
        let found = weight.dims();
        return Err(Error::msg(format!("expected a weight [out_features, in_features], found {found:?}")));
    };
    let wrong = |error: String| Error::msg(error).in_layer(format!("Linear {inputs}→{outputs}"));
    if let Some(bias) = bias.as_ref().filter(|bias| bias.dims() != [outputs]) {
        return Err(wrong(format!("expected a bias [{outputs}], found {:?}", bias.dims())));
    }
    let mut shape = x.dims()?.to_vec();
    match shape.last_mut() {
        Some(last) if *last == inputs => *last = outputs,
        _ => return Err(wrong(format!("expected an input […, {inputs}], found {shape:?}"))),
    }
    let dtype = x.dtype()?;
    for (name, tensor) in [("weight", Some(&weight)), ("bias", bias.as_ref())] {
        if let Some(other) = tensor.map(Tensor::dtype).filter(|found| *found != dtype) {
            return Err(wrong(format!(
                "expected a {name} of dtype {dtype:?}, the dtype of the input, found {other:?}"
            )));
        }
    }
    let product = Product::new(x.into_tensor()?, weight, bias);
    Ok(Signal::deferred(Deferred::product(product, Shape::from(shape))))
}
