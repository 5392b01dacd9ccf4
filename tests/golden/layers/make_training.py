"""Writes golden data for optimizer groups, Lion, LAMB, gradient clipping, averaged weights and learning rates.

usage: make_training.py OUT

For each kind, writes OUT/<kind>.json, a list of cases (`kind`, `args`), and OUT/<kind>.safetensors with the tensors
i/<name> of case i, computed in float64 and stored as float32. PyTorch computes everything except Lion and LAMB, which
it does not have: `Lion` below is the reference program of the paper (Chen et al., 2023, Program 1), and `Lamb` is
Algorithm 2 of You et al. (2020) with bias correction, as in apex and timm, without their clipping of gradients.
"""
import fnmatch
import json
import sys

import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

OUT = sys.argv[1]
STEPS = 100


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                update = torch.sign(m * beta1 + p.grad * (1 - beta1))
                p.sub_(group["lr"] * (update + group["weight_decay"] * p))
                m.copy_(m * beta2 + p.grad * (1 - beta2))


class Lamb(torch.optim.Optimizer):
    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, always_adapt=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "always_adapt": always_adapt})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                t = state["step"] = state.get("step", 0) + 1
                m = state.setdefault("exp_avg", torch.zeros_like(p))
                v = state.setdefault("exp_avg_sq", torch.zeros_like(p))
                m.copy_(beta1 * m + (1 - beta1) * p.grad)
                v.copy_(beta2 * v + (1 - beta2) * p.grad * p.grad)
                ratio = m / (1 - beta1 ** t) / ((v / (1 - beta2 ** t)).sqrt() + group["eps"])
                update = ratio + group["weight_decay"] * p
                trust = 1.0
                if group["weight_decay"] != 0 or group["always_adapt"]:
                    p_norm, update_norm = p.norm().item(), update.norm().item()
                    if p_norm > 0 and update_norm > 0:
                        trust = p_norm / update_norm
                p.sub_(group["lr"] * trust * update)


def store(kind, cases):
    tensors = {f"{i}/{name}": tensor for i, (_, values) in enumerate(cases) for name, tensor in values.items()}
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()},
              f"{OUT}/{kind}.safetensors")
    with open(f"{OUT}/{kind}.json", "w") as file:
        json.dump([case for case, _ in cases], file, indent=1)
        file.write("\n")


def random(*shape):
    """Returns random numbers that float32 can represent."""
    return torch.randn(*shape).double()


def descend(parameters, make, steps, after_step=lambda optimizer: None):
    """Minimizes a sum of quadratics and sines. Returns the tensors of the case."""
    values = {}
    for name, parameter in parameters.items():
        values |= {f"start{name}": parameter.clone(), f"target{name}": random(*parameter.shape),
                   f"scale{name}": (torch.rand(parameter.shape) + 0.1).double()}
        parameter.requires_grad_()
    optimizer = make(parameters)
    paths = {name: [parameter.detach().clone()] for name, parameter in parameters.items()}
    for _ in range(steps):
        optimizer.zero_grad()
        loss = sum((values[f"scale{name}"] * (p - values[f"target{name}"]) ** 2 + (p * 3).sin() * 0.1).sum()
                   for name, p in parameters.items())
        loss.backward()
        optimizer.step()
        after_step(optimizer)
        for name, parameter in parameters.items():
            paths[name].append(parameter.detach().clone())
    return values | {f"path{name}": torch.stack(path) for name, path in paths.items()}


def more_optimizers():
    cases = []
    for kind, make, args in [
        ("Lion", Lion, {"lr": 0.02}),
        ("Lion", Lion, {"lr": 0.03, "betas": [0.8, 0.95], "weight_decay": 0.1}),
        ("LAMB", Lamb, {"lr": 0.02}),
        ("LAMB", Lamb, {"lr": 0.02, "betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.0}),
        ("LAMB", Lamb, {"lr": 0.02, "weight_decay": 0.0, "always_adapt": True}),
    ]:
        values = descend({"": random(2, 3)}, lambda p: make(p.values(), **args), STEPS)
        cases.append(({"kind": kind, "args": args}, values))
    # A parameter of zeros has no norm, so its first step is that of Adam.
    args = {"lr": 0.02, "weight_decay": 0.1}
    cases.append(({"kind": "LAMB", "args": args}, descend({"": torch.zeros(4).double()},
                                                          lambda p: Lamb(p.values(), **args), STEPS)))
    store("more_optimizers", cases)


def optimizer_groups():
    cases = []
    for kind, make, args, groups in [
        ("AdamW", torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.2},
         [["**.bias", {"weight_decay": 0.0}], ["backbone.**", {"lr": 0.01}]]),
        ("SGD", torch.optim.SGD, {"lr": 0.05},
         [["backbone.**", {"lr": 0.02, "momentum": 0.9}], ["backbone.bias", {"lr": 0.1}]]),
        ("Adam", torch.optim.Adam, {"lr": 0.02}, [["head.**", {"amsgrad": True, "betas": [0.5, 0.9]}]]),
    ]:
        def settings(name):
            matches = lambda pattern: fnmatch.fnmatch(name, pattern.replace("**.", "*").replace(".**", "*"))
            changes = [change for pattern, change in groups if matches(pattern)]
            return {key: value for change in [args] + changes for key, value in change.items()}

        def build(parameters):
            return make([{"params": [p], **settings(name[1:])} for name, p in parameters.items()])

        scheduler = []

        def decay(optimizer):
            if not scheduler:
                scheduler.append(lr_scheduler.StepLR(optimizer, 10, 0.5))
            scheduler[0].step()

        parameters = {".backbone.weight": random(2, 3), ".backbone.bias": random(2), ".head.weight": random(3),
                      ".head.bias": random(1)}
        case = {"kind": kind, "args": args | {"groups": groups, "step_size": 10, "gamma": 0.5}}
        cases.append((case, descend(parameters, build, 40, decay)))
    store("optimizer_groups", cases)


def clipping():
    cases = []
    for args in [{"max_norm": 1.0}, {"max_norm": 100.0}, {"max_norm": 0.0}, {"max_norm": 0.5, "norm_type": 1.0},
                 {"max_norm": 0.5, "norm_type": 3.0}, {"max_norm": 0.5, "norm_type": 0.5},
                 {"max_norm": 0.5, "norm_type": "inf"}, {"clip_value": 0.4}, {"clip_value": 0.0}]:
        parameters = {name: nn.Parameter(random(*shape)) for name, shape in [("weight", (3, 4)), ("bias", (3,))]}
        values = {}
        for name, parameter in parameters.items():
            parameter.grad = random(*parameter.shape)
            values[f"grad.{name}"] = parameter.grad.clone()
        if "clip_value" in args:
            nn.utils.clip_grad_value_(parameters.values(), args["clip_value"])
        else:
            norm_type = float(args.get("norm_type", 2.0))
            values["norm"] = nn.utils.clip_grad_norm_(parameters.values(), args["max_norm"], norm_type)
        values |= {f"clipped.{name}": parameter.grad for name, parameter in parameters.items()}
        cases.append(({"kind": "clip", "args": args}, values))
    store("clipping", cases)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.fc(x))


def averages():
    cases = []
    for args in [{"decay": 0.9}, {"decay": 0.3}, {"decay": 0.9, "use_buffers": True}, {}, {"use_buffers": True}]:
        net = Net().double()
        average_fn = {"multi_avg_fn": get_ema_multi_avg_fn(args["decay"])} if "decay" in args else {}
        average = AveragedModel(net, use_buffers=args.get("use_buffers", False), **average_fn)
        series = {}
        for _ in range(6):
            with torch.no_grad():
                for name, tensor in net.state_dict().items():
                    if tensor.is_floating_point():
                        tensor.copy_(random(*tensor.shape).abs())
                    else:
                        tensor.add_(3)
            average.update_parameters(net)
            for name, tensor in net.state_dict().items():
                series.setdefault(f"model.{name}", []).append(tensor.clone())
                series.setdefault(f"average.{name}", []).append(average.module.state_dict()[name].clone())
        values = {name: torch.stack(tensors) for name, tensors in series.items()}
        batches = [random(size, 3) for size in (4, 7, 2)]
        update_bn(batches, average)
        values |= {f"batch.{i}": batch for i, batch in enumerate(batches)}
        values |= {f"updated.{name}": tensor for name, tensor in average.module.state_dict().items()}
        cases.append(({"kind": "average", "args": args}, values))
    store("averages", cases)


def plateaus():
    cases = []
    for args in [{}, {"patience": 2, "factor": 0.5}, {"mode": "max", "patience": 1, "cooldown": 3},
                 {"patience": 1, "threshold": 0.02, "threshold_mode": "abs", "factor": 0.3},
                 {"mode": "max", "threshold_mode": "abs", "patience": 0, "min_lr": 0.01},
                 {"patience": 0, "factor": 0.9, "eps": 0.003}]:
        parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
        optimizer = torch.optim.SGD([{"params": [parameters[0]], "lr": 0.1}, {"params": [parameters[1]], "lr": 0.04}])
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **args)
        t = torch.arange(60).double()
        metrics = (torch.exp(-t / 8) + 0.05 * torch.randn(60).double()).float()
        if args.get("mode") == "max":
            metrics = 1 - metrics
        rates = []
        for metric in metrics:
            scheduler.step(metric.item())
            rates.append([group["lr"] for group in optimizer.param_groups])
        cases.append(({"kind": "ReduceLROnPlateau", "args": args},
                      {"metrics": metrics, "lr": torch.tensor(rates, dtype=torch.float64)}))
    store("plateaus", cases)


def composed_schedules():
    cases = []
    for kind, build in [
        ("SequentialLR", lambda optimizer: lr_scheduler.SequentialLR(
            optimizer, [lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=5),
                        lr_scheduler.ExponentialLR(optimizer, 0.9)], [5])),
        ("ChainedScheduler", lambda optimizer: lr_scheduler.ChainedScheduler(
            [lr_scheduler.ConstantLR(optimizer, factor=0.1, total_iters=5), lr_scheduler.ExponentialLR(optimizer, 0.9),
             lr_scheduler.StepLR(optimizer, 20, 0.5)])),
    ]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = build(optimizer)
        rates = []
        for _ in range(60):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        cases.append(({"kind": kind, "args": {}}, {"lr": torch.tensor(rates, dtype=torch.float64)}))
    store("composed_schedules", cases)


for record in [more_optimizers, optimizer_groups, clipping, averages, plateaus, composed_schedules]:
    torch.manual_seed(0)
    record()
