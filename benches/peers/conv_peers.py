"""Times convolution + bias + ReLU for a table of layers in other frameworks.

usage: python benches/peers/conv_peers.py TABLE [--threads N] [--peers torch,torch_mkldnn,ort,openvino,ncnn] [--csv OUT]

TABLE has lines "name n cin h w cout k stride pad dilation groups"; # starts a comment. Prints a CSV row for each layer:
its name, its GFLOP count, and the median milliseconds of each peer (`nan` if the peer fails).
"""

import argparse
import os
import struct
import sys
import tempfile

import numpy as np

from common import median_ms, rows


def read_table(path):
    for line in rows(path):
        name, *numbers = line.split()
        yield name, *map(int, numbers[:10])


def data(row):
    """Returns a random input, weight and bias."""
    _, n, cin, h, w, cout, k, _, _, _, groups = row
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, cin, h, w), dtype=np.float32)
    weight = rng.standard_normal((cout, cin // groups, k, k), dtype=np.float32) * 0.1
    return x, weight, rng.standard_normal(cout, dtype=np.float32)


def torch_eager(row, threads):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    x, weight, bias = map(torch.from_numpy, data(row))
    stride, pad, dilation, groups = row[7:]

    def call():
        with torch.inference_mode():
            return F.relu(F.conv2d(x, weight, bias, stride, pad, dilation, groups), inplace=True)

    return call


def torch_mkldnn(row, threads):
    """Runs oneDNN with its blocked layout for weights and activations. Reorders are not timed."""
    import torch
    from torch.utils import mkldnn

    torch.set_num_threads(threads)
    x, weight, bias = map(torch.from_numpy, data(row))
    _, _, cin, _, _, cout, k, stride, pad, dilation, groups = row
    conv = torch.nn.Conv2d(cin, cout, k, stride, pad, dilation, groups).eval()
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
    conv, x = mkldnn.to_mkldnn(conv), x.to_mkldnn()

    def call():
        with torch.inference_mode():
            return torch.relu_(conv(x))

    return call


def onnx_model(row):
    from onnx import TensorProto, helper, numpy_helper

    x, weight, bias = data(row)
    k, stride, pad, dilation, groups = row[6:]
    conv = helper.make_node(
        "Conv", ["x", "w", "b"], ["c"], kernel_shape=[k, k], strides=[stride, stride], pads=[pad] * 4,
        dilations=[dilation, dilation], group=groups,
    )
    graph = helper.make_graph(
        [conv, helper.make_node("Relu", ["c"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString(), x


def ort(row, threads):
    import onnxruntime

    model, x = onnx_model(row)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def openvino(row, threads):
    import openvino as ov

    model, x = onnx_model(row)
    core = ov.Core()
    settings = {
        "INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(x))
    return request.infer


def ncnn(row, threads):
    """Runs one image after the other, because ncnn has no batches."""
    import ncnn

    x, weight, bias = data(row)
    cout, k, stride, pad, dilation, groups = row[5:]
    kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
    layer = f"{kind} conv 1 1 x y 0={cout} 1={k} 2={dilation} 3={stride} 4={pad} 5=1 6={weight.size} 9=1"
    layer += "" if groups == 1 else f" 7={groups}"
    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_fp16_packed = False
    with tempfile.TemporaryDirectory() as work:
        param, binary = os.path.join(work, "m.param"), os.path.join(work, "m.bin")
        with open(param, "w") as file:
            file.write(f"7767517\n2 2\nInput x 0 1 x\n{layer}\n")
        with open(binary, "wb") as file:
            file.write(struct.pack("<I", 0) + weight.tobytes() + bias.tobytes())
        assert net.load_param(param) == 0 and net.load_model(binary) == 0
    images = [ncnn.Mat(np.ascontiguousarray(image)) for image in x]

    def call():
        for image in images:
            extractor = net.create_extractor()
            extractor.input("x", image)
            extractor.extract("y")

    return call


PEERS = {"torch": torch_eager, "torch_mkldnn": torch_mkldnn, "ort": ort, "openvino": openvino, "ncnn": ncnn}


def gflop(row):
    _, n, cin, h, w, cout, k, stride, pad, dilation, groups = row
    height, width = ((size + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for size in (h, w))
    return 2 * n * cout * height * width * (cin // groups) * k * k / 1e9


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("table")
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--peers", default=",".join(PEERS))
    options.add_argument("--csv")
    options = options.parse_args()

    peers = options.peers.split(",")
    out = open(options.csv, "w") if options.csv else sys.stdout
    print("name,gflop," + ",".join(peers), file=out)
    for row in read_table(options.table):
        cells = []
        for peer in peers:
            try:
                cells.append(f"{median_ms(PEERS[peer](row, options.threads), budget=0.7):.4f}")
            except Exception as error:
                cells.append("nan")
                print(peer, row[0], error, file=sys.stderr)
        print(f"{row[0]},{gflop(row):.4f}," + ",".join(cells), file=out, flush=True)


if __name__ == "__main__":
    main()
