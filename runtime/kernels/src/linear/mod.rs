//! The linear map `x · weightᵀ + bias` with its activation.

mod finish;
mod op;
mod product;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;
mod tile;

use super::activation::{self, Activation};
use super::element::with_elements;
use super::empty::nothing;
use super::memory::{Scratch, zeros};
use super::parallel::{Start, cost, for_each};
use super::simd::{Isa, Kernel, Simd, dispatch_to, isa};
use candle_core::{DType, Result, Tensor, bail};
use finish::Finish;
use product::{Left, Right, product};
use tile::{OUTPUTS, ROWS, dots};

/// Elements of a row that are summed in one go: those of some rows and weights fit a near cache together.
/// It decides the order of additions, so it depends on nothing.
const CHUNK: usize = 512;

/// From so many rows and outputs on a map is a product of panels: to turn a weight is dearer than a few sums.
const PRODUCT: [usize; 2] = [64, 16];

/// Computes `activation(x · weightᵀ + bias)`.
///
/// - `x`: `[..., inputs]`
/// - `weight`: `[outputs, inputs]`
/// - `bias`: `[outputs]`
/// - returns `[..., outputs]`
///
/// f32 on the CPU runs as one kernel. Other dtypes and devices fall back to candle's matrix product, followed
/// by bias and activation. Differentiable in `x`, `weight` and `bias`.
///
/// # Errors
/// The shapes, dtypes or devices do not fit together.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::{Activation, linear};
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[1f32, 1.], [-1., -1.]], &Device::Cpu)?;
/// let bias = Tensor::new(&[0.5f32, 0.5], &Device::Cpu)?;
/// let y = linear(&x, &weight, Some(&bias), Activation::Relu)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[3.5, 0.], [7.5, 0.]]);
/// # Ok(())
/// # }
/// ```
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let inputs = dims.pop();
    let rows = dims.iter().product::<usize>();
    let sizes = shape(&[rows, inputs.unwrap_or(0)], weight.dims(), bias.map(Tensor::dims));
    let Ok(Sizes { inputs, outputs, .. }) = sizes else {
        let (x, weight, bias) = (x.dims(), weight.dims(), bias.map(Tensor::dims));
        bail!(
            "linear: expected an input [..., inputs], a weight [outputs, inputs] and a bias [outputs], \
             found {x:?}, {weight:?} and {bias:?}"
        )
    };
    dims.push(outputs);
    let operands: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    if dims.contains(&0) {
        return nothing(&operands, dims);
    }
    let x = x.reshape((rows, inputs))?;
    if !operands.iter().all(|operand| operand.dtype() == DType::F32 && operand.device().is_cpu()) {
        return composed(&x, weight, bias, activation)?.reshape(dims);
    }
    let y = match operands.into_iter().any(Tensor::track_op) {
        true => op::linear(&x, weight, bias, activation),
        false => forward(isa(), &x, weight, bias, activation),
    };
    y?.reshape(dims)
}

/// [`linear`] from candle's own operations.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let mut y = x.matmul(&weight.t()?)?;
    if let Some(bias) = bias {
        y = y.broadcast_add(bias)?;
    }
    activation::apply(activation, &y)
}

/// As [`linear`], without gradients, with a given instruction set.
fn forward(
    isa: Isa,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let shape = shape(x.dims(), weight.dims(), bias.map(Tensor::dims))?;
    let run = |bias: Option<&[f32]>| {
        with_elements(x, |x| with_elements(weight, |weight| mapped(isa, shape, x, weight, bias, activation)))?
    };
    let y = match bias {
        Some(bias) => with_elements(bias, |bias| run(Some(bias)))??,
        None => run(None)?,
    };
    Tensor::from_vec(y, (shape.rows, shape.outputs), x.device())
}

/// `grad · weight`
fn of_x(isa: Isa, weight: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let ((rows, outputs), inputs) = (grad.dims2()?, weight.dim(1)?);
    let values = with_elements(grad, |values| {
        let left = Left { values, steps: [outputs, 1] };
        with_elements(weight, |weight| gradient(isa, left, weight, [rows, outputs, inputs]))
    })??;
    Tensor::from_vec(values, (rows, inputs), grad.device())
}

/// `gradᵀ · x`
fn of_weight(isa: Isa, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let ((rows, outputs), inputs) = (grad.dims2()?, x.dim(1)?);
    let values = with_elements(grad, |values| {
        let left = Left { values, steps: [1, outputs] };
        with_elements(x, |x| gradient(isa, left, x, [outputs, rows, inputs]))
    })??;
    Tensor::from_vec(values, (outputs, inputs), grad.device())
}

fn gradient(isa: Isa, left: Left<'_>, right: &[f32], sizes: [usize; 3]) -> Vec<f32> {
    match sizes {
        [rows, depth, columns] if rows * depth * columns == 0 => zeros(rows * columns),
        _ => product(isa, left, Right::Rows(right), sizes, Finish::NOTHING),
    }
}

/// The sizes of a linear map.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

fn shape(x: &[usize], weight: &[usize], bias: Option<&[usize]>) -> Result<Sizes> {
    match (x, weight) {
        (&[rows, inputs], &[outputs, columns])
            if columns == inputs && bias.is_none_or(|bias| *bias == [outputs]) =>
        {
            Ok(Sizes { rows, inputs, outputs })
        }
        _ => bail!(
            "linear: expected an input [rows, inputs], a weight [outputs, inputs] and a bias [outputs], \
             got {x:?}, {weight:?} and {bias:?}"
        ),
    }
}

fn mapped(
    isa: Isa,
    Sizes { rows, inputs, outputs }: Sizes,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
) -> Vec<f32> {
    let finish = Finish { bias, activation };
    if rows >= PRODUCT[0] && outputs >= PRODUCT[1] && inputs > 0 {
        let left = Left { values: x, steps: [inputs, 1] };
        return product(isa, left, Right::Columns(weight), [rows, inputs, outputs], finish);
    }
    let mut y = zeros(rows * outputs);
    Map { x, weight, finish, inputs, outputs, rows }.run(isa, &mut y);
    y
}

#[derive(Clone, Copy)]
struct Map<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    finish: Finish<'a>,
    inputs: usize,
    outputs: usize,
    rows: usize,
}

impl Map<'_> {
    /// Fills `y`, which is zeros. A task has some outputs of all rows, so that each weight is read once.
    fn run(self, isa: Isa, y: &mut [f32]) {
        let work = self.rows * self.inputs;
        // Every task reads all rows.
        let fair = self.outputs.div_ceil(4 * rayon::current_num_threads());
        let most = cost::STREAMED_MULTIPLY_ADDS.div_ceil(work.max(1)).max(fair).next_multiple_of(OUTPUTS);
        let y = Start::of(y);
        let near = if (ROWS + 1..PRODUCT[0]).contains(&self.rows) { self.rows * CHUNK } else { 0 };
        for_each(self.outputs.div_ceil(most), &|task| {
            let outputs = [task * most, self.outputs.min((task + 1) * most)];
            let mut scratch = Scratch::new([near]);
            let [near] = scratch.slices();
            dispatch_to(isa, Task { map: self, outputs, y: &y, near });
        });
    }
}

/// The outputs from the first up to the second, of every row.
struct Task<'a> {
    map: Map<'a>,
    outputs: [usize; 2],
    y: &'a Start<f32>,
    /// `[rows][CHUNK]` of the inputs, if those of many rows are to stay in the first cache, where rows that
    /// are a power of two apart would push each other out. Empty for few rows.
    near: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Map { inputs, outputs, rows, finish, .. } = self.map;
        for from in (0..inputs).step_by(CHUNK) {
            let chunk = [from, inputs.min(from + CHUNK)];
            self.gather(chunk);
            self.add(simd, chunk);
        }
        for row in 0..rows {
            // SAFETY: a row of `y`, of which these outputs are this task's alone.
            unsafe { finish.apply(simd, self.y.at(row * outputs), self.outputs) }
        }
    }
}

impl Task<'_> {
    /// Copies the inputs from the first up to the second.
    fn gather(&mut self, [from, to]: [usize; 2]) {
        let rows = self.map.x.chunks_exact(self.map.inputs);
        for (near, row) in self.near.chunks_exact_mut(CHUNK).zip(rows) {
            near[..to - from].copy_from_slice(&row[from..to]);
        }
    }

    /// A row's inputs from the first up to the second.
    #[inline(always)]
    fn row(&self, row: usize, [from, to]: [usize; 2]) -> &[f32] {
        match self.near.is_empty() {
            true => &self.map.x[row * self.map.inputs..][from..to],
            false => &self.near[row * CHUNK..][..to - from],
        }
    }

    /// Adds the products of the inputs from the first up to the second.
    #[inline(always)]
    fn add<S: Simd>(&self, simd: S, chunk: [usize; 2]) {
        let (Map { weight, inputs, outputs, rows, .. }, [from, to]) = (self.map, chunk);
        for output in (self.outputs[0]..self.outputs[1]).step_by(OUTPUTS) {
            let some = OUTPUTS.min(self.outputs[1] - output);
            for row in (0..rows).step_by(ROWS) {
                let count = ROWS.min(rows - row);
                // Beyond the last weight or row, the last one once more: its sums are left where they are.
                let mut at = [&[][..]; OUTPUTS];
                for (i, at) in at.iter_mut().enumerate() {
                    let start = (output + i.min(some - 1)) * inputs;
                    *at = &weight[start + from..start + to];
                }
                let mut of = [&[][..]; ROWS];
                for (i, of) in of.iter_mut().enumerate() {
                    *of = self.row(row + i.min(count - 1), chunk);
                }
                let sums = dots(simd, of, at, count);
                for (i, sums) in sums.iter().take(count).enumerate() {
                    let place = self.y.at((row + i) * outputs + output);
                    for (j, sum) in sums.iter().take(some).enumerate() {
                        // SAFETY: an element of `y`, of an output that is this task's alone.
                        unsafe { *place.add(j) += sum };
                    }
                }
            }
        }
    }
}
