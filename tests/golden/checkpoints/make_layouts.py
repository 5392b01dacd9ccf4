"""Writes state dicts at different places in a file of torch.save, and a compiled module.

    python make_layouts.py

Needs PyTorch; the files were recorded with PyTorch 2.15.
"""

import os

import torch
import torch._dynamo
from torch import nn

os.chdir(os.path.dirname(os.path.abspath(__file__)))

linear = nn.Linear(3, 2)
linear.load_state_dict({"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([6.0, 7.0])})
state = linear.state_dict()

torch.save({"checkpoint": {"net": state}, "epoch": 3}, "layout_two_levels.pt")
torch.save({"a": {"b": {"c": state}}, "settings": {"lr": 0.1}}, "layout_three_levels.pt")
torch.save({"model": {"name": "linear", "layers": 1}, "weights": state}, "layout_model_is_settings.pt")
torch.save({"ema": {"module": state, "updates": 9}, "model": None}, "layout_ema.pt")
momentum = {"state": {0: {"momentum_buffer": torch.ones(2, 3)}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
torch.save({"run": {"net": state}, "optimizer": momentum}, "layout_optimizer.pt")


class Compiled:
    """Pickled as the result of `torch.compile(linear)`, but without the compiler's settings, which contain paths."""

    def __reduce__(self):
        return torch._dynamo.eval_frame.OptimizedModule, (linear, None)


torch.save(Compiled(), "layout_compiled_module.pt")

# State dicts that only a key selects: `state` is the Linear, `other` has other values.
other = {name: tensor + 10 for name, tensor in state.items()}
torch.save({"step": torch.tensor(3), "net": state, "args": {"lr": 0.1}}, "keys_beside_tensor.pt")
torch.save({"ema": {"shadow": state, "decay": 0.9}, "net": {"a.b": other}}, "keys_nested.pt")
torch.save((state, other, [1, 2]), "keys_tuple.pt")
torch.save([3, {"net": state}], "keys_list.pt")
torch.save(list(state.values()), "keys_tensors.pt")
torch.save({**state, "head._extra_state": {"scale": torch.ones(2)}}, "keys_extra_state.pt")
