"""How near are bf16 rows to fp32 rows? The cosine between them, layer by layer, over photographs.

    python benchmarks/precision.py PHOTOGRAPHS --json benchmarks/results/precision.json

PHOTOGRAPHS is a folder of photographs. What `decaf.features.verify.tolerance` promises is compared
with the smallest cosine found, and the command fails where it does not hold. For ``prob`` the
network is also computed in float32 from a layer on, with what bfloat16 gave of that layer: it tells
where the loss comes from. The table goes to the terminal, and beside ``--json`` as Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decaf.backbone.engine import Engine
from decaf.backbone.model import Backbone, load_backbone
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.images import ImageRef, collect
from decaf.images.preprocess import prepare
from decaf.runtime.agreement import tolerance
from speed.machine import describe, parser_of, tell

BATCH = 32
FROM = {"fc8": "softmax", "fc7": "fc8 and softmax", "fc6": "fc7 to softmax"}


def main() -> None:
    args = _arguments()
    refs = list(collect(args.photographs, labels="none", layout="classes").refs or ())
    backbone = load_backbone(args.weights)
    cosines = _measured(backbone, refs)
    rows = {name: _row_of(name, np.concatenate(values)) for name, values in cosines.items()}
    report = {
        "command": f"python benchmarks/precision.py PHOTOGRAPHS -w {args.weights}",
        "machine": describe(),
        "weights": {"name": backbone.weights_name, "sha256": backbone.sha256},
        "images": sum(map(len, cosines["fc6"])),
        "cosine": rows,
    }
    tell(report, "Precision of bf16", _table(report), args)
    broken = [name for name, row in rows.items() if row["smallest"] < row.get("promised", 0)]
    if broken:
        sys.exit(f"less than promised: {', '.join(broken)}")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "precision", alike=("weights",))
    parser.add_argument("photographs", type=Path, help="folder of photographs")
    parser.add_argument("-w", "--weights", default=DEFAULT_WEIGHTS)
    return parser.parse_args()


def _measured(backbone: Backbone, refs: list[ImageRef]) -> dict[str, list[np.ndarray]]:
    """Compute the cosines of all layers, and of ``prob`` in float32 from a layer on."""
    exact = Engine(backbone, backbone.layers)
    fast = Engine(backbone, backbone.layers, precision="bf16")
    cosines: dict[str, list[np.ndarray]] = {name: [] for name in backbone.layers}
    for crops in _batches(backbone, refs):
        expected, rows = exact(crops), fast(crops)
        for layer in backbone.layers:
            cosines[layer].append(_cosine(expected[layer], rows[layer]))
        for layer, what in FROM.items():
            value = torch.from_numpy(rows[layer])
            for name in ("fc7", "fc8"):
                if layer < name:
                    value = backbone.network.get_submodule(name)(value)
                    value = value.relu() if name == "fc7" else value
            again = value.softmax(1).numpy()
            name = f"prob, {what} in fp32"
            cosines.setdefault(name, []).append(_cosine(expected["prob"], again))
    return cosines


def _batches(backbone: Backbone, refs: list[ImageRef]) -> Iterator[np.ndarray]:
    """Prepare the photographs that can be read, a batch at a time."""
    side = backbone.preprocess.crop
    for start in range(0, len(refs), BATCH):
        some = refs[start : start + BATCH]
        crops = np.empty((len(some), 1, side, side, 3), np.uint8)
        good = [
            prepare(ref, backbone.preprocess, ten=False, out=out).status == "ok"
            for ref, out in zip(some, crops, strict=True)
        ]
        yield crops[good]


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare rows in float64: of two arrays (N, …) to (N,)."""
    a, b = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (a, b))
    cosines: np.ndarray = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosines


def _row_of(name: str, cosines: np.ndarray) -> dict[str, float]:
    """Sum the cosines of a layer up."""
    row = {
        "smallest": float(cosines.min()),
        "one in a hundred": float(np.quantile(cosines, 0.01)),
        "median": float(np.median(cosines)),
    }
    if ", " not in name:
        row["promised"] = 1 - tolerance("bf16", "float32", name)[1]
    return {key: round(value, 6) for key, value in row.items()}


def _table(report: dict[str, Any]) -> str:
    machine, rows, weights = report["machine"], report["cosine"], report["weights"]
    columns = ("smallest", "one in a hundred", "median", "promised")
    lines = [
        f"{machine['date']}, {machine['processor']}, torch {machine['versions']['torch']}",
        f"{report['images']} photographs, {weights['name']} (SHA-256 {weights['sha256'][:12]}…)",
        "",
        f"{'cosine with fp32':34}" + "".join(f"{column:>18}" for column in columns),
    ]
    for name, row in rows.items():
        cells = [f"{row[column]:.6f}" if column in row else "" for column in columns]
        lines.append(f"{name:34}" + "".join(f"{cell:>18}" for cell in cells).rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
