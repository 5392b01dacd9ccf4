//! Rows of comma-separated values, as in RFC 4180.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// A row that is longer than this many bytes is treated as damaged.
const LONGEST_ROW: u64 = 1 << 20;

/// Returns a row of a CSV file, with its end of line.
pub(super) fn format_row<S: AsRef<str>>(cells: &[S]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| quote(cell.as_ref())).collect();
    cells.join(",") + "\n"
}

/// Quotes a cell if it contains a comma, a quote or a line break.
fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// Reads the rows of a CSV file until its end, or until a damaged row: a row that is too long, not UTF-8, or
/// incomplete, as a killed process may leave it.
pub(super) struct Rows {
    reader: BufReader<File>,
    /// The position after the last row, in bytes.
    end: u64,
}

impl Rows {
    pub fn new(file: File) -> Self {
        Self { reader: BufReader::new(file), end: 0 }
    }

    /// Returns the position after the last row that was read, in bytes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Returns the cells of the next row, or `None` at the end of the file or at a damaged row.
    pub fn next_row(&mut self) -> io::Result<Option<Vec<String>>> {
        let mut row = Vec::new();
        let mut quotes = 0;
        loop {
            let start = row.len();
            let mut rest = self.reader.by_ref().take(LONGEST_ROW - start as u64);
            rest.read_until(b'\n', &mut row)?;
            quotes += row[start..].iter().filter(|byte| **byte == b'"').count();
            if row.len() == start || !row.ends_with(b"\n") {
                return Ok(None);
            }
            // The end of a line within quotes belongs to a cell.
            if quotes % 2 == 0 {
                break;
            }
        }
        let length = row.len() as u64;
        let cells = String::from_utf8(row).ok().map(|row| cells(row.trim_end_matches(['\n', '\r'])));
        if cells.is_some() {
            self.end += length;
        }
        Ok(cells)
    }
}

/// Splits a row into its cells.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut in_quotes = false;
    let mut characters = row.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if in_quotes && characters.peek() == Some(&'"') => {
                characters.next();
                push(&mut cells, '"');
            }
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => cells.push(String::new()),
            other => push(&mut cells, other),
        }
    }
    cells
}

fn push(cells: &mut [String], character: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(content)?;
        Ok(file)
    }

    #[test]
    fn any_text_is_read_back() -> io::Result<()> {
        let rows = [vec!["epoch", "a,b", "say \"x\"", "two\nlines\r\n", ""], vec!["1", "\"", ",", "ä", "−"]];
        let text: String = rows.iter().map(|row| format_row(row)).collect();
        assert!(text.starts_with("epoch,\"a,b\",\"say \"\"x\"\"\",\"two\nlines\r\n\",\n"), "{text}");
        let file = file(text.as_bytes())?;
        let mut read = Rows::new(File::open(file.path())?);
        for row in rows {
            assert_eq!(read.next_row()?.unwrap(), row);
        }
        assert_eq!(read.end(), text.len() as u64);
        assert_eq!(read.next_row()?, None);
        Ok(())
    }

    #[test]
    fn reading_stops_at_a_damaged_row() -> io::Result<()> {
        let long = [b"1,2\n".to_vec(), vec![b'x'; 2 << 20], b"\n".to_vec()].concat();
        for content in [&b"1,2\n3,4"[..], b"1,2\n\"3\n4,5\n", b"1,2\n\xff\n", &long] {
            let file = file(content)?;
            let mut rows = Rows::new(File::open(file.path())?);
            assert_eq!(rows.next_row()?.unwrap(), ["1", "2"]);
            assert_eq!((rows.next_row()?, rows.end()), (None, 4));
        }
        Ok(())
    }
}
