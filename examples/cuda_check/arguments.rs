//! The command line.

use sconce::{Error, Result};

pub struct Arguments {
    pub device: usize,
    only: Option<String>,
    pub cases: usize,
    pub seed: u64,
    pub csv: Option<String>,
    pub short: bool,
}

impl Arguments {
    /// Whether a part is asked for.
    pub fn runs(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

/// None where it asks for help.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Arguments>> {
    let mut parsed = Arguments { device: 0, only: None, cases: 200, seed: 0, csv: None, short: false };
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
            "--short" => (parsed.short, parsed.cases) = (true, 5),
            _ => return Err(Error::msg(format!("unknown argument {word:?}; see --help"))),
        }
    }
    Ok(Some(parsed))
}

fn part(word: String) -> Result<String> {
    match word.as_str() {
        "check" | "train" | "time" => Ok(word),
        _ => Err(Error::msg(format!("expected check, train or time, got {word:?}"))),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| Error::msg(format!("expected a number, got {word:?}")))
}
