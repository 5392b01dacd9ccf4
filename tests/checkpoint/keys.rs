//! The choice of a state dict in a file of PyTorch, by the reader or with `Load::key`.

use sconce::candle::Device;
use sconce::checkpoint::{StateDict, read};
use sconce::prelude::*;

use crate::common::message;
use crate::inputs::golden_checkpoint;

/// The first element of the weight in the state dict that `make_layouts.py` calls `state`.
const STATE: f32 = 0.;

/// The first element of the weight in the state dict that `make_layouts.py` calls `other`.
const OTHER: f32 = 10.;

fn with_key(file: &str, key: &str) -> Result<StateDict> {
    Load::new(golden_checkpoint(file)).key(key).read(&Device::Cpu)
}

fn first_weight(state: &StateDict) -> Result<f32> {
    assert_eq!(format!("{state:?}"), r#"{"weight": F32 [2, 3], "bias": F32 [2]}"#);
    let weight = state.get("weight").expect("a weight");
    Ok(weight.flatten_all()?.to_vec1::<f32>()?[0])
}

#[test]
fn a_tensor_beside_a_state_dict_is_ambiguous() -> Result<()> {
    let path = golden_checkpoint("keys_beside_tensor.pt");
    let expected = "expected one dictionary of tensors, found the tensor `step` beside the dictionary `net`: choose \
                    with `Load::key(\"\")` or `Load::key(\"net\")`";
    for error in [message(read(&path, &Device::Cpu)), message(Load::new(&path).read(&Device::Cpu))] {
        assert!(error.ends_with(expected), "{error}");
    }
    assert_eq!(with_key("keys_beside_tensor.pt", "")?.keys().collect::<Vec<_>>(), ["step"]);
    assert_eq!(first_weight(&with_key("keys_beside_tensor.pt", "net")?)?, STATE);
    // Only the dictionary `net` fits the network, so the error proposes its key.
    let error = message(Linear::config(3, 2).load(&path, &Device::Cpu));
    assert!(error.contains(r#"add `.key("net")` to the `Load` to load all 2 tensors"#), "{error}");
    // The extra state of a module does not count as a second state dict.
    assert_eq!(first_weight(&read(golden_checkpoint("keys_extra_state.pt"), &Device::Cpu)?)?, STATE);
    Ok(())
}

#[test]
fn keys_of_nested_dictionaries_are_separated_by_dots() -> Result<()> {
    for key in ["ema", "ema.shadow"] {
        assert_eq!(first_weight(&with_key("keys_nested.pt", key)?)?, STATE);
    }
    for key in ["net", "net.a.b"] {
        assert_eq!(first_weight(&with_key("keys_nested.pt", key)?)?, OTHER);
    }
    let error = message(with_key("keys_nested.pt", "ema.raw"));
    let expected =
        "expected a dictionary under the key `ema.raw`, found `shadow` (a dictionary), `decay` (a float)";
    assert!(error.contains(expected), "{error}");
    let error = message(with_key("keys_nested.pt", "ema.decay"));
    assert!(error.contains("expected a dictionary under the key `ema.decay`"), "{error}");
    Ok(())
}

#[test]
fn the_keys_of_tuples_and_lists_are_indices() -> Result<()> {
    assert_eq!(first_weight(&with_key("keys_tuple.pt", "0")?)?, STATE);
    assert_eq!(first_weight(&with_key("keys_tuple.pt", "1")?)?, OTHER);
    let error = message(read(golden_checkpoint("keys_tuple.pt"), &Device::Cpu));
    assert!(
        error.contains("select one of `0` (a dictionary), `1` (a dictionary) with `Load::key`"),
        "{error}"
    );
    let error = message(with_key("keys_tuple.pt", "3"));
    let expected = "under the key `3`, found `0` (a dictionary), `1` (a dictionary), `2` (a list)";
    assert!(error.contains(expected), "{error}");

    // The only state dict in a list needs no key.
    assert_eq!(first_weight(&read(golden_checkpoint("keys_list.pt"), &Device::Cpu)?)?, STATE);
    assert_eq!(first_weight(&with_key("keys_list.pt", "1.net")?)?, STATE);
    Ok(())
}

#[test]
fn tensors_without_names_are_an_error() {
    let error = message(read(golden_checkpoint("keys_tensors.pt"), &Device::Cpu));
    let expected = "expected a dictionary of named tensors or a module, found a list with the items `0` (a tensor), \
                    `1` (a tensor); save `model.state_dict()`";
    assert!(error.ends_with(expected), "{error}");
}
