//! Writes models with inputs and outputs, most of them for several batch sizes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sconce::candle::Shape;
use sconce::prelude::*;
use sconce::{IntoTensors, OnnxOptions, SummaryInput, SymbolicSize};

/// The batch sizes for which outputs are written.
const BATCHES: [usize; 3] = [1, 2, 4];

/// Returns numbers between `low` and `high`, the same in each run.
pub fn uniform(shape: impl Into<Shape>, [low, high]: [f32; 2]) -> Result<Tensor> {
    let shape = shape.into();
    let numbers = (0..shape.elem_count() as u64).map(|i| {
        // The output function of SplitMix64.
        let mut bits = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        low + (high - low) * ((bits >> 40) as f32 / (1u64 << 24) as f32)
    });
    Ok(Tensor::from_iter(numbers, &Device::Cpu)?.reshape(shape)?)
}

/// Returns the path of the model of a case, and removes the model of an earlier run. `kind` is the directory of similar
/// cases.
pub fn path(kind: &str, name: &str) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx").join(kind);
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{name}.onnx"));
    // A model of an earlier run must not be checked if this run fails.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(path),
    }
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

fn signals<const N: usize>(inputs: &[Tensor]) -> [Signal; N] {
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

/// Returns a copy of a network in f64.
fn in_f64<M: Network>(network: &M) -> Result<M> {
    let mut copy = network.deep_clone()?;
    copy.to_dtype(DType::F64)?;
    Ok(copy)
}

/// Writes the inputs and the outputs of a network and, if it is given, of the same network in f64.
fn write_arrays<M, I>(
    path: &Path,
    network: &M,
    exact: Option<&M>,
    inputs: &[Tensor],
    arrange: impl Fn(&[Tensor]) -> I,
) -> Result<()>
where
    M: Forward<I, Output: IntoTensors<Tensors: Tensors>>,
{
    let mut arrays = named("input", inputs.to_vec());
    arrays.extend(named("output", network.call(arrange(inputs), Mode::Eval).into_tensors()?.tensors()));
    if let Some(exact) = exact {
        let widen = |x: &Tensor| if x.dtype().is_float() { x.to_dtype(DType::F64) } else { Ok(x.clone()) };
        let inputs = inputs.iter().map(widen).collect::<sconce::candle::Result<Vec<_>>>()?;
        arrays.extend(named("exact", exact.call(arrange(&inputs), Mode::Eval).into_tensors()?.tensors()));
    }
    Ok(Tensor::write_npz(&arrays, path)?)
}

fn named(kind: &str, tensors: Vec<Tensor>) -> Vec<(String, Tensor)> {
    tensors.into_iter().enumerate().map(|(i, tensor)| (format!("{kind}_{i}"), tensor)).collect()
}

/// The tensors of an output.
pub trait Tensors {
    fn tensors(self) -> Vec<Tensor>;
}

impl Tensors for Tensor {
    fn tensors(self) -> Vec<Tensor> {
        vec![self]
    }
}

impl<T: Tensors> Tensors for Vec<T> {
    fn tensors(self) -> Vec<Tensor> {
        self.into_iter().flat_map(T::tensors).collect()
    }
}

impl<T: Tensors> Tensors for Option<T> {
    fn tensors(self) -> Vec<Tensor> {
        self.map_or_else(Vec::new, T::tensors)
    }
}

impl<A: Tensors, B: Tensors> Tensors for (A, B) {
    fn tensors(self) -> Vec<Tensor> {
        [self.0.tensors(), self.1.tensors()].concat()
    }
}

impl<A: Tensors, B: Tensors, C: Tensors> Tensors for (A, B, C) {
    fn tensors(self) -> Vec<Tensor> {
        [self.0.tensors(), self.1.tensors(), self.2.tensors()].concat()
    }
}
