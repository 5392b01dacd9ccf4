"""Helpers of the comparison scripts: run sconce and the other frameworks, and merge and compare their times."""

import argparse
import csv
import math
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def median_ms(call, budget=0.5, min_calls=5, max_calls=300):
    """Returns the median time of a call in milliseconds. Three calls before the measurement are not timed."""
    for _ in range(3):
        call()
    times, start = [], time.perf_counter()
    while len(times) < min_calls or (time.perf_counter() - start < budget and len(times) < max_calls):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return 1e3 * sorted(times)[len(times) // 2]


def rows(table):
    """Yields the lines of a table without comments and empty lines."""
    with open(table) as file:
        for line in file:
            line = line.split("#")[0].strip()
            if line:
                yield line


def parser(description, table, rounds):
    """Returns an argument parser with the options that all comparisons have."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--table", default=os.path.join(HERE, table))
    options.add_argument("--only", help="compare only the lines with these names, separated by commas")
    options.add_argument("--rounds", type=int, default=rounds)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--csv", help="also write the compared times to this file")
    return options


def select(table, only, work):
    """Returns the path of a table with only the named lines, written to the directory `work`."""
    if not only:
        return os.path.abspath(table)
    names = only.split(",")
    lines = [line for line in rows(table) if line.split("|")[0].split()[0] in names]
    if len(lines) != len(names):
        sys.exit(f"expected names of {table}, found {only}")
    path = os.path.join(work, "table.txt")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def build(example):
    """Builds an example of sconce."""
    subprocess.run(["cargo", "build", "--release", "-q", "--example", example], check=True, cwd=ROOT)


def example(name, arguments):
    """Runs a built example of sconce and discards its output."""
    command = ["cargo", "run", "--release", "-q", "--example", name, "--", *arguments]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def script(name, arguments):
    """Runs a script of this directory. Prints its warnings and errors only if it fails."""
    command = [sys.executable, os.path.join(HERE, name), *arguments]
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"{run.stderr}\n{name} failed")


def merge(minimum, path):
    """Merges the times of a CSV file into `minimum`, by name and column. Keeps the lower time of each cell."""
    with open(path) as file:
        for row in csv.DictReader(file):
            cells = minimum.setdefault(row.pop("name"), {})
            for column, value in row.items():
                value = float(value) if value else math.nan
                if value < cells.get(column, math.inf):  # False if the value is NaN.
                    cells[column] = value


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def summary(what, ratios):
    """Prints the geometric mean and the maximum of a list of `(ratio, name)`. Returns both ratios."""
    mean, worst = geometric_mean([ratio for ratio, _ in ratios]), max(ratios)
    ahead = sum(ratio <= 1 for ratio, _ in ratios)
    print(
        f"{what}: geometric mean {mean:.3f}; worst {worst[0]:.2f} ({worst[1]}); "
        f"ahead on {ahead} of {len(ratios)}"
    )
    return mean, worst[0]


def write_csv(path, header, lines):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *lines])
