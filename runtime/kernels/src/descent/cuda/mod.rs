//! The steps of optimisers on a CUDA device: one launch a parameter.

use crate::cuda::{Arg, Plan, Program, Target, int, launch_in_place, named, runs_on};
use candle_core::{DType, Result, Tensor};

const NAME: &str = "optimizer step";
const MODULE: &str = "descent";
const THREADS: u32 = 256;
/// Blocks for each multiprocessor, which has eight side by side: enough to even out.
const BLOCKS: u32 = 32;

/// Whether these kernels are for a parameter and its moments, or an average, which they change where they lie.
pub fn takes(targets: &[&Tensor]) -> bool {
    let fits = |tensor: &&Tensor| {
        let float = matches!(tensor.dtype(), DType::F32 | DType::F64 | DType::F16 | DType::BF16);
        let layout = tensor.layout();
        float
            && layout.is_contiguous()
            && layout.start_offset() == 0
            && int(NAME, tensor.elem_count()).is_ok()
    };
    targets.iter().all(|target| runs_on(target.device()) && fits(target))
}

/// `gradient += decay · parameter`, `buffer = momentum · buffer + share · gradient`, `parameter -= rate · buffer`;
/// with `nesterov`, of `gradient + momentum · buffer`; without a buffer, of the gradient.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// The learning rate.
    pub rate: f64,
    /// The factor of the buffer.
    pub momentum: f64,
    /// The factor of the gradient in the buffer: 1 - dampening.
    pub share: f64,
    /// The factor of the parameter in the gradient.
    pub decay: f64,
    /// Use the gradient plus `momentum · buffer`.
    pub nesterov: bool,
}

impl SgdStep {
    /// Runs the step on a CUDA device. All tensors have one shape.
    pub fn apply(&self, parameter: &Tensor, gradient: &Tensor, buffer: Option<&Tensor>) -> Result<()> {
        let targets: Vec<&Tensor> = [parameter].into_iter().chain(buffer).collect();
        let (elements, dtype) = (parameter.elem_count(), parameter.dtype());
        launch_in_place(NAME, &targets, &[gradient], |target| {
            self.program(elements, dtype, buffer.is_some(), target)
        })
    }

    /// The operands are the parameter, the buffer where there is one, and the gradient.
    ///
    /// # Errors
    /// The dtype is none of f32, f64, f16 and bf16, or there are too many elements to count.
    pub fn program(&self, elements: usize, dtype: DType, buffer: bool, target: &Target) -> Result<Program> {
        let Self { rate, momentum, share, decay, nesterov } = *self;
        let operands = match buffer {
            true => [Arg::Operand(0), Arg::Operand(2), Arg::Operand(1)],
            false => [Arg::Operand(0), Arg::Operand(1), Arg::Absent],
        };
        let mut args = operands.to_vec();
        args.push(Arg::Int(int(NAME, elements)?));
        args.extend([rate, momentum, share, decay].map(Arg::Double));
        args.push(Arg::Int(nesterov.into()));
        program(named!(dtype, "descent_sgd"), elements, dtype, args, target)
    }
}

/// `target = (1 - share) · target + share · x`: a step of the rate `share` down the slope `target - x`.
pub fn blend(target: &Tensor, x: &Tensor, share: f64) -> Result<()> {
    let step = SgdStep { rate: -share, momentum: 0., share: 1., decay: -1., nesterov: false };
    step.apply(target, x, None)
}

/// `gradient += decay · parameter`, the moving averages `mean` and `square` of it and its square, and
/// `parameter = keep · parameter - rate · mean / (√square · correction + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// The factor of the mean.
    pub rate: f64,
    /// The share that the mean keeps.
    pub keep_mean: f64,
    /// The share that the mean square keeps.
    pub keep_square: f64,
    /// The bias correction of the root mean square, as a factor.
    pub correction: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// The factor of the parameter.
    pub keep: f64,
    /// The factor of the parameter in the gradient.
    pub decay: f64,
}

impl AdamStep {
    /// Runs the step on a CUDA device. All tensors have one shape.
    pub fn apply(&self, [parameter, mean, square]: [&Tensor; 3], gradient: &Tensor) -> Result<()> {
        let (elements, dtype) = (parameter.elem_count(), parameter.dtype());
        launch_in_place(NAME, &[parameter, mean, square], &[gradient], |target| {
            self.program(elements, dtype, target)
        })
    }

    /// The operands are the parameter, `mean`, `square` and the gradient.
    ///
    /// # Errors
    /// As [`SgdStep::program`].
    pub fn program(&self, elements: usize, dtype: DType, target: &Target) -> Result<Program> {
        let Self { rate, keep_mean, keep_square, correction, eps, keep, decay } = *self;
        let mut args = [0, 3, 1, 2].map(Arg::Operand).to_vec();
        args.push(Arg::Int(int(NAME, elements)?));
        args.extend([rate, keep_mean, keep_square, correction, eps, keep, decay].map(Arg::Double));
        program(named!(dtype, "descent_adam"), elements, dtype, args, target)
    }
}

fn program(
    kernel: &'static str,
    elements: usize,
    dtype: DType,
    args: Vec<Arg>,
    target: &Target,
) -> Result<Program> {
    let mut plan = Plan::new(NAME, MODULE, dtype)?;
    let blocks = elements.div_ceil(THREADS as usize).min((target.multiprocessors * BLOCKS) as usize);
    plan.launch(kernel, blocks, THREADS, args)?;
    Ok(plan.finish())
}
