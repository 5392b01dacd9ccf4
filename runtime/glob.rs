//! Patterns over dotted paths: `layer4.**`, `layer?.*.conv1.weight`.

/// A pattern: `*` matches one segment of a path, `**` any number of segments, `?` one character, and `*` inside a
/// segment any number of characters.
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

/// Returns `true` if `items` match `pattern`. Elements of the pattern that satisfy `is_star` match any number of items.
/// Backtracks only to the last star, so the time is at most proportional to the product of the two lengths.
fn matches_wildcard<P, T>(
    pattern: &[P],
    items: &[T],
    is_star: impl Fn(&P) -> bool,
    matches: impl Fn(&P, &T) -> bool,
) -> bool {
    let mut p = 0;
    let mut i = 0;
    let mut retry = None;
    while i < items.len() {
        if p < pattern.len() && is_star(&pattern[p]) {
            retry = Some((p + 1, i + 1));
            p += 1;
        } else if p < pattern.len() && matches(&pattern[p], &items[i]) {
            (p, i) = (p + 1, i + 1);
        } else if let Some((after, from)) = retry {
            (p, i) = (after, from);
            retry = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_star)
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
