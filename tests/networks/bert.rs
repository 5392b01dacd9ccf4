//! Compares BERT with Hugging Face's `BertModel` in PyTorch.

use sconce::prelude::*;

use crate::assert_close;
use crate::networks::bert::{Bert, BertConfig, bert_base_uncased};
use crate::torchvision::{GoldenNetwork, check_training, checked_network};

/// Returns the config of the small network of the golden data.
fn small() -> BertConfig {
    bert_base_uncased().vocabulary(1000).positions(40).width(64).heads(4).depth(3)
}

/// Returns the features of all positions, followed by those of the whole sequence.
fn joined((x, pooled): (Tensor, Tensor)) -> Result<Tensor> {
    Ok(Tensor::cat(&[x, pooled.unsqueeze(1)?], 1)?)
}

/// Returns the outputs for the golden inputs, with zeros for the padding, as in the golden data.
fn masked(network: &Bert, golden: &GoldenNetwork<Bert>) -> Result<Tensor> {
    let mask = golden.golden_tensor("mask")?;
    let token_types = golden.golden_tensor("token_types")?;
    let (x, pooled) =
        network.forward(golden.golden_tensor("ids")?, Some(token_types.into()), Some(mask.into()))?;
    joined((x.broadcast_mul(&mask.unsqueeze(2)?.to_dtype(x.dtype())?)?, pooled))
}

#[test]
fn a_small_network_agrees_with_pytorch() -> Result<()> {
    let mut golden = GoldenNetwork::new("bert", small())?;
    let expected = golden.golden_tensor("output")?;
    let inference = golden.network.inference()?;
    assert_close("output", &masked(&golden.network, &golden)?, expected, 1e-5)?;
    assert_close("output without gradient tracking", &masked(&inference, &golden)?, expected, 1e-5)?;
    let plain = joined(inference.forward(golden.golden_tensor("ids")?, None, None)?)?;
    assert_close("output without mask", &plain, golden.golden_tensor("output_without_mask")?, 1e-5)?;
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-6)] {
        golden.network.to_dtype(dtype)?;
        golden.check_gradients_of(&masked(&golden.network, &golden)?, tolerance)?;
    }
    Ok(())
}

#[test]
fn a_small_network_trains() -> Result<()> {
    let network = small().init(&Device::Cpu)?;
    let ids = Tensor::arange(1u32, 25, &Device::Cpu)?.reshape((2, 12))?;
    let mask = Tensor::ones((2, 12), DType::U8, &Device::Cpu)?;
    check_training(&network, &joined(network.forward_t(&ids, None, Some(mask.into()), true)?)?)?;
    // Dropout changes the output in training only.
    let difference = |train: bool| -> Result<f32> {
        let [(a, _), (b, _)] =
            [network.forward_t(&ids, None, None, train)?, network.forward_t(&ids, None, None, train)?];
        Ok((a - b)?.abs()?.max_all()?.to_scalar()?)
    };
    assert!(difference(true)? > 0. && difference(false)? == 0.);
    Ok(())
}

#[test]
fn names_and_shapes_agree_with_the_published_checkpoint() -> Result<()> {
    let network = checked_network("bert_base_uncased", bert_base_uncased())?;
    assert_eq!(network.num_parameters(), 109_482_240); // from Hugging Face's bert-base-uncased
    Ok(())
}
