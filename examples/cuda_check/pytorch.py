"""Times the layers of cuda_check in PyTorch, with cuDNN and with torch.compile, on this machine's GPU.

usage: python pytorch.py [--sconce cuda_check.csv] [--csv FILE] [--batches 1,32,256] [--formats f32,tf32,f16,bf16]
                       [--no-compile] [--short]

--sconce FILE  the file that `cuda_check --csv FILE` wrote on the same machine: print its times beside PyTorch's,
               and the geometric mean of the ratios to the faster of cuDNN and torch.compile
--batches, --formats  the batch sizes and formats to time (default: all)
--no-compile   time only cuDNN: torch.compile takes seconds for each layer
--short        only the first two layers at batch 1, to check that the program runs
"""
import argparse, csv, math, pathlib, re, statistics, sys, time
import torch
import torch.nn.functional as F

FORMATS = {
    "f32": (torch.float32, False),
    "tf32": (torch.float32, True),
    "f16": (torch.float16, False),
    "bf16": (torch.bfloat16, False),
}
CALLS = 10
BUDGET = 0.1  # seconds of measurement per layer


def layers():
    """Yields the name and the numbers of each layer of the table in table.rs."""
    source = (pathlib.Path(__file__).parent / "table.rs").read_text()
    for name, numbers in re.findall(r'\("(\w+)", \[([\d, ]+)\]\)', source):
        yield name, [int(number) for number in numbers.split(",")]


def milliseconds(call, short):
    """Returns the median time of a call in milliseconds, measured with device events around CALLS calls."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    times, begin = [], time.monotonic()
    while len(times) < 5 or (not short and len(times) < 50 and time.monotonic() - begin < BUDGET):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(CALLS):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / CALLS)
    return statistics.median(times)


def time_row(numbers, batch, dtype, arguments):
    """Returns the times of cuDNN and torch.compile in milliseconds; NaN if memory runs out or compilation is off."""
    inputs, height, width, outputs, kernel, stride, padding, dilation, groups = numbers
    random = lambda *shape: (torch.randn(*shape, device="cuda") * 0.1).to(dtype)
    x, w, b = random(batch, inputs, height, width), random(outputs, inputs // groups, kernel, kernel), random(outputs)
    layer = lambda x: F.relu(F.conv2d(x, w, b, stride, padding, dilation, groups))
    results = []
    for call in (layer, None if arguments.no_compile else torch.compile(layer)):
        try:
            results.append(milliseconds(lambda: call(x), arguments.short) if call else math.nan)
        except torch.cuda.OutOfMemoryError:
            results.append(math.nan)
    torch._dynamo.reset()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sconce")
    parser.add_argument("--csv")
    parser.add_argument("--batches", default="1,32,256")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("PyTorch found no CUDA device; nothing was timed")
        sys.exit(0 if arguments.short else 2)
    torch.backends.cudnn.benchmark = True
    ours = {}
    if arguments.sconce:
        with open(arguments.sconce) as file:
            ours = {(row["name"], row["batch"], row["format"]): float(row["ours_ms"]) for row in csv.DictReader(file)}
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    print(f"{'layer':<12}{'batch':>6}{'':>6}{'cuDNN ms':>12}{'compile ms':>12}{'sconce ms':>12}{'ratio':>8}")
    rows, ratios = [], []
    table = list(layers())
    for name, numbers in table[:2] if arguments.short else table:
        for batch in map(int, arguments.batches.split(",")[:1] if arguments.short else arguments.batches.split(",")):
            for label in arguments.formats.split(","):
                dtype, tf32 = FORMATS[label]
                torch.backends.cudnn.allow_tf32 = tf32
                with torch.no_grad():
                    cudnn, compiled = time_row(numbers, batch, dtype, arguments)
                mine = ours.get((name, str(batch), label), math.nan)
                ratio = mine / min(ms for ms in (cudnn, compiled, math.inf) if not math.isnan(ms))
                if not math.isnan(ratio) and ratio > 0:
                    ratios.append(ratio)
                times = f"{cudnn:>12.4f}{compiled:>12.4f}{mine:>12.4f}"
                print(f"{name:<12}{batch:>6}{label:>6}{times}{ratio:>8.2f}", flush=True)
                rows.append([name, batch, label, cudnn, compiled])
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"geometric mean of sconce's time relative to the faster of the two: {mean:.3f}")
        print(f"sconce is at least as fast on {sum(r <= 1 for r in ratios)} of {len(ratios)}")
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            csv.writer(file).writerows([["name", "batch", "format", "cudnn_ms", "compile_ms"], *rows])


if __name__ == "__main__":
    main()
