//! Helpers that load a checkpoint in every way, by building a network from it and by loading it into existing networks,
//! and check that the results agree.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, TensorId};
use sconce::checkpoint::write_safetensors;
use sconce::prelude::*;

pub const CPU: Device = Device::Cpu;

pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_dtype(DType::F64)
        .and_then(|x| x.flatten_all()?.to_vec1())
        .expect("the tensor should be readable")
}

pub fn state(network: &impl Network) -> Vec<(String, Vec<f64>)> {
    network.state_dict().iter().map(|(name, tensor)| (name.to_string(), values(tensor))).collect()
}

pub struct Directory(tempfile::TempDir);

impl Directory {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory should be available"))
    }

    pub fn file(&self, state: &StateDict) -> PathBuf {
        let path = self.0.path().join("checkpoint.safetensors");
        write_safetensors(&path, state, &Default::default()).expect("the file should be writable");
        path
    }
}

/// The outcome of a load: either the report, the state and the number of distinct parameters, or the error
/// message.
pub type Outcome = std::result::Result<(LoadReport, Vec<(String, Vec<f64>)>, usize), String>;

/// Builds a network from a checkpoint.
pub fn built<C: Config>(config: C, load: &Load) -> Outcome {
    let (network, report) = config.load_with(load, &CPU).map_err(|error| error.to_string())?;
    Ok((report, state(&network), network.parameters().len()))
}

fn variable_ids(network: &impl Network) -> Vec<TensorId> {
    network.trainable_parameters().into_iter().map(|(_, variable)| variable.id()).collect()
}

/// Loads a checkpoint into an existing network.
fn loaded(mut network: impl Network, load: &Load) -> Outcome {
    let (before, parameters) = (state(&network), network.parameters().len());
    let variables = variable_ids(&network);
    let report = network.load_with(load).map_err(|error| error.to_string());
    assert_eq!(variable_ids(&network), variables, "optimizers should still hold the parameters");
    if report.is_err() {
        assert_eq!(state(&network), before, "a failed load should change nothing");
    }
    assert_eq!(network.parameters().len(), parameters, "tied parameters should stay tied");
    Ok((report?, state(&network), parameters))
}

/// Builds a network from `path`, loads `path` into existing networks, and compares the results, for a partial and for a
/// strict load. Returns the outcome of the strict load.
pub fn check<C: Config>(config: impl Fn() -> C, path: &Path) -> Result<Outcome> {
    let network = || config().init(&CPU);
    for partial in [true, false] {
        let load = if partial { Load::new(path).partial() } else { Load::new(path) };
        let expected = built(config(), &load);
        let mut frozen = network()?;
        frozen.freeze("**")?;
        let others = [
            loaded(network()?, &load),
            loaded(frozen, &load),
            loaded(network()?.detached(), &load),
            loaded(network()?.inference()?, &load),
        ];
        for other in others {
            compare(&expected, &other, partial);
        }
        if !partial {
            let mut network = network()?;
            let actual = network.load_state_dict(&load.read(&CPU)?).map_err(|error| error.to_string());
            match (&expected, actual) {
                (Ok((_, expected, _)), Ok(())) => assert_eq!(state(&network), *expected),
                (Err(expected), Err(actual)) => assert!(expected.ends_with(&actual), "{expected}\n{actual}"),
                (expected, actual) => panic!("expected {expected:?}, found {actual:?} from load_state_dict"),
            }
            return Ok(expected);
        }
    }
    unreachable!("the strict load returns")
}

/// Asserts that two loads of one file agree. After a partial load, tensors that were not loaded may differ.
fn compare(one: &Outcome, other: &Outcome, partial: bool) {
    let (one, other) = match (one, other) {
        (Ok(one), Ok(other)) => (one, other),
        (one, other) => return assert_eq!(one, other),
    };
    assert_eq!((&one.0, one.2), (&other.0, other.2));
    let complete = one.0.missing.is_empty() && one.0.mismatched.is_empty();
    for ((name, one_values), (_, other_values)) in one.1.iter().zip(&other.1) {
        if complete || !partial || one.0.loaded.contains(name) {
            assert_eq!(one_values, other_values, "{name}");
        }
    }
}
