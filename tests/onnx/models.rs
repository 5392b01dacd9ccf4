//! Writes models with inputs and outputs, most of them for several batch sizes.

use std::path::{Path, PathBuf};

use sconce::prelude::*;
use sconce::{IntoTensors, OnnxOptions, SummaryInput, SymbolicSize};

pub use crate::arrays::{Tensors, uniform};
use crate::arrays::{in_f64, path_of, write_arrays};

/// The batch sizes for which outputs are written.
const BATCHES: [usize; 3] = [1, 2, 4];

/// The end of the message of an operation that cannot be exported.
pub const UNSUPPORTED: &str = "cannot be exported to ONNX yet";

/// Returns the path of the model of a case, and removes the model of an earlier run.
pub fn path(kind: &str, name: &str) -> Result<PathBuf> {
    path_of("onnx", kind, name)
}

/// Exports a network with one input. `input` returns the input for a batch size.
pub fn write<M>(kind: &str, name: &str, network: &M, input: impl Fn(usize) -> Result<Tensor>) -> Result<()>
where
    M: Forward<Signal, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    write_with(kind, name, network, |batch| Ok([input(batch)?]), |[input]| input)
}

/// Exports a network with several inputs. `arrange` returns the arguments of the forward pass.
pub fn write_with<M, I, const N: usize>(
    kind: &str,
    name: &str,
    network: &M,
    inputs: impl Fn(usize) -> Result<[Tensor; N]>,
    arrange: impl Fn([Signal; N]) -> I,
) -> Result<()>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    write_to(&path(kind, name)?, network, None, options(), inputs, arrange)
}

/// Like [`write`], and writes the outputs in f64 too, for networks that amplify rounding errors.
pub fn write_in_f64<M>(
    kind: &str,
    name: &str,
    network: &M,
    input: impl Fn(usize) -> Result<Tensor>,
) -> Result<()>
where
    M: Forward<Signal, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let exact = in_f64(network)?;
    write_to(
        &path(kind, name)?,
        network,
        Some(&exact),
        options(),
        |batch| Ok([input(batch)?]),
        |[input]| input,
    )
}

/// Exports a network for these inputs only, so that the model has no dynamic sizes. Writes the outputs in f64 too.
pub fn write_fixed<M>(kind: &str, name: &str, network: &M, inputs: &[Tensor]) -> Result<()>
where
    M: Forward<Vec<Signal>, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let path = path(kind, name)?;
    let meta = |input: &Tensor| Signal::meta(input.dims(), input.dtype());
    network.export_onnx_with(&path, inputs.iter().map(meta).collect::<Vec<_>>(), options())?;
    let arrange = |inputs: &[Tensor]| inputs.iter().map(Signal::from).collect();
    write_arrays(&path.with_extension("fixed.npz"), network, Some(&in_f64(network)?), inputs, arrange)
}

/// Exports a network to `path`, and writes its inputs and outputs beside the model. `exact` is the network in f64.
pub fn write_to<M, I, const N: usize>(
    path: &Path,
    network: &M,
    exact: Option<&M>,
    options: OnnxOptions,
    inputs: impl Fn(usize) -> Result<[Tensor; N]>,
    arrange: impl Fn([Signal; N]) -> I,
) -> Result<()>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let [first, second] = [inputs(2)?, inputs(3)?];
    let symbolic = std::array::from_fn(|i| Signal::symbolic(sizes(&first[i], &second[i]), first[i].dtype()));
    network.export_onnx_with(path, arrange(symbolic), options)?;
    for batch in BATCHES {
        let path = path.with_extension(format!("{batch}.npz"));
        write_arrays(&path, network, exact, &inputs(batch)?, |inputs| arrange(signals(inputs)))?;
    }
    Ok(())
}

/// Exports a network for inputs with these sizes and dtypes, and writes the outputs for each of `inputs`.
pub fn write_named<M, I, const N: usize>(
    name: &str,
    network: &M,
    symbolic: [Signal; N],
    inputs: &[[Tensor; N]],
    arrange: impl Fn([Signal; N]) -> I,
) -> Result<()>
where
    I: SummaryInput + Clone,
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let path = path("named", name)?;
    network.export_onnx_with(&path, arrange(symbolic), options())?;
    for (i, inputs) in inputs.iter().enumerate() {
        let path = path.with_extension(format!("{i}.npz"));
        write_arrays(&path, network, None, inputs, |inputs| arrange(signals(inputs)))?;
    }
    Ok(())
}

pub fn signals<const N: usize>(inputs: &[Tensor]) -> [Signal; N] {
    std::array::from_fn(|i| Signal::from(&inputs[i]))
}

/// Returns the sizes of an input from its shapes for the batch sizes 2 and 3.
fn sizes(first: &Tensor, second: &Tensor) -> Vec<SymbolicSize> {
    let size = |(first, second): (&usize, &usize)| match second - first {
        0 => SymbolicSize::from(*first),
        factor => SymbolicSize::named("batch") * factor + (first - 2 * factor),
    };
    first.dims().iter().zip(second.dims()).map(size).collect()
}

/// The weights of the largest networks are in files of their own.
fn options() -> OnnxOptions {
    OnnxOptions::default().max_inline_bytes(200_000_000)
}
