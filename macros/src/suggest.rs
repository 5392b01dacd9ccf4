//! "Did you mean" suggestions for misspelled names.

/// Returns the candidate closest to `word`, if it is close enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let max_distance = if word.chars().count() < 4 { 1 } else { 2 };
    let ranked = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    ranked.filter(|&(d, _)| d <= max_distance).min_by_key(|&(d, _)| d).map(|(_, candidate)| candidate)
}

/// Returns `; did you mean …?`, or an empty string if no candidate is close enough.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Functions of the prelude whose names look like those of numbered layers.
const FUNCTIONS: [&str; 3] = ["relu6", "hardtanh", "log2"];

/// Returns the field that a call to `word` was probably meant for. `word` is neither a field nor a local.
/// `fields` has `(name, unused)` for each layer.
///
/// The macro cannot know whether an ordinary function `word` exists. It assumes a misspelling in two cases:
/// `conv3(x)` if there are fields `conv1` and `conv2`, and a name within one or two edits of a field that the
/// closure never uses. A function with such a name can still be called by its path, `self::conv3(x)`.
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
    let max_distance = if word.chars().count() < 6 { 1 } else { 2 };
    let misspelled = |&&(name, unused): &&(&str, bool)| {
        // If there is an unused field `relu1`, `relu(x)` still calls the function.
        unused && distance(word, name) <= max_distance && split_number(name).0 != word
    };
    nearest.or_else(|| fields.iter().find(misspelled)).map(|&(name, _)| name)
}

/// Splits a name into its stem and its trailing digits.
fn split_number(name: &str) -> (&str, &str) {
    name.split_at(name.trim_end_matches(|c: char| c.is_ascii_digit()).len())
}

/// Returns the edit distance: the number of insertions, deletions, substitutions and swaps of neighboring
/// characters.
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
    fn distance_counts_edits() {
        for (a, b, d) in [("", "ab", 2), ("conv3", "conv2", 1), ("layre", "layer", 1), ("skip", "skip", 0)] {
            assert_eq!((distance(a, b), distance(b, a)), (d, d), "{a} {b}");
        }
    }

    #[test]
    fn misspelled_fields_are_distinguished_from_functions() {
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
