"""Checks exported models and compares their outputs in ONNX Runtime with the outputs of sconce.

The first argument is a directory with models, each with files NAME.BATCH.npz of inputs and outputs. Needs the packages
onnx and onnxruntime, see onnx.sh.
"""

import pathlib
import sys

import numpy
import onnx
import onnxruntime

TOLERANCE = 1e-5


def error(actual, expected):
    """Returns the largest difference, relative to the largest number."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise SystemExit(f"expected {expected.dtype} {expected.shape}, found {actual.dtype} {actual.shape}")
    if expected.size == 0:
        return 0.0
    difference = numpy.abs(actual.astype(numpy.float64) - expected.astype(numpy.float64)).max()
    return float(difference / max(numpy.abs(expected).max(), 1e-30))


def arrays(file, kind):
    names = sorted((name for name in file.files if name.startswith(kind)), key=lambda name: int(name.split("_")[-1]))
    return [file[name] for name in names]


def check(model):
    """Returns the largest error of a model and the number of batch sizes."""
    onnx.checker.check_model(str(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    files = sorted(model.parent.glob(f"{model.stem}.*.npz"))
    errors = []
    for path in files:
        with numpy.load(path) as file:
            feeds = dict(zip((entry.name for entry in session.get_inputs()), arrays(file, "input"), strict=True))
            outputs = zip(session.run(None, feeds), arrays(file, "output"), strict=True)
            errors += [error(actual, expected) for actual, expected in outputs]
    return max(errors), len(files)


def main():
    models = sorted(pathlib.Path(sys.argv[1]).rglob("*.onnx"))
    failed = []
    for model in models:
        try:
            largest, batches = check(model)
            passed = largest <= TOLERANCE and batches >= 2
            print(f"{model.parent.name}/{model.stem}: {largest:.1e} for {batches} batch sizes")
        except Exception as exception:
            passed = False
            print(f"{model.parent.name}/{model.stem}: {exception}")
        if not passed:
            failed.append(model.stem)
    if failed or not models:
        raise SystemExit(f"failed: {failed}, {len(models)} models")


main()
