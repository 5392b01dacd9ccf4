//! Products of batches of matrices.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, D, DType, Layout, Result, Shape, Tensor, bail};

use crate::composed_path::has_cpu_kernels;
use crate::element::{not_a_float, offsets, widened};
use crate::gemm::{Matrix, MatrixElement, Product};
use crate::operation::{CpuOperand, Operation};
use crate::relay;

/// Computes the matrix product of the last two dimensions.
///
/// - `a`: `[..., rows, depth]`
/// - `b`: `[..., depth, columns]`
/// - returns `[..., rows, columns]`; the leading dimensions are broadcast
///
/// Supports f32, f64, f16 and bf16, and any strides. On devices other than the CPU, falls back to candle's matrix
/// product. Differentiable in `a` and `b`.
///
/// # Errors
/// Fails if the shapes, dtypes or devices do not match.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use sconce_kernels::matmul;
///
/// # fn main() -> Result<()> {
/// let a = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let b = Tensor::new(&[[1f32], [10.]], &Device::Cpu)?;
/// assert_eq!(matmul(&a, &b)?.to_vec2::<f32>()?, [[21.], [43.]]);
/// # Ok(())
/// # }
/// ```
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let batch = check(a, b)?;
    if !has_cpu_kernels(a) {
        return composed(a, b, &batch);
    }
    let operand = |x: &Tensor| with_contiguous_lines(&broadcast(&widened_matrices(x)?, &batch)?);
    relay::apply([&operand(a)?, &operand(b)?], MatMul)?.to_dtype(a.dtype())
}

/// Computes [`matmul`] with candle's operation, after joining the leading dimensions into one. Copies an operand only
/// if neither the operand nor its transpose is contiguous.
fn composed(a: &Tensor, b: &Tensor, batch: &[usize]) -> Result<Tensor> {
    let flat =
        |x: &Tensor| x.reshape((batch.iter().product::<usize>(), x.dim(D::Minus2)?, x.dim(D::Minus1)?));
    let matrices = |x: &Tensor| {
        let x = broadcast(x, batch)?;
        let transposed = x.t()?;
        let is_transposed = transposed.is_contiguous() && !x.is_contiguous();
        if is_transposed { flat(&transposed)?.t() } else { flat(&x.contiguous()?) }
    };
    let product = matrices(a)?.matmul(&matrices(b)?)?;
    let (_, rows, columns) = product.dims3()?;
    product.reshape([batch, &[rows, columns]].concat())
}

/// Broadcasts the leading dimensions of `x` to `batch`.
fn broadcast(x: &Tensor, batch: &[usize]) -> Result<Tensor> {
    let dims = [batch, &x.dims()[x.rank() - 2..]].concat();
    if x.dims() == dims { Ok(x.clone()) } else { x.broadcast_as(dims) }
}

/// Converts f16 and bf16 to f32. If the transpose of `x` is contiguous, converts it and transposes the result, because
/// candle's conversion of a tensor that is not contiguous is slow.
fn widened_matrices(x: &Tensor) -> Result<Tensor> {
    let transposed = x.t()?;
    if transposed.is_contiguous() { widened(&transposed)?.t() } else { widened(x) }
}

/// Checks the operands and returns the broadcast leading dimensions.
fn check(a: &Tensor, b: &Tensor) -> Result<Vec<usize>> {
    let mismatch = || {
        let (a, b) = (a.dims(), b.dims());
        format!("matmul: expected [..., rows, depth] and [..., depth, columns], found {a:?} and {b:?}")
    };
    let ([a_batch @ .., _, a_depth], [b_batch @ .., b_depth, _]) = (a.dims(), b.dims()) else {
        bail!("{}", mismatch());
    };
    if a_depth != b_depth {
        bail!("{}", mismatch());
    }
    if a.dtype() != b.dtype() {
        bail!("matmul: expected operands of the same dtype, found {:?} and {:?}", a.dtype(), b.dtype());
    }
    match Shape::from(a_batch).broadcast_shape_binary_op(&Shape::from(b_batch), "matmul") {
        Ok(batch) => Ok(batch.into_dims()),
        Err(_) => bail!("{}", mismatch()),
    }
}

/// Returns `x`, or a contiguous copy if neither the rows nor the columns of its matrices are contiguous. A line is a
/// row or a column.
fn with_contiguous_lines(x: &Tensor) -> Result<Tensor> {
    if Matrices::of(x.layout()).is_some() { Ok(x.clone()) } else { x.contiguous() }
}

/// The matrices of the last two dimensions of a tensor.
struct Matrices {
    /// The offset of each matrix in the storage.
    offsets: Vec<usize>,
    rows: usize,
    columns: usize,
    /// The distance between neighboring rows (if `transposed`, between neighboring columns), in elements.
    stride: usize,
    /// Whether the elements of a column are consecutive. Otherwise, the elements of a row are consecutive.
    transposed: bool,
}

impl Matrices {
    /// Returns the matrices of a layout, or `None` if neither their rows nor their columns are contiguous.
    fn of(layout: &Layout) -> Option<Self> {
        let [batch @ .., rows, columns] = layout.dims() else { return None };
        let [batch_strides @ .., row_stride, column_stride] = layout.stride() else { return None };
        let (stride, transposed) = if *column_stride == 1 || *columns <= 1 {
            (*row_stride, false)
        } else if *row_stride == 1 || *rows <= 1 {
            (*column_stride, true)
        } else {
            return None;
        };
        let offsets = offsets(batch, batch_strides, layout.start_offset());
        Some(Self { offsets, rows: *rows, columns: *columns, stride, transposed })
    }

    /// Returns the matrix with the given index in the batch.
    fn get<'a, E: MatrixElement>(&self, storage: &'a [E], index: usize) -> Matrix<'a, E> {
        // An empty matrix may begin past the end of its storage.
        let values = storage.get(self.offsets[index]..).unwrap_or(&[]);
        if self.transposed {
            Matrix::with_stride(values, self.columns, self.rows, self.stride).t()
        } else {
            Matrix::with_stride(values, self.rows, self.columns, self.stride)
        }
    }
}

/// The product of two batches of matrices with equal leading dimensions, in f32 or f64.
struct MatMul;

impl MatMul {
    fn multiply<E: MatrixElement>([a, b]: [CpuOperand; 2]) -> Result<CpuStorage> {
        let (Some(a_matrices), Some(b_matrices)) = (Matrices::of(a.1), Matrices::of(b.1)) else {
            bail!("matmul: expected contiguous rows or columns, found {:?} and {:?}", a.1, b.1);
        };
        let (a, b) = (E::cpu_storage_as_slice(a.0)?, E::cpu_storage_as_slice(b.0)?);
        let products: Vec<_> = (0..a_matrices.offsets.len())
            .map(|i| Product { a: a_matrices.get(a, i), b: b_matrices.get(b, i) })
            .collect();
        Ok(E::to_cpu_storage_owned(E::multiply_all(&products)))
    }
}

impl Operation<2> for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn forward(&self, operands: [CpuOperand; 2]) -> Result<(CpuStorage, Shape)> {
        let [(a, a_layout), (_, b_layout)] = operands;
        let storage = match a.dtype() {
            DType::F32 => Self::multiply::<f32>(operands),
            DType::F64 => Self::multiply::<f64>(operands),
            other => Err(not_a_float("matmul", other)),
        }?;
        let mut dims = a_layout.dims().to_vec();
        dims.pop();
        dims.extend(b_layout.dims().last());
        Ok((storage, Shape::from(dims)))
    }

    fn backward(&self, [a, b]: [&Tensor; 2], _: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let [a_detached, b_detached, grad] = [a, b, grad].map(Tensor::detach);
        let grad_a = || matmul(&grad, &b_detached.transpose(D::Minus1, D::Minus2)?);
        let grad_b = || matmul(&a_detached.transpose(D::Minus1, D::Minus2)?, &grad);
        Ok([a.track_op().then(grad_a).transpose()?, b.track_op().then(grad_b).transpose()?])
    }
}
