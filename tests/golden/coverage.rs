//! Checks that every kind of golden data has a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// For each module, the kinds that its tests check.
const TESTED: [&[&str]; 12] = [
    crate::averaging::KINDS,
    crate::conv::KINDS,
    crate::elementwise::KINDS,
    crate::kernels::KINDS,
    crate::losses::KINDS,
    crate::methods::KINDS,
    crate::norm::KINDS,
    crate::pool::KINDS,
    crate::precision::KINDS,
    crate::resample::KINDS,
    crate::sequence::KINDS,
    crate::training::KINDS,
];

/// Returns the kinds that have golden data.
fn golden_kinds() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layers");
    let paths = fs::read_dir(directory)
        .expect("the directory of golden data should be readable")
        .map(|entry| entry.expect("each directory entry should be readable").path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    files
        .map(|path| {
            path.file_stem().expect("the path should have a file stem").to_string_lossy().into_owned()
        })
        .collect()
}

#[test]
fn every_kind_of_golden_data_has_a_test() {
    let golden = golden_kinds();
    assert!(golden.len() >= 52, "{golden:?}");
    let tested: BTreeSet<String> = TESTED.iter().copied().flatten().map(|kind| kind.to_string()).collect();
    let untested: Vec<_> = golden.difference(&tested).collect();
    assert!(untested.is_empty(), "expected a test for each of {untested:?}");
}
