"""How near are bf16 rows to fp32 rows? The cosine between them, layer by layer, over photographs.

    python benchmarks/precision.py PHOTOGRAPHS --json benchmarks/results/precision.json

PHOTOGRAPHS is a folder of photographs. What `decaf.features.verify.tolerance` promises is compared
with the smallest cosine found, and the command fails where it does not hold. For ``prob`` the
network is also computed in float32 from a layer on, with what bfloat16 gave of that layer: it tells
where the loss comes from. The table goes to the terminal, and beside ``--json`` as Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from decaf.backbone.engine import Engine
from decaf.backbone.model import Backbone, load_backbone
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.images import ImageRef, collect
from decaf.images.preprocess import prepare
from decaf.runtime.agreement import tolerance
from speed.machine import describe

BATCH = 32
FROM = {"fc8": "softmax", "fc7": "fc8 and softmax", "fc6": "fc7 to softmax"}


def main() -> None:
    head = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=head[0], epilog=head[2])
    parser.add_argument("photographs", type=Path, help="folder of photographs")
    parser.add_argument("-w", "--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--json", type=Path, help="where to write the result, and a table as .md")
    args = parser.parse_args()
    refs = list(collect(args.photographs, labels="none", layout="classes").refs or ())
    backbone = load_backbone(args.weights)
    cosines = measured(backbone, refs)
    rows = {name: row_of(name, np.concatenate(values)) for name, values in cosines.items()}
    command = f"python benchmarks/precision.py PHOTOGRAPHS -w {args.weights}"
    report = {
        "command": command,
        "machine": describe(),
        "weights": {"name": backbone.weights_name, "sha256": backbone.sha256},
        "images": sum(map(len, cosines["fc6"])),
        "cosine": rows,
    }
    print(table(report))
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
        text = f"# Precision of bf16\n\n`{command}`\n\n```\n{table(report)}\n```\n"
        args.json.with_suffix(".md").write_text(text)
    broken = [name for name, row in rows.items() if row["smallest"] < row.get("promised", 0)]
    if broken:
        sys.exit(f"less than promised: {', '.join(broken)}")


def measured(backbone: Backbone, refs: list[ImageRef]) -> dict[str, list[np.ndarray]]:
    """Compute the cosines of all layers, and of ``prob`` in float32 from a layer on.

    Parameters
    ----------
    backbone : Backbone
    refs : list of ImageRef
    """
    exact = Engine(backbone, backbone.layers)
    fast = Engine(backbone, backbone.layers, precision="bf16")
    cosines: dict[str, list[np.ndarray]] = {name: [] for name in backbone.layers}
    for crops in batches(backbone, refs):
        expected, rows = exact(crops), fast(crops)
        for layer in backbone.layers:
            cosines[layer].append(cosine(expected[layer], rows[layer]))
        for layer, what in FROM.items():
            value = torch.from_numpy(rows[layer])
            for name in ("fc7", "fc8"):
                if layer < name:
                    value = backbone.network.get_submodule(name)(value)
                    value = value.relu() if name == "fc7" else value
            again = value.softmax(1).numpy()
            name = f"prob, {what} in fp32"
            cosines.setdefault(name, []).append(cosine(expected["prob"], again))
    return cosines


def batches(backbone: Backbone, refs: list[ImageRef]) -> Iterator[np.ndarray]:
    """Prepare the photographs that can be read, a batch at a time.

    Parameters
    ----------
    backbone : Backbone
    refs : list of ImageRef
    """
    side = backbone.preprocess.crop
    for start in range(0, len(refs), BATCH):
        some = refs[start : start + BATCH]
        crops = np.empty((len(some), 1, side, side, 3), np.uint8)
        good = [
            prepare(ref, backbone.preprocess, ten=False, out=out).status == "ok"
            for ref, out in zip(some, crops, strict=True)
        ]
        yield crops[good]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compare rows in float64.

    Parameters
    ----------
    a : ndarray, shape (N, D)
    b : ndarray, shape (N, D)
    """
    a, b = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (a, b))
    cosines: np.ndarray = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return cosines


def row_of(name: str, cosines: np.ndarray) -> dict[str, float]:
    """Sum the cosines of a layer up.

    Parameters
    ----------
    name : str
        Name of the layer.
    cosines : ndarray
    """
    row = {
        "smallest": float(cosines.min()),
        "one in a hundred": float(np.quantile(cosines, 0.01)),
        "median": float(np.median(cosines)),
    }
    if ", " not in name:
        row["promised"] = 1 - tolerance("bf16", "float32", name)[1]
    return {key: round(value, 6) for key, value in row.items()}


def table(report: dict[str, object]) -> str:
    """Lay the result out for a terminal.

    Parameters
    ----------
    report : dict
    """
    machine, rows, weights = report["machine"], report["cosine"], report["weights"]
    assert isinstance(machine, dict)
    assert isinstance(rows, dict)
    assert isinstance(weights, dict)
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
