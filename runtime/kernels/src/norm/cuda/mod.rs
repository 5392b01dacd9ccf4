//! Batch normalization with a fused activation on CUDA devices: the programs of the forward and backward passes.

mod op;

pub(super) use op::{batch_norm_eval, batch_norm_train};

use candle_core::{DType, Result};

use crate::activation::Activation;
use crate::cuda::{Arg, Program, ProgramBuilder, int, named};

const NAME: &str = "batch_norm";
/// The number of threads in a block.
const THREADS: usize = 256;
/// The target number of blocks for large inputs. This number does not depend on the device, so that the order of
/// summation is the same on all devices.
const TARGET_BLOCKS: usize = 512;
/// The minimum number of elements for each thread.
const MIN_ELEMENTS: usize = 8;
/// If a plane has fewer elements than this, a block handles 32 channels instead of one.
const SHORT_PLANE: usize = 32;

/// Batch normalization of `[samples, channels, plane]`. Statistics, weight and bias are `[channels]`, in f64 for an f64
/// input and in f32 otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormProblem {
    /// The number of samples in the batch.
    pub samples: usize,
    /// The number of channels.
    pub channels: usize,
    /// The product of all dimensions after the second.
    pub plane: usize,
    /// Whether the weight is an operand. Otherwise it is 1.
    pub weight: bool,
    /// Whether the bias is an operand. Otherwise it is 0.
    pub bias: bool,
    /// The number that is added to the variance, for numerical stability.
    pub eps: f64,
    /// The activation, applied last.
    pub activation: Activation,
}

/// The partition of the elements into blocks.
struct Partition {
    /// Whether a block handles 32 channels, for short planes.
    short: bool,
    /// The number of parts into which the elements of each channel are divided.
    parts: usize,
    /// The number of elements of a part.
    part_len: usize,
    /// The number of blocks.
    blocks: usize,
}

impl BatchNormProblem {
    fn elements(&self) -> usize {
        self.samples * self.channels * self.plane
    }

    fn partition(&self) -> Partition {
        let short = self.plane < SHORT_PLANE;
        let width = if short { 32 } else { 1 };
        let (groups, threads_per_channel) = (self.channels.div_ceil(width), THREADS / width);
        let count = self.samples * self.plane;
        let max_parts =
            (TARGET_BLOCKS / groups.max(1)).clamp(1, (count / (threads_per_channel * MIN_ELEMENTS)).max(1));
        let part_len =
            count.div_ceil(max_parts).next_multiple_of(threads_per_channel).max(threads_per_channel);
        let parts = count.div_ceil(part_len).max(1);
        Partition { short, parts, part_len, blocks: groups * parts }
    }

    /// Returns the struct `Channels` of `channels.cuh` as an argument.
    fn sizes(&self, partition: &Partition) -> Result<Arg> {
        int(NAME, self.samples.saturating_mul(self.plane))?;
        let sizes = [self.samples, self.channels, self.plane, partition.parts, partition.part_len];
        sizes.into_iter().map(|size| int(NAME, size)).collect::<Result<_>>().map(Arg::Ints)
    }

    /// Returns the arguments for the weight and the bias, and the index of the operand after them. The weight and the
    /// bias, if present, are consecutive operands from the index `first` on.
    fn affine(&self, first: usize) -> ([Arg; 2], usize) {
        let mut next = first;
        let parameters = [self.weight, self.bias].map(|is_given| {
            if !is_given {
                return Arg::Absent;
            }
            next += 1;
            Arg::Operand(next - 1)
        });
        (parameters, next)
    }
}

/// Evaluates to the name of a kernel, for long or short planes.
macro_rules! kernel {
    ($partition:expr, $dtype:expr, $name:literal) => {
        if $partition.short { named!($dtype, $name, "_short") } else { named!($dtype, $name) }
    };
}

/// Returns the program that normalizes the input with the statistics of the batch. With a `momentum`, the program also
/// updates the running statistics in place: `running = (1 - momentum) · running + momentum · batch`, with the unbiased
/// variance. A batch with fewer than two values per channel leaves the running statistics unchanged.
///
/// The operands are the input, the weight and bias if present, and the running mean and variance if there is a
/// momentum. The outputs are the result, the mean and the biased variance.
///
/// # Errors
/// Fails if the dtype is not a float, or a size exceeds the range of the kernels' integers.
pub fn train(norm: &BatchNormProblem, momentum: Option<f64>, dtype: DType) -> Result<Program> {
    let mut builder = ProgramBuilder::new(NAME, "batch_norm", dtype)?;
    let (partition, accumulator) = (norm.partition(), builder.accumulator());
    let sizes = norm.sizes(&partition)?;
    let y = builder.output(norm.elements(), dtype);
    let [mean, variance] = [(); 2].map(|()| builder.output(norm.channels, accumulator));
    let [means, squares] = [(); 2].map(|()| builder.scratch(norm.channels * partition.parts, accumulator));
    let ([weight, bias], next) = norm.affine(1);
    let [running_mean, running_variance] =
        [0, 1].map(|i| if momentum.is_some() { Arg::Operand(next + i) } else { Arg::Absent });
    let [activation, parameter] = norm.activation.arguments();

    let args = vec![Arg::Operand(0), means.clone(), squares.clone(), sizes.clone()];
    builder.launch(
        kernel!(partition, dtype, "batch_norm_moments"),
        partition.blocks,
        THREADS as u32,
        args,
    )?;
    let args = vec![
        Arg::Operand(0),
        means,
        squares,
        weight,
        bias,
        y,
        mean,
        variance,
        running_mean,
        running_variance,
        Arg::Double(momentum.unwrap_or(0.)),
        Arg::Double(norm.eps),
        activation,
        parameter,
        sizes,
    ];
    builder.launch(kernel!(partition, dtype, "batch_norm_train"), partition.blocks, THREADS as u32, args)?;
    Ok(builder.finish())
}

/// Returns the program that normalizes the input with given statistics. The operands are the input, the mean, the
/// variance, and the weight and bias if present.
///
/// # Errors
/// Fails under the same conditions as [`train`].
pub fn eval(norm: &BatchNormProblem, dtype: DType) -> Result<Program> {
    let mut builder = ProgramBuilder::new(NAME, "batch_norm", dtype)?;
    let partition = norm.partition();
    let y = builder.output(norm.elements(), dtype);
    let ([weight, bias], _) = norm.affine(3);
    let [activation, parameter] = norm.activation.arguments();
    let mut args: Vec<Arg> = (0..3).map(Arg::Operand).collect();
    args.extend([weight, bias, y, Arg::Double(norm.eps), activation, parameter, norm.sizes(&partition)?]);
    builder.launch(kernel!(partition, dtype, "batch_norm_eval"), partition.blocks, THREADS as u32, args)?;
    Ok(builder.finish())
}

/// Returns the program that computes the gradients of the input, and of the weight and bias if present. If `training`
/// is set, the statistics depend on the input, as in [`train`]; otherwise they are constants, as in [`eval`].
///
/// The operands are the input, the gradient of the output, the mean, the biased variance, and the weight and bias if
/// present.
///
/// # Errors
/// Fails under the same conditions as [`train`].
pub fn backward(norm: &BatchNormProblem, training: bool, dtype: DType) -> Result<Program> {
    let mut builder = ProgramBuilder::new(NAME, "batch_norm", dtype)?;
    let (partition, accumulator) = (norm.partition(), builder.accumulator());
    let sizes = norm.sizes(&partition)?;
    let dx = builder.output(norm.elements(), dtype);
    let [dweight, dbias] = [norm.weight, norm.bias]
        .map(|is_given| if is_given { builder.output(norm.channels, accumulator) } else { Arg::Absent });
    let [sums, products] = [(); 2].map(|()| builder.scratch(norm.channels * partition.parts, accumulator));
    let (parameters, _) = norm.affine(4);
    let [activation, parameter] = norm.activation.arguments();
    // Whether the kernels compute the slope of the activation from its output, and not from its input.
    let from_output = Arg::Int(norm.activation.saves_output().into());
    let operands = || (0..4).map(Arg::Operand).chain(parameters.clone());

    let mut args: Vec<Arg> = operands().chain([sums.clone(), products.clone()]).collect();
    args.extend([Arg::Double(norm.eps), activation.clone(), parameter.clone(), from_output.clone()]);
    args.push(sizes.clone());
    builder.launch(kernel!(partition, dtype, "batch_norm_sums"), partition.blocks, THREADS as u32, args)?;
    let mut args: Vec<Arg> = operands().chain([sums, products, dx, dweight, dbias]).collect();
    args.extend([
        Arg::Double(norm.eps),
        activation,
        parameter,
        from_output,
        Arg::Int(training.into()),
        sizes,
    ]);
    builder.launch(
        kernel!(partition, dtype, "batch_norm_gradients"),
        partition.blocks,
        THREADS as u32,
        args,
    )?;
    Ok(builder.finish())
}
