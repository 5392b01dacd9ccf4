//! Objects beside the state dict of a PyTorch file.

use std::fs;

use sconce::__private::readers;
use sconce::candle::{DType, Device};
use sconce::checkpoint::read;

use crate::archive::legacy;
use crate::common::message;
use crate::inputs::golden_checkpoint;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn skipped(file: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let (skipped, warnings) = readers::skipped(&fs::read(golden_checkpoint(file))?)?;
    assert!(warnings.is_empty(), "{file}: {warnings:?}");
    Ok(skipped.iter().map(ToString::to_string).collect())
}

/// Checks that the file has the state dict of a linear layer that `make_objects.py` fills with consecutive numbers.
fn check_linear(file: &str) -> Outcome {
    let state = read(golden_checkpoint(file), &Device::Cpu)?;
    assert_eq!(format!("{state:?}"), r#"{"weight": F32 [2, 3], "bias": F32 [2]}"#, "{file}");
    let values = |name: &str| state.get(name).expect("a tensor").flatten_all()?.to_vec1::<f32>();
    assert_eq!(values("weight")?, [0., 1., 2., 3., 4., 5.]);
    assert_eq!(values("bias")?, [6., 7.]);
    Ok(())
}

#[test]
fn objects_beside_the_state_dict_are_skipped_and_listed() -> Outcome {
    let expected = "
        namespace: argparse.Namespace, path: pathlib.PurePosixPath, custom: __main__.Custom,
        slotted: __main__.Slotted, arguments: __main__.Arguments, config: __main__.Config, enum: __main__.Color,
        datetime: datetime.datetime, delta: datetime.timedelta, simple: types.SimpleNamespace,
        defaultdict: collections.defaultdict, counter: collections.Counter, deque: collections.deque,
        point: __main__.Point, partial: functools.partial, complex: complex, slice: slice, range: range,
        function: class or function len, method: class or function getattr,
        class: class or function __main__.Custom, device: torch.device, dtype: torch.dtype, size: tuple, set: set,
        frozenset: set, bytes: bytes, bytearray: bytearray, none: NoneType, flag: bool, epoch: int, large: int,
        rate: float, name: str, surrogate: str, tuple: tuple, list: list, list.0: __main__.Custom,
        list.2.0: pathlib.PurePosixPath, scalar: numpy._core.multiarray.scalar,
        numpy_bool: numpy._core.multiarray.scalar, array: numpy.ndarray, numpy_state: int,
        generator: torch.Tensor, parameter: torch.Tensor, nested: dict, nested.deep.custom: __main__.Custom,
        nested.deep.7: __main__.Custom";
    let expected: Vec<_> = expected.split(',').map(str::trim).collect();
    for container in ["zip", "legacy"] {
        let file = format!("beside_{container}_4.pt");
        check_linear(&file)?;
        assert_eq!(skipped(&file)?, expected, "{file}");
        // Protocol 2 uses the names of Python 2 and a different function for keyword arguments.
        let file = format!("beside_{container}_2.pt");
        check_linear(&file)?;
        let old = |entry: &str| match entry {
            "arguments: __main__.Arguments" => "arguments: functools.partial".to_owned(),
            "range: range" => "range: xrange".to_owned(),
            other => other.to_owned(),
        };
        assert_eq!(skipped(&file)?, expected.iter().copied().map(old).collect::<Vec<_>>(), "{file}");
    }
    Ok(())
}

#[test]
fn protocol_1_is_read() -> Outcome {
    for file in ["beside_zip_1.pt", "beside_legacy_1.pt"] {
        check_linear(file)?;
        let expected = [
            "rate: float",
            "large: int",
            "flag: bool",
            "path: pathlib.PurePosixPath",
            "custom: __main__.Custom",
        ];
        assert_eq!(skipped(file)?, expected, "{file}");
    }
    Ok(())
}

/// The tensors in `unsupported_*.pt` that candle cannot represent, with their kinds.
const UNSUPPORTED: [&str; 10] = [
    "complex64: complex64 tensor",
    "complex128: complex128 tensor",
    "conjugated: complex64 tensor",
    "negated: lazily negated tensor",
    "quantized: quantized tensor",
    "sparse: sparse tensor",
    "rows: sparse tensor",
    "nested: nested tensor",
    "uint64: uint64 tensor",
    "float8: float8_e4m3fnuz tensor",
];

#[test]
fn tensors_that_candle_cannot_represent_are_errors_only_in_the_state_dict() -> Outcome {
    for container in ["zip", "legacy"] {
        let file = format!("unsupported_{container}_2.pt");
        let twice = UNSUPPORTED.iter().chain(&UNSUPPORTED).copied();
        assert_eq!(skipped(&file)?, twice.collect::<Vec<_>>(), "{file}: beside and in the state dict");
        let error = message(read(golden_checkpoint(&file), &Device::Cpu));
        for tensor in UNSUPPORTED {
            let (name, kind) = tensor.split_once(": ").ok_or("no kind")?;
            assert!(error.contains(&format!("`{name}` ({kind})")), "{error}");
        }
        assert!(error.contains(&file) && error.ends_with("; save `torch.view_as_real` of it"), "{error}");
    }
    for (module, function, advice) in [
        (
            "torch._utils",
            "_rebuild_qtensor",
            "`weight` (quantized tensor); call `dequantize()` before saving",
        ),
        (
            "torch._utils",
            "_rebuild_sparse_tensor",
            "`weight` (sparse tensor); call `to_dense()` before saving",
        ),
        ("torch._utils", "_rebuild_wrapper_subclass", "`weight` (wrapped tensor)"),
    ] {
        let object = format!("}}U\x06weightc{module}\n{function}\n)Rs.").into_bytes();
        let error = message(readers::any(&legacy(&[b"\x80\x02", &object[..]].concat())));
        assert!(error.ends_with(advice), "{error}");
    }
    Ok(())
}

#[test]
fn a_state_dict_can_be_a_dictionary_of_another_class() {
    let config = b"c__main__\nConfig\n)\x81";
    let defaultdict = b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R";
    for dictionary in [&config[..], defaultdict] {
        let entries = b"(U\x01wctorch._utils\n_rebuild_qtensor\n)Ru";
        let object = [b"\x80\x02}U\x05model", dictionary, entries, b"s."].concat();
        let error = message(readers::any(&legacy(&object)));
        assert!(error.contains("`w` (quantized tensor)"), "{error}");
    }
}

#[test]
fn float8_e5m2_is_widened_to_f16() -> Outcome {
    for file in ["float8_zip_2.pt", "float8_legacy_2.pt", "float8.safetensors"] {
        let state = read(golden_checkpoint(file), &Device::Cpu)?;
        let [float8, float32] = ["float8", "float32"].map(|name| state.get(name).expect("a tensor"));
        assert_eq!((float8.dtype(), float8.dims()), (DType::F16, [256].as_slice()), "{file}");
        let actual = float8.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        for (actual, expected) in actual.into_iter().zip(float32.to_vec1::<f32>()?) {
            assert!(actual.to_bits() == expected.to_bits() || actual.is_nan() && expected.is_nan());
        }
    }
    Ok(())
}

#[test]
fn a_state_dict_is_found_at_any_level() -> Outcome {
    let files = ["two_levels", "three_levels", "model_is_settings", "ema", "optimizer", "compiled_module"];
    files.iter().try_for_each(|file| check_linear(&format!("layout_{file}.pt")))
}

#[test]
fn an_object_is_skipped_whichever_opcode_creates_it() -> Outcome {
    // The pickled value of the entry `x` beside an empty state dict, and the class under which it is listed.
    let cases: [(&[u8], &str); 16] = [
        (b"cos\nsystem\nU\x04lsrm\x85R", "os.system"),
        (b"(ios\nsystem\n", "os.system"),
        (b"(cos\nsystem\nU\x02lso", "os.system"),
        (b"cos\nsystem\n)\x81", "os.system"),
        (b"cos\nsystem\n)}\x92", "os.system"),
        (b"\x8c\x02os\x8c\x06system\x93)R)R", "os.system"),
        (b"\x82\x01)R", "copyreg.extension"),
        (b"\x83\x01\0)R", "copyreg.extension"),
        (b"\x84\x01\0\0\0)R", "copyreg.extension"),
        (b"ccopyreg\n_reconstructor\n(c__main__\nOld\nc__builtin__\nobject\nNtR}b", "__main__.Old"),
        (b"c__builtin__\ngetattr\nc__main__\nColor\nU\x03RED\x86R)R", "__main__.Color.RED"),
        (b"c__main__\nList\n)\x81(K\x01K\x02ec__main__\nPart\n)R(K\x01K\x02u0", "__main__.List"),
        (b"c__builtin__\nset\n]K\x01a\x85R(K\x02\x90", "set"),
        (b"F1.5\n", "float"),
        (b"I01\n", "bool"),
        (b"L-7L\n", "int"),
    ];
    for (value, class) in cases {
        let object = [b"\x80\x04}(U\x05model}V\x78\n", value, b"u."].concat();
        let (skipped, _) = readers::skipped(&legacy(&object))?;
        let skipped: Vec<_> = skipped.iter().map(ToString::to_string).collect();
        assert_eq!(skipped, [format!("x: {class}")], "{}", value.escape_ascii());
    }
    Ok(())
}

#[test]
fn lists_of_skipped_objects_are_bounded() -> Outcome {
    // Each of 30 nested dictionaries contains the next one twice, so that the innermost one has a billion paths.
    let twice = [&b"}q\x01"[..], &b"0}(U\x01ah\x01U\x01bh\x01uq\x01".repeat(30)].concat();
    let object = [&b"\x80\x02}(U\x05model}U\x01x"[..], &twice, b"u."].concat();
    assert_eq!(readers::skipped(&legacy(&object))?.0.len(), 1);

    // A list that contains itself.
    let object = b"\x80\x02}(U\x05model}U\x01x]q\x01(h\x01ccollections\ndeque\n)Reu.";
    let (skipped, _) = readers::skipped(&legacy(object))?;
    assert_eq!(skipped[1].to_string(), "x.1: collections.deque");

    // In a long list of numbers, only the objects among them are listed, with their positions.
    let numbers = |count: usize| b"K\x07".repeat(count);
    let part = &b"ccollections\ndeque\n)R"[..];
    let object =
        [&b"\x80\x02}(U\x05model}U\x01x]("[..], &numbers(100), part, &numbers(50), part, b"eu."].concat();
    let (skipped, _) = readers::skipped(&legacy(&object))?;
    let paths: Vec<_> = skipped.iter().map(|object| object.path.as_str()).collect();
    assert_eq!(paths, ["x", "x.100", "x.151"]);

    // Many objects with a long name.
    let name = [&b"X\x00\x00\x10\x00"[..], &b"n".repeat(1 << 20), b"q\x01h\x01\x93q\x020"].concat();
    let many = b"h\x01h\x02)R".repeat(3000);
    let object = [&b"\x80\x04}(U\x05model}"[..], &name, &many, b"u."].concat();
    let (skipped, warnings) = readers::skipped(&legacy(&object))?;
    assert_eq!(skipped.len(), 1000);
    assert!(skipped.iter().all(|object| object.path.len() < 200 && object.kind.len() < 300));
    assert_eq!(warnings, ["the file has 2000 more objects that are not tensors and are not listed"]);
    Ok(())
}
