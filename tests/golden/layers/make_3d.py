"""Writes PyTorch's results for layers on videos, [batch, channels, depth, height, width], with random settings.

usage: make_3d.py OUT

The files have the format that make_more_layers.py documents: float64 arithmetic on float32 inputs, stored as float32.
"""
import json
import random
import sys

import torch
from safetensors.torch import save_file
from torch import nn

OUT = sys.argv[1]
random.seed(0)
torch.manual_seed(0)
choose = random.choice


def record(kind, make, count):
    """Records `count` layers. Skips settings that PyTorch rejects, and those whose output is large."""
    cases, tensors = [], {}
    while len(cases) < count:
        args, shape = make()
        try:
            module = getattr(nn, kind)(**args).double()
            for parameter in module.parameters():
                parameter.data = torch.randn_like(parameter).float().double()
            x = torch.randn(*shape).double()
            # Half of the max pooling cases have equal maxima, of which the first gets the gradient.
            x = (x.round() if kind.endswith("MaxPool3d") and len(cases) % 2 else x).requires_grad_()
            y = module(x)
        except (RuntimeError, ValueError):
            continue
        if y.numel() > 1500:
            continue
        grad = torch.randn_like(y).float().double()
        y.backward(grad)
        parts = {"input": x, "output": y, "grad_output": grad, "grad.input": x.grad}
        for name, parameter in module.named_parameters():
            parts.update({f"param.{name}": parameter, f"grad.{name}": parameter.grad})
        tensors.update({f"{len(cases)}/{name}": tensor for name, tensor in parts.items()})
        cases.append({"args": args, "mode": "eval"})
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, f"{OUT}/{kind}.safetensors")
    with open(f"{OUT}/{kind}.json", "w") as file:
        json.dump(cases, file, indent=1)
        file.write("\n")


def sizes(low, high):
    """Returns one size for all axes, or one for each."""
    return choose([random.randint(low, high), [random.randint(low, high) for _ in range(3)]])


def video(channels, largest=6):
    batch = choose([[], [1], [2]])
    return [*batch, channels, *[random.randint(1, largest) for _ in range(3)]]


def kernel():
    # Kernels of one pixel, and of one frame, are computed in their own ways.
    return choose([sizes(1, 3), [random.randint(1, 3), 1, 1], [1, random.randint(1, 3), random.randint(1, 3)]])


def channels():
    groups = choose([1, 1, 2, 3])
    return groups, groups * random.randint(1, 2), groups * random.randint(1, 2)


def conv():
    groups, in_channels, out_channels = channels()
    args = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel(), "groups": groups}
    args.update(stride=choose([1, sizes(1, 3)]), dilation=choose([1, sizes(1, 2)]), bias=choose([True, False]))
    args.update(padding=choose(["same", 0, sizes(0, 2)]))
    args.update(padding_mode=choose(["zeros", "zeros", "reflect", "replicate", "circular"]))
    return args, video(in_channels)


def conv_transpose():
    groups, in_channels, out_channels = channels()
    args = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel(), "groups": groups}
    args.update(stride=choose([1, sizes(1, 3)]), padding=choose([0, sizes(0, 2)]), output_padding=choose([0, sizes(0, 1)]))
    args.update(dilation=choose([1, sizes(1, 2)]), bias=choose([True, False]))
    return args, video(in_channels, 4)


def pool():
    return {"kernel_size": sizes(1, 4), "stride": sizes(1, 3), "padding": sizes(0, 2), "ceil_mode": choose([True, False])}


def max_pool():
    return {**pool(), "dilation": sizes(1, 2)}, video(random.randint(1, 3), 8)


def avg_pool():
    args = {**pool(), "count_include_pad": choose([True, False]), "divisor_override": choose([None, None, 3, 7])}
    return args, video(random.randint(1, 3), 8)


def adaptive_pool():
    sizes = [choose([None, *range(1, 8)]) for _ in range(3)]
    return {"output_size": choose([random.randint(1, 5), sizes])}, video(random.randint(1, 3), 8)


record("Conv3d", conv, 48)
record("ConvTranspose3d", conv_transpose, 32)
record("MaxPool3d", max_pool, 32)
record("AvgPool3d", avg_pool, 32)
record("AdaptiveAvgPool3d", adaptive_pool, 16)
record("AdaptiveMaxPool3d", adaptive_pool, 16)
