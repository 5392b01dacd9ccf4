"""Writes what people save with torch.save: objects beside the state dict, whole modules, TorchScript, and shards.

    python make_objects.py

Needs PyTorch and NumPy; the files were recorded with PyTorch 2.15. Tensors are small integers, see `counted`.
The files `*_legacy_*.pt` differ between runs, because the keys of their storages are addresses, and so do `script*.pt`.
"""

import argparse
import collections
import datetime
import enum
import functools
import json
import os
import pathlib
import struct
import types
import zipfile

import numpy as np
import torch
from torch import nn

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def counted(module, start=0):
    """Fills the parameters and buffers of `module` with 0, 1, 2, …"""
    for tensor in module.state_dict().values():
        count = tensor.numel()
        tensor.copy_(torch.arange(start, start + count).reshape(tensor.shape))
        start += count
    return module


def save(name, value, protocols=(2, 4)):
    """Writes `value` in both containers."""
    for protocol in protocols:
        torch.save(value, f"{name}_zip_{protocol}.pt", pickle_protocol=protocol)
        options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": False}
        torch.save(value, f"{name}_legacy_{protocol}.pt", **options)


class Custom:
    def __init__(self):
        self.rate = 0.1


class Slotted:
    __slots__ = ("rate",)

    def __init__(self):
        self.rate = 0.1


class Config(dict):
    pass


class Arguments:
    """Takes arguments in `__new__`, some of them by keyword."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (1,), {"rate": 0.1}


class Color(enum.Enum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


def objects():
    """Returns every kind of object that a training script saves beside a state dict."""
    np.random.seed(0)
    own = torch.ones(2)
    return {
        "namespace": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("/data"), custom=Custom()),
        "path": pathlib.PurePosixPath("/data"),
        "custom": Custom(),
        "slotted": Slotted(),
        "arguments": Arguments(),
        "config": Config(lr=0.1),
        "enum": Color.RED,
        "datetime": datetime.datetime(2020, 1, 1),
        "delta": datetime.timedelta(seconds=1),
        "simple": types.SimpleNamespace(a=1),
        "defaultdict": collections.defaultdict(list, a=[1]),
        "counter": collections.Counter("abca"),
        "deque": collections.deque([1, 2]),
        "point": Point(1, 2),
        "partial": functools.partial(int, base=2),
        "complex": 1 + 2j,
        "slice": slice(1, 2),
        "range": range(3),
        "function": len,
        "method": "text".upper,
        "class": Custom,
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "size": torch.Size([1, 2]),
        "set": {1, 2},
        "frozenset": frozenset([1]),
        "bytes": b"\xff\x00",
        "bytearray": bytearray(b"abc"),
        "none": None,
        "flag": True,
        "epoch": 3,
        "large": 10**30,
        "rate": 0.5,
        "name": "état",
        "surrogate": "\udcff",
        "tuple": (1, (2,)),
        "list": [Custom(), 1, [pathlib.PurePosixPath("/data")]],
        "scalar": np.float64(3),
        "numpy_bool": np.bool_(True),
        "array": np.arange(3),
        "numpy_state": np.random.RandomState(0).get_state(legacy=False)["state"]["pos"],
        "generator": torch.Generator().manual_seed(0).get_state()[:16].clone(),
        "parameter": nn.Parameter(own),
        "nested": {"deep": {"custom": Custom(), 7: Custom()}},
    }


def unsupported():
    """Returns tensors that candle cannot represent."""
    return {
        "complex64": torch.tensor([1 + 2j]),
        "complex128": torch.tensor([1 + 2j], dtype=torch.complex128),
        "conjugated": torch.tensor([1 + 2j]).conj(),
        "negated": torch.tensor([1 + 2j]).conj().imag,
        "quantized": torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
        "sparse": torch.eye(2).to_sparse(),
        "rows": torch.eye(2).to_sparse_csr(),
        "nested": torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]),
        "uint64": torch.tensor([1], dtype=torch.uint64),
        "float8": torch.tensor([1.0]).to(torch.float8_e4m3fnuz),
    }


def float8():
    """Returns all values of float8_e5m2, and the same values as float32."""
    values = torch.arange(256, dtype=torch.uint8).view(torch.float8_e5m2)
    return {"float8": values, "float32": values.float()}


def save_safetensors(name, tensors, metadata=None):
    codes = {torch.float8_e5m2: "F8_E5M2", torch.float32: "F32"}
    header, data = {} if metadata is None else {"__metadata__": metadata}, b""
    for key, tensor in tensors.items():
        content = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(content)]
        header[key] = {"dtype": codes[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(name, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.plain = torch.ones(3)
        self.register_buffer("mask", torch.ones(2))
        self.register_buffer("cache", torch.ones(2), persistent=False)
        self.register_buffer("absent_buffer", None)
        self.register_parameter("absent", None)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.norm(x) * self.scale * self.mask + self.cache


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Block()
        self.again = self.first
        self.list = nn.ModuleList([nn.Linear(2, 2, bias=False), Block()])
        self.embed = nn.Embedding(2, 2)
        self.head = nn.Linear(2, 2)
        self.head.weight = self.embed.weight
        self.nothing = None
        self.add_module("absent_module", None)

    def forward(self, x):
        for layer in self.list:
            x = layer(x)
        return self.head(self.again(self.first(x)))


class Cyclic(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = counted(nn.Linear(1, 1))
        self.__dict__["_modules"]["cycle"] = self


def without_source():
    """Makes legacy files with modules contain a short text instead of the modules' sources and their paths."""
    torch.serialization.get_source_lines_and_file = lambda cls, *_: ([f"class {cls.__name__}"], 0, f"{cls.__name__}.py")


def remove_entries(archive, result, suffix):
    """Copies an archive without the entries with this suffix. `.debug_pkl` has paths of the machine."""
    with zipfile.ZipFile(archive) as file:
        entries = [(entry, file.read(entry)) for entry in file.infolist() if not entry.filename.endswith(suffix)]
    with zipfile.ZipFile(result, "w") as file:
        for entry, content in entries:
            entry.extra = b""
            file.writestr(entry, content)


def save_sharded(directory, state):
    """Writes two shards and their index as the library transformers does."""
    os.makedirs(directory, exist_ok=True)
    names = list(state)
    half = len(names) // 2
    weight_map = {}
    for i, shard in enumerate([names[:half], names[half:]], start=1):
        file = f"pytorch_model-{i:05}-of-00002.bin"
        torch.save({name: state[name] for name in shard}, f"{directory}/{file}")
        weight_map.update(dict.fromkeys(shard, file))
    index = {"metadata": {"total_size": 100}, "weight_map": weight_map}
    with open(f"{directory}/pytorch_model.bin.index.json", "w") as file:
        json.dump(index, file, indent=2)


def linear():
    return counted(nn.Linear(3, 2)).state_dict()


if __name__ == "__main__":
    save("beside", {**objects(), "model": linear()})
    entries = {"rate": 0.5, "large": 10**30, "flag": True, "path": pathlib.PurePosixPath("/data"), "custom": Custom()}
    save("beside", {**entries, "model": linear()}, protocols=(1,))
    save("unsupported", {**unsupported(), "model": {**linear(), **unsupported()}}, protocols=(2,))
    save("float8", float8(), protocols=(2,))
    save_safetensors("float8.safetensors", float8())
    without_source()
    net = counted(Net())
    torch.save(net.state_dict(), "whole_state.pt")
    save("whole", net)
    save("whole_in_dict", {"epoch": 3, "model": net, "optimizer": torch.optim.SGD(net.parameters())}, protocols=(2,))
    save("whole_parallel", {"net": nn.DataParallel(net)}, protocols=(2,))
    torch.save(Cyclic(), "cyclic.pt")
    save_sharded("sharded", net.state_dict())
    script = torch.jit.script(counted(Net()))
    torch.jit.save(script, "script.pt")
    torch.save(torch.jit.load("script.pt").state_dict(), "script_state.pt")
    torch.jit.save(torch.jit.freeze(script.eval()), "frozen.pt")
    for name in ("script.pt", "frozen.pt"):
        remove_entries(name, name, ".debug_pkl")
    remove_entries("script.pt", "script_without_source.pt", ".py")
