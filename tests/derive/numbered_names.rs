//! A list may be numbered with gaps and without a prefix: `rename = "{0..;2}"`.

use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

#[derive(Module)]
#[module(forward = |x| net.iter().fold(x, |x, layer| relu(layer(x))))]
struct Net {
    #[layer(3, 3, bias = false; for _ in 0..3)]
    #[module(rename = "{0..;2}")]
    net: Vec<Linear>,
}

#[derive(Module)]
struct Outer {
    net: Net,
    #[layer(3, 3, bias = false)]
    #[module(tie = "net.4.weight")]
    last: Linear,
}

#[test]
fn numbers_without_a_prefix() -> Result<()> {
    let net = Outer::new(&DEVICE)?;
    let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["net.0.weight", "net.2.weight", "net.4.weight"]);
    assert_eq!(net.last.weight().id(), net.net.net[2].weight().id());
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("numbers.safetensors");
    net.save(&path)?;
    let loaded = Outer::config().load(&path, &DEVICE)?;
    let x = Tensor::ones((1, 3), DType::F32, &DEVICE)?;
    assert_eq!(loaded.forward(&x)?.to_vec2::<f32>()?, net.forward(&x)?.to_vec2::<f32>()?);
    let error = net.forward(Tensor::ones((1, 4), DType::F32, &DEVICE)?).unwrap_err();
    assert_eq!(error.path(), "Outer.net.net[0]");
    Ok(())
}
