//! The history as JSON. Floating-point numbers are strings, because JSON has neither NaN nor infinity.

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::train::evaluate::Evaluation;
use crate::train::history::EpochReport;
use crate::{Error, Result};

/// Converts the report of an epoch to JSON.
pub(super) fn epoch_to_json(epoch: &EpochReport) -> Value {
    json!({
        "epoch": epoch.epoch,
        "steps": epoch.steps,
        "train": evaluation_to_json(&epoch.train),
        "valid": epoch.valid.as_ref().map(evaluation_to_json),
        "learning_rate": epoch.learning_rate.to_string(),
        "seconds": epoch.seconds.to_string(),
        "examples_per_second": epoch.examples_per_second.to_string(),
    })
}

fn evaluation_to_json(evaluation: &Evaluation) -> Value {
    let metrics = evaluation.metrics.iter().map(|(name, value)| json!([name, value.to_string()]));
    json!({
        "loss": evaluation.loss.to_string(),
        "accuracy": evaluation.accuracy.map(|accuracy| accuracy.to_string()),
        "examples": evaluation.examples,
        "metrics": metrics.collect::<Value>(),
    })
}

/// Reads the report of an epoch.
pub(super) fn epoch_from_json(value: &Value) -> Result<EpochReport> {
    let valid = &value["valid"];
    Ok(EpochReport {
        epoch: integer(&value["epoch"])?,
        steps: integer(&value["steps"])?,
        train: evaluation_from_json(&value["train"])?,
        valid: if valid.is_null() { None } else { Some(evaluation_from_json(valid)?) },
        learning_rate: number(&value["learning_rate"])?,
        seconds: number(&value["seconds"])?,
        examples_per_second: number(&value["examples_per_second"])?,
    })
}

fn evaluation_from_json(value: &Value) -> Result<Evaluation> {
    let accuracy = &value["accuracy"];
    let metrics =
        array(&value["metrics"])?.iter().map(|pair| Ok((text(&pair[0])?.to_owned(), number(&pair[1])?)));
    Ok(Evaluation {
        loss: number(&value["loss"])?,
        accuracy: if accuracy.is_null() { None } else { Some(number(accuracy)?) },
        examples: integer(&value["examples"])?,
        metrics: metrics.collect::<Result<IndexMap<_, _>>>()?,
    })
}

/// Reads a string.
pub(super) fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| unexpected("a string", value))
}

/// Reads a number from a string.
pub(super) fn number(value: &Value) -> Result<f64> {
    text(value)?.parse().map_err(|_| unexpected("a number", value))
}

/// Reads an integer of at least 0.
pub(super) fn integer(value: &Value) -> Result<usize> {
    let integer = value.as_u64().and_then(|integer| usize::try_from(integer).ok());
    integer.ok_or_else(|| unexpected("an integer", value))
}

/// Reads a list.
pub(super) fn array(value: &Value) -> Result<&[Value]> {
    Ok(value.as_array().ok_or_else(|| unexpected("a list", value))?)
}

fn unexpected(expected: &str, found: &Value) -> Error {
    Error::msg(format!("expected {expected} in the training state, found {found}"))
}
