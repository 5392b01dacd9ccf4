//! Functions of each element.

use crate::kernels::arithmetic::Unary;

use super::{Signal, check_float};

impl Signal {
    /// Computes the exponential of each element.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[0f32, f32::NEG_INFINITY], &Device::Cpu)?);
    /// assert_eq!(x.exp().into_tensor()?.to_vec1::<f32>()?, [1., 0.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn exp(&self) -> Self {
        self.clone().map_elements("exp", Unary::Exp, check_float)
    }

    /// Computes the natural logarithm of each element.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[1f32, 0.], &Device::Cpu)?);
    /// assert_eq!(x.log().into_tensor()?.to_vec1::<f32>()?, [0., f32::NEG_INFINITY]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn log(&self) -> Self {
        self.clone().map_elements("log", Unary::Log, check_float)
    }

    /// Computes the square root of each element.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[4f32, 9.], &Device::Cpu)?);
    /// assert_eq!(x.sqrt().into_tensor()?.to_vec1::<f32>()?, [2., 3.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sqrt(&self) -> Self {
        self.clone().map_elements("sqrt", Unary::Sqrt, check_float)
    }

    /// Computes the square of each element.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[-2f32, 3.], &Device::Cpu)?);
    /// assert_eq!(x.sqr().into_tensor()?.to_vec1::<f32>()?, [4., 9.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sqr(&self) -> Self {
        self.clone().map_elements("sqr", Unary::Sqr, check_float)
    }

    /// Computes the absolute value of each element.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[-2f32, 3.], &Device::Cpu)?);
    /// assert_eq!(x.abs().into_tensor()?.to_vec1::<f32>()?, [2., 3.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn abs(&self) -> Self {
        self.clone().map_elements("abs", Unary::Abs, |_| Ok(()))
    }

    /// Raises each element to the power `exponent`.
    ///
    /// The result is a failed signal if the dtype is not floating point.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[2f32, 3.], &Device::Cpu)?);
    /// assert_eq!(x.powf(2.).into_tensor()?.to_vec1::<f32>()?, [4., 9.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn powf(&self, exponent: f64) -> Self {
        self.clone().map_elements("powf", Unary::Powf { exponent }, check_float)
    }

    /// Limits each element to the range from `min` to `max`.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Signal::from(Tensor::new(&[-2f32, 0.5, 3.], &Device::Cpu)?);
    /// assert_eq!(x.clamp(-1., 1.).into_tensor()?.to_vec1::<f32>()?, [-1., 0.5, 1.]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn clamp(&self, min: f64, max: f64) -> Self {
        self.clone().map_elements("clamp", Unary::Clamp { min, max }, |_| Ok(()))
    }
}
