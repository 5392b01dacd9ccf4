//! Measures the overhead of the derive: runs the introductory network once as the derive generates it, and once written
//! by hand with the same kernels.
//!
//! Run each version under callgrind and compare the instruction counts, as in the section "The derive" of
//! benches/LOG.md:
//!
//! ```text
//! cargo bench -p sconce-benches --bench instructions --no-run     # prints the path of the program
//! SCONCE_ISA=avx2 RAYON_NUM_THREADS=1 valgrind --tool=callgrind PROGRAM derived 100
//! SCONCE_ISA=avx2 RAYON_NUM_THREADS=1 valgrind --tool=callgrind PROGRAM by-hand 100
//! ```

use std::time::Instant;

use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, PackedCache, conv2d};
use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| {
    let x = relu(conv1(x));
    relu(conv2(x))
})]
struct Model {
    #[layer(1, 20, 5)]
    conv1: Conv2d,
    #[layer(20, 20, 5)]
    conv2: Conv2d,
}

/// A convolution, its bias and a ReLU, without layers or signals.
struct ByHand {
    weight: Tensor,
    bias: Tensor,
    packed: PackedCache,
}

impl ByHand {
    fn new(conv: &Conv2d) -> Option<Self> {
        let (weight, bias) = (conv.weight().clone(), conv.bias()?.clone());
        Some(Self { weight, bias, packed: PackedCache::default() })
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let (shift, activation) = (Some(self.bias.clone()), Activation::Relu);
        let epilogue = Epilogue { shift, activation, ..Epilogue::default() };
        Ok(conv2d(x, &self.weight, &ConvGeometry::default(), &epilogue, Some(&self.packed))?)
    }
}

fn time(label: &str, rounds: usize, run: impl Fn() -> Result<Tensor>) -> Result<()> {
    let start = Instant::now();
    for _ in 0..rounds {
        run()?;
    }
    println!("{label}: {:.1} us per pass", 1e6 * start.elapsed().as_secs_f64() / rounds as f64);
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let rounds = arguments.get(1).and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let only = arguments.first().map_or("", String::as_str);

    let model = Model::new(&Device::Cpu)?.inference()?;
    let x = Tensor::randn(0f32, 1., (1, 1, 28, 28), &Device::Cpu)?;
    if only != "by-hand" {
        time("derived", rounds, || model.forward(&x))?;
    }
    if only != "derived" {
        let layers = [&model.conv1, &model.conv2].map(ByHand::new);
        let [Some(conv1), Some(conv2)] = layers else {
            return Err(Error::msg("expected both convolutions to have a bias"));
        };
        time("by hand", rounds, || conv2.run(&conv1.run(&x)?))?;
    }
    Ok(())
}
