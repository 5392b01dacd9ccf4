"""Writes small .npz files with NumPy.

    pip install numpy && python3 make_npz.py

`arrays.npz` and `arrays_compressed.npz` hold, for every element type, [[0, 1, 2], [3, 4, 5]] under the
type's name. In float32 they also hold the same values as `column_major`, 0 to 23 in shape [2, 3, 4] as
`column_major_3d`, `scalar` 7, and `empty` of shape [0, 3]. `objects.npz` has an array of Python objects,
`complex.npz` an array of complex numbers, `big_endian.npz` a big-endian array.
"""

import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))

TYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint32", "uint16", "uint8", "bool"]


def path_of(name):
    return os.path.join(HERE, name)


counted = np.arange(6).reshape(2, 3)
arrays = {name: counted.astype(name) for name in TYPES}
arrays["column_major"] = np.asfortranarray(counted.astype("float32"))
arrays["column_major_3d"] = np.asfortranarray(np.arange(24, dtype="float32").reshape(2, 3, 4))
arrays["scalar"] = np.float32(7)
arrays["empty"] = np.zeros((0, 3), "float32")
np.savez(path_of("arrays.npz"), **arrays)
np.savez_compressed(path_of("arrays_compressed.npz"), **arrays)
np.savez(path_of("objects.npz"), weights=np.array([{"a": 1}, None], dtype=object))
np.savez(path_of("complex.npz"), spectrum=np.zeros(2, "complex64"))
np.savez(path_of("big_endian.npz"), weights=np.zeros(2, ">f4"))
