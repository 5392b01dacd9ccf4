//! The command line.

use std::time::Duration;

use sconce::{Error, Result};

use crate::clock::FORMATS;
use crate::table::BATCHES;

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
    /// Whether a part is asked for.
    pub fn runs(&self, part: &str) -> bool {
        // Plans are only timed where they are asked for.
        self.only.as_deref().map_or(part != "plans", |only| only == part)
    }

    /// Whether layers are timed at that batch size, and in that format.
    pub fn times(&self, batch: usize, format: &str) -> bool {
        let batches = self.batches.as_ref().is_none_or(|batches| batches.contains(&batch));
        batches && self.formats.as_ref().is_none_or(|formats| formats.iter().any(|one| one == format))
    }
}

/// None where it asks for help.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>> {
    let mut parsed = Arguments {
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
    while let Some(word) = words.next() {
        let mut value =
            || words.next().ok_or_else(|| Error::msg(format!("{word} needs a value; see --help")));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--device" => parsed.device = number(&value()?)?,
            "--only" => parsed.only = Some(part(value()?)?),
            "--cases" => parsed.cases = number(&value()?)?,
            "--seed" => parsed.seed = number(&value()?)?,
            "--csv" => parsed.csv = Some(value()?),
            "--short" => (parsed.short, parsed.cases, parsed.budget) = (true, 5, Duration::ZERO),
            "--budget" => parsed.budget = Duration::from_millis(number(&value()?)?),
            "--batches" => parsed.batches = Some(value()?.split(',').map(batch).collect::<Result<_>>()?),
            "--formats" => parsed.formats = Some(value()?.split(',').map(format).collect::<Result<_>>()?),
            _ => return Err(Error::msg(format!("unknown argument {word:?}; see --help"))),
        }
    }
    Ok(Some(parsed))
}

fn part(word: String) -> Result<String> {
    match word.as_str() {
        "check" | "train" | "time" | "plans" => Ok(word),
        _ => Err(Error::msg(format!("expected check, train, time or plans, got {word:?}"))),
    }
}

fn batch(word: &str) -> Result<usize> {
    let batch = number(word)?;
    match BATCHES.contains(&batch) {
        true => Ok(batch),
        false => Err(Error::msg(format!("expected batch sizes of {BATCHES:?}, got {batch}"))),
    }
}

fn format(word: &str) -> Result<String> {
    match FORMATS.iter().any(|format| format.name == word) {
        true => Ok(word.into()),
        false => Err(Error::msg(format!("expected formats of {:?}, got {word:?}", FORMATS.map(|f| f.name)))),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| Error::msg(format!("expected a number, got {word:?}")))
}
