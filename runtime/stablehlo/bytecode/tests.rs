//! Decodes the sections of an artifact.

use super::super::attributes::Precision;
use super::super::builder::Builder;
use super::super::ir::{Binary, Element};
use super::artifact;

/// Reads an artifact.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn varint(&mut self) -> usize {
        let bytes = self.0[0].trailing_zeros() as usize + 1;
        let mut padded = [0; 8];
        padded[..bytes].copy_from_slice(self.take(bytes));
        (u64::from_le_bytes(padded) >> bytes) as usize
    }

    /// Returns the identifier and the content of the next section.
    fn section(&mut self) -> (u8, Reader<'a>) {
        let identifier = self.take(1)[0];
        let length = self.varint();
        (identifier, Reader(self.take(length)))
    }
}

/// Returns the artifact of the sum of the rows of a matrix.
fn sum_of_rows() -> Vec<u8> {
    let mut b = Builder::new();
    let x = b.argument("input", &[2, 300], Element::F32);
    b.path = "Net.sum".into();
    let sum = b.reduce(Binary::Add, &x, &[0], false);
    b.function.results.push(sum.id);
    artifact(&b.function, Precision::Highest)
}

#[test]
fn the_header_has_the_versions() {
    // The version of the format, 6, is a variable-width integer.
    assert!(sum_of_rows().starts_with(b"ML\xefR\x0dStableHLO_v1.0.0\0"));
}

#[test]
fn strings_and_operations_are_in_their_tables() {
    let artifact = sum_of_rows();
    let mut reader = Reader(&artifact[4 + 1 + 17..]);
    let mut sections = Vec::new();
    while !reader.0.is_empty() {
        sections.push(reader.section());
    }
    let identifiers: Vec<u8> = sections.iter().map(|(identifier, _)| *identifier).collect();
    assert_eq!(identifiers, [1, 3, 2, 4, 0, 8]);

    let (_, strings) = &mut sections[4];
    let count = strings.varint();
    let mut sizes: Vec<usize> = (0..count).map(|_| strings.varint()).collect();
    sizes.reverse();
    let strings: Vec<&str> = sizes
        .into_iter()
        .map(|size| std::str::from_utf8(&strings.take(size)[..size - 1]).expect("the string is UTF-8"))
        .collect();

    let (_, dialects) = &mut sections[0];
    assert_eq!(dialects.varint(), 2);
    let names = [dialects.varint(), dialects.varint()].map(|name| strings[name >> 1]);
    assert_eq!(names, ["builtin", "vhlo"]);
    let count = dialects.varint();
    let mut operations = Vec::new();
    while operations.len() < count {
        let dialect = names[dialects.varint()];
        for _ in 0..dialects.varint() {
            operations.push(format!("{dialect}.{}", strings[dialects.varint() >> 1]));
        }
    }
    operations.sort();
    let expected = [
        "builtin.module",
        "vhlo.add_v1",
        "vhlo.constant_v1",
        "vhlo.func_v1",
        "vhlo.reduce_v1",
        "vhlo.return_v1",
    ];
    assert_eq!(operations, expected);
    assert!(["Net.sum", "input", "main"].iter().all(|name| strings.contains(name)), "{strings:?}");
}

#[test]
fn sizes_of_attributes_and_types_fill_their_section() {
    let artifact = sum_of_rows();
    let mut reader = Reader(&artifact[4 + 1 + 17..]);
    let (_dialects, (_, mut sizes), (_, content)) = (reader.section(), reader.section(), reader.section());
    let count = sizes.varint() + sizes.varint();
    let (mut found, mut total) = (0, 0);
    while found < count {
        sizes.varint();
        for _ in 0..sizes.varint() {
            let size = sizes.varint();
            assert_eq!(size & 1, 1, "every dialect defines its encoding");
            total += size >> 1;
            found += 1;
        }
    }
    assert!(sizes.0.is_empty());
    assert_eq!(total, content.0.len());
}
