//! Optimizer steps on a CUDA device, with one launch for each parameter.

use candle_core::{DType, Result, Tensor};

use crate::cuda::{Arg, Program, ProgramBuilder, Target, int, launch_in_place, named, runs_on};

const NAME: &str = "optimizer step";
const MODULE: &str = "descent";
const THREADS: u32 = 256;
/// The maximum number of blocks for each multiprocessor. A multiprocessor runs eight blocks concurrently; more blocks
/// than that balance the load.
const BLOCKS: u32 = 32;

/// Returns `true` if the kernels can update all `tensors` in place: each is floating point, contiguous, on a CUDA
/// device and at the start of its storage, and has at most 2³⁰ elements.
pub fn supports(tensors: &[&Tensor]) -> bool {
    let fits = |tensor: &&Tensor| {
        let float = matches!(tensor.dtype(), DType::F32 | DType::F64 | DType::F16 | DType::BF16);
        let layout = tensor.layout();
        float
            && layout.is_contiguous()
            && layout.start_offset() == 0
            && int(NAME, tensor.elem_count()).is_ok()
    };
    tensors.iter().all(|tensor| runs_on(tensor.device()) && fits(tensor))
}

/// A step of SGD: `gradient += decay · parameter`, `buffer = momentum · buffer + share · gradient` and
/// `parameter -= rate · direction`. The direction is `gradient + momentum · buffer` if `nesterov` is set, and the
/// buffer otherwise. If there is no buffer, the direction is the gradient.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    /// The learning rate.
    pub rate: f64,
    /// The momentum: the factor of the previous value of the buffer.
    pub momentum: f64,
    /// The factor of the gradient in the buffer: 1 - dampening.
    pub share: f64,
    /// The weight decay: the factor of the parameter in the gradient.
    pub decay: f64,
    /// Whether to use Nesterov momentum.
    pub nesterov: bool,
}

impl SgdStep {
    /// Runs the step on a CUDA device. All tensors must have the same shape and dtype.
    ///
    /// # Errors
    /// Fails if the tensors are not on the same CUDA device, the parameter or the buffer is not contiguous or not
    /// aligned to 16 bytes, the dtype is not f32, f64, f16 or bf16, the parameter has more than 2³⁰ elements, the
    /// launch fails, or this build lacks the feature `cuda`.
    pub fn apply(&self, parameter: &Tensor, gradient: &Tensor, buffer: Option<&Tensor>) -> Result<()> {
        let updated: Vec<&Tensor> = [parameter].into_iter().chain(buffer).collect();
        let elements = parameter.elem_count();
        let dtype = parameter.dtype();
        launch_in_place(NAME, &updated, &[gradient], |target| {
            self.program(elements, dtype, buffer.is_some(), target)
        })
    }

    /// Returns the program of the step. Its operands are the parameter, the buffer if `buffer` is set, and the
    /// gradient.
    ///
    /// # Errors
    /// Fails if the dtype is not f32, f64, f16 or bf16, or `elements` is larger than 2³⁰.
    pub fn program(&self, elements: usize, dtype: DType, buffer: bool, target: &Target) -> Result<Program> {
        let Self { rate, momentum, share, decay, nesterov } = *self;
        // The kernel takes the parameter, the gradient and the buffer, in this order.
        let operands = if buffer {
            [Arg::Operand(0), Arg::Operand(2), Arg::Operand(1)]
        } else {
            [Arg::Operand(0), Arg::Operand(1), Arg::Absent]
        };
        let mut args = operands.to_vec();
        args.push(Arg::Int(int(NAME, elements)?));
        args.extend([rate, momentum, share, decay].map(Arg::Double));
        args.push(Arg::Int(nesterov.into()));
        program(named!(dtype, "descent_sgd"), elements, dtype, args, target)
    }
}

/// Computes `target = (1 - share) · target + share · x` in place.
///
/// # Errors
/// Fails under the same conditions as [`SgdStep::apply`].
pub fn blend(target: &Tensor, x: &Tensor, share: f64) -> Result<()> {
    // With a decay of -1, the gradient of this SGD step is `x - target`. With a rate of `-share`, the step adds `share`
    // times this gradient to `target`.
    let step = SgdStep { rate: -share, momentum: 0., share: 1., decay: -1., nesterov: false };
    step.apply(target, x, None)
}

/// A step of Adam: adds `decay · parameter` to the gradient, updates the moving averages (`mean` of the gradient and
/// `square` of its square), and sets `parameter = keep · parameter - rate · mean / (√square · correction + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// The factor of the mean: the learning rate, divided by the bias correction of the mean.
    pub rate: f64,
    /// The decay rate of `mean`: the factor of its previous value.
    pub keep_mean: f64,
    /// The decay rate of `square`: the factor of its previous value.
    pub keep_square: f64,
    /// The factor of `√square`: 1 divided by the square root of the bias correction of `square`.
    pub correction: f64,
    /// The number added to the denominator, which keeps it from being zero.
    pub eps: f64,
    /// The factor of the parameter: `1 - learning rate · weight decay` with decoupled weight decay (AdamW), otherwise
    /// 1.
    pub keep: f64,
    /// The weight decay: the factor of the parameter in the gradient.
    pub decay: f64,
}

impl AdamStep {
    /// Runs the step on a CUDA device. All tensors must have the same shape and dtype.
    ///
    /// # Errors
    /// Fails under the same conditions as [`SgdStep::apply`], with `mean` and `square` instead of the buffer.
    pub fn apply(&self, [parameter, mean, square]: [&Tensor; 3], gradient: &Tensor) -> Result<()> {
        let elements = parameter.elem_count();
        let dtype = parameter.dtype();
        launch_in_place(NAME, &[parameter, mean, square], &[gradient], |target| {
            self.program(elements, dtype, target)
        })
    }

    /// Returns the program of the step. Its operands are the parameter, `mean`, `square` and the gradient.
    ///
    /// # Errors
    /// Fails under the same conditions as [`SgdStep::program`].
    pub fn program(&self, elements: usize, dtype: DType, target: &Target) -> Result<Program> {
        let Self { rate, keep_mean, keep_square, correction, eps, keep, decay } = *self;
        // The kernel takes the parameter, the gradient, `mean` and `square`, in this order.
        let mut args = [0, 3, 1, 2].map(Arg::Operand).to_vec();
        args.push(Arg::Int(int(NAME, elements)?));
        args.extend([rate, keep_mean, keep_square, correction, eps, keep, decay].map(Arg::Double));
        program(named!(dtype, "descent_adam"), elements, dtype, args, target)
    }
}

/// Returns the program with one launch of `kernel` on `elements` elements.
fn program(
    kernel: &'static str,
    elements: usize,
    dtype: DType,
    args: Vec<Arg>,
    target: &Target,
) -> Result<Program> {
    let mut builder = ProgramBuilder::new(NAME, MODULE, dtype)?;
    let blocks = elements.div_ceil(THREADS as usize).min((target.multiprocessors * BLOCKS) as usize);
    builder.launch(kernel, blocks, THREADS, args)?;
    Ok(builder.finish())
}
