"""Writes PyTorch's outputs and gradients of torchvision's video networks, with weights that tests compute themselves.

usage: make_videos.py OUT NAME:FRAMES:SIZE …      for instance: make_videos.py . r2plus1d_18:5:24

OUT/NAME.json lists the state dict in order ([key, shape]). OUT/NAME.safetensors holds `input`
[2, 3, FRAMES, SIZE, SIZE], `output` (in evaluation, computed in float64, stored as float32), and the gradients
`grad.<key>` of sum(output * cotangent) with respect to the first and the last weight of fewer than 100000 elements, with
`cotangent`.

The weights are those that make_networks.py describes. The input is made in the same way with p = 1000: 4 u, and the
cotangent with p = 1001: u.
"""
import json
import sys

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file

from make_networks import fill, uniform


def tensor(p, shape, scale):
    numbers = scale * uniform(p, int(np.prod(shape)))
    return torch.from_numpy(numbers.astype(np.float32).reshape(shape))


def record(out, name, frames, size):
    network = getattr(torchvision.models.video, name)(weights=None)
    keys = fill(network)
    network.eval().double()
    x = tensor(1000, (2, 3, frames, size, size), 4)
    y = network(x.double())
    cotangent = tensor(1001, y.shape, 1)
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
