//! The contents of a checkpoint, as its reader returns them.

use std::fmt;

use crate::{Error, Result};

use super::StateDict;

/// The content of a checkpoint: its tensors, and what the reader skipped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub state: StateDict,
    /// The tensors that candle cannot represent, by name.
    pub unsupported: Vec<Skipped>,
    /// The objects in the file that are not tensors, in the order of the file.
    pub skipped: Vec<Skipped>,
    /// Deviations from the format that do not affect the tensors.
    pub warnings: Vec<String>,
    /// The error message for callers without a network, if the file has several candidates for the state dict. Only a
    /// comparison with a network shows which candidate is the right one.
    pub ambiguity: Option<String>,
}

impl Contents {
    /// Records a tensor that candle cannot represent.
    pub fn push_unsupported(&mut self, name: String, kind: String) {
        self.unsupported.push(Skipped { path: name, kind });
    }

    /// Checks that candle can represent all tensors for whose names `is_needed` returns `true`.
    ///
    /// # Errors
    ///
    /// Fails otherwise. The message lists the names and the kinds of the tensors that candle cannot represent.
    pub fn check_supported(&self, is_needed: impl Fn(&str) -> bool) -> Result<()> {
        let needed: Vec<_> = self.unsupported.iter().filter(|tensor| is_needed(&tensor.path)).collect();
        let Some(first) = needed.first() else { return Ok(()) };
        let listed = needed.iter().take(10).map(|tensor| format!("`{}` ({})", tensor.path, tensor.kind));
        let more = if needed.len() > 10 { ", …" } else { "" };
        Err(Error::msg(format!(
            "candle cannot represent the tensors {}{more}{}",
            listed.collect::<Vec<_>>().join(", "),
            advice(&first.kind)
        )))
    }

    /// Checks that the file has only one candidate for the state dict.
    ///
    /// # Errors
    ///
    /// Fails otherwise. The message names the candidates.
    pub fn check_unambiguous(&self) -> Result<()> {
        self.ambiguity.as_ref().map_or(Ok(()), |message| Err(Error::msg(message.as_str())))
    }

    /// Returns the tensors.
    ///
    /// # Errors
    ///
    /// Fails if the file has several candidates for the state dict, or if candle cannot represent one of the tensors.
    pub fn into_state(self) -> Result<StateDict> {
        self.check_unambiguous()?;
        self.check_supported(|_| true).map(|()| self.state)
    }
}

/// Returns the end of an error message: how to save a tensor of this kind so that candle can represent it. Returns an
/// empty string for kinds without such advice.
fn advice(kind: &str) -> &'static str {
    match kind.split(' ').next().unwrap_or_default() {
        "sparse" => "; call `to_dense()` before saving",
        "lazily" => "; call `resolve_neg()` before saving",
        "nested" => "; call `to_padded_tensor()` before saving",
        "C64" => "; save `torch.view_as_real` of it",
        kind if kind.starts_with("complex") => "; save `torch.view_as_real` of it",
        kind if kind.starts_with('q') => "; call `dequantize()` before saving",
        _ => "",
    }
}

impl From<StateDict> for Contents {
    fn from(state: StateDict) -> Self {
        Self { state, ..Self::default() }
    }
}

/// A part of a checkpoint that is not loaded: a tensor that candle cannot represent, a tensor whose name lacks the
/// prefix, or an object other than a tensor, such as the arguments of a training script.
///
/// [`Display`](fmt::Display) formats it as `path: kind`, for example `args: argparse.Namespace`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The keys that lead to the object, separated by dots, or the name of the tensor.
    pub path: String,
    /// The Python class of the object, with its module, or a description of the object or tensor.
    pub kind: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.kind)
    }
}
