"""
The nearest images
==================

Which images of a collection are most like this one? ``decaf.search`` compares a query with every
row of a feature file, by cosine, and approximates nothing.
"""

# %%
# A small collection: tiles of three photographs, in a feature file.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_images

import decaf

officer = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))
photographs = [*load_sample_images().images, np.asarray(officer)]
SIDE = 144
tiles = [
    photograph[top : top + SIDE, left : left + SIDE]
    for photograph in photographs
    for top in range(0, photograph.shape[0] - SIDE + 1, SIDE // 2)
    for left in range(0, photograph.shape[1] - SIDE + 1, SIDE // 2)
]
folder = tempfile.TemporaryDirectory()
features = decaf.extract(tiles, "fc6", out=Path(folder.name, "tiles.h5"), workers=0)
print(f"{len(features)} tiles, {features.layers[0]} of {features['fc6'].shape[1]} numbers")

# %%
# The queries are other cuts, at places where no tile begins; one is mirrored. They are computed
# as the file's images were: with its weights, its preprocessing and its crops.
temple, flower, officer = photographs
queries = [temple[110:254, 250:394], flower[60:204, 250:394], officer[40:184, 170:314][:, ::-1]]
result = decaf.search(features, queries, k=4)

fig, axes = plt.subplots(3, 5, figsize=(5.2, 3.7), layout="constrained")
for row, query, answer in zip(axes, queries, result.answers, strict=True):
    row[0].imshow(query)
    row[0].set_title("query", fontsize=10)
    for axis, match in zip(row[1:], answer.matches, strict=True):
        axis.imshow(tiles[match.row])
        axis.set_title(f"{match.cosine:.2f}", fontsize=10)
for axis in axes.flat:
    axis.axis("off")
plt.show()

# %%
# For many queries, load the rows once. The answers are the same.
rows = decaf.NearestRows(features, "fc6")
again = decaf.search(rows, queries, k=4)
assert [each.matches for each in again.answers] == [each.matches for each in result.answers]
print(result.to_csv().splitlines()[1])

features.close()
folder.cleanup()
