//! Pickled modules: `torch.save(model)` instead of `torch.save(model.state_dict())`.

use sconce::__private::readers;
use sconce::Load;
use sconce::candle::{DType, Device, Tensor};
use sconce::checkpoint::{StateDict, read};

use crate::archive::legacy;
use crate::common::message;
use crate::inputs::golden_checkpoint;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Returns the values of a tensor as f64.
fn values(tensor: &Tensor) -> Result<Vec<f64>, sconce::candle::Error> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Checks that `actual` has the names, shapes, dtypes, values and order of `expected`, with `prefix` before each name.
fn check_same(actual: &StateDict, expected: &StateDict, prefix: &str) -> Outcome {
    let names: Vec<_> = expected.keys().map(|name| format!("{prefix}{name}")).collect();
    assert_eq!(actual.keys().collect::<Vec<_>>(), names);
    for ((name, actual), (_, expected)) in actual.iter().zip(expected) {
        assert_eq!((actual.dtype(), actual.dims()), (expected.dtype(), expected.dims()), "{name}");
        assert_eq!(values(actual)?, values(expected)?, "{name}");
    }
    Ok(())
}

#[test]
fn a_module_is_read_as_its_state_dict() -> Outcome {
    let expected = read(golden_checkpoint("whole_state.pt"), &Device::Cpu)?;
    assert_eq!(expected.len(), 25);
    for container in ["zip", "legacy"] {
        for protocol in [2, 4] {
            let state = read(golden_checkpoint(&format!("whole_{container}_{protocol}.pt")), &Device::Cpu)?;
            check_same(&state, &expected, "")?;
            let id = |name: &str| state.get(name).expect("a tensor").id();
            assert_eq!(id("embed.weight"), id("head.weight"));
            assert_eq!(id("first.scale"), id("again.scale"));
        }
    }
    Ok(())
}

#[test]
fn a_module_is_found_in_a_dictionary() -> Outcome {
    let expected = read(golden_checkpoint("whole_state.pt"), &Device::Cpu)?;
    for container in ["zip", "legacy"] {
        let file = golden_checkpoint(&format!("whole_in_dict_{container}_2.pt"));
        check_same(&read(&file, &Device::Cpu)?, &expected, "")?;
        check_same(&Load::new(&file).key("model").read(&Device::Cpu)?, &expected, "")?;
        let (skipped, _) = readers::skipped(&std::fs::read(&file)?)?;
        let skipped: Vec<_> = skipped.iter().map(ToString::to_string).collect();
        assert_eq!(skipped[..2], ["epoch: int", "optimizer: torch.optim.sgd.SGD"]);

        let file = golden_checkpoint(&format!("whole_parallel_{container}_2.pt"));
        check_same(&read(&file, &Device::Cpu)?, &expected, "module.")?;
    }
    Ok(())
}

#[test]
fn a_module_that_contains_itself_is_an_error() {
    let error = message(read(golden_checkpoint("cyclic.pt"), &Device::Cpu));
    assert!(error.contains("at most 128 levels of modules"), "{error}");
    assert!(error.contains("does `cycle.cycle.cycle"), "{error}");
}

#[test]
fn a_torchscript_archive_is_read_as_its_state_dict() -> Outcome {
    let expected = read(golden_checkpoint("script_state.pt"), &Device::Cpu)?;
    // TorchScript does not record which buffers are not persistent, so it saves three more buffers.
    assert_eq!(expected.len(), read(golden_checkpoint("whole_state.pt"), &Device::Cpu)?.len() + 3);
    check_same(&read(golden_checkpoint("script.pt"), &Device::Cpu)?, &expected, "")?;

    // Without its source code, the archive does not say which tensors are in the state dict, so all are read, including
    // the plain attribute `first.plain`.
    let state = read(golden_checkpoint("script_without_source.pt"), &Device::Cpu)?;
    assert_eq!(state.len(), expected.len() + 3);
    assert!(expected.keys().all(|name| state.contains_key(name)) && state.contains_key("first.plain"));

    let error = message(read(golden_checkpoint("frozen.pt"), &Device::Cpu));
    assert!(error.contains("save the module before freezing it"), "{error}");
    Ok(())
}

#[test]
fn nested_modules_take_bounded_time() {
    // Each module contains the previous one twice, so that the innermost one has 2⁶⁰ paths.
    let class = b"c__main__\nNet\n";
    let innermost = [&class[..], b")\x81}U\x08_modules}sbq\x01"].concat();
    let outer = [b"0", &class[..], b")\x81}U\x08_modules}(U\x01ah\x01U\x01bh\x01usbq\x01"].concat();
    let object = [&b"\x80\x02"[..], &innermost, &outer.repeat(60), b"."].concat();
    let error = message(readers::any(&legacy(&object)));
    assert!(error.contains("too many paths"), "{error}");

    // Here, all modules share one dictionary of attributes.
    let attributes = [&b"}(U\x08_modules}"[..], &b"U\x01xN".repeat(1 << 12), b"uq\x02"].concat();
    let modules = [&b"U\x01a"[..], class, b")\x81h\x02b"].concat().repeat(1 << 12);
    let object = [&b"\x80\x02"[..], &attributes, class, b")\x81}U\x08_modules}(", &modules, b"usb."].concat();
    let error = message(readers::any(&legacy(&object)));
    assert!(error.contains("too many paths"), "{error}");
}

#[test]
fn long_names_are_errors() {
    let name = [&b"X\x01\x04\0\0"[..], &b"n".repeat(0x401)].concat();
    let tensor = b"ctorch._utils\n_rebuild_qtensor\n)R";
    let in_dict = [&b"\x80\x02}"[..], &name, tensor, b"s."].concat();
    let class = b"c__main__\nNet\n)\x81";
    let in_module = [&b"\x80\x02"[..], class, b"}U\x0b_parameters}", &name, tensor, b"ssb."].concat();
    let module = [&class[..], b"}U\x08_modules}sb"].concat();
    let as_module = [&b"\x80\x02"[..], class, b"}U\x08_modules}", &name, &module, b"ssb."].concat();
    let transient = b"}(U\x08_modules}U\x1b_non_persistent_buffers_set(";
    let in_set = [&b"\x80\x04"[..], class, transient, &name, b"\x91ub."].concat();
    for object in [in_dict, in_module, as_module, in_set] {
        let error = message(readers::any(&legacy(&object)));
        assert!(error.contains("names of at most 1024 bytes, found one of 1025"), "{error}");
    }
    let storage = [&b"\x80\x02(U\x07storagectorch\nFloatStorage\n"[..], &name, b"U\x03cpuK\x01tQ."].concat();
    let error = message(readers::any(&legacy(&storage)));
    assert!(error.contains("storage keys of at most 64 bytes, found one of 1025"), "{error}");
}

#[test]
fn an_object_without_tensors_is_an_error_that_names_its_class() {
    for (object, expected) in [
        (&b"\x80\x02c__main__\nNet\n)\x81}U\x01aK\x01sb."[..], "an object of the class `__main__.Net`"),
        (b"\x80\x02}U\x05modelc__main__\nNet\n)\x81s.", "`model` (__main__.Net)"),
    ] {
        let error = message(readers::any(&legacy(object)));
        assert!(error.contains(expected), "{error}");
    }
}
