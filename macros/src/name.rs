//! Names in checkpoints that count: `denselayer{1..}` is denselayer1, denselayer2, ….

/// The name of each layer of a list.
pub struct Numbered {
    pub before: String,
    pub first: usize,
    pub after: String,
}

impl Numbered {
    /// Reads a name with `{0..}`, `{1..}` or any other first number in it.
    pub fn parse(name: &str) -> Option<Self> {
        let (before, rest) = name.split_once('{')?;
        let (first, after) = rest.split_once("..}")?;
        let first = first.parse().ok()?;
        Some(Self { before: before.to_string(), first, after: after.to_string() })
    }

    /// The first layer's name.
    pub fn example(&self) -> String {
        format!("{}{}{}", self.before, self.first, self.after)
    }
}
