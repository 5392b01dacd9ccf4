//! Writes a model with inputs and outputs for several batch sizes.

use std::fs;
use std::path::{Path, PathBuf};

use sconce::candle::Shape;
use sconce::prelude::*;
use sconce::{IntoTensors, OnnxOptions, SummaryInput};

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

/// Returns the path of the model of a case. `kind` is the directory of similar cases.
fn path(kind: &str, name: &str) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx").join(kind);
    fs::create_dir_all(&directory)?;
    Ok(directory.join(format!("{name}.onnx")))
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
    let path = path(kind, name)?;
    let _ = fs::remove_file(&path);
    let prototype = inputs(BATCHES[0])?;
    let dims = |batch: usize| inputs(batch).expect("the inputs should be created");
    // The weights of the largest networks are in files of their own.
    let options = OnnxOptions::default().max_inline_bytes(200_000_000);
    let metas = |batch| {
        let dims = dims(batch).map(|input| input.dims().to_vec());
        let metas = std::array::from_fn(|i| Signal::meta(&dims[i][..], prototype[i].dtype()));
        arrange(metas)
    };
    network.export_onnx_with(&path, metas, options)?;
    for batch in BATCHES {
        let inputs = inputs(batch)?;
        let outputs = network.call(arrange(inputs.each_ref().map(Signal::from)), Mode::Eval);
        let outputs = outputs.into_tensors()?.tensors();
        let named = |kind: &'static str, tensors: Vec<Tensor>| {
            let tensors = tensors.into_iter().enumerate();
            tensors.map(move |(i, tensor)| (format!("{kind}_{i}"), tensor))
        };
        let arrays: Vec<_> = named("input", inputs.to_vec()).chain(named("output", outputs)).collect();
        Tensor::write_npz(&arrays, path.with_extension(format!("{batch}.npz")))?;
    }
    Ok(())
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
