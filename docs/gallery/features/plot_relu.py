"""
Before and after the ReLU
=========================

After each convolution and each fully connected layer but the last, AlexNet sets negative values to
zero. A layer's plain name stands for the values after that; ``_pre`` names those before it. The two
are different features.
"""

# %%
# Both can be asked for at once, and neither changes the other.
import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cosine
from sklearn.datasets import load_sample_images

import decaf

photographs = load_sample_images().images
layers = ["conv1", "conv3", "conv5", "fc6", "fc7"]
values = decaf.extract(photographs, [name for layer in layers for name in (f"{layer}_pre", layer)])
for layer in layers:
    assert np.array_equal(values[layer], np.maximum(values[f"{layer}_pre"], 0))

# %%
# More than half of the values before the ReLU are negative, in every layer. What is above zero is
# the same in both; below, one has the whole left half of the distribution and the other a pile at
# zero.
fig, axes = plt.subplots(len(layers), 1, figsize=(4.8, 6.4), layout="constrained")
for axis, layer in zip(axes, layers, strict=True):
    before, after = values[f"{layer}_pre"].ravel(), values[layer].ravel()
    edges = np.linspace(*np.quantile(before, [0.001, 0.999]), 80)
    axis.hist(before, edges, color="tab:blue", alpha=0.6, label=f"{layer}_pre")
    axis.hist(after[after > 0], edges, color="tab:orange", alpha=0.6, label=f"{layer}, above zero")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks([])
    axis.legend(fontsize=8, loc="upper left")
    axis.set_title(f"{(after == 0).mean():.0%} of {layer} is zero", fontsize=10, loc="right")
plt.show()

# %%
# Which one to take is part of a result: write it down. Rows before the ReLU can be opposite, and
# their cosines are spread wider.
print("         share of zeros   cosine of the two")
for name in ("fc6_pre", "fc6", "fc7_pre", "fc7"):
    zeros = (values[name] == 0).mean()
    print(f"{name:8} {zeros:14.0%} {1 - cosine(*values[name]):19.2f}")
