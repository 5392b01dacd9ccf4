//! Tests that `check_gradients` detects wrong gradients.

use candle_core::{DType, Device, Result, Tensor};

use crate::common::check_gradients;

/// Returns the error of the gradient check for `x · detach(x)`. For this function, `backward` returns half of the
/// correct gradient.
fn error(shape: &[usize]) -> Result<String> {
    let ones = Tensor::ones(shape, DType::F64, &Device::Cpu)?;
    let outcome = check_gradients(|x| &x[0] * x[0].detach(), &[ones]);
    Ok(outcome.expect_err("the gradient is wrong").to_string())
}

#[test]
fn wrong_gradients_are_errors_that_name_the_entry() -> Result<()> {
    for shape in [&[2][..], &[5, 7]] {
        let message = error(shape)?;
        assert!(message.starts_with("gradient of input 0: entry 0: expected "), "{message}");
    }
    check_gradients(|x| x[0].sqr(), &[Tensor::new(&[1f64, -2., 3., 4.], &Device::Cpu)?])
}
