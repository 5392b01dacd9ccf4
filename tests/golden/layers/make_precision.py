"""Writes golden data for training in mixed precision: PyTorch's `autocast`, and `GradScaler` for float16.

usage: make_precision.py OUT

Writes OUT/precision.json, a list of cases, and OUT/precision.safetensors with the tensors i/<name> of case i: the
initial and the final parameters, the input and the classes of one batch, and for each step the loss and the scale after
the step. Recorded with PyTorch 2.15 on the CPU.
"""
import json
import sys

import torch
from safetensors.torch import save_file
from torch import nn

OUT = sys.argv[1]
STEPS = 40


def train(dtype, scaler):
    torch.manual_seed(7)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 16), nn.ReLU(),
                        nn.Linear(16, 5))
    x, classes = torch.randn(32, 1, 6, 6), torch.randint(5, (32,))
    values = {f"initial.{name}": tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=scaler is not None, **(scaler or {}))
    losses, scales = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            loss = nn.functional.cross_entropy(net(x), classes)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
        scales.append(scaler.get_scale())
    values |= {f"final.{name}": tensor for name, tensor in net.state_dict().items()}
    return values | {"x": x, "classes": classes.float(), "losses": torch.tensor(losses), "scales": torch.tensor(scales)}


cases = [
    ({"dtype": "f32"}, train(torch.float32, None)),
    ({"dtype": "bf16"}, train(torch.bfloat16, None)),
    # The scale grows until gradients overflow, several times.
    ({"dtype": "f16", "init_scale": 2.0**18, "growth_interval": 3},
     train(torch.float16, {"init_scale": 2.0**18, "growth_interval": 3})),
]
tensors = {f"{i}/{name}": tensor for i, (_, values) in enumerate(cases) for name, tensor in values.items()}
save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, f"{OUT}/precision.safetensors")
with open(f"{OUT}/precision.json", "w") as file:
    json.dump([{"args": args} for args, _ in cases], file, indent=1)
    file.write("\n")
for args, values in cases:
    print(args, values["losses"][[0, 1, 5, 10, 20, 39]].tolist(), values["scales"].tolist()[:40])
