//! The settings of a run: number formats, batch sizes and the command line.

use std::time::Duration;

use lexopt::prelude::*;
use lexopt::{Error, Parser};
use sconce::candle::DType;

use crate::command_line::{list, number};

/// A number format: a dtype, and whether f32 is multiplied as TF32.
#[derive(Clone, Copy, PartialEq)]
pub struct Format {
    pub name: &'static str,
    pub dtype: DType,
    pub tf32: bool,
}

pub const FORMATS: [Format; 4] = [
    Format { name: "f32", dtype: DType::F32, tf32: false },
    Format { name: "tf32", dtype: DType::F32, tf32: true },
    Format { name: "f16", dtype: DType::F16, tf32: false },
    Format { name: "bf16", dtype: DType::BF16, tf32: false },
];

pub const BATCHES: [usize; 3] = [1, 32, 256];

/// The command line. `HELP` in `main.rs` describes the options.
pub struct Arguments {
    pub device: usize,
    only: Option<String>,
    pub cases: usize,
    pub seed: u64,
    pub csv: Option<String>,
    pub short: bool,
    pub budget: Duration,
    batches: Option<Vec<usize>>,
    formats: Option<Vec<String>>,
}

impl Arguments {
    /// Returns `true` if `part` should run. The part `kernels` runs only if it is requested with `--only`.
    pub fn runs(&self, part: &str) -> bool {
        self.only.as_deref().map_or(part != "kernels", |only| only == part)
    }

    /// Returns `true` if layers should be timed with this batch size and format.
    pub fn includes(&self, batch: usize, format: &str) -> bool {
        let batches = self.batches.as_ref().is_none_or(|batches| batches.contains(&batch));
        batches && self.formats.as_ref().is_none_or(|formats| formats.iter().any(|name| name == format))
    }
}

pub fn parse(mut parser: Parser) -> Result<Arguments, Error> {
    let mut arguments = Arguments {
        device: 0,
        only: None,
        cases: 200,
        seed: 0,
        csv: None,
        short: false,
        budget: Duration::from_millis(200),
        batches: None,
        formats: None,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("device") => arguments.device = parser.value()?.parse()?,
            Long("only") => arguments.only = Some(part(parser.value()?.string()?)?),
            Long("cases") => arguments.cases = parser.value()?.parse()?,
            Long("seed") => arguments.seed = parser.value()?.parse()?,
            Long("csv") => arguments.csv = Some(parser.value()?.string()?),
            Long("short") => {
                arguments.short = true;
                arguments.cases = 5;
                arguments.budget = Duration::ZERO;
            }
            Long("budget") => arguments.budget = Duration::from_millis(parser.value()?.parse()?),
            Long("batches") => arguments.batches = Some(list(parser.value()?, batch)?),
            Long("formats") => arguments.formats = Some(list(parser.value()?, format)?),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(arguments)
}

fn part(word: String) -> Result<String, Error> {
    match word.as_str() {
        "check" | "train" | "time" | "kernels" => Ok(word),
        _ => Err(format!("expected check, train, time or kernels, found {word:?}").into()),
    }
}

fn batch(word: &str) -> Result<usize, Error> {
    let batch = number(word)?;
    if !BATCHES.contains(&batch) {
        return Err(format!("expected one of the batch sizes {BATCHES:?}, found {batch}").into());
    }
    Ok(batch)
}

fn format(word: &str) -> Result<String, Error> {
    if !FORMATS.iter().any(|format| format.name == word) {
        return Err(
            format!("expected one of the formats {:?}, found {word:?}", FORMATS.map(|f| f.name)).into()
        );
    }
    Ok(word.into())
}
