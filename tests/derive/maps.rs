//! Maps of layers are iterated in ordinary Rust: an `IndexMap` in the order of insertion, a `BTreeMap` in the order of
//! its keys.

use std::collections::BTreeMap;

use sconce::IndexMap;
use sconce::nn::VarBuilder;
use sconce::prelude::*;

const DEVICE: Device = Device::Cpu;

fn heads<M: FromIterator<(String, Linear)>>(vb: VarBuilder) -> Result<M> {
    ["b", "a"]
        .into_iter()
        .map(|name| Ok((name.to_string(), Linear::config(3, 3).build(vb.pp(name))?)))
        .collect()
}

fn dropouts(_: VarBuilder) -> Result<IndexMap<String, Dropout>> {
    Ok(["z", "y"].map(|name| (name.to_string(), Dropout::config(0.5))).into_iter().collect())
}

#[derive(Module)]
#[module(forward = |mut x, wanted: &str| {
    for (name, head) in inserted {
        if name != "skipped" {
            x = head(x);
        }
    }
    for head in sorted.values() {
        x = head(x);
    }
    x = inserted.values().rev().fold(x, |x, head| head(x));
    if let Some(head) = inserted.get(wanted) {
        x = head(x);
    }
    for dropout in fixed.values() {
        x = dropout(x);
    }
    sorted[wanted](x)
})]
struct Net {
    #[layer(with = heads)]
    inserted: IndexMap<String, Linear>,
    #[layer(with = heads)]
    sorted: BTreeMap<String, Linear>,
    #[layer(with = dropouts)]
    #[module(mode = eval)]
    fixed: IndexMap<String, Dropout>,
}

#[test]
fn maps_are_iterated_in_order() -> Result<()> {
    let net = Net::new(&DEVICE)?;
    let x = Tensor::ones((2, 3), DType::F32, &DEVICE)?;
    let (result, launches) = sconce::trace(|| sconce::no_fusion(|| net.forward_t(&x, "b", true)));
    let y = result?;
    let found: Vec<&str> = launches.iter().map(|launch| launch.path.as_str()).collect();
    let expected = [
        "inserted.b",
        "inserted.a",
        "sorted.a",
        "sorted.b",
        "inserted.a",
        "inserted.b",
        "inserted.b",
        "sorted.b",
    ];
    assert_eq!(found, expected.map(|path| format!("Net.{path}")), "the pinned dropouts do nothing");
    assert_eq!(y.to_vec2::<f32>()?, net.forward(&x, "b")?.to_vec2::<f32>()?);

    let error = net.forward(Tensor::ones((2, 4), DType::F32, &DEVICE)?, "b").unwrap_err();
    assert_eq!(error.path(), "Net.inserted.b");
    let error = net.forward(&x, "c").unwrap_err();
    assert!(error.to_string().starts_with("at Net.sorted.c: no layer `c`"), "{error}");

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("maps.safetensors");
    net.save(&path)?;
    let loaded = Net::config().load(&path, &DEVICE)?;
    assert_eq!(loaded.forward(&x, "a")?.to_vec2::<f32>()?, net.forward(&x, "a")?.to_vec2::<f32>()?);
    let names =
        |net: &Net| -> Vec<String> { net.named_parameters().into_iter().map(|(name, _)| name).collect() };
    assert_eq!(names(&loaded)[0], "inserted.b.weight");
    assert_eq!(names(&net.deep_clone()?), names(&net));
    assert_eq!(names(&net.inference()?), names(&net));
    Ok(())
}
