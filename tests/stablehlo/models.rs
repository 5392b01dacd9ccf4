//! Writes programs with inputs and outputs.

use std::path::{Path, PathBuf};

use sconce::prelude::*;
use sconce::{IntoTensors, StableHloOptions, SummaryInput};

pub use crate::arrays::{Tensors, uniform};
use crate::arrays::{in_f64, path_of, write_arrays};
use crate::gradients::write_gradients;

/// The end of the message of an operation that cannot be exported.
pub const UNSUPPORTED: &str = "cannot be exported to StableHLO yet";

/// The batch size of the programs, all of whose sizes are fixed.
const BATCH: usize = 2;

/// The kinds of cases, and the networks, that are exported with a program of their gradients.
const DIFFERENTIATED: [&str; 6] = ["layers", "random_f64", "sequences", "f64", "resnet18", "gpt2"];

/// Returns the path of the program of a case, and removes the program of an earlier run.
pub fn path(kind: &str, name: &str) -> Result<PathBuf> {
    path_of("stablehlo", kind, name)
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
    I: SummaryInput,
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    write_to(kind, name, network, None, &inputs(BATCH)?, arrange)
}

/// Like [`write`], and writes the outputs in f64 too, for networks that amplify rounding errors. Exports the network in
/// f64 too, with its gradients, which such networks amplify further.
pub fn write_in_f64<M>(
    kind: &str,
    name: &str,
    network: &M,
    input: impl Fn(usize) -> Result<Tensor>,
) -> Result<()>
where
    M: Forward<Signal, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let (exact, input) = (in_f64(network)?, input(BATCH)?);
    write_to(&format!("{kind}_f64"), name, &exact, None, &[input.to_dtype(DType::F64)?], |[input]| input)?;
    write_to(kind, name, network, Some(&exact), &[input], |[input]| input)
}

/// Exports a network for these inputs. Writes the outputs in f64 too.
pub fn write_fixed<M>(kind: &str, name: &str, network: &M, inputs: &[Tensor]) -> Result<()>
where
    M: Forward<Vec<Signal>, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let arrange = |inputs: Vec<Signal>| inputs;
    write_all(&path(kind, name)?, network, Some(&in_f64(network)?), inputs, arrange, false)
}

/// Exports a network, and writes its inputs and outputs beside the program. `exact` is the network in f64.
fn write_to<M, I, const N: usize>(
    kind: &str,
    name: &str,
    network: &M,
    exact: Option<&M>,
    inputs: &[Tensor; N],
    arrange: impl Fn([Signal; N]) -> I,
) -> Result<()>
where
    I: SummaryInput,
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let arrange = |inputs: Vec<Signal>| arrange(std::array::from_fn(|i| inputs[i].clone()));
    let gradients = DIFFERENTIATED.contains(&kind) || DIFFERENTIATED.contains(&name);
    // Rounding errors of gradients are larger than those of outputs. In f64, networks would take a minute.
    let needs_copy = ["layers", "sequences"].contains(&kind);
    let copy = needs_copy.then(|| in_f64(network)).transpose()?;
    write_all(&path(kind, name)?, network, exact.or(copy.as_ref()), inputs, arrange, gradients)
}

/// Exports a network, with a program of its gradients if `gradients` is `true`, and writes the numbers of both.
fn write_all<M, I>(
    path: &Path,
    network: &M,
    exact: Option<&M>,
    inputs: &[Tensor],
    arrange: impl Fn(Vec<Signal>) -> I,
    gradients: bool,
) -> Result<()>
where
    I: SummaryInput,
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let options = StableHloOptions::default().gradients(gradients);
    network.export_stablehlo_with(path, arrange(inputs.iter().map(meta).collect()), options)?;
    let arrange = |inputs: &[Tensor]| arrange(inputs.iter().map(Signal::from).collect());
    write_arrays(&path.with_extension("npz"), network, exact, inputs, arrange)?;
    if gradients {
        let path = path.with_extension("gradients.npz");
        write_gradients(&path, network, exact, inputs, arrange)?;
    }
    Ok(())
}

/// Returns a signal without numbers.
fn meta(input: &Tensor) -> Signal {
    Signal::meta(input.dims(), input.dtype())
}
