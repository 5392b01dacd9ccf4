"""Writes PyTorch's results for random settings of Unfold and Fold, in the format of the other files here.

usage: make_fold.py OUT
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


def pair(low, high):
    return [random.randint(low, high) for _ in range(2)]


def settings():
    return {"kernel_size": pair(1, 4), "dilation": pair(1, 3), "padding": pair(0, 3), "stride": pair(1, 4)}


def windows(args, size):
    """Returns the number of windows, or None if the image is smaller than a window."""
    count = 1
    for n, kernel, dilation, padding, stride in zip(size, *(args[key] for key in args)):
        free = n + 2 * padding - dilation * (kernel - 1) - 1
        if free < 0:
            return None
        count *= free // stride + 1
    return count


def store(kind, cases_count):
    cases, tensors = [], {}
    while len(cases) < cases_count:
        args, size, channels = settings(), pair(1, 9), random.randint(1, 3)
        count = windows(args, size)
        if count is None:
            continue
        batch = random.choice([[], [2]])
        taps = args["kernel_size"][0] * args["kernel_size"][1]
        shape = [channels, *size] if kind == "Unfold" else [channels * taps, count]
        if kind == "Fold":
            args["output_size"] = size
        x = torch.randn(*batch, *shape).double().requires_grad_()
        y = getattr(nn, kind)(**{key: tuple(value) for key, value in args.items()})(x)
        grad = torch.randn_like(y).float().double()
        y.backward(grad)
        parts = {"input": x, "output": y, "grad_output": grad, "grad.input": x.grad}
        tensors.update({f"{len(cases)}/{name}": part for name, part in parts.items()})
        cases.append({"args": args, "mode": "eval"})
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()},
              f"{OUT}/{kind}.safetensors")
    with open(f"{OUT}/{kind}.json", "w") as file:
        json.dump(cases, file, indent=1)
        file.write("\n")


store("Unfold", 12)
store("Fold", 12)
