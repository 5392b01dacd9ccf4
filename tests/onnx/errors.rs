//! Networks that cannot be exported.

use sconce::prelude::*;

/// Returns the error of the export, and checks that no file is left.
fn error<M>(network: &M, input: Signal) -> Result<String>
where
    M: Forward<Signal, Output = Signal> + Network,
{
    let directory = tempfile::tempdir()?;
    let error = network.export_onnx(directory.path().join("net.onnx"), input).unwrap_err();
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    Ok(error.to_string())
}

fn vectors() -> Signal {
    Signal::symbolic(("batch", 4), DType::F32)
}

#[derive(Module)]
#[module(forward = |x| x * x.dim(0)?)]
struct ScaledByBatch {}

#[derive(Module)]
#[module(forward = |x| if x.dim(0)? > 2 { x.relu() } else { x })]
struct BranchesOnBatch {}

#[derive(Module)]
#[module(forward = |x| x + Tensor::ones(x.dim(0)?, DType::F32, &Device::Cpu)?.unsqueeze(1)?.affine(x.dim(0)? as f64, 0.)?)]
struct ConstantOfBatch {}

#[derive(Module)]
#[module(forward = |x| x + Signal::meta(4, DType::F32))]
struct UnknownOperand {}

#[test]
fn operations_that_depend_on_a_named_size_are_errors() -> Result<()> {
    let message = error(&ScaledByBatch {}, vectors())?;
    assert!(message.contains("found an operation whose settings depend on a named size"), "{message}");
    assert!(message.contains("ScaledByBatch"), "{message}");
    let message = error(&BranchesOnBatch {}, vectors())?;
    assert!(message.contains("found other operations"), "{message}");
    let message = error(&ConstantOfBatch {}, vectors())?;
    assert!(message.contains("found a constant that depends on a named size"), "{message}");
    Ok(())
}

#[test]
fn signals_from_elsewhere_are_errors() -> Result<()> {
    let message = error(&UnknownOperand {}, vectors())?;
    assert!(message.contains("found a signal without numbers from elsewhere"), "{message}");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| inner(norm(x)))]
struct Outer {
    #[layer(4)]
    norm: InstanceNorm1d,
    inner: Foreign,
}

#[derive(Module)]
#[module(forward = |x| linear(x))]
struct Foreign {
    #[layer(with = |vb| sconce::nn::linear(6, 2, vb))]
    linear: sconce::nn::Linear,
}

#[test]
fn an_error_names_the_operation_and_the_layer() -> Result<()> {
    let network = Outer::new(&Device::Cpu)?;
    let message = error(&network, Signal::symbolic(("batch", 4, 6), DType::F32))?;
    let expected = "at Outer.inner.linear (Linear): the operation `Linear` cannot be exported to ONNX yet";
    assert_eq!(message, expected);
    // Instance norms are exported only with a batch dimension.
    let message = error(&network.norm, Signal::meta((4, 6), DType::F32))?;
    assert!(message.contains("the operation `instance_norm` cannot be exported to ONNX yet"), "{message}");
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| relu(x.narrow(1, 0, 0)))]
struct Empty {}

#[test]
fn empty_results_are_errors() -> Result<()> {
    let message = error(&Empty {}, vectors())?;
    assert!(message.contains("expected sizes of at least 1, found [batch, 0]"), "{message}");
    Ok(())
}

#[test]
fn parameters_without_numbers_are_errors() -> Result<()> {
    let message = error(&Linear::config(4, 2).meta()?, vectors())?;
    assert!(message.contains("expected a parameter with numbers, found a shape: `weight`"), "{message}");
    Ok(())
}

#[test]
fn errors_of_the_forward_pass_are_returned() -> Result<()> {
    let message = error(&Linear::config(5, 2).init(&Device::Cpu)?, vectors())?;
    assert!(message.contains("expected an input […, 5], found [2, 4]"), "{message}");
    Ok(())
}
