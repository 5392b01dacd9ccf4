//! Functions of the prelude beside fields with similar names.

#![allow(deprecated, dead_code)] // The derive warns of the unused fields.

use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| relu(fc(x)))]
struct ActivationSwapped {
    #[layer(3, 3)]
    fc: Linear,
    gelu: Gelu,
}

#[derive(Module)]
#[module(forward = |x| cat([fc(x), x], 1))]
struct Concat {
    #[layer(3, 3)]
    fc: Linear,
    act: Relu,
}

#[derive(Module)]
#[module(forward = |x| max_pool2d(conv1(x), 2))]
struct Pool {
    #[layer(1, 3, 3)]
    conv1: Conv2d,
    #[layer(2)]
    max_pool1: MaxPool2d,
}

#[test]
fn functions_of_the_prelude_are_not_taken_for_misspelled_fields() -> Result<()> {
    let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
    assert_eq!(ActivationSwapped::new(&Device::Cpu)?.forward(&x)?.dims(), [2, 3]);
    assert_eq!(Concat::new(&Device::Cpu)?.forward(&x)?.dims(), [2, 6]);
    let x = Tensor::ones((1, 1, 6, 6), DType::F32, &Device::Cpu)?;
    assert_eq!(Pool::new(&Device::Cpu)?.forward(&x)?.dims(), [1, 3, 2, 2]);
    Ok(())
}
