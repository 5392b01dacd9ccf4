//! The arena of activations, which all networks of the process share.

use sconce::prelude::*;

use crate::resnet;

#[test]
fn the_arena_reuses_the_memory_of_activations_that_are_no_longer_needed() -> Result<()> {
    if crate::passed_in_own_process() {
        return Ok(());
    }
    assert_eq!(sconce::activation_memory(), sconce::ActivationMemory::default());
    let network = resnet::resnet18().init(&Device::Cpu)?.inference()?;
    for batch in [1, 2] {
        let x = Tensor::zeros((batch, 3, 64, 64), DType::F32, &Device::Cpu)?;
        for _ in 0..3 {
            network.forward(&x)?;
            let memory = sconce::activation_memory();
            // At the peak, three activations of 64 channels and 16×16 pixels are alive: the output of the first
            // convolution with its fused pooling, and the outputs of the two convolutions of the first block.
            let peak = batch * 3 * 64 * 16 * 16 * 4;
            assert_eq!((memory.leased, memory.peak), (0, peak));
            assert!(memory.held >= peak && memory.held <= 2 * peak, "{memory:?}");
        }
    }
    // Forward passes that run at the same time use different parts of the arena.
    let x = Tensor::randn(0f32, 1., (1, 3, 64, 64), &Device::Cpu)?;
    let expected = network.forward(&x)?.to_vec2::<f32>()?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let y = network.forward(&x).and_then(|y| Ok(y.to_vec2::<f32>()?));
                    assert_eq!(y.expect("the forward pass should succeed"), expected);
                }
            });
        }
    });
    assert_eq!(sconce::activation_memory().leased, 0);
    drop(network);
    assert_eq!(sconce::activation_memory(), sconce::ActivationMemory::default());
    Ok(())
}
