//! Measures the overhead of the derive: runs each network in two versions, as the derive generates it and written by
//! hand with the same layers. The network of `examples/first_network.rs` also runs on the kernels alone, without layers
//! and signals.
//!
//! `benches/instructions.sh` runs each version under callgrind and prints the ratios of the instruction counts. The
//! section "The derive" of benches/LOG.md has the results. Without callgrind, this program prints times:
//!
//! ```text
//! cargo bench -p sconce-benches --bench instructions                   # all networks
//! cargo bench -p sconce-benches --bench instructions -- mlp by-hand 100   # a network, a version, and 100 passes
//! ```

use std::time::Instant;

use sconce::kernels::activation::Activation;
use sconce::kernels::conv::{ConvGeometry, Epilogue, PackedCache, conv2d};
use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

/// The network of `examples/first_network.rs`.
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

impl Model {
    fn by_hand(&self, x: &Tensor) -> Result<Tensor> {
        let x = relu(self.conv1.call(x.into(), Mode::Eval));
        relu(self.conv2.call(x, Mode::Eval)).into_tensor()
    }
}

/// The operands of a convolution with bias and ReLU, for a call of the kernel.
struct Kernel {
    weight: Tensor,
    bias: Tensor,
    packed: PackedCache,
}

impl Kernel {
    fn new(conv: &Conv2d) -> Result<Self> {
        let bias = conv.bias().ok_or_else(|| Error::msg("expected the convolution to have a bias"))?.clone();
        Ok(Self { weight: conv.weight().clone(), bias, packed: PackedCache::default() })
    }

    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let (shift, activation) = (Some(self.bias.clone()), Activation::Relu);
        let epilogue = Epilogue { shift, activation, ..Epilogue::default() };
        Ok(conv2d(x, &self.weight, &ConvGeometry::default(), &epilogue, Some(&self.packed))?)
    }
}

/// A network with little work for each call.
#[derive(Module)]
#[module(forward = |x| fc2(relu(fc1(x))))]
struct Mlp {
    #[layer(784, 512)]
    fc1: Linear,
    #[layer(512, 10)]
    fc2: Linear,
}

impl Mlp {
    fn by_hand(&self, x: &Tensor) -> Result<Tensor> {
        let x = relu(self.fc1.call(x.into(), Mode::Eval));
        self.fc2.call(x, Mode::Eval).into_tensor()
    }
}

/// A network that calls its blocks through a local variable. sconce finds the path of a block by the block's address.
#[derive(Module)]
#[module(forward = |x| {
    let mut x = relu(stem_norm(stem(x)));
    for block in blocks {
        x = block(x);
    }
    head(x.mean((2, 3)))
})]
struct ResNet {
    #[layer(3, 16, 3, padding = 1, bias = false)]
    stem: Conv2d,
    #[layer(16)]
    stem_norm: BatchNorm,
    #[layer(; for _ in 0..8)]
    blocks: Vec<Block>,
    #[layer(16, 10)]
    head: Linear,
}

#[derive(Module)]
#[module(forward = |x| {
    let y = relu(norm1(conv1(x)));
    relu(norm2(conv2(y)) + x)
})]
struct Block {
    #[layer(16, 16, 3, padding = 1, bias = false)]
    conv1: Conv2d,
    #[layer(16)]
    norm1: BatchNorm,
    #[layer(16, 16, 3, padding = 1, bias = false)]
    conv2: Conv2d,
    #[layer(16)]
    norm2: BatchNorm,
}

impl ResNet {
    fn by_hand(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.stem.call(x.into(), Mode::Eval);
        let mut x = relu(self.stem_norm.call(x, Mode::Eval));
        for block in &self.blocks {
            x = block.by_hand(x);
        }
        self.head.call(x.mean((2, 3)), Mode::Eval).into_tensor()
    }
}

impl Block {
    fn by_hand(&self, x: Signal) -> Signal {
        let y = self.conv1.call(x.clone(), Mode::Eval);
        let y = relu(self.norm1.call(y, Mode::Eval));
        let y = self.conv2.call(y, Mode::Eval);
        relu(self.norm2.call(y, Mode::Eval) + x)
    }
}

/// A block that calls the elements of arrays and tuples through local variables.
#[derive(Module)]
#[module(forward = |x| {
    let [norm1, norm2] = norms;
    let [query, key, value] = projections;
    let h = norm1(x);
    let weights = softmax(query(h).matmul(key(h).transpose(-2, -1)) * scale, -1);
    let x = x + output(weights.matmul(value(h)));
    let (up, act, down) = mlp;
    x + down(act(up(norm2(x))))
})]
struct Transformer {
    #[layer(128; for _ in 0..2)]
    norms: [LayerNorm; 2],
    #[layer(128, 128; for _ in 0..3)]
    projections: [Linear; 3],
    #[layer(128, 128)]
    output: Linear,
    #[layer((128, 512), (), (512, 128))]
    mlp: (Linear, Gelu, Linear),
    #[module(skip = 0.125)]
    scale: f64,
}

impl Transformer {
    fn by_hand(&self, x: &Tensor) -> Result<Tensor> {
        let x = Signal::from(x);
        let [norm1, norm2] = &self.norms;
        let [query, key, value] = &self.projections;
        let h = norm1.call(x.clone(), Mode::Eval);
        let query = query.call(h.clone(), Mode::Eval);
        let key = key.call(h.clone(), Mode::Eval).transpose(-2, -1);
        let weights = softmax(query.matmul(key) * self.scale, -1);
        let attended = weights.matmul(value.call(h, Mode::Eval));
        let x = x + self.output.call(attended, Mode::Eval);
        let (up, act, down) = &self.mlp;
        let h = norm2.call(x.clone(), Mode::Eval);
        let h = act.call(up.call(h, Mode::Eval), Mode::Eval);
        (x + down.call(h, Mode::Eval)).into_tensor()
    }
}

/// The arguments of the program. An empty name selects all networks, or all versions.
struct Arguments {
    network: String,
    version: String,
    passes: usize,
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
        let network = arguments.next().unwrap_or_default();
        let version = arguments.next().unwrap_or_default();
        let passes = arguments.next().and_then(|passes| passes.parse().ok()).unwrap_or(2_000);
        Self { network, version, passes }
    }

    fn selects(&self, network: &str) -> bool {
        self.network.is_empty() || self.network == network
    }

    /// Times both versions of a network, after checking that their outputs are equal.
    fn compare(
        &self,
        network: &str,
        derived: impl Fn() -> Result<Tensor>,
        by_hand: impl Fn() -> Result<Tensor>,
    ) -> Result<()> {
        let difference = (derived()? - by_hand()?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        if difference > 1e-4 {
            return Err(Error::msg(format!("the outputs of the two versions of `{network}` differ")));
        }
        self.time(network, "derived", derived)?;
        self.time(network, "by-hand", by_hand)
    }

    fn time(&self, network: &str, version: &str, run: impl Fn() -> Result<Tensor>) -> Result<()> {
        if !self.version.is_empty() && self.version != version {
            return Ok(());
        }
        let start = Instant::now();
        for _ in 0..self.passes {
            run()?;
        }
        let time = 1e6 * start.elapsed().as_secs_f64() / self.passes as f64;
        println!("{network}, {version}: {time:.1} us per pass");
        Ok(())
    }
}

fn input(shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::randn(0f32, 1., shape, &DEVICE)?)
}

fn main() -> Result<()> {
    let arguments = Arguments::read();
    if arguments.selects("introduction") {
        let network = Model::new(&DEVICE)?.inference()?;
        let x = input(&[1, 1, 28, 28])?;
        arguments.compare("introduction", || network.forward(&x), || network.by_hand(&x))?;
        let conv1 = Kernel::new(&network.conv1)?;
        let conv2 = Kernel::new(&network.conv2)?;
        arguments.time("introduction", "kernels", || conv2.run(&conv1.run(&x)?))?;
    }
    if arguments.selects("mlp") {
        let network = Mlp::new(&DEVICE)?.inference()?;
        let x = input(&[1, 784])?;
        arguments.compare("mlp", || network.forward(&x), || network.by_hand(&x))?;
    }
    if arguments.selects("resnet") {
        let network = ResNet::new(&DEVICE)?.inference()?;
        let x = input(&[1, 3, 28, 28])?;
        arguments.compare("resnet", || network.forward(&x), || network.by_hand(&x))?;
    }
    if arguments.selects("transformer") {
        let network = Transformer::new(&DEVICE)?.inference()?;
        let x = input(&[1, 16, 128])?;
        arguments.compare("transformer", || network.forward(&x), || network.by_hand(&x))?;
    }
    Ok(())
}
