"""Lay out the training images of the packaged weights: Tiny-ImageNet-200 with Imagenette.

    python benchmarks/packaged_weights_data.py tiny-imagenet-200 imagenette OUT
    decaf pack OUT -o packaged.pack --size 144 --encoding raw
    decaf train packaged.pack -o runs/packaged --preset small

OUT gets Tiny-ImageNet's layout with 210 classes: its 200, and the ten of Imagenette, none of which
is among them. Of Imagenette's validation images the first 50 of each class, by name, are taken, as
many as Tiny-ImageNet has. Files are linked, not copied, where OUT is on the same disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

HELD_OUT = 50
# No box is known for an image of Imagenette; Tiny-ImageNet's files have four numbers there.
WHOLE = "0\t0\t223\t223"


def main() -> None:
    head = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=head[0])
    parser.add_argument("tiny", type=Path, help="folder of Tiny-ImageNet-200")
    parser.add_argument("imagenette", type=Path, help="folder of Imagenette, with train and val")
    parser.add_argument("out", type=Path, help="folder to make")
    args = parser.parse_args()
    tiny, imagenette, out = args.tiny, args.imagenette, args.out
    if out.exists():
        sys.exit(f"{out}: exists already")
    wnids = (tiny / "wnids.txt").read_text().split()
    more = sorted(path.name for path in (imagenette / "train").iterdir())
    if set(wnids) & set(more):
        sys.exit(f"classes of both: {sorted(set(wnids) & set(more))}")

    (out / "val" / "images").mkdir(parents=True)
    (out / "wnids.txt").write_text("\n".join(wnids + more) + "\n")
    shutil.copy(tiny / "words.txt", out / "words.txt")
    for wnid in wnids:
        _link_all(tiny / "train" / wnid / "images", out / "train" / wnid / "images")
    annotations = (tiny / "val" / "val_annotations.txt").read_text().rstrip("\n").split("\n")
    _link_all(tiny / "val" / "images", out / "val" / "images")
    for wnid in more:
        _link_all(imagenette / "train" / wnid, out / "train" / wnid / "images", "inette_")
        held_out = sorted((imagenette / "val" / wnid).iterdir())[:HELD_OUT]
        for path in held_out:
            _link(path, out / "val" / "images" / f"inette_{path.name}")
        annotations += [f"inette_{path.name}\t{wnid}\t{WHOLE}" for path in held_out]
    (out / "val" / "val_annotations.txt").write_text("\n".join(annotations) + "\n")


def _link_all(source: Path, target: Path, prefix: str = "") -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        _link(path, target / f"{prefix}{path.name}")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy(source, target)


if __name__ == "__main__":
    main()
