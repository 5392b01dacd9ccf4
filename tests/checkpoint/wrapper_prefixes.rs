//! Checkpoints of wrapped networks, whose tensor names have prefixes such as `module.`, and components such as
//! `_orig_mod`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use sconce::nn::VarBuilder;
use sconce::prelude::*;
use sconce::{Visitor, VisitorMut};

use crate::common::message;
use crate::load_checks::{CPU, Directory, built, check, values};
use crate::sample_network::{net_config, net_state, with_prefix};

/// Loads a file with the tensors of `net_state(3)`, and checks that all are loaded.
#[track_caller]
fn load_complete(path: &Path) -> Result<LoadReport> {
    let (report, state, _) = check(net_config, path)?.expect("the file should fit");
    assert_eq!(report.loaded.len(), 7);
    assert_eq!((state[2].0.as_str(), &state[2].1), ("bn.weight", &vec![3.; 3]));
    Ok(report)
}

#[test]
fn prefixes_of_wrappers_are_stripped_in_any_order() -> Result<()> {
    let directory = Directory::new();
    let state = net_state(3)?;
    for prefix in [
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.module._orig_mod.net.",
        "detector.",
        "detector.model.body.",
    ] {
        let LoadReport { renamed, skipped, .. } =
            load_complete(&directory.file(&with_prefix(prefix, &state)))?;
        let expected = state.keys().map(|name| (format!("{prefix}{name}"), name.to_string()));
        assert_eq!(renamed.len(), 7);
        assert!(expected.into_iter().all(|pair| renamed.contains(&pair)), "{renamed:?}");
        assert!(skipped.is_empty(), "{skipped:?}");
    }
    Ok(())
}

#[test]
fn other_tensors_beside_a_wrapped_network_are_skipped_and_reported() -> Result<()> {
    let directory = Directory::new();
    for (prefix, unrelated) in [
        ("module.", "n_averaged"),
        ("model.", "loss.weight"),
        ("model.net.", "model.scale"),
        ("detector.", "step"),
        ("module.model.", "module.loss.weight"),
    ] {
        let mut state = with_prefix(prefix, &net_state(3)?);
        state.insert(unrelated, Tensor::ones(2, DType::F32, &CPU)?);
        let LoadReport { renamed, skipped, .. } = load_complete(&directory.file(&state))?;
        assert_eq!((renamed.len(), skipped.len()), (7, 1));
        assert_eq!(skipped[0].to_string(), format!("{unrelated}: tensor [2] outside `{prefix}`"));
    }
    Ok(())
}

#[test]
fn pytorchs_checkpoints_of_wrapped_networks_are_loaded() -> Result<()> {
    for file in ["data_parallel.pt", "averaged.pt", "compiled.pt", "compiled_part.pt"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(file);
        let (report, state, _) = check(net_config, &path)?.expect("the file should fit");
        let expected: Vec<f64> = (0..12).map(f64::from).collect();
        assert_eq!(state[0], ("fc.weight".to_string(), expected), "{file}");
        assert_eq!(state[1].1, [12., 13., 14.], "{file}");
        let skipped: Vec<String> = report.skipped.iter().map(ToString::to_string).collect();
        let expected: &[&str] =
            if file == "averaged.pt" { &["n_averaged: tensor [] outside `module.`"] } else { &[] };
        assert_eq!(skipped, expected, "{file}");
    }
    Ok(())
}

/// A network with a part, `encoder`, whose field `module` has the name of a wrapper.
#[derive(Module)]
#[module(forward = |x| head(encoder(x)))]
struct Outer {
    #[layer(3)]
    encoder: Inner,
    #[layer(3, 3)]
    head: Linear,
}

#[derive(Module)]
#[module(args(features: usize), forward = |x| module(x))]
struct Inner {
    #[layer(features, features)]
    module: Linear,
}

#[test]
fn wrappers_of_parts_are_removed_from_the_names() -> Result<()> {
    let directory = Directory::new();
    let mut state = Outer::new(&CPU)?.state_dict();
    for (prefix, from, to) in [
        ("", "encoder.", "encoder._orig_mod."),
        ("", "encoder.", "encoder.module._orig_mod."),
        ("", "module.", "module._checkpoint_wrapped_module."),
        ("", "head.", "head.module."),
        ("module.", "head.", "head._orig_mod."),
        ("_orig_mod.", "encoder.module.", "encoder.module._fsdp_wrapped_module."),
    ] {
        let wrapped = state.iter().map(|(name, tensor)| (name.replace(from, to), tensor.clone()));
        let wrapped = with_prefix(prefix, &wrapped.collect());
        let outcome = check(Outer::config, &directory.file(&wrapped))?.expect("the file should fit");
        assert_eq!(outcome.0.loaded.len(), 4);
        for (name, values_in_network) in outcome.1 {
            assert_eq!(values_in_network, values(state.get(&name).expect("the name should exist")));
        }
    }
    // A file with both `head.weight` and `head._orig_mod.weight` has two tensors for one parameter, which is an error.
    let weight = state.get("head.weight").expect("the network has a head").clone();
    state.insert("head._orig_mod.weight", weight);
    let error = check(Outer::config, &directory.file(&state))?.expect_err("expected an error");
    assert!(error.contains("head._orig_mod.weight"), "{error}");
    Ok(())
}

/// Asserts that no tensor is loaded from a checkpoint of several networks. `prefixes` has the prefix and the number of
/// outputs of each network.
fn assert_not_loaded(prefixes: &[(&str, usize)]) -> Result<()> {
    let directory = Directory::new();
    let mut state = StateDict::new();
    for (prefix, outputs) in prefixes {
        state.extend(with_prefix(prefix, &net_state(*outputs)?));
    }
    let path = directory.file(&state);
    check(net_config, &path)?.expect_err("expected an error");
    let (report, ..) =
        built(net_config(), &Load::new(&path).partial()).expect("a partial load should succeed");
    assert!(report.loaded.is_empty() && report.renamed.is_empty(), "{prefixes:?}: {report}");
    Ok(())
}

#[test]
fn an_ambiguous_part_of_a_larger_network_is_not_loaded() -> Result<()> {
    assert_not_loaded(&[("student.", 3), ("teacher.", 3)])?;
    assert_not_loaded(&[("model.", 3), ("ema_model.", 3)])?;
    assert_not_loaded(&[("module.query.", 3), ("module.key.", 3)])?;
    assert_not_loaded(&[("module.", 3), ("model.", 3)])?;
    assert_not_loaded(&[("student.", 3), ("teacher.", 5)])?;
    Ok(())
}

#[test]
fn an_incomplete_second_copy_also_makes_the_choice_ambiguous() -> Result<()> {
    let directory = Directory::new();
    let load = |missing: &[&str]| -> Result<_> {
        let mut state = with_prefix("model.", &net_state(3)?);
        state.extend(with_prefix("ema_model.", &net_state(3)?));
        missing.iter().for_each(|name| _ = state.remove(format!("ema_model.{name}").as_str()));
        check(net_config, &directory.file(&state))
    };
    let error = load(&["fc.bias"])?.expect_err("expected an error");
    assert!(error.contains(r#"add `.prefix("model.")` to the `Load` to load all"#), "{error}");
    // A second part in which most tensors are missing does not make the first one ambiguous.
    let most = ["fc.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];
    load(&most)?.expect("the tensors under `model.` should be loaded");
    Ok(())
}

#[test]
fn a_field_beside_other_modules_is_not_a_wrapper() -> Result<()> {
    let directory = Directory::new();
    let mut state = with_prefix("backbone.", &net_state(3)?);
    state.insert("head.weight", Tensor::ones(2, DType::F32, &CPU)?);
    let path = directory.file(&state);
    check(net_config, &path)?.expect_err("expected an error");
    let (report, ..) =
        built(net_config(), &Load::new(&path).prefix("backbone.")).expect("the prefix should fit");
    assert_eq!(report.skipped[0].to_string(), "head.weight: tensor [2] outside `backbone.`");
    Ok(())
}

#[test]
fn names_without_a_prefix_are_preferred() -> Result<()> {
    let directory = Directory::new();
    let mut state = with_prefix("module.", &net_state(3)?);
    state.insert("fc.bias", Tensor::ones(3, DType::F32, &CPU)?);
    let path = directory.file(&state);
    check(net_config, &path)?.expect_err("expected an error");
    // While the network is built, `fc.weight` is read from `module.fc.weight`, because `fc.bias` is not yet requested.
    // Afterwards, the weight must have its initial value.
    let (report, state, _) =
        built(net_config(), &Load::new(&path).partial()).expect("a partial load should succeed");
    assert_eq!((report.loaded, report.unexpected.len()), (vec!["fc.bias".to_string()], 7));
    assert!(state[0].1.iter().all(|value| value.abs() <= 0.5), "{:?}", state[0]);
    assert_eq!((&state[1].1, &state[2].1), (&vec![1.; 3], &vec![1.; 3]));
    Ok(())
}

#[test]
fn a_wrapped_network_with_other_shapes_is_loaded_in_part() -> Result<()> {
    let directory = Directory::new();
    let mut state = with_prefix("module.", &net_state(3)?);
    state.insert("module.fc.weight", Tensor::ones((3, 9), DType::F32, &CPU)?);
    state.remove("module.bn.weight");
    let path = directory.file(&state);
    let error = check(net_config, &path)?.expect_err("expected an error");
    assert!(error.contains("mismatched  fc.weight  expected [3, 4], found [3, 9]"), "{error}");
    let (report, ..) =
        built(net_config(), &Load::new(&path).partial()).expect("a partial load should succeed");
    assert_eq!((report.loaded.len(), report.missing.len(), report.mismatched.len()), (5, 1, 1));
    Ok(())
}

#[test]
fn a_requested_prefix_is_found_with_and_without_a_wrapper() -> Result<()> {
    let directory = Directory::new();
    let whole = |prefix: &str| -> Result<PathBuf> {
        let mut state = with_prefix(&format!("{prefix}backbone."), &net_state(3)?);
        state.insert(format!("{prefix}head.weight"), Tensor::ones(2, DType::F32, &CPU)?);
        Ok(directory.file(&state))
    };
    for (wrapper, prefix) in [
        ("", "backbone."),
        ("module.", "backbone."),
        ("module.", "module.backbone."),
        ("module.", "module."),
        ("_orig_mod.module.", "backbone."),
        ("_orig_mod.module.", "module.backbone."),
        ("_orig_mod.module.", "_orig_mod."),
    ] {
        let load = Load::new(whole(wrapper)?).prefix(prefix);
        let outcome = built(net_config(), &load);
        if prefix.ends_with("backbone.") {
            let (report, state, _) = outcome.expect("the prefix should fit");
            assert_eq!((report.loaded.len(), &state[2].1), (7, &vec![3.; 3]));
            let head = format!("{wrapper}head.weight: tensor [2] outside `{wrapper}backbone.`");
            assert_eq!(report.skipped[0].to_string(), head);
        } else {
            outcome.expect_err("the backbone should not be chosen");
        }
    }
    let mut both = with_prefix("model.backbone.", &net_state(3)?);
    both.extend(with_prefix("net.backbone.", &net_state(3)?));
    let error = message(net_config().load_with(Load::new(directory.file(&both)).prefix("backbone."), &CPU));
    assert!(error.contains("begin with `model.backbone.` and with `net.backbone.`"), "{error}");
    // After the requested prefix is stripped, the names may still begin with the prefix of another wrapper.
    let path = directory.file(&with_prefix("module._orig_mod.", &net_state(3)?));
    for prefix in ["module.", "module._orig_mod.", "_orig_mod."] {
        let (report, ..) =
            built(net_config(), &Load::new(&path).prefix(prefix)).expect("the prefix should fit");
        assert_eq!(report.loaded.len(), 7);
    }
    let error = message(net_config().load_with(Load::new(&path).prefix("trunk."), &CPU));
    assert!(error.contains("begin with `trunk.`") && error.contains("`module._orig_mod."), "{error}");
    Ok(())
}

#[test]
fn maps_apply_to_the_names_of_the_file_and_to_unwrapped_names() -> Result<()> {
    let directory = Directory::new();
    let state = net_state(3)?.into_iter().map(|(name, tensor)| (name.replace("fc", "linear"), tensor));
    let path = directory.file(&with_prefix("module.", &state.collect()));
    for load in [
        Load::new(&path).map("^linear", "fc"),
        Load::new(&path).map(r"^module\.", "").map("^linear", "fc"),
        Load::new(&path).map(r"^module\.linear", "fc").map(r"^module\.", ""),
    ] {
        let (report, ..) = built(net_config(), &load).expect("the maps should fit");
        assert_eq!(report.loaded.len(), 7);
        assert!(report.renamed.contains(&("module.linear.bias".to_string(), "fc.bias".to_string())));
    }
    // `read` has no network to compare the names with, so it does not strip the prefix of a wrapper.
    let names = Load::new(&path).read(&CPU)?;
    assert!(names.keys().all(|name| name.starts_with("module.")));
    Ok(())
}

/// A layer that computes a value from a tensor while it is built.
struct Doubled(Tensor);

struct DoubledConfig;

impl Config for DoubledConfig {
    type Output = Doubled;

    fn build(self, vb: VarBuilder) -> Result<Doubled> {
        assert!(vb.contains_tensor("weight"));
        Ok(Doubled((vb.get_unchecked("weight")? * 2.)?.detach()))
    }
}

impl Module for Doubled {
    fn kind(&self) -> Cow<'static, str> {
        "Doubled".into()
    }

    fn visit<'a>(&'a self, _: &mut dyn Visitor<'a>) {}

    fn visit_mut(&mut self, _: &mut dyn VisitorMut) {}

    fn share(&self) -> Self {
        Self(self.0.clone())
    }
}

#[test]
fn values_of_wrapped_networks_are_available_during_the_construction() -> Result<()> {
    let directory = Directory::new();
    let three = Tensor::full(3f32, 2, &CPU)?;
    for (name, pattern) in [
        ("module._orig_mod.weight", "x"),
        ("weight", "x"),
        ("module.kernel", "^kernel"),
        ("net._orig_mod.kernel", "kernel"),
    ] {
        let path = directory.file(&StateDict::from_iter([(name, three.clone())]));
        let (network, report) = DoubledConfig.load_with(Load::new(path).map(pattern, "weight"), &CPU)?;
        assert_eq!((values(&network.0), report.loaded.len()), (vec![6.; 2], 1), "{name}");
    }
    Ok(())
}
