//! Networks on signals whose sizes have names.

use sconce::prelude::*;
use sconce::{IntoTensors, SummaryInput, SymbolicSize};

use crate::networks::{
    bert, convnext, deeplab, densenet, efficientnet, gpt, mobilenet, mobilenet_v3, r2plus1d, resnet,
    squeezenet, swin, unet, vgg, vit,
};

/// Returns the sizes of the output as text.
fn sizes<I: SummaryInput + Clone, M: Forward<I, Output: IntoTensors>>(
    network: &M,
    input: I,
) -> Result<String> {
    Ok(format!("{:?}", network.output_sizes(input)?))
}

/// Checks the sizes of the output for images with named sizes.
fn check_images<C>(config: C, output: &str) -> Result<()>
where
    C: Config<Output: Forward<Signal, Output = Signal>>,
{
    let side = |name: &str| SymbolicSize::named(name).example(2) * 32;
    let images = Signal::symbolic(("batch", 3, side("h"), side("w")), DType::F32);
    assert_eq!(sizes(&config.meta()?, images)?, output);
    Ok(())
}

#[test]
fn outputs_of_networks_have_named_sizes() -> Result<()> {
    check_images(resnet::resnet18(), "[[batch, 1000]]")?;
    check_images(vgg::vgg16_bn(), "[[batch, 1000]]")?;
    check_images(mobilenet::mobilenet_v2(), "[[batch, 1000]]")?;
    check_images(mobilenet_v3::mobilenet_v3_small(), "[[batch, 1000]]")?;
    check_images(efficientnet::efficientnet_b0(), "[[batch, 1000]]")?;
    check_images(convnext::convnext_tiny(), "[[batch, 1000]]")?;
    check_images(densenet::densenet121(), "[[batch, 1000]]")?;
    check_images(squeezenet::squeezenet1_1(), "[[batch, 1000]]")?;
    check_images(unet::unet(3, 2), "[[batch, 2, 32*h, 32*w]]")?;
    let images = Signal::symbolic(("batch", 3, 224, 224), DType::F32);
    assert_eq!(sizes(&swin::swin_t().meta()?, images.clone())?, "[[batch, 1000]]");
    assert_eq!(sizes(&vit::vit_s_16().meta()?, images.clone())?, "[[batch, 1000]]");
    let pixels = sizes(&deeplab::deeplabv3_resnet50().meta()?, images)?;
    assert_eq!(pixels, "[[batch, 21, 224, 224]]");
    let videos = Signal::symbolic(("batch", 3, 16, 112, 112), DType::F32);
    assert_eq!(sizes(&r2plus1d::r2plus1d_18().meta()?, videos)?, "[[batch, 400]]");
    let ids = || Signal::symbolic(("batch", "length"), DType::U32);
    let mask = Signal::symbolic(("batch", "length"), DType::U8);
    let bert = bert::bert_base_uncased().meta()?;
    assert_eq!(sizes(&bert, (ids(), None, Some(mask)))?, "[[batch, length, 768], [batch, 768]]");
    assert_eq!(sizes(&gpt::gpt2().meta()?, ids())?, "[[batch, length, 50257]]");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| pool(conv(x)))]
struct Strided {
    #[layer(3, 4, 3, padding = 1)]
    conv: Conv2d,
    #[layer(2)]
    pool: MaxPool2d,
}

#[test]
fn the_sizes_hold_for_other_values() -> Result<()> {
    let height = SymbolicSize::named("height") * 2 + 1;
    let sizes = Strided::config().meta()?.output_sizes(Signal::symbolic(("batch", 3, height, 8), DType::F32));
    // An odd height is rounded down.
    assert_eq!(format!("{sizes:?}"), "Ok([[batch, 4, height, 4]])");
    let y = Strided::config().check((11, 3, 2 * 17 + 1, 8))?;
    assert_eq!(y.dims()?, [11, 4, 17, 4]);
    Ok(())
}

#[test]
fn a_size_that_a_stride_divides_is_an_error_of_the_layer() -> Result<()> {
    let height = SymbolicSize::named("height").example(8);
    let images = Signal::symbolic(("batch", 3, height, 8), DType::F32);
    let error = Strided::config().meta()?.output_sizes(images).unwrap_err();
    assert_eq!(error.path(), "Strided.pool");
    let message = error.to_string();
    assert!(message.contains("found [2, 4, 4, 4] with batch = 2, height = 9"), "{message}");
    assert!(message.contains("name a part of the size"), "{message}");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| {
    let largest = x.tensor()?.max_all()?.to_scalar::<f32>()?;
    scale(x) / f64::from(largest)
})]
struct ReadsNumbers {
    #[layer(4, 4)]
    scale: Linear,
}

#[derive(Module)]
#[module(forward = |x| inner(x))]
struct Outer {
    inner: ReadsNumbers,
}

#[test]
fn reading_numbers_is_an_error_at_its_path() -> Result<()> {
    let error = Outer::config().meta()?.output_sizes(Signal::symbolic(("batch", 4), DType::F32)).unwrap_err();
    assert_eq!(error.path(), "Outer.inner");
    let expected = "expected a signal with numbers, found a signal that only has a shape (`Signal::meta`)";
    assert_eq!(error.message(), format!("{expected} (with batch = 2)"));
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| if x.dim(0)? > 2 { layer(x) } else { x })]
struct Branches {
    #[layer(4, 4)]
    layer: Linear,
}

#[test]
fn layers_that_depend_on_a_name_are_an_error() -> Result<()> {
    let error =
        Branches::config().meta()?.output_sizes(Signal::symbolic(("batch", 4), DType::F32)).unwrap_err();
    assert!(error.to_string().contains("found calls that depend on a size"), "{error}");
    Ok(())
}

#[test]
fn a_wrong_shape_is_an_error_of_the_layer() -> Result<()> {
    let error = Outer::config().check_symbolic(("batch", 5)).unwrap_err();
    let expected = "at Outer.inner: expected a signal with numbers";
    assert!(error.to_string().starts_with(expected), "{error}");
    let error = Strided::config().check_symbolic(("batch", 1, 8, 8)).unwrap_err();
    assert!(error.to_string().starts_with("at Strided.conv (Conv2d 3→4, 3×3"), "{error}");
    Ok(())
}

#[test]
fn names_have_one_example_and_sizes_are_not_negative() -> Result<()> {
    let error = |signal: Signal| signal.error().map(|error| error.message().to_string()).unwrap_or_default();
    let length = |example| SymbolicSize::named("length").example(example);
    let twice = Signal::symbolic([length(2), length(3)], DType::F32);
    assert_eq!(error(twice), "expected one example for the size `length`, found 2 and 3");
    let negative = Signal::symbolic([length(2) - 3], DType::F32);
    assert!(error(negative).contains("found length-3"));
    let five = Signal::symbolic(["a", "b", "c", "d", "e"], DType::F32);
    assert_eq!(error(five), "expected at most 4 names of sizes, found another, `e`");
    let linear = PairwiseDistance::config().init(&Device::Cpu)?;
    let inputs = [2, 3].map(|example| Signal::symbolic([length(example), 4.into()], DType::F32));
    let [a, b] = inputs;
    let message = linear.output_sizes((a, b)).unwrap_err().to_string();
    assert_eq!(message, "expected one example for the size `length`, found 2 and 3");
    Ok(())
}

#[test]
fn a_summary_has_names_and_the_numbers_of_the_examples() -> Result<()> {
    let network = Strided::config().meta()?;
    let batch = SymbolicSize::named("batch").example(6);
    let height = SymbolicSize::named("height").example(5) * 2;
    let summary = network.summary(Signal::symbolic((batch, 3, height, 8), DType::F32))?;
    let numbers = network.summary(Signal::meta((6, 3, 10, 8), DType::F32))?;
    assert_eq!(summary.multiply_adds, numbers.multiply_adds);
    assert_eq!(summary.activation_bytes, numbers.activation_bytes);
    assert_eq!(summary.examples, [("batch".to_string(), 6), ("height".to_string(), 5)]);
    assert_eq!(summary.layers[2].output_shape, numbers.layers[2].output_shape);
    assert_eq!(numbers.layers[2].output_sizes, None);
    let sizes = |sizes: &Option<Vec<SymbolicSize>>| format!("{:?}", sizes.as_deref().unwrap_or_default());
    assert_eq!(sizes(&summary.layers[2].input_sizes), "[batch, 4, 2*height, 8]");
    assert_eq!(sizes(&summary.layers[2].output_sizes), "[batch, 4, height, 4]");
    let table = summary.to_string();
    assert!(table.contains("Numbers for batch = 6, height = 5"), "{table}");
    Ok(())
}
