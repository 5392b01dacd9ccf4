//! «Did you mean»: the known name that is closest to a misspelt one.

/// The candidate closest to `word`, if it is close enough to be what was meant.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = if word.chars().count() < 4 { 1 } else { 2 };
    let ranked = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    ranked.filter(|&(d, _)| d <= most).min_by_key(|&(d, _)| d).map(|(_, candidate)| candidate)
}

/// `; did you mean …?`, or nothing where no candidate is close.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Functions of the prelude whose names look like a numbered layer's.
const FUNCTIONS: [&str; 3] = ["relu6", "hardtanh", "log2"];

/// The field that a call of `word` meant, where `word` is neither field nor local: `(name, unused)` for
/// each layer.
///
/// The call may be one of an ordinary function, which the macro cannot know. Two patterns are hardly
/// ever: `conv3(x)` beside the fields `conv1` and `conv2`, and a name one or two letters off a field
/// that nothing else uses. A function of such a name can still be called by its path, `self::conv3(x)`.
pub fn field<'a>(word: &str, fields: &[(&'a str, bool)]) -> Option<&'a str> {
    if FUNCTIONS.contains(&word) {
        return None;
    }
    let (stem, number) = split_number(word);
    let siblings = fields.iter().filter(|(name, _)| {
        let (other, digits) = split_number(name);
        !number.is_empty() && !digits.is_empty() && other == stem && !stem.is_empty()
    });
    let value = |digits: &str| digits.parse::<i64>().unwrap_or(0);
    let nearest = siblings.min_by_key(|(name, _)| (value(split_number(name).1) - value(number)).abs());
    let most = if word.chars().count() < 6 { 1 } else { 2 };
    let misspelt = |&&(name, unused): &&(&str, bool)| {
        // `relu(x)` beside an idle `relu1` is the function.
        unused && distance(word, name) <= most && split_number(name).0 != word
    };
    nearest.or_else(|| fields.iter().find(misspelt)).map(|&(name, _)| name)
}

/// A name and the digits it ends in.
fn split_number(name: &str) -> (&str, &str) {
    name.split_at(name.trim_end_matches(|c: char| c.is_ascii_digit()).len())
}

/// How many characters have to be inserted, deleted, replaced or swapped with their neighbour.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [("", "ab", 2), ("conv3", "conv2", 1), ("layre", "layer", 1), ("skip", "skip", 0)] {
            assert_eq!((distance(a, b), distance(b, a)), (d, d), "{a} {b}");
        }
    }

    #[test]
    fn a_misspelt_field_is_told_from_a_function() {
        let fields = [("conv1", false), ("conv2", false), ("downsample", true), ("relu1", true)];
        for (word, meant) in [
            ("conv3", Some("conv2")),
            ("dwonsample", Some("downsample")),
            ("conv", None),
            ("relu", None),
            ("relu6", None),
            ("max_pool2d", None),
            ("downsampling", None),
        ] {
            assert_eq!(field(word, &fields), meant, "{word}");
        }
    }

    #[test]
    fn only_close_names_are_suggested() {
        assert_eq!(closest("froward", ["forward", "args"]), Some("forward"));
        assert_eq!(closest("weights", ["forward", "args"]), None);
        assert_eq!(hint("arg", ["args"]), "; did you mean `args`?");
    }
}
