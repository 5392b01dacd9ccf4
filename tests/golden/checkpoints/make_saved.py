"""Records the files to which tests/checkpoint/save.rs compares what sconce writes.

    GOLDEN=overwrite cargo test --test checkpoint an_npz_has_the_recorded_bytes
    python3 make_saved.py

Writes `saved.pt` and `saved_lengths.txt` with torch.save, and loads them again with `weights_only=True`. Writes
`saved.index.json`, the index of shards of at most 28 bytes, with huggingface_hub. Checks with NumPy that `saved.npz`,
which sconce wrote, has the same values, and that its entries have the bytes of numpy.save. Needs PyTorch 2.15 and
huggingface_hub 2.4 or newer, on a little-endian computer.

The only bytes of `saved.pt` that are not PyTorch's are the first 20 digits of `serialization_id`, and its checksum: a
hash that depends on the C++ standard library. sconce writes zeros.
"""

import collections
import io
import json
import os
import zipfile
import zlib

import numpy as np
import torch
from huggingface_hub import split_torch_state_dict_into_shards

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "U8": torch.uint8,
    "U32": torch.uint32,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}


def counted(dtype, *shape):
    count = int(np.prod(shape, dtype=np.int64))
    return (torch.arange(count, dtype=torch.float32) % 100).reshape(shape).to(dtype)


def state_dict(with_torch_types):
    state = collections.OrderedDict()
    for name, dtype in TYPES.items():
        state[f"layers.{name}.weight"] = counted(dtype, 2, 3)
    if with_torch_types:
        state["bf16"] = counted(torch.bfloat16, 2, 3)
        bits = torch.tensor([[0x00, 0x38, 0xC0], [0x44, 0x48, 0x7F]], dtype=torch.uint8)
        state["f8"] = bits.view(torch.float8_e4m3fn)
    weight = state["layers.F32.weight"]
    # As in `Module.state_dict()`, tied tensors are two tensors that share one storage.
    state["tied"] = weight.detach()
    # sconce writes the elements of a view in row-major order, and not the rest of its storage.
    state["transposed"] = weight.t().contiguous()
    state["sliced"] = counted(torch.float32, 4, 5)[:, 1:4].contiguous()
    state["scalar"] = torch.tensor(7.0)
    state["conv"] = counted(torch.float32, 2, 1, 3, 3)
    state["volume"] = counted(torch.int64, 1, 2, 1, 2, 1)
    for length in [0, 255, 256, 65_535, 65_536, 0x7FFF_FFFF, 0x8000_0000, 0xFF_FFFF_FFFF]:
        state[f"empty.{length}"] = torch.zeros(0, length)
    for name in ["storage", "cpu", "0", "folder/name", "две.буквы.🙂", "it's \"quoted\"\n\\", ""]:
        state[name] = counted(torch.float32, 1)
    return state


def equal(one, other):
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))


def saved(state):
    """Returns the bytes of torch.save without the hash of the names, after loading them."""
    file = io.BytesIO()
    torch.save(state, file)
    content = file.getvalue()
    fingerprint = zipfile.ZipFile(file).read("archive/.data/serialization_id")
    changed = b"0" * 20 + fingerprint[20:]
    for old, new in [
        (fingerprint, changed),
        (zlib.crc32(fingerprint).to_bytes(4, "little"), zlib.crc32(changed).to_bytes(4, "little")),
    ]:
        content = content.replace(old, new)
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    loaded = torch.load(io.BytesIO(content), weights_only=True)
    assert type(loaded) is collections.OrderedDict and list(loaded) == list(state)
    assert all(equal(loaded[name], tensor) for name, tensor in state.items())
    if "tied" in state:
        assert loaded["tied"].data_ptr() == loaded["layers.F32.weight"].data_ptr()
    return content


def write_saved():
    with open(os.path.join(HERE, "saved.pt"), "wb") as file:
        file.write(saved(state_dict(True)))
    with open(os.path.join(HERE, "saved_lengths.txt"), "w") as file:
        for count in [0, 1, 2, 999, 1000, 1001, 2002]:
            tensor = counted(torch.float32, 1)
            content = saved(collections.OrderedDict((f"layers.{i}", tensor.detach()) for i in range(count)))
            file.write(f"{count}: {len(content)} bytes, checksum {zlib.crc32(content):08x}\n")


def write_index():
    sizes = [3, 1, 9, 4, 2, 5, 0, 3]
    state = {f"layers.{i}": counted(torch.float32, size) for i, size in enumerate(sizes)}
    pattern = "model{suffix}.safetensors"
    split = split_torch_state_dict_into_shards(state, filename_pattern=pattern, max_shard_size=28)
    with open(os.path.join(HERE, "saved.index.json"), "w") as file:
        # As in `save_torch_state_dict`.
        json.dump({"metadata": split.metadata, "weight_map": split.tensor_to_filename}, file, indent=2)


def check_npz():
    path = os.path.join(HERE, "saved.npz")
    expected = {name: tensor.numpy() for name, tensor in state_dict(False).items()}
    archive = zipfile.ZipFile(path)
    assert archive.testzip() is None
    with np.load(path) as arrays:
        assert arrays.files == list(expected)
        for name, array in expected.items():
            assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape), name
            assert np.array_equal(arrays[name], array), name
            file = io.BytesIO()
            np.save(file, array)
            assert archive.read(f"{name}.npy") == file.getvalue(), name
    print(f"NumPy {np.__version__} reads the {len(expected)} arrays of saved.npz")


write_saved()
write_index()
print(f"recorded with PyTorch {torch.__version__}")
check_npz()
