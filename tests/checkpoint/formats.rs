//! Checkpoints of other programs: NumPy's archives, sharded files, PyTorch's nested dictionaries, and tensors
//! that candle cannot represent.

use std::collections::BTreeMap;
use std::fs;

use sconce::Load;
use sconce::candle::{DType, Device, Tensor};
use sconce::checkpoint::{StateDict, metadata, read, write_safetensors};

use crate::archive::{Entry, archive, archive_64, npy};
use crate::common::message;
use crate::inputs::{golden_checkpoint, read_bytes};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn values(state: &StateDict, name: &str) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let tensor = state.get(name).ok_or(format!("expected a tensor {name}"))?;
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

#[test]
fn numpy_arrays_of_every_dtype_and_order_are_read() -> Outcome {
    let types: [(&str, DType); 11] = [
        ("float64", DType::F64),
        ("float32", DType::F32),
        ("float16", DType::F16),
        ("int64", DType::I64),
        ("int32", DType::I32),
        ("int16", DType::I16),
        ("int8", DType::I16),
        ("uint32", DType::U32),
        ("uint16", DType::U32),
        ("uint8", DType::U8),
        ("bool", DType::U8),
    ];
    for file in ["arrays.npz", "arrays_compressed.npz"] {
        let state = read(golden_checkpoint(file), &Device::Cpu)?;
        assert_eq!(state.len(), types.len() + 4);
        for (name, dtype) in types {
            let tensor = state.get(name).ok_or(name)?;
            assert_eq!((tensor.dtype(), tensor.dims()), (dtype, &[2, 3][..]), "{name}");
            let expected = if name == "bool" { [0., 1., 1., 1., 1., 1.] } else { [0., 1., 2., 3., 4., 5.] };
            assert_eq!(values(&state, name)?, expected, "{file}: {name}");
        }
        assert_eq!(values(&state, "column_major")?, [0., 1., 2., 3., 4., 5.]);
        assert_eq!(state.get("column_major_3d").ok_or("missing")?.dims(), [2, 3, 4]);
        assert_eq!(values(&state, "column_major_3d")?, (0..24).map(f64::from).collect::<Vec<_>>());
        assert_eq!(state.get("scalar").ok_or("missing")?.to_scalar::<f32>()?, 7.);
        assert_eq!(state.get("empty").ok_or("missing")?.dims(), [0, 3]);
    }
    Ok(())
}

#[test]
fn errors_name_arrays_that_cannot_become_tensors() {
    for (file, expected) in [
        ("objects.npz", "array `weights`: arrays of Python objects"),
        ("complex.npz", "array `spectrum`: candle has no dtype for elements of type `<c8`"),
        ("big_endian.npz", "little-endian elements, found `>f4`"),
    ] {
        let error = message(read(golden_checkpoint(file), &Device::Cpu));
        assert!(error.contains(expected) && error.contains(file), "{error}");
    }
}

#[test]
fn damaged_numpy_headers_are_errors_with_a_reason() {
    // Returns a `.npy` file with this header and 24 zero bytes of data.
    let with_header = |header: &str| {
        let length = (header.len() as u16).to_le_bytes();
        [&b"\x93NUMPY\x01\0"[..], &length, header.as_bytes(), &[0; 24]].concat()
    };
    let with_shape =
        |shape: &str| with_header(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"));
    let cases: &[(Vec<u8>, &str)] = &[
        (b"nothing".to_vec(), "header of a .npy file"),
        (b"\x93NUMPY\x09\0\0\0".to_vec(), "version 9"),
        (b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec(), "at most 10000 bytes"),
        (b"\x93NUMPY\x01\0\x40\0{".to_vec(), "the data ends before its declared length"),
        (with_header(""), "a `{` is missing"),
        (with_header("{'descr': '<f4'}"), "expected `descr`, `fortran_order` and `shape`"),
        (with_header("{'descr': [('a', '<f4')]}"), "structured arrays"),
        (with_header("{'descr': '<f4' 'shape': ()}"), "a comma is missing"),
        (with_header("{'fortran_order': Maybe}"), "True or False"),
        (with_header("{'code': 'x'}"), "unexpected entry `code`"),
        (with_shape("(2, 3) + (4,)"), "not a valid .npy header"),
        (with_shape("(-1,)"), "its shape"),
        (with_shape("(99999999999999999999,)"), "its shape"),
        (with_shape("(4294967296, 4294967296, 4294967296)"), "too large for memory"),
        (with_shape("(0, 4294967296, 4294967296, 4294967296)"), "too large for memory"),
        (with_shape("(2, 4)"), "expected 32 bytes for the shape [2, 4], found 24"),
        (npy("<u8", "(3,)", 24), "elements of type `<u8`"),
        (npy("<U3", "(2,)", 24), "elements of type `<U3`"),
    ];
    for (file, expected) in cases {
        let error = message(read_bytes(&archive(&[Entry::stored("a.npy", file)])));
        assert!(error.contains("array `a`") && error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn inconsistent_archives_are_errors() {
    let valid = || Entry::stored("a.npy", &npy("<f4", "(6,)", 24));
    let changed = |change: &dyn Fn(&mut Entry)| {
        let mut entry = valid();
        change(&mut entry);
        entry
    };
    let cases: Vec<(Vec<Entry>, &str)> = vec![
        (vec![valid(), valid()], "two entries `a.npy`"),
        (
            vec![valid(), changed(&|entry| (entry.name, entry.header_offset) = ("b.npy".into(), Some(0)))],
            "overlap",
        ),
        (vec![changed(&|entry| entry.header_offset = Some(1 << 30))], "overlap"),
        (vec![changed(&|entry| entry.header_offset = Some(3))], "no header where the directory says"),
        (vec![changed(&|entry| entry.checksum ^= 1)], "checksum"),
        (vec![changed(&|entry| entry.size += 1)], "two different sizes"),
        (vec![changed(&|entry| entry.method = 12)], "method 12"),
        (vec![changed(&|entry| entry.method = 8)], "array `a`"),
        (vec![Entry::stored("readme.txt", b"hello")], "without `data.pkl` or `.npy`"),
        (vec![valid(), Entry::stored("readme.txt", b"hello")], "found `readme.txt`"),
    ];
    for (entries, expected) in cases {
        let error = message(read_bytes(&archive(&entries)));
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // The entry inflates to more or less data than the central directory says.
    for (difference, expected) in [(1, "more data than"), (-1, "less data than")] {
        let mut entry = Entry::deflated("a.npy", &npy("<f4", "(6,)", (24 + difference) as usize));
        entry.size = (i64::from(entry.size) - difference) as u32;
        let error = message(read_bytes(&archive(&[entry])));
        assert!(error.contains(expected), "{error}");
    }
    // Entries are never extracted to files, so a name with `..` is harmless.
    let parent_path = archive(&[Entry::stored("../../a.npy", &npy("<f4", "(6,)", 24))]);
    assert_eq!(read_bytes(&parent_path).unwrap().keys().collect::<Vec<_>>(), ["../../a"]);
}

#[test]
fn zip64_archives_are_read() -> Outcome {
    let entries =
        [Entry::stored("a.npy", &npy("<f4", "(6,)", 24)), Entry::deflated("b.npy", &npy("<i2", "(3,)", 6))];
    let complete = archive_64(&entries);
    let state = read_bytes(&complete)?;
    assert_eq!((values(&state, "a")?, values(&state, "b")?), (vec![0.; 6], vec![0.; 3]));
    for missing in ["PK\x06\x06", "PK\x06\x07"] {
        let mut damaged = complete.clone();
        let position =
            damaged.windows(4).rposition(|window| window == missing.as_bytes()).ok_or("missing")?;
        damaged[position] = 0;
        assert!(message(read_bytes(&damaged)).contains("64-bit record"));
    }
    Ok(())
}

#[test]
fn the_memory_limit_can_be_set() -> Outcome {
    let zeros = npy("<f4", "(4194304,)", 16 << 20);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("zeros.npz");
    fs::write(&path, archive(&[Entry::deflated("a.npy", &zeros)]))?;
    assert!(message(read(&path, &Device::Cpu)).contains("`Load::limit` can raise the limit"));
    let state = Load::new(&path).limit(20 << 20).read(&Device::Cpu)?;
    assert_eq!(state.get("a").ok_or("missing")?.dims(), [4 << 20]);
    assert!(
        message(Load::new(golden_checkpoint("nested.pt")).limit(100).read(&Device::Cpu))
            .contains("at most 100 bytes")
    );
    Ok(())
}

#[test]
fn long_metadata_needs_no_higher_limit() -> Outcome {
    // Training scripts store their configuration as one string of JSON, with escaped quotes.
    let settings = r#"\"rate\": 0.1, "#.repeat(150_000);
    let file = with_metadata(&format!(r#"{{"settings": "{settings}"}}"#));
    assert_eq!(read_bytes(&file)?.len(), 1);
    Ok(())
}

/// Returns a safetensors file with the metadata `json` and one tensor.
fn with_metadata(json: &str) -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__": {json}, "weight": {{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}}}"#
    );
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat()
}

#[test]
fn metadata_other_than_strings_gives_a_warning() -> Outcome {
    for (json, strings, expected_warning) in [
        (r#"{"epoch": "3", "format": "pt"}"#, &[("epoch", "3"), ("format", "pt")][..], None),
        ("{}", &[], None),
        ("null", &[], None),
        (
            r#"{"epoch": 3, "lr": 0.1, "small": 1e-05, "low": -2, "done": true, "format": "pt"}"#,
            &[
                ("done", "true"),
                ("epoch", "3"),
                ("format", "pt"),
                ("low", "-2"),
                ("lr", "0.1"),
                ("small", "0.00001"),
            ],
            Some(
                "strings in `__metadata__`, found true for `done`, 3 for `epoch`, -2 for `low`, 0.1 for `lr`",
            ),
        ),
        (
            r#"{"a": {"b": [1, {"c": null}]}, "l": [1, 2], "n": null, "s": "text"}"#,
            &[("s", "text")],
            Some("strings in `__metadata__`, found an object for `a`, a list for `l`, null for `n`"),
        ),
        ("[1, [2]]", &[], Some("an object as `__metadata__`, found a list")),
        ("3", &[], Some("an object as `__metadata__`, found a number")),
        (r#""text""#, &[], Some("an object as `__metadata__`, found a string")),
    ] {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("file");
        fs::write(&path, with_metadata(json))?;
        assert_eq!(read(&path, &Device::Cpu)?.keys().collect::<Vec<_>>(), ["weight"]);
        let metadata = metadata(&path)?;
        let actual: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(actual, strings, "{json}");
        let (_, warnings) = sconce::__private::readers::skipped(&with_metadata(json))?;
        assert_eq!(warnings.len(), usize::from(expected_warning.is_some()), "{json}: {warnings:?}");
        assert!(
            warnings.iter().zip(expected_warning).all(|(warning, expected)| warning.contains(expected)),
            "{warnings:?}"
        );
    }
    let many: Vec<_> = (10..30).map(|i| format!(r#""{i}": {i}"#)).collect();
    let (_, warnings) =
        sconce::__private::readers::skipped(&with_metadata(&format!("{{{}}}", many.join(","))))?;
    assert!(warnings[0].ends_with("18 for `18`, 19 for `19`, …"), "{warnings:?}");

    // The text after `{}` is a second entry `weight` of the header.
    let twice = r#"{}, "weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}"#;
    assert!(message(read_bytes(&with_metadata(twice))).contains("tensor `weight` occurs twice"));
    let deep = format!(r#"{{"a": {}{}}}"#, "[".repeat(1 << 16), "]".repeat(1 << 16));
    assert_eq!(read_bytes(&with_metadata(&deep))?.len(), 1);
    Ok(())
}

/// Writes two shards and their index to a new directory.
fn sharded() -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let tensor = |value: f32| Tensor::full(value, 3, &Device::Cpu);
    let (one, two, three) = (tensor(1.)?, tensor(2.)?, tensor(3.)?);
    let path = |name: &str| directory.path().join(name);
    write_safetensors(path("model-1.safetensors"), [("a", &one), ("b", &two)], &BTreeMap::new())?;
    write_safetensors(path("model-2.safetensors"), [("c", &three)], &BTreeMap::new())?;
    fs::write(
        path("model.safetensors.index.json"),
        r#"{"metadata": {"total_size": 36}, "weight_map": {
            "a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}"#,
    )?;
    Ok(directory)
}

#[test]
fn shards_are_read_given_their_index_or_directory() -> Outcome {
    let directory = sharded()?;
    for path in [directory.path().to_path_buf(), directory.path().join("model.safetensors.index.json")] {
        let state = read(path, &Device::Cpu)?;
        assert_eq!(state.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(values(&state, "c")?, [3.; 3]);
    }
    fs::remove_file(directory.path().join("model.safetensors.index.json"))?;
    fs::rename(directory.path().join("model-1.safetensors"), directory.path().join("model.safetensors"))?;
    let state = read(directory.path(), &Device::Cpu)?;
    assert_eq!(state.keys().collect::<Vec<_>>(), ["a", "b"]);
    Ok(())
}

#[test]
fn shards_of_torch_save_are_read_given_their_index_or_directory() -> Outcome {
    let expected = read(golden_checkpoint("whole_state.pt"), &Device::Cpu)?;
    let sharded = golden_checkpoint("sharded");
    for path in [sharded.clone(), sharded.join("pytorch_model.bin.index.json")] {
        let state = read(path, &Device::Cpu)?;
        assert_eq!(state.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for name in expected.keys() {
            assert_eq!(values(&state, name)?, values(&expected, name)?, "{name}");
        }
    }
    Ok(())
}

#[test]
fn files_in_a_directory_are_tried_in_the_order_of_hugging_face() -> Outcome {
    let directory = sharded()?;
    let path = |name: &str| directory.path().join(name);
    let keys =
        || read(directory.path(), &Device::Cpu).map(|state| state.keys().collect::<Vec<_>>().join(" "));
    fs::copy(golden_checkpoint("alone.pt"), path("pytorch_model.bin"))?;
    for file in fs::read_dir(golden_checkpoint("sharded"))? {
        let file = file?;
        fs::copy(file.path(), directory.path().join(file.file_name()))?;
    }
    fs::copy(path("model-2.safetensors"), path("model.safetensors"))?;
    assert_eq!(keys()?, "c");
    fs::remove_file(path("model.safetensors"))?;
    assert_eq!(keys()?, "a b c");
    fs::remove_file(path("model.safetensors.index.json"))?;
    assert_eq!(keys()?, "fc.weight fc.bias");
    fs::remove_file(path("pytorch_model.bin"))?;
    assert!(keys()?.starts_with("first.scale "));
    fs::remove_file(path("pytorch_model.bin.index.json"))?;
    let error = message(keys());
    assert!(
        error.contains("a directory without any of") && error.contains("\"pytorch_model.bin\""),
        "{error}"
    );
    Ok(())
}

#[test]
fn an_invalid_index_of_torch_save_shards_is_an_error() -> Outcome {
    let directory = tempfile::tempdir()?;
    let index = directory.path().join("pytorch_model.bin.index.json");
    fs::copy(golden_checkpoint("unsupported_zip_2.pt"), directory.path().join("one.bin"))?;
    for (name, shard, expected) in [
        ("weight", "../one.bin", "found a different path"),
        ("weight", "pytorch_model.bin.index.json", "found an index of shards"),
        ("other", "one.bin", "`other` (in `one.bin`)"),
        ("sparse", "one.bin", "`sparse` (sparse tensor)"),
    ] {
        fs::write(&index, format!(r#"{{"weight_map": {{"{name}": "{shard}"}}}}"#))?;
        let error = message(read(directory.path(), &Device::Cpu));
        assert!(error.contains(expected), "{error}");
    }
    Ok(())
}

#[test]
fn an_invalid_index_is_an_error_with_a_reason() -> Outcome {
    let directory = sharded()?;
    let outside = tempfile::tempdir()?;
    let secret = outside.path().join("model-3.safetensors");
    fs::copy(directory.path().join("model-2.safetensors"), &secret)?;
    let index = directory.path().join("model.safetensors.index.json");
    let parent_path = format!("../{}/model-3.safetensors", outside.path().file_name().unwrap().display());
    let absolute = secret.display().to_string();
    let map = |shard: &str| format!(r#"{{"weight_map": {{"c": "{shard}"}}}}"#);
    for (json, expected) in [
        (map("model-9.safetensors"), "shard `model-9.safetensors`"),
        (map(&parent_path), "found a different path"),
        (map(&absolute), "found a different path"),
        (map("./model-2.safetensors"), "found a different path"),
        (map(".."), "found a different path"),
        (map(""), "found a different path"),
        (map("a\\\\b"), "found a different path"),
        (map("model.safetensors.index.json"), "expected a file of tensors, found an index of shards"),
        (r#"{"weight_map": {"z": "model-2.safetensors"}}"#.into(), "`z` (in `model-2.safetensors`)"),
        (r#"{"weight_map": {"a": 3}}"#.into(), "not a valid index"),
        (r#"{"weight_map": {"#.into(), "not a valid index"),
        (r#"{"metadata": {}}"#.into(), "without `weight_map`"),
    ] {
        fs::write(&index, &json)?;
        let error = message(read(&index, &Device::Cpu));
        assert!(error.contains(expected), "{json}: {error}");
        assert!(error.contains("model.safetensors.index.json"), "{error}");
    }
    fs::copy(directory.path().join("model-2.safetensors"), directory.path().join("model-1.safetensors"))?;
    fs::write(&index, r#"{"weight_map": {"c": "model-1.safetensors", "d": "model-2.safetensors"}}"#)?;
    assert!(message(read(&index, &Device::Cpu)).contains("tensor `c` is in `model-2.safetensors`"));
    Ok(())
}

#[test]
fn a_state_dict_needs_a_key_unless_it_is_the_only_one() -> Outcome {
    let state = read(golden_checkpoint("alone.pt"), &Device::Cpu)?;
    assert_eq!(values(&state, "fc.bias")?, [1., 2.]);

    let choices = golden_checkpoint("choices.pt");
    let error = message(read(&choices, &Device::Cpu));
    assert!(error.contains("`Load::key`"), "{error}");
    assert!(error.contains("`generator` (a dictionary), `critic` (a dictionary)"), "{error}");
    for (key, value) in [("generator", 1.), ("ema", 2.), ("critic", 3.)] {
        let state = Load::new(&choices).key(key).read(&Device::Cpu)?;
        assert_eq!(values(&state, "fc.weight")?, [value; 6], "{key}");
    }
    let error = message(Load::new(&choices).key("generater").read(&Device::Cpu));
    assert!(error.contains("under the key `generater`"), "{error}");
    assert!(error.contains("`epoch` (an integer), `generator` (a dictionary)"), "{error}");
    let error = message(Load::new(golden_checkpoint("arrays.npz")).key("ema").read(&Device::Cpu));
    assert!(error.contains("found a file of another format"), "{error}");
    Ok(())
}

#[test]
fn metadata_is_read_from_safetensors_files_only() -> Outcome {
    let directory = sharded()?;
    let actual = metadata(directory.path().join("model-1.safetensors"))?;
    assert_eq!(actual.get("format").map(String::as_str), Some("pt"));
    assert!(
        message(metadata(golden_checkpoint("choices.pt")))
            .contains("choices.pt: not a valid safetensors file")
    );
    Ok(())
}
