"""Writes scikit-learn's values of classification, ranking and regression metrics for random settings.

usage: make_metrics.py [OUT]    (needs scikit-learn; README.md names the version)

Writes OUT/cases.json, a list of cases (`kind`, `ignore_index`, `expected`), and OUT/cases.npz with the
tensors i/output and i/target of case i. NaN is null in the JSON file.
"""
import json
import os
import sys
import warnings

import numpy as np
from sklearn import metrics
from sklearn.preprocessing import label_binarize

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(0)
warnings.simplefilter("ignore")  # scikit-learn warns of undefined values, which are recorded here
cases, tensors = [], {}


def store(kind, output, target, expected, ignore_index=-100):
    tensors[f"{len(cases)}/output"] = np.ascontiguousarray(output)
    tensors[f"{len(cases)}/target"] = np.ascontiguousarray(target)
    cases.append({"kind": kind, "ignore_index": ignore_index, "expected": expected})


def averaged(labels, target, predicted):
    expected = {}
    for name in ["precision", "recall", "f1"]:
        score = getattr(metrics, f"{name}_score")
        for average in ["micro", "macro", "weighted"]:
            expected[f"{name}_{average}"] = score(target, predicted, average=average)
        expected[f"{name}_per_class"] = present(labels, target, predicted, score)
    expected["mean_iou"] = metrics.jaccard_score(target, predicted, average="macro")
    expected["iou_per_class"] = present(labels, target, predicted, metrics.jaccard_score)
    return expected


def present(labels, target, predicted, score):
    """Returns the score of each class, or None for a class that is neither predicted nor in the targets."""
    values = score(target, predicted, labels=labels, average=None)
    return [value if (target == label).any() or (predicted == label).any() else None
            for label, value in zip(labels, values)]


def top_k(logits, target, k):
    """Of equal scores, scikit-learn prefers the higher class. The classes are reversed to prefer the lower class."""
    classes = logits.shape[1]
    reversed_target = classes - 1 - target
    return metrics.top_k_accuracy_score(reversed_target, logits[:, ::-1], k=k, labels=range(classes))


def one_vs_rest(logits, target):
    labels = range(logits.shape[1])
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    binary = label_binarize(target, classes=labels)
    precision = [metrics.average_precision_score(binary[:, c], probabilities[:, c]) for c in labels]
    roc = metrics.roc_auc_score(target, probabilities, multi_class="ovr", labels=labels, average=None)
    return {
        "auroc_per_class": list(roc),
        "auroc_macro": metrics.roc_auc_score(target, probabilities, multi_class="ovr", labels=labels),
        "average_precision_per_class": precision,
        "average_precision_macro": metrics.average_precision_score(binary, probabilities),
        "perplexity": np.exp(metrics.log_loss(target, probabilities, labels=labels)),
    }


def class_logits(elements, classes, ties):
    if not ties:
        return rng.normal(size=(elements, classes)) * rng.choice([1, 5])
    # Rows that occur several times, with equal logits in a row. The factor keeps different rows different.
    count = max(1, elements // 3)
    rows = rng.integers(-2, 3, size=(count, classes)) * rng.uniform(0.5, 1.5, size=(count, 1))
    return rows[rng.integers(0, len(rows), size=elements)]


def class_targets(elements, classes, logits):
    kind = rng.choice(["uniform", "imbalanced", "absent", "learned"])
    if kind == "uniform":
        return rng.integers(0, classes, size=elements)
    if kind == "imbalanced":
        return np.where(rng.random(elements) < 0.9, 0, rng.integers(0, classes, size=elements))
    if kind == "absent":
        logits[:, classes - 1] -= 30  # never predicted
        return rng.integers(0, max(1, classes - 2), size=elements)
    return np.where(rng.random(elements) < 0.7, logits.argmax(axis=1), rng.integers(0, classes, size=elements))


def multiclass():
    classes = int(rng.integers(3, 8))
    tail = [(), (), (3,), (2, 4)][rng.integers(0, 4)]
    batch = int(rng.integers(1, 40))
    elements = batch * int(np.prod(tail, dtype=int))
    logits = class_logits(elements, classes, ties=rng.random() < 0.4).astype("float32")
    target = class_targets(elements, classes, logits)
    ignore_index = int(rng.choice([-100, 255]))
    ignored = rng.random(elements) < rng.choice([0, 0.2])
    stored = np.where(ignored, ignore_index, target)
    output = np.moveaxis(logits.reshape(batch, *tail, classes), -1, 1)
    logits, target = logits[~ignored].astype("float64"), target[~ignored]
    if len(target) == 0:
        return
    predicted = logits.argmax(axis=1)
    labels = list(range(classes))
    expected = {
        "accuracy": metrics.accuracy_score(target, predicted),
        "top_2_accuracy": top_k(logits, target, 2),
        "top_3_accuracy": top_k(logits, target, 3),
        "confusion_matrix": metrics.confusion_matrix(target, predicted, labels=labels).tolist(),
        **averaged(labels, target, predicted),
        **one_vs_rest(logits, target),
    }
    store("multiclass", output, stored.reshape(batch, *tail), expected, ignore_index)


def binary():
    shape = [(int(rng.integers(1, 80)),), (int(rng.integers(1, 80)), 1), (3, 4, 5)][rng.integers(0, 3)]
    logits = rng.normal(size=shape) * 3
    if rng.random() < 0.5:
        logits = np.round(logits)  # ties, also at 0
    rate = rng.choice([0.5, 0.5, 0.5, 0.1, 0.1, 0, 1])
    target = np.full(shape, rate)  # one class only, if the rate is 0 or 1
    if 0 < rate < 1:
        target = rng.random(shape) < np.where(logits > 0, (1 + rate) / 2, rate)
    ignored = rng.random(shape) < rng.choice([0, 0.2])
    stored = np.where(ignored, -100, target).astype("int64")
    output = logits.astype("float32")
    logits, target = output[~ignored].astype("float64"), target[~ignored].astype("int64")
    if len(target) == 0:
        return
    predicted = (logits > 0).astype("int64")
    store("binary", output, stored, {
        "accuracy": metrics.accuracy_score(target, predicted),
        "precision": metrics.precision_score(target, predicted),
        "recall": metrics.recall_score(target, predicted),
        "f1": metrics.f1_score(target, predicted),
        "mean_iou": metrics.jaccard_score(target, predicted, average="macro"),
        "confusion_matrix": metrics.confusion_matrix(target, predicted, labels=[0, 1]).tolist(),
        "auroc": metrics.roc_auc_score(target, logits),
        "average_precision": metrics.average_precision_score(target, logits),
    })


def regression():
    shape = [(int(rng.integers(1, 50)),), (int(rng.integers(1, 20)), 1), (4, 3, 5)][rng.integers(0, 3)]
    offset = rng.choice([0, 0, 1e6])
    target = rng.normal(size=shape) * rng.choice([0, 1, 1, 100]) + offset
    output = target + rng.normal(size=shape) * rng.choice([0, 0.1, 2])
    y, x = target.ravel(), output.ravel()
    store("regression", output, target, {
        "mae": metrics.mean_absolute_error(y, x),
        "rmse": metrics.root_mean_squared_error(y, x),
        "r2": metrics.r2_score(y, x),
    })


for make, count in [(multiclass, 40), (binary, 40), (regression, 24)]:
    first = len(cases)
    while len(cases) < first + count:
        make()


def without_nan(value):
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(entry) for entry in value]
    if isinstance(value, (np.integer, int)):
        return int(value)
    if value is None or isinstance(value, str):
        return value
    return None if np.isnan(value) else float(value)


np.savez_compressed(f"{OUT}/cases.npz", **tensors)
with open(f"{OUT}/cases.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(without_nan(case)) for case in cases) + "\n]\n")
