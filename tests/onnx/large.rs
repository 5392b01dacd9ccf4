//! Exports a network with more than 2 GB of weights, which a protocol buffer cannot contain.

use std::fs;
use std::path::Path;

use sconce::OnnxOptions;
use sconce::prelude::*;

use crate::models::{uniform, write_to};

/// Writes 2.3 GB, so only `cargo test -- --ignored` runs this test. `.ci/onnx.sh` checks the model.
#[test]
#[ignore = "writes 2.3 GB"]
fn weights_over_two_gigabytes_are_in_a_file_of_their_own() -> Result<()> {
    const WIDTH: usize = 1 << 14;
    const HIDDEN: usize = WIDTH + 1000;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx-large");
    fs::create_dir_all(&directory)?;
    sconce::set_exact(true);
    sconce::manual_seed(0);
    let layers = [Linear::config(WIDTH, HIDDEN), Linear::config(HIDDEN, WIDTH)];
    let [first, second] = layers.map(|layer| layer.bias(false).init(&Device::Cpu));
    let network = Sequential::new().push(first?).push(Relu).push(second?);
    let path = directory.join("large.onnx");
    let input = |batch| Ok([uniform((batch, WIDTH), [-1., 1.])?]);
    write_to(&path, &network, None, OnnxOptions::default(), input, |[x]| x)?;
    let bytes = fs::metadata(path.with_file_name("large.onnx.data"))?.len();
    assert_eq!(bytes, 4 * 2 * (WIDTH * HIDDEN) as u64);
    assert!(bytes > 1 << 31);
    assert!(fs::metadata(path)?.len() < 10_000);
    Ok(())
}
