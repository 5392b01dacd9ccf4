//! Paths contain names without the prefix `r#`.

#![allow(non_camel_case_types)]
use sconce::prelude::*;

#[derive(Module)]
#[module(forward = |x| r#match(x))]
struct r#type {
    #[layer(3, 3)]
    r#match: Linear,
}

#[test]
fn paths_have_no_raw_prefix() -> Result<()> {
    let net = r#type::new(&Device::Cpu)?;
    let wrong = Tensor::ones((2, 2), DType::F32, &Device::Cpu)?;
    assert_eq!(net.forward(&wrong).unwrap_err().path(), "type.match");
    let error = sconce::candle::Module::forward(&net.eval(), &wrong).unwrap_err().to_string();
    assert!(error.starts_with("at type.match (Linear 3→3)"), "{error}");
    let error = <r#type as sconce::nn::ModuleT>::forward_t(&net, &wrong, true).unwrap_err().to_string();
    assert!(error.starts_with("at type.match (Linear 3→3)"), "{error}");
    assert_eq!(net.kind(), "type");
    Ok(())
}
