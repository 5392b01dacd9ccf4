//! Pooling on a CUDA device: plans of the forward and backward passes.

mod op;

pub(super) use op::{Kind, pool};

use super::PoolGeometry;
use crate::cuda::{Arg, Plan, Program, int, named};
use candle_core::{DType, Result, bail};

const NAME: &str = "pooling";
/// Threads of a block.
const THREADS: usize = 256;
/// Elements of a window from which on a warp shares it.
const WIDE: usize = 32;

/// A pooling of `planes` images, each `[height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The number of images: batch · channels.
    pub planes: usize,
    /// `[height, width]` of the input.
    pub input: [usize; 2],
    /// `[height, width]` of the output.
    pub output: [usize; 2],
    /// None for windows as even as can be.
    pub geometry: Option<PoolGeometry>,
}

/// What a window's sum is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The elements of the window.
    Elements,
    /// The elements of the window and its padding.
    ElementsAndPadding,
    /// The given number.
    Fixed(usize),
}

#[cfg(any(test, feature = "testing"))]
impl Pool {
    /// A pooling by windows of one geometry.
    ///
    /// # Errors
    /// [`PoolGeometry::output_size`] has no answer.
    pub fn new(planes: usize, input: [usize; 2], geometry: PoolGeometry) -> Result<Self> {
        Ok(Self { planes, input, output: geometry.output_size(input)?, geometry: Some(geometry) })
    }

    /// Windows as even as can be, neither side of the output 0.
    pub fn adaptive(planes: usize, input: [usize; 2], output: [usize; 2]) -> Self {
        Self { planes, input, output, geometry: None }
    }
}

impl Pool {
    fn inputs(&self) -> usize {
        self.planes * self.input[0] * self.input[1]
    }

    fn outputs(&self) -> usize {
        self.planes * self.output[0] * self.output[1]
    }

    /// The structure `Pool` of `windows.cuh`.
    fn sizes(&self) -> Result<Arg> {
        let mut sizes = vec![self.planes];
        for axis in [0, 1] {
            let (input, output) = (self.input[axis], self.output[axis]);
            sizes.extend([input, output]);
            sizes.extend(match &self.geometry {
                None => [0, 1, 0, 1],
                Some(PoolGeometry { kernel, stride, padding, dilation, .. }) => [
                    kernel[axis],
                    // What nothing depends on may be larger than anything that a kernel counts.
                    if output == 1 { 1 } else { stride[axis] },
                    padding[axis],
                    if kernel[axis] == 1 { 1 } else { dilation[axis] },
                ],
            });
        }
        for (what, size) in [("input", self.input), ("output", self.output)] {
            int(NAME, size[0].saturating_mul(size[1]))
                .map_err(|error| error.context(format!("in an {what} of {size:?}")))?;
        }
        if let Some(PoolGeometry { kernel, dilation, .. }) = &self.geometry {
            for axis in [0, 1] {
                int(NAME, (kernel[axis] - 1).saturating_mul(dilation[axis]))?;
            }
        }
        sizes.into_iter().map(|size| int(NAME, size)).collect::<Result<_>>().map(Arg::Ints)
    }

    /// Whether a warp shares a window, and blocks for all windows.
    fn shared(&self) -> (bool, usize) {
        let side = |axis: usize| match &self.geometry {
            None => self.input[axis].div_ceil(self.output[axis]),
            Some(geometry) => geometry.kernel[axis].min(self.input[axis]),
        };
        let wide = side(0) * side(1) >= WIDE;
        (wide, (self.outputs() * if wide { 32 } else { 1 }).div_ceil(THREADS))
    }
}

/// The largest element of each window. The operand is the input; the output is the operation's.
///
/// # Errors
/// The dtype is no float, or a size is more than a kernel counts.
pub fn max(pool: &Pool, dtype: DType) -> Result<Program> {
    let mut plan = Plan::new(NAME, "max_pool", dtype)?;
    let y = plan.output(pool.outputs(), dtype);
    let (wide, blocks) = pool.shared();
    let kernel = if wide { named!(dtype, "max_pool_wide") } else { named!(dtype, "max_pool") };
    plan.launch(kernel, blocks, THREADS as u32, vec![Arg::Operand(0), y, pool.sizes()?])?;
    Ok(plan.finish())
}

/// The gradient of [`max`]'s input. The operands are the input, the output and its gradient.
///
/// # Errors
/// As [`max`].
pub fn max_backward(pool: &Pool, dtype: DType) -> Result<Program> {
    let mut plan = Plan::new(NAME, "max_pool", dtype)?;
    let dx = plan.output(pool.inputs(), dtype);
    let places = plan.scratch(pool.outputs(), DType::U32);
    let (wide, blocks) = pool.shared();
    let kernel = if wide { named!(dtype, "max_pool_places_wide") } else { named!(dtype, "max_pool_places") };
    let args = vec![Arg::Operand(0), Arg::Operand(1), places.clone(), pool.sizes()?];
    plan.launch(kernel, blocks, THREADS as u32, args)?;
    let args = vec![Arg::Operand(2), places, dx, pool.sizes()?];
    let kernel = named!(dtype, "max_pool_gradient");
    plan.launch(kernel, pool.inputs().div_ceil(THREADS), THREADS as u32, args)?;
    Ok(plan.finish())
}

/// The mean of each window. The operand is the input; the output is the operation's.
///
/// # Errors
/// As [`max`], or the dilation is not 1 or the divisor 0.
pub fn average(pool: &Pool, divisor: Divisor, dtype: DType) -> Result<Program> {
    let mut plan = Plan::new(NAME, "average_pool", dtype)?;
    let y = plan.output(pool.outputs(), dtype);
    let (wide, blocks) = pool.shared();
    let kernel = if wide { named!(dtype, "average_pool_wide") } else { named!(dtype, "average_pool") };
    plan.launch(kernel, blocks, THREADS as u32, average_args(pool, divisor, [Arg::Operand(0), y])?)?;
    Ok(plan.finish())
}

/// The gradient of [`average`]'s input. The operand is the gradient of the output.
///
/// # Errors
/// As [`average`].
pub fn average_backward(pool: &Pool, divisor: Divisor, dtype: DType) -> Result<Program> {
    let mut plan = Plan::new(NAME, "average_pool", dtype)?;
    let dx = plan.output(pool.inputs(), dtype);
    let kernel = named!(dtype, "average_pool_gradient");
    let args = average_args(pool, divisor, [Arg::Operand(0), dx])?;
    plan.launch(kernel, pool.inputs().div_ceil(THREADS), THREADS as u32, args)?;
    Ok(plan.finish())
}

fn average_args(pool: &Pool, divisor: Divisor, [from, to]: [Arg; 2]) -> Result<Vec<Arg>> {
    if pool.geometry.is_some_and(|geometry| geometry.dilation != [1; 2]) {
        bail!("{NAME}: expected a dilation of 1 for an average")
    }
    let fixed = match divisor {
        Divisor::Fixed(0) => bail!("{NAME}: expected a divisor other than 0, got 0"),
        Divisor::Fixed(divisor) => divisor as f64,
        Divisor::Elements | Divisor::ElementsAndPadding => 0.,
    };
    let with_padding = i32::from(divisor == Divisor::ElementsAndPadding);
    Ok(vec![from, to, pool.sizes()?, Arg::Double(fixed), Arg::Int(with_padding)])
}
