//! Writes the gradients of networks, and exports networks in f64, whose gradients the checks compare with finite
//! differences.

use std::path::Path;

use sconce::IntoTensors;
use sconce::checkpoint;
use sconce::prelude::*;

use crate::arrays::{Tensors, named, uniform, widened};
use crate::models::write_with;

/// Writes the gradients of the outputs, and those of the parameters in the order of the exported program, of a network
/// and of the same network in f64.
pub fn write_gradients<M, I>(
    path: &Path,
    network: &M,
    exact: Option<&M>,
    inputs: &[Tensor],
    arrange: impl Fn(&[Tensor]) -> I,
) -> Result<()>
where
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let weights = path.with_extension("").with_extension("safetensors");
    let names = &checkpoint::metadata(weights)?["gradients"];
    let names: Vec<String> = serde_json::from_str(names).map_err(|error| Error::msg(error.to_string()))?;
    let outputs = network.call(arrange(inputs), Mode::Eval).into_tensors()?.tensors();
    let floats = outputs.iter().filter(|output| output.dtype().is_float());
    let seeds = floats.map(|output| Ok(uniform(output.shape(), [-1., 1.])?.to_dtype(output.dtype())?));
    let seeds = seeds.collect::<Result<Vec<_>>>()?;
    let mut arrays = named("seed", seeds.clone());
    arrays.extend(named("gradient", gradients(network, &names, arrange(inputs), &seeds)?));
    if let Some(exact) = exact {
        let gradients = gradients(exact, &names, arrange(&widened(inputs)?), &widened(&seeds)?)?;
        arrays.extend(named("exact", gradients));
    }
    Ok(Tensor::write_npz(&arrays, path)?)
}

/// Returns the gradients of the sum of the products of outputs and seeds.
fn gradients<M, I>(network: &M, names: &[String], input: I, seeds: &[Tensor]) -> Result<Vec<Tensor>>
where
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let outputs = network.call(input, Mode::Eval).into_tensors()?.tensors();
    let floats = outputs.iter().filter(|output| output.dtype().is_float());
    let products = floats.zip(seeds).map(|(output, seed)| Ok((output * seed)?.sum_all()?));
    let loss = products.reduce(|a: Result<Tensor>, b| Ok((a? + b?)?));
    let loss = loss.ok_or_else(|| Error::msg("expected an output of floats"))??;
    let computed = sconce::backward(&loss)?;
    let parameters = network.named_parameters();
    let gradient = |name: &String| {
        let (_, parameter) =
            parameters.iter().find(|(other, _)| other == name).expect("the parameter exists");
        // Without a path from the parameter to the loss, the gradient is 0.
        computed.get(parameter).cloned().map_or_else(|| Ok(parameter.zeros_like()?), Ok)
    };
    names.iter().map(gradient).collect()
}

#[derive(Module)]
#[module(forward = |x| {
    let x = gelu(norm(down(x)));
    let x = max_pool2d(&x, 2) + pool(&x) + silu(avg_pool2d(grouped(&x), 2));
    let x = prelu(up(x));
    softmax(head(flatten(adaptive_avg_pool2d(x, 2), 1)).tanh(), 1)
})]
struct Images {
    #[layer(2, 4, 3, stride = 2, padding = 1)]
    down: Conv2d,
    #[layer(2, 4)]
    norm: GroupNorm,
    #[layer(4, 4, 3, padding = 2, dilation = 2, groups = 2)]
    grouped: Conv2d,
    #[layer(2, dilation = 2, stride = 2, padding = 1)]
    pool: MaxPool2d,
    #[layer(4, 6, 3, stride = 2, padding = 1, output_padding = 1, groups = 2)]
    up: ConvTranspose2d,
    #[layer(num_parameters = 6)]
    prelu: PRelu,
    #[layer(24, 5)]
    head: Linear,
}

#[derive(Module)]
#[module(forward = |ids| {
    let x = norm(embedding(ids));
    let (x, _) = attention(x.clone(), x.clone(), x);
    let (x, _) = lstm(x);
    x.sqr().mean_keepdim(1).sqrt()
})]
struct Sequences {
    #[layer(7, 8)]
    embedding: Embedding,
    #[layer(8)]
    norm: LayerNorm,
    #[layer(8, 2, batch_first = true, is_causal = true)]
    attention: MultiheadAttention,
    #[layer(8, 6, batch_first = true, bidirectional = true)]
    lstm: LSTM,
}

#[test]
fn networks_in_f64() -> Result<()> {
    sconce::manual_seed(0);
    let mut images = Images::new(&Device::Cpu)?;
    images.to_dtype(DType::F64)?;
    let pixels = |batch| Ok([uniform((batch, 2, 8, 8), [-2., 2.])?.to_dtype(DType::F64)?]);
    write_with("f64", "images", &images, pixels, |[x]| x)?;
    let mut sequences = Sequences::new(&Device::Cpu)?;
    sequences.to_dtype(DType::F64)?;
    let ids = |batch: usize| {
        let ids = (0..batch as i64 * 5).map(|i| i * 3 % 7);
        Ok([Tensor::from_iter(ids, &Device::Cpu)?.reshape((batch, 5))?])
    };
    write_with("f64", "sequences", &sequences, ids, |[ids]| ids)
}
