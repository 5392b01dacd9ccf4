//! Compares torchvision's networks with PyTorch: the parameter names in the checkpoints, the outputs and the
//! gradients.

use std::path::{Path, PathBuf};

use sconce::candle::{Result as CandleResult, Shape, Var, bail};
use sconce::checkpoint;
use sconce::nn::var_builder::SimpleBackend;
use sconce::nn::{Init, VarBuilder};
use sconce::prelude::*;
use sconce_kernels::testing::hashed_uniform;

use crate::assert_close;
use crate::networks::{
    convnext, deeplab, densenet, efficientnet, googlenet, mobilenet, mobilenet_v3, r2plus1d, resnet,
    squeezenet, swin, vgg,
};

/// Returns the tensor at position `index` of a state dict. Its values are computed from the position, the name and the
/// shape. The golden data was recorded with the same values. Integers keep their `initial` values. `norm_gain`
/// multiplies the weights of norms.
fn generated_tensor(name: &str, index: u32, initial: &Tensor, norm_gain: f64) -> Result<Tensor> {
    if !initial.dtype().is_float() {
        return Ok(initial.clone());
    }
    let dims = initial.dims();
    let elements = initial.elem_count();
    let fan_in = elements as f64 / dims.first().copied().unwrap_or(1) as f64;
    let (scale, offset) = match name.rsplit('.').next() {
        Some("running_var") => (1., 1.),
        Some("weight") if dims.len() >= 2 => ((24. / fan_in).sqrt(), 0.),
        Some("weight") => (0.5 * norm_gain, norm_gain),
        _ => (0.2, 0.),
    };
    Ok(Tensor::from_vec(hashed_uniform(index, elements, offset, scale), dims, &Device::Cpu)?)
}

/// Creates trainable tensors of zeros. The tests overwrite the initial values, and random values would take a tenth of
/// the time of the tests.
struct Zeros;

impl SimpleBackend for Zeros {
    fn get(&self, shape: Shape, _: &str, _: Init, dtype: DType, device: &Device) -> CandleResult<Tensor> {
        Ok(Var::zeros(shape, dtype, device)?.into_inner())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> CandleResult<Tensor> {
        bail!("{name}: expected a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// A network with the weights that [`generated_tensor`] computes, and PyTorch's outputs and gradients for them.
pub struct GoldenNetwork<N> {
    pub network: N,
    pub golden: StateDict,
}

type ForwardFn<N> = fn(&N, Tensor) -> Result<Tensor>;

/// Returns the directory of the golden data.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks")
}

/// Builds a network of zeros, and checks its keys, their order and the shapes.
pub fn checked_network<C: Config>(name: &str, config: C) -> Result<C::Output> {
    let list = std::fs::read_to_string(directory().join(format!("{name}.json")))?;
    let list: Vec<(String, Vec<usize>)> = serde_json::from_str(&list).map_err(Error::msg)?;
    let network = config.build(VarBuilder::from_backend(Box::new(Zeros), DType::F32, Device::Cpu))?;
    let state = network.state_dict();
    let keys: Vec<_> =
        state.iter().map(|(name, tensor)| (name.to_string(), tensor.dims().to_vec())).collect();
    assert_eq!(keys, list);
    Ok(network)
}

impl<N: Module> GoldenNetwork<N> {
    /// Checks the keys, their order and the shapes, and loads the weights that [`generated_tensor`] computes.
    pub fn new<C: Config<Output = N>>(name: &str, config: C) -> Result<Self> {
        let mut network = checked_network(name, config)?;
        let golden = checkpoint::read(directory().join(format!("{name}.safetensors")), &Device::Cpu)?;
        let norm_gain =
            golden.get("norm_gain").map_or(Ok(1.), |gain| gain.to_dtype(DType::F64)?.to_scalar())?;
        let state: Result<StateDict> = network
            .state_dict()
            .iter()
            .zip(0..)
            .map(|((name, initial), index)| {
                Ok((name.to_string(), generated_tensor(name, index, initial, norm_gain)?))
            })
            .collect();
        network.load_state_dict(&state?)?;
        Ok(Self { network, golden })
    }

    pub fn golden_tensor(&self, name: &str) -> Result<&Tensor> {
        self.golden.get(name).ok_or_else(|| Error::msg(format!("expected a golden tensor `{name}`")))
    }

    /// Checks the output in evaluation, with and without gradient tracking.
    fn check_output(&self, forward: ForwardFn<N>) -> Result<()> {
        let (input, output) = (self.golden_tensor("input")?, self.golden_tensor("output")?);
        assert_close("output", &forward(&self.network, input.clone())?, output, 1e-5)?;
        assert_close(
            "output without gradient tracking",
            &forward(&self.network.inference()?, input.clone())?,
            output,
            1e-5,
        )
    }

    /// Checks the gradients for the golden input.
    fn check_gradients(&self, forward: ForwardFn<N>, dtype: DType, tolerance: f64) -> Result<()> {
        self.check_gradients_of(
            &forward(&self.network, self.golden_tensor("input")?.to_dtype(dtype)?)?,
            tolerance,
        )
    }

    /// Checks that every trainable parameter has a gradient, and compares the gradients that the golden data contains.
    /// The golden tensor `cotangent` is the gradient of the output `y`.
    pub fn check_gradients_of(&self, y: &Tensor, tolerance: f64) -> Result<()> {
        let dtype = y.dtype();
        let grads = (y * self.golden_tensor("cotangent")?.to_dtype(dtype)?)?.sum_all()?.backward()?;
        let mut compared = 0;
        for (parameter, var) in self.network.trainable_parameters() {
            let actual =
                grads.get(&var).ok_or_else(|| Error::msg(format!("`{parameter}`: expected a gradient")))?;
            if let Some(expected) = self.golden.get(&format!("grad.{parameter}")) {
                assert!(expected.sqr()?.sum_all()?.to_scalar::<f32>()? > 0., "{parameter}");
                assert_close(&parameter, actual, expected, tolerance)?;
                compared += 1;
            }
        }
        assert!(compared > 0);
        Ok(())
    }
}

/// Checks the keys, the outputs and the gradients of a network in f32.
fn check_in_f32<C: Config>(name: &str, config: C, forward: ForwardFn<C::Output>) -> Result<()> {
    let golden_network = GoldenNetwork::new(name, config)?;
    golden_network.check_output(forward)?;
    golden_network.check_gradients(forward, DType::F32, 1e-5)
}

#[test]
fn resnet18_agrees_with_torchvision() -> Result<()> {
    check_in_f32("resnet18", resnet::resnet18(), |network, x| network.forward(x))
}

#[test]
fn resnet50_agrees_with_torchvision() -> Result<()> {
    check_in_f32("resnet50", resnet::resnet50(), |network, x| network.forward(x))
}

/// Like [`check_in_f32`], but for networks that compute millions of ReLUs and maxima. Rounding to f32 can move an input
/// across a kink, which changes the gradients of the first layers. Gradients are therefore checked to 1e-5 in f64 and
/// to 1e-2 in f32. In f64, the parameters that match the pattern `frozen` are frozen.
fn check_in_f64<C: Config>(
    name: &str,
    config: C,
    frozen: Option<&str>,
    forward: ForwardFn<C::Output>,
) -> Result<()> {
    let mut golden_network = GoldenNetwork::new(name, config)?;
    golden_network.check_output(forward)?;
    golden_network.check_gradients(forward, DType::F32, 1e-2)?;
    frozen.map_or(Ok(()), |pattern| golden_network.network.freeze(pattern))?;
    golden_network.network.to_dtype(DType::F64)?;
    golden_network.check_gradients(forward, DType::F64, 1e-5)
}

#[test]
fn vgg16_bn_agrees_with_torchvision() -> Result<()> {
    // The classifier is frozen in f64, which saves a gigabyte of gradients.
    check_in_f64("vgg16_bn", vgg::vgg16_bn(), Some("classifier.**"), |network, x| network.forward(x))
}

#[test]
fn mobilenet_v2_agrees_with_torchvision() -> Result<()> {
    check_in_f32("mobilenet_v2", mobilenet::mobilenet_v2(), |network, x| network.forward(x))
}

#[test]
fn efficientnet_b0_agrees_with_torchvision() -> Result<()> {
    check_in_f32("efficientnet_b0", efficientnet::efficientnet_b0(), |network, x| network.forward(x))
}

/// Checks that training mode runs, and gives every parameter a finite gradient.
pub fn check_training<N: Module>(network: &N, y: &Tensor) -> Result<()> {
    let grads = y.sqr()?.mean_all()?.backward()?;
    assert_eq!(audit_gradients(network, &grads), [""; 0]);
    for (name, var) in network.trainable_parameters() {
        let norm = grads.get(&var).map_or(Ok(f32::NAN), |grad| grad.sqr()?.sum_all()?.to_scalar::<f32>())?;
        assert!(norm.is_finite(), "{name}: {norm}");
    }
    Ok(())
}

#[test]
fn mobilenet_v3_agrees_with_torchvision() -> Result<()> {
    let (large, small) = (mobilenet_v3::mobilenet_v3_large(), mobilenet_v3::mobilenet_v3_small());
    check_in_f32("mobilenet_v3_large", large, |network, x| network.forward(x))?;
    check_in_f32("mobilenet_v3_small", small, |network, x| network.forward(x))?;
    let network = mobilenet_v3::mobilenet_v3_small().classes(5).init(&Device::Cpu)?;
    check_training(
        &network,
        &network.forward_t(Tensor::randn(0f32, 1., (2, 3, 64, 96), &Device::Cpu)?, true)?,
    )
}

#[test]
fn efficientnet_v2_s_agrees_with_torchvision() -> Result<()> {
    let config = efficientnet::efficientnet_v2_s();
    check_in_f32("efficientnet_v2_s", config, |network, x| network.forward(x))?;
    let network = efficientnet::efficientnet_v2_s().classes(5).init(&Device::Cpu)?;
    check_training(
        &network,
        &network.forward_t(Tensor::randn(0f32, 1., (2, 3, 64, 32), &Device::Cpu)?, true)?,
    )
}

/// The sizes of the stages are 25, 13, 7 and 4. The first two are padded and have shifted windows, the others have a
/// single window.
#[test]
fn swin_t_agrees_with_torchvision() -> Result<()> {
    check_in_f32("swin_t", swin::swin_t(), |network, x| network.forward(x))?;
    let network = swin::swin_t().classes(5).init(&Device::Cpu)?;
    check_training(
        &network,
        &network.forward_t(Tensor::randn(0f32, 1., (2, 3, 64, 36), &Device::Cpu)?, true)?,
    )
}

/// The golden output has the logits of the auxiliary classifier after those of the classifier.
#[test]
fn deeplabv3_resnet50_agrees_with_torchvision() -> Result<()> {
    let config = || deeplab::deeplabv3_resnet50().classes(5);
    check_in_f32("deeplabv3_resnet50", config().aux_loss(true), |network, x| {
        let (y, aux) = network.forward(x)?;
        Ok(Tensor::cat(&[y, aux.expect("there should be an auxiliary classifier")], 0)?)
    })
}

#[test]
fn deeplabv3_runs_without_its_auxiliary_classifier_and_in_training() -> Result<()> {
    let published = deeplab::deeplabv3_resnet50().aux_loss(true);
    let published = published.build(VarBuilder::zeros(DType::F32, &Device::Cpu))?;
    assert_eq!(published.num_parameters(), 42_004_074); // from torchvision's documentation

    let config = || deeplab::deeplabv3_resnet50().classes(5);
    let with = GoldenNetwork::new("deeplabv3_resnet50", config().aux_loss(true))?;
    let state: StateDict = with
        .network
        .state_dict()
        .iter()
        .filter(|(name, _)| !name.starts_with("aux_classifier."))
        .map(|(name, tensor)| (name.to_string(), tensor.clone()))
        .collect();
    let mut network = config().build(VarBuilder::zeros(DType::F32, &Device::Cpu))?;
    assert!(network.state_dict().keys().eq(state.keys()));
    network.load_state_dict(&state)?;
    let (y, aux) = network.forward(with.golden_tensor("input")?)?;
    assert!(aux.is_none());
    assert_close("output", &y, &with.golden_tensor("output")?.narrow(0, 0, 2)?, 1e-5)?;

    let x = Tensor::randn(0f32, 1., (2, 3, 33, 17), &Device::Cpu)?;
    let (y, aux) = with.network.forward_t(&x, true)?;
    let aux = aux.expect("there should be an auxiliary classifier");
    assert_eq!((y.dims(), aux.dims()), (&[2, 5, 33, 17][..], &[2, 5, 33, 17][..]));
    check_training(&with.network, &(y + aux)?)
}

#[test]
fn convnext_tiny_agrees_with_torchvision() -> Result<()> {
    check_in_f32("convnext_tiny", convnext::convnext_tiny(), |network, x| network.forward(x))
}

#[test]
fn densenet121_agrees_with_torchvision() -> Result<()> {
    check_in_f32("densenet121", densenet::densenet121(), |network, x| network.forward(x))
}

#[test]
fn squeezenet1_1_agrees_with_torchvision() -> Result<()> {
    check_in_f32("squeezenet1_1", squeezenet::squeezenet1_1(), |network, x| network.forward(x))
}

#[test]
fn r2plus1d_18_agrees_with_torchvision() -> Result<()> {
    check_in_f64("r2plus1d_18", r2plus1d::r2plus1d_18(), None, |network, x| network.forward(x))
}

#[test]
fn googlenet_agrees_with_torchvision() -> Result<()> {
    let config = googlenet::googlenet().aux_logits(false);
    check_in_f64("googlenet", config, None, |network, x| Ok(network.forward(x)?.0))
}

/// The auxiliary classifiers run in training only, and give a gradient to every layer before them.
#[test]
fn googlenet_trains_with_its_auxiliary_classifiers() -> Result<()> {
    let network = googlenet::googlenet().classes(7).init(&Device::Cpu)?;
    let state = network.state_dict();
    let keys: Vec<&str> = state.keys().collect();
    let index = |key: &str| {
        keys.iter().position(|k| *k == key).unwrap_or_else(|| panic!("expected {key} in {keys:?}"))
    };
    let order = ["inception5b.branch4.1.bn.num_batches_tracked", "aux1.conv.conv.weight", "aux1.fc1.weight"];
    assert!(order.map(index).is_sorted() && index("aux2.fc2.bias") + 1 == index("fc.weight"));
    // torchvision's network has 1000 classes and 13,004,888 parameters. This one has 993 fewer classes, each with
    // 1025 parameters in each of three classifiers.
    assert_eq!(network.num_parameters(), 13_004_888 - 993 * (1025 * 3));

    let x = Tensor::randn(0f32, 1., (2, 3, 96, 64), &Device::Cpu)?;
    let (logits, second, first) = network.forward_t(&x, true)?;
    let (second, first) =
        (second.expect("training should return aux2"), first.expect("training should return aux1"));
    for logits in [&logits, &second, &first] {
        assert_eq!(logits.dims(), [2, 7]);
    }
    let loss = ((logits.sum_all()? + (second.sqr()?.sum_all()? * 0.3)?)? + (first.sqr()?.sum_all()? * 0.3)?)?;
    let grads = loss.backward()?;
    assert_eq!(audit_gradients(&network, &grads), [""; 0]);
    let aux1 = first.sqr()?.sum_all()?.backward()?;
    for (parameter, var) in network.trainable_parameters() {
        let has_gradient =
            ["conv", "inception3", "inception4a", "aux1"].iter().any(|p| parameter.starts_with(p));
        assert_eq!(aux1.get(&var).is_some(), has_gradient, "{parameter}");
    }

    let (logits, second, first) = network.forward(&x)?;
    assert!(logits.dims() == [2, 7] && second.is_none() && first.is_none());
    Ok(())
}
