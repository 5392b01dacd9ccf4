//! Tables of text, as summaries and profiles print them.

use std::fmt;

/// The text of a cell without a value.
pub(crate) const NONE: &str = "--";

/// Writes a table between lines of `=`. The first row is the header. The first `left` columns are aligned to the left,
/// the others to the right. Returns the line.
pub(crate) fn write_rows<const COLUMNS: usize>(
    f: &mut fmt::Formatter<'_>,
    left: usize,
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> Result<String, fmt::Error> {
    let rows: Vec<[String; COLUMNS]> = rows.collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = "=".repeat(widths.iter().sum::<usize>() + 2 * (COLUMNS - 1));
    writeln!(f, "{line}")?;
    for (i, row) in rows.iter().enumerate() {
        let cell = |column: usize| {
            let (text, width) = (&row[column], widths[column]);
            if column < left { format!("{text:width$}") } else { format!("{text:>width$}") }
        };
        let cells: [String; COLUMNS] = std::array::from_fn(cell);
        writeln!(f, "{}", cells.join("  ").trim_end())?;
        if i == 0 {
            writeln!(f, "{line}")?;
        }
    }
    writeln!(f, "{line}")?;
    Ok(line)
}

/// Formats a number with a comma between groups of three digits.
pub(crate) fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 999, 1000, 12_345, 1_234_567].map(with_commas);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn columns_are_aligned() {
        struct Table;
        impl fmt::Display for Table {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let rows = [["Name", "Time"], ["└─é", "1"]].map(|row| row.map(str::to_string));
                write_rows(f, 1, rows.into_iter()).map(drop)
            }
        }
        assert_eq!(Table.to_string(), "==========\nName  Time\n==========\n└─é      1\n==========\n");
    }
}
