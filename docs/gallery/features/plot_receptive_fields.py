"""
Receptive fields on a photograph
================================

A position of a map sees a square of the photograph and nothing else. The square grows from layer
to layer, until that of ``pool5`` is nearly the whole image.
"""

# %%
# The sizes follow from kernels and strides alone, and ``decaf.summarise`` has them.
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from sklearn.datasets import load_sample_image

import decaf

layers = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
summary = decaf.summarise("alexnet")
rows = {row.layer: row for row in summary.rows if row.layer in layers}
print("layer  sees  moves by  begins at")
for layer, row in rows.items():
    print(f"{layer:6} {row.receptive_field:4} {row.effective_stride:9} {-row.effective_padding:10}")

# %%
# Drawn on what the network is shown of a photograph: the field of the position in the middle of
# five maps.
photograph = load_sample_image("china.jpg")
seen = decaf.pixel_importance(photograph, 0, "conv1", method="gradient").pixels
colours = ("white", "yellow", "orange", "red", "black")
fig, axis = plt.subplots(figsize=(4.6, 5.2), layout="constrained")
axis.imshow(seen)
for colour, layer in zip(colours, ("conv1", "conv2", "conv3", "conv4", "conv5"), strict=True):
    row = rows[layer]
    side = row.receptive_field
    left = row.output[1] // 2 * row.effective_stride - row.effective_padding
    axis.add_patch(
        Rectangle(
            (left - 0.5, left - 0.5),
            side,
            side,
            fill=False,
            edgecolor=colour,
            linewidth=2.5,
            label=f"{layer}: {side} × {side}",
        )
    )
axis.axis("off")
fig.legend(loc="outside lower center", ncols=2, fontsize=10, facecolor="lightgrey")
plt.show()

# %%
# That the squares are right can be asked of the network: no pixel outside of one has a gradient.
# Inside, those in the middle count for more than those at the edge, so that what matters is
# smaller than what is seen.
fig, axes = plt.subplots(1, 3, figsize=(5.2, 2.0), layout="constrained")
for axis, layer in zip(axes, ("conv2", "conv3", "conv5"), strict=True):
    row = rows[layer]
    middle = row.output[1] // 2
    found = decaf.pixel_importance(
        photograph, layer=layer, position=(middle, middle), method="gradient"
    )
    inside = np.argwhere(found.heat > 0)
    begin = max(0, middle * row.effective_stride - row.effective_padding)
    end = middle * row.effective_stride - row.effective_padding + row.receptive_field
    assert inside.min() >= begin
    assert inside.max() < end
    axis.imshow(np.sqrt(found.heat), cmap="magma")
    axis.add_patch(
        Rectangle(
            (begin - 0.5, begin - 0.5), end - begin, end - begin, fill=False, edgecolor="white"
        )
    )
    axis.set_title(f"{layer}: {end - begin} pixels", fontsize=10)
    axis.axis("off")
plt.show()
