"""Compares sconce's fused convolution + bias + ReLU with other frameworks, alternately on one machine.

usage: python benches/peers/compare.py [--table layers.txt] [--only NAME,…] [--rounds 3] [--threads N] [--csv FILE]
                                       [--peers ort,openvino,ncnn[,torch,torch_mkldnn]]
                                       [--max-ratio R] [--max-geomean G]

Builds and runs `conv_table`, alternately with conv_peers.py. Each time is the minimum of its medians over the rounds.
"candle" is candle's conv2d, broadcast_add and relu. With --max-ratio or --max-geomean, exits with code 1 if the ratio
of a layer to its fastest peer, or the geometric mean of these ratios, is above the bound.
"""

import math
import os
import subprocess
import sys
import tempfile

import common


def fma_peak(threads, work):
    """Returns the machine's peak in GFLOP/s, measured by peak.c."""
    program = os.path.join(work, "peak")
    flags = ["-O2", "-march=native", "-ffp-contract=fast", "-lpthread"]
    try:
        subprocess.run(["cc", os.path.join(common.HERE, "peak.c"), "-o", program, *flags], check=True)
        output = subprocess.run([program, str(threads)], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        print("no FMA peak:", error, file=sys.stderr)
        return math.nan
    return next(float(line.split()[2]) for line in output.splitlines() if line.startswith(f"{threads} threads"))


def main():
    options = common.parser(__doc__, "layers.txt", rounds=3)
    options.add_argument("--peers", default="ort,openvino,ncnn")
    options.add_argument("--max-ratio", type=float, default=math.inf)
    options.add_argument("--max-geomean", type=float, default=math.inf)
    options = options.parse_args()

    sconce, peers = {}, {}
    common.build("conv_table")
    with tempfile.TemporaryDirectory() as work:
        table = common.select(options.table, options.only, work)
        peak = fma_peak(options.threads, work)
        out = os.path.join(work, "times.csv")
        arguments = [table, "--threads", str(options.threads), "--csv", out]
        for _ in range(options.rounds):
            common.example("conv_table", arguments)
            common.merge(sconce, out)
            common.script("conv_peers.py", [*arguments, "--peers", options.peers])
            common.merge(peers, out)

    print(f"{options.threads} threads, FMA peak {peak:.0f} GFLOP/s, minimum of {options.rounds} medians, milliseconds")
    print(f"{'layer':<20}{'sconce':>10}{'candle':>10}{'best peer':>22}{'ratio':>8}{'GFLOP/s':>9}{'of peak':>9}")
    ratios, lines = [], []
    for name, ours in sconce.items():
        theirs = {peer: time for peer, time in peers[name].items() if peer != "gflop"}
        if not theirs:
            print(f"{name:<20}no other framework runs it")
            continue
        best = min(theirs, key=theirs.get)
        fused, unfused = ours["fused_ms"], ours["unfused_ms"]
        ratio, rate = fused / theirs[best], ours["gflop"] / fused * 1e3
        ratios.append((ratio, name))
        lines.append([name, ours["gflop"], fused, unfused, best, theirs[best]])
        print(
            f"{name:<20}{fused:>10.4f}{unfused:>10.4f}{best:>14}{theirs[best]:>8.4f}{ratio:>8.2f}"
            f"{rate:>9.1f}{rate / peak:>8.0%}"
        )
    mean, worst = common.summary("convolution + bias + ReLU", ratios)
    if options.csv:
        common.write_csv(options.csv, ["layer", "gflop", "sconce_ms", "candle_ms", "other", "other_ms"], lines)
    sys.exit(mean > options.max_geomean or worst > options.max_ratio)


if __name__ == "__main__":
    main()
