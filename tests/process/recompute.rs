//! The memory of a training step with and without `#[module(recompute)]`.

use std::time::{Duration, Instant};

use sconce::prelude::*;

use crate::{MEMORY, measured, passed_in_own_process};

const CHANNELS: usize = 8;
const BLOCKS: usize = 16;

/// A block that keeps the results of three convolutions and norms for the backward pass.
#[derive(Module)]
#[module(forward = |x| {
    let y = relu(bn1(conv1(x)));
    let y = relu(bn2(conv2(y)));
    relu(bn3(conv3(y)) + x)
})]
struct Block {
    #[layer(CHANNELS, CHANNELS, 3, padding = 1)]
    conv1: Conv2d,
    #[layer(CHANNELS)]
    bn1: BatchNorm,
    #[layer(CHANNELS, CHANNELS, 3, padding = 1)]
    conv2: Conv2d,
    #[layer(CHANNELS)]
    bn2: BatchNorm,
    #[layer(CHANNELS, CHANNELS, 3, padding = 1)]
    conv3: Conv2d,
    #[layer(CHANNELS)]
    bn3: BatchNorm,
}

#[derive(Module)]
struct Plain {
    #[layer(; for _ in 0..BLOCKS)]
    blocks: Vec<Block>,
}

#[derive(Module)]
#[module(forward = |mut x| {
    for i in 0..BLOCKS {
        x = blocks[i](x);
    }
    x
})]
struct Recomputed {
    #[layer(; for _ in 0..BLOCKS)]
    #[module(recompute)]
    blocks: Vec<Block>,
}

/// Returns the peak memory of a forward and backward pass, divided by the memory of one activation.
fn peak_in_activations<N: Module + Forward<Signal, Output = Signal>>(network: &N) -> Result<f64> {
    let x = Tensor::randn(0f32, 1., (4, CHANNELS, 32, 32), &Device::Cpu)?;
    let (grads, peak) = measured(|| -> Result<_> {
        let loss = network.call((&x).into(), Mode::Train).into_tensor()?.sqr()?.sum_all()?;
        Ok(sconce::backward(&loss)?)
    });
    grads?;
    Ok(peak as f64 / (x.elem_count() * size_of::<f32>()) as f64)
}

/// Waits until less than `limit` bytes are in use: the threads of the kernels free the buffers of their last tasks
/// shortly after a step. Panics after ten seconds.
fn wait_for_memory_below(limit: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while MEMORY.current_usage() >= limit {
        let usage = MEMORY.current_usage();
        assert!(Instant::now() < deadline, "expected less than {limit} bytes in use, found {usage}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Without `recompute`, each block keeps at least 6 activations. With it, each block keeps its input and its output,
/// and the backward pass needs at most 20 more for the block that it recomputes.
#[test]
fn recomputed_blocks_keep_only_their_inputs_and_outputs() -> Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let plain = Plain::new(&Device::Cpu)?;
    let mut recomputed = Recomputed::new(&Device::Cpu)?;
    recomputed.load_state_dict(&plain.state_dict())?;
    // The first step allocates buffers that stay.
    peak_in_activations(&plain)?;
    peak_in_activations(&recomputed)?;
    let before = MEMORY.current_usage();
    let (plain, recomputed) = (peak_in_activations(&plain)?, peak_in_activations(&recomputed)?);
    wait_for_memory_below(before + (1 << 16));
    println!("peak in activations: {plain:.1} without recompute, {recomputed:.1} with it");
    assert!(plain > 6. * BLOCKS as f64, "{plain}");
    assert!(recomputed < 2. * BLOCKS as f64 + 20., "{recomputed}");
    Ok(())
}
