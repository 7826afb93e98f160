"""Choose weights by how far their features carry: linear probes of layers on several image sets.

    python benchmarks/transfer.py A.safetensors B.safetensors --data grocery corel clothing

A set is a folder: with ``train`` and ``test`` in it as given, else with `--train` images of each
class, drawn by their names, and the others to test on; a class is the folder that an image is in.
Rows are scaled to length 1, and a linear SVM is fitted for each of two Cs; the figure is the mean
over classes of the accuracy with the better one. This is for choosing between weights, on images
that nothing is reported of: the Cs are chosen on what they are tested on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np

import decaf
from command_line import report_file, say_full_run
from decaf.heads import LinearSVM
from decaf.images import collect

LAYERS = ("pool5", "fc6", "fc7")
CS = (4.0, 32.0)


def main() -> None:
    args = _arguments()
    sets = {folder.name: _listed(folder, args.train, args.limit) for folder in args.data}
    for name, (paths, labels, train) in sets.items():
        print(f"{name}: {len(set(labels))} classes, {train.sum()} + {len(paths) - train.sum()}")
    figures = {}
    for weights in args.weights:
        figures[weights] = {name: _probed(weights, *images) for name, images in sets.items()}
        means = {
            layer: float(np.mean([one[layer] for one in figures[weights].values()]))
            for layer in LAYERS
        }
        rows = {**figures[weights], "mean": means}
        print(weights)
        for name, row in rows.items():
            print(f"  {name:12}", "  ".join(f"{layer} {row[layer]:5.1f}" for layer in LAYERS))
    out = report_file(args.out, args)
    if out is not None:
        out.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    head = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=head[0])
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--train", type=int, default=20, help="images of a class (default: 20)")
    parser.add_argument("--limit", type=int, default=60, help="images of a class and split at most")
    parser.add_argument("-o", "--out", type=Path, help="write the figures as JSON")
    say_full_run(parser, "transfer")
    return parser.parse_args()


def _listed(folder: Path, train: int, limit: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """List a set: paths, classes from 0 on, and which images are trained on."""
    given = (folder / "train").is_dir() and (folder / "test").is_dir()
    classes: dict[str, list[Path]] = {}
    for path in sorted(map(Path, collect(folder, labels="none", layout="classes").paths)):
        if given and path.relative_to(folder).parts[0] not in ("train", "test"):
            continue
        classes.setdefault(path.parent.name, []).append(path)
    paths, labels, chosen = [], [], []
    for label, images in enumerate(classes.values()):
        by_hash = sorted(images, key=lambda path: hashlib.sha256(path.name.encode()).digest())
        if given:
            sides = [path.relative_to(folder).parts[0] == "train" for path in by_hash]
        else:
            sides = [place < train for place in range(len(by_hash))]
        for side in (True, False):
            some = [p for p, is_train in zip(by_hash, sides, strict=True) if is_train == side]
            paths += [str(path) for path in some[:limit]]
            labels += [label] * len(some[:limit])
            chosen += [side] * len(some[:limit])
    return paths, np.array(labels), np.array(chosen)


def _probed(
    weights: str, paths: list[str], labels: np.ndarray, train: np.ndarray
) -> dict[str, float]:
    """Return the mean accuracy over classes in percent, for each layer."""
    features = decaf.extract(paths, layer=list(LAYERS), weights=weights, precision="bf16")
    best = {}
    for layer in LAYERS:
        rows = np.asarray(features[layer]).reshape(len(paths), -1)
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        accuracies = []
        for c in CS:
            guessed = LinearSVM(C=c).fit(rows[train], labels[train]).predict(rows[~train])
            tested = labels[~train]
            right = [(guessed[tested == each] == each).mean() for each in np.unique(tested)]
            accuracies.append(100 * float(np.mean(right)))
        best[layer] = max(accuracies)
    return best


if __name__ == "__main__":
    main()
