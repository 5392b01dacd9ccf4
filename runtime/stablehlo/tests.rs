//! Compares the text of small networks with files. `GOLDEN=overwrite` writes the files.

use std::path::Path;

use crate::StableHloOptions;
use crate::checkpoint;
use crate::prelude::*;

/// Exports a network, and compares its text with the file `golden/NAME.mlir`.
fn check(
    name: &str,
    network: &(impl Network + Forward<Signal, Output = Signal>),
    input: Signal,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("net.stablehlo");
    network.export_stablehlo_with(&path, input, StableHloOptions::default().gradients(true))?;
    for extension in ["mlir", "gradients.mlir"] {
        let text = std::fs::read_to_string(path.with_extension(extension))?;
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/stablehlo/golden");
        let golden = golden.join(format!("{name}.{extension}"));
        if std::env::var("GOLDEN").is_ok_and(|value| value == "overwrite") {
            std::fs::write(&golden, &text)?;
        }
        assert_eq!(text, std::fs::read_to_string(&golden)?, "{name}.{extension}");
    }
    Ok(())
}

#[test]
fn linear() -> Result<()> {
    let network = vec![Linear::config(3, 2).init(&Device::Cpu)?];
    check("linear", &network, Signal::meta((4, 3), DType::F32))
}

#[derive(Module)]
#[module(forward = |x| max_pool2d(relu(conv(x)), 2))]
struct Images {
    #[layer(2, 4, 3, stride = 2, padding = 1, groups = 2, bias = false)]
    conv: Conv2d,
}

#[test]
fn images() -> Result<()> {
    check("images", &Images::new(&Device::Cpu)?, Signal::meta((1, 2, 8, 8), DType::F32))
}

#[derive(Module)]
#[module(forward = |ids| softmax(head(embedding(ids)), 2))]
struct Tied {
    #[layer(7, 4)]
    embedding: Embedding,
    #[layer(4, 7, bias = false)]
    #[module(tie = "embedding.weight")]
    head: Linear,
}

#[test]
fn a_tied_parameter_is_one_argument() -> Result<()> {
    let network = Tied::new(&Device::Cpu)?;
    check("tied", &network, Signal::meta((1, 3), DType::I64))?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("net.stablehlo");
    network.export_stablehlo(&path, Signal::meta((1, 3), DType::I64))?;
    let weights = path.with_extension("safetensors");
    assert_eq!(checkpoint::metadata(&weights)?["arguments"], r#"["embedding.weight"]"#);
    let stored = checkpoint::read(&weights, &Device::Cpu)?;
    let stored = stored.get("embedding.weight").expect("the weight is stored").to_vec2::<f32>()?;
    let (_, weight) = &network.named_parameters()[0];
    assert_eq!(stored, weight.to_vec2::<f32>()?);
    Ok(())
}

#[derive(Module)]
#[module(forward = |x| dropout(x, 0.5, Mode::Train))]
struct AlwaysDrops {}

#[test]
fn layers_in_training_mode_cannot_be_exported() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("net.stablehlo");
    let error =
        AlwaysDrops {}.export_stablehlo(path, Signal::meta((2, 3), DType::F32)).unwrap_err().to_string();
    assert!(error.contains("the operation `dropout` cannot be exported to StableHLO yet"), "{error}");
    Ok(())
}
