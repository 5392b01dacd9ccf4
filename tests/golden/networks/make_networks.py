"""PyTorch's answers for torchvision's networks with weights that anybody can compute, so that none are shipped.

usage: make_networks.py OUT NAME[:SIZE[:GAIN]] …      e.g. make_networks.py networks resnet18:64
OUT/NAME.json lists the state dict in order ([key, shape]); OUT/NAME.safetensors holds `input` [2, 3, SIZE, SIZE],
`output` (eval mode, computed in float64, stored as float32) and, for the gradient of sum(output * cotangent)
with respect to the first and the last weight and to tables of position biases, `cotangent`, `grad.<key>`. The outputs
of a segmentation network, "out" and "aux", are concatenated along the batch. A GAIN other than 1 is stored as
`norm_gain`. It keeps the activations of deep networks from growing so much that PyTorch's own results in float32 and
float64 differ.

The files of this directory are those of
  convnext_tiny densenet121 efficientnet_b0 googlenet mobilenet_v2 resnet18 resnet50 squeezenet1_1 vgg16_bn, SIZE 64
  mobilenet_v3_large:64:0.85 mobilenet_v3_small:64 efficientnet_v2_s:64:0.75 swin_t:100 deeplabv3_resnet50:41:0.5

Element i (row-major) of the p-th tensor of the state dict (p counts from 0 over all entries) is made from
  h = i * 0x9E3779B1 + p * 0x85EBCA77 (mod 2^32); h ^= h >> 15; h *= 0x2C1B3C6D; h ^= h >> 12; h *= 0x297A2D39; h ^= h >> 15
  u = h / 2^32 - 0.5
  …weight, two or more dimensions   u * sqrt(24 / (elements / first dimension))
  …weight, one dimension            GAIN (1 + 0.5 u)
  …running_var                      1 + u
  …bias, …running_mean, …_table     0.2 u
  integers                          PyTorch's initial values
in float64, then rounded to float32. The input is made the same way with p = 1000: 4 u.
"""
import json, os, sys
import numpy as np, torch, torchvision
from safetensors.torch import save_file

def uniform(p, n):
    with np.errstate(over="ignore"):
        h = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32((p * 0x85EBCA77) & 0xFFFFFFFF)
        h ^= h >> np.uint32(15); h *= np.uint32(0x2C1B3C6D); h ^= h >> np.uint32(12); h *= np.uint32(0x297A2D39); h ^= h >> np.uint32(15)
    return h.astype(np.float64) / 2.0**32 - 0.5

def value(key, p, initial, gain):
    if not initial.is_floating_point(): return initial
    shape = list(initial.shape); n = initial.numel(); u = uniform(p, n)
    if key.endswith("running_var"): v = 1 + u
    elif key.endswith("weight") and len(shape) >= 2: v = u * np.sqrt(24 / (n / shape[0]))
    elif key.endswith("weight"): v = gain * (1 + 0.5 * u)
    else: v = 0.2 * u
    return torch.from_numpy(v.astype(np.float32).reshape(shape))

def network(name):
    if name == "googlenet": return torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False)
    if name.startswith("deeplabv3"):
        return torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=5, aux_loss=True)
    return torchvision.models.get_model(name, weights=None)

def fill(m, gain=1.0):
    """Gives every tensor of m the values above. Returns the list of [key, shape]."""
    state = m.state_dict()
    m.load_state_dict({k: value(k, p, v, gain) for p, (k, v) in enumerate(state.items())})
    return [[k, list(v.shape)] for k, v in state.items()]

def record(path, m, keys, inputs, y):
    """Writes the list of keys, the inputs, the output y and the gradients."""
    c = torch.from_numpy(uniform(1001, y.numel()).astype(np.float32).reshape(y.shape)); (y * c.double()).sum().backward()
    ws = [(k, p) for k, p in m.named_parameters() if k.endswith("weight")]
    tables = [(k, p) for k, p in m.named_parameters() if k.endswith("_table")]
    T = {**inputs, "output": y.detach().float(), "cotangent": c,
         **{f"grad.{k}": p.grad.float().contiguous() for k, p in (ws[0], ws[-1], *tables)}}
    T = {k: v.contiguous() for k, v in T.items() if v.numel() < 300_000}
    save_file(T, f"{path}.safetensors"); json.dump(keys, open(f"{path}.json", "w"))
    print(path, len(keys), "output rms", float(y.detach().pow(2).mean().sqrt()), {k: list(v.shape) for k, v in T.items()})

if __name__ == "__main__":
    out = sys.argv[1]; os.makedirs(out, exist_ok=True)
    for item in sys.argv[2:]:
        name, size, gain = (item.split(":") + ["64", "1"][item.count(":"):])[:3]
        size = int(size); gain = float(gain); m = network(name); keys = fill(m, gain); m.eval().double()
        x = torch.from_numpy((4 * uniform(1000, 2 * 3 * size * size)).astype(np.float32).reshape(2, 3, size, size))
        y = m(x.double())
        if isinstance(y, dict): y = torch.cat(list(y.values()))
        inputs = {"input": x} if gain == 1 else {"input": x, "norm_gain": torch.tensor(gain)}
        record(f"{out}/{name}", m, keys, inputs, y)
