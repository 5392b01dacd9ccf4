//! A CSV file that grows row by row.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::checkpoint::with_context;

use super::csv::{Rows, format_row};

/// A CSV file. Each row is written immediately, so that no row is lost if the process is killed.
pub(super) struct Table {
    path: PathBuf,
    file: File,
    columns: Vec<String>,
}

/// The name of a column, and its value in a row.
pub(super) type Cell = (String, String);

impl Table {
    /// Opens the table at `path`. Removes the first row that is damaged, or whose number in the column `key` is greater
    /// than `last`, and all rows after it. Creates an empty table if there is no file.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written, or if it is a table without a column `key`.
    pub fn open(path: PathBuf, key: &str, last: usize) -> Result<Self> {
        with_context(path.display(), Self::try_open(&path, key, last))
    }

    fn try_open(path: &Path, key: &str, last: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut rows = Rows::new(file.try_clone()?);
        let columns = rows.next_row()?.unwrap_or_default();
        let mut end = rows.end();
        if end > 0 {
            let key_column = columns.iter().position(|column| column == key);
            let key_column = key_column.ok_or_else(|| no_key(key, &columns))?;
            while rows.next_row()?.is_some_and(|row| is_kept(&row, columns.len(), key_column, last)) {
                end = rows.end();
            }
        }
        file.set_len(end)?;
        Ok(Self { path: path.to_path_buf(), file, columns })
    }

    /// Appends a row. Adds a column for each new name.
    pub fn append(&mut self, row: &[Cell]) -> Result<()> {
        let appended = self.try_append(row);
        with_context(self.path.display(), appended)
    }

    fn try_append(&mut self, row: &[Cell]) -> io::Result<()> {
        let known = self.columns.len();
        for (name, _) in row {
            if !self.columns.contains(name) {
                self.columns.push(name.clone());
            }
        }
        if self.columns.len() > known {
            self.widen()?;
        }
        let cell = |column: &String| row.iter().find(|(name, _)| name == column).map_or("", |(_, cell)| cell);
        let cells: Vec<&str> = self.columns.iter().map(cell).collect();
        self.file.write_all(format_row(&cells).as_bytes())
    }

    /// Rewrites the file with a header of all columns. The earlier rows get empty cells in the new columns.
    fn widen(&mut self) -> io::Result<()> {
        let temporary = self.path.with_extension("csv.tmp");
        let mut wider = OpenOptions::new().append(true).create(true).open(&temporary)?;
        wider.set_len(0)?;
        wider.write_all(format_row(&self.columns).as_bytes())?;
        let mut rows = Rows::new(File::open(&self.path)?);
        rows.next_row()?;
        while let Some(mut row) = rows.next_row()? {
            row.resize(self.columns.len(), String::new());
            wider.write_all(format_row(&row).as_bytes())?;
        }
        fs::rename(&temporary, &self.path)?;
        self.file = wider;
        Ok(())
    }
}

/// Returns the error for a table without a column `key`, which another program must have written.
fn no_key(key: &str, columns: &[String]) -> io::Error {
    let columns = columns.join(", ");
    io::Error::other(format!("expected a table with a column `{key}`, found {columns}; move the file away"))
}

/// Returns `true` if a row is complete and its key is at most `last`.
fn is_kept(row: &[String], columns: usize, key: usize, last: usize) -> bool {
    row.len() == columns && row[key].parse::<usize>().is_ok_and(|number| number <= last)
}

/// Returns the shortest text that is parsed as the same number.
pub(super) fn number(value: f64) -> String {
    format!("{value:?}")
}

/// Calls `visit` with each row of the table at `path`. Does nothing if there is no file.
pub(super) fn read_numbers(path: &Path, mut visit: impl FnMut(&NumberRow<'_>)) -> Result<()> {
    let mut rows = match File::open(path) {
        Ok(file) => Rows::new(file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return with_context(path.display(), Err(error)),
    };
    let Some(names) = with_context(path.display(), rows.next_row())? else { return Ok(()) };
    while let Some(cells) = with_context(path.display(), rows.next_row())? {
        visit(&NumberRow { names: &names, cells: &cells });
    }
    Ok(())
}

/// A row of numbers, with the names of the columns.
pub(super) struct NumberRow<'a> {
    names: &'a [String],
    cells: &'a [String],
}

impl<'a> NumberRow<'a> {
    /// Returns the name and the number of each column. A cell that is empty or not a number is NaN.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, f64)> {
        let number = |cell: &String| cell.parse().unwrap_or(f64::NAN);
        self.names.iter().map(String::as_str).zip(self.cells.iter().map(number))
    }

    /// Returns the number in the column `name`, or NaN if there is no such column.
    pub fn get(&self, name: &str) -> f64 {
        self.iter().find(|(column, _)| *column == name).map_or(f64::NAN, |(_, number)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[(&str, f64)]) -> Vec<Cell> {
        cells.iter().map(|(name, value)| (name.to_string(), number(*value))).collect()
    }

    fn step(step: usize, loss: f64) -> Vec<Cell> {
        vec![("step".into(), step.to_string()), ("loss".into(), number(loss))]
    }

    #[test]
    fn rows_after_the_resumed_position_are_replaced() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a.csv");
        let mut table = Table::open(path.clone(), "step", 0)?;
        for i in 1..=5 {
            table.append(&step(i * 10, 1. / i as f64))?;
        }
        // The process was killed while it wrote a row.
        table.file.write_all(b"60,0.1")?;
        for (last, expected) in [(60, 5), (50, 5), (35, 3), (35, 3), (9, 0)] {
            drop(Table::open(path.clone(), "step", last)?);
            assert_eq!(fs::read_to_string(&path)?.lines().count(), expected + 1, "{last}");
        }
        let mut table = Table::open(path.clone(), "step", 9)?;
        table.append(&step(10, 2.))?;
        assert_eq!(fs::read_to_string(&path)?, "step,loss\n10,2.0\n");
        Ok(())
    }

    #[test]
    fn damaged_rows_are_replaced_and_a_table_without_the_key_is_kept() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a.csv");
        for content in ["", "step", "step,loss", "step,loss\n1\n", "step,loss\nx,1\n"] {
            fs::write(&path, content)?;
            Table::open(path.clone(), "step", 100)?.append(&step(1, 0.5))?;
            assert_eq!(fs::read_to_string(&path)?, "step,loss\n1,0.5\n", "{content:?}");
        }
        fs::write(&path, "time,price\n1,2\n")?;
        let error = Table::open(path.clone(), "step", 100).err().unwrap().to_string();
        assert!(error.contains("expected a table with a column `step`, found time, price"), "{error}");
        assert_eq!(fs::read_to_string(&path)?, "time,price\n1,2\n");
        Ok(())
    }

    #[test]
    fn a_new_column_is_empty_in_the_rows_before() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a.csv");
        let mut table = Table::open(path.clone(), "step", 0)?;
        table.append(&row(&[("step", 1.), ("loss", f64::NAN)]))?;
        table.append(&row(&[("loss", f64::INFINITY), ("a,b", 1e-7), ("step", 2.)]))?;
        table.append(&row(&[("step", 3.)]))?;
        let text = fs::read_to_string(&path)?;
        assert_eq!(text, "step,loss,\"a,b\"\n1.0,NaN,\n2.0,inf,1e-7\n3.0,,\n");
        assert_eq!(fs::read_dir(directory.path())?.count(), 1);
        let mut read = Vec::new();
        read_numbers(&path, |columns| {
            read.push((columns.get("loss"), columns.get("a,b"), columns.get("x")))
        })?;
        assert!(read[0].0.is_nan() && read[0].1.is_nan() && read[1].2.is_nan());
        assert_eq!((read[1].0, read[1].1), (f64::INFINITY, 1e-7));
        Ok(())
    }
}
