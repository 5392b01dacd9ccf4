//! Tests networks that are captured as a CUDA graph, and the errors if the device is missing or is not a CUDA device.

use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| flatten(relu(conv(x)), 1))]
struct Net {
    #[layer(2, 3, 3)]
    conv: Conv2d,
}

#[test]
fn a_missing_device_is_an_error() {
    // No machine has this many devices.
    let error = sconce::cuda(4096).expect_err("expected an error").to_string();
    assert!(error.contains("expected the CUDA device 4096"), "{error}");
    assert!(cfg!(feature = "cuda") || error.contains("feature `cuda`"), "{error}");
}

#[test]
fn capturing_a_network_on_the_cpu_is_an_error() -> Result<()> {
    let layer = Conv2d::config(2, 3, 3).init(&Device::Cpu)?;
    let x = Tensor::zeros((1, 2, 5, 5), DType::F32, &Device::Cpu)?;
    let error = layer.capture(&x).map(|_| ()).expect_err("expected an error").to_string();
    assert!(error.contains("a CUDA device") && error.contains("Cpu"), "{error}");
    Ok(())
}

#[test]
#[ignore = "needs a CUDA device and the feature `cuda`"]
fn a_captured_network_gives_the_same_output() -> Result<()> {
    let device = sconce::cuda(0)?;
    let net = Net::new(&device)?;
    let captured = net.capture(&Tensor::zeros((1, 2, 5, 5), DType::F32, &device)?)?;
    let x = Tensor::randn(0f32, 1., (1, 2, 5, 5), &device)?;
    let expected = net.call(x.clone().into(), Mode::Eval).into_tensor()?;
    for _ in 0..3 {
        let difference = crate::common::magnitude::largest_magnitude(&(captured.replay(&x)? - &expected)?)?;
        assert_eq!(difference, 0.);
    }
    let error = captured.replay(&x.narrow(2, 0, 4)?).map(|_| ()).expect_err("expected an error").to_string();
    assert!(error.contains("expected the recorded shape [1, 2, 5, 5]"), "{error}");
    Ok(())
}
