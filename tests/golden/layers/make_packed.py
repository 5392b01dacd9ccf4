"""Writes PyTorch's results for recurrent layers over packed sequences.

usage: make_packed.py OUT

Writes OUT/PackedRecurrent.json and .safetensors in the format that make_more_layers.py describes. The inputs are the
padded batch and the initial state. The outputs are the padded outputs, with `padding_value` in the padding and
`total_length` steps, the data of the packed outputs, and the final state.
"""
import json
import random
import sys

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

OUT = sys.argv[1]
random.seed(0)
torch.manual_seed(0)
choose = random.choice


def case(index):
    kind = ["LSTM", "GRU", "RNN"][index % 3]
    batch, steps = random.randint(1, 5), random.randint(1, 6)
    args = {
        "input_size": random.randint(1, 4),
        "hidden_size": random.randint(2, 5),
        "num_layers": random.randint(1, 2),
        "bias": choose([True, False]),
        "batch_first": choose([True, False]),
        "bidirectional": choose([True, False]),
    }
    if kind == "LSTM":
        args["proj_size"] = choose([0, 0, args["hidden_size"] - 1])
    lengths = [random.randint(1, steps) for _ in range(batch)]
    total_length = choose([None, max(lengths) + random.randint(0, 2)])
    padding_value = choose([0.0, -1.5])

    layer = getattr(nn, kind)(**args).double()
    for parameter in layer.parameters():
        parameter.data = torch.randn_like(parameter).mul(0.5).float().double()
    count = args["num_layers"] * (2 if args["bidirectional"] else 1)
    width = args.get("proj_size") or args["hidden_size"]
    widths = [width, args["hidden_size"]] if kind == "LSTM" else [width]
    shape = [batch, steps] if args["batch_first"] else [steps, batch]
    shapes = [[*shape, args["input_size"]], *([count, batch, width] for width in widths)]
    inputs = [torch.randn(shape).double().requires_grad_() for shape in shapes]

    x, *state = inputs
    packed = pack_padded_sequence(x, torch.tensor(lengths), args["batch_first"], enforce_sorted=False)
    packed, final = layer(packed, tuple(state) if kind == "LSTM" else state[0])
    padded, _ = pad_packed_sequence(packed, args["batch_first"], padding_value, total_length)
    outputs = [padded, packed.data, *(final if kind == "LSTM" else [final])]
    grads = [torch.randn_like(output).float().double() for output in outputs]
    torch.autograd.backward(outputs, grads)

    parts = {}
    for i, (output, grad) in enumerate(zip(outputs, grads)):
        parts.update({f"output.{i}": output, f"grad_output.{i}": grad})
    for i, tensor in enumerate(inputs):
        parts.update({f"input.{i}": tensor, f"grad.input.{i}": tensor.grad})
    for name, tensor in layer.named_parameters():
        parts.update({f"param.{name}": tensor, f"grad.{name}": tensor.grad})
    args.update({"layer": kind, "lengths": lengths, "padding_value": padding_value, "total_length": total_length})
    args["batch_sizes"] = packed.batch_sizes.tolist()
    return args, {f"{index}/{name}": tensor for name, tensor in parts.items()}


cases, tensors = [], {}
for index in range(36):
    args, parts = case(index)
    cases.append({"args": args, "mode": "eval"})
    tensors.update(parts)
save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()},
          f"{OUT}/PackedRecurrent.safetensors")
with open(f"{OUT}/PackedRecurrent.json", "w") as file:
    json.dump(cases, file, indent=1)
    file.write("\n")
