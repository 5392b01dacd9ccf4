"""torchinfo's summaries of torchvision's networks and fvcore's counts of their operators, for `Network::summary`.

usage: make_summaries.py OUT      writes OUT/summaries.json
For each network, "leaves" lists [path, class, output shape, parameters] of all layers without child layers, in
torchinfo's order; "params", "trainable", "mult_adds", "input_bytes", "output_bytes" and "param_bytes" are torchinfo's
totals, and "operators" is fvcore's count of the multiply-adds of convolutions, linear layers and matrix products.

usage: make_summaries.py --layers OUT      writes OUT/layer_products.json
For each case, [layer, arguments, input shapes, multiply-adds] by torch.utils.flop_counter, which counts the matrix
products and convolutions that PyTorch runs. A recurrent layer runs in float64, because its products are one operator in
float32.
"""
import json, sys, warnings
import torch, torch.nn as nn
from torch.utils.flop_counter import FlopCounterMode

NAMES = ["convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mobilenet_v2", "resnet18", "resnet50", "vgg16_bn"]
SHAPES = {"convnext_tiny": (2, 3, 64, 96)}

def summary(name):
    import torchvision, torchinfo
    from fvcore.nn import FlopCountAnalysis
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    m = torchvision.models.get_model(name, weights=None, **options).eval()
    shape = SHAPES.get(name, (1, 3, 224, 224))
    s = torchinfo.summary(m, shape, verbose=0, depth=100)
    paths = {id(module): path for path, module in m.named_modules()}
    leaves = [[paths[l.layer_id], l.class_name, list(l.output_size), max(l.num_params, 0)]
              for l in s.summary_list if l.is_leaf_layer and l.executed]
    flops = FlopCountAnalysis(m, torch.zeros(shape)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    operators = sum(n for op, n in flops.by_operator().items() if op in ("conv", "linear", "matmul", "addmm", "bmm"))
    return {"shape": shape, "leaves": leaves, "params": s.total_params, "trainable": s.trainable_params,
            "mult_adds": s.total_mult_adds, "input_bytes": s.total_input, "output_bytes": s.total_output_bytes,
            "param_bytes": s.total_param_bytes, "operators": int(operators)}

def products(module, *shapes):
    module = module.double()
    with FlopCounterMode(display=False) as counter: module(*(torch.randn(s, dtype=torch.float64) for s in shapes))
    flops = counter.get_total_flops()
    assert flops > 0 and flops % 2 == 0
    return flops // 2

class Matmul(nn.Module):
    def forward(self, a, b): return torch.matmul(a, b)

class Attention(nn.Module):
    def forward(self, q, k, v): return (q @ k.transpose(-1, -2)).softmax(-1) @ v

def layers():
    R = dict(bidirectional=True, num_layers=2)
    cases = [("Linear", [6, 5], nn.Linear(6, 5), (2, 3, 6)),
             ("Conv1d", [4, 6, 3], nn.Conv1d(4, 6, 3), (2, 4, 11)),
             ("Conv2d", [4, 6, 3, 2], nn.Conv2d(4, 6, 3, groups=2), (2, 4, 11, 9)),
             ("Conv2d", [4, 6, 3, 1], nn.Conv2d(4, 6, 3), (4, 11, 9)),
             ("Conv3d", [2, 3, 2], nn.Conv3d(2, 3, 2), (2, 2, 5, 4, 3)),
             ("ConvTranspose2d", [4, 6, 3, 2], nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 5, 7)),
             ("LSTM", [3, 4], nn.LSTM(3, 4, **R), (5, 2, 3)),
             ("GRU", [3, 4], nn.GRU(3, 4, **R), (5, 2, 3)),
             ("RNN", [3, 4], nn.RNN(3, 4, **R), (5, 3)),
             ("LSTMCell", [3, 4], nn.LSTMCell(3, 4), (2, 3)),
             ("MultiheadAttention", [8, 2], nn.MultiheadAttention(8, 2), (5, 3, 8), (7, 3, 8), (7, 3, 8)),
             ("MultiheadAttention", [8, 2], nn.MultiheadAttention(8, 2), (5, 8), (7, 8), (7, 8)),
             ("matmul", [], Matmul(), (2, 3, 4, 5), (2, 3, 5, 6)),
             ("attention", [], Attention(), (2, 4, 5), (2, 6, 5), (2, 6, 3))]
    return [[name, arguments, shapes, products(module, *shapes)] for name, arguments, module, *shapes in cases]

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "--layers": json.dump(layers(), open(f"{sys.argv[2]}/layer_products.json", "w"))
    else: json.dump({name: summary(name) for name in NAMES}, open(f"{sys.argv[1]}/summaries.json", "w"))
