//! Exports networks whose inputs have several named sizes.

use sconce::prelude::*;
use sconce::{IntoTensors, SymbolicSize};

use crate::models::{Tensors, uniform, write_named};
use crate::networks::{bert, gpt, resnet, unet};

/// Exports a network for images of any height and width that are multiples of 32.
fn write_images<M>(name: &str, network: &M) -> Result<()>
where
    M: Forward<Signal, Output: IntoTensors<Tensors: Tensors>> + Network,
{
    let side = |name: &str| SymbolicSize::named(name).example(2) * 32;
    let symbolic = Signal::symbolic(("batch", 3, side("height"), side("width")), DType::F32);
    let sizes = [(1, 64, 64), (2, 96, 32), (1, 32, 160)];
    let inputs = sizes.map(|(batch, height, width)| uniform((batch, 3, height, width), [-2., 2.]));
    let inputs = inputs.into_iter().map(|input| Ok([input?])).collect::<Result<Vec<_>>>()?;
    write_named(name, network, [symbolic], &inputs, |[x]| x)
}

#[test]
fn images_of_any_size() -> Result<()> {
    sconce::set_exact(true);
    sconce::manual_seed(0);
    write_images("resnet18", &resnet::resnet18().init(&Device::Cpu)?)?;
    write_images("unet", &unet::unet(3, 2).init(&Device::Cpu)?)?;
    write_images("pixels", &Pixels::new(&Device::Cpu)?)
}

/// A network whose shapes are products and sums of names.
#[derive(Module)]
#[module(forward = |x| {
    let (batch, channels, height, width) = x.dims4()?;
    let rows = x.permute((0, 2, 3, 1)).reshape((batch * height, width, channels));
    let mixed = linear(rows).reshape((batch, height * width, 6));
    let framed = pad(&x, (1, 1, 2, 0), PadMode::Reflect).narrow(2, 1, height + 1).mean_keepdim(1);
    (mixed.softmax(1).sum(1), framed, x.flatten(2, 3).expand((2, batch, channels, height * width)))
})]
struct Pixels {
    #[layer(3, 6)]
    linear: Linear,
}

#[test]
fn token_ids_of_any_length() -> Result<()> {
    sconce::set_exact(true);
    sconce::manual_seed(0);
    let inputs = SIZES.map(|(batch, length)| {
        let ids = (0..(batch * length) as i64).map(|i| i * 7919 % 1000);
        let visible = (0..batch * length).map(|i| u8::from(i % length < length - i / length));
        let ids = Tensor::from_iter(ids, &Device::Cpu)?.reshape((batch, length))?;
        Ok([ids, Tensor::from_iter(visible, &Device::Cpu)?.reshape((batch, length))?])
    });
    let inputs = inputs.into_iter().collect::<Result<Vec<_>>>()?;
    let symbolic = [DType::I64, DType::U8].map(|dtype| Signal::symbolic(("batch", "length"), dtype));
    let bert = bert::bert_base_uncased().vocabulary(1000).depth(2).init(&Device::Cpu)?;
    write_named("bert", &bert, symbolic.clone(), &inputs, |[ids, mask]| (ids, None::<Signal>, Some(mask)))?;
    let gpt = gpt::Gpt::config().vocabulary(1000).positions(64).depth(2).init(&Device::Cpu)?;
    let inputs: Vec<_> = inputs.into_iter().map(|[ids, _]| [ids]).collect();
    let [ids, _] = symbolic;
    write_named("gpt2", &gpt, [ids], &inputs, |[ids]| ids)
}

/// The batch sizes and lengths of the inputs of sequences.
const SIZES: [(usize, usize); 3] = [(1, 4), (3, 17), (2, 30)];

#[test]
fn features_of_any_length() -> Result<()> {
    sconce::set_exact(true);
    sconce::manual_seed(0);
    let inputs = SIZES.map(|(batch, length)| Ok([uniform((batch, length, 16), [-2., 2.])?]));
    let inputs = inputs.into_iter().collect::<Result<Vec<_>>>()?;
    let symbolic = [Signal::symbolic(("batch", "length", 16), DType::F32)];
    let encoder = TransformerEncoderLayer::config(16, 2).dim_feedforward(32).batch_first(true);
    write_named("encoder", &encoder.init(&Device::Cpu)?, symbolic.clone(), &inputs, |[x]| x)?;
    write_named("causal", &Causal::new(&Device::Cpu)?, symbolic.clone(), &inputs, |[x]| x)?;
    write_named("lstm", &Steps::new(&Device::Cpu)?, symbolic, &inputs, |[x]| x)
}

/// Causal attention, and positions with another start and step.
#[derive(Module)]
#[module(forward = |x| {
    let (y, weights) = attention(&x, &x, &x);
    let positions = Tensor::arange_step(5i64, 5 + 3 * x.dim(1)? as i64, 3, &Device::Cpu)?.unsqueeze(0)?;
    (y + table(positions), weights)
})]
struct Causal {
    #[layer(16, 2, batch_first = true, is_causal = true, add_zero_attn = true)]
    attention: MultiheadAttention,
    #[layer(100, 16)]
    table: Embedding,
}

#[derive(Module)]
#[module(forward = |x| {
    let (y, _) = lstm(x);
    y
})]
struct Steps {
    #[layer(16, 8, bidirectional = true, batch_first = true)]
    lstm: LSTM,
}
