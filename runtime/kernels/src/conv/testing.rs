//! Convolution with a given algorithm or instruction set, for tests and benchmarks.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::activation::Activation;
use crate::parallel::counts;
use crate::simd::Isa;

use super::backward::{self, Gradients, Needs};
use super::cpu::{self, Algorithm, Call, ConvProblem, OutputPtr, PackedCache, Packing};
use super::{ConvGeometry, ConvShape, Epilogue};

/// Computes [`conv2d`](super::conv2d) on the CPU, without gradients, with the given algorithm and instruction set.
/// Caches the packed weight in `packed`.
///
/// # Errors
/// Fails under the same conditions as [`conv2d`](super::conv2d).
pub fn conv2d_with_algorithm(
    algorithm: Algorithm,
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
    packed: &PackedCache,
    isa: Isa,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    let packing = Packing::with_algorithm(algorithm, packed, weight.id());
    cpu::conv2d(input, weight, &shape, epilogue, Some(packing), isa)
}

/// Computes [`conv2d`](super::conv2d) on the CPU, without gradients, with the instruction set `isa`.
///
/// # Errors
/// Fails under the same conditions as [`conv2d`](super::conv2d).
pub fn conv2d_with(
    isa: Isa,
    input: &Tensor,
    weight: &Tensor,
    geometry: &ConvGeometry,
    epilogue: &Epilogue,
) -> Result<Tensor> {
    let shape = ConvShape::of(input, weight, geometry, epilogue)?;
    cpu::conv2d(input, weight, &shape, epilogue, None, isa)
}

/// Computes [`conv2d_backward`](backward::conv2d_backward) with the instruction set `isa`. The tensors are
/// `[input, weight, output, grad_output]`.
///
/// # Errors
/// Fails under the same conditions as [`conv2d_backward`](backward::conv2d_backward).
pub fn backward_with(
    isa: Isa,
    tensors: [&Tensor; 4],
    geometry: &ConvGeometry,
    activation: Activation,
    needs: Needs,
) -> Result<Gradients> {
    backward::gradients(isa, tensors, geometry, activation, needs)
}

/// Convolves in f32 with a cached weight, and returns the number of tasks of each parallel loop that runs.
///
/// # Errors
/// Fails if only the reference algorithm supports the problem.
pub fn task_counts(problem: &ConvProblem) -> Result<Vec<usize>> {
    let (shape, lanes) = (&problem.shape, problem.isa.lanes());
    let dims = [shape.batch, shape.in_channels, shape.input[0], shape.input[1]];
    let input = vec![1.; problem.input.elements(dims, lanes)];
    let weight = Tensor::ones(&shape.weight_dims(), DType::F32, &Device::Cpu)?;
    let values = weight.flatten_all()?.to_vec1::<f32>()?;
    let mut results = vec![0.; problem.output.elements(shape.output_dims(), lanes)];
    let cache = PackedCache::default();
    let packing = Some(Packing::new(&cache, weight.id()));
    let call = Call { activation: Activation::Relu, packing, ..Call::new(&input[..], &values[..]) };
    let output = OutputPtr::F32(results.as_mut_ptr());
    let convolve = || cpu::convolve(problem, &call, output);
    // The first call packs the weight, and only the second is counted.
    convolve()?;
    let mut supported = Ok(false);
    let counts = counts::during(|| supported = convolve());
    if supported? { Ok(counts) } else { bail!("only the reference algorithm supports {problem:?}") }
}
