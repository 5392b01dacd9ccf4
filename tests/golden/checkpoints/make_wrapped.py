"""Records the state dicts of wrapped networks with PyTorch.

    python3 make_wrapped.py

Each file has the tensors of `Net` under the names that one wrapper gives them:

- `data_parallel.pt`: torch.nn.DataParallel
- `averaged.pt`: torch.optim.swa_utils.AveragedModel, with the counter `n_averaged`
- `compiled.pt`: torch.compile of the whole network
- `compiled_part.pt`: torch.compile of `fc` alone, in a DataParallel

`ema.pt` has the state dict of another network under `model`, and that of an AveragedModel under `ema`.
"""

import os

import torch
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.bn = nn.BatchNorm1d(3)


def filled(net):
    """Sets the elements of all float tensors to 0, 1, 2, …, in the order of the state dict."""
    first = 0
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.arange(first, first + tensor.numel()).reshape(tensor.shape))
            first += tensor.numel()
    return net


def save(name, net):
    torch.save(net.state_dict(), os.path.join(HERE, name))


if __name__ == "__main__":
    torch.manual_seed(0)
    save("data_parallel.pt", nn.DataParallel(filled(Net())))
    save("averaged.pt", torch.optim.swa_utils.AveragedModel(filled(Net())))
    save("compiled.pt", torch.compile(filled(Net())))
    part = filled(Net())
    part.fc = torch.compile(part.fc)
    save("compiled_part.pt", nn.DataParallel(part))
    averaged = torch.optim.swa_utils.AveragedModel(filled(Net()))
    states = {"model": nn.Linear(1, 1).state_dict(), "optimizer": {"state": {}}, "ema": averaged.state_dict()}
    torch.save(states, os.path.join(HERE, "ema.pt"))
