//! Tables of text, as summaries and profiles print them.

use std::fmt;

/// The text of a cell without a value.
pub(crate) const NONE: &str = "--";

/// The alignment of the cells of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Writes a table between lines of `=`. Each row has a cell for each column. Returns the line.
pub(crate) fn write_table(
    f: &mut fmt::Formatter<'_>,
    columns: &[(&str, Align)],
    rows: &[Vec<String>],
) -> Result<String, fmt::Error> {
    let header: Vec<String> = columns.iter().map(|(title, _)| title.to_string()).collect();
    let width = |column: usize| {
        let cells = [&header].into_iter().chain(rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let formats: Vec<(usize, Align)> = (0..columns.len()).map(|i| (width(i), columns[i].1)).collect();
    let total: usize = formats.iter().map(|(width, _)| width + SEPARATOR.len()).sum();
    let line = "=".repeat(total.saturating_sub(SEPARATOR.len()));
    writeln!(f, "{line}\n{}\n{line}", row_text(&header, &formats))?;
    for row in rows {
        writeln!(f, "{}", row_text(row, &formats))?;
    }
    writeln!(f, "{line}")?;
    Ok(line)
}

/// The space between two columns.
const SEPARATOR: &str = "  ";

/// Returns the cells of a row, filled up to the width of their columns.
fn row_text(cells: &[String], formats: &[(usize, Align)]) -> String {
    let cells: Vec<String> = cells
        .iter()
        .zip(formats)
        .map(|(text, &(width, align))| match align {
            Align::Left => format!("{text:width$}"),
            Align::Right => format!("{text:>width$}"),
        })
        .collect();
    cells.join(SEPARATOR).trim_end().to_string()
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
                let row = ["└─é", "1"].map(str::to_string).to_vec();
                write_table(f, &[("Name", Align::Left), ("Time", Align::Right)], &[row]).map(drop)
            }
        }
        assert_eq!(Table.to_string(), "==========\nName  Time\n==========\n└─é      1\n==========\n");
    }
}
