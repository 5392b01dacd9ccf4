//! Names in checkpoints: plain names such as `features.0`, numbered names such as `denselayer{1..}` (denselayer1,
//! denselayer2, …), and names with the value of a field, such as `block{stage}`.

/// The name of a field in checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub parts: Vec<Part>,
}

/// A part of a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text that is the same in every network.
    Text(String),
    /// `{stage}`: the value of a plain-data field or of a const parameter.
    Value(String),
    /// `{1..}` or `{0..;2}`: the number of a layer in its list.
    Numbers { first: usize, step: usize },
}

impl Name {
    /// Returns the name of a field without `rename`.
    pub fn of_field(name: &str) -> Self {
        Self { parts: vec![Part::Text(name.to_string())] }
    }

    /// Parses the text of `rename = "…"`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, after) = after.split_once('}').ok_or(BRACES)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_string()));
            }
            parts.push(Part::parse(inside).ok_or(BRACES)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_string()));
        }
        let name = Self { parts };
        name.check()?;
        Ok(name)
    }

    /// Returns an error message if the name has two numbers, an unmatched `}`, a space, or an empty word between dots.
    fn check(&self) -> Result<(), &'static str> {
        if self.numbers() > 1 {
            return Err("expected at most one number in a name; inner lists are always numbered .0, .1, …");
        }
        if self.parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains('}'))) {
            return Err(BRACES);
        }
        let example = self.example();
        let is_path = example.split('.').all(|word| !word.is_empty() && !word.contains(char::is_whitespace));
        if is_path || self.is_empty() {
            Ok(())
        } else {
            Err("expected a name of words separated by dots, such as \"features.0\"")
        }
    }

    /// Returns `true` if the name is empty, so that the tensors in the field keep their own names.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns `true` if each layer of a list has a name of its own.
    pub fn is_numbered(&self) -> bool {
        self.numbers() > 0
    }

    fn numbers(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Numbers { .. })).count()
    }

    /// Returns the name if it is the same in every network.
    pub fn fixed(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns the names in braces.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(value) => Some(value.as_str()),
            _ => None,
        })
    }

    /// Returns the text before the first number or value.
    pub fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Returns the name of the first layer, with the names of values in place of the values.
    fn example(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) | Part::Value(text) => text.clone(),
                Part::Numbers { first, .. } => first.to_string(),
            })
            .collect()
    }
}

const BRACES: &str = "expected {0..} for the number in a name ({1..} starts at 1, {0..;2} counts by 2), or {field} for \
                      the value of a field";

impl Part {
    /// Parses the text between two braces.
    fn parse(text: &str) -> Option<Self> {
        if let Some((first, step)) = text.split_once("..") {
            let step = match step.trim() {
                "" => 1,
                step => step.strip_prefix(';')?.trim().parse().ok().filter(|step| *step > 0)?,
            };
            return Some(Self::Numbers { first: first.trim().parse().ok()?, step });
        }
        let is_ident = text.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_alphanumeric() || c == '_');
        is_ident.then(|| Self::Value(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_consist_of_text_numbers_and_values() {
        let name = Name::parse("block{stage}-{0..;2}.conv").expect("the name is valid");
        let expected = [
            Part::Text("block".into()),
            Part::Value("stage".into()),
            Part::Text("-".into()),
            Part::Numbers { first: 0, step: 2 },
            Part::Text(".conv".into()),
        ];
        assert_eq!(name.parts, expected);
        assert_eq!(name.prefix(), "block");
        assert_eq!(Name::parse("{3..}").expect("valid").parts, [Part::Numbers { first: 3, step: 1 }]);
        assert!(Name::parse("").expect("valid").is_empty());
    }

    #[test]
    fn invalid_names_are_errors() {
        for text in
            ["a..b", ".a", "a b", "{", "a}", "{1...}", "{..}", "{0..;0}", "{0..,2}", "{a-b}", "{0..}{1..}"]
        {
            assert!(Name::parse(text).is_err(), "{text}");
        }
    }
}
