"""Writes PyTorch's outputs and gradients of torchvision's video networks, with weights that tests compute themselves.

usage: make_videos.py OUT NAME:FRAMES:SIZE …      for instance: make_videos.py . r2plus1d_18:5:24

OUT/NAME.json lists the state dict in order ([key, shape]). OUT/NAME.safetensors holds `input`
[2, 3, FRAMES, SIZE, SIZE], `output` (in evaluation, computed in float64, stored as float32), and the gradients
`grad.<key>` of sum(output * cotangent) with respect to the first and the last weight of fewer than 100000 elements, with
`cotangent`.

Element i (row-major) of the p-th tensor of the state dict (p counts from 0 over all entries) is made from
  h = i * 0x9E3779B1 + p * 0x85EBCA77 (mod 2^32)
  h ^= h >> 15; h *= 0x2C1B3C6D; h ^= h >> 12; h *= 0x297A2D39; h ^= h >> 15
  u = h / 2^32 - 0.5
in float64, then rounded to float32:
  …weight, two or more dimensions   u * sqrt(24 / (elements / first dimension))
  …weight, one dimension            1 + 0.5 u
  …running_var                      1 + u
  …bias, …running_mean              0.2 u
  num_batches_tracked               0
The input is made in the same way with p = 1000: 4 u, and the cotangent with p = 1001: u.
"""
import json
import sys

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file


def uniform(p, shape):
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32((p * 0x85EBCA77) & 0xFFFFFFFF)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x2C1B3C6D)
        h ^= h >> np.uint32(12)
        h *= np.uint32(0x297A2D39)
        h ^= h >> np.uint32(15)
    return (h.astype(np.float64) / 2.0**32 - 0.5).reshape(shape)


def value(key, p, shape):
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    u = uniform(p, shape)
    if key.endswith("running_var"):
        u = 1 + u
    elif key.endswith("weight") and len(shape) >= 2:
        u = u * np.sqrt(24 / np.prod(shape[1:]))
    elif key.endswith("weight"):
        u = 1 + 0.5 * u
    else:
        u = 0.2 * u
    return torch.from_numpy(u.astype(np.float32))


def record(out, name, frames, size):
    network = getattr(torchvision.models.video, name)(weights=None)
    keys = [[key, list(tensor.shape)] for key, tensor in network.state_dict().items()]
    network.load_state_dict({key: value(key, p, shape) for p, (key, shape) in enumerate(keys)})
    network.eval().double()
    x = torch.from_numpy((4 * uniform(1000, (2, 3, frames, size, size))).astype(np.float32))
    y = network(x.double())
    cotangent = torch.from_numpy(uniform(1001, y.shape).astype(np.float32))
    (y * cotangent.double()).sum().backward()
    weights = [(key, parameter) for key, parameter in network.named_parameters() if key.endswith("weight")]
    weights = [(key, parameter) for key, parameter in weights if parameter.numel() < 100_000]
    tensors = {"input": x, "output": y.detach().float(), "cotangent": cotangent}
    for key, parameter in (weights[0], weights[-1]):
        tensors[f"grad.{key}"] = parameter.grad.float().contiguous()
    save_file(tensors, f"{out}/{name}.safetensors")
    with open(f"{out}/{name}.json", "w") as file:
        json.dump(keys, file)


for item in sys.argv[2:]:
    name, frames, size = item.split(":")
    record(sys.argv[1], name, int(frames), int(size))
