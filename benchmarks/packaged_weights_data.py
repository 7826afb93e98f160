"""Pack the photographs that the packaged weights are distilled on.

    python benchmarks/packaged_weights_data.py DATA PACKS

DATA has a folder for each of the public data sets below, as they are given out; those that are
missing are named and left out. PACKS gets one training pack for each, of raw pixels, no larger
than its images are. Files named ``ILSVRC2012_val_*`` belong to ImageNet's validation images, which
are measured on: they are left out wherever they lie. The validation images of Tiny-ImageNet and
MiniPlaces become those of their packs: 20,000 photographs to compare student and teacher on.
A folder in DATA that ``--also`` names is a set of photographs too: the folders in it become its
classes, which no teacher has to know.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from decaf.images import collect
from decaf.train.pack.build import make_pack

# A photograph and the class that it is of.
Labelled = tuple[Path, str]
HELD_OUT = "ILSVRC2012_val_"


@dataclass(frozen=True)
class PhotographSet:
    """A public data set.

    Parameters
    ----------
    side : int
        Side of the packed images, in pixels.
    train, val : callable
        List the photographs below the folder of the set.
    """

    side: int
    train: Callable[[Path], Iterator[Labelled]]
    val: Callable[[Path], Iterator[Labelled]] = lambda _: iter(())


def _photographs(folder: Path) -> list[Path]:
    """List the photographs below a folder; none where it is not there."""
    if not folder.is_dir():
        return []
    return sorted(map(Path, collect(folder, labels="none", layout="classes").paths))


def _class_folders(*tops: str, depth: int = 0) -> Callable[[Path], Iterator[Labelled]]:
    """List photographs by the folder that they are in, or that `depth` folders above it."""

    def listed(root: Path) -> Iterator[Labelled]:
        for top in tops:
            for path in _photographs(root / top):
                yield path, path.parents[depth].name

    return listed


def _tiny_imagenet_val(root: Path) -> Iterator[Labelled]:
    """List Tiny-ImageNet's validation photographs by its annotations."""
    folder = root / "tiny-imagenet-200" / "val"
    for line in (folder / "val_annotations.txt").read_text(encoding="utf-8").splitlines():
        name, wnid, *_ = line.split("\t")
        yield folder / "images" / name, wnid


def _miniplaces(split: str) -> Callable[[Path], Iterator[Labelled]]:
    """List the photographs of MiniPlaces that are there, under the names of its scenes."""

    def listed(root: Path) -> Iterator[Labelled]:
        names: dict[str, str] = {}
        for line in (root / "data" / "train.txt").read_text(encoding="utf-8").splitlines():
            path, number = line.rsplit(maxsplit=1)
            names[number] = "_".join(Path(path).parts[2:-1])
        for line in (root / "data" / f"{split}.txt").read_text(encoding="utf-8").splitlines():
            path, number = line.rsplit(maxsplit=1)
            file = root / "data" / "images" / path
            if file.exists():
                yield file, names[number]

    return listed


def _imagen(root: Path) -> Iterator[Labelled]:
    """List the photographs of imagen, whose files are named after the class."""
    for path in _photographs(root / "imagen"):
        yield path, path.stem.split("_", 1)[-1]


def _first_folders(root: Path) -> Iterator[Labelled]:
    """List all photographs by the folder directly below `root` that they lie in."""
    for path in _photographs(root):
        yield path, path.relative_to(root).parts[0]


SETS: dict[str, PhotographSet] = {
    "mini-imagenet": PhotographSet(84, _class_folders("train", "val")),
    "tiny-imagenet": PhotographSet(
        64, _class_folders("tiny-imagenet-200/train", depth=1), _tiny_imagenet_val
    ),
    "miniplaces": PhotographSet(128, _miniplaces("train"), _miniplaces("val")),
    "imagenette": PhotographSet(224, _class_folders("train", "val")),
    "imagewoof": PhotographSet(256, _class_folders("train", "val")),
    "catdog": PhotographSet(180, _class_folders("PetImages/Cat", "PetImages/Dog")),
    "intel": PhotographSet(150, _class_folders("train", "test")),
    "flowers": PhotographSet(128, _class_folders("flowers")),
    "breeds": PhotographSet(256, _class_folders("dataset/breed_dataset")),
    "imagen": PhotographSet(256, _imagen),
    "bsds": PhotographSet(256, _class_folders("BSDS500/data/images")),
}


# What --also names.
OTHER = PhotographSet(224, _first_folders)


def main() -> None:
    head = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=head[0])
    parser.add_argument("data", type=Path, help="folder with a folder for each data set")
    parser.add_argument("packs", type=Path, help="folder for the packs")
    parser.add_argument("--also", nargs="+", default=[], help="further folders in DATA to pack")
    args = parser.parse_args()
    args.packs.mkdir(parents=True, exist_ok=True)
    for name, one in {**SETS, **dict.fromkeys(args.also, OTHER)}.items():
        root = args.data / name
        if not root.is_dir():
            print(f"{name}: no folder {root}, left out", file=sys.stderr)
            continue
        # Below PACKS, since files can be linked within a disk only.
        with tempfile.TemporaryDirectory(dir=args.packs) as folder:
            counts = {
                split: _link_all(root, listed(root), Path(folder) / split)
                for split, listed in (("train", one.train), ("val", one.val))
            }
            out = args.packs / f"{name}.pack"
            made = make_pack(folder, out, size=one.side, encoding="raw", on_error="record")
            print(f"{out}: {counts} listed; {made}", flush=True)


def _link_all(root: Path, labelled: Iterator[Labelled], folder: Path) -> int:
    """Link photographs below `root` into a folder for each class; return their number."""
    count = 0
    for path, label in labelled:
        if path.name.startswith(HELD_OUT):
            continue
        # The whole path: two photographs of a class may have the same file name.
        target = folder / label / "_".join(path.relative_to(root).parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copy(path, target)
        count += 1
    return count


if __name__ == "__main__":
    main()
