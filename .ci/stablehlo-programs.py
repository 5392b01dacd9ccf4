"""Runs exported StableHLO programs with XLA on the CPU and compares their outputs with those of sconce.

The first argument is a directory with programs: NAME.stablehlo, NAME.mlir and NAME.safetensors, and the inputs and
outputs in NAME.npz. Some have a second program, NAME.gradients.stablehlo, with the gradients of the outputs and of the
parameters in NAME.gradients.npz. The other arguments are patterns that select programs by their paths in this
directory. Needs the packages jax and safetensors, see stablehlo.sh.

The portable artifact must be the program that StableHLO writes for the text. The outputs and the gradients may differ
by TOLERANCE. Some of the smallest and of the random networks amplify rounding errors. Their files have the numbers of
sconce in f64 too. If the numbers differ more than TOLERANCE, those of XLA may differ from the numbers in f64 at most
MARGIN times as much as those of sconce do. A gradient that is 0 except for rounding errors, such as that of a bias
before a norm, may differ by TOLERANCE relative to FLOOR times the largest gradient of the network. The gradients of the
programs in f64/ may differ from finite differences by DIFFERENCE_TOLERANCE.
"""

import fnmatch
import json
import pathlib
import sys

import jax
import numpy
from jax._src.interpreters import mlir
from jaxlib.mlir.dialects import stablehlo
from safetensors import safe_open

TOLERANCE = 1e-5
MARGIN = 4
DIFFERENCE_TOLERANCE = 1e-6
FLOOR = 0.01
VERSION = "1.0.0"


def magnitude(array):
    """Returns the largest absolute value."""
    return float(numpy.abs(array.astype(numpy.float64)).max(initial=0.0))


def difference(actual, expected, floor=1e-30):
    """Returns the largest difference, relative to the largest number, or to `floor` if it is larger."""
    if actual.shape != expected.shape:
        raise ValueError(f"expected the shape {expected.shape}, found {actual.shape}")
    return magnitude(actual.astype(numpy.float64) - expected.astype(numpy.float64)) / max(magnitude(expected), floor)


def arrays(file, kind):
    names = sorted((name for name in file.files if name.startswith(kind)), key=lambda name: int(name.split("_")[-1]))
    return [file[name] for name in names]


def weights(path):
    """Returns the weights in the order of the arguments."""
    with safe_open(path, "numpy") as file:
        return [file.get_tensor(name) for name in json.loads(file.metadata()["arguments"])]


def check_text(artifact, text):
    """Checks that the artifact is the program that StableHLO writes for the text."""
    with mlir.make_ir_context() as context:
        written = stablehlo.serialize_portable_artifact_str(text, VERSION)
        program, expected = [stablehlo.deserialize_portable_artifact(context, bytes) for bytes in (artifact, written)]
        if str(program) != str(expected):
            raise ValueError("the artifact is not the program of the text")


class Program:
    """A compiled program."""

    def __init__(self, device, path):
        artifact = path.read_bytes()
        check_text(artifact, path.with_suffix(".mlir").read_text())
        self.executable = device.client.compile_and_load(artifact, [device])

    def run(self, arguments):
        results = self.executable.execute_sharded([jax.device_put(argument) for argument in arguments])
        return [numpy.asarray(shards[0]) for shards in results.disassemble_into_single_device_arrays()]


def errors(name, actual, expected, exact, floor=1e-30):
    """Returns the differences of arrays, without those that are rounding errors."""
    for i, (found, wanted) in enumerate(zip(actual, expected, strict=True)):
        error = difference(found, wanted, floor)
        if error > TOLERANCE and exact and difference(found, exact[i]) <= MARGIN * difference(wanted, exact[i]):
            print(f"{name}: an error of {error:.1e} because the network amplifies rounding errors")
            error = 0.0
        yield error


def difference_error(program, arguments, seeds, gradients):
    """Returns the relative difference of the derivative in a random direction and a finite difference."""
    generator = numpy.random.default_rng(0)
    directions = [generator.standard_normal(gradient.shape) for gradient in gradients]

    def loss(step):
        moved = [argument + step * direction for argument, direction in zip(arguments, directions)]
        outputs = program.run(moved + arguments[len(directions):])
        return sum((output * seed).sum() for output, seed in zip(outputs, seeds, strict=True))

    step = 1e-6
    expected = (loss(step) - loss(-step)) / (2 * step)
    actual = sum((gradient * direction).sum() for gradient, direction in zip(gradients, directions))
    return abs(actual - expected) / abs(expected)


def check(device, path):
    """Returns the largest error of the outputs and the gradients of a network."""
    forward = Program(device, path)
    parameters = weights(path.with_suffix(".safetensors"))
    with numpy.load(path.with_suffix(".npz")) as file:
        inputs, outputs, exact = [arrays(file, kind) for kind in ("input", "output", "exact")]
    arguments = parameters + inputs
    found = list(errors(path.stem, forward.run(arguments), outputs, exact))
    if not path.with_suffix(".gradients.stablehlo").exists():
        return max(found)
    with numpy.load(path.with_suffix(".gradients.npz")) as file:
        seeds, gradients, exact = [arrays(file, kind) for kind in ("seed", "gradient", "exact")]
    results = Program(device, path.with_suffix(".gradients.stablehlo")).run(arguments + seeds)
    actual = results[len(outputs):]
    # Both programs have the same outputs.
    found += [difference(*pair) for pair in zip(results[: len(outputs)], forward.run(arguments), strict=True)]
    floor = FLOOR * max(map(magnitude, gradients), default=0.0)
    found += errors(f"{path.stem}, gradients", actual, gradients, exact, max(floor, 1e-30))
    if path.parent.name == "f64":
        error = difference_error(forward, arguments, seeds, actual)
        if not error <= DIFFERENCE_TOLERANCE:
            raise ValueError(f"the gradients differ from finite differences by {error:.1e}")
    return max(found)


def main():
    _, directory, *patterns = sys.argv
    # Without this setting, JAX converts i64 and f64 to 32 bits.
    jax.config.update("jax_enable_x64", True)
    device = jax.devices("cpu")[0]
    failed = []
    largest = {}
    for path in sorted(pathlib.Path(directory).rglob("*.stablehlo")):
        name = str(path.relative_to(directory).with_suffix(""))
        is_selected = not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        if name.endswith(".gradients") or not is_selected:
            continue
        try:
            found = check(device, path)
        # The next programs should be checked too.
        except Exception as exception:
            found = numpy.nan
            print(f"{name}: {exception}")
        if not found <= TOLERANCE:
            failed.append(name)
            print(f"{name}: an error of {found:.1e}")
        # There are hundreds of small programs.
        key = path.parent.name if path.parent.name in ("golden", "random", "random_f64") else name
        errors_so_far, count = largest.get(key, (0.0, 0))
        largest[key] = (numpy.maximum(errors_so_far, found), count + 1)
    for name, (found, count) in largest.items():
        print(f"{name}: {found:.1e}" + (f" in {count} programs" if count > 1 else ""))
    if failed or not largest:
        raise SystemExit(f"failed: {failed}, {len(largest)} kinds of programs")


main()
