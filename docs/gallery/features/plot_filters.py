"""
The filters of conv1
====================

The first layer compares each small square of the photograph with 64 patterns, its filters. They
can be looked at as pictures, and they show at a glance whether weights have learned anything.
"""

# %%
# Trained filters are edges of all directions and patches of colour. Random ones are noise.
import matplotlib.pyplot as plt

import decaf

fig, axes = plt.subplots(1, 2, figsize=(5.2, 2.9), layout="constrained")
for axis, weights in zip(axes, ("imagenet-distilled", "random:0:alexnet"), strict=True):
    axis.imshow(decaf.filters_picture(weights, zoom=4))
    axis.set_title(weights, fontsize=10)
    axis.axis("off")
plt.show()

# %%
# Each tile has a contrast of its own: mid grey is a weight of 0, and the largest weight of a
# filter is black, white or a full colour. How strongly filters act is seen from the weights
# themselves: of trained ones a few do next to nothing.
norms = decaf.load_backbone().network.conv1.weight.flatten(1).norm(dim=1)
print(f"{len(norms)} filters, norms from {norms.min():.2f} to {norms.max():.2f}")
print(f"{int((norms < norms.max() / 10).sum())} have less than a tenth of the largest norm")
