"""
The patches that excite a unit most
===================================

What a unit stands for is seen from the pieces of photographs to which it answers most strongly
(Zeiler and Fergus 2014). ``decaf.top_patches`` finds them for all units of a layer in one pass.
"""

# %%
# Three photographs are cut into overlapping tiles, which serve as a small collection.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_images

import decaf

officer = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))
photographs = [*load_sample_images().images, np.asarray(officer)]
SIDE, STEP = 160, 80
tiles = [
    photograph[top : top + SIDE, left : left + SIDE]
    for photograph in photographs
    for top in range(0, photograph.shape[0] - SIDE + 1, STEP)
    for left in range(0, photograph.shape[1] - SIDE + 1, STEP)
]
found = decaf.top_patches(np.array(tiles), "conv3", top=5, workers=0)
print(
    f"{len(tiles)} tiles, {len(found.units)} units of conv3, {len(found.dead)} that no tile excites"
)

# %%
# Of all units these are the six that answer most strongly, with the five patches that excite each
# most. Every patch is of another tile; tiles overlap, so some show the same thing.
units = found.units[np.argsort(-np.nan_to_num(found.activations[:, 0]))[:6]]
patches = decaf.cut_patches(found.take(units.tolist()))

fig, axes = plt.subplots(len(units), 5, figsize=(4.6, 5.6), layout="constrained")
for unit, own, row in zip(units, patches, axes, strict=True):
    for patch, axis in zip(own, row, strict=True):
        axis.imshow(patch.pixels)
        axis.set_title(f"{patch.activation:.1f}", fontsize=9)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"unit {unit}", fontsize=10)
plt.show()

# %%
# A patch is exactly what the unit can see there, its receptive field: a square of the image as
# the network is shown it. At the border it is cut off.
for patch in patches[0][:3]:
    left, top, right, bottom = patch.box
    print(
        f"tile {patch.row}: position {patch.position} sees {right - left} × {bottom - top} pixels"
    )
