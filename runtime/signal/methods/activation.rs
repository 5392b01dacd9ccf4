//! Activations as methods. In a forward closure, an activation of the result of a call is fused into the called layer:
//! `conv(x).relu()` runs one kernel, as `relu(conv(x))` does.

use crate::dim::Dim;
use crate::ops;

use super::Signal;

impl Signal {
    /// Computes `max(x, 0)` of each element, as the function [`relu`](crate::functional::relu) does.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    ///
    /// #[derive(Module)]
    /// #[module(forward = |x| conv(x).relu())]
    /// struct Block {
    ///     #[layer(3, 8, 3)]
    ///     conv: Conv2d,
    /// }
    /// # fn main() -> Result<()> {
    ///
    /// let block = Block::new(&Device::Cpu)?;
    /// let x = Tensor::ones((1, 3, 6, 6), DType::F32, &Device::Cpu)?;
    /// let (y, launches) = sconce::trace(|| block.forward(&x));
    /// assert_eq!(y?.dims(), [1, 8, 4, 4]);
    /// assert_eq!(launches.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn relu(&self) -> Self {
        ops::relu(self.for_fusion())
    }

    /// Computes `1 / (1 + e⁻ˣ)` of each element, as the function [`sigmoid`](crate::functional::sigmoid) does.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::zeros(2, DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.sigmoid().into_tensor()?.to_vec1::<f32>()?, [0.5, 0.5]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sigmoid(&self) -> Self {
        ops::sigmoid(self.for_fusion())
    }

    /// Computes the hyperbolic tangent of each element, as the function [`tanh`](crate::functional::tanh) does.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::zeros(2, DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.tanh().into_tensor()?.to_vec1::<f32>()?, [0., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tanh(&self) -> Self {
        ops::tanh(self.for_fusion())
    }

    /// Computes `eˣ / Σ eˣ` over one dimension, as the function [`softmax`](crate::functional::softmax) does.
    ///
    /// The result is a failed signal if `dim` is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::zeros((1, 4), DType::F32, &Device::Cpu)?);
    /// assert_eq!(x.softmax(-1).into_tensor()?.to_vec2::<f32>()?, [[0.25; 4]]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn softmax(&self, dim: impl Dim) -> Self {
        ops::softmax(self, dim)
    }

    /// Computes `x − log Σ eˣ` over one dimension, as the function [`log_softmax`](crate::functional::log_softmax)
    /// does.
    ///
    /// The result is a failed signal if `dim` is out of range.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[0f32, 1000.], &Device::Cpu)?);
    /// assert_eq!(x.log_softmax(0).into_tensor()?.to_vec1::<f32>()?, [-1000., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn log_softmax(&self, dim: impl Dim) -> Self {
        ops::log_softmax(self, dim)
    }
}
