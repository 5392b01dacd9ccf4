"""Writes small files in the format of torch.save, with Python's pickler and without torch.

    python3 make_checkpoints.py

Each `types_*.pt` holds, for every element type, the tensor [[0, 1, 2], [3, 4, 5]] under the type's name
(`bool`: [[0, 1, 0], [1, 0, 1]]; `int8` starts at -3), and these float32 tensors:

- `column_major`: the same values, stored column by column
- `sliced`: [[1, 2], [4, 5]], a view of `float32`'s storage
- `tied`: the same view as `float32`
- `expanded`: [[7, 7, 7]] with stride 0
- `scalar`: 7, `empty`: shape [0, 3], `parameter`: [1, 2]

`nested.pt` has the state dict of a data-parallel module next to the other entries that a training script saves.
`alone.pt` has its only state dict under an unusual key; `choices.pt` has several state dicts.
`os_system.pt` runs a command when it is unpickled.
"""

import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))


def module(name):
    return sys.modules.setdefault(name, types.ModuleType(name))


def define(module_name, name, value):
    """Makes `value` picklable as `module_name.name`."""
    value.__module__, value.__qualname__, value.__name__ = module_name, name, name
    setattr(module(module_name), name, value)
    return value


def function(module_name, name):
    return define(module_name, name, lambda *args: None)


rebuild_tensor = function("torch._utils", "_rebuild_tensor_v2")
rebuild_tensor_of_type = function("torch._utils", "_rebuild_tensor_v3")
rebuild_parameter = function("torch._utils", "_rebuild_parameter")
torch_size = function("torch", "Size")
torch_device = function("torch", "device")
float8 = function("torch", "float8_e4m3fn")
uint16 = function("torch", "uint16")
Untyped = define("torch.storage", "UntypedStorage", type("UntypedStorage", (), {}))


def bfloat16(value):
    return struct.pack("<f", value)[2:]


def float8_bits(value):
    return {0: b"\x00", 1: b"\x38", 2: b"\x40", 3: b"\x44", 4: b"\x48", 5: b"\x4a"}[value]


TYPES = {
    "float64": ("DoubleStorage", "d"),
    "float32": ("FloatStorage", "f"),
    "float16": ("HalfStorage", "e"),
    "bfloat16": ("BFloat16Storage", bfloat16),
    "int64": ("LongStorage", "q"),
    "int32": ("IntStorage", "i"),
    "int16": ("ShortStorage", "h"),
    "int8": ("CharStorage", "b"),
    "uint8": ("ByteStorage", "B"),
    "bool": ("BoolStorage", "?"),
}
CLASSES = {name: define("torch", storage, type(storage, (), {})) for name, (storage, _) in TYPES.items()}


class Storage:
    def __init__(self, type_name, values):
        self.cls = CLASSES.get(type_name, Untyped)
        code = TYPES[type_name][1] if type_name in TYPES else {"uint16": "H", "float8": float8_bits}[type_name]
        encode = code if callable(code) else lambda value: struct.pack("<" + code, value)
        self.data = b"".join(encode(value) for value in values)
        self.count = len(self.data) if self.cls is Untyped else len(values)


class Call:
    """An object that pickles as a call to `function`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def tensor(storage, size, stride, offset=0):
    return Call(rebuild_tensor, storage, offset, size, stride, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def __init__(self, file, protocol, legacy):
        super().__init__(file, protocol=protocol)
        self.legacy, self.storages = legacy, []

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        if value not in self.storages:
            self.storages.append(value)
        key = str(self.storages.index(value))
        return ("storage", value.cls, key, "cpu", value.count) + ((None,) if self.legacy else ())


def save_zip(name, value, protocol=2):
    buffer = io.BytesIO()
    pickler = Pickler(buffer, protocol, legacy=False)
    pickler.dump(value)
    with zipfile.ZipFile(os.path.join(HERE, name), "w") as archive:
        def add(entry, data):
            archive.writestr(zipfile.ZipInfo(f"archive/{entry}"), data)

        add("data.pkl", buffer.getvalue())
        add("byteorder", b"little")
        for key, storage in enumerate(pickler.storages):
            add(f"data/{key}", storage.data)
        add("version", b"3\n")


def save_legacy(name, value, protocol=2):
    with open(os.path.join(HERE, name), "wb") as file:
        pickle.dump(0x1950A86A20F9469CFC6C, file, protocol=protocol)
        pickle.dump(1001, file, protocol=protocol)
        sizes = {"short": 2, "int": 4, "long": 4}
        system = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
        pickle.dump(system, file, protocol=protocol)
        pickler = Pickler(file, protocol, legacy=True)
        pickler.dump(value)
        pickle.dump([str(key) for key in range(len(pickler.storages))], file, protocol=protocol)
        file.flush()
        for storage in pickler.storages:
            file.write(struct.pack("<q", storage.count) + storage.data)


def all_types():
    state = collections.OrderedDict()
    for name in TYPES:
        values = {"bool": [0, 1] * 3, "int8": range(-3, 3)}.get(name, range(6))
        state[name] = tensor(Storage(name, list(values)), (2, 3), (3, 1))
    for name, dtype in (("uint16", uint16), ("float8", float8)):
        arguments = (Storage(name, range(6)), 0, (2, 3), (3, 1), False, collections.OrderedDict(), dtype)
        state[name] = Call(rebuild_tensor_of_type, *arguments)
    float32 = state["float32"].call[1][0]
    state["column_major"] = tensor(Storage("float32", [0, 3, 1, 4, 2, 5]), (2, 3), (1, 2))
    state["sliced"] = tensor(float32, (2, 2), (3, 1), offset=1)
    state["tied"] = tensor(float32, (2, 3), (3, 1))
    seven = Storage("float32", [7])
    state["expanded"] = tensor(seven, (1, 3), (1, 0))
    state["scalar"] = tensor(seven, (), ())
    state["empty"] = tensor(Storage("float32", []), (0, 3), (3, 1))
    pair = tensor(Storage("float32", [1, 2]), (2,), (1,))
    state["parameter"] = Call(rebuild_parameter, pair, True, collections.OrderedDict())
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    return state


def nested():
    weight = tensor(Storage("float32", range(6)), (2, 3), (3, 1))
    bias = tensor(Storage("float32", [1, 2]), (2,), (1,))
    step = tensor(Storage("float32", [9]), (), ())
    return {
        "epoch": 3,
        "large": 1 << 80,
        "negative": -70000,
        "best": 0.5,
        "name": "été",
        "none": None,
        "flags": [True, False, (), (1, 2, 3, 4), {1, 2}, b"bytes"],
        "shape": Call(torch_size, (1, 2)),
        "device": Call(torch_device, "cpu"),
        "optimizer": {"state": {0: {"step": step}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
        "state_dict": collections.OrderedDict([("module.fc.weight", weight), ("module.fc.bias", bias)]),
    }


def linear(value):
    weight = tensor(Storage("float32", [value] * 6), (2, 3), (3, 1))
    return collections.OrderedDict([("fc.weight", weight), ("fc.bias", tensor(Storage("int8", [1, 2]), (2,), (1,)))])


if __name__ == "__main__":
    for protocol in (2, 4, 5):
        save_zip(f"types_zip_{protocol}.pt", all_types(), protocol)
        save_legacy(f"types_legacy_{protocol}.pt", all_types(), protocol)
    save_zip("nested.pt", nested())
    save_legacy("nested_legacy.pt", nested(), protocol=4)
    save_zip("alone.pt", {"log": [0.5] * 3000, "weights": linear(1)})
    save_legacy("choices.pt", {"epoch": 3, "generator": linear(1), "ema": {"state_dict": linear(2)}, "critic": linear(3)})
    save_zip("os_system.pt", {"weight": Call(os.system, "echo unpickled")})
