//! The report of a load, and the error of a load that fails.

use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sconce::prelude::*;

use crate::common::message;
use crate::load_checks::{CPU, Directory, built};

/// A network with the tensors `layers.0.weight`, `layers.0.bias`, `layers.1.weight`, …
#[derive(Module)]
#[module(args(depth: usize), forward = |x| layers.iter().fold(x, |x, layer| layer(x)))]
struct Deep {
    #[layer(2, 2; for _ in 0..depth)]
    layers: Vec<Linear>,
}

/// The maximum number of lines of a report or an error.
const MAX_LINES: usize = 24;

fn ones(shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::ones(shape, DType::F32, &CPU)?)
}

/// Returns the report of a partial load and the error of a strict one.
fn outcomes(depth: usize, state: &StateDict) -> (LoadReport, String) {
    let directory = Directory::new();
    let path = directory.file(state);
    let error = built(Deep::config(depth), &Load::new(&path)).expect_err("the strict load should fail");
    let partial = built(Deep::config(depth), &Load::new(&path).partial());
    let (report, ..) = partial.expect("the partial load should succeed");
    (report, error)
}

#[test]
fn a_long_report_fits_on_a_screen_and_counts_the_rest() -> Result<()> {
    let mut state: StateDict =
        (0..100).map(|i| Ok((format!("other.{i}"), ones(&[1])?))).collect::<Result<_>>()?;
    state.insert("layers.0.weight", ones(&[3])?);
    state.insert("layers.0.bias", ones(&[2])?);
    let (report, error) = outcomes(30, &state);
    assert_eq!((report.missing.len(), report.unexpected.len(), report.mismatched.len()), (58, 100, 1));
    let text = report.to_string();
    assert!(text.starts_with("loaded 1, missing 58, unexpected 100, mismatched 1\n"), "{text}");
    // The three kinds share 18 rows: 1 is mismatched, 9 are missing and 8 are unexpected.
    let rest = "\n… and 49 more missing, 92 more unexpected";
    assert!(text.ends_with(rest) && text.lines().count() == 20, "{text}");
    // The error has the same rows, and proposes the call that would succeed.
    let rows = &text[text.find('\n').expect("the report has rows")..];
    assert!(
        error.contains(": 58 missing, 100 unexpected, 1 mismatched\n") && error.contains(rows),
        "{error}"
    );
    assert!(error.ends_with("\nadd `.partial()` to the `Load` to load 1 tensor"), "{error}");
    assert!(error.lines().count() <= MAX_LINES, "{error}");
    Ok(())
}

#[test]
fn rows_are_sorted_by_path_and_fields_keep_their_order() -> Result<()> {
    let state = StateDict::from_iter([
        ("layers.10.extra", ones(&[1])?),
        ("layers.9.extra", ones(&[1])?),
        ("layers.2.bias", ones(&[2])?),
    ]);
    let (report, _) = outcomes(11, &state);
    let text = report.to_string();
    let names: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names[..3], ["layers.0.bias", "layers.0.weight", "layers.1.bias"]);
    assert_eq!(names[16..18], ["layers.9.extra", "layers.10.extra"]);
    // The fields of the report are complete and not sorted: `missing` has the order of the network, and `unexpected`
    // has the order of the file.
    assert_eq!((report.missing[0].0.as_str(), report.missing.len()), ("layers.0.weight", 21));
    assert_eq!(report.unexpected[0].0, "layers.10.extra");
    Ok(())
}

#[test]
fn one_row_stands_for_all_names_from_which_a_prefix_is_removed() -> Result<()> {
    let network = Deep::new(50, &CPU)?.state_dict();
    let wrapped = network.iter().map(|(name, tensor)| (format!("module.{name}"), tensor.clone()));
    let mut state: StateDict = wrapped.collect();
    state.insert("n_averaged", ones(&[])?);
    let directory = Directory::new();
    let (report, ..) =
        built(Deep::config(50), &Load::new(directory.file(&state))).expect("the file should fit");
    assert_eq!(report.renamed.len(), 100);
    assert_eq!(
        report.to_string(),
        "loaded 100, missing 0, unexpected 0, mismatched 0, skipped 1, renamed 100\n\
         skipped  n_averaged  tensor [] outside `module.`\n\
         renamed  module.*    -> * (100 tensors)"
    );
    Ok(())
}

#[test]
fn names_of_any_length_and_content_are_printed_on_one_line() -> Result<()> {
    let long = format!("{}é", "a.".repeat(5000));
    let state = StateDict::from_iter([(long.as_str(), ones(&[1])?), ("new\nline\u{1b}[2J", ones(&[1; 60])?)]);
    let (report, error) = outcomes(1, &state);
    for text in [report.to_string(), error] {
        assert!(
            text.lines().count() <= MAX_LINES && text.lines().all(|line| line.chars().count() < 300),
            "{text}"
        );
        assert!(text.contains("a.….a") && text.contains(r"new\nline\u{1b}[2J"), "{text}");
    }
    assert!(report.unexpected.iter().any(|(name, _)| *name == long));
    Ok(())
}

/// Loads a file with tensors of zeros, given by name, dtype and shape, into a `Linear` with 2 inputs and 1 output.
fn load_linear(tensors: &[(&str, Dtype, &[usize])], partial: bool) -> Result<LoadReport> {
    let views = tensors.iter().map(|&(name, dtype, shape)| {
        let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name, TensorView::new(dtype, shape.to_vec(), &[0; 64][..length]).expect("the length should match"))
    });
    let file = safetensors::serialize(views, None).expect("the names should be distinct");
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("linear.safetensors");
    std::fs::write(&path, file)?;
    let load = if partial { Load::new(&path).partial() } else { Load::new(&path) };
    let built = Linear::config(2, 1).load_with(&load, &CPU);
    let loaded = Linear::config(2, 1).init(&CPU)?.load_with(&load);
    match (&built, &loaded) {
        (Ok((_, built)), Ok(loaded)) => assert_eq!(built, loaded),
        (Err(built), Err(loaded)) => assert_eq!(built.to_string(), loaded.to_string()),
        (built, loaded) => panic!("expected equal outcomes, found {:?} and {loaded:?}", built.as_ref().err()),
    }
    loaded
}

#[test]
fn tensors_that_candle_cannot_represent_are_errors_or_skipped() -> Result<()> {
    const WEIGHT: (&str, Dtype, &[usize]) = ("weight", Dtype::F32, &[1, 2]);
    const BIAS: (&str, Dtype, &[usize]) = ("bias", Dtype::F32, &[1]);
    // In the first file, the C64 tensor has the name of a parameter. In the second, it is an additional tensor.
    for tensors in
        [[WEIGHT, ("bias", Dtype::C64, &[1])].as_slice(), &[WEIGHT, BIAS, ("spectrum", Dtype::C64, &[1])]]
    {
        let name = tensors[tensors.len() - 1].0;
        let error = message(load_linear(tensors, false));
        let expected =
            format!("linear.safetensors: candle cannot represent the tensors `{name}` (C64 tensor)");
        assert!(error.contains(&expected), "{error}");
        let report = load_linear(tensors, true)?;
        assert_eq!((report.loaded.len(), report.missing.len()), (tensors.len() - 1, 3 - tensors.len()));
        assert_eq!(report.skipped[0].to_string(), format!("{name}: C64 tensor"));
    }
    // A tensor outside the prefix of a wrapped network is skipped even in a strict load.
    let wrapped =
        [("net.weight", WEIGHT.1, WEIGHT.2), ("net.bias", BIAS.1, BIAS.2), ("window", Dtype::C64, &[1])];
    let report = load_linear(&wrapped, false)?;
    assert_eq!((report.loaded.len(), report.skipped[0].to_string().as_str()), (2, "window: C64 tensor"));
    Ok(())
}

#[test]
fn objects_beside_the_state_dict_are_reported() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/beside_zip_4.pt");
    let report = Linear::config(3, 2).init(&CPU)?.load_with(Load::new(file))?;
    assert_eq!(report.loaded, ["weight", "bias"]);
    assert_eq!(report.skipped[0].to_string(), "namespace: argparse.Namespace");
    let text = report.to_string();
    assert!(text.starts_with(&format!(
        "loaded 2, missing 0, unexpected 0, mismatched 0, skipped {}",
        report.skipped.len()
    )));
    assert!(
        text.contains("\nskipped  array        numpy.ndarray\n") && text.ends_with("more skipped"),
        "{text}"
    );
    Ok(())
}
