//! Rotary position embedding (Su et al. 2021, <https://arxiv.org/abs/2104.09864>).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, D, Layout, Result, Shape, Tensor, WithDType, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{Element, compute_dtype, in_f32, not_a_float, offsets, with_element, with_elements};
use crate::empty::empty_output;
use crate::memory::{can_allocate, zeros};
use crate::operation::{CpuOperand, Operation};
use crate::parallel::{cost, for_each_chunk};
use crate::relay;
use crate::simd::{Kernel, Simd, dispatch_loops};

const NAME: &str = "rotary_embedding";

/// Rotates pairs of features by angles that depend on the position.
///
/// - `x`: `[..., positions, features]`
/// - `cos`, `sin`: the cosine and the sine of the angle of each pair, `[positions, pairs]`, or
///   `[batch, positions, pairs]` with the first dimension of `x` as `batch`
/// - `interleaved`: whether pair `i` consists of the features `2i` and `2i + 1`. Otherwise, it consists of the features
///   `i` and `i + pairs`.
/// - returns a tensor of the shape of `x`; the features after the first `2 · pairs` are unchanged
///
/// Supports f32, f64, f16 and bf16, and any strides. Differentiable in `x`.
///
/// # Errors
/// Fails if the shapes do not match, if `cos` or `sin` tracks gradients, if a tensor is not floating point, or if the
/// output does not fit in memory.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::rotary_embedding;
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2., 3., 4.]], &Device::Cpu)?;
/// // The first pair turns by a right angle, the second by two.
/// let cos = Tensor::new(&[[0f32, -1.]], &Device::Cpu)?;
/// let sin = Tensor::new(&[[1f32, 0.]], &Device::Cpu)?;
/// assert_eq!(rotary_embedding(&x, &cos, &sin, true)?.to_vec2::<f32>()?, [[-2., 1., -3., -4.]]);
/// assert_eq!(rotary_embedding(&x, &cos, &sin, false)?.to_vec2::<f32>()?, [[-3., -2., 1., -4.]]);
/// # Ok(())
/// # }
/// ```
pub fn rotary_embedding(x: &Tensor, cos: &Tensor, sin: &Tensor, interleaved: bool) -> Result<Tensor> {
    check_rotary_embedding(x, cos, sin)?;
    if x.dims().contains(&0) {
        return empty_output(&[x], x.shape());
    }
    if !can_allocate::<f64>(x.dims()) {
        bail!("{NAME}: not enough memory for an output of {:?}", x.dims());
    }
    let dtype = compute_dtype(x.dtype());
    let [cos, sin] = [cos.to_dtype(dtype)?, sin.to_dtype(dtype)?];
    let rotation = Rotation { cos, sin, interleaved };
    if !has_cpu_kernels(x) {
        return in_f32(x, |x| rotation.composed(x));
    }
    in_f32(x, |x| relay::apply([&with_contiguous_rows(x)?], rotation))
}

/// Checks the shapes and the dtypes of the arguments of [`rotary_embedding`]. Reads no elements.
///
/// # Errors
/// Fails if the shapes do not match, if `cos` or `sin` tracks gradients, or if a tensor is not floating point.
pub fn check_rotary_embedding(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<()> {
    if let Some(other) = [x, cos, sin].into_iter().find(|tensor| !tensor.dtype().is_float()) {
        return Err(not_a_float(NAME, other.dtype()));
    }
    let fits = cos.dims() == sin.dims()
        && match (x.dims(), cos.dims()) {
            ([.., positions, features], [rows, pairs]) => rows == positions && *pairs <= features / 2,
            ([batch, .., positions, features], [tables, rows, pairs]) => {
                tables == batch && rows == positions && *pairs <= features / 2
            }
            _ => false,
        };
    if !fits {
        bail!(
            "{NAME}: expected an input [..., positions, features] and cosines and sines [positions, pairs] or \
             [batch, positions, pairs] with at most features / 2 pairs, found {:?}, {:?} and {:?}",
            x.dims(),
            cos.dims(),
            sin.dims()
        );
    }
    if cos.track_op() || sin.track_op() {
        bail!("{NAME}: expected cosines and sines that do not track gradients");
    }
    Ok(())
}

/// Returns `x`, or a contiguous copy if the elements of its rows are not consecutive.
fn with_contiguous_rows(x: &Tensor) -> Result<Tensor> {
    if x.stride().last() == Some(&1) { Ok(x.clone()) } else { x.contiguous() }
}

/// The rotation of pairs of features. The gradient is the rotation in the opposite direction.
#[derive(Clone)]
struct Rotation {
    cos: Tensor,
    sin: Tensor,
    interleaved: bool,
}

impl Operation<1> for Rotation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn forward(&self, [(x, layout)]: [CpuOperand; 1]) -> Result<(CpuStorage, Shape)> {
        with_element!(NAME, x.dtype(), E => {
            let x = E::cpu_storage_as_slice(x)?;
            let y = with_elements::<E, _>(&self.cos, |cos| {
                with_elements::<E, _>(&self.sin, |sin| rotate(&self.rows(x, layout, [cos, sin])))
            })??;
            Ok((E::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn backward(&self, _: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let inverse = Self { sin: self.sin.neg()?, ..self.clone() };
        Ok([Some(relay::apply([&with_contiguous_rows(grad)?], inverse)?)])
    }
}

impl Rotation {
    /// Returns the rows of the operand. Their elements are consecutive.
    fn rows<'a, E: Element>(
        &self,
        x: &'a [E],
        layout: &Layout,
        [cos, sin]: [&'a [E]; 2],
    ) -> RotaryRows<'a, E> {
        let (outer, inner) = layout.dims().split_at(layout.dims().len() - 2);
        let strides = &layout.stride()[..outer.len()];
        let offsets = offsets(outer, strides, layout.start_offset());
        let tables = if self.cos.rank() == 3 { outer[0] } else { 1 };
        RotaryRows {
            x,
            planes_per_table: (offsets.len() / tables.max(1)).max(1),
            offsets,
            stride: layout.stride()[outer.len()],
            positions: inner[0],
            features: inner[1],
            cos,
            sin,
            pairs: self.cos.dims()[self.cos.rank() - 1],
            interleaved: self.interleaved,
        }
    }

    /// The composed path, for devices without a kernel.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let pairs = self.cos.dim(D::Minus1)?;
        let features = x.dim(D::Minus1)?;
        let halves = if self.interleaved {
            let shape = [&x.dims()[..x.rank() - 1], &[pairs, 2]].concat();
            let pairs = x.narrow(D::Minus1, 0, 2 * pairs)?.contiguous()?.reshape(shape)?;
            [0, 1].map(|i| pairs.narrow(D::Minus1, i, 1)?.squeeze(D::Minus1))
        } else {
            [0, pairs].map(|start| x.narrow(D::Minus1, start, pairs))
        };
        let [a, b] = halves;
        let (a, b) = (a?, b?);
        let [cos, sin] = [self.broadcastable(&self.cos, x)?, self.broadcastable(&self.sin, x)?];
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
        let rotated = if self.interleaved {
            let shape = [&x.dims()[..x.rank() - 1], &[2 * pairs]].concat();
            Tensor::stack(&[first, second], x.rank())?.reshape(shape)?
        } else {
            Tensor::cat(&[first, second], D::Minus1)?
        };
        Tensor::cat(&[rotated, x.narrow(D::Minus1, 2 * pairs, features - 2 * pairs)?], D::Minus1)
    }

    /// Returns a table in a shape that broadcasts to the pairs of `x`.
    fn broadcastable(&self, table: &Tensor, x: &Tensor) -> Result<Tensor> {
        let &[batch, positions, pairs] = table.dims() else { return Ok(table.clone()) };
        table.reshape([&[batch], &vec![1; x.rank() - 3][..], &[positions, pairs]].concat())
    }
}

/// The rows of the input, one for each position in each plane `[positions, features]`, and their angles.
struct RotaryRows<'a, E> {
    x: &'a [E],
    /// The offset of each plane.
    offsets: Vec<usize>,
    /// The distance between neighboring rows of a plane.
    stride: usize,
    positions: usize,
    features: usize,
    cos: &'a [E],
    sin: &'a [E],
    /// The number of pairs of each row.
    pairs: usize,
    /// The number of neighboring planes with the same angles.
    planes_per_table: usize,
    interleaved: bool,
}

/// Returns the rotated rows.
fn rotate<E: Element>(rows: &RotaryRows<E>) -> Vec<E> {
    let features = rows.features.max(1);
    let rows_per_task = cost::MIN_ELEMENTS.div_ceil(features);
    let mut y = zeros(rows.offsets.len() * rows.positions * rows.features);
    for_each_chunk(&mut y, rows_per_task * features, |task, y| {
        dispatch_loops(RotateRows { rows, first: task * rows_per_task, y });
    });
    y
}

/// Rotates neighboring rows, from the row `first` on.
struct RotateRows<'a, E> {
    rows: &'a RotaryRows<'a, E>,
    first: usize,
    y: &'a mut [E],
}

impl<E: Element> Kernel for RotateRows<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { rows, first, y } = self;
        for (i, y) in y.chunks_exact_mut(rows.features).enumerate() {
            let (plane, position) = ((first + i) / rows.positions, (first + i) % rows.positions);
            let x = &rows.x[rows.offsets[plane] + position * rows.stride..][..rows.features];
            let table = (plane / rows.planes_per_table * rows.positions + position) * rows.pairs;
            let [cos, sin] = [rows.cos, rows.sin].map(|table_of| &table_of[table..][..rows.pairs]);
            let (x, x_rest) = x.split_at(2 * rows.pairs);
            let (y, y_rest) = y.split_at_mut(2 * rows.pairs);
            y_rest.copy_from_slice(x_rest);
            if rows.interleaved {
                rotate_neighbors(x, [cos, sin], y);
            } else {
                rotate_halves(x, [cos, sin], y);
            }
        }
    }
}

/// Rotates the pairs of neighboring elements.
#[inline(always)]
fn rotate_neighbors<E: Element>(x: &[E], [cos, sin]: [&[E]; 2], y: &mut [E]) {
    for ((x, y), (cos, sin)) in x.chunks_exact(2).zip(y.chunks_exact_mut(2)).zip(cos.iter().zip(sin)) {
        y[0] = x[0] * *cos - x[1] * *sin;
        y[1] = x[0] * *sin + x[1] * *cos;
    }
}

/// Rotates the pairs of an element of the first half and an element of the second half.
#[inline(always)]
fn rotate_halves<E: Element>(x: &[E], [cos, sin]: [&[E]; 2], y: &mut [E]) {
    let (a, b) = x.split_at(cos.len());
    let (first, second) = y.split_at_mut(cos.len());
    let angles = || cos.iter().zip(sin);
    for ((y, (a, b)), (cos, sin)) in first.iter_mut().zip(a.iter().zip(b)).zip(angles()) {
        *y = *a * *cos - *b * *sin;
    }
    for ((y, (a, b)), (cos, sin)) in second.iter_mut().zip(a.iter().zip(b)).zip(angles()) {
        *y = *a * *sin + *b * *cos;
    }
}
