"""
Dissimilarity matrices of stimuli
=================================

Which stimuli does a layer tell apart? A representational dissimilarity matrix (RDM, Kriegeskorte
et al. 2008) says how far the features of any two of them are apart, and RDMs of different systems
can be compared: two layers, a layer and a brain area, a layer and a model.
"""

# %%
# Stimuli, drawn: three shapes in three colours at three places.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import decaf


def stimulus(shape, colour, x):
    """Return a picture of 224 × 224 pixels."""
    image = Image.new("RGB", (224, 224), "grey")
    draw = ImageDraw.Draw(image)
    if shape == "disc":
        draw.ellipse((x - 28, 84, x + 28, 140), fill=colour)
    elif shape == "square":
        draw.rectangle((x - 26, 86, x + 26, 138), fill=colour)
    else:
        draw.polygon([(x, 80), (x + 32, 140), (x - 32, 140)], fill=colour)
    return np.asarray(image)


shapes, colours, places = ("disc", "square", "triangle"), ("red", "green", "blue"), (50, 112, 174)
parts = [(shape, colour, x) for shape in shapes for colour in colours for x in places]
stimuli = np.array([stimulus(*part) for part in parts])

# %%
# They have the network's own size, so they are taken pixel for pixel.
layers = ["conv1", "conv3", "conv5", "fc6", "fc7"]
folder = tempfile.TemporaryDirectory()
out = Path(folder.name, "stimuli.h5")
with decaf.extract(stimuli, layers, out=out, preprocess="as-is", workers=0) as file:
    rdms = {layer: decaf.rdm(file, layer) for layer in layers}
folder.cleanup()

fig, axes = plt.subplots(1, 3, figsize=(5.2, 2.2), layout="constrained")
for axis, layer in zip(axes, ("conv1", "conv5", "fc7"), strict=True):
    image = axis.imshow(rdms[layer].values, vmin=0, cmap="viridis")
    axis.set_title(layer, fontsize=10)
    axis.set(xticks=range(0, 27, 9), yticks=range(0, 27, 9))
    axis.set_xticklabels([])
    axis.set_yticklabels(shapes if layer == "conv1" else [], va="top", fontsize=9)
plt.show()

# %%
# What a layer goes by is seen by comparing it with a model RDM for each property: 0 where two
# stimuli share it, and 1 where not. The maps go by place alone, the vectors behind them less and
# less; there colour counts, and shape a little.
models = {
    name: np.array([[a[at] != b[at] for b in parts] for a in parts], float)
    for at, name in enumerate(("shape", "colour", "place"))
}
fig, axis = plt.subplots(figsize=(5, 2.8), layout="constrained")
for name, model in models.items():
    axis.plot(layers, [rdms[layer].spearman(model) for layer in layers], marker="o", label=name)
axis.set(ylabel="Spearman's ρ with the model")
axis.legend(fontsize=9)
plt.show()

# %%
# Layers compare with each other likewise.
print("       " + "".join(f"{layer:>7}" for layer in layers))
for a in layers:
    print(f"{a:7}" + "".join(f"{rdms[a].spearman(rdms[b]):7.2f}" for b in layers))
