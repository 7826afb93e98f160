"""How good are weights for other tasks? Linear SVMs on the features of Caltech-101.

    python benchmarks/packaged_weights.py 101_ObjectCategories

The protocol of Donahue et al. 2014, section 4.1: 30 training images of each class, at most 50 of
the others as test images, accuracy as the mean over the classes, over several random splits. All
102 folders of the data set are classes, the one of background too. The SVMs are one-vs-one; their
C is chosen on a fifth of each split's training images, and the split's test images are looked at
once. By default the packaged weights are measured, and the same network with random weights.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.svm import SVC

import decaf

LAYERS = ("pool5", "fc6", "fc7")
TRAIN, TEST = 30, 50
COSTS = (1.0, 10.0, 100.0)


def main() -> None:
    args = _arguments()
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {n: version(n) for n in ("torch", "scikit-learn")},
        "command": f"python benchmarks/packaged_weights.py CALTECH101 --splits {args.splits}",
        "weights": {},
    }
    names = args.weights or ["tiny-imagenet", f"random:0:{_packaged_arch()}"]
    for name in names:
        report["weights"][name] = _measure(args.images, name, args)
    print(_table(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
        text = f"# Transfer to Caltech-101\n\n`{report['command']}`\n\n```\n{_table(report)}\n```\n"
        args.json.with_suffix(".md").write_text(text)


def _arguments() -> argparse.Namespace:
    head = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=head[0], epilog=head[2])
    parser.add_argument("images", type=Path, help="folder of Caltech-101's class folders")
    parser.add_argument("-w", "--weights", action="append", help="may be given several times")
    parser.add_argument("--splits", type=int, default=5, help="random splits (default: 5)")
    parser.add_argument("--json", type=Path, help="where to write the result, .md beside it")
    return parser.parse_args()


def _packaged_arch() -> str:
    return decaf.load_backbone("tiny-imagenet").spec.name


def _measure(folder: Path, weights: str, args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "features.h5"
        features = decaf.extract(folder, LAYERS, out=out, weights=weights, labels="folder")
        assert isinstance(features, decaf.FeatureFile)
        with features:
            matrices = {layer: features.to_xy(layer) for layer in LAYERS}
            identity = features.run["weights"]
    found: dict[str, Any] = {"identity": identity}
    for layer, (rows, labels) in matrices.items():
        print(f"{weights}: {layer}", file=sys.stderr, flush=True)
        rows = rows.reshape(len(rows), -1)
        scores = [_accuracy(rows, labels, seed) for seed in range(args.splits)]
        found[layer] = {
            "mean": round(100 * statistics.fmean(s for s, _ in scores), 2),
            "std": round(100 * statistics.pstdev(s for s, _ in scores), 2),
            "costs": [cost for _, cost in scores],
        }
    return found


def _accuracy(rows: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """Give the mean per-class accuracy of one split, and the C it was reached with."""
    random = np.random.default_rng(seed)
    train, test = [], []
    for label in np.unique(labels):
        order = random.permutation(np.flatnonzero(labels == label))
        train.append(order[:TRAIN])
        test.append(order[TRAIN : TRAIN + TEST])
    fitting, choosing = [t[: TRAIN * 4 // 5] for t in train], [t[TRAIN * 4 // 5 :] for t in train]
    # One number for all features, so that the same costs suit every layer and network.
    scaled = rows / np.sqrt((rows[np.concatenate(train)] ** 2).sum(axis=1).mean())

    # A linear kernel computed in advance: a hundred times as fast here as from the features.
    kernel = scaled @ scaled[np.concatenate(train)].T
    column = {int(row): place for place, row in enumerate(np.concatenate(train))}

    def score(cost: float, fit: list[np.ndarray], held: list[np.ndarray]) -> float:
        here, there = np.concatenate(fit), np.concatenate(held)
        seen = [column[int(row)] for row in here]
        machine = SVC(C=cost, kernel="precomputed").fit(kernel[np.ix_(here, seen)], labels[here])
        right = machine.predict(kernel[np.ix_(there, seen)]) == labels[there]
        return statistics.fmean(right[labels[there] == each].mean() for each in np.unique(labels))

    cost = max(COSTS, key=lambda each: score(each, fitting, choosing))
    return score(cost, train, test), cost


def _table(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    lines = [
        f"{report['date']}, {report['cores']} cores; {versions}",
        f"mean per-class accuracy (%), {TRAIN} training images a class, mean ± std over the splits",
        "",
        f"{'':28}" + "".join(f"{layer:>14}" for layer in LAYERS),
    ]
    for name, found in report["weights"].items():
        cells = [f"{found[layer]['mean']:.1f} ± {found[layer]['std']:.1f}" for layer in LAYERS]
        lines.append(f"{Path(name).name:28}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
