"""Are copies found, and nothing else? `decaf duplicates` beside perceptual hashes, on planted ones.

    python benchmarks/duplicates.py CALTECH101 --json benchmarks/results/duplicates.json

CALTECH101 is the folder of Caltech-101. Of 500 of its images, drawn by seed, a copy is made:
resized to half the width and height, recompressed as JPEG of quality 40, mirrored, or cropped to 90
% of the width and height, a quarter each; all saved as JPEG. `decaf duplicates` then goes through
originals and copies together, at each layer, and so do dHash and pHash of 64 bits, at several
distances, with the mirror image hashed as well and without. A pair is right where it is a copy and
its original; every other pair with a copy in it counts as wrong, but for photographs that
Caltech-101 has twice: Faces are in Faces_easy again, and the second hundred of Leopards are the
mirror images of the first. Pairs of two originals are counted
apart: nobody has said which of those are copies. ``--quick`` takes 20 classes and 100 copies. The
features are kept in ``--work``, and the table goes to the terminal, and beside ``--json`` as
Markdown.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

import decaf
from datasets.caltech101 import read_caltech101
from speed.machine import describe, described, parser_of, say, table_row, tell

KINDS = ("resized", "recompressed", "mirrored", "cropped")
LAYERS = ("pool5", "fc6", "fc7")
DISTANCES = (2, 6, 10)
QUICK_CLASSES, QUICK_COPIES = 20, 100

Pairs = set[tuple[int, int]]


def main() -> None:
    args = _arguments()
    images = read_caltech101(args.data)
    originals = [Path(os.fsdecode(ref.name)) for ref in images.refs or ()]
    if args.quick:
        classes = sorted({path.parent.name for path in originals})[:QUICK_CLASSES]
        originals = [path for path in originals if path.parent.name in classes]
    copies = plant(originals, args.copies, args.seed, args.work / "planted")
    paths = originals + list(copies)
    file = args.work / f"duplicates{'-quick' if args.quick else ''}.h5"
    made = decaf.extract(paths, LAYERS, out=file, on_error="record", progress=True)
    assert isinstance(made, decaf.FeatureFile)
    made.close()
    place = {path: row for row, path in enumerate(paths)}
    planted = {(place[original], place[copy]): kind for copy, (original, kind) in copies.items()}
    judge = Judge(paths, len(originals), planted)
    rows = []
    for layer in args.layers:
        say(f"copies by {layer}")
        began = time.perf_counter()
        found = decaf.duplicates(file, layer=layer, progress=False)
        seconds = time.perf_counter() - began
        pairs = {(pair.first, pair.second) for pair in found.pairs}
        rows.append({"method": f"decaf, {layer}", "seconds": seconds, **judge.of(pairs)})
        alone = decaf.duplicates(file, layer=layer, images=False, progress=False)
        pairs = {(pair.first, pair.second) for pair in alone.pairs}
        rows.append({"method": f"decaf, {layer}, features alone", **judge.of(pairs)})
    say("hashes")
    began = time.perf_counter()
    hashes = hashes_of(paths)
    seconds = (time.perf_counter() - began) / len(hashes)
    for name, (plain, mirrored) in hashes.items():
        for distance in DISTANCES:
            for words, others in (("", [plain]), (", mirrored too", [plain, mirrored])):
                pairs = {pair for other in others for pair in near_hashes(plain, other, distance)}
                method = f"{name}, {distance} of 64 bits{words}"
                rows.append({"method": method, "seconds": seconds, **judge.of(pairs)})
    report = {
        "command": _command(args),
        "machine": describe(),
        "images": len(originals),
        "copies": len(copies),
        "methods": rows,
    }
    tell(report, "Copies found", _table(report), args)


def _arguments() -> Any:
    parser = parser_of(__doc__, "duplicates", alike=("work",))
    parser.add_argument("data", type=Path, help="folder of Caltech-101")
    parser.add_argument("--copies", type=int, default=500, help="to plant (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument(
        "--layers", nargs="+", choices=LAYERS, default=list(LAYERS), help="(default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="20 classes, 100 copies")
    parser.add_argument(
        "--work", type=Path, default=Path("duplicates-work"), help="folder of copies and features"
    )
    args = parser.parse_args()
    args.copies = QUICK_COPIES if args.quick else args.copies
    return args


def _command(args: Any) -> str:
    words = ["python benchmarks/duplicates.py DIR"] + (["--quick"] if args.quick else [])
    if args.layers != list(LAYERS):
        words += ["--layers", *args.layers]
    return " ".join(words)


def plant(
    originals: list[Path], count: int, seed: int, folder: Path
) -> dict[Path, tuple[Path, str]]:
    """Make copies of some images: path of each, its original, and what was done to it.

    Parameters
    ----------
    originals : list of Path
    count : int
    seed : int
    folder : Path
        Receives the copies.
    """
    random = np.random.default_rng(seed)
    chosen = random.choice(len(originals), count, replace=False)
    copies = {}
    for number, row in enumerate(chosen.tolist()):
        original, kind = originals[row], KINDS[number % len(KINDS)]
        copy = folder / f"{number:03d}-{kind}" / f"{original.parent.name}-{original.stem}.jpg"
        copies[copy] = (original, kind)
        place = random.random(2)  # drawn in any case, so that a second run makes the same copies
        if copy.exists():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(original) as image:
            changed(image.convert("RGB"), kind, place).save(
                copy, quality=40 if kind == "recompressed" else 90
            )
    return copies


def changed(image: Image.Image, kind: str, place: npt.NDArray[np.float64]) -> Image.Image:
    """Return an image resized, mirrored or cropped.

    Parameters
    ----------
    image : PIL image
    kind : str
        One of `KINDS`.
    place : array of float, shape (2,)
        Of what is cropped, from 0 (left, top) to 1.
    """
    width, height = image.size
    if kind == "resized":
        return image.resize((max(1, width // 2), max(1, height // 2)), Image.Resampling.BICUBIC)
    if kind == "mirrored":
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if kind == "cropped":
        w, h = round(0.9 * width), round(0.9 * height)
        left, top = int(place[0] * (width - w)), int(place[1] * (height - h))
        return image.crop((left, top, left + w, top + h))
    return image


class Judge:
    """Counts which pairs are right.

    Parameters
    ----------
    paths : list of Path
        Originals, then copies.
    originals : int
        How many are originals.
    planted : dict of (int, int) to str
        Pairs of an original and its copy, and what was done to it.
    """

    def __init__(
        self, paths: list[Path], originals: int, planted: dict[tuple[int, int], str]
    ) -> None:
        self._count, self._planted = originals, planted
        original_of = {copy: original for original, copy in planted}
        self._photograph = [
            _photograph(paths[original_of.get(row, row)]) for row in range(len(paths))
        ]
        contents = [hashlib.sha256(path.read_bytes()).digest() for path in paths[:originals]]
        times = Counter(contents)
        self._same = {row: each for row, each in enumerate(contents) if times[each] > 1}
        self._original_of = original_of

    def of(self, pairs: Pairs) -> dict[str, Any]:
        """Return recall, precision and counts of some pairs.

        Parameters
        ----------
        pairs : set of (int, int)
            Each with the lower row first.
        """
        found = dict.fromkeys(KINDS, 0)
        for pair, kind in self._planted.items():
            found[kind] += pair in pairs
        every = {kind: list(self._planted.values()).count(kind) for kind in KINDS}
        with_copy = [pair for pair in pairs if pair[1] >= self._count]
        right = sum(self._right(pair) for pair in with_copy)
        return {
            "recall": sum(found.values()) / len(self._planted),
            "precision": right / len(with_copy) if with_copy else math.nan,
            "wrong": len(with_copy) - right,
            "recall_of": {kind: found[kind] / max(1, every[kind]) for kind in KINDS},
            "originals": len(pairs) - len(with_copy),
        }

    def _right(self, pair: tuple[int, int]) -> bool:
        a, b = (self._original_of.get(row, row) for row in pair)
        same = a in self._same and self._same[a] == self._same.get(b)
        return same or self._photograph[a] == self._photograph[b]


def _photograph(path: Path) -> str:
    """Name a photograph, of Faces and Leopards the same for both of its versions."""
    if path.parent.name == "Leopards":
        return f"Leopards/{(int(path.stem[-4:]) - 1) % 100}"
    return f"{path.parent.name.removesuffix('_easy')}/{path.name}"


def hashes_of(
    paths: list[Path],
) -> dict[str, tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]]:
    """Compute dHash and pHash of images, and of their mirror images, as they are usually defined.

    dHash: whether each of 9 × 8 grey pixels is brighter than its neighbour. pHash: whether each of
    the lowest 8 × 8 coefficients of the cosine transform of 32 × 32 pixels is above their median.

    Parameters
    ----------
    paths : list of Path
    """
    made: dict[str, list[tuple[int, int]]] = {"dHash": [], "pHash": []}
    for path in paths:
        with Image.open(path) as image:
            grey = image.convert("L")
        versions = [grey, grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        for name, function in (("dHash", _dhash), ("pHash", _phash)):
            plain, mirrored = (_bits(function(each)) for each in versions)
            made[name].append((plain, mirrored))
    result = {}
    for name, values in made.items():
        plain, mirrored = np.array(values, np.uint64).T
        result[name] = (plain, mirrored)
    return result


def _dhash(image: Image.Image) -> npt.NDArray[np.bool_]:
    pixels = np.asarray(image.resize((9, 8), Image.Resampling.LANCZOS), np.int16)
    return pixels[:, 1:] > pixels[:, :-1]


def _phash(image: Image.Image) -> npt.NDArray[np.bool_]:
    pixels = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    lowest = dctn(pixels)[:8, :8]
    above: npt.NDArray[np.bool_] = lowest > np.median(lowest)
    return above


def _bits(values: npt.NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(values.ravel()).tobytes(), "big")


def near_hashes(
    hashes: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64], distance: int
) -> Iterable[tuple[int, int]]:
    """Yield pairs whose hashes differ in no more than some bits, the lower row first.

    Parameters
    ----------
    hashes, others : array of uint64, shape (n,)
    distance : int
    """
    for row, value in enumerate(hashes):
        bits = np.bitwise_count(others[row + 1 :] ^ value)
        for other in np.flatnonzero(bits <= distance).tolist():
            yield row, row + 1 + other


def _table(report: dict[str, Any]) -> str:
    lines = [
        described(report["machine"]),
        f"{report['images']} images of Caltech-101, {report['copies']} copies planted",
        "",
        table_row("in percent", "recall", "precision", "wrong", *KINDS, "originals", "s", width=36),
    ]
    for row in report["methods"]:
        of_kind = [f"{100 * row['recall_of'][kind]:.1f}" for kind in KINDS]
        seconds = f"{row['seconds']:.0f}" if "seconds" in row else ""
        shares = [f"{100 * row[name]:.1f}" for name in ("recall", "precision")]
        cells = [*shares, str(row["wrong"]), *of_kind, str(row["originals"]), seconds]
        lines.append(table_row(row["method"], *cells, width=36).rstrip())
    lines += [
        "recall: of the planted copies, and of each kind; precision: of the pairs with a copy;",
        "wrong: those of them that are none; originals: pairs without a planted copy;",
        "s: seconds after extraction (of hashes: to read and hash all images)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
