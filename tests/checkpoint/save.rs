//! Saving: saved files can be read back in every format, PyTorch and NumPy can read the golden files, and an error
//! keeps the old file.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use sconce::candle::{DType, Device, Tensor};
use sconce::checkpoint::{Format, StateDict, metadata, read, write};
use sconce::prelude::{Config, Linear, Network, Save};

use crate::common::message;
use crate::inputs::golden_checkpoint;
use crate::values::{any_tensor, assert_same, bits, names};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Returns a tensor of the numbers 0, 1, 2, …, modulo 100.
fn counted(dtype: DType, shape: &[usize]) -> sconce::Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i % 100) as f32).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

/// Returns the tensors of `saved.pt` or `saved.npz`. They must be the same as in `make_saved.py`.
fn saved_state(format: Format) -> sconce::Result<StateDict> {
    let mut state = StateDict::new();
    let common =
        [DType::F64, DType::F32, DType::F16, DType::U8, DType::U32, DType::I16, DType::I32, DType::I64];
    for dtype in common {
        state.insert(format!("layers.{dtype:?}.weight"), counted(dtype, &[2, 3])?);
    }
    if format == Format::Torch {
        state.insert("bf16", counted(DType::BF16, &[2, 3])?);
        let bits = [0x00, 0x38, 0xc0, 0x44, 0x48, 0x7f];
        state.insert("f8", Tensor::from_raw_buffer(&bits, DType::F8E4M3, &[2, 3], &Device::Cpu)?);
    }
    let weight = state.get("layers.F32.weight").expect("the state should have an F32 weight").clone();
    state.insert("tied", weight.detach());
    state.insert("transposed", weight.t()?);
    state.insert("sliced", counted(DType::F32, &[4, 5])?.narrow(1, 1, 3)?);
    state.insert("scalar", counted(DType::F32, &[])?.affine(1., 7.)?);
    state.insert("conv", counted(DType::F32, &[2, 1, 3, 3])?);
    state.insert("volume", counted(DType::I64, &[1, 2, 1, 2, 1])?);
    for length in [0, 255, 256, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xff_ffff_ffff] {
        state.insert(format!("empty.{length}"), counted(DType::F32, &[0, length])?);
    }
    for name in ["storage", "cpu", "0", "folder/name", "две.буквы.🙂", "it's \"quoted\"\n\\", ""] {
        state.insert(name, counted(DType::F32, &[1])?);
    }
    Ok(state)
}

/// Writes `state` to a file with the name `file`. Returns the bytes of the file.
fn written(file: &str, state: &StateDict) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join(file);
    write(Save::new(&path), state)?;
    Ok(fs::read(&path)?)
}

fn assert_equal_states(actual: &StateDict, expected: &StateDict) {
    assert_eq!(actual.len(), expected.len());
    for (name, tensor) in expected {
        let read = actual.get(name).unwrap_or_else(|| panic!("expected a tensor `{name}`"));
        assert_same(read, tensor, name);
    }
}

#[test]
fn a_pytorch_file_has_the_bytes_of_torch_save() -> Outcome {
    let state = saved_state(Format::Torch)?;
    let bytes = written("saved.pt", &state)?;
    let expected = fs::read(golden_checkpoint("saved.pt"))?;
    let differs = bytes.iter().zip(&expected).position(|(one, other)| one != other);
    assert_eq!((differs, bytes.len()), (None, expected.len()));

    let again = read(golden_checkpoint("saved.pt"), &Device::Cpu)?;
    assert_equal_states(&again, &state);
    assert_eq!(names(&again), names(&state));
    let id = |name| again.get(name).map(|tensor| tensor.id());
    assert_eq!(id("tied"), id("layers.F32.weight"));
    Ok(())
}

#[test]
fn long_state_dicts_have_the_bytes_of_torch_save() -> Outcome {
    let recorded = fs::read_to_string(golden_checkpoint("saved_lengths.txt"))?;
    let recorded: HashMap<&str, &str> = recorded.lines().filter_map(|line| line.split_once(": ")).collect();
    for count in [0, 1, 2, 999, 1000, 1001, 2002] {
        let tensor = counted(DType::F32, &[1])?;
        let state: StateDict = (0..count).map(|i| (format!("layers.{i}"), tensor.clone())).collect();
        let bytes = written("saved.pt", &state)?;
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        let found = format!("{} bytes, checksum {:08x}", bytes.len(), crc.sum());
        assert_eq!(Some(&*found), recorded.get(&*count.to_string()).copied(), "{count} tensors");
    }
    Ok(())
}

/// With `GOLDEN=overwrite`, the test replaces the golden file. Check the new file with `make_saved.py`.
#[test]
fn an_npz_has_the_recorded_bytes() -> Outcome {
    let state = saved_state(Format::Npz)?;
    let bytes = written("saved.npz", &state)?;
    if std::env::var("GOLDEN").is_ok_and(|value| value == "overwrite") {
        fs::write(golden_checkpoint("saved.npz"), &bytes)?;
    }
    assert!(bytes == fs::read(golden_checkpoint("saved.npz"))?, "expected the bytes of the golden file");
    assert_equal_states(&read(golden_checkpoint("saved.npz"), &Device::Cpu)?, &state);
    Ok(())
}

/// Returns `true` if the format of `file` supports `dtype`.
fn is_supported(file: &str, dtype: DType) -> bool {
    !file.ends_with(".npz") || !matches!(dtype, DType::BF16 | DType::F8E4M3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn saved_files_can_be_read_back_in_every_format(
        file in prop::sample::select(&["state.pt", "state.pth", "state.BIN", "state.npz", "state.safetensors"][..]),
        tensors in prop::collection::vec((any::<String>(), any_tensor()), 1..6),
    ) {
        let mut state: StateDict = tensors.into_iter().map(|(name, tensor)| (name.replace('\0', ""), tensor)).collect();
        let unsupported = state.iter().find(|(_, tensor)| !is_supported(file, tensor.dtype()));
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(file);
        if let Some((name, _)) = unsupported {
            let error = message(write(Save::new(&path), &state));
            prop_assert!(error.contains(&format!("tensor `{name}`")) && error.contains("DType::F32"), "{}", error);
            let supported = state.clone().into_iter();
            state = supported.filter(|(_, tensor)| is_supported(file, tensor.dtype())).collect();
        }
        prop_assume!(!state.is_empty());
        write(Save::new(&path), &state)?;
        assert_equal_states(&read(&path, &Device::Cpu)?, &state);
    }

    #[test]
    fn only_floating_point_tensors_are_converted(
        file in prop::sample::select(&["state.pt", "state.npz", "state.safetensors"][..]),
        dtype in prop::sample::select(&[DType::F16, DType::BF16, DType::F32, DType::F64][..]),
        tensors in prop::collection::vec((any::<String>(), any_tensor()), 1..6),
    ) {
        let state: StateDict = tensors.into_iter().map(|(name, tensor)| (name.replace('\0', ""), tensor)).collect();
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(file);
        let outcome = write(Save::new(&path).dtype(dtype), &state);
        if !is_supported(file, dtype) && state.iter().any(|(_, tensor)| tensor.dtype().is_float()) {
            prop_assert!(message(outcome).contains("BF16"));
            return Ok(());
        }
        outcome?;
        let again = read(&path, &Device::Cpu)?;
        for (name, tensor) in &state {
            let expected = match tensor.dtype() {
                DType::F8E4M3 => {
                    let values: Vec<f32> = bits(tensor).iter().map(|&bits| from_f8e4m3(bits)).collect();
                    Tensor::from_vec(values, tensor.dims(), &Device::Cpu)?.to_dtype(dtype)?
                }
                float if float.is_float() => tensor.to_dtype(dtype)?,
                _ => tensor.clone(),
            };
            assert_same(again.get(name).expect("the file should have the tensor"), &expected, name);
        }
    }
}

/// Decodes a finite, non-negative `F8E4M3` number: adds up the gaps between consecutive numbers from 0 to this number.
/// Within a binade, the numbers are equally spaced.
fn from_f8e4m3(bits: u8) -> f32 {
    (0..bits).map(|smaller| 2_f32.powi(i32::from(smaller.max(8) / 8) - 10)).fold(0., |sum, gap| sum + gap)
}

#[test]
fn a_value_that_would_become_infinite_is_an_error() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("state.safetensors");
    fs::write(&path, "old")?;
    // Infinity, NaN and numbers that round to the largest f16 number can be saved. The number that is appended below is
    // too large. Values are converted in chunks of 65,536, so it is in the second chunk.
    let mut values = vec![f32::INFINITY, f32::NAN, 65_519., -65_504.];
    values.resize(70_000, 0.);
    let state = |values: &[f32]| -> sconce::Result<StateDict> {
        Ok(StateDict::from_iter([("w", Tensor::new(values, &Device::Cpu)?)]))
    };
    let f16 = Save::new(&path).dtype(DType::F16);
    let fits = state(&values)?;
    values.push(-65_520.);
    let error = message(write(&f16, &state(&values)?));
    assert!(error.contains("tensor `w`") && error.contains("range of F16, found -6.552e4"), "{error}");
    assert_eq!(fs::read_to_string(&path)?, "old");
    assert_eq!(fs::read_dir(directory.path())?.count(), 1);

    write(f16, &fits)?;
    let again =
        read(&path, &Device::Cpu)?.get("w").ok_or("missing")?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    assert!(again[0] == f32::INFINITY && again[1].is_nan());
    assert_eq!(again[2..4], [65_504., -65_504.]);
    write(Save::new(&path).dtype(DType::BF16), &state(&[1e38])?)?;
    assert!(
        message(write(Save::new(&path).dtype(DType::BF16), &state(&[f32::MAX])?)).contains("range of BF16")
    );
    Ok(())
}

#[test]
fn options_and_names_that_a_format_does_not_support_are_errors() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = |file: &str| directory.path().join(file);
    let one = Tensor::ones(1, DType::F32, &Device::Cpu)?;
    let state = |name: &str| StateDict::from_iter([(name, one.clone())]);
    for file in ["state", "state.", "state.onnx", "state.pt.old"] {
        let error = message(write(Save::new(path(file)), &state("w")));
        for known in [".safetensors", ".npz", ".pt", ".pth", ".bin", "Save::format"] {
            assert!(error.contains(known), "{error}");
        }
    }
    let cases = [
        (Save::new(path("a.pt")).metadata([("epoch", "3")]), "w", "`epoch`"),
        (Save::new(path("a.npz")).metadata([("epoch", "3")]), "w", "only safetensors has metadata"),
        (Save::new(path("a.pt")).max_shard_size(1), "w", "only safetensors can be split"),
        (Save::new(path("a.safetensors")).metadata([("a", "1"), ("a", "2")]), "w", "`a` is specified twice"),
        (Save::new(path("a.safetensors")).dtype(DType::U8), "w", "F16, BF16, F32 or F64, found U8"),
        (Save::new(path("a.npz")), "nul\0", "NUL"),
        (Save::new(path("a.safetensors")), "__metadata__", "reserves"),
    ];
    for (save, name, expected) in cases {
        let error = message(write(&save, &state(name)));
        assert!(error.contains(expected), "{error}");
    }
    assert!(message(write(Save::new(path("a.npz")), &StateDict::new())).contains("at least one tensor"));
    let long = "n".repeat(1 << 16);
    assert!(message(write(Save::new(path("a.npz")), &state(&long))).contains("at most 65531 bytes"));
    assert!(message(write(Save::new(path("a.pt")), &state(&long))).contains("at most 1024 bytes"));
    for file in ["a.pt", "a.npz", "a.safetensors"] {
        let twice = [("w", &one), ("w", &one)];
        assert!(message(write(Save::new(path(file)), twice)).contains("tensor `w`: the name occurs twice"));
        let unsupported = Tensor::from_raw_buffer(&[0], DType::F8E8M0, &[1], &Device::Cpu)?;
        let error = message(write(Save::new(path(file)), [("scale", &unsupported)]));
        assert!(error.contains("tensor `scale`") && error.contains("F8E8M0"), "{error}");
    }
    for file in ["a.pt", "a.npz"] {
        let deep = one.reshape(vec![1; 65])?;
        assert!(message(write(Save::new(path(file)), [("deep", &deep)])).contains("64 dimensions, found 65"));
    }
    assert_eq!(fs::read_dir(directory.path())?.count(), 0);

    let longest = &long[..1024];
    write(Save::new(path("state")).format(Format::Torch), &state(longest))?;
    assert_eq!(names(&read(path("state"), &Device::Cpu)?), [longest]);
    write(Save::new(path("empty.pt")), &StateDict::new())?;
    assert!(read(path("empty.pt"), &Device::Cpu)?.is_empty());
    Ok(())
}

/// Returns the sorted names of the files in a directory.
fn files(directory: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().into_string().map_err(|_| "expected a name in UTF-8")?);
    }
    names.sort();
    Ok(names)
}

#[test]
fn large_safetensors_checkpoints_are_split_as_huggingface_hub_does() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("model.safetensors");
    let sizes = [3, 1, 9, 4, 2, 5, 0, 3];
    let state: StateDict = sizes
        .into_iter()
        .enumerate()
        .map(|(i, size)| Ok((format!("layers.{i}"), counted(DType::F32, &[size])?)))
        .collect::<sconce::Result<_>>()?;
    let save = Save::new(&path).max_shard_size(4 * 7).metadata([("epoch", "3")]);
    write(&save, &state)?;

    let index = fs::read_to_string(directory.path().join("model.safetensors.index.json"))?;
    assert_eq!(index, fs::read_to_string(golden_checkpoint("saved.index.json"))?);
    let shards: Vec<_> = (1..=5).map(|number| format!("model-{number:05}-of-00005.safetensors")).collect();
    assert_eq!(
        files(directory.path())?,
        [&shards[..], &["model.safetensors.index.json".to_string()]].concat()
    );
    assert_equal_states(&read(directory.path(), &Device::Cpu)?, &state);
    assert_equal_states(&read(&path, &Device::Cpu)?, &state);
    assert_eq!(metadata(directory.path().join(&shards[0]))?["epoch"], "3");

    // A smaller checkpoint replaces all files.
    let small = StateDict::from_iter([("w", counted(DType::F32, &[7])?)]);
    write(&save, &small)?;
    assert_eq!(files(directory.path())?, ["model.safetensors"]);
    assert_equal_states(&read(directory.path(), &Device::Cpu)?, &small);
    Ok(())
}

#[test]
fn networks_are_saved_in_every_format() -> Outcome {
    let directory = tempfile::tempdir()?;
    let fc = Linear::config(3, 2).init(&Device::Cpu)?;
    for file in ["fc.pt", "fc.npz", "fc.safetensors"] {
        let path = directory.path().join(file);
        fc.save(&path)?;
        let loaded = Linear::config(3, 2).load(&path, &Device::Cpu)?;
        assert_equal_states(&loaded.state_dict(), &fc.state_dict());
        if file == "fc.safetensors" {
            assert_eq!(metadata(&path)?["network"], "Linear");
        }
    }
    Ok(())
}
