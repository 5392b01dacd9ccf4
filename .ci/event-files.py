"""Compares the event files of training runs, as TensorBoard reads them, with the tables metrics.csv and steps.csv.

The first argument is a directory with a folder for each run. Needs the package tensorboard, see event-files.sh.
"""

import csv
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PREFIXES = {"train_": "train", "valid_": "valid"}
STEP_TAGS = {"loss": "loss/step", "learning_rate": "lr", "gradient_norm": "gradient_norm"}


def single(text):
    """Returns a number in single precision, as event files store it."""
    return struct.unpack("<f", struct.pack("<f", float(text)))[0]


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def expected(run):
    """Returns the steps and the values of each tag, from the tables."""
    tags = {}
    for row in rows(run / "metrics.csv"):
        for column, value in row.items():
            for prefix, name in PREFIXES.items():
                if column.startswith(prefix) and value:
                    tag = f"{column.removeprefix(prefix)}/{name}"
                    tags.setdefault(tag, []).append((int(row["step"]), single(value)))
    for row in rows(run / "steps.csv"):
        for column, tag in STEP_TAGS.items():
            if row[column]:
                tags.setdefault(tag, []).append((int(row["step"]), single(row[column])))
    return tags


def found(run):
    """Returns the steps and the values of each tag, from the event files."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def equal(a, b):
    return a == b or math.isnan(a) and math.isnan(b)


def check(run):
    tables, events = expected(run), found(run)
    if not tables or tables.keys() != events.keys():
        sys.exit(f"{run}: expected the tags {sorted(tables)}, found {sorted(events)}")
    for tag, values in tables.items():
        pairs = list(zip(values, events[tag]))
        if len(values) != len(events[tag]) or not all(a[0] == b[0] and equal(a[1], b[1]) for a, b in pairs):
            sys.exit(f"{run}, tag {tag}: expected {values}, found {events[tag]}")
    count = len(list(run.glob("events.out.tfevents.*")))
    print(f"{run.name}: {sum(map(len, tables.values()))} values of {len(tables)} tags in {count} event files")


def main():
    runs = sorted(path.parent for path in pathlib.Path(sys.argv[1]).glob("*/metrics.csv"))
    if not runs:
        sys.exit(f"{sys.argv[1]}: expected directories of runs, found none")
    for run in runs:
        check(run)


main()
