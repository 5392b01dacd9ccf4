//! Selects files for the regression tests: `cargo run --example select <target> <corpus> <output>` generates a file
//! from each of the fuzzer's inputs in `<corpus>` and reads it. For each kind of result, it writes the smallest file to
//! `<output>`, up to 8 KB in total.
//!
//! Results are of the same kind if they are errors that begin with the same words, or state dicts with the same dtypes
//! and ranks.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::{env, fs};

use arbitrary::Unstructured;
use sconce::Result;
use sconce::checkpoint::StateDict;
use sconce_fuzz::generate;

/// The maximum total length of the selected files, in bytes.
const TOTAL: usize = 8 << 10;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [target, corpus, output] = &arguments[..] else {
        return Err("expected the arguments <target> <corpus> <output>".into());
    };
    let (generate, read) = generate::target(target)?;
    let mut smallest: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for input in fs::read_dir(corpus)? {
        let input = fs::read(input?.path())?;
        let Ok(file) = generate(&mut Unstructured::new(&input)) else { continue };
        let best = smallest.entry(kind(read(&file))).or_insert_with(|| file.clone());
        if file.len() < best.len() {
            *best = file;
        }
    }
    let mut files: Vec<_> = smallest.into_iter().collect();
    files.sort_by_key(|(_, file)| file.len());
    let count = files.len();
    let mut total = 0;
    for (i, (kind, file)) in files.into_iter().enumerate() {
        total += file.len();
        if total > TOTAL {
            println!("{} of {count} kinds are left out", count - i);
            break;
        }
        println!("{i:02}: {kind}");
        fs::write(Path::new(output).join(format!("{target}_{i:02}")), file)?;
    }
    Ok(())
}

/// Describes the kind of a result: the beginning of an error without names and numbers, or the dtypes and ranks of the
/// tensors.
fn kind(result: Result<StateDict>) -> String {
    match result {
        Ok(state) => {
            let tensors = state.iter().map(|(_, tensor)| format!("{:?} {}", tensor.dtype(), tensor.rank()));
            format!("tensors: {:?}", tensors.collect::<BTreeSet<_>>())
        }
        Err(error) => {
            let words = error.to_string();
            // Names are in backticks or quotes.
            let outside = words.split(['`', '"']).step_by(2).collect::<String>();
            outside.chars().filter(|c| c.is_alphabetic() || *c == ' ').take(60).collect()
        }
    }
}
