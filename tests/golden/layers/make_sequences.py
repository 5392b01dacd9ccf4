"""Writes the results of attention with masks, rotary embeddings and bags of embeddings, in the format of the other
files here. PyTorch has no rotary embedding; `rotate` states its definition.

usage: make_sequences.py OUT
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
chance = lambda: choose([True, False])


def stored(tensor):
    """Converts floats to float32 and booleans to uint8."""
    tensor = tensor.detach().contiguous().clone()
    if tensor.dtype == torch.bool:
        return tensor.to(torch.uint8)
    return tensor.float() if tensor.is_floating_point() else tensor


def store(kind, count, case):
    """Records `count` cases. `case` returns the arguments, a module or None, the inputs and the outputs."""
    cases, tensors = [], {}
    for i in range(count):
        args, module, inputs, outputs = case()
        named = {f"output.{j}" if len(outputs) > 1 else "output": y for j, y in enumerate(outputs)}
        grads = {name.replace("output", "grad_output"): random_like(y) for name, y in named.items()}
        torch.autograd.backward(list(named.values()), list(grads.values()))
        parts = {**named, **grads}
        for j, x in enumerate(inputs):
            name = f"input.{j}" if len(inputs) > 1 else "input"
            parts[name] = x
            if x.requires_grad:
                parts[f"grad.{name}"] = x.grad
        for name, x in module.named_parameters() if module else []:
            parts.update({f"param.{name}": x, f"grad.{name}": x.grad})
        tensors.update({f"{i}/{name}": stored(x) for name, x in parts.items()})
        cases.append({"args": args, "mode": "eval"})
    save_file(tensors, f"{OUT}/{kind}.safetensors")
    with open(f"{OUT}/{kind}.json", "w") as file:
        json.dump(cases, file, indent=1)
        file.write("\n")


def random_like(y):
    return torch.randn_like(y).float().double()


def leaf(*shape):
    return torch.randn(*shape).double().requires_grad_()


def with_random_parameters(module):
    for x in module.parameters():
        x.data = torch.randn_like(x).float().double()
    return module.double()


def attention():
    """Attention with masks. Every query sees at least the key `visible`."""
    heads, width, queries, keys = (random.randint(1, 3) for _ in range(4))
    batch, batch_first = choose([None, 1, 2, 3]), chance()
    args = {"embed_dim": heads * width, "num_heads": heads, "bias": chance(), "add_bias_kv": chance(),
            "add_zero_attn": chance(), "kdim": choose([None, 1, 4]), "vdim": choose([None, 2, 3]),
            "batch_first": batch_first}
    module = with_random_parameters(nn.MultiheadAttention(**args))

    def sequence(length, features):
        if batch is None:
            return leaf(length, features)
        return leaf(batch, length, features) if batch_first else leaf(length, batch, features)

    features = [args["embed_dim"], args["kdim"] or args["embed_dim"], args["vdim"] or args["embed_dim"]]
    inputs = [sequence(length, width) for length, width in zip([queries, keys, keys], features)]
    args.update(causal=chance(), padding=chance(), attn_mask=choose([None, "bool", "float"]),
                average_attn_weights=chance())
    visible = 0 if args["causal"] else random.randrange(keys)
    padding = mask = None
    if args["padding"]:
        padding = torch.rand(*([keys] if batch is None else [batch, keys])) < 0.4
        padding[..., visible] = False
        inputs.append(padding)
    shape = choose([[queries, keys], [(batch or 1) * heads, queries, keys]])
    if args["attn_mask"] == "float":
        mask = leaf(*shape)
        inputs.append(mask)
    elif args["attn_mask"] == "bool":
        mask = torch.rand(*shape) < 0.4
        mask[..., visible] = False
        inputs.append(mask)
    hidden = mask
    if args["causal"]:
        later = torch.ones(queries, keys, dtype=torch.bool).triu(1)
        if mask is None:
            hidden = later
        else:
            hidden = mask | later if mask.dtype == torch.bool else mask.masked_fill(later, -torch.inf)
    outputs = module(*inputs[:3], key_padding_mask=padding, attn_mask=hidden,
                     average_attn_weights=args["average_attn_weights"])
    return args, module, inputs, outputs


def rotate(x, positions, dim, base, interleaved):
    """Rotates pairs of the first `dim` features of x, [batch, heads, length, features].

    Pair i of the vector at position p is rotated by the angle p · base^(−2i / dim). It consists of the features 2i
    and 2i + 1 if `interleaved`, and of the features i and i + dim / 2 otherwise.
    """
    angles = positions[..., None].double() * base ** (-torch.arange(0, dim, 2).double() / dim)
    if angles.dim() == 3:
        angles = angles[:, None]
    turn = torch.polar(torch.ones_like(angles), angles)
    x, rest = x[..., :dim], x[..., dim:]
    pairs = x.unflatten(-1, (-1, 2)) if interleaved else x.unflatten(-1, (2, -1)).transpose(-1, -2)
    turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
    turned = turned if interleaved else turned.transpose(-1, -2)
    return torch.cat([turned.flatten(-2), rest], -1)


def rotary():
    batch, heads, length, half = random.randint(1, 3), random.randint(1, 2), random.randint(1, 6), random.randint(1, 9)
    args = {"dim": 2 * half, "base": choose([10000, 500.5, 3]), "interleaved": chance(), "max_seq_len": choose([1, 8])}
    x = leaf(batch, heads, length, 2 * half + choose([0, 0, 1, 4]))
    how = choose(["none", "offset", "positions", "batch"])
    positions = torch.arange(length)
    inputs = [x]
    if how == "offset":
        args["offset"] = random.randint(0, 5000)
        positions = positions + args["offset"]
    elif how != "none":
        positions = torch.randint(0, 100, (length,) if how == "positions" else (batch, length))
        inputs.append(positions)
    return args, None, inputs, [rotate(x, positions, args["dim"], args["base"], args["interleaved"])]


def embedding_bag():
    rows, width, mode = random.randint(1, 8), random.randint(1, 5), choose(["sum", "mean", "max"])
    args = {"num_embeddings": rows, "embedding_dim": width, "mode": mode, "include_last_offset": chance(),
            "padding_idx": choose([None, random.randrange(rows), random.randrange(rows) - rows])}
    module = with_random_parameters(nn.EmbeddingBag(**args))
    flat = chance()
    ids = torch.randint(0, rows, (random.randint(0, 12),) if flat else (random.randint(1, 4), random.randint(1, 5)))
    inputs, offsets, weights = [ids], None, None
    if flat:
        bags = random.randint(1, 5)
        bounds = [0] + sorted(random.randint(0, len(ids)) for _ in range(bags - 1))
        offsets = torch.tensor(bounds + [len(ids)] * args["include_last_offset"])
        inputs.append(offsets)
    if mode == "sum" and chance():
        weights = leaf(*ids.shape)
        inputs.append(weights)
    args.update(offsets=flat, per_sample_weights=weights is not None)
    # `include_last_offset` has no meaning without offsets.
    outputs = nn.functional.embedding_bag(
        ids, module.weight, offsets, mode=mode, per_sample_weights=weights, padding_idx=args["padding_idx"],
        include_last_offset=args["include_last_offset"] and flat)
    return args, module, inputs, [outputs]


store("MultiheadAttentionMasks", 32, attention)
store("RotaryEmbedding", 32, rotary)
store("EmbeddingBag", 48, embedding_bag)
