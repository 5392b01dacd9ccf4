//! The traits and methods that all layers have in common.

use std::fmt::{Debug, Display};

use sconce::layers::*;
use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn is_layer<T: Module + Clone + Debug + Display + Send + Sync>() {}

fn is_config<T: Clone + Debug>() {}

/// Calls a generic function for each of the types.
macro_rules! for_each_type {
    ($check:ident: $($ty:ty)*) => {
        $($check::<$ty>();)*
    };
}

#[test]
fn layers_can_be_cloned_and_printed() {
    for_each_type! { is_layer:
        Conv1d Conv2d ConvTranspose1d ConvTranspose2d Linear Bilinear Embedding EmbeddingBag RotaryEmbedding
        MultiheadAttention
        TransformerEncoderLayer TransformerEncoder CosineSimilarity PairwiseDistance
        LSTM LSTMCell GRU GRUCell RNN RNNCell
        BatchNorm BatchNorm1d BatchNorm2d BatchNorm3d LayerNorm LayerNorm2d RmsNorm GroupNorm
        InstanceNorm1d InstanceNorm2d InstanceNorm3d
        MaxPool1d MaxPool2d AvgPool1d AvgPool2d
        AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d
        Unfold Fold Upsample PixelShuffle PixelUnshuffle ChannelShuffle Permute
        ZeroPad2d ReflectionPad2d ReplicationPad2d CircularPad2d
        Dropout Dropout1d Dropout2d StochasticDepth Flatten Unflatten Identity Sequential
        Relu Gelu PRelu LeakyRelu Softmax LogSoftmax
    }
}

#[test]
fn configs_can_be_cloned_and_printed() {
    for_each_type! { is_config:
        Conv1dConfig Conv2dConfig ConvTranspose1dConfig ConvTranspose2dConfig LinearConfig BilinearConfig
        EmbeddingConfig EmbeddingBagConfig MultiheadAttentionConfig
        TransformerEncoderLayerConfig TransformerEncoderConfig
        LSTMConfig LSTMCellConfig GRUConfig GRUCellConfig RNNConfig
        RNNCellConfig BatchNormConfig BatchNormNdConfig<2> LayerNormConfig LayerNorm2dConfig RmsNormConfig
        GroupNormConfig InstanceNormConfig<2>
        PReluConfig
    }
    let config = Sequential::config().push(Relu).push_named("fc", Linear::config(2, 3));
    assert_eq!(format!("{config:?}"), r#"["0", "fc"]"#);
}

#[test]
fn debug_prints_the_layer_like_display() -> Result<()> {
    let layers: [Box<dyn Layer>; 3] = [
        Box::new(Conv2d::config(3, 8, 3).init(&DEVICE)?),
        Box::new(Dropout::config(0.1)),
        Box::new(Sequential::new().push(Relu).push(BatchNorm::config(2).init(&DEVICE)?)),
    ];
    let texts = [
        "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))",
        "Dropout(p=0.1, inplace=False)",
        "Sequential(\n  (0): ReLU()\n  (1): BatchNorm(2, eps=1e-05, momentum=0.1, affine=True, \
         track_running_stats=True)\n)",
    ];
    for (layer, text) in layers.iter().zip(texts) {
        assert_eq!(format!("{layer:?}"), text);
        assert_eq!(layer.to_string(), text);
    }
    Ok(())
}

#[test]
fn a_clone_shares_every_tensor() -> Result<()> {
    let layer = Sequential::new()
        .push(Conv2d::config(3, 4, 3).init(&DEVICE)?)
        .push(BatchNorm::config(4).init(&DEVICE)?)
        .push(PRelu::config().init(&DEVICE)?);
    let boxed: Box<dyn Layer> = Box::new(layer.clone());
    let ids = |layer: &dyn Layer| -> Vec<_> {
        let tensors = layer.named_parameters().into_iter().chain(layer.buffers());
        tensors.map(|(name, tensor)| (name, tensor.id())).collect()
    };
    assert_eq!(ids(&layer).len(), 8);
    assert_eq!(ids(&layer), ids(&layer.clone()));
    assert_eq!(ids(&layer), ids(&*boxed.clone()));

    let x = Tensor::randn(5f32, 2., (4, 3, 6, 6), &DEVICE)?;
    layer.clone().call(x.into(), Mode::Train).into_tensor()?;
    let batches = layer.state_dict().get("1.num_batches_tracked").map(Tensor::to_scalar::<i64>);
    assert_eq!(batches.transpose()?, Some(1), "a clone shares the running statistics");
    Ok(())
}

/// `forward` and `forward_t` are not ambiguous if candle's `Module` and `ModuleT` are imported next to the prelude.
mod forward {
    use candle_nn::{Module as _, ModuleT as _};
    use sconce::prelude::*;

    use super::DEVICE;

    #[derive(Module)]
    struct Net {
        #[layer(3, 2)]
        fc: Linear,
    }

    #[test]
    fn layers_networks_and_losses_have_forward() -> Result<()> {
        let x = Tensor::ones((4, 3), DType::F32, &DEVICE)?;
        let net = Net::new(&DEVICE)?;
        let y = net.fc.forward(&x)?;
        assert_eq!(y.to_vec2::<f32>()?, net.forward(&x)?.to_vec2::<f32>()?);
        assert_eq!(y.to_vec2::<f32>()?, net.forward_t(&x, true)?.to_vec2::<f32>()?);
        assert_eq!(y.to_vec2::<f32>()?, net.fc.forward_t(x.clone(), true)?.to_vec2::<f32>()?);
        let candle = candle_nn::Linear::new(net.fc.weight().clone(), net.fc.bias().cloned());
        assert!((candle.forward(&x)? - &y)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
        assert!((candle.forward_t(&x, true)? - &y)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
        assert_eq!(MseLoss::new().forward(&y, &y)?.to_scalar::<f32>()?, 0.);
        Ok(())
    }

    #[test]
    fn forward_evaluates_and_forward_t_takes_the_mode() -> Result<()> {
        let x = Tensor::ones((4, 3), DType::F32, &DEVICE)?;
        let sum = |x: Tensor| -> Result<f32> { Ok(x.sum_all()?.to_scalar()?) };
        let dropout = Dropout::config(1.);
        let boxed: Box<dyn Layer> = Box::new(dropout);
        let list = Sequential::new().push(Relu).push(dropout);
        assert_eq!(sum(dropout.forward(&x)?)?, 12.);
        assert_eq!(sum(boxed.forward(&x)?)?, 12.);
        assert_eq!(sum(list.forward(&x)?)?, 12.);
        assert_eq!(sum(dropout.forward_t(&x, true)?)?, 0.);
        assert_eq!(sum(boxed.forward_t(&x, true)?)?, 0.);
        assert_eq!(sum(list.forward_t(&x, true)?)?, 0.);
        Ok(())
    }

    #[test]
    fn containers_have_forward() -> Result<()> {
        let x = Tensor::ones((4, 3), DType::F32, &DEVICE)?;
        let sum = |x: Result<Tensor>| -> Result<f32> { Ok(x?.sum_all()?.to_scalar()?) };
        let dropout = Dropout::config(1.);
        let nested = vec![[Some(dropout), None], [None, Some(dropout)]];
        let boxed: Vec<Box<dyn Layer>> = vec![Box::new(dropout), Box::new(nested.clone())];
        for (evaluated, trained) in [
            (nested.forward(&x), nested.forward_t(&x, true)),
            (boxed.forward(&x), boxed.forward_t(&x, true)),
            ((Relu, dropout).forward(&x), (Relu, dropout).forward_t(&x, true)),
            (Some(dropout).forward(&x), Some(dropout).forward_t(&x, true)),
        ] {
            assert_eq!(sum(evaluated)?, 12.);
            assert_eq!(sum(trained)?, 0.);
        }
        let candle = vec![candle_nn::Linear::new(Tensor::ones((2, 3), DType::F32, &DEVICE)?, None)];
        assert_eq!(sum(candle.forward(&x))?, 24.);
        Ok(())
    }

    #[test]
    fn layers_with_several_inputs_or_outputs_have_forward() -> Result<()> {
        let x = Tensor::ones((4, 2, 8), DType::F32, &DEVICE)?;
        let (output, (h, c)) = LSTM::config(8, 6).init(&DEVICE)?.forward(&x)?;
        assert_eq!([output.dims(), h.dims(), c.dims()], [&[4, 2, 6][..], &[1, 2, 6], &[1, 2, 6]]);
        assert_eq!(GRUCell::config(8, 6).init(&DEVICE)?.forward(x.get(0)?)?.dims(), [2, 6]);
        let attention = MultiheadAttention::config(8, 2);
        let (output, weights) = attention.init(&DEVICE)?.forward(&x, &x, &x)?;
        assert_eq!(output.dims(), [4, 2, 8]);
        assert_eq!(weights.map(|weights| weights.dims().to_vec()), Some(vec![2, 4, 4]));
        let (_, weights) = attention.need_weights(false).init(&DEVICE)?.forward(&x, &x, &x)?;
        assert!(weights.is_none());
        assert_eq!(CosineSimilarity::config().dim(-1).forward(&x, &x)?.dims(), [4, 2]);
        assert_eq!(PairwiseDistance::config().keepdim(true).forward(&x, &x)?.dims(), [4, 2, 1]);
        assert_eq!(Bilinear::config(8, 8, 3).init(&DEVICE)?.forward(&x, &x)?.dims(), [4, 2, 3]);
        Ok(())
    }

    #[test]
    fn errors_name_the_layer() -> Result<()> {
        let x = Tensor::ones((4, 5), DType::F32, &DEVICE)?;
        let error = |result: Result<Tensor>| result.err().map(|error| error.to_string()).unwrap_or_default();
        let linear = Linear::config(3, 2).init(&DEVICE)?;
        assert!(error(linear.forward(&x)).starts_with("Linear 3→2: "), "{}", error(linear.forward(&x)));
        let list = Sequential::new().push(Relu).push(linear);
        assert!(
            error(list.forward(&x)).starts_with("at Sequential[1] (Linear 3→2): "),
            "{}",
            error(list.forward(&x))
        );
        Ok(())
    }
}
