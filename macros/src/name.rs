//! Numbered names in checkpoints: `denselayer{1..}` means denselayer1, denselayer2, ….

/// A pattern for the names of a list's layers.
pub struct Numbered {
    pub before: String,
    pub first: usize,
    pub after: String,
}

impl Numbered {
    /// Parses a name that contains `{0..}`, `{1..}` or a range with a different first number. Returns
    /// `None` if the name contains no such range.
    pub fn parse(name: &str) -> Option<Self> {
        let (before, rest) = name.split_once('{')?;
        let (first, after) = rest.split_once("..}")?;
        let first = first.parse().ok()?;
        Some(Self { before: before.to_string(), first, after: after.to_string() })
    }

    /// Returns the name of the first layer.
    pub fn example(&self) -> String {
        format!("{}{}{}", self.before, self.first, self.after)
    }
}
