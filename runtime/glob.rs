//! Patterns over dotted paths: `layer4.**`, `layer?.*.conv1.weight`.

/// A pattern: `*` stands for one step of a path, `**` for any number of steps, `?` for one character,
/// and `*` inside a step for any part of it.
pub(crate) struct Glob<'a>(Vec<&'a str>);

impl<'a> Glob<'a> {
    pub(crate) fn new(pattern: &'a str) -> Self {
        Self(pattern.split('.').collect())
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        let steps: Vec<&str> = path.split('.').collect();
        wild(
            &self.0,
            &steps,
            |pattern| *pattern == "**",
            |pattern, step| {
                let (pattern, step): (Vec<char>, Vec<char>) =
                    (pattern.chars().collect(), step.chars().collect());
                wild(&pattern, &step, |c| *c == '*', |p, c| *p == '?' || p == c)
            },
        )
    }
}

/// Whether `items` fit `pattern`, in which an element that `is_star` stands for any run of items. Goes
/// back to the last star only, so that no pattern takes long.
fn wild<P, T>(
    pattern: &[P],
    items: &[T],
    is_star: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut retry = None;
    while i < items.len() {
        if p < pattern.len() && is_star(&pattern[p]) {
            retry = Some((p + 1, i + 1));
            p += 1;
        } else if p < pattern.len() && fits(&pattern[p], &items[i]) {
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
    fn steps_and_parts() {
        for (pattern, path, fits) in [
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
            assert_eq!(Glob::new(pattern).matches(path), fits, "{pattern} on {path}");
        }
    }
}
