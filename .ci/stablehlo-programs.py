"""Runs exported StableHLO programs with XLA on the CPU and compares their outputs with those of sconce.

The first argument is a directory with programs: NAME.stablehlo, NAME.mlir and NAME.safetensors, and the inputs and
outputs in NAME.npz. The other arguments are patterns that select programs by their paths in this directory. Needs the
packages jax and safetensors, see stablehlo.sh.

The portable artifact must be the program of the text. The outputs may differ by TOLERANCE. Some of the smallest and of
the random networks amplify rounding errors. Their files have the outputs of sconce in f64 too. If the outputs differ more
than TOLERANCE, those of XLA may differ from the outputs in f64 at most MARGIN times as much as the outputs of sconce do.
"""

import fnmatch
import json
import pathlib
import sys

import jax
import numpy
from jax._src.interpreters import mlir
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo
from safetensors import safe_open

TOLERANCE = 1e-5
MARGIN = 4
VERSION = "1.0.0"


def difference(actual, expected):
    """Returns the largest difference, relative to the largest number."""
    if actual.shape != expected.shape:
        raise ValueError(f"expected {expected.shape}, found {actual.shape}")
    if expected.size == 0:
        return 0.0
    largest = numpy.abs(actual.astype(numpy.float64) - expected.astype(numpy.float64)).max()
    return float(largest / max(numpy.abs(expected.astype(numpy.float64)).max(), 1e-30))


def arrays(file, kind):
    names = sorted((name for name in file.files if name.startswith(kind)), key=lambda name: int(name.split("_")[-1]))
    return [file[name] for name in names]


def weights(path):
    """Returns the weights in the order of the arguments."""
    with safe_open(path, "numpy") as file:
        return [file.get_tensor(name) for name in json.loads(file.metadata()["arguments"])]


def check_text(artifact, path):
    """Checks that the artifact is the program of the text, and that StableHLO writes it in the same version."""
    with mlir.make_ir_context() as context:
        program = stablehlo.deserialize_portable_artifact(context, artifact)
        text = ir.Module.parse(path.read_text())
        text.operation.verify()
        if str(program) != str(text):
            raise ValueError("the artifact is not the program of the text")
    version = stablehlo.get_version_from_portable_artifact(artifact) if hasattr(
        stablehlo, "get_version_from_portable_artifact") else VERSION
    if str(version) != VERSION:
        raise ValueError(f"expected version {VERSION}, found {version}")


def run(client, artifact, arguments):
    """Compiles and runs a program, and returns its outputs."""
    with mlir.make_ir_context() as context:
        program = stablehlo.deserialize_portable_artifact(context, artifact)
        executable = client.compile_and_load(str(program), client.devices())
    results = executable.execute_sharded([jax.device_put(argument) for argument in arguments])
    return [numpy.asarray(shards[0]) for shards in results.disassemble_into_single_device_arrays()]


def error(client, path):
    """Returns the largest error of the outputs of a program."""
    artifact = path.read_bytes()
    check_text(artifact, path.with_suffix(".mlir"))
    with numpy.load(path.with_suffix(".npz")) as file:
        inputs, expected, exact = [arrays(file, kind) for kind in ("input", "output", "exact")]
    actual = run(client, artifact, weights(path.with_suffix(".safetensors")) + inputs)
    errors = []
    for i, (output, wanted) in enumerate(zip(actual, expected, strict=True)):
        found = difference(output, wanted)
        if found > TOLERANCE and exact:
            if difference(output, exact[i]) <= MARGIN * difference(wanted, exact[i]):
                print(f"{path.stem}: an error of {found:.1e} because the network amplifies rounding errors")
                found = 0.0
        errors.append(found)
    return max(errors)


def main():
    _, directory, *patterns = sys.argv
    # Without this setting, JAX converts i64 and f64 to 32 bits.
    jax.config.update("jax_enable_x64", True)
    client = jax.devices("cpu")[0].client
    failed = []
    largest = {}
    for path in sorted(pathlib.Path(directory).rglob("*.stablehlo")):
        name = str(path.relative_to(directory).with_suffix(""))
        if patterns and not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            continue
        try:
            found = error(client, path)
        # The next programs should be checked too.
        except Exception as exception:
            found = numpy.nan
            print(f"{name}: {exception}")
        if not found <= TOLERANCE:
            failed.append(name)
            print(f"{name}: an error of {found:.1e}")
        # There are hundreds of small programs.
        key = path.parent.name if path.parent.name in ("golden", "random") else name
        errors_so_far, count = largest.get(key, (0.0, 0))
        largest[key] = (numpy.fmax(errors_so_far, found), count + 1)
    for name, (found, count) in largest.items():
        print(f"{name}: {found:.1e}" + (f" in {count} programs" if count > 1 else ""))
    if failed or not largest:
        raise SystemExit(f"failed: {failed}, {len(largest)} kinds of programs")


main()
