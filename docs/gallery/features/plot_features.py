"""
Features of photographs, and what a layer is
============================================

A network computes its answer in steps. A *layer* is the value after one of these steps, and it
has a name: ``conv1`` to ``conv5`` are maps that still know where in the photograph something is,
``fc6`` and ``fc7`` are vectors that do not. Any of them can serve as the features of an image.
"""

# %%
# Three photographs are at hand wherever decaf is installed with the extra ``plots``: two that
# scikit-learn ships, and one of Matplotlib's.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from scipy.spatial.distance import cosine
from sklearn.datasets import load_sample_images

import decaf

officer = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))
photographs = [*load_sample_images().images, np.asarray(officer)]
names = ["temple", "flower", "officer"]

# %%
# One pass through the network gives all layers that are asked for. With ``out`` they are written
# to a feature file, which keeps the shape of maps; without, ``decaf.extract`` returns each layer
# as a matrix with a row for each image.
layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc7"]
folder = tempfile.TemporaryDirectory()
with decaf.extract(photographs, layers, out=Path(folder.name, "three.h5")) as features:
    values = {layer: features[layer][:] for layer in layers}

print("layer   for one image  numbers  above zero")
for layer, each in values.items():
    shape = " × ".join(map(str, each.shape[1:]))
    print(f"{layer:6} {shape:>14} {each[0].size:8,} {(each > 0).mean():10.0%}")

# %%
# A map has a picture for each of its units. These are the units that answer most to each
# photograph: those of early layers mark edges and colours where they are, those of ``conv5``
# light up in a few places.
shown = ["conv1", "conv3", "conv5"]
fig, axes = plt.subplots(3, 4, figsize=(5.2, 4.2), layout="constrained")
for row, (name, photograph) in enumerate(zip(names, photographs, strict=True)):
    axes[row, 0].imshow(photograph)
    axes[row, 0].set_title(name, fontsize=10)
    for column, layer in enumerate(shown, 1):
        maps = values[layer][row]
        unit = int(maps.max(axis=(1, 2)).argmax())
        axes[row, column].imshow(maps[unit], cmap="gray")
        axes[row, column].set_title(f"{layer}, unit {unit}", fontsize=10)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %%
# How alike two photographs are depends on the layer as well. Pooling makes them more alike, since
# it forgives where a thing is; from there on they part again, by what they show.
fig, axis = plt.subplots(figsize=(5.2, 2.8), layout="constrained")
rows = {layer: each.reshape(3, -1) for layer, each in values.items()}
for a, b in ((0, 1), (0, 2), (1, 2)):
    cosines = [1 - cosine(each[a], each[b]) for each in rows.values()]
    axis.plot(list(rows), cosines, marker="o", label=f"{names[a]} and {names[b]}")
axis.set(ylabel="cosine", ylim=(0, None))
axis.legend(fontsize=9)
plt.show()

folder.cleanup()

# %%
# Behind ``fc7`` come ``fc8`` and ``prob``: the answers of the network, one for each of the 1,000
# classes that the weights know. The packaged weights name few photographs well: take their
# features, not their names (:doc:`/background/packaged-weights`).
