//! A table of tensors that fits on a screen.

use std::fmt;

/// The maximum number of rows.
const MAX_ROWS: usize = 18;

/// The maximum number of characters that a row shows of a name or a detail. Names in a hostile file may have any
/// length.
const MAX_CHARACTERS: usize = 100;

/// The maximum number of components by which paths are sorted.
const MAX_COMPONENTS: usize = 32;

/// The rows of one kind.
pub(super) struct Section {
    /// The first column, such as `missing`.
    pub kind: &'static str,
    /// The names and details.
    pub rows: Vec<(String, String)>,
}

/// Sections of rows. [`Display`](fmt::Display) sorts the rows of each section by path, and counts the rows that do not
/// fit on a screen. Each line follows a line break.
pub(super) struct Table(pub Vec<Section>);

impl Section {
    pub fn new(kind: &'static str, rows: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { kind, rows: rows.into_iter().collect() }
    }

    /// Returns the first `count` rows of the sorted section, with bounded cells.
    fn sorted(&self, count: usize) -> impl Iterator<Item = [String; 3]> {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_cached_key(|(name, _)| path_key(name));
        rows.truncate(count);
        rows.into_iter().map(|(name, detail)| [self.kind.to_owned(), bounded(name), bounded(detail)])
    }
}

impl Table {
    /// Returns how many rows of each section are shown. The sections share the screen equally, but a section gets no
    /// more rows than it has.
    fn shares(&self) -> Vec<usize> {
        let mut shares = vec![0; self.0.len()];
        let mut free = MAX_ROWS;
        while free > 0 {
            let before = free;
            for (share, section) in shares.iter_mut().zip(&self.0) {
                if free > 0 && *share < section.rows.len() {
                    *share += 1;
                    free -= 1;
                }
            }
            if free == before {
                break;
            }
        }
        shares
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = self.shares();
        let shown: Vec<_> =
            self.0.iter().zip(&shares).flat_map(|(section, share)| section.sorted(*share)).collect();
        let width = |column: usize| shown.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1)];
        for [kind, name, detail] in &shown {
            let line = format!("{kind:0$}  {name:1$}  {detail}", widths[0], widths[1]);
            write!(f, "\n{}", line.trim_end())?;
        }
        let rest =
            self.0.iter().zip(&shares).map(|(section, share)| (section.kind, section.rows.len() - share));
        let rest: Vec<String> = rest
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| format!("{count} more {kind}"))
            .collect();
        if rest.is_empty() { Ok(()) } else { write!(f, "\n… and {}", rest.join(", ")) }
    }
}

/// Returns the key by which paths are sorted: by components, and numbers by their value.
fn path_key(path: &str) -> Vec<(Option<u64>, String)> {
    let components = path.splitn(MAX_COMPONENTS, '.');
    components.map(|component| (component.parse().ok(), component.to_owned())).collect()
}

/// Escapes control characters and replaces the middle of a long text with an ellipsis.
pub(super) fn bounded(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let count = text.chars().count();
    if count <= MAX_CHARACTERS {
        return text.chars().map(escape).collect();
    }
    let half = MAX_CHARACTERS / 2;
    let start: String = text.chars().take(half).map(escape).collect();
    let end: String = text.chars().skip(count - half).map(escape).collect();
    format!("{start}…{end}")
}
