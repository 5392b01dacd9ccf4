//! The options of `Load` that select, rename and convert the tensors of a checkpoint, and the report of a load.

use sconce::checkpoint::{metadata, write_safetensors};
use sconce::prelude::*;

type Outcome = std::result::Result<(), Box<dyn std::error::Error>>;

#[derive(Module)]
struct Backbone {
    #[layer(1, 4, 3)]
    conv: Conv2d,
    #[layer(4)]
    bn: BatchNorm,
}

#[derive(Module)]
#[module(args(classes: usize), forward = |x| head(backbone(x)))]
struct Net {
    #[layer()]
    backbone: Backbone,
    #[layer(4, classes)]
    head: Linear,
}

const NAMES: [&str; 9] = [
    "backbone.conv.weight",
    "backbone.conv.bias",
    "backbone.bn.weight",
    "backbone.bn.bias",
    "backbone.bn.running_mean",
    "backbone.bn.running_var",
    "backbone.bn.num_batches_tracked",
    "head.weight",
    "head.bias",
];

/// Returns a network with 10 classes, saved in a new directory.
fn saved() -> Result<(tempfile::TempDir, std::path::PathBuf, Net)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("net.safetensors");
    let net = Net::new(10, &Device::Cpu)?;
    net.save(&path)?;
    Ok((directory, path, net))
}

fn parameter(net: &impl Network, name: &str) -> Vec<f32> {
    let tensor = net.state_dict().get(name).unwrap().to_dtype(DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_equal(one: &impl Network, other: &impl Network, names: &[&str]) {
    for name in names {
        assert_eq!(parameter(one, name), parameter(other, name), "{name}");
    }
}

fn message<T>(outcome: Result<T>) -> String {
    outcome.err().expect("expected an error").to_string()
}

#[test]
fn a_strict_load_reports_everything_loaded() -> Outcome {
    let (_directory, path, net) = saved()?;
    let (again, report) = Net::config(10).load_with(Load::new(&path).strict(), &Device::Cpu)?;
    assert_eq!(report.loaded, NAMES);
    assert_eq!(report.to_string(), "loaded 9, missing 0, unexpected 0, mismatched 0");
    assert_equal(&net, &again, &NAMES);
    assert_eq!(again.trainable_parameters().len(), 6);

    let mut third = Net::new(10, &Device::Cpu)?;
    let held = third.trainable_parameters();
    assert_eq!(third.load_with(Load::new(&path))?, report);
    assert_equal(&net, &third, &NAMES);
    // The values are loaded in place: an optimizer that holds the parameters sees the new values.
    assert_eq!(held[0].1.flatten_all()?.to_vec1::<f32>()?, parameter(&net, NAMES[0]));
    Ok(())
}

#[test]
fn a_strict_load_that_does_not_fit_is_an_error_and_changes_nothing() -> Outcome {
    let (_directory, path, _) = saved()?;
    for error in [
        message(Net::config(7).load_with(Load::new(&path).map("bn.bias", "bn.shift"), &Device::Cpu)),
        message(Net::new(7, &Device::Cpu)?.load_with(Load::new(&path).map("bn.bias", "bn.shift"))),
    ] {
        for expected in [
            "net.safetensors: the checkpoint does not match the network: 1 missing, 1 unexpected, 2 mismatched\n",
            "\nmissing     backbone.bn.bias   [4]\n",
            "\nunexpected  backbone.bn.shift  [4]\n",
            "\nmismatched  head.bias          expected [7], found [10]\n",
            "\nmismatched  head.weight        expected [7, 4], found [10, 4]\n",
            "\nrenamed     backbone.bn.bias   -> backbone.bn.shift\n",
            "\nadd `.partial()` to the `Load` to load 6 tensors",
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }
    let mut net = Net::new(7, &Device::Cpu)?;
    let before = net.state_dict().get(NAMES[0]).unwrap().copy()?;
    assert!(net.load_with(Load::new(&path).dtype(DType::F64)).is_err());
    assert_eq!(parameter(&net, NAMES[0]), before.flatten_all()?.to_vec1::<f32>()?);
    assert_eq!(net.parameters()[0].dtype(), DType::F32);
    Ok(())
}

#[test]
fn a_partial_load_keeps_the_initial_values_of_tensors_that_it_does_not_load() -> Outcome {
    let (_directory, path, net) = saved()?;
    let (other, report) = Net::config(7).load_with(Load::new(&path).partial(), &Device::Cpu)?;
    assert_equal(&net, &other, &NAMES[..7]);
    assert_eq!(report.loaded, NAMES[..7]);
    assert_eq!(
        report.to_string(),
        "loaded 7, missing 0, unexpected 0, mismatched 2\n\
         mismatched  head.bias    expected [7], found [10]\n\
         mismatched  head.weight  expected [7, 4], found [10, 4]"
    );
    // PyTorch's initialization of Linear(4, 7) is uniform within ±1 / sqrt(4).
    for name in ["head.weight", "head.bias"] {
        let values = parameter(&other, name);
        assert!(values.iter().all(|value| value.abs() <= 0.5 && *value != 0.), "{values:?}");
        assert!(values.iter().any(|value| *value != values[0]));
    }
    assert_eq!(other.trainable_parameters().len(), 6);

    // An existing network keeps its own values in tensors whose shapes differ from those in the file.
    let mut third = Net::new(7, &Device::Cpu)?;
    let own = parameter(&third, "head.weight");
    assert_eq!(third.load_with(Load::new(&path).partial())?, report);
    assert_eq!(parameter(&third, "head.weight"), own);
    assert_equal(&net, &third, &NAMES[..7]);

    // The backbone's tensors are renamed, so none of them is loaded and the backbone keeps its initial values. The
    // weight and the running variance of its batch norm are initially one.
    let (fresh, report) =
        Net::config(10).load_with(Load::new(&path).map("backbone", "trunk").partial(), &Device::Cpu)?;
    // Checkpoints from before PyTorch 0.4.1 have no `num_batches_tracked`, so it is optional and not reported as
    // missing.
    assert_eq!((report.loaded.len(), report.missing.len(), report.unexpected.len()), (2, 6, 7));
    assert_eq!(parameter(&fresh, "backbone.bn.weight"), [1.; 4]);
    assert_eq!(parameter(&fresh, "backbone.bn.running_var"), [1.; 4]);
    assert!(
        parameter(&fresh, "backbone.conv.weight").iter().all(|value| *value != 0. && value.abs() <= 1. / 3.)
    );
    Ok(())
}

#[test]
fn a_prefix_selects_a_part_of_the_file() -> Outcome {
    let (_directory, path, net) = saved()?;
    let (backbone, report) =
        Backbone::config().load_with(Load::new(&path).prefix("backbone."), &Device::Cpu)?;
    assert_eq!(report.loaded.len(), 7);
    assert_equal(&net.backbone, &backbone, &["conv.weight", "bn.running_mean"]);
    let error = message(Backbone::config().load_with(Load::new(&path).prefix("trunk."), &Device::Cpu));
    assert!(error.contains("begin with `trunk.`") && error.contains("first name is `backbone."), "{error}");
    Ok(())
}

#[test]
fn names_are_mapped_by_regular_expressions_in_order() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("old.safetensors");
    let net = Net::new(10, &Device::Cpu)?;
    let old = |name: &str| name.replace("backbone.conv", "features.0").replace("backbone.bn", "features.1");
    let state: StateDict = net.state_dict().into_iter().map(|(name, tensor)| (old(&name), tensor)).collect();
    write_safetensors(&path, &state, &Default::default())?;
    let load = Load::new(&path)
        .map(r"^features\.(\d+)\.", "backbone.part$1.")
        .map("part0", "conv")
        .map("part1", "bn");
    let (again, _) = Net::config(10).load_with(&load, &Device::Cpu)?;
    assert_equal(&net, &again, &NAMES);
    // The pattern `^` adds a prefix to all names.
    let (_directory, path, _) = saved()?;
    let names = Load::new(path).map("^", "net.").read(&Device::Cpu)?;
    assert!(names.keys().all(|name| name.starts_with("net.")));

    let error = message(Load::new(directory.path().join("old.safetensors")).map("(", "").read(&Device::Cpu));
    assert!(error.contains("map: ") && error.contains("old.safetensors"), "{error}");
    let error = message(load.clone().map(r"\d|weight|bias", "x").map("running.*", "x").read(&Device::Cpu));
    for clash in [
        "`features.0.weight` and `features.0.bias` both become `backbone.conv.x`",
        "`features.1.weight` and `features.1.running_var` both become `backbone.bn.x`",
        "`head.weight` and `head.bias` both become `head.x`",
    ] {
        assert!(error.contains(clash), "{error}");
    }
    Ok(())
}

#[test]
fn the_float_dtype_can_be_set() -> Outcome {
    let (_directory, path, net) = saved()?;
    let load = Load::new(&path).dtype(DType::F16);
    let (half, _) = Net::config(10).load_with(&load, &Device::Cpu)?;
    let mut later = Net::new(10, &Device::Cpu)?;
    later.load_with(&load)?;
    for network in [&half, &later] {
        for (name, tensor) in network.named_parameters() {
            assert_eq!(tensor.dtype(), DType::F16, "{name}");
        }
        assert_eq!(network.buffers()[2].1.dtype(), DType::I64);
        assert_eq!(network.trainable_parameters().len(), 6);
        let rounded = Tensor::new(parameter(&net, NAMES[0]), &Device::Cpu)?.to_dtype(DType::F16)?;
        assert_eq!(parameter(network, NAMES[0]), rounded.to_dtype(DType::F32)?.to_vec1::<f32>()?);
    }
    // By default, an f16 file is loaded into a network of f32.
    let f16_path = path.with_file_name("half.safetensors");
    half.save(&f16_path)?;
    let single = Net::config(10).load(&f16_path, &Device::Cpu)?;
    assert_eq!(single.parameters()[0].dtype(), DType::F32);
    assert_equal(&half, &single, &NAMES);
    let error = message(Net::config(10).load_with(load.dtype(DType::I64), &Device::Cpu));
    assert!(error.contains("a floating-point dtype for a network, found I64"), "{error}");
    Ok(())
}

#[test]
fn metadata_is_saved_with_the_network() -> Outcome {
    let (_directory, path, net) = saved()?;
    net.save_with(Save::new(&path).metadata([("epoch", "3"), ("note", "\"best\"\n")]))?;
    let actual = metadata(&path)?;
    for (key, value) in [
        ("epoch", "3"),
        ("note", "\"best\"\n"),
        ("network", "Net"),
        ("sconce_version", env!("CARGO_PKG_VERSION")),
        ("format", "pt"),
    ] {
        assert_eq!(actual.get(key).map(String::as_str), Some(value));
    }
    for reserved in ["network", "format", "sconce_version"] {
        assert!(message(net.save_with(Save::new(&path).metadata([(reserved, "x")]))).contains(reserved));
    }
    let twice = Save::new(&path).metadata([("a", "1"), ("a", "2")]);
    assert!(message(net.save_with(twice)).contains("`a`"));
    assert_eq!(metadata(&path)?, actual);
    Ok(())
}

/// Returns a copy of the parameters and buffers.
fn snapshot(net: &impl Network) -> Vec<Vec<f32>> {
    NAMES.iter().map(|name| parameter(net, name)).collect()
}

#[test]
fn a_truncated_file_does_not_change_the_network() -> Outcome {
    let (_directory, path, _) = saved()?;
    let whole = std::fs::read(&path)?;
    let mut net = Net::new(10, &Device::Cpu)?;
    let before = snapshot(&net);
    for len in (0..whole.len()).step_by(13).chain([whole.len() - 1]) {
        std::fs::write(&path, &whole[..len])?;
        for load in [Load::new(&path), Load::new(&path).partial(), Load::new(&path).mapped()] {
            let error = message(net.load_with(load));
            assert!(error.contains("net.safetensors"), "{len} bytes: {error}");
            assert!(snapshot(&net) == before, "{len} bytes");
        }
    }
    Ok(())
}

/// Saves the network's state with one tensor replaced.
fn save_with_replaced(net: &Net, path: &std::path::Path, name: &str, tensor: Tensor) -> Result<()> {
    let mut state = net.state_dict();
    state.insert(name, tensor);
    write_safetensors(path, &state, &Default::default())
}

#[test]
fn statistics_with_the_wrong_shape_are_an_error_and_change_nothing() -> Outcome {
    let (_directory, path, other) = saved()?;
    let mut net = Net::new(10, &Device::Cpu)?;
    let before = snapshot(&net);
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu);
    for (name, tensor, expected) in [
        (NAMES[5], zeros(&[5], DType::F32)?, "backbone.bn.running_var  expected [4], found [5]"),
        (NAMES[4], zeros(&[1, 4], DType::F32)?, "backbone.bn.running_mean  expected [4], found [1, 4]"),
        (NAMES[6], zeros(&[1], DType::I64)?, "backbone.bn.num_batches_tracked  expected [], found [1]"),
    ] {
        save_with_replaced(&other, &path, name, tensor)?;
        let error = message(net.load_with(Load::new(&path)));
        assert!(error.contains(expected), "{error}");
        assert!(snapshot(&net) == before, "{name}");
        assert!(message(Net::config(10).load(&path, &Device::Cpu)).contains(expected));
    }
    Ok(())
}

/// As in PyTorch, running statistics in a file may be integers, which are converted, and may contain NaN. A NaN
/// affects only its own channel.
#[test]
fn statistics_with_a_different_dtype_and_nan_are_loaded() -> Outcome {
    let (_directory, path, other) = saved()?;
    save_with_replaced(&other, &path, NAMES[5], Tensor::new(&[1i64, 2, 3, 4], &Device::Cpu)?)?;
    let mut net = Net::config(10).load(&path, &Device::Cpu)?;
    assert_eq!(parameter(&net, NAMES[5]), [1., 2., 3., 4.]);

    save_with_replaced(&other, &path, NAMES[5], Tensor::new(&[1f32, f32::NAN, 3., 4.], &Device::Cpu)?)?;
    net.load_with(Load::new(&path))?;
    let x = Tensor::ones((1, 1, 5, 5), DType::F32, &Device::Cpu)?;
    let y = net.inference()?.backbone.call((&x).into(), Mode::Eval).into_tensor()?;
    let channels = y.sum((0, 2, 3))?.to_vec1::<f32>()?;
    assert_eq!(channels.iter().map(|sum| sum.is_nan()).collect::<Vec<_>>(), [false, true, false, false]);
    Ok(())
}
