//! ResNet-18 with random weights: the derived network agrees with one written by hand with candle-nn, in
//! evaluation and training.

use std::collections::HashMap;

use sconce::candle::{ModuleT, Result as CandleResult};
use sconce::nn::{self, BatchNorm, Conv2d, Conv2dConfig, VarBuilder};
use sconce::prelude::{DType, Device, Forward, Mode, Network, Result, Tensor};

use crate::resnet;

/// A convolution without bias and its batch norm.
struct ConvNorm(Conv2d, BatchNorm);

impl ConvNorm {
    fn new(
        (in_channels, out_channels): (usize, usize),
        size: usize,
        stride: usize,
        vb: &VarBuilder,
        names: [&str; 2],
    ) -> CandleResult<Self> {
        let config = Conv2dConfig { stride, padding: size / 2, ..Conv2dConfig::default() };
        let conv = nn::conv2d_no_bias(in_channels, out_channels, size, config, vb.pp(names[0]))?;
        Ok(Self(conv, nn::batch_norm(out_channels, 1e-5, vb.pp(names[1]))?))
    }

    fn run(&self, x: &Tensor, train: bool) -> CandleResult<Tensor> {
        self.1.forward_t(&x.apply(&self.0)?, train)
    }
}

struct Block {
    first: ConvNorm,
    second: ConvNorm,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn new(in_channels: usize, width: usize, stride: usize, vb: &VarBuilder) -> CandleResult<Self> {
        let downsample = if stride != 1 || in_channels != width {
            Some(ConvNorm::new((in_channels, width), 1, stride, &vb.pp("downsample"), ["0", "1"])?)
        } else {
            None
        };
        Ok(Self {
            first: ConvNorm::new((in_channels, width), 3, stride, vb, ["conv1", "bn1"])?,
            second: ConvNorm::new((width, width), 3, 1, vb, ["conv2", "bn2"])?,
            downsample,
        })
    }

    fn run(&self, x: &Tensor, train: bool) -> CandleResult<Tensor> {
        let h = self.second.run(&self.first.run(x, train)?.relu()?, train)?;
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.run(x, train)?,
            None => x.clone(),
        };
        (h + shortcut)?.relu()
    }
}

/// Runs the whole network, as a user of candle would write it.
fn by_hand(vb: &VarBuilder, x: &Tensor, train: bool) -> CandleResult<Tensor> {
    let stem = ConvNorm::new((3, 64), 7, 2, vb, ["conv1", "bn1"])?;
    let x = stem.run(x, train)?.relu()?;
    // candle's pooling has no padding. After a ReLU, padding with zeros gives the same maxima as padding with
    // minus infinity.
    let x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    let mut x = x.max_pool2d_with_stride(3, 2)?;
    let mut in_channels = 64;
    for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let vb = vb.pp(format!("layer{}.{block}", stage + 1));
            x = Block::new(in_channels, width, stride, &vb)?.run(&x, train)?;
            in_channels = width;
        }
    }
    x.mean((2, 3))?.apply(&nn::linear(512, 1000, vb.pp("fc"))?)
}

#[test]
fn resnet18_agrees_with_candle_in_evaluation_and_training() -> Result<()> {
    if crate::passed_in_own_process() {
        return Ok(());
    }
    sconce::manual_seed(1);
    let device = Device::Cpu;
    let network = resnet::resnet18().init(&device)?;
    // The tensors are copied. Otherwise the batch norms of candle and of sconce would update the same running
    // statistics.
    let copied: Result<HashMap<String, Tensor>> =
        network.state_dict().into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?))).collect();
    let vb = VarBuilder::from_tensors(copied?, DType::F32, &device);
    // The input is drawn by sconce's generator, which is seeded.
    let x = sconce::random::normal((2, 3, 64, 64), 0., 1., DType::F32, &device)?;
    // In training, the last batch norms divide by the standard deviation of only eight pixels, which amplifies
    // rounding errors. A different order of additions alone causes differences of 7e-6; Winograd's algorithm
    // causes slightly larger ones.
    for (train, bound) in [(false, 1e-5), (true, 2e-5)] {
        let ours = network.call((&x).into(), Mode::from(train)).into_tensor()?;
        let theirs = by_hand(&vb, &x, train)?;
        let worst = (&ours - &theirs)?.abs()?.max_all()?.to_scalar::<f32>()?;
        let scale = theirs.abs()?.max_all()?.to_scalar::<f32>()?.max(1.);
        assert!(worst <= bound * scale, "train = {train}: largest difference {worst}, largest value {scale}");
    }
    Ok(())
}
