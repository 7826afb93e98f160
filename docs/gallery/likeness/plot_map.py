"""
A map of images, and how far to trust it
========================================

A map places images that are alike near each other. No map of 4,096 dimensions on two is faithful:
the *trust* of a point says which share of its nearest neighbours in the layer are near it on the
map as well.
"""

# %%
# Features of 160 handwritten digits.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import decaf
from decaf.exploration import make_map

digits = load_digits(n_class=8)
rows = np.concatenate([np.flatnonzero(digits.target == digit)[:20] for digit in range(8)])
images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
folder = tempfile.TemporaryDirectory()
with decaf.extract(images, "fc6", out=Path(folder.name, "digits.h5"), workers=0) as features:
    maps = [make_map(features, "fc6", method=how, perplexity=15.0) for how in ("pca", "tsne")]
folder.cleanup()

# %%
# Left the digits are coloured by class, right by trust. Two principal components are quick, and
# show the large directions; t-SNE keeps neighbours, and its distances between groups mean little.
fig, axes = plt.subplots(2, 2, figsize=(5.2, 4.8), layout="constrained")
for (by_class, by_trust), each in zip(axes, maps, strict=True):
    for digit in range(8):
        own = digits.target[rows] == digit
        by_class.scatter(*each.xy[own].T, s=12, color=f"C{digit}")
        by_class.text(*np.median(each.xy[own], axis=0), str(digit), fontsize=11, weight="bold")
    points = by_trust.scatter(*each.xy.T, s=12, c=each.trust, vmin=0, vmax=1)
    by_class.set_title(each.method, fontsize=10)
    by_trust.set_title(f"mean trust {each.mean_trust:.2f}", fontsize=10)
    for axis in (by_class, by_trust):
        axis.set(xticks=[], yticks=[], aspect="equal")
fig.colorbar(points, ax=axes[:, 1], label="trust", shrink=0.6)
plt.show()

# %%
# Read a map for what to look at next, and ask the features themselves: the neighbours that are
# listed with it are exact.
digit = digits.target[rows]
same = digit[maps[0].nearest] == digit[:, None]
print(f"of the ten nearest in fc6, {same.mean():.0%} are the same digit")
