//! Exports random networks: chains and branches of layers with random settings.

mod build;
mod combined;
mod step;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use sconce::prelude::*;

use crate::models::{path, uniform, write_in_f64};
use build::build;
use step::{Step, chain};

/// The number of networks. They are the same in each run.
const NETWORKS: usize = 250;

#[test]
fn random_networks() -> Result<()> {
    sconce::set_exact(true);
    let mut runner = TestRunner::deterministic();
    let networks = (chain(), [1..5usize, 3..9, 3..9]);
    let counts = RefCell::new(BTreeMap::new());
    for i in 0..NETWORKS {
        let tree = networks.new_tree(&mut runner).map_err(|reason| Error::msg(reason.to_string()))?;
        let (steps, shape) = tree.current();
        sconce::manual_seed(i as u64);
        let count = |step: &Step| *counts.borrow_mut().entry(step.kind()).or_insert(0) += 1;
        let network = build(&steps, &mut shape.clone(), &count)?;
        let name = format!("{i:03}");
        // The settings help to find the cause of a failure in `.ci/onnx.sh`.
        std::fs::write(path("random", &name)?.with_extension("txt"), format!("{shape:?}\n{network}\n"))?;
        let input = |batch: usize| uniform([&[batch], &shape[..]].concat(), [-2., 2.]);
        write_in_f64("random", &name, &network, input)
            .map_err(|error| Error::msg(format!("network {i}: {error}\n{network}")))?;
    }
    // Steps that do not fit the shape are left out. Each kind must be exported in some networks.
    let rare: Vec<_> =
        Step::KINDS.iter().filter(|kind| counts.borrow().get(*kind).is_none_or(|n| *n < 3)).collect();
    assert!(rare.is_empty(), "{rare:?} of {:?}", counts.borrow());
    Ok(())
}
