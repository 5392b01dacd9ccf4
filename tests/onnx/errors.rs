//! Networks that cannot be exported.

use sconce::prelude::*;

/// Returns the error of the export, and checks that no file is left.
fn error<M>(network: &M, input: impl Fn(usize) -> Signal) -> Result<String>
where
    M: Forward<Signal, Output = Signal> + Network,
{
    let directory = tempfile::tempdir()?;
    let error = network.export_onnx(directory.path().join("net.onnx"), input).unwrap_err();
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    Ok(error.to_string())
}

fn vectors(batch: usize) -> Signal {
    Signal::meta((batch, 4), DType::F32)
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
fn operations_that_depend_on_the_batch_size_are_errors() -> Result<()> {
    let message = error(&ScaledByBatch {}, vectors)?;
    assert!(message.contains("that the operation depends on the batch size"), "{message}");
    assert!(message.contains("ScaledByBatch"), "{message}");
    let message = error(&BranchesOnBatch {}, vectors)?;
    assert!(message.contains("that the operations depends on the batch size"), "{message}");
    let message = error(&ConstantOfBatch {}, vectors)?;
    assert!(message.contains("that a constant depends on the batch size"), "{message}");
    Ok(())
}

#[test]
fn signals_from_elsewhere_are_errors() -> Result<()> {
    let message = error(&UnknownOperand {}, vectors)?;
    assert!(message.contains("found a signal without numbers from elsewhere"), "{message}");
    Ok(())
}

#[test]
fn parameters_without_numbers_are_errors() -> Result<()> {
    let message = error(&Linear::config(4, 2).meta()?, vectors)?;
    assert!(message.contains("expected a parameter with numbers, found a shape: `weight`"), "{message}");
    Ok(())
}

#[test]
fn errors_of_the_forward_pass_are_returned() -> Result<()> {
    let message = error(&Linear::config(5, 2).init(&Device::Cpu)?, vectors)?;
    assert!(message.contains("expected an input […, 5], found [2, 4]"), "{message}");
    Ok(())
}
