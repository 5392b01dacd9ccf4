"""Compares layers and chains of layers of sconce with PyTorch, ONNX Runtime and OpenVINO, alternately on one machine.

usage: python benches/peers/compare_ops.py [--table ops.txt] [--only NAME,…] [--rounds 2] [--threads N] [--csv FILE]
                                           [--max-ratio R] [--max-geomean G] [--max-train-ratio R]
                                           [--max-train-geomean G]

Builds and runs `op_table`, alternately with op_peers.py. Each time is the minimum of its medians over the rounds.
Inference is compared with the fastest peer, training with PyTorch. Exits with code 1 if a bound does not hold.
"""

import math
import os
import sys
import tempfile

import common


def main():
    options = common.parser(__doc__, "ops.txt", rounds=2)
    for bound in ("ratio", "geomean", "train-ratio", "train-geomean"):
        options.add_argument(f"--max-{bound}", type=float, default=math.inf)
    options = options.parse_args()

    sconce, peers = {}, {}
    common.build("op_table")
    with tempfile.TemporaryDirectory() as work:
        table = common.select(options.table, options.only, work)
        out = os.path.join(work, "times.csv")
        arguments = [table, "--threads", str(options.threads), "--csv", out]
        for _ in range(options.rounds):
            common.example("op_table", arguments)
            common.merge(sconce, out)
            common.script("op_peers.py", arguments)
            common.merge(peers, out)

    print(f"{options.threads} threads, minimum of {options.rounds} medians, milliseconds")
    print(
        f"{'operation':<20}{'sconce':>10}{'best peer':>22}{'ratio':>8}"
        f"   {'training':>10}{'PyTorch':>10}{'ratio':>8}"
    )
    inference, training, lines = [], [], []
    for name, ours in sconce.items():
        theirs = {peer: time for peer, time in peers[name].items() if peer != "torch_train"}
        if not theirs:
            print(f"{name:<20}no other framework runs it")
            continue
        best, torch = min(theirs, key=theirs.get), peers[name]["torch_train"]
        infer, train = ours["inference_ms"], ours["train_ms"]
        inference.append((infer / theirs[best], name))
        training.append((train / torch, name))
        lines.append([name, infer, theirs[best], best, train, torch])
        print(
            f"{name:<20}{infer:>10.4f}{best:>13}{theirs[best]:>9.4f}{infer / theirs[best]:>8.2f}"
            f"   {train:>10.4f}{torch:>10.4f}{train / torch:>8.2f}"
        )
    mean, worst = common.summary("inference", inference)
    train_mean, train_worst = common.summary("training", training)
    if options.csv:
        header = ["operation", "sconce_ms", "other_ms", "other", "sconce_train_ms", "torch_train_ms"]
        common.write_csv(options.csv, header, lines)
    exceeded = mean > options.max_geomean or worst > options.max_ratio
    sys.exit(exceeded or train_mean > options.max_train_geomean or train_worst > options.max_train_ratio)


if __name__ == "__main__":
    main()
