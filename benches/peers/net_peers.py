"""Times inference and training steps of whole networks in other frameworks.

usage: python benches/peers/net_peers.py [--threads N] [--nets NAME,…] [--batch N] [--train NAME:BATCH,…] [--compile]
                                         [--peers torch,ort,openvino]

Prints a CSV row for each network, with the median milliseconds of PyTorch (`torch.compile` too with --compile), ONNX
Runtime and OpenVINO, and a row for each training step (forward, backward and AdamW) of PyTorch, channels-first and
channels-last. `net_table` times sconce's networks of the same names.
"""

import argparse
import io
import math
import os
import sys
import warnings

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from common import median_ms

warnings.filterwarnings("ignore")


class Intro(nn.Module):
    """The introductory network of examples/first_network.rs."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 20, 5)

    def forward(self, x):
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 64, 5)
        self.fc1, self.fc2 = nn.Linear(1024, 256), nn.Linear(256, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def double_conv(inputs, outputs):
    layers = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """U-Net of github.com/milesial/Pytorch-UNet, with transposed convolutions, for sizes divisible by 16."""

    def __init__(self, channels=3, classes=2, width=64):
        super().__init__()
        widths = [width << i for i in range(5)]
        self.inc = double_conv(channels, width)
        self.downs = nn.ModuleList(map(double_conv, widths, widths[1:]))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[3::-1])
        self.convs = nn.ModuleList(double_conv(2 * w, w) for w in widths[3::-1])
        self.outc = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        x, skips = self.inc(x), []
        for down in self.downs:
            skips.append(x)
            x = down(F.max_pool2d(x, 2))
        for up, conv in zip(self.ups, self.convs):
            x = conv(torch.cat([skips.pop(), up(x)], 1))
        return self.outc(x)


class Block(nn.Module):
    """A block of GPT-2: causal self-attention and an MLP."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        batch, positions, width = x.shape
        split = self.c_attn(self.ln_1(x)).view(batch, positions, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(batch, positions, width))
        return x + self.mlp(self.ln_2(x))


class Gpt2(nn.Module):
    """GPT-2 small, as transformers' GPT2LMHeadModel without cache."""

    def __init__(self, vocabulary=50257, positions=1024, width=768, heads=12, depth=12):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.h = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        positions = torch.arange(ids.shape[1], device=ids.device)
        return self.lm_head(self.ln_f(self.h(self.wte(ids) + self.wpe(positions))))


class LstmClassifier(nn.Module):
    """Two LSTM layers over a sequence, and a linear layer after the last step."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(256, 512, 2, batch_first=True), nn.Linear(512, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Bert(nn.Module):
    """The features of the whole sequence by transformers' BertModel, from token ids alone."""

    def __init__(self):
        super().__init__()
        from transformers import BertConfig, BertModel

        self.network = BertModel(BertConfig())

    def forward(self, ids):
        return self.network(ids).pooler_output


class DeepLabV3(nn.Module):
    """The logits of torchvision's DeepLabV3, without auxiliary classifier."""

    def __init__(self):
        super().__init__()
        self.network = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None)

    def forward(self, x):
        return self.network(x)["out"]


def vit_s_16(**_):
    return torchvision.models.VisionTransformer(224, 16, 12, 6, 384, 1536)


# The networks that torchvision does not have. Older tables name the introductory network `seed`.
OWN = {
    "intro": Intro, "seed": Intro, "lenet": LeNet, "unet": UNet, "gpt2": Gpt2, "lstm": LstmClassifier,
    "vit_s_16": vit_s_16, "bert_base_uncased": Bert, "deeplabv3_resnet50": DeepLabV3,
}

VOCABULARIES = {"gpt2": 50257, "bert_base_uncased": 30522}


def build(name):
    torch.manual_seed(0)
    if name in OWN:
        return OWN[name]()
    # Initializing GoogLeNet takes minutes, and its auxiliary classifiers run only in training.
    settings = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return getattr(torchvision.models, name)(weights=None, **settings)


def random_input(name, batch):
    if name in VOCABULARIES:
        return torch.randint(0, VOCABULARIES[name], (batch, 128))
    if name == "lstm":
        return torch.randn(batch, 100, 256)
    return torch.randn(batch, *((1, 28, 28) if name in ("intro", "seed", "lenet") else (3, 224, 224)))


def torch_ms(network, x):
    with torch.inference_mode():
        return median_ms(lambda: network(x), budget=2)


def compiled_ms(network, x):
    import torch._inductor.config

    torch._inductor.config.freezing = True
    compiled = torch.compile(network)
    with torch.no_grad():
        return median_ms(lambda: compiled(x), budget=2)


def onnx_model(network, x):
    buffer = io.BytesIO()
    torch.onnx.export(
        network, (x,), buffer, input_names=["x"], output_names=["y"], opset_version=17, dynamo=False
    )
    return buffer.getvalue()


def ort_ms(network, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(onnx_model(network, x), options, providers=["CPUExecutionProvider"])
    inputs = {"x": x.numpy()}
    return median_ms(lambda: session.run(None, inputs), budget=2)


def openvino_ms(network, x):
    import openvino as ov

    core = ov.Core()
    settings = {
        "INFERENCE_NUM_THREADS": str(torch.get_num_threads()), "NUM_STREAMS": "1",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(onnx_model(network, x)), "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(x.numpy()))
    return median_ms(request.infer, budget=2)


def train_ms(name, batch, memory_format):
    network, x = build(name).train(), random_input(name, batch)
    if x.dim() == 4:
        network, x = network.to(memory_format=memory_format), x.to(memory_format=memory_format)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    y = torch.arange(batch) % 10

    def step():
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    return median_ms(step, budget=2)


PEERS = {"torch": torch_ms, "torch_compile": compiled_ms, "ort": ort_ms, "openvino": openvino_ms}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--nets", default="intro,lenet,resnet18,resnet50,vgg16_bn,mobilenet_v2")
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--train", default="lenet:64,resnet18:8")
    options.add_argument("--compile", action="store_true")
    options.add_argument("--peers", default="torch,ort,openvino")
    options = options.parse_args()

    torch.set_num_threads(options.threads)
    peers = options.peers.split(",") + ["torch_compile"] * options.compile
    print("net,batch," + ",".join(PEERS))
    for name in filter(None, options.nets.split(",")):
        network, x = build(name).eval(), random_input(name, options.batch)
        cells = []
        for peer, measure in PEERS.items():
            try:
                cells.append(measure(network, x) if peer in peers else math.nan)
            except Exception as error:
                print(peer, name, str(error)[:200], file=sys.stderr)
                cells.append(math.nan)
        print(f"{name},{options.batch}," + ",".join(f"{cell:.3f}" for cell in cells), flush=True)

    print("train step,batch,torch,torch_channels_last")
    for item in filter(None, options.train.split(",")):
        name, batch = item.split(":")
        formats = (torch.contiguous_format, torch.channels_last)
        cells = [train_ms(name, int(batch), memory_format) for memory_format in formats]
        print(f"{name},{batch}," + ",".join(f"{cell:.3f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
