"""Writes PyTorch's results for layer settings that the other files here do not cover, in the same format.

usage: make_more_layers.py OUT

For each kind, writes OUT/<kind>.json, a list of cases (`args`, `mode`), and OUT/<kind>.safetensors with the
tensors i/input, i/output, i/grad_output and i/grad.input of case i, computed in float64 from float32 inputs and
stored as float32. A layer with several inputs has i/input.0, i/input.1, … instead of i/input. A layer with
parameters also has i/param.<name> and i/grad.<name>, and a layer with buffers i/buffer.<name> and
i/after.<name>, the values before and after the call. For random lengths, NearestIndices holds the input index of
each output of the modes nearest and nearest-exact, in float32 and in float64: rounding down depends on the
precision of the positions.
"""
import json
import random
import sys

import torch
from safetensors.torch import save_file
import torchvision
from torch import nn
from torchvision.models.convnext import LayerNorm2d

OUT = sys.argv[1]
random.seed(0)
torch.manual_seed(0)
choose = random.choice


def store(kind, cases, tensors):
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()},
              f"{OUT}/{kind}.safetensors")
    with open(f"{OUT}/{kind}.json", "w") as file:
        json.dump(cases, file, indent=1)
        file.write("\n")


def layer(kind, make, count, name=None):
    cases, tensors = [], {}
    while len(cases) < count:
        args, shape, scale = make()
        x = (torch.randn(*shape) * scale).double().requires_grad_()
        try:
            y = getattr(nn, kind)(**args)(x)
        except (RuntimeError, ValueError):
            continue
        parts = {"input": x, **backward(y), "grad.input": x.grad}
        tensors.update({f"{len(cases)}/{part}": tensor for part, tensor in parts.items()})
        cases.append({"args": args, "mode": "eval"})
    store(name or kind, cases, tensors)


def backward(y):
    grad = torch.randn_like(y).float().double()
    y.backward(grad)
    return {"output": y, "grad_output": grad}


def modules(kind, build, make, count, mode="eval", call=None):
    """Records layers with parameters, buffers or several inputs.

    `make` returns the arguments and the shapes of the inputs.
    """
    cases, tensors = [], {}
    for case in range(count):
        args, shapes = make()
        module = build(**args).double().train(mode == "train")
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.data = torch.rand_like(tensor).add(0.1).float().double()
        inputs = [torch.randn(*shape).double().requires_grad_() for shape in shapes]
        names = ["input"] if len(inputs) == 1 else [f"input.{i}" for i in range(len(inputs))]
        parts = {f"buffer.{name}": buffer.clone() for name, buffer in module.named_buffers()}
        parts.update(backward(call(module, args, *inputs) if call else module(*inputs)))
        parts.update({f"after.{name}": buffer for name, buffer in module.named_buffers()})
        for name, tensor in zip(names, inputs):
            parts.update({name: tensor, f"grad.{name}": tensor.grad})
        for name, tensor in module.named_parameters():
            parts.update({f"param.{name}": tensor, f"grad.{name}": tensor.grad})
        tensors.update({f"{case}/{part}": tensor for part, tensor in parts.items()})
        cases.append({"args": args, "mode": mode})
    store(kind, cases, tensors)


def interpolation():
    mode = choose(["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "bicubic", "area"])
    axes = {"linear": 1, "bilinear": 2, "bicubic": 2}.get(mode) or choose([1, 2])
    args = {"mode": mode}
    if mode in ("linear", "bilinear", "bicubic"):
        args["align_corners"] = choose([None, False, True])
    sizes = [random.randint(1, 9) for _ in range(axes)]
    factors = [round(random.uniform(0.3, 3.2), 3) for _ in range(axes)]
    if random.random() < 0.4:
        args["size"] = choose([sizes[0], tuple(sizes)])
    else:
        args["scale_factor"] = choose([factors[0], tuple(factors), 2.0, 1.0])
        args["recompute_scale_factor"] = random.random() < 0.3
    return args, [random.randint(1, 2), random.randint(1, 3)] + [random.randint(1, 8) for _ in range(axes)], 1.0


def nearest_indices():
    cases, tensors = [], {}
    for _ in range(400):
        length = random.randint(1, 60)
        args = {"mode": choose(["nearest", "nearest-exact"]), "dtype": choose(["float32", "float64"])}
        if random.random() < 0.5:
            args["size"] = random.randint(1, 90)
        else:
            args["scale_factor"] = round(random.uniform(0.1, 4.0), 2)
        target = {name: args[name] for name in args if name != "dtype"}
        x = torch.arange(length, dtype=getattr(torch, args["dtype"])).reshape(1, 1, -1)
        try:
            tensors[f"{len(cases)}/output"] = nn.functional.interpolate(x, **target)
        except (RuntimeError, ValueError):
            continue
        cases.append({"args": {**args, "length": length}, "mode": "eval"})
    store("NearestIndices", cases, tensors)


layer("Upsample", interpolation, 64, name="Interpolate")
nearest_indices()
layer("AdaptiveMaxPool1d", lambda: ({"output_size": random.randint(1, 7)}, [2, 3, random.randint(1, 11)], 1.0), 12)
layer("PixelUnshuffle", lambda: (lambda r: ({"downscale_factor": r}, [2, 3, 2 * r, 3 * r], 1.0))(random.randint(1, 3)), 4)
for kind, args in [
    ("CELU", [{}, {"alpha": 0.7}]),
    ("ELU", [{"alpha": 0.4}, {"alpha": -1.3}]),
    ("GELU", [{"approximate": "tanh"}]),
    ("GLU", [{}, {"dim": 0}, {"dim": 1}]),
    ("Hardtanh", [{}, {"min_val": -2.5, "max_val": 3.0}]),
    ("LogSigmoid", [{}]),
    ("SELU", [{}]),
    ("Softmin", [{"dim": -1}, {"dim": 0}]),
    ("Softplus", [{"beta": 2.0, "threshold": 3.0}, {"beta": 0.5}]),
    ("Threshold", [{"threshold": 0.1, "value": 20.0}, {"threshold": -1.5, "value": 0.0}]),
    ("Softshrink", [{}, {"lambd": 2.0}]),
    ("Hardshrink", [{}, {"lambd": 2.0}]),
    ("Tanhshrink", [{}]),
    ("Softsign", [{}]),
]:
    rest = iter(args)
    name = {"ELU": "ELUAlpha", "GELU": "GELUTanh", "Softplus": "SoftplusBeta"}.get(kind)
    layer(kind, lambda rest=rest: (next(rest), [4, 6], 4.0), len(args), name=name)


def sizes(rank):
    return [random.randint(1, 4) for _ in range(rank)]


def channel_shuffle():
    groups = random.randint(1, 3)
    return {"groups": groups}, [[2, groups * random.randint(1, 3)] + sizes(random.randint(1, 3))]


def permute():
    rank = random.randint(1, 5)
    dims = [dim - choose([0, rank]) for dim in random.sample(range(rank), rank)]
    return {"dims": dims}, [sizes(rank)]


def layer_norm_2d():
    channels = random.randint(2, 5)
    return {"normalized_shape": channels, "eps": choose([1e-6, 1e-3])}, [[2, channels] + sizes(2)]


def batch_norm_3d():
    channels = random.randint(1, 4)
    args = {"num_features": channels, "eps": choose([1e-5, 1e-2]), "momentum": choose([0.1, 0.7, None])}
    return {**args, "affine": choose([True, False])}, [[2, channels] + sizes(3)]


modules("ChannelShuffle", nn.ChannelShuffle, channel_shuffle, 6)
modules("Permute", torchvision.ops.Permute, permute, 8)
modules("LayerNorm2d", LayerNorm2d, layer_norm_2d, 6)
modules("BatchNorm3d", nn.BatchNorm3d, batch_norm_3d, 8, mode="train")


def pair(shape):
    """Returns the shapes of two inputs whose broadcast shape is `shape`."""
    narrow = [size if random.random() < 0.8 else 1 for size in shape]
    return choose([[shape, shape], [narrow, shape], [shape, narrow[random.randint(0, len(shape) - 1):]]])


def cosine_similarity():
    shape = sizes(random.randint(2, 4))
    dim = random.randrange(len(shape))
    return {"dim": dim - choose([0, len(shape)]), "eps": choose([1e-8, 1.5])}, pair(shape)


def pairwise_distance():
    args = {"p": choose(["0.5", "1", "1.5", "2", "3", "inf"]), "eps": choose([1e-6, 0.1])}
    return {**args, "keepdim": choose([True, False])}, pair(sizes(random.randint(1, 3)))


def encoder_layer(layers=None):
    nhead, length, batch = random.randint(1, 3), random.randint(1, 5), random.randint(1, 3)
    batch_first = choose([True, False])
    args = {"d_model": nhead * random.randint(1, 3), "nhead": nhead, "dim_feedforward": random.randint(1, 6)}
    args.update(activation=choose(["relu", "gelu"]), layer_norm_eps=choose([1e-5, 1e-2]), batch_first=batch_first)
    args.update(norm_first=choose([True, False]), bias=choose([True, False]), causal=choose([True, False]))
    if choose([True, False]):
        args["lengths"] = [random.randint(1, length) for _ in range(batch)]
    if layers:
        args.update(num_layers=layers(), final_norm=choose([True, False]))
    return args, [[batch, length, args["d_model"]] if batch_first else [length, batch, args["d_model"]]]


def build_encoder_layer(causal, lengths=None, **args):
    return nn.TransformerEncoderLayer(dropout=0.0, **args)


def build_encoder(num_layers, final_norm, **args):
    norm = nn.LayerNorm(args["d_model"]) if final_norm else None
    return nn.TransformerEncoder(build_encoder_layer(**args), num_layers, norm, enable_nested_tensor=False)


def call_encoder(module, args, src):
    length = src.shape[1 if args["batch_first"] else 0]
    mask = torch.ones(length, length, dtype=torch.bool).triu(1) if args["causal"] else None
    padding = None
    if "lengths" in args:
        padding = torch.arange(length) >= torch.tensor(args["lengths"])[:, None]
    return module(src, mask, src_key_padding_mask=padding)


modules("CosineSimilarity", nn.CosineSimilarity, cosine_similarity, 16)
modules("PairwiseDistance", lambda p, **args: nn.PairwiseDistance(float(p), **args), pairwise_distance, 24)
modules("TransformerEncoderLayer", build_encoder_layer, encoder_layer, 16, mode="train", call=call_encoder)
modules("TransformerEncoder", build_encoder, lambda: encoder_layer(lambda: random.randint(1, 3)), 8, mode="train",
        call=call_encoder)
modules("RReLU", nn.RReLU, lambda: ({"lower": choose([0.1, -0.2]), "upper": choose([0.1, 0.7])}, [[4, 6]]), 4)
modules("Softmax2d", nn.Softmax2d, lambda: ({}, [sizes(random.choice([3, 4]))]), 4)
