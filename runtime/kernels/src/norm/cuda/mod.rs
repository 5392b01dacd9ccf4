//! Batch normalisation on a CUDA device: plans of the forward and backward passes, an activation included.

mod op;

pub(super) use op::{batch_norm_eval, batch_norm_train};

use crate::activation::Activation;
use crate::cuda::{Arg, Plan, Program, int, named};
use candle_core::{DType, Result};

const NAME: &str = "batch_norm";
/// Threads of a block.
const THREADS: usize = 256;
/// Blocks that the work is spread over, where there is enough of it. Not by the device: sums are then added in one
/// order on all of them.
const BLOCKS: usize = 512;
/// Elements that a thread takes at the least.
const LEAST: usize = 8;
/// A plane shorter than this is not worth a block's threads side by side.
const SHORT: usize = 32;

/// A batch normalisation of `[samples, channels, plane]`. Statistics, weight and bias are `[channels]` each, in f64
/// for an input of f64, else in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// The samples of the batch.
    pub samples: usize,
    /// The channels.
    pub channels: usize,
    /// The product of all dimensions after the second.
    pub plane: usize,
    /// Whether the weight is an operand; it is 1 where not.
    pub weight: bool,
    /// Whether the bias is an operand; it is 0 where not.
    pub bias: bool,
    /// Added to the variance.
    pub eps: f64,
    /// Applied last.
    pub activation: Activation,
}

/// How the elements are cut into blocks.
struct Cut {
    short: bool,
    parts: usize,
    each: usize,
    blocks: usize,
}

impl BatchNorm {
    fn elements(&self) -> usize {
        self.samples * self.channels * self.plane
    }

    fn cut(&self) -> Cut {
        let short = self.plane < SHORT;
        let width = if short { 32 } else { 1 };
        let (groups, workers) = (self.channels.div_ceil(width), THREADS / width);
        let count = self.samples * self.plane;
        let wanted = (BLOCKS / groups.max(1)).clamp(1, (count / (workers * LEAST)).max(1));
        let each = count.div_ceil(wanted).next_multiple_of(workers).max(workers);
        let parts = count.div_ceil(each).max(1);
        Cut { short, parts, each, blocks: groups * parts }
    }

    /// The structure `Channels` of `channels.cuh`.
    fn sizes(&self, cut: &Cut) -> Result<Arg> {
        int(NAME, self.samples.saturating_mul(self.plane))?;
        let sizes = [self.samples, self.channels, self.plane, cut.parts, cut.each];
        sizes.into_iter().map(|size| int(NAME, size)).collect::<Result<_>>().map(Arg::Ints)
    }

    /// Weight and bias among the operands, from number `first` on, and the number after them.
    fn affine(&self, first: usize) -> ([Arg; 2], usize) {
        let mut next = first;
        let parameters = [self.weight, self.bias].map(|given| {
            if !given {
                return Arg::Absent;
            }
            next += 1;
            Arg::Operand(next - 1)
        });
        (parameters, next)
    }
}

/// A kernel's name, for long planes or short ones.
macro_rules! kernel {
    ($cut:expr, $dtype:expr, $name:literal) => {
        if $cut.short { named!($dtype, $name, "_short") } else { named!($dtype, $name) }
    };
}

/// Normalises by the input's own statistics. With a `momentum`, the running statistics are blended in place:
/// `running = (1 - momentum) · running + momentum · batch`, of the unbiased variance; those of an empty batch leave
/// them.
///
/// The operands are the input, weight and bias where given, and the running mean and variance where there is a
/// momentum; the outputs the operation's, the mean and the biased variance.
///
/// # Errors
/// The dtype is no float, or a size is more than a kernel counts.
pub fn train(norm: &BatchNorm, momentum: Option<f64>, dtype: DType) -> Result<Program> {
    let mut plan = Plan::new(NAME, "batch_norm", dtype)?;
    let (cut, accumulator) = (norm.cut(), plan.accumulator());
    let sizes = norm.sizes(&cut)?;
    let y = plan.output(norm.elements(), dtype);
    let [mean, variance] = [(); 2].map(|()| plan.output(norm.channels, accumulator));
    let [means, squares] = [(); 2].map(|()| plan.scratch(norm.channels * cut.parts, accumulator));
    let ([weight, bias], next) = norm.affine(1);
    let [running_mean, running_variance] =
        [0, 1].map(|i| if momentum.is_some() { Arg::Operand(next + i) } else { Arg::Absent });
    let [activation, parameter] = norm.activation.arguments();

    let args = vec![Arg::Operand(0), means.clone(), squares.clone(), sizes.clone()];
    plan.launch(kernel!(cut, dtype, "batch_norm_moments"), cut.blocks, THREADS as u32, args)?;
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
    plan.launch(kernel!(cut, dtype, "batch_norm_train"), cut.blocks, THREADS as u32, args)?;
    Ok(plan.finish())
}

/// Normalises by given statistics. The operands are the input, the mean, the variance, and weight and bias where
/// given; the output is the operation's.
///
/// # Errors
/// As [`train`].
pub fn eval(norm: &BatchNorm, dtype: DType) -> Result<Program> {
    let mut plan = Plan::new(NAME, "batch_norm", dtype)?;
    let cut = norm.cut();
    let y = plan.output(norm.elements(), dtype);
    let ([weight, bias], _) = norm.affine(3);
    let [activation, parameter] = norm.activation.arguments();
    let mut args: Vec<Arg> = (0..3).map(Arg::Operand).collect();
    args.extend([weight, bias, y, Arg::Double(norm.eps), activation, parameter, norm.sizes(&cut)?]);
    plan.launch(kernel!(cut, dtype, "batch_norm_eval"), cut.blocks, THREADS as u32, args)?;
    Ok(plan.finish())
}

/// The gradients of input, weight and bias, the latter two where given; `of_batch` says whether the statistics are
/// the input's own, as of [`train`], or constants, as of [`eval`].
///
/// The operands are the input, the output's gradient, the mean, the biased variance, and weight and bias where given.
///
/// # Errors
/// As [`train`].
pub fn backward(norm: &BatchNorm, of_batch: bool, dtype: DType) -> Result<Program> {
    let mut plan = Plan::new(NAME, "batch_norm", dtype)?;
    let (cut, accumulator) = (norm.cut(), plan.accumulator());
    let sizes = norm.sizes(&cut)?;
    let dx = plan.output(norm.elements(), dtype);
    let [dweight, dbias] = [norm.weight, norm.bias]
        .map(|given| if given { plan.output(norm.channels, accumulator) } else { Arg::Absent });
    let [sums, products] = [(); 2].map(|()| plan.scratch(norm.channels * cut.parts, accumulator));
    let (parameters, _) = norm.affine(4);
    let [activation, parameter] = norm.activation.arguments();
    let from_output = Arg::Int(norm.activation.saves_output().into());
    let operands = || (0..4).map(Arg::Operand).chain(parameters.clone());

    let mut args: Vec<Arg> = operands().chain([sums.clone(), products.clone()]).collect();
    args.extend([Arg::Double(norm.eps), activation.clone(), parameter.clone(), from_output.clone()]);
    args.push(sizes.clone());
    plan.launch(kernel!(cut, dtype, "batch_norm_sums"), cut.blocks, THREADS as u32, args)?;
    let mut args: Vec<Arg> = operands().chain([sums, products, dx, dweight, dbias]).collect();
    args.extend([
        Arg::Double(norm.eps),
        activation,
        parameter,
        from_output,
        Arg::Int(of_batch.into()),
        sizes,
    ]);
    plan.launch(kernel!(cut, dtype, "batch_norm_gradients"), cut.blocks, THREADS as u32, args)?;
    Ok(plan.finish())
}
