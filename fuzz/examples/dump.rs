//! Writes the file that a target generates from an input: `cargo run --example dump <target> <input> <file>`.

use std::error::Error;
use std::{env, fs};

use arbitrary::Unstructured;
use sconce_fuzz::generate;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [target, input, file] = &arguments[..] else {
        return Err("expected the arguments <target> <input> <file>".into());
    };
    let input = fs::read(input)?;
    let mut input = Unstructured::new(&input);
    let generated = match target.as_str() {
        "objects_zip" => generate::torch_zip(&mut input),
        "objects_legacy" => generate::torch_legacy(&mut input),
        "arrays" => generate::npz(&mut input),
        other => {
            return Err(
                format!("expected `objects_zip`, `objects_legacy` or `arrays`, found `{other}`").into()
            );
        }
    };
    Ok(fs::write(file, generated?)?)
}
