//! Checkpoint files: written files can be read back, PyTorch's files give PyTorch's values, and damaged, hostile or
//! partially written files are errors.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use proptest::prelude::*;
use sconce::candle::{DType, Device, Tensor};
use sconce::checkpoint::{StateDict, read, write_atomically, write_safetensors};

use crate::archive::legacy;
use crate::common::message;
use crate::inputs::{golden, golden_checkpoint, read_bytes};
use crate::values::{any_tensor, assert_same, bits, names};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[test]
fn published_weights_are_equal_in_all_three_formats() -> Outcome {
    for (network, files) in [
        ("mtcnn_pnet", &["pnet.pt", "weights_zip.pt"][..]),
        ("mtcnn_rnet", &["rnet.pt", "weights_zip.pt"]),
        ("mtcnn_onet", &["onet.pt"]),
    ] {
        let expected = read(golden(network).join("weights.safetensors"), &Device::Cpu)?;
        assert!(expected.len() >= 13);
        for file in files {
            let state = read(golden(network).join(file), &Device::Cpu)?;
            let (mut actual_names, mut expected_names) = (names(&state), names(&expected));
            actual_names.sort_unstable();
            expected_names.sort_unstable();
            assert_eq!(actual_names, expected_names, "{network}/{file}");
            for (name, tensor) in &state {
                assert_same(tensor, expected.get(name).ok_or("missing")?, name);
                assert!(tensor.is_contiguous());
            }
        }
    }
    Ok(())
}

#[test]
fn tensors_keep_the_order_of_the_file() -> Outcome {
    let state = read(golden("mtcnn_pnet/pnet.pt"), &Device::Cpu)?;
    assert_eq!(names(&state)[..4], ["conv1.weight", "conv1.bias", "prelu1.weight", "conv2.weight"]);
    Ok(())
}

/// Checks that `state` has the tensors that `make_checkpoints.py` saves.
fn check_all_types(state: &StateDict) -> Outcome {
    let zero_to_five = [0f64, 1., 2., 3., 4., 5.];
    let cases: [(&str, DType, &[usize], &[f64]); 19] = [
        ("float64", DType::F64, &[2, 3], &zero_to_five),
        ("float32", DType::F32, &[2, 3], &zero_to_five),
        ("float16", DType::F16, &[2, 3], &zero_to_five),
        ("bfloat16", DType::BF16, &[2, 3], &zero_to_five),
        ("int64", DType::I64, &[2, 3], &zero_to_five),
        ("int32", DType::I32, &[2, 3], &zero_to_five),
        ("int16", DType::I16, &[2, 3], &zero_to_five),
        ("int8", DType::I16, &[2, 3], &[-3., -2., -1., 0., 1., 2.]),
        ("uint8", DType::U8, &[2, 3], &zero_to_five),
        ("bool", DType::U8, &[2, 3], &[0., 1., 0., 1., 0., 1.]),
        ("uint16", DType::U32, &[2, 3], &zero_to_five),
        ("float8", DType::F8E4M3, &[2, 3], &zero_to_five),
        ("column_major", DType::F32, &[2, 3], &zero_to_five),
        ("sliced", DType::F32, &[2, 2], &[1., 2., 4., 5.]),
        ("tied", DType::F32, &[2, 3], &zero_to_five),
        ("expanded", DType::F32, &[1, 3], &[7., 7., 7.]),
        ("scalar", DType::F32, &[], &[7.]),
        ("empty", DType::F32, &[0, 3], &[]),
        ("parameter", DType::F32, &[2], &[1., 2.]),
    ];
    assert_eq!(names(state), cases.map(|(name, ..)| name));
    for (name, dtype, shape, values) in cases {
        let tensor = state.get(name).ok_or("missing")?;
        assert_eq!((tensor.dtype(), tensor.dims()), (dtype, shape), "{name}");
        if dtype == DType::F8E4M3 {
            // candle's conversion of float8 to F64 recurses endlessly, so compare the bits of the values 0 to 5.
            assert_eq!(bits(tensor), [0x00, 0x38, 0x40, 0x44, 0x48, 0x4a]);
            continue;
        }
        let read: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        assert_eq!(read, values, "{name}");
    }
    Ok(())
}

#[test]
fn every_element_type_and_stride_is_read_in_every_protocol() -> Outcome {
    for protocol in [2, 4, 5] {
        for container in ["zip", "legacy"] {
            let file = golden_checkpoint(&format!("types_{container}_{protocol}.pt"));
            check_all_types(&read(file, &Device::Cpu)?)?;
        }
    }
    Ok(())
}

#[test]
fn a_state_dict_is_found_among_other_entries() -> Outcome {
    for file in ["nested.pt", "nested_legacy.pt"] {
        let state = read(golden_checkpoint(file), &Device::Cpu)?;
        assert_eq!(format!("{state:?}"), r#"{"module.fc.weight": F32 [2, 3], "module.fc.bias": F32 [2]}"#);
        assert_eq!(state.get("module.fc.bias").ok_or("missing")?.to_vec1::<f32>()?, [1., 2.]);
    }
    Ok(())
}

#[test]
fn a_pickle_that_calls_a_command_is_an_error_that_names_it() {
    let error = message(read(golden_checkpoint("os_system.pt"), &Device::Cpu));
    assert!(error.contains("posix.system") && error.contains("os_system.pt"), "{error}");
}

#[test]
fn invalid_pickles_are_errors_with_a_reason() {
    /// Returns a pickle of a dictionary with one tensor, `w`. The tensor has the given size and stride, and its
    /// storage has `numel` floats.
    fn tensor(numel: &[u8], size: &[u8], stride: &[u8]) -> Vec<u8> {
        let storage =
            [&b"(X\x07\0\0\0storagectorch\nFloatStorage\nU\x010U\x03cpu"[..], numel, b"NtQ"].concat();
        let arguments = [&b"("[..], &storage, b"K\0", size, b"\x85", stride, b"\x85\x89Nt"].concat();
        [&b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n"[..], &arguments, b"Rs."].concat()
    }
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let cases: &[(&[u8], &str)] = &[
        (b"\x80\x02cos\nsystem\n.", "found a class or function"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "found a class or function"),
        (b"\x80\x02}U\x01wcbuiltins\neval\nU\x011\x85Rs.", "`w` (eval)"),
        (b"\x80\x02I1x\n.", "expected an integer, found `1x`"),
        (b"\x80\x02S'a\n.", "expected a quoted string"),
        (b"\x80\x02z", "expected an opcode of a pickle, found 0x7a (`z`)"),
        (b"\x80\x02(o.", "an object has no class"),
        (b"\x80\x02g1x\n.", "an index into the memo"),
        (b"\x80\x06.", "protocol 0 to 5, found 6"),
        (b"\x80\x02.", "empty stack"),
        (b"\x80\x02}(0.", "empty stack"),
        (b"\x80\x02u.", "pops a mark that it has not set"),
        (b"\x80\x02h\x07.", "entry 7 of the memo, which it has not stored"),
        (b"\x80\x02X\xff\xff\xff\xffab", "expected 4294967295 more bytes"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", "expected 18446744073709551615 more bytes"),
        (b"\x80\x02X\x02\0\0\0\xff\xfe.", "found a string"),
        (b"\x80\x02c\xff\nname\n.", "utf-8"),
        (b"\x80\x02}(K\x01u.", "last key has no value"),
        (b"\x80\x02K\x05.", "a module, found an integer; save `model.state_dict()`"),
        (b"\x80\x02}U\x05epochK\x03s.", "`epoch` (an integer)"),
        (b"\x80\x02K\x01)R.", "class or function to call"),
        (b"\x80\x02K\x01Q.", "expected a tuple or a list, found an integer"),
        (b"\x80\x02}q\0U\x05modelh\0s.", "too deeply"),
        (&tensor(huge, huge, b"K\x01"), "too large for memory"),
        (&tensor(b"K\x02", b"\x8a\x01\xff", b"K\x01"), "not negative, found -1"),
        (&tensor(b"K\x02", b"K\x02", b"K\x01"), "does not contain storage `0`"),
    ];
    for (pickle, expected) in cases {
        let error = message(read_bytes(&legacy(pickle)));
        assert!(error.contains(expected), "{}: {error}", pickle.escape_ascii());
    }
}

#[test]
fn a_view_beyond_its_storage_is_an_error_that_states_its_shape() {
    let file = fs::read(golden_checkpoint("types_legacy_2.pt")).unwrap();
    // Change the pickled size of the first tensor from (2, 3) to (2, 200).
    let size = b"K\x02K\x03\x86";
    let position = file.windows(size.len()).position(|window| window == size).unwrap();
    let mut changed = file.clone();
    changed[position + 3] = 200;
    let error = message(read_bytes(&changed));
    assert!(error.contains("tensor `float64`") && error.contains("[2, 200]"), "{error}");
    assert!(error.contains("6 elements"), "{error}");
}

#[test]
fn a_deeply_nested_pickle_does_not_overflow_the_stack() {
    let nested = [&b"\x80\x02"[..], &b"]".repeat(3 << 20), b"."].concat();
    assert!(message(read_bytes(&legacy(&nested))).contains("more memory than the limit of"));
    let wrapped = [&b"\x80\x02)"[..], &b"\x85".repeat(1 << 14), b"."].concat();
    assert!(message(read_bytes(&legacy(&wrapped))).contains("found a tuple"));
}

#[test]
fn files_of_other_formats_are_errors_with_a_reason() {
    for (bytes, expected) in [
        (&b""[..], "begins with the bytes []"),
        (b"GIF89a", "47, 49, 46"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{", "not a valid safetensors file"),
        (b"PK\x03\x04", "zip"),
    ] {
        let error = message(read_bytes(bytes));
        assert!(error.contains(expected), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    assert!(message(read(directory.path(), &Device::Cpu)).contains("expected a file"));
    let missing = directory.path().join("missing.pt");
    assert!(message(read(missing, &Device::Cpu)).contains("missing.pt"));
}

#[test]
fn a_damaged_storage_in_an_archive_is_an_error() {
    let mut bytes = fs::read(golden("mtcnn_pnet/weights_zip.pt")).unwrap();
    // This byte belongs to the storage of `conv3.weight`.
    bytes[12_000] ^= 1;
    let error = message(read_bytes(&bytes));
    assert!(error.contains("tensor `conv3.weight`") && error.contains("checksum"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_files_can_be_read_back(
        tensors in prop::collection::vec((any::<String>(), any_tensor()), 0..6),
        metadata in prop::collection::btree_map(any::<String>(), any::<String>(), 0..3),
    ) {
        let state: StateDict = tensors.into_iter().filter(|(name, _)| name != "__metadata__").collect();
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("state.safetensors");
        write_safetensors(&path, &state, &metadata)?;

        let again = read(&path, &Device::Cpu)?;
        let mut order: Vec<_> = state.iter().collect();
        // A written file begins with the tensors whose elements have the most bytes.
        order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size_in_bytes()));
        // In a written file, a tensor without elements may have any position among the other tensors.
        order.retain(|(_, tensor)| tensor.elem_count() > 0);
        let mut kept = names(&again);
        kept.retain(|name| again.get(name).is_some_and(|tensor| tensor.elem_count() > 0));
        prop_assert_eq!(kept, order.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        prop_assert_eq!(again.len(), state.len());
        for (name, tensor) in &state {
            assert_same(tensor, again.get(name).unwrap(), name);
        }

        // The `safetensors` crate reads what was written.
        let file = fs::read(&path)?;
        let (header_length, header) = safetensors::SafeTensors::read_metadata(&file)?;
        prop_assert_eq!(header_length % 8, 0);
        let written = header.metadata().clone().unwrap_or_default();
        for (key, value) in &metadata {
            prop_assert_eq!(written.get(key), Some(value));
        }
        prop_assert!(written.contains_key("format") && written.contains_key("sconce_version"));
        prop_assert_eq!(header.tensors().len(), state.len());
    }
}

#[test]
fn every_element_type_of_a_safetensors_file_is_read() -> Outcome {
    use safetensors::{Dtype, tensor::TensorView};
    let signed = TensorView::new(Dtype::I8, vec![2], &[0xff, 0x7f])?;
    let boolean = TensorView::new(Dtype::BOOL, vec![2], &[0, 1])?;
    let unsigned = TensorView::new(Dtype::U16, vec![1], &[0x02, 0xff])?;
    let file = safetensors::serialize([("i8", signed), ("bool", boolean), ("u16", unsigned)], None)?;
    let state = read_bytes(&file)?;
    assert_eq!(state.get("i8").ok_or("missing")?.to_vec1::<i16>()?, [-1, 127]);
    assert_eq!(state.get("bool").ok_or("missing")?.to_vec1::<u8>()?, [0, 1]);
    assert_eq!(state.get("u16").ok_or("missing")?.to_vec1::<u32>()?, [0xff02]);

    let complex = TensorView::new(Dtype::C64, vec![1], &[0; 8])?;
    let error = message(read_bytes(&safetensors::serialize([("spectrum", complex)], None)?));
    assert!(error.contains("`spectrum` (C64 tensor)"), "{error}");
    Ok(())
}

#[test]
fn names_that_cannot_be_written_are_errors() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("state.safetensors");
    let tensor = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
    let twice = [("a", &tensor), ("a", &tensor)];
    assert!(
        message(write_safetensors(&path, twice, &BTreeMap::new()))
            .contains("tensor `a`: the name occurs twice")
    );
    let reserved = [("__metadata__", &tensor)];
    assert!(message(write_safetensors(&path, reserved, &BTreeMap::new())).contains("__metadata__"));
    assert_eq!(fs::read_dir(directory.path())?.count(), 0);
    Ok(())
}

#[test]
fn an_error_while_writing_leaves_the_old_file() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("state");
    fs::write(&path, "old")?;
    let error = message(write_atomically(&path, |file| {
        file.write_all(b"half of the new")?;
        file.flush()?;
        Err(sconce::Error::msg("the disk is full"))
    }));
    assert_eq!(error, format!("{}: the disk is full", path.display()));
    let panicked = std::panic::catch_unwind(|| write_atomically(&path, |_| panic!("within the closure")));
    assert!(panicked.is_err());
    assert_eq!(fs::read_to_string(&path)?, "old");
    assert_eq!(fs::read_dir(directory.path())?.count(), 1);

    write_atomically(&path, |file| Ok(file.write_all(b"new")?))?;
    assert_eq!(fs::read_to_string(&path)?, "new");
    assert_eq!(fs::read_dir(directory.path())?.count(), 1);
    Ok(())
}

#[test]
fn a_missing_directory_is_an_error_that_names_it() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("no_such_directory/state");
    let error = message(write_atomically(&path, |_| Ok(())));
    assert!(error.contains("cannot write into") && error.contains("no_such_directory"), "{error}");
    let error = message(write_atomically(directory.path(), |_| Ok(())));
    assert!(error.contains(&directory.path().display().to_string()), "{error}");
    assert_eq!(fs::read_dir(directory.path())?.count(), 0);
    Ok(())
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_permissions_are_kept() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir()?;
    let (path, link) = (directory.path().join("state"), directory.path().join("link"));
    fs::write(&path, "old")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
    std::os::unix::fs::symlink(&path, &link)?;
    write_atomically(&link, |file| Ok(file.write_all(b"new")?))?;
    assert_eq!(fs::read_to_string(&path)?, "new");
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link)?.is_symlink());
    Ok(())
}

#[test]
fn a_state_dict_keeps_its_order() -> Outcome {
    let tensor = |value: f32| Tensor::new(value, &Device::Cpu);
    let mut state = StateDict::new();
    for (i, name) in ["c", "a", "b", "d"].into_iter().enumerate() {
        assert!(state.insert(name, tensor(i as f32)?).is_none());
    }
    let replaced = state.insert("a", tensor(9.)?).ok_or("not replaced")?;
    assert_eq!(replaced.to_scalar::<f32>()?, 1.);
    assert!(state.remove("c").is_some() && state.remove("c").is_none());
    assert_eq!(names(&state), ["a", "b", "d"]);
    assert_eq!(state.get("d").ok_or("missing")?.to_scalar::<f32>()?, 3.);
    assert!(!state.contains_key("c") && state.contains_key("b"));
    let again: StateDict = state.clone().into_iter().collect();
    assert_eq!(names(&again), names(&state));
    Ok(())
}
