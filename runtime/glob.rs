//! Patterns over dotted paths: `layer4.**`, `layer?.*.conv1.weight`.

/// A pattern. The segment `*` matches one segment of a path, and the segment `**` matches any number of segments. In
/// any other segment, `*` matches any number of characters, and `?` matches one character.
pub(crate) struct Glob<'a>(Vec<&'a str>);

impl<'a> Glob<'a> {
    pub(crate) fn new(pattern: &'a str) -> Self {
        Self(pattern.split('.').collect())
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        let segments: Vec<&str> = path.split('.').collect();
        matches_wildcard(
            &self.0,
            &segments,
            |pattern| *pattern == "**",
            |pattern, segment| {
                let (pattern, segment): (Vec<char>, Vec<char>) =
                    (pattern.chars().collect(), segment.chars().collect());
                matches_wildcard(&pattern, &segment, |c| *c == '*', |p, c| *p == '?' || p == c)
            },
        )
    }
}

/// Returns `true` if `items` match `pattern`. The items are the segments of a path, or the characters of one segment.
/// Elements of the pattern that satisfy `is_star` match any number of items.
///
/// Backtracks only to the last star, so the time is at most proportional to the product of the two lengths.
fn matches_wildcard<P, T>(
    pattern: &[P],
    items: &[T],
    is_star: impl Fn(&P) -> bool,
    matches: impl Fn(&P, &T) -> bool,
) -> bool {
    let mut pattern_index = 0;
    let mut item_index = 0;
    // The index of the element after the last star, and the index of the item at which to continue if the star matches
    // one more item.
    let mut retry = None;
    while item_index < items.len() {
        if pattern_index < pattern.len() && is_star(&pattern[pattern_index]) {
            retry = Some((pattern_index + 1, item_index + 1));
            pattern_index += 1;
        } else if pattern_index < pattern.len() && matches(&pattern[pattern_index], &items[item_index]) {
            pattern_index += 1;
            item_index += 1;
        } else if let Some((after_star, next_item)) = retry {
            pattern_index = after_star;
            item_index = next_item;
            retry = Some((after_star, next_item + 1));
        } else {
            return false;
        }
    }
    pattern[pattern_index..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns_match_segments_and_parts_of_segments() {
        for (pattern, path, matches) in [
            ("**", "a.b.c", true),
            ("backbone.**", "backbone.conv1.weight", true),
            ("backbone.**", "head.weight", false),
            ("*.weight", "conv1.weight", true),
            ("*.weight", "layer1.conv1.weight", false),
            ("**.weight", "layer1.conv1.weight", true),
            ("**.weight", "weight", true),
            ("layer?.*.conv1.*", "layer4.0.conv1.weight", true),
            ("layer?.*.conv1.*", "layer4.0.conv2.weight", false),
            ("conv*.weight", "conv12.weight", true),
            ("conv1", "conv1.weight", false),
            ("**.bn*.**", "layer1.0.bn1.weight", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(path), matches, "{pattern} on {path}");
        }
    }
}
