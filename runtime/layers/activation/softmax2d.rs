//! The layer `Softmax2d`.

use crate::Error;
use crate::layers::without_settings;
use crate::module::{Forward, Mode};
use crate::ops;
use crate::signal::Signal;

without_settings! {
    /// Computes the softmax over the channels of each pixel.
    ///
    /// - Config: `Softmax2d`
    /// - Input, output: `[batch, channels, height, width]` or `[channels, height, width]`
    /// - Fails if the input has the wrong rank
    ///
    /// ```
    /// use sconce::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::ones((1, 4, 2, 3), DType::F32, &Device::Cpu)?;
    /// let y = Softmax2d.call(x.into(), Mode::Eval).into_tensor()?;
    /// assert!(y.flatten_all()?.to_vec1::<f32>()?.iter().all(|y| *y == 0.25));
    /// # Ok(())
    /// # }
    /// ```
    Softmax2d "Softmax2d"
}

impl Forward for Softmax2d {
    type Output = Signal;

    fn forward_pass(&self, x: Signal, _: Mode) -> Signal {
        match x.dims() {
            Ok([_, _, _] | [_, _, _, _]) => ops::softmax(x, -3),
            Ok(dims) => {
                let error = format!(
                    "expected an input [batch, channels, height, width] or [channels, height, width], found {dims:?}"
                );
                Signal::fail(Error::msg(error).in_layer("Softmax2d"))
            }
            Err(_) => x,
        }
    }
}
