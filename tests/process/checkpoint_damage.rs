//! Damaged and hostile files of every format give an error or a state dict, quickly and with little memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use std::{fs, io};

use proptest::prelude::*;
use sconce::__private::readers;
use sconce::candle::Device;
use sconce::checkpoint::{StateDict, read, write_safetensors};

use crate::archive::{Entry, archive, npy, pickle_of_floats, safetensors};
use crate::common::config;
use crate::{measured, passed_in_own_process};

/// The bytes of memory that reading may use in addition to twice the file's length: 8 MiB, as documented in
/// `sconce::checkpoint`, and 256 KiB for allocations of other threads.
const BASE_MEMORY: usize = (8 << 20) + (1 << 18);

/// The maximum time for reading one of these files.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Reads `bytes` and asserts that time and memory stay within the limits for a file of that length.
fn read_within_bounds(bytes: &[u8]) -> sconce::Result<StateDict> {
    let start = Instant::now();
    let (result, peak) = measured(|| readers::any(bytes));
    let (elapsed, allowed) = (start.elapsed(), 2 * bytes.len() + BASE_MEMORY);
    assert!(elapsed < TIME_LIMIT, "{elapsed:?} for {} bytes", bytes.len());
    assert!(peak <= allowed, "{peak} bytes of memory for a file of {} bytes: {result:?}", bytes.len());
    result
}

/// Valid files of every format.
static FILES: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(|| {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let names = [
        "checkpoints/types_zip_2.pt",
        "checkpoints/types_zip_5.pt",
        "checkpoints/types_legacy_2.pt",
        "checkpoints/types_legacy_4.pt",
        "checkpoints/nested_legacy.pt",
        "checkpoints/choices.pt",
        "checkpoints/arrays.npz",
        "checkpoints/arrays_compressed.npz",
        "mtcnn_pnet/pnet.pt",
        "mtcnn_pnet/weights_zip.pt",
    ];
    let mut files: Vec<_> = names.map(|name| (name, fs::read(golden.join(name)).unwrap())).into();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("types.safetensors");
    let state = read(golden.join("checkpoints/types_zip_2.pt"), &Device::Cpu).unwrap();
    write_safetensors(&path, &state, &BTreeMap::new()).unwrap();
    files.push(("types.safetensors", fs::read(path).unwrap()));
    files
});

/// Generates a position in a file, as a fraction of its length. Positions near the beginning and the end are more
/// likely, because most formats have their headers there.
fn position() -> impl Strategy<Value = f64> {
    prop_oneof![0. ..1_f64, 0. ..0.05_f64, 0.95..1_f64]
}

// The targets in `fuzz/` read many more files than the next tests.

#[test]
fn files_with_changed_bytes_are_read_within_the_limits() {
    if passed_in_own_process() {
        return;
    }
    let changes = prop::collection::vec((position(), any::<u8>(), any::<bool>()), 1..5);
    proptest!(config(1500), |(file in 0..FILES.len(), changes in changes)| {
        let mut bytes = FILES[file].1.clone();
        for (position, noise, single_bit) in changes {
            let index = (position * bytes.len() as f64) as usize;
            bytes[index] = if single_bit { bytes[index] ^ (1 << (noise % 8)) } else { noise };
        }
        let _ = read_within_bounds(&bytes);
    });
}

#[test]
fn truncated_and_concatenated_files_are_read_within_the_limits() {
    if passed_in_own_process() {
        return;
    }
    let files = || 0..FILES.len();
    proptest!(config(1500), |(file in files(), other in files(), cut in position(), concatenated: bool)| {
        let (_, whole) = &FILES[file];
        let mut bytes = whole[..(cut * whole.len() as f64) as usize].to_vec();
        let is_truncated = bytes.len() < whole.len();
        if concatenated {
            bytes.extend_from_slice(&FILES[other].1);
        }
        let result = read_within_bounds(&bytes);
        prop_assert!(concatenated || !is_truncated || result.is_err(), "{} cut to {}", FILES[file].0, bytes.len());
    });
}

#[test]
fn files_with_random_ends_are_read_within_the_limits() {
    if passed_in_own_process() {
        return;
    }
    let noise = prop::collection::vec(any::<u8>(), 0..2000);
    proptest!(config(1500), |(file in 0..FILES.len(), kept in 0_usize..200, noise in noise)| {
        let (_, whole) = &FILES[file];
        let bytes = [&whole[..kept.min(whole.len())], &noise].concat();
        let _ = read_within_bounds(&bytes);
    });
}

#[test]
fn an_index_with_changed_bytes_is_read_within_the_limits() {
    if passed_in_own_process() {
        return;
    }
    let changes = prop::collection::vec((0. ..1_f64, any::<u8>()), 1..4);
    proptest!(config(400), |(changes in changes, cut in 0.5..1.5_f64)| {
        let directory = tempfile::tempdir()?;
        // The last file is `types.safetensors`.
        let (_, shard) = &FILES[FILES.len() - 1];
        fs::write(directory.path().join("a.safetensors"), shard)?;
        let whole = br#"{"metadata":{"total_size":3},"weight_map":{"float32":"a.safetensors"}}"#;
        prop_assert!(readers::index(whole, directory.path()).is_ok());
        let mut index = whole.to_vec();
        for (position, noise) in changes {
            let byte = (position * index.len() as f64) as usize;
            index[byte] = noise;
        }
        index.truncate((cut * index.len() as f64) as usize);
        let (_, peak) = measured(|| readers::index(&index, directory.path()).is_ok());
        prop_assert!(peak <= 2 * (index.len() + shard.len()) + BASE_MEMORY, "{}", peak);
    });
}

/// Returns an archive in the format of torch.save that contains this pickle and this storage.
fn torch_zip(pickle: &[u8], storage: Entry) -> Vec<u8> {
    archive(&[Entry::stored("archive/data.pkl", pickle), storage])
}

#[test]
fn decompression_bombs_are_errors_within_the_memory_limit() {
    if passed_in_own_process() {
        return;
    }
    let zeros = vec![0; 96 << 20];
    let inflated = npy("<f4", &format!("({},)", zeros.len() / 4), zeros.len());
    let bomb = |name: &str, content: &[u8]| Entry::deflated(name, content);
    let elements = (zeros.len() / 4) as u32;
    let mut wrong_size = bomb("a.npy", &npy("<f4", "(1000000,)", 4_000_000));
    wrong_size.size = u32::MAX - 1;
    let files = [
        ("npz", archive(&[bomb("a.npy", &inflated)])),
        ("npz with a wrong size", archive(&[wrong_size])),
        ("pickle", archive(&[bomb("archive/data.pkl", &zeros)])),
        ("byte order", archive(&[Entry::stored("data.pkl", b"\x80\x02}."), bomb("byteorder", &zeros)])),
        ("storage", torch_zip(&pickle_of_floats(elements), bomb("archive/data/0", &zeros))),
    ];
    drop((zeros, inflated));
    for (name, file) in files {
        let error = read_within_bounds(&file).err().unwrap_or_else(|| panic!("{name}: expected an error"));
        println!("{name}, {} bytes: {error}", file.len());
    }
}

/// Asserts that reading a large hostile file stays within the limits, whether it succeeds or fails.
fn assert_within_bounds(name: &str, file: &[u8]) {
    let result = read_within_bounds(file);
    println!("{name}, {} bytes: {:?}", file.len(), result.map(|state| state.len()));
}

#[test]
fn files_with_huge_metadata_stay_within_the_memory_limit() {
    if passed_in_own_process() {
        return;
    }
    let pickle =
        |body: Vec<u8>| torch_zip(&[&b"\x80\x02"[..], &body].concat(), Entry::stored("archive/x", b""));
    let count = 4 << 20;
    assert_within_bounds("lists", &pickle(b"]".repeat(count)));
    assert_within_bounds("marks", &pickle(b"(".repeat(count)));
    assert_within_bounds("nested tuples", &pickle([&b")"[..], &b"\x85".repeat(count)].concat()));
    assert_within_bounds("duplicates", &pickle([&b"]"[..], &b"2".repeat(count)].concat()));
    let memo: Vec<u8> = (0..count as u32 / 5).flat_map(|i| [&b"r"[..], &i.to_le_bytes()].concat()).collect();
    assert_within_bounds("memo", &pickle([&b"]"[..], &memo].concat()));
    assert_within_bounds(
        "dictionary",
        &pickle([&b"}("[..], &b"K\x01K\x02".repeat(count / 4), b"u."].concat()),
    );
    assert_within_bounds(
        "log",
        &pickle([&b"}X\x03\0\0\0log]("[..], &b"K\x01".repeat(1 << 16), b"es."].concat()),
    );

    for tensors in [2_500, 10_000, 60_000] {
        let mut header = String::from("{");
        for i in 0..tensors {
            let comma = if i == 0 { "" } else { "," };
            write!(header, r#"{comma}"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#).unwrap();
        }
        header.push('}');
        assert_within_bounds("header of empty tensors", &safetensors(&header, 0));
    }
    assert_within_bounds("header of spaces", &safetensors(&format!("{{{}}}", " ".repeat(count)), 0));
    assert_within_bounds(
        "header of nested lists",
        &safetensors(&format!("{{\"a\":{}}}", "[".repeat(count)), 0),
    );
    let many: Vec<_> = (0..60_000).map(|i| Entry::stored(&i.to_string(), b"")).collect();
    assert_within_bounds("entries", &archive(&many));
    let many: Vec<_> =
        (0..20_000).map(|i| Entry::stored(&format!("{i}.npy"), &npy("|u1", "(0,)", 0))).collect();
    assert_within_bounds("empty arrays", &archive(&many));
}

#[test]
fn impossible_lengths_are_errors() {
    if passed_in_own_process() {
        return;
    }
    let huge = u64::MAX / 2;
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{huge}],"data_offsets":[0,{huge}]}}}}"#);
    let overflowing = r#"{"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}"#;
    let mut cases = vec![safetensors(&header, 8), safetensors(overflowing, 0), safetensors("{}", 8)];
    for length in [0, 1, 7, 100_000_001, u64::MAX] {
        let mut file = safetensors(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
        file[..8].copy_from_slice(&u64::to_le_bytes(length));
        cases.push(file);
    }
    cases.push(torch_zip(&pickle_of_floats(u32::MAX >> 1), Entry::stored("archive/data/0", &[0; 16])));
    cases.push(archive(&[Entry::stored("a.npy", &npy("<f8", "(1152921504606846976,)", 0))]));
    for case in cases {
        assert!(read_within_bounds(&case).is_err(), "{}", case.escape_ascii());
    }
}

#[test]
fn a_hostile_index_stays_within_the_memory_limit() -> io::Result<()> {
    if passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let mut json = String::from(r#"{"weight_map":{"#);
    for i in 0..200_000 {
        write!(json, r#""{i}":"{i}","#).unwrap();
    }
    json.push_str(r#""z":"z"}}"#);
    let (result, peak) = measured(|| readers::index(json.as_bytes(), directory.path()));
    assert!(result.is_err_and(|error| error.to_string().contains("shard `0`")));
    assert!(peak < 2 * json.len(), "{peak}");
    let deep = "{\"weight_map\":".repeat(1 << 18);
    let (result, peak) = measured(|| readers::index(deep.as_bytes(), directory.path()));
    assert!(result.is_err() && peak < 2 * deep.len() + BASE_MEMORY);
    Ok(())
}
