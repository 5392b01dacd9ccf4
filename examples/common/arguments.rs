//! Functions that parse the command lines of the examples.

use std::process::exit;

use lexopt::{Error, Parser};

/// Parses the command line with `parse`.
///
/// Prints `help` and exits with code 0 if an argument is `--help` or `-h`. Prints one line and exits with code 2 if
/// `parse` fails.
pub fn parse<T>(help: &str, parse: impl FnOnce(Parser) -> Result<T, Error>) -> T {
    if std::env::args_os().any(|argument| argument == "--help" || argument == "-h") {
        println!("{help}");
        exit(0);
    }
    parse(Parser::from_env()).unwrap_or_else(|error| {
        eprintln!("{error}; see --help");
        exit(2)
    })
}

/// Parses a command line whose only option is `--short`. Returns `true` if `--short` is set.
#[allow(dead_code, reason = "only the examples without other options call it")]
pub fn only_short(mut parser: Parser) -> Result<bool, Error> {
    let mut short = false;
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("short") => short = true,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(short)
}

/// Splits a value at commas and parses each part with `parse`.
#[allow(dead_code, reason = "only some examples have options with lists")]
pub fn list<T>(
    value: std::ffi::OsString,
    parse: impl FnMut(&str) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let value = value.into_string().map_err(Error::NonUnicodeValue)?;
    value.split(',').filter(|part| !part.is_empty()).map(parse).collect()
}

/// Parses a number.
#[allow(dead_code, reason = "only some examples have lists of numbers")]
pub fn number(word: &str) -> Result<usize, Error> {
    word.parse().map_err(|_| Error::from(format!("expected a number, found {word:?}")))
}
