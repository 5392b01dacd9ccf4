//! "Did you mean" suggestions for misspelled names.

/// Returns the candidate closest to `word`, if it is close enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let max_distance = if word.chars().count() < 4 { 1 } else { 2 };
    let distances = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    distances.filter(|&(d, _)| d <= max_distance).min_by_key(|&(d, _)| d).map(|(_, candidate)| candidate)
}

/// Returns `; did you mean …?`, or an empty string if no candidate is close enough.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, candidates).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
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
    fn only_close_names_are_suggested() {
        assert_eq!(closest("froward", ["forward", "args"]), Some("forward"));
        assert_eq!(closest("weights", ["forward", "args"]), None);
        assert_eq!(hint("arg", ["args"]), "; did you mean `args`?");
    }
}
