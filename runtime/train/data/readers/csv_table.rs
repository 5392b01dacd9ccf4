//! Tables in CSV files.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use csv::{ErrorKind, ReaderBuilder, StringRecord};

use crate::checkpoint::with_context;
use crate::{Error, Result};

use super::compressed;

/// The content of a CSV file, plain or compressed by gzip, whose first line names the columns.
///
/// ```
/// use sconce::prelude::*;
/// use sconce::train::data::CsvTable;
/// # fn main() -> Result<()> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("iris.csv");
/// # std::fs::write(&path, "length,width,species\n5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,virginica\n")?;
/// let table = CsvTable::read(&path)?;
/// let x = table.numbers(&["length", "width"])?; // [rows, 2]
/// let (y, species) = table.classes("species")?; // [rows]
/// assert_eq!(x.to_vec2::<f32>()?, [[5.1, 3.5], [7., 3.2], [6.3, 3.3]]);
/// assert_eq!((y.to_vec1::<u32>()?, species[2].as_str()), (vec![0, 1, 2], "virginica"));
/// let data = TensorDataset::new(x, y)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CsvTable {
    path: PathBuf,
    names: Vec<String>,
    /// The text of all fields, concatenated row by row.
    text: String,
    /// The end of each field in `text`.
    ends: Vec<usize>,
    /// The line number of each row in the file.
    lines: Vec<u64>,
}

/// Options for reading a [`CsvTable`].
///
/// ```
/// use sconce::train::data::CsvTable;
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("table.csv");
/// # std::fs::write(&path, "a;b\n1;2\n")?;
/// let table = CsvTable::options().delimiter(b';').read(&path)?;
/// assert_eq!(table.names(), ["a", "b"]);
/// # Ok::<(), sconce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CsvReader {
    delimiter: u8,
}

impl CsvReader {
    /// Sets the character between two fields. Default: a comma.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Fails under the same conditions as [`CsvTable::read`].
    pub fn read(&self, path: impl AsRef<Path>) -> Result<CsvTable> {
        let path = path.as_ref();
        with_context(path.display(), self.parse(path))
    }

    fn parse(&self, path: &Path) -> Result<CsvTable> {
        let content = compressed::read(path, None)?;
        // Remove the byte order mark here, because the crate `csv` does not count it in its positions.
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content);
        let mut reader = ReaderBuilder::new().delimiter(self.delimiter).from_reader(content);
        let names: Vec<String> = reader
            .headers()
            .map_err(|error| located(&error, content, &[]))?
            .iter()
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            return Err(Error::msg("expected a line with the names of the columns, found an empty file"));
        }
        let mut table = CsvTable {
            path: path.to_owned(),
            names,
            text: String::new(),
            ends: Vec::new(),
            lines: Vec::new(),
        };
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| located(&error, content, &table.names))? {
            for field in &record {
                table.text.push_str(field);
                table.ends.push(table.text.len());
            }
            table.lines.push(line(content, record.position()));
        }
        Ok(table)
    }
}

/// Returns an error with the line number and, if it is known, the name of the column.
fn located(error: &csv::Error, content: &[u8], names: &[String]) -> Error {
    let line = line(content, error.position());
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => Error::msg(format!(
            "line {line}: expected {expected_len} fields, as in the first line, found {len}"
        )),
        ErrorKind::Utf8 { err, .. } => {
            let column =
                names.get(err.field()).map_or((err.field() + 1).to_string(), |name| format!("`{name}`"));
            Error::msg(format!("line {line}, column {column}: expected UTF-8 text"))
        }
        _ => Error::msg(error),
    }
}

/// Returns the line number of a record. `position` is the end of the preceding record, which empty lines may follow.
fn line(content: &[u8], position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 1 };
    let start = usize::try_from(position.byte()).ok().and_then(|byte| content.get(byte..)).unwrap_or(&[]);
    let empty = start.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).filter(|byte| **byte == b'\n');
    position.line() + empty.count() as u64
}

impl CsvTable {
    /// Reads a file with commas between the fields. Its first line contains the names of the columns.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is not UTF-8, if it is empty, or if a row does not have one field for each
    /// column. The message begins with the path and the line. The content of a compressed file may have at most 64
    /// times the bytes of the file, plus 8 MiB.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().read(path)
    }

    /// Returns options for reading a table with another delimiter.
    pub fn options() -> CsvReader {
        CsvReader { delimiter: b',' }
    }

    /// Returns the names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the number of rows. The line with the names does not count.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns `true` if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the texts of a column.
    ///
    /// # Errors
    /// Fails if there is no column or more than one column with this name.
    pub fn texts(&self, column: &str) -> Result<Vec<&str>> {
        let column = self.column(column)?;
        Ok((0..self.len()).map(|row| self.field(row, column)).collect())
    }

    /// Returns the numbers in the given columns, `[rows, columns]` (f32). Spaces around a number are ignored.
    ///
    /// # Errors
    /// Fails if a column does not exist or if a field is not a number. The message contains the path, the line and the
    /// column.
    pub fn numbers(&self, columns: &[&str]) -> Result<Tensor> {
        self.tensor(columns, None)
    }

    /// Like [`numbers`](Self::numbers), with the number `missing` for empty fields.
    ///
    /// ```
    /// use sconce::prelude::*;
    /// use sconce::train::data::CsvTable;
    /// # fn main() -> Result<()> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("table.csv");
    /// # std::fs::write(&path, "age,height\n31,1.8\n,1.7\n")?;
    /// let table = CsvTable::read(&path)?;
    /// assert_eq!(table.numbers_or(&["age"], -1.)?.to_vec2::<f32>()?, [[31.], [-1.]]);
    /// assert!(table.numbers(&["age"]).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if a column does not exist or if a field is neither empty nor a number.
    pub fn numbers_or(&self, columns: &[&str], missing: f32) -> Result<Tensor> {
        self.tensor(columns, Some(missing))
    }

    /// Converts the texts of a column to classes: each distinct text is a class. Returns the class of each row,
    /// `[rows]` (u32), and the name of each class. The classes are numbered in the order of their names.
    ///
    /// # Errors
    /// Fails if there is no column or more than one column with this name.
    pub fn classes(&self, column: &str) -> Result<(Tensor, Vec<String>)> {
        let texts = self.texts(column)?;
        let names: Vec<&str> = texts.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let classes: Vec<u32> =
            texts.iter().map(|text| names.partition_point(|name| name < text) as u32).collect();
        let classes = Tensor::from_vec(classes, self.len(), &Device::Cpu)?;
        Ok((classes, names.into_iter().map(str::to_owned).collect()))
    }

    fn tensor(&self, columns: &[&str], missing: Option<f32>) -> Result<Tensor> {
        let columns: Vec<usize> = columns.iter().map(|name| self.column(name)).collect::<Result<_>>()?;
        let mut numbers = Vec::with_capacity(self.len() * columns.len());
        for row in 0..self.len() {
            for column in &columns {
                numbers.push(self.number(row, *column, missing)?);
            }
        }
        Ok(Tensor::from_vec(numbers, (self.len(), columns.len()), &Device::Cpu)?)
    }

    fn number(&self, row: usize, column: usize, missing: Option<f32>) -> Result<f32> {
        let field = self.field(row, column);
        match (field.trim(), missing) {
            ("", Some(missing)) => Ok(missing),
            (text, _) => text.parse().map_err(|_| {
                self.error(format_args!(
                    "line {}, column `{}`: expected a number, found {}",
                    self.lines[row],
                    self.names[column],
                    excerpt(field)
                ))
            }),
        }
    }

    /// Returns the index of the column with the given name.
    fn column(&self, name: &str) -> Result<usize> {
        let mut found = (0..self.names.len()).filter(|column| self.names[*column] == name);
        let Some(first) = found.next() else {
            return Err(self.error(format_args!("expected a column `{name}`, found {:?}", self.names)));
        };
        if let Some(second) = found.next() {
            return Err(self.error(format_args!(
                "expected one column `{name}`, found the columns {} and {}",
                first + 1,
                second + 1
            )));
        }
        Ok(first)
    }

    fn field(&self, row: usize, column: usize) -> &str {
        let index = row * self.names.len() + column;
        let start = index.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        &self.text[start..self.ends[index]]
    }

    fn error(&self, message: impl Display) -> Error {
        Error::msg(format!("{}: {message}", self.path.display()))
    }
}

/// Returns the start of a field, for an error message.
fn excerpt(field: &str) -> String {
    const MAX_CHARS: usize = 40;
    let start: String = field.chars().take(MAX_CHARS).collect();
    if start.len() < field.len() { format!("{start:?}…") } else { format!("{start:?}") }
}
