//! Pooling on CUDA devices: the programs of the forward and backward passes.

mod op;

pub(super) use op::{Reduction, pool};

use candle_core::{DType, Result, bail};

use crate::cuda::{Arg, Program, ProgramBuilder, int, named};

use super::PoolGeometry;

const NAME: &str = "pooling";
/// The number of threads in a block.
const THREADS: usize = 256;
/// A warp computes each window of at least this many elements, and a single thread each smaller window.
const MIN_WARP_WINDOW: usize = 32;

/// Pooling of `planes` images, `[height, width]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolProblem {
    /// The number of images: batch · channels.
    pub planes: usize,
    /// `[height, width]` of the input.
    pub input: [usize; 2],
    /// `[height, width]` of the output.
    pub output: [usize; 2],
    /// The window settings; `None` for adaptive pooling.
    pub geometry: Option<PoolGeometry>,
}

/// The divisor of the sum of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The number of elements of the window, without padding.
    Elements,
    /// The number of elements of the window, including padding.
    ElementsAndPadding,
    /// A fixed number.
    Fixed(usize),
}

#[cfg(any(test, feature = "testing"))]
impl PoolProblem {
    /// Creates the problem of pooling with the given windows.
    ///
    /// # Errors
    /// Fails if [`PoolGeometry::output_size`] fails.
    pub fn new(planes: usize, input: [usize; 2], geometry: PoolGeometry) -> Result<Self> {
        Ok(Self { planes, input, output: geometry.output_size(input)?, geometry: Some(geometry) })
    }

    /// Creates the problem of adaptive pooling to the size `output`, in which no side may be 0.
    pub fn adaptive(planes: usize, input: [usize; 2], output: [usize; 2]) -> Self {
        Self { planes, input, output, geometry: None }
    }
}

impl PoolProblem {
    fn input_elements(&self) -> usize {
        self.planes * self.input[0] * self.input[1]
    }

    fn output_elements(&self) -> usize {
        self.planes * self.output[0] * self.output[1]
    }

    /// Returns the struct `Pool` of `windows.cuh` as an argument.
    fn sizes(&self) -> Result<Arg> {
        let mut sizes = vec![self.planes];
        for axis in [0, 1] {
            let (input, output) = (self.input[axis], self.output[axis]);
            sizes.extend([input, output]);
            sizes.extend(match &self.geometry {
                None => [0, 1, 0, 1],
                Some(PoolGeometry { kernel, stride, padding, dilation, .. }) => [
                    kernel[axis],
                    // A stride or dilation that is never applied is replaced by 1, because it may exceed the range of
                    // the kernels' integers.
                    if output == 1 { 1 } else { stride[axis] },
                    padding[axis],
                    if kernel[axis] == 1 { 1 } else { dilation[axis] },
                ],
            });
        }
        for (name, size) in [("input", self.input), ("output", self.output)] {
            int(NAME, size[0].saturating_mul(size[1]))
                .map_err(|error| error.context(format!("in an {name} of size {size:?}")))?;
        }
        if let Some(PoolGeometry { kernel, dilation, .. }) = &self.geometry {
            for axis in [0, 1] {
                int(NAME, (kernel[axis] - 1).saturating_mul(dilation[axis]))?;
            }
        }
        sizes.into_iter().map(|size| int(NAME, size)).collect::<Result<_>>().map(Arg::Ints)
    }

    /// Returns `true` if a warp computes each window and `false` if a thread does, and the number of blocks.
    fn blocks(&self) -> (bool, usize) {
        let side = |axis: usize| match &self.geometry {
            None => self.input[axis].div_ceil(self.output[axis]),
            Some(geometry) => geometry.kernel[axis].min(self.input[axis]),
        };
        let warp_per_window = side(0) * side(1) >= MIN_WARP_WINDOW;
        (warp_per_window, (self.output_elements() * if warp_per_window { 32 } else { 1 }).div_ceil(THREADS))
    }
}

/// Returns the program of max pooling. The operand is the input.
///
/// # Errors
/// Fails if the dtype is not a float, or a size exceeds the range of the kernels' integers.
pub fn max(pool: &PoolProblem, dtype: DType) -> Result<Program> {
    let mut builder = ProgramBuilder::new(NAME, "max_pool", dtype)?;
    let y = builder.output(pool.output_elements(), dtype);
    let (warp_per_window, blocks) = pool.blocks();
    let kernel = if warp_per_window { named!(dtype, "max_pool_wide") } else { named!(dtype, "max_pool") };
    builder.launch(kernel, blocks, THREADS as u32, vec![Arg::Operand(0), y, pool.sizes()?])?;
    Ok(builder.finish())
}

/// Returns the program of the gradient of [`max`]. The operands are the input, the output and the gradient of the
/// output.
///
/// # Errors
/// Fails under the same conditions as [`max`].
pub fn max_backward(pool: &PoolProblem, dtype: DType) -> Result<Program> {
    let mut builder = ProgramBuilder::new(NAME, "max_pool", dtype)?;
    let dx = builder.output(pool.input_elements(), dtype);
    let indices = builder.scratch(pool.output_elements(), DType::U32);
    let (warp_per_window, blocks) = pool.blocks();
    let kernel = if warp_per_window {
        named!(dtype, "max_pool_indices_wide")
    } else {
        named!(dtype, "max_pool_indices")
    };
    let args = vec![Arg::Operand(0), Arg::Operand(1), indices.clone(), pool.sizes()?];
    builder.launch(kernel, blocks, THREADS as u32, args)?;
    let args = vec![Arg::Operand(2), indices, dx, pool.sizes()?];
    let kernel = named!(dtype, "max_pool_gradient");
    builder.launch(kernel, pool.input_elements().div_ceil(THREADS), THREADS as u32, args)?;
    Ok(builder.finish())
}

/// Returns the program of average pooling. The operand is the input.
///
/// # Errors
/// Fails under the same conditions as [`max`], or if the dilation is not 1, or the divisor is 0.
pub fn average(pool: &PoolProblem, divisor: Divisor, dtype: DType) -> Result<Program> {
    let mut builder = ProgramBuilder::new(NAME, "average_pool", dtype)?;
    let y = builder.output(pool.output_elements(), dtype);
    let (warp_per_window, blocks) = pool.blocks();
    let kernel =
        if warp_per_window { named!(dtype, "average_pool_wide") } else { named!(dtype, "average_pool") };
    builder.launch(kernel, blocks, THREADS as u32, average_args(pool, divisor, [Arg::Operand(0), y])?)?;
    Ok(builder.finish())
}

/// Returns the program of the gradient of [`average`]. The operand is the gradient of the output.
///
/// # Errors
/// Fails under the same conditions as [`average`].
pub fn average_backward(pool: &PoolProblem, divisor: Divisor, dtype: DType) -> Result<Program> {
    let mut builder = ProgramBuilder::new(NAME, "average_pool", dtype)?;
    let dx = builder.output(pool.input_elements(), dtype);
    let kernel = named!(dtype, "average_pool_gradient");
    let args = average_args(pool, divisor, [Arg::Operand(0), dx])?;
    builder.launch(kernel, pool.input_elements().div_ceil(THREADS), THREADS as u32, args)?;
    Ok(builder.finish())
}

fn average_args(pool: &PoolProblem, divisor: Divisor, [input, output]: [Arg; 2]) -> Result<Vec<Arg>> {
    if pool.geometry.is_some_and(|geometry| geometry.dilation != [1; 2]) {
        bail!("{NAME}: average pooling supports only a dilation of 1")
    }
    let fixed = match divisor {
        Divisor::Fixed(0) => bail!("{NAME}: expected a divisor other than 0, found 0"),
        Divisor::Fixed(divisor) => divisor as f64,
        Divisor::Elements | Divisor::ElementsAndPadding => 0.,
    };
    let with_padding = i32::from(divisor == Divisor::ElementsAndPadding);
    Ok(vec![input, output, pool.sizes()?, Arg::Double(fixed), Arg::Int(with_padding)])
}
