"""Draw the picture of README.md and of the first page: ``python docs/layers_picture.py``.

It shows what decaf gives, layer by layer, for the two photographs that scikit-learn ships:
china.jpg by danielbuechele and flower.jpg by vultilion, both CC BY 2.0.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

import decaf

OUT = Path(__file__).parent / "_static" / "layers.jpg"
# Layer and how its maps are laid out: rows and columns of those that answer most, or a vector.
SHOWN = {"conv1": (4, 4), "conv3": (6, 6), "pool5": (16, 16), "fc6": (64, 64), "fc7": (64, 64)}


def tiled(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return maps side by side, with a line between them; a vector as a square, as it is."""
    if values.ndim == 1:
        return values.reshape(rows, columns)
    strongest = np.sort(np.argsort(-values.sum((1, 2)))[: rows * columns])
    maps = values[strongest]
    maps = maps / np.maximum(maps.max((1, 2), keepdims=True), 1e-9)
    maps = np.pad(maps, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    side = maps.shape[1]
    grid = maps.reshape(rows, columns, side, side).swapaxes(1, 2)
    return grid.reshape(rows * side, columns * side)[:-1, :-1]


def main() -> None:
    """Draw it."""
    names = ["china.jpg", "flower.jpg"]
    photographs = [Image.fromarray(load_sample_image(name)) for name in names]
    features = decaf.extract(photographs, list(SHOWN))
    backbone = decaf.load_backbone("imagenet-distilled")
    shapes = {"conv1": (64, 55, 55), "conv3": (384, 13, 13), "pool5": (256, 6, 6)}
    colours = matplotlib.colormaps["magma"].with_extremes(bad="white")
    matplotlib.rcParams.update({"font.family": "DejaVu Sans", "font.size": 8.5})
    figure, axes = plt.subplots(
        2, 6, figsize=(11, 4.1), dpi=120, gridspec_kw={"width_ratios": [1.5, 1, 1, 1, 1, 1]}
    )
    for row, photograph in enumerate(photographs):
        axes[row, 0].imshow(photograph)
        axes[row, 0].set_title(f"{names[row]}: {photograph.width} × {photograph.height}")
        for column, (layer, (rows, columns)) in enumerate(SHOWN.items(), start=1):
            values = features[layer][row].reshape(shapes.get(layer, (-1,)))
            most = np.quantile(values, 0.995) if values.ndim == 1 else 1
            shown = tiled(values, rows, columns)
            axes[row, column].imshow(
                shown, cmap=colours, vmin=0, vmax=most, interpolation="nearest"
            )
            if row == 0:
                size = " × ".join(map(str, values.shape)) if values.ndim > 1 else f"{values.size:,}"
                axes[row, column].set_title(f"{layer}: {size}")
    for each in axes.flat:
        each.set_axis_off()
    figure.subplots_adjust(left=0.005, right=0.995, top=0.93, bottom=0.01, wspace=0.06, hspace=0.12)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, pil_kwargs={"quality": 82, "optimize": True})
    print(f"{OUT}: {OUT.stat().st_size / 1024:.0f} kB, {backbone.spec.name}")


if __name__ == "__main__":
    main()
