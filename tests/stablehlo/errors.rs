//! Networks and paths that cannot be exported.

use std::path::Path;

use sconce::prelude::*;

/// Returns the error of the export, and checks that no file is left.
fn error<M>(network: &M, input: Signal) -> Result<String>
where
    M: Forward<Signal, Output = Signal> + Network,
{
    let directory = tempfile::tempdir()?;
    let error = network.export_stablehlo(directory.path().join("net.stablehlo"), input).unwrap_err();
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    Ok(error.to_string())
}

fn vectors() -> Signal {
    Signal::meta((2, 4), DType::F32)
}

#[derive(Module)]
#[module(forward = |x| x + Signal::meta(4, DType::F32))]
struct UnknownOperand {}

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
    let message = error(&Outer::new(&Device::Cpu)?, Signal::meta((2, 4, 6), DType::F32))?;
    let expected =
        "at Outer.inner.linear (Linear): the operation `Linear` cannot be exported to StableHLO yet";
    assert_eq!(message, expected);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| relu(x.narrow(1, 0, 0)))]
struct Empty {}

#[test]
fn empty_results_are_errors() -> Result<()> {
    let message = error(&Empty {}, vectors())?;
    assert!(message.contains("expected sizes of at least 1, found [2, 0]"), "{message}");
    Ok(())
}

#[test]
fn named_sizes_are_errors() -> Result<()> {
    let linear = Linear::config(4, 2).init(&Device::Cpu)?;
    let message = error(&linear, Signal::symbolic(("batch", 4), DType::F32))?;
    assert_eq!(message, "expected inputs with fixed sizes, found the named sizes `batch`");
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

#[test]
fn other_extensions_are_errors() -> Result<()> {
    let linear = Linear::config(4, 2).init(&Device::Cpu)?;
    let message = linear.export_stablehlo(Path::new("net.mlir"), vectors()).unwrap_err().to_string();
    assert_eq!(message, "expected a path that ends with `.stablehlo`, found net.mlir");
    Ok(())
}
