//! The options of `Load` that the error of a load proposes, as calls.

use std::path::Path;

use sconce::prelude::*;

use crate::load_checks::{CPU, Directory, built};
use crate::sample_network::{Net, net_config, net_state, with_prefix};

/// Returns the calls that the error of a strict load proposes. If a partial load loads no tensor, checks that its
/// warnings propose the same calls.
#[track_caller]
fn advice(state: &StateDict) -> Vec<String> {
    let directory = Directory::new();
    let path = directory.file(state);
    let error = built(net_config(), &Load::new(&path)).expect_err("expected an error");
    let advice: Vec<String> =
        error.lines().filter(|line| line.starts_with("add `")).map(str::to_string).collect();
    let (report, ..) =
        built(net_config(), &Load::new(&path).partial()).expect("a partial load should succeed");
    if report.loaded.is_empty() {
        assert_eq!(report.warnings, advice);
    }
    advice
}

#[test]
fn an_error_proposes_the_calls_that_load_the_checkpoint() -> Result<()> {
    let state = net_state(3)?;
    let renamed = |from: &str, to: &str| -> StateDict {
        state.iter().map(|(name, tensor)| (name.replace(from, to), tensor.clone())).collect()
    };
    let with = |mut state: StateDict, name: &str| -> Result<StateDict> {
        state.insert(name, Tensor::ones(2, DType::F32, &CPU)?);
        Ok(state)
    };
    let both = |one: &str, other: &str| {
        let mut both = with_prefix(one, &state);
        both.extend(with_prefix(other, &state));
        both
    };
    let cases: [(StateDict, &[&str]); 9] = [
        (
            with(with_prefix("backbone.", &state), "head.weight")?,
            &[r#"add `.prefix("backbone.")` to the `Load` to load all 7 tensors"#],
        ),
        (
            both("module.student.", "module.teacher."),
            &[
                r#"add `.prefix("module.student.")` to the `Load` to load all 7 tensors"#,
                r#"add `.prefix("module.teacher.")` to the `Load` to load all 7 tensors"#,
            ],
        ),
        (
            with(with(with_prefix("a.", &state), "a.scale")?, "b.scale")?,
            &[r#"add `.prefix("a.").partial()` to the `Load` to load 7 tensors"#],
        ),
        (with(state.clone(), "scale")?, &["add `.partial()` to the `Load` to load 7 tensors"]),
        (
            renamed("fc.", "linear."),
            &[r#"add `.map("^linear\\.", "fc.")` to the `Load` to load all 7 tensors"#],
        ),
        (
            renamed("bn.", "x$1.norm.")
                .into_iter()
                .map(|(name, x)| (name.replace("fc", "fully"), x))
                .collect(),
            &[
                r#"add `.map("^fully\\.", "fc.").map("^x\\$1\\.norm\\.", "bn.")` to the `Load` to load all 7 tensors"#,
            ],
        ),
        (renamed("running_", "moving_"), &["add `.partial()` to the `Load` to load 5 tensors"]),
        (
            renamed("weight", "kernel"),
            &[r#"add `.map("\\bkernel\\b", "weight")` to the `Load` to load all 7 tensors"#],
        ),
        (StateDict::new(), &[]),
    ];
    for (state, expected) in cases {
        assert_eq!(advice(&state), expected);
    }
    // The proposed prefix begins with the requested one.
    let directory = Directory::new();
    let path = directory.file(&with(with_prefix("a.b.", &state), "a.c.weight")?);
    let error = built(net_config(), &Load::new(&path).prefix("a.")).expect_err("expected an error");
    assert!(error.contains(r#"add `.prefix("a.b.")` to"#), "{error}");
    Ok(())
}

#[test]
fn an_error_proposes_the_key_of_another_state_dict() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/ema.pt");
    let error = built(net_config(), &Load::new(&file)).expect_err("expected an error");
    assert!(error.ends_with(r#"add `.key("ema")` to the `Load` to load all 7 tensors"#), "{error}");
    let (report, ..) = built(net_config(), &Load::new(&file).key("ema")).expect("the key should fit");
    assert_eq!(report.loaded.len(), 7);
    Ok(())
}

/// A network that contains [`Net`], so that a checkpoint of `Net` fits its field `part`.
#[derive(Module)]
#[module(forward = |x| head(part(x)))]
struct Whole {
    #[layer(3)]
    part: Net,
    #[layer(3, 3)]
    head: Linear,
}

#[test]
fn a_checkpoint_of_a_part_is_loaded_with_a_map() -> Result<()> {
    let directory = Directory::new();
    let path = directory.file(&net_state(3)?);
    let error = built(Whole::config(), &Load::new(&path)).expect_err("expected an error");
    assert!(
        error.contains(r#"add `.map("^", "part.").partial()` to the `Load` to load 7 tensors"#),
        "{error}"
    );
    let load = Load::new(&path).map("^", "part.").partial();
    let (report, ..) = built(Whole::config(), &load).expect("the map should fit");
    assert_eq!((report.loaded.len(), report.missing.len()), (7, 2));
    Ok(())
}
