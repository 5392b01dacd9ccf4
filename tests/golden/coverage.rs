//! Every kind of layer, loss, optimiser and schedule that PyTorch's answers are at hand for has a test that
//! reads them.

use std::fs;
use std::path::{Path, PathBuf};

/// The text of every test file of a folder and those below it, but not of this one.
fn sources(folder: &Path) -> String {
    let paths = fs::read_dir(folder).expect("the tests' folder").map(|entry| entry.expect("a file").path());
    let ours = Path::new(file!()).file_name();
    let text = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(end) if end == "rs" && path.file_name() != ours => {
            fs::read_to_string(path).expect("a test file")
        }
        _ => String::new(),
    };
    paths.map(text).collect()
}

#[test]
fn every_kind_is_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let kinds = fs::read_dir(folder.join("golden/layers")).expect("PyTorch's answers").filter_map(|entry| {
        let path = entry.expect("a file").path();
        let is_list = path.extension().is_some_and(|end| end == "json");
        is_list.then(|| path.file_stem().expect("a name").to_string_lossy().into_owned())
    });
    let mut kinds: Vec<String> = kinds.collect();
    kinds.sort();
    assert!(kinds.len() >= 52, "{kinds:?}");

    // Tests name a kind to read its cases: `cases("Conv2d")`, `check_golden("MSELoss", …)`.
    let sources = sources(&folder);
    let untested: Vec<&String> =
        kinds.iter().filter(|kind| !sources.contains(&format!("(\"{kind}\""))).collect();
    assert!(untested.is_empty(), "no test reads the cases of {untested:?}");
}
