"""Writes PyTorch's results for methods of tensors, in the format of the other files here.

usage: make_methods.py OUT

Writes OUT/methods.json, a list of cases (`args.method` and its arguments), and OUT/methods.safetensors with the tensors
i/input, i/other (if the method has a second operand), i/output, i/grad_output and i/grad.input of case i, computed in
float64 from float32 inputs and stored as float32. Methods without a gradient have neither gradient.
"""
import json
import random
import sys

import torch
from safetensors.torch import save_file

OUT = sys.argv[1]
random.seed(0)
torch.manual_seed(0)
choose = random.choice


def shape(rank):
    return [random.randint(1, 4) for _ in range(rank)]


def some_dims(rank):
    dims = random.sample(range(rank), random.randint(1, rank))
    return [dim - rank if random.random() < 0.5 else dim for dim in dims]


def dim_of(rank):
    return random.randint(-rank, rank - 1)


def reshape(x):
    sizes = list(x.shape)
    random.shuffle(sizes)
    if random.random() < 0.5:
        sizes[random.randrange(len(sizes))] = -1
    return {"shape": sizes}


def split(x):
    dim = dim_of(x.dim())
    size = x.shape[dim]
    if random.random() < 0.5:
        return {"sizes": random.randint(1, size), "dim": dim}
    first = random.randint(0, size)
    return {"sizes": [first, size - first], "dim": dim}


def select(x):
    dim = dim_of(x.dim())
    return {"dim": dim, "index": random.randint(-x.shape[dim], x.shape[dim] - 1)}


def expand(x):
    sizes = [random.randint(1, 3) if size == 1 and random.random() < 0.7 else choose([-1, size]) for size in x.shape]
    return {"shape": [random.randint(1, 3) for _ in range(random.randint(0, 1))] + sizes}


def roll(x):
    dims = [dim_of(x.dim()) for _ in range(random.randint(1, 3))]
    return {"shifts": [random.randint(-9, 9) for _ in dims], "dims": dims}


def index_select(x):
    dim = dim_of(x.dim())
    return {"dim": dim, "indices": [random.randrange(x.shape[dim]) for _ in range(random.randint(1, 5))]}


# For each method: the arguments for an input, the result, and the ranks of the input.
METHODS = {
    "relu": (lambda x: {}, lambda x, a: x.relu(), (1, 4)),
    "sigmoid": (lambda x: {}, lambda x, a: x.sigmoid(), (1, 4)),
    "tanh": (lambda x: {}, lambda x, a: x.tanh(), (1, 4)),
    "softmax": (lambda x: {"dim": dim_of(x.dim())}, lambda x, a: x.softmax(a["dim"]), (1, 4)),
    "log_softmax": (lambda x: {"dim": dim_of(x.dim())}, lambda x, a: x.log_softmax(a["dim"]), (1, 4)),
    "t": (lambda x: {}, lambda x, a: x.t(), (1, 2)),
    "view": (reshape, lambda x, a: x.view(a["shape"]), (1, 4)),
    "reshape": (reshape, lambda x, a: x.reshape(a["shape"]), (1, 4)),
    "permute": (lambda x: {"dims": random.sample(range(x.dim()), x.dim())}, lambda x, a: x.permute(a["dims"]), (1, 4)),
    "expand": (expand, lambda x, a: x.expand(a["shape"]), (1, 3)),
    "sum": (lambda x: {"dims": some_dims(x.dim())}, lambda x, a: x.sum(a["dims"]), (1, 4)),
    "sum_keepdim": (lambda x: {"dims": some_dims(x.dim())}, lambda x, a: x.sum(a["dims"], keepdim=True), (1, 4)),
    "mean": (lambda x: {"dims": some_dims(x.dim())}, lambda x, a: x.mean(a["dims"]), (1, 4)),
    "var": (lambda x: {"dims": some_dims(x.dim()), "correction": choose([0, 1, 2])},
            lambda x, a: x.var(a["dims"], correction=a["correction"]), (1, 4)),
    "std": (lambda x: {"dims": some_dims(x.dim())}, lambda x, a: x.std(a["dims"]), (1, 4)),
    "flatten": (lambda x: (lambda s: {"start": s, "end": random.randint(s, x.dim() - 1)})(random.randrange(x.dim())),
                lambda x, a: x.flatten(a["start"], a["end"]), (1, 4)),
    "split": (split, lambda x, a: torch.cat([part * (i + 1) for i, part in enumerate(x.split(a["sizes"], a["dim"]))],
                                            a["dim"]), (1, 4)),
    "chunk": (lambda x: {"chunks": random.randint(1, 4), "dim": dim_of(x.dim())},
              lambda x, a: torch.cat([part * (i + 1) for i, part in enumerate(x.chunk(a["chunks"], a["dim"]))],
                                     a["dim"]), (1, 4)),
    "select": (select, lambda x, a: x.select(a["dim"], a["index"]), (1, 4)),
    "index_select": (index_select, lambda x, a: x.index_select(a["dim"], torch.tensor(a["indices"])), (1, 4)),
    "where": (lambda x: {"number": round(random.uniform(-1, 1), 2)},
              lambda x, a: torch.where(x > a["number"], x * 2, a["number"]), (1, 4)),
    "masked_fill": (lambda x: {"number": round(random.uniform(-1, 1), 2)},
                    lambda x, a: x.masked_fill(x <= a["number"], -3.0), (1, 4)),
    "roll": (roll, lambda x, a: x.roll(a["shifts"], a["dims"]), (1, 4)),
}
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]


def main():
    cases, tensors = [], {}

    def add(args, parts):
        tensors.update({f"{len(cases)}/{name}": part for name, part in parts.items()})
        cases.append({"args": args, "mode": "eval"})

    for method, (arguments, call, ranks) in METHODS.items():
        stored = 0
        while stored < 4:
            x = torch.randn(shape(random.randint(*ranks))).double().requires_grad_()
            args = arguments(x)
            y = call(x, args)
            if not torch.isfinite(y).all():
                continue
            grad = torch.randn_like(y).float().double()
            y.backward(grad)
            if not torch.isfinite(x.grad).all():
                continue
            add({"method": method, **args}, {"input": x, "output": y, "grad_output": grad, "grad.input": x.grad})
            stored += 1
    for method in COMPARISONS:
        for broadcast in (False, True, True):
            dims = shape(3)
            other = [1 if broadcast and random.random() < 0.5 else size for size in dims]
            x, other = torch.randint(-2, 3, dims), torch.randint(-2, 3, other)
            add({"method": method}, {"input": x, "other": other, "output": getattr(x, method)(other)})
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()},
              f"{OUT}/methods.safetensors")
    with open(f"{OUT}/methods.json", "w") as file:
        json.dump(cases, file, indent=1)
        file.write("\n")


main()
