//! Readers of data files: values, errors that name the file and the position, and truncated and changed files.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use sconce::checkpoint;
use sconce::prelude::*;
use sconce::train::data::*;

use crate::common::message;

const CPU: Device = Device::Cpu;

/// Writes a file with the given content and passes its path to `read`.
fn with_file<T>(content: &[u8], read: impl Fn(&Path) -> T) -> T {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, content).unwrap();
    read(&path)
}

/// Returns the error message of `read`, without the path.
#[track_caller]
fn error<T>(content: &[u8], read: impl Fn(&Path) -> Result<T>) -> String {
    let (message, path) = with_file(content, |path| (message(read(path)), path.display().to_string()));
    message.strip_prefix(&format!("{path}: ")).expect("the message should begin with the path").to_string()
}

/// Checks that reading any proper prefix of a file gives an error with the file's path. Of a long file, checks every
/// 50th prefix.
#[track_caller]
fn check_truncated<T>(content: &[u8], read: impl Fn(&Path) -> Result<T>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("truncated");
    for length in (0..content.len()).step_by(if content.len() > 1000 { 50 } else { 1 }) {
        std::fs::write(&path, &content[..length]).unwrap();
        let message = message(read(&path));
        assert!(message.starts_with(&path.display().to_string()), "{length}: {message}");
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Returns the bytes of an IDX file. `element` is the code of the element type.
fn idx(element: u8, dims: &[u32], elements: &[u8]) -> Vec<u8> {
    let dims_bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_be_bytes()).collect();
    [&[0, 0, element, dims.len() as u8][..], &dims_bytes, elements].concat()
}

#[test]
fn idx_files_of_every_element_type_are_read() -> Result<()> {
    let bytes =
        |values: &[f64], f: fn(f64) -> Vec<u8>| values.iter().flat_map(|x| f(*x)).collect::<Vec<u8>>();
    type ToBytes = fn(f64) -> Vec<u8>;
    let cases: [(u8, DType, ToBytes); 6] = [
        (0x08, DType::U8, |x| vec![x as u8]),
        (0x09, DType::I16, |x| vec![x as i8 as u8]),
        (0x0b, DType::I16, |x| (x as i16).to_be_bytes().into()),
        (0x0c, DType::I32, |x| (x as i32).to_be_bytes().into()),
        (0x0d, DType::F32, |x| (x as f32).to_be_bytes().into()),
        (0x0e, DType::F64, |x| x.to_be_bytes().into()),
    ];
    for (element, dtype, to_bytes) in cases {
        let first = if dtype == DType::U8 { 200. } else { -3. };
        let values = [first, 1., 2., 3., 4., 5.];
        let file = idx(element, &[2, 3], &bytes(&values, to_bytes));
        for file in [&file, &gzip(&file)] {
            let tensor = with_file(file, |path| read_idx(path))?;
            assert_eq!((tensor.dims(), tensor.dtype()), ([2, 3].as_slice(), dtype));
            assert_eq!(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?, values);
            check_truncated(file, |path| read_idx(path));
        }
    }
    let images = read_idx("examples/data/t10k-images-idx3-ubyte.gz")?;
    assert_eq!(images.dims(), [10_000, 28, 28]);
    let empty = with_file(&idx(8, &[0, 28, 28], &[]), |path| read_idx(path))?;
    assert_eq!(empty.dims(), [0, 28, 28]);
    Ok(())
}

#[test]
fn invalid_idx_files_are_errors() {
    let read = |path: &Path| read_idx(path);
    assert_eq!(
        error(b"\x89PNG", read),
        "expected an IDX file, which begins with two zero bytes, an element type and a number of dimensions, found \
         [89, 50, 4e, 47]"
    );
    assert_eq!(
        error(&idx(0x0a, &[1], &[0]), read),
        "expected the element type 0x08, 0x09, 0x0b, 0x0c, 0x0d or 0x0e, found 0x0a"
    );
    assert_eq!(
        error(&idx(0x0b, &[2, 2], &[0; 9]), read),
        "expected 8 bytes for 2-byte elements of shape [2, 2], found 9 bytes"
    );
    for (shape, elements) in
        [([1, u32::MAX, u32::MAX, u32::MAX], &[1_u8][..]), ([0, u32::MAX, u32::MAX, u32::MAX], &[])]
    {
        let error = error(&idx(8, &shape, elements), read);
        assert!(error.ends_with("4294967295, 4294967295, 4294967295] is too large for memory"), "{error}");
    }
    assert_eq!(error(&[0, 0, 8, 255, 0], read), "the file ends within the 255 dimensions of its header");
    // Reading a small file must not need much memory.
    let bomb = gzip(&idx(8, &[100_000_000], &vec![0; 100_000_000]));
    assert!(bomb.len() < 200_000);
    assert!(error(&bomb, read).contains("a higher limit allows it"), "{}", error(&bomb, read));
    let limited = with_file(&bomb, |path| read_idx_with_limit(path, 200_000_000));
    assert_eq!(limited.unwrap().dims(), [100_000_000]);
    assert!(message(read_idx("no/such/file")).starts_with("no/such/file: "));
    assert!(message(read_idx("examples")).contains("expected a file, found a directory"));
}

#[test]
fn cifar_files_are_read() -> Result<()> {
    let image = |seed: usize| (0..3072).map(|i| (i * seed % 251) as u8).collect::<Vec<u8>>();
    let first = [vec![9], image(1), vec![0], image(2)].concat();
    let second = [vec![4], image(3)].concat();
    let directory = tempfile::tempdir()?;
    let paths = ["a.bin", "b.bin"].map(|name| directory.path().join(name));
    std::fs::write(&paths[0], &first)?;
    std::fs::write(&paths[1], &second)?;
    let (images, classes) = read_cifar10(&paths)?;
    assert_eq!(images.dims(), [3, 3, 32, 32]);
    assert_eq!(classes.to_vec1::<u32>()?, [9, 0, 4]);
    let expected = [image(1), image(2), image(3)].concat();
    assert_eq!(images.flatten_all()?.to_vec1::<u8>()?, expected);

    let (images, classes, superclasses) =
        with_file(&[vec![19, 99], image(5)].concat(), |path| read_cifar100([path]))?;
    assert_eq!(images.flatten_all()?.to_vec1::<u8>()?, image(5));
    assert_eq!((classes.to_vec1::<u32>()?, superclasses.to_vec1::<u32>()?), (vec![99], vec![19]));

    let read = |path: &Path| read_cifar10([path]);
    // Truncates the file with one record: a prefix of several records is a valid file if it ends after a record.
    check_truncated(&second, read);
    assert_eq!(error(&first[..3072], read), "expected records of 3073 bytes, found a file of 3072 bytes");
    assert_eq!(
        error(&[vec![1], image(1), vec![10], image(1)].concat(), read),
        "expected a class below 10 in record 1, found 10"
    );
    let read = |path: &Path| read_cifar100([path]);
    assert_eq!(
        error(&[vec![20, 0], image(1)].concat(), read),
        "expected a class below 20 in record 0, found 20"
    );
    assert_eq!(
        error(&[vec![0, 100], image(1)].concat(), read),
        "expected a class below 100 in record 0, found 100"
    );
    assert_eq!(message(read_cifar10::<&str>([])), "expected at least one file of CIFAR images, found none");
    Ok(())
}

#[test]
fn columns_of_a_csv_file_are_read_by_name() -> Result<()> {
    let text = "\u{feff}name,\"a, b\",c\r\n\"x \"\"1\"\"\",1.5, -2 \r\n\ny,1e3,0\r\nx 1,,7\n";
    let table = with_file(text.as_bytes(), |path| CsvTable::read(path))?;
    assert_eq!(table.names(), ["name", "a, b", "c"]);
    assert_eq!((table.len(), table.is_empty()), (3, false));
    assert_eq!(table.texts("name")?, ["x \"1\"", "y", "x 1"]);
    let numbers = table.numbers_or(&["c", "a, b"], 9.)?;
    assert_eq!(numbers.to_vec2::<f32>()?, [[-2., 1.5], [0., 1000.], [7., 9.]]);
    assert_eq!(table.numbers(&["c"])?.dims(), [3, 1]);
    let (classes, names) = table.classes("name")?;
    assert_eq!(
        (classes.to_vec1::<u32>()?, names),
        (vec![0, 2, 1], vec!["x \"1\"".into(), "x 1".into(), "y".into()])
    );
    let tabs = with_file(b"a\tb\n1\t2\n", |path| CsvTable::options().delimiter(b'\t').read(path))?;
    assert_eq!(tabs.numbers(&["b"])?.to_vec2::<f32>()?, [[2.]]);
    let empty = with_file(b"a,b\n", |path| CsvTable::read(path))?;
    assert!(empty.is_empty());
    assert_eq!(empty.numbers(&["b"])?.dims(), [0, 1]);
    assert_eq!(empty.classes("a")?.1, Vec::<String>::new());
    Ok(())
}

#[test]
fn errors_of_a_csv_file_name_the_line_and_the_column() {
    let read = |path: &Path| CsvTable::read(path);
    assert_eq!(error(b"", read), "expected a line with the names of the columns, found an empty file");
    assert_eq!(
        error(b"a,b\n1,2\n\n1,2,3\n", read),
        "line 4: expected 2 fields, as in the first line, found 3"
    );
    assert_eq!(error(b"a,b\n1,2\n1,\xff\n", read), "line 3, column `b`: expected UTF-8 text");
    assert_eq!(error(b"a,\xff\n", read), "line 1, column 2: expected UTF-8 text");
    let numbers =
        |columns: &'static [&'static str]| move |path: &Path| CsvTable::read(path)?.numbers(columns);
    let text = b"a,b,a\n1,\"2\n\",3\n4,five,6\n,7,8\n";
    assert_eq!(error(text, numbers(&["b"])), "line 4, column `b`: expected a number, found \"five\"");
    assert_eq!(error(text, numbers(&["c"])), "expected a column `c`, found [\"a\", \"b\", \"a\"]");
    assert_eq!(error(text, numbers(&["a"])), "expected one column `a`, found the columns 1 and 3");
    assert_eq!(error(b"a\n1\n\"\"\n", numbers(&["a"])), "line 3, column `a`: expected a number, found \"\"");
    let long = ["a\n".to_string(), "x".repeat(1000)].concat();
    let expected = format!("line 2, column `a`: expected a number, found \"{}\"…", "x".repeat(40));
    assert_eq!(error(long.as_bytes(), numbers(&["a"])), expected);
    assert!(message(CsvTable::read("no/such/file")).starts_with("no/such/file: "));
}

#[test]
fn truncated_csv_files_are_never_misread() {
    let text = b"a,b\n10,2\n3,\"4\"\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table.csv");
    for length in 0..text.len() {
        std::fs::write(&path, &text[..length]).unwrap();
        // A prefix may be a valid table, but then its rows equal the first rows of the whole file.
        let Ok(numbers) = CsvTable::read(&path).and_then(|table| table.numbers(&["a", "b"])) else {
            continue;
        };
        let rows = numbers.to_vec2::<f32>().unwrap();
        assert!(
            rows.iter().zip([[10., 2.], [3., 4.]]).all(|(row, expected)| row[..] == expected),
            "{length}"
        );
    }
}

#[test]
fn arrays_of_an_npz_file_are_a_data_set() -> Result<()> {
    let x = Tensor::arange(0f32, 6., &CPU)?.reshape((3, 2))?;
    let y = Tensor::new(&[1u32, 0, 2], &CPU)?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("data.npz");
    checkpoint::write(Save::new(&path), [("x", &x), ("y", &y)])?;
    let data = TensorDataset::from_npz(&path, "x", "y")?;
    let (inputs, targets) = data.epoch()?.next().unwrap()?;
    assert_eq!(inputs.to_vec2::<f32>()?, x.to_vec2::<f32>()?);
    assert_eq!(targets.to_vec1::<u32>()?, y.to_vec1::<u32>()?);
    let prefix = format!("{}: ", path.display());
    let missing = message(TensorDataset::from_npz(&path, "x", "z"));
    assert_eq!(missing.strip_prefix(&prefix), Some("expected an array `z`, found [\"x\", \"y\"]"));
    let content = std::fs::read(&path)?;
    check_truncated(&content, |path| read_npz(path));
    assert!(message(read_npz("no/such/file")).starts_with("no/such/file: "));
    Ok(())
}

proptest! {
    #![proptest_config(crate::common::config(300))]

    #[test]
    fn changed_files_give_values_or_errors(
        format in 0usize..4, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let idx_file = idx(0x0c, &[2, 2], &[7; 16]);
        let mut content = match format {
            0 => idx_file,
            1 => gzip(&idx_file),
            2 => b"a,b\n1,2\n\"3\",4\n".to_vec(),
            _ => [vec![3], vec![0; 3072]].concat(),
        };
        for (position, byte) in changes {
            let position = position.index(content.len());
            content[position] = byte;
        }
        with_file(&content, |path| {
            if let Ok(tensor) = read_idx(path) {
                assert!(tensor.elem_count() <= content.len());
            }
            if let Ok((images, classes)) = read_cifar10([path]) {
                assert_eq!((images.dims(), classes.dims()), ([1, 3, 32, 32].as_slice(), [1].as_slice()));
            }
            if let Ok(table) = CsvTable::read(path) {
                for name in table.names() {
                    let _ = table.numbers(&[name]);
                    let _ = table.classes(name);
                }
            }
        });
    }
}
