//! Writes the file that a fuzz target generates from an input: `cargo run --example dump <target> <input> <file>`.

use std::error::Error;
use std::{env, fs};

use arbitrary::Unstructured;
use sconce_fuzz::generate;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [target, input, file] = &arguments[..] else {
        return Err("expected the arguments <target> <input> <file>".into());
    };
    let (generate, _) = generate::target(target)?;
    let input = fs::read(input)?;
    let mut input = Unstructured::new(&input);
    Ok(fs::write(file, generate(&mut input)?)?)
}
