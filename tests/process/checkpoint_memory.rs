//! Loading a file of N bytes needs the memory of the parameters and at most 1.1 N additional bytes. Saving needs a
//! small buffer.

use std::path::Path;

use sconce::checkpoint::write_safetensors;
use sconce::prelude::*;

use crate::archive::{self, Entry, archive};
use crate::measured;

/// A network of one large layer and some small ones. Its parameters are slightly more than 16 MiB.
#[derive(Module)]
struct Net {
    #[layer(2048, 2048)]
    large: Linear,
    #[layer(64, 64; for _ in 0..8)]
    small: Vec<Linear>,
}

const PARAMETER_BYTES: usize = 4 * (2048 * 2049 + 8 * 64 * 65);

/// Returns by how many bytes the peak memory use during `f` exceeds the memory in use before.
fn peak<T>(f: impl FnOnce() -> Result<T>) -> Result<usize> {
    let (result, peak) = measured(f);
    result?;
    Ok(peak)
}

/// Writes the network's tensors, in order, to a file in the format of torch.save: the format of PyTorch before version
/// 1.6 if `legacy` is true, and otherwise a zip archive.
fn torch_file(path: &Path, net: &Net, legacy: bool) -> Result<()> {
    let state = net.state_dict();
    let (mut pickle, mut entries) = (b"\x80\x02}".to_vec(), Vec::new());
    let (mut keys, mut data) = (b"\x80\x02]".to_vec(), Vec::new());
    for (i, (name, tensor)) in state.iter().enumerate() {
        let int = |value: usize| [&b"J"[..], &(value as u32).to_le_bytes()].concat();
        let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        let count = tensor.elem_count();
        pickle.extend([text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec()].concat());
        pickle.extend([text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text(&i.to_string())].concat());
        // The end of the storage's tuple, which has one more element, `None`, in the legacy format. The offset in the
        // storage, 0, and the mark of the shape's tuple follow.
        let storage_end: &[u8] = if legacy { b"NtQK\0(" } else { b"tQK\0(" };
        pickle.extend([text("cpu"), int(count), storage_end.to_vec()].concat());
        pickle.extend(tensor.dims().iter().flat_map(|&length| int(length)));
        pickle.extend(b"t(");
        pickle.extend(tensor.stride().iter().flat_map(|&stride| int(stride)));
        pickle.extend(b"t\x89}tRs");
        keys.extend([text(&i.to_string()), b"a".to_vec()].concat());
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        if legacy {
            data.extend((count as u64).to_le_bytes());
            data.extend(bytes);
        } else {
            entries.push(Entry::stored(&format!("archive/data/{i}"), &bytes));
        }
    }
    pickle.push(b'.');
    keys.push(b'.');
    let file = if legacy {
        archive::legacy_with_storages(&pickle, &keys, &data)
    } else {
        entries.insert(0, Entry::stored("archive/data.pkl", &pickle));
        archive(&entries)
    };
    Ok(std::fs::write(path, file)?)
}

fn npz_file(path: &Path, net: &Net, deflated: bool) -> Result<()> {
    let mut entries = Vec::new();
    for (name, tensor) in &net.state_dict() {
        let shape: String = tensor.dims().iter().map(|length| format!("{length},")).collect();
        let mut bytes = archive::npy("<f4", &format!("({shape})"), 0);
        bytes.extend(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes));
        let name = format!("{name}.npy");
        entries.push(if deflated { Entry::deflated(&name, &bytes) } else { Entry::stored(&name, &bytes) });
    }
    Ok(std::fs::write(path, archive(&entries))?)
}

#[test]
fn saving_needs_a_buffer_and_no_copy_of_the_network() -> Result<()> {
    if crate::passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let net = Net::new(&Device::Cpu)?;
    for file in ["net.safetensors", "net.pt", "net.npz"] {
        let save = Save::new(directory.path().join(file));
        let dtype = if file == "net.npz" { DType::F16 } else { DType::BF16 };
        for save in [save.clone(), save.dtype(dtype)] {
            let saving = peak(|| net.save_with(&save))?;
            println!("{file}: peak {saving}");
            assert!(saving <= 4 << 20, "{save:?}: expected at most 4 MiB, found {saving} bytes");
        }
    }
    Ok(())
}

#[test]
fn loading_needs_the_memory_of_the_parameters_and_the_file() -> Result<()> {
    if crate::passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let mut net = Net::new(&Device::Cpu)?;
    net.save(path("f32.safetensors"))?;
    for dtype in [DType::F64, DType::F16] {
        let mut other = net.share();
        other.to_dtype(dtype)?;
        other.save(path(&format!("{dtype:?}.safetensors")))?;
    }
    torch_file(&path("zip.pt"), &net, false)?;
    torch_file(&path("legacy.pt"), &net, true)?;
    npz_file(&path("plain.npz"), &net, false)?;
    npz_file(&path("deflated.npz"), &net, true)?;
    let state = net.state_dict();
    let is_large = |name: &str| name.starts_with("large");
    write_safetensors(
        path("a.safetensors"),
        state.iter().filter(|(name, _)| is_large(name)),
        &Default::default(),
    )?;
    write_safetensors(
        path("b.safetensors"),
        state.iter().filter(|(name, _)| !is_large(name)),
        &Default::default(),
    )?;
    let shard = |name: &str| if is_large(name) { "a.safetensors" } else { "b.safetensors" };
    let entries: Vec<_> = state.keys().map(|name| format!("{name:?}: {:?}", shard(name))).collect();
    let index = format!(r#"{{"weight_map": {{{}}}}}"#, entries.join(","));
    std::fs::write(path("model.safetensors.index.json"), index)?;
    let expected = net
        .large
        .state_dict()
        .get("weight")
        .expect("the layer should have a weight")
        .flatten_all()?
        .to_vec1::<f32>()?;
    drop(state);

    for name in [
        "f32.safetensors",
        "F64.safetensors",
        "F16.safetensors",
        "zip.pt",
        "legacy.pt",
        "plain.npz",
        "deflated.npz",
        "model.safetensors.index.json",
    ] {
        let length = if name == "model.safetensors.index.json" {
            PARAMETER_BYTES
        } else {
            std::fs::metadata(path(name))?.len() as usize
        };
        // For a compressed file, N is the uncompressed length.
        let length = if name == "deflated.npz" { length.max(PARAMETER_BYTES) } else { length };
        let loading = peak(|| Net::config().load(path(name), &Device::Cpu))?;
        let reloading = peak(|| net.load_with(Load::new(path(name))))?;
        let mapping = peak(|| net.load_with(Load::new(path(name)).mapped()))?;
        let allowed = length + length / 10;
        println!("{name}: N = {length}, peak {loading} for a new network, {reloading} for an existing one");
        assert!(
            loading <= PARAMETER_BYTES + allowed,
            "{name}: expected at most {PARAMETER_BYTES} + {allowed} bytes, found {loading}"
        );
        // The parameters already exist, so reloading does not allocate them.
        assert!(reloading <= allowed, "{name}: expected at most {allowed} bytes, found {reloading}");
        assert!(mapping <= allowed, "{name}, mapped: expected at most {allowed} bytes, found {mapping}");
        let tolerance = if name.starts_with("F16") { 1e-4 } else { 0. };
        let values = net
            .large
            .state_dict()
            .get("weight")
            .expect("the layer should have a weight")
            .flatten_all()?
            .to_vec1::<f32>()?;
        assert!(values.iter().zip(&expected).all(|(value, expected)| (value - expected).abs() <= tolerance));
        net.load_with(Load::new(path("f32.safetensors")))?;
    }
    Ok(())
}

#[test]
fn reading_a_hostile_safetensors_header_stays_within_the_documented_memory() -> Result<()> {
    if crate::passed_in_own_process() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("hostile.safetensors");
    // Joins as many entries as fit into 3 MiB, and at most 2¹⁸.
    let repeated = |entry: &dyn Fn(usize) -> String| -> String {
        let entries: Vec<_> = (0..).map(entry).take(1 << 18).collect();
        let mut json = entries.join(",");
        json.truncate(json[..json.len().min(3 << 20)].rfind(",\"").unwrap_or(json.len()));
        json
    };
    let tensor = |shape: &str| format!(r#"{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,0]}}"#);
    let headers = [
        format!("{{{}}}", repeated(&|i| format!("\"{i:x}\":{}", tensor("0")))),
        format!(r#"{{"a":{}}}"#, tensor("0,".repeat(1 << 20).trim_end_matches(','))),
        format!(r#"{{"__metadata__":{{{}}}}}"#, repeated(&|i| format!("\"{i:x}\":1"))),
        format!(r#"{{"__metadata__":{{{}}}}}"#, repeated(&|i| format!("\"{i:x}\":\"\""))),
        format!(r#"{{"__metadata__":{{"a":"{}"}}}}"#, "\\n".repeat(1 << 20)),
    ];
    for header in headers {
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        std::fs::write(&path, &file)?;
        let allowed = 2 * file.len() + (8 << 20);
        let start = &header[..40];
        let mut outcome = "";
        let used = peak(|| {
            let is_read = sconce::checkpoint::read(&path, &Device::Cpu).is_ok();
            outcome = if is_read { "read" } else { "refused" };
            Ok(())
        })?;
        println!("{start}: {} bytes, peak {used} of {allowed}, {outcome}", file.len());
        assert!(used <= allowed, "{start}: expected at most {allowed} bytes, found {used}");
        // The reader estimates the memory of the parsed header. Without the limit, the peak shows how much the estimate
        // must cover.
        let unlimited = peak(|| Ok(_ = Load::new(&path).limit(usize::MAX).read(&Device::Cpu)))?;
        println!("{start}: peak {unlimited} without a limit");
    }
    Ok(())
}
