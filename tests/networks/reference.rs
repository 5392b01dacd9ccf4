//! Helpers for the reference networks, which run candle's own operations on the tensors of a network.

use std::collections::HashMap;

use sconce::prelude::*;

use crate::assert_close;

/// A network's tensors by name, and candle operations with them.
pub struct Weights(HashMap<String, Tensor>);

impl Weights {
    pub fn new(network: &impl Network) -> Self {
        Self(network.named_parameters().into_iter().chain(network.buffers()).collect())
    }

    pub fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("the network should have a tensor `{name}`")).clone()
    }

    /// Computes `x · weightᵀ + bias`.
    pub fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let weight = self.get(&format!("{name}.weight")).t()?;
        Ok(x.broadcast_matmul(&weight)?.broadcast_add(&self.get(&format!("{name}.bias")))?)
    }

    /// Normalizes the last dimension with elementary operations, because candle's own layer norm has no gradient.
    pub fn layer_norm(&self, name: &str, x: &Tensor, eps: f64) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let std = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
        let x = x.broadcast_div(&std)?.broadcast_mul(&self.get(&format!("{name}.weight")))?;
        Ok(x.broadcast_add(&self.get(&format!("{name}.bias")))?)
    }

    /// Normalizes with the running statistics.
    pub fn batch_norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let get = |part: &str| self.get(&format!("{name}.{part}")).reshape((1, (), 1, 1));
        let scale = (get("weight")? / (get("running_var")? + 1e-5)?.sqrt()?)?;
        let x = x.broadcast_sub(&get("running_mean")?)?.broadcast_mul(&scale)?;
        Ok(x.broadcast_add(&get("bias")?)?)
    }
}

/// Computes softmax(q · kᵀ / √features + mask) · v. `q`, `k` and `v` are `[batch, heads, positions, features]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let scale = 1. / (q.dim(D::Minus1)? as f64).sqrt();
    let (q, k, v) = (q.contiguous()?, k.t()?.contiguous()?, v.contiguous()?);
    let scores = (q.matmul(&k)? * scale)?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    Ok(sconce::nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?)
}

/// Computes `x Φ(x)` with elementary operations, because the gradient of candle's GELU uses constants with only six
/// digits.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let factor = ((x / 2f64.sqrt())?.erf()? + 1.)?;
    Ok(((x * 0.5)? * factor)?)
}

/// Computes the tanh approximation of GELU.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    let inner = ((x + (x.sqr()?.mul(x)? * 0.044715)?)? * (2. / std::f64::consts::PI).sqrt())?;
    Ok(((x * 0.5)? * (inner.tanh()? + 1.)?)?)
}

/// Reshapes `[batch, positions, heads · features]` to `[batch, heads, positions, features]`.
pub fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, positions, width) = x.dims3()?;
    Ok(x.reshape((batch, positions, heads, width / heads))?.transpose(1, 2)?)
}

/// Inverts [`split_heads`].
pub fn join_heads(x: &Tensor) -> Result<Tensor> {
    let (batch, heads, positions, features) = x.dims4()?;
    Ok(x.transpose(1, 2)?.reshape((batch, positions, heads * features))?)
}

/// Randomizes every parameter and buffer, because default values can hide errors.
pub fn randomize(network: &mut impl Network) -> Result<()> {
    sconce::manual_seed(3);
    let mut state = StateDict::default();
    // The new values by storage. Tied names share one storage, so they must get the same values.
    let mut values_by_storage = HashMap::new();
    for (name, tensor) in network.state_dict().iter() {
        let storage = std::ptr::from_ref(&*tensor.storage_and_layout().0).addr();
        if let Some(values) = values_by_storage.get(&storage) {
            state.insert(name.to_string(), Tensor::clone(values));
            continue;
        }
        let noise = sconce::random::uniform(tensor.shape(), -0.2, 0.2, DType::F32, &Device::Cpu)?;
        let noise = match name.rsplit('.').next() {
            Some("running_var") => (noise + 1.)?,
            Some("weight") if tensor.rank() == 1 => (noise + 1.)?,
            _ => noise,
        };
        let values = noise.to_dtype(tensor.dtype())?;
        values_by_storage.insert(storage, values.clone());
        state.insert(name.to_string(), values);
    }
    network.load_state_dict(&state)
}

/// Asserts that outputs agree to 1e-5 in f32 and to 1e-9 in f64, and that each parameter has a gradient. If
/// `gradients` is true, also compares the gradients in f64.
pub fn assert_agrees<N: Network>(
    mut network: N,
    input: &Tensor,
    gradients: bool,
    forward: impl Fn(&N, &Tensor) -> Result<Tensor>,
    reference: impl Fn(&Weights, &Tensor) -> Result<Tensor>,
) -> Result<()> {
    randomize(&mut network)?;
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-9)] {
        network.to_dtype(dtype)?;
        let input = if input.dtype().is_float() { input.to_dtype(dtype)? } else { input.clone() };
        let y = forward(&network, &input)?;
        let expected = reference(&Weights::new(&network), &input)?;
        assert_eq!(y.dims(), expected.dims());
        assert_close(&format!("output in {dtype:?}"), &y, &expected, tolerance)?;
        let grads = y.sqr()?.sum_all()?.backward()?;
        assert_eq!(audit_gradients(&network, &grads), [""; 0]);
        if !(gradients && dtype == DType::F64) {
            continue;
        }
        let expected_grads = expected.sqr()?.sum_all()?.backward()?;
        for (name, var) in network.trainable_parameters() {
            let (Some(actual), Some(expected)) = (grads.get(&var), expected_grads.get(&var)) else {
                panic!("`{name}`: expected a gradient");
            };
            assert_close(&name, actual, expected, 1e-8)?;
        }
    }
    Ok(())
}
