"""Images to features: ``python examples/extract.py [FOLDER]``, a folder for each class in it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import decaf

PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/pacs-mini/photo"


def main(folder: Path) -> None:
    """Write three layers to a feature file, and look at what is in it.

    Parameters
    ----------
    folder : Path
        Images, in a folder for each class.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "photos.h5")
        # A damaged image would be recorded, and its row left out of X below.
        with decaf.extract(
            folder, ["pool5", "fc6", "fc7"], out=out, on_error="record", progress=False
        ) as features:
            print(f"{len(features)} images, {int(features.ok.sum())} readable")
            print(f"classes: {', '.join(features.class_names)}")
            for layer in features.layers:
                X, _ = features.to_xy(layer)
                active = np.count_nonzero(X) / X.size
                print(f"{layer}: X {X.shape} {X.dtype}, {active:.0%} of the values active")
            first = Path(features.paths[0])
            label = features.class_names[features.labels[0]]
            print(f"first row: {first.parent.name}/{first.name}, {label}")
            print(f"made with {features.run['weights']['name']}, crops {features.run['crops']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTOS)
