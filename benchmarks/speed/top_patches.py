"""How long does it take to find the top patches of all units of a layer, beside its extraction?

    python benchmarks/speed/top_patches.py PHOTOGRAPHS --json results/top_patches.json

PHOTOGRAPHS is a folder. `decaf.top_patches` and `decaf.extract` (into memory) take turns at the
same images, layer by layer, in one process whose network is loaded; the ratio of a round holds when
the machine's speed drifts. Both have to agree on the largest value of every unit. The result goes
to ``--json`` (and as Markdown beside it), and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, described, parser_of, say, table_row, tell

import decaf

__all__ = ["find_photographs", "measure_top_patches", "top_patches_table"]

LAYERS = ("conv1", "conv3", "conv5", "fc6", "fc7")
ENDINGS = {".jpg", ".jpeg", ".png"}


def find_photographs(folder: Path) -> list[Path]:
    """List the photographs of a folder, in order.

    Parameters
    ----------
    folder : Path
    """
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)


def measure_top_patches(photographs: list[Path], rounds: int) -> dict[str, Any]:
    """Time both, in turns.

    Parameters
    ----------
    photographs : list of Path
    rounds : int

    Returns
    -------
    dict of str to dict
        For each layer the seconds of the rounds, and the median of their ratios.
    """
    backbone = decaf.load_backbone()
    measured: dict[str, Any] = {}
    for layer in LAYERS:
        seconds: dict[str, list[float]] = {"extract": [], "top_patches": []}
        for number in range(rounds + 1):  # the first warms up
            say(f"{layer}, round {number}")
            began = time.perf_counter()
            values = np.asarray(
                decaf.extract(photographs, layer, weights=backbone, progress=False, labels="none")
            )
            between = time.perf_counter()
            found = decaf.top_patches(photographs, layer, weights=backbone, progress=False)
            ended = time.perf_counter()
            if number:
                seconds["extract"].append(between - began)
                seconds["top_patches"].append(ended - between)
        largest = values.reshape(len(values), len(found.units), -1).max(axis=(0, 2))
        first = np.where(found.counts > 0, found.activations[:, 0], 0)
        np.testing.assert_allclose(first, largest, rtol=1e-4, atol=1e-5)
        pairs = zip(seconds["top_patches"], seconds["extract"], strict=True)
        ratio = statistics.median(top / extract for top, extract in pairs)
        measured[layer] = {"units": len(found.units), "seconds": seconds, "ratio": round(ratio, 3)}
    return measured


def top_patches_table(measured: dict[str, Any]) -> str:
    """Lay out what `measure_top_patches` has returned.

    Parameters
    ----------
    measured : dict
    """
    lines = [table_row("top 9 of all units", "units", "extract s", "top 9 s", "ratio")]
    for layer, each in measured.items():
        medians = [statistics.median(each["seconds"][name]) for name in ("extract", "top_patches")]
        cells = [f"{each['units']}", *(f"{second:.2f}" for second in medians)]
        lines.append(table_row(layer, *cells, f"{each['ratio']:.2f}"))
    return "\n".join(lines)


def main() -> None:
    args = _arguments()
    photographs = find_photographs(args.photographs)[: args.images]
    machine = describe()
    report = {
        "command": "python benchmarks/speed/top_patches.py PHOTOGRAPHS "
        f"--images {args.images} --rounds {args.rounds}",
        "machine": machine,
        "images": len(photographs),
        "top_patches": measure_top_patches(photographs, args.rounds),
    }
    head = f"{described(machine)}\n{len(photographs)} photographs, medians of {args.rounds} rounds"
    table = f"{head}\n\n{top_patches_table(report['top_patches'])}"
    tell(report, "Speed of finding top patches", table, args.json)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("photographs", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=300, help="how many (default: 300)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
