//! Tensors that are written to a file.

use std::io::Write;

use ::safetensors::tensor::View as _;
use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

use super::convert::{CHUNK, to_dtype};
use super::strided::{MAX_DIMENSIONS, View};
use super::with_context;

/// A tensor to write: its name, its values, and the dtype of its elements in the file.
#[derive(Clone, Copy)]
pub(super) struct OutputTensor<'a> {
    pub name: &'a str,
    pub dtype: DType,
    tensor: &'a Tensor,
}

/// The identity of a tensor's elements. Two tensors have the same identity if they are tied: equal views of one
/// storage.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Identity {
    storage: usize,
    view: View,
}

impl<'a> OutputTensor<'a> {
    /// Prepares a tensor for writing. If `float_dtype` is set, a floating-point tensor is written as this dtype. Any
    /// other tensor keeps its dtype.
    ///
    /// # Errors
    ///
    /// Fails if the dtype of the tensor cannot be written.
    pub fn new(name: &'a str, tensor: &'a Tensor, float_dtype: Option<DType>) -> Result<Self> {
        let is_float = match tensor.dtype() {
            DType::U8 | DType::U32 | DType::I16 | DType::I32 | DType::I64 => false,
            DType::F8E4M3 | DType::BF16 | DType::F16 | DType::F32 | DType::F64 => true,
            dtype => return Err(Error::msg(format!("dtype {dtype:?} is not supported"))),
        };
        let dtype = float_dtype.filter(|_| is_float).unwrap_or(tensor.dtype());
        Ok(Self { name, dtype, tensor })
    }

    /// Returns the shape.
    pub fn dims(&self) -> &'a [usize] {
        self.tensor.dims()
    }

    pub fn element_count(&self) -> usize {
        self.tensor.elem_count()
    }

    /// Returns the number of bytes that the tensor has in the file.
    pub fn byte_count(&self) -> u64 {
        self.element_count() as u64 * self.dtype.size_in_bytes() as u64
    }

    /// Returns an error if the tensor has more dimensions than PyTorch and NumPy can read.
    pub fn check_rank(&self) -> Result<()> {
        match self.dims().len() {
            0..=MAX_DIMENSIONS => Ok(()),
            found => Err(Error::msg(format!("expected at most {MAX_DIMENSIONS} dimensions, found {found}"))),
        }
    }

    pub fn identity(&self) -> Identity {
        let (storage, layout) = self.tensor.storage_and_layout();
        let view = View {
            offset: layout.start_offset(),
            shape: layout.dims().to_vec(),
            strides: layout.stride().to_vec(),
        };
        Identity { storage: std::ptr::from_ref(&*storage) as usize, view }
    }

    /// Writes the elements in row-major order, little-endian. Copies one chunk at a time, or all elements if the tensor
    /// is not contiguous.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        with_context(format_args!("tensor `{}`", self.name), self.write_chunks(out))
    }

    fn write_chunks(&self, out: &mut dyn Write) -> Result<()> {
        let count = self.element_count();
        // An empty tensor has no bytes, and candle panics when it reads some empty views.
        if count == 0 {
            return Ok(());
        }
        let flat = self.tensor.flatten_all()?;
        for start in (0..count).step_by(CHUNK) {
            let mut chunk = flat.narrow(0, start, CHUNK.min(count - start))?;
            if !chunk.device().is_cpu() {
                // `to_device` would copy the whole storage of a view.
                chunk = chunk.force_contiguous()?.to_device(&Device::Cpu)?;
            }
            // `data` panics on errors. It cannot fail for a contiguous tensor on the CPU.
            out.write_all(&self.converted(chunk)?.data())?;
        }
        Ok(())
    }

    /// Converts a chunk to the dtype of the file.
    fn converted(&self, chunk: Tensor) -> Result<Tensor> {
        if chunk.dtype() == self.dtype {
            return Ok(chunk);
        }
        let converted = to_dtype(&chunk, self.dtype)?;
        match overflow(&chunk, &converted)? {
            None => Ok(converted),
            Some(value) => Err(Error::msg(format!(
                "expected values in the range of {:?}, found {value:e} (`Save::dtype` can choose a dtype with a larger \
                 range, such as BF16 or F32)",
                self.dtype
            ))),
        }
    }
}

/// Returns a finite value of `before` that is infinite in `after`, or `None` if there is none.
fn overflow(before: &Tensor, after: &Tensor) -> Result<Option<f64>> {
    let after = to_dtype(after, DType::F64)?.to_vec1::<f64>()?;
    if !after.iter().any(|value| value.is_infinite()) {
        return Ok(None);
    }
    let before = to_dtype(before, DType::F64)?.to_vec1::<f64>()?;
    let mut pairs = before.into_iter().zip(after);
    Ok(pairs.find(|(before, after)| before.is_finite() && after.is_infinite()).map(|(before, _)| before))
}
