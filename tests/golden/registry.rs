//! The kinds of PyTorch's answers that have a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The kinds of each module, as its tests declare them.
const TESTED: [&[&str]; 9] = [
    crate::conv::KINDS,
    crate::elementwise::KINDS,
    crate::kernels::KINDS,
    crate::losses::KINDS,
    crate::norm::KINDS,
    crate::pool::KINDS,
    crate::resample::KINDS,
    crate::sequence::KINDS,
    crate::training::KINDS,
];

/// The kinds that the folder has answers of.
fn answered() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layers");
    let paths = fs::read_dir(folder).expect("PyTorch's answers").map(|entry| entry.expect("a file").path());
    let lists = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    lists.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn every_kind_is_tested() {
    let answered = answered();
    assert!(answered.len() >= 52, "{answered:?}");
    let tested: BTreeSet<String> = TESTED.iter().copied().flatten().map(|kind| kind.to_string()).collect();
    let untested: Vec<_> = answered.difference(&tested).collect();
    assert!(untested.is_empty(), "no test reads the cases of {untested:?}");
}
