"""Checks exported models and compares their outputs in ONNX Runtime with the outputs of sconce.

The first argument is a directory with models, each with files NAME.BATCH.npz of inputs and outputs. A model with a
dynamic size has at least two of these files. The other arguments are paths of models in this directory, without
`.onnx`, that run in OpenVINO too. Needs the packages onnx, onnxruntime and openvino, see onnx.sh.

The outputs may differ by TOLERANCE. Some of the smallest and of the random networks amplify rounding errors: for
example, a layer norm of two features that are almost equal. Their files have the outputs of sconce in f64 too. If the
outputs differ more than TOLERANCE, those of ONNX Runtime may differ from the outputs in f64 at most MARGIN times as
much as the outputs of sconce do.
"""

import pathlib
import sys

import numpy
import onnx
import onnxruntime
import openvino

TOLERANCE = 1e-5
MARGIN = 4


def error(actual, expected):
    """Returns the largest difference, relative to the largest number."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ValueError(f"expected {expected.dtype} {expected.shape}, found {actual.dtype} {actual.shape}")
    return difference(actual, expected)


def difference(actual, expected):
    if expected.size == 0:
        return 0.0
    largest = numpy.abs(actual.astype(numpy.float64) - expected.astype(numpy.float64)).max()
    return float(largest / max(numpy.abs(expected).max(), 1e-30))


def is_rounding(actual, expected, exact):
    """Returns whether the outputs are about as close to those in f64 as the expected ones."""
    return difference(actual, exact) <= MARGIN * difference(expected, exact)


def arrays(file, kind):
    names = sorted((name for name in file.files if name.startswith(kind)), key=lambda name: int(name.split("_")[-1]))
    return [file[name] for name in names]


def errors(model, run):
    """Returns the errors of all outputs for all files of inputs. `run` returns the outputs for a list of inputs."""
    for path in sorted(model.parent.glob(f"{model.stem}.*.npz")):
        with numpy.load(path) as file:
            outputs = list(zip(run(arrays(file, "input")), arrays(file, "output"), strict=True))
            found = [error(actual, expected) for actual, expected in outputs]
            for i, exact in enumerate(arrays(file, "exact")):
                if found[i] > TOLERANCE and is_rounding(*outputs[i], exact):
                    print(f"{path.stem}: an error of {found[i]:.1e} because the network amplifies rounding errors")
                    found[i] = 0.0
            yield found


def in_onnxruntime(model):
    """Returns the errors in ONNX Runtime. Fails if the model is not valid, or has too few files of inputs."""
    onnx.checker.check_model(str(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    names = [entry.name for entry in inputs]
    found = list(errors(model, lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))))
    is_dynamic = any(isinstance(size, str) for entry in inputs for size in entry.shape)
    expected = 2 if is_dynamic else 1
    if len(found) < expected:
        raise ValueError(f"expected at least {expected} files of inputs and outputs, found {len(found)}")
    return found


def in_openvino(model):
    """Returns the errors in OpenVINO. By default, its layers may compute in half precision."""
    compiled = openvino.Core().compile_model(str(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(arrays):
        outputs = compiled(arrays)
        return [outputs[output] for output in compiled.outputs]

    return list(errors(model, run))


def main():
    _, directory, *openvino_models = sys.argv
    models = sorted(pathlib.Path(directory).rglob("*.onnx"))
    failed = []
    checks = [(model, in_onnxruntime, "ONNX Runtime") for model in models]
    checks += [(pathlib.Path(directory, f"{name}.onnx"), in_openvino, "OpenVINO") for name in openvino_models]
    largest = {}
    for model, check, program in checks:
        name = f"{model.parent.name}/{model.stem}"
        try:
            found = max(error for file in check(model) for error in file)
        # The next models should be checked too.
        except Exception as exception:
            found = numpy.nan
            print(f"{name} in {program}: {exception}")
        if not found <= TOLERANCE:
            failed.append(name)
            print(f"{name} in {program}: an error of {found:.1e}")
        # There are hundreds of small models.
        key = (program, model.parent.name if model.parent.name in ("golden", "random") else name)
        errors_so_far, count = largest.get(key, (0.0, 0))
        largest[key] = (numpy.fmax(errors_so_far, found), count + 1)
    for (program, name), (found, count) in largest.items():
        print(f"{program}, {name}: {found:.1e}" + (f" in {count} models" if count > 1 else ""))
    if failed or not models:
        raise SystemExit(f"failed: {failed}, {len(models)} models")


main()
