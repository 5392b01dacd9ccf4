//! The memory of activations, which all networks of the process share.

use sconce::prelude::*;

use crate::resnet;

#[test]
fn a_network_needs_its_widest_cut() -> Result<()> {
    let _alone = crate::alone();
    assert_eq!(sconce::activation_memory(), sconce::ActivationMemory::default());
    let network = resnet::resnet18().init(&Device::Cpu)?.inference()?;
    for batch in [1, 2] {
        let x = Tensor::zeros((batch, 3, 64, 64), DType::F32, &Device::Cpu)?;
        for _ in 0..3 {
            network.forward(&x)?;
            let memory = sconce::activation_memory();
            // The pooling's 64 channels of 16×16, which the first convolution runs into without a tensor between,
            // and as many of each of the first block's convolutions: the largest that are alive at once.
            let cut = batch * 3 * 64 * 16 * 16 * 4;
            assert_eq!((memory.leased, memory.peak), (0, cut));
            assert!(memory.held >= cut && memory.held <= 2 * cut, "{memory:?}");
        }
    }
    // Several at once, each in its own part.
    let x = Tensor::randn(0f32, 1., (1, 3, 64, 64), &Device::Cpu)?;
    let expected = network.forward(&x)?.to_vec2::<f32>()?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let y = network.forward(&x).and_then(|y| Ok(y.to_vec2::<f32>()?));
                    assert_eq!(y.expect("a result"), expected);
                }
            });
        }
    });
    assert_eq!(sconce::activation_memory().leased, 0);
    drop(network);
    assert_eq!(sconce::activation_memory(), sconce::ActivationMemory::default());
    Ok(())
}
