"""
Where the network looked
========================

Which pixels speak for an answer? Cover a part of the photograph, and see what the answer loses
(Zeiler and Fergus 2014): that asks the network itself. The gradient is quicker, and rougher.
"""

# %%
# The answer here is the logit of "palace", the second likeliest class that the network names for a
# photograph of a temple.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import decaf

temple = load_sample_image("china.jpg")
network = decaf.load_backbone()
(answers,) = network.classify(temple, top=3)
for name, probability in answers:
    print(f"{probability:5.1%}  {name}")
palace = network.class_names.index("palace")

# %%
# Orange speaks for "palace", blue against it.
methods = {"occlusion": {"square": 56, "stride": 28}, "gradient-times-input": {}}
found = {
    method: decaf.pixel_importance(temple, palace, "fc8", method=method, weights=network, **options)
    for method, options in methods.items()
}
fig, axes = plt.subplots(1, 3, figsize=(5.2, 2.1), layout="constrained")
pixels = found["occlusion"].pixels
axes[0].imshow(pixels)
axes[0].set_title("as it is shown", fontsize=10)
for axis, (method, each) in zip(axes[1:], found.items(), strict=True):
    peak = np.quantile(np.abs(each.heat), 0.99)
    axis.imshow(pixels.mean(axis=2), cmap="gray", alpha=0.6)
    axis.imshow(-each.heat, cmap="PuOr", vmin=-peak, vmax=peak, alpha=0.6)
    axis.set_title(method, fontsize=10)
for axis in axes:
    axis.axis("off")
plt.show()

# %%
# Occlusion costs a forward pass for each place of the square, the gradient a single pass. Both
# depend on their settings (a larger square covers more than one thing), so state them with the
# picture.
occluded = found["occlusion"]
print(f"the logit of palace is {occluded.value:.1f};")
print(f"covering a part of the photograph lowers it by {occluded.heat.max():.1f} at most")
