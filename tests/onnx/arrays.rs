//! Writes inputs and outputs, which the tests of both exports do.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sconce::IntoTensors;
use sconce::candle::Shape;
use sconce::prelude::*;

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

/// Returns the path of the model of a case, and removes the model of an earlier run. `format` is the directory of all
/// models and the extension, and `kind` the directory of similar cases.
pub fn path_of(format: &str, kind: &str, name: &str) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format).join(kind);
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{name}.{format}"));
    // A model of an earlier run must not be checked if this run fails.
    for path in [&path, &path.with_extension(format!("gradients.{format}"))] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(path)
}

/// Returns a copy of a network in f64.
pub fn in_f64<M: Network>(network: &M) -> Result<M> {
    let mut copy = network.deep_clone()?;
    copy.to_dtype(DType::F64)?;
    Ok(copy)
}

/// Writes the inputs and the outputs of a network and, if it is given, of the same network in f64.
pub fn write_arrays<M, I>(
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
        let inputs = widened(inputs)?;
        arrays.extend(named("exact", exact.call(arrange(&inputs), Mode::Eval).into_tensors()?.tensors()));
    }
    Ok(Tensor::write_npz(&arrays, path)?)
}

/// Returns floats in f64, and other tensors unchanged.
pub fn widened(tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let widen = |x: &Tensor| if x.dtype().is_float() { x.to_dtype(DType::F64) } else { Ok(x.clone()) };
    Ok(tensors.iter().map(widen).collect::<sconce::candle::Result<Vec<_>>>()?)
}

/// Returns tensors with the names `kind_0`, `kind_1` and so on.
pub fn named(kind: &str, tensors: Vec<Tensor>) -> Vec<(String, Tensor)> {
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
