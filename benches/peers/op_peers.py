"""Times layers and chains of layers in PyTorch and, for inference, in ONNX Runtime and OpenVINO.

usage: python benches/peers/op_peers.py [TABLE] [--threads N] [--csv OUT] [--budget SECONDS] [--peers ort,openvino]

TABLE (default: ops.txt) has lines "name | Layer(arguments) + Layer(arguments) | shape of the input"; # starts a
comment. MultiheadAttention is self-attention without the weights, batch first. Recurrent layers return their outputs
without the states. The input of Embedding and of EmbeddingBag consists of random indices.

Prints a CSV row for each line: its name, the median milliseconds of inference in each peer, and those of training in
PyTorch: the forward pass in training mode and the backward pass to the input and every parameter. PyTorch runs images
channels-first and channels-last; the faster time counts.
"""

import argparse
import contextlib
import io
import os
import sys
import warnings

import torch
from torch import nn

from common import HERE, median_ms, rows

warnings.filterwarnings("ignore")


class SelfAttention(nn.Module):
    def __init__(self, *arguments, batch_first=True, **keywords):
        super().__init__()
        self.attention = nn.MultiheadAttention(*arguments, batch_first=batch_first, **keywords)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class FirstOutput(nn.Module):
    """A recurrent layer that returns only its first output, without the last states."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def first_output(layer):
    return lambda *arguments, **keywords: FirstOutput(layer(*arguments, **keywords))


LAYERS = {name: layer for name, layer in vars(nn).items() if isinstance(layer, type)}
LAYERS |= {layer.__name__: first_output(layer) for layer in (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell)}
LAYERS["MultiheadAttention"] = SelfAttention
GLOBALS = {"__builtins__": {}, "True": True, "False": False, "None": None}


def read_table(path):
    for line in rows(path):
        name, layers, shape = (part.strip() for part in line.split("|"))
        yield name, layers, [int(size) for size in shape.split()]


def build(layers):
    torch.manual_seed(0)
    return nn.Sequential(*(eval(layer, GLOBALS, LAYERS) for layer in layers.split(" + ")))


def random_input(network, shape):
    if isinstance(network[0], (nn.Embedding, nn.EmbeddingBag)):
        return torch.randint(0, network[0].num_embeddings, shape)
    return torch.randn(shape)


def torch_times(layers, shape, budget):
    inference, training = [], []
    formats = [torch.contiguous_format, torch.channels_last] if len(shape) == 4 else [None]
    for memory_format in formats:
        network = build(layers).eval()
        x = random_input(network, shape)
        if memory_format and x.is_floating_point():
            network, x = network.to(memory_format=memory_format), x.to(memory_format=memory_format)
        with torch.inference_mode():
            inference.append(median_ms(lambda: network(x), budget, max_calls=1000))
        network.train()
        x.requires_grad_(x.is_floating_point())
        gradient = torch.ones_like(network(x))
        variables = [x, *network.parameters()]

        def step():
            for variable in variables:
                variable.grad = None
            network(x).backward(gradient)

        training.append(median_ms(step, budget, max_calls=1000))
    return min(inference), min(training)


def onnx_model(layers, shape):
    """Returns the exported network and an input."""
    network, buffer = build(layers).eval(), io.BytesIO()
    x = random_input(network, shape)
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            network, (x,), buffer, input_names=["x"], output_names=["y"], opset_version=20, dynamo=False
        )
    return buffer.getvalue(), x.numpy()


def ort(layers, shape, threads):
    import onnxruntime

    model, x = onnx_model(layers, shape)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def openvino(layers, shape, threads):
    import openvino as ov

    model, x = onnx_model(layers, shape)
    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(x))
    return request.infer


PEERS = {"ort": ort, "openvino": openvino}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("table", nargs="?", default=os.path.join(HERE, "ops.txt"))
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--csv")
    options.add_argument("--budget", type=float, default=0.5)
    options.add_argument("--peers", default=",".join(PEERS), help="besides PyTorch, which is always timed")
    options = options.parse_args()

    torch.set_num_threads(options.threads)
    out = open(options.csv, "w") if options.csv else sys.stdout
    peers = [peer for peer in options.peers.split(",") if peer]
    print(",".join(["name", "torch", *peers, "torch_train"]), file=out)
    for name, layers, shape in read_table(options.table):
        inference, training = torch_times(layers, shape, options.budget)
        cells = [name, f"{inference:.4f}"]
        for peer in peers:
            try:
                call = PEERS[peer](layers, shape, options.threads)
                cells.append(f"{median_ms(call, options.budget, max_calls=1000):.4f}")
            except Exception as error:
                cells.append("nan")
                print(peer, name, str(error)[:120], file=sys.stderr)
        print(",".join([*cells, f"{training:.4f}"]), file=out, flush=True)


if __name__ == "__main__":
    main()
