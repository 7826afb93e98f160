"""
Photographs of one animal belong together
=========================================

Ten photographs of one animal are not ten independent images. A classifier that has seen one of
them knows the others, and a test that is drawn image by image says more than is true of a new
animal. ``groups`` keeps them on one side.
"""

# %%
# Two kinds of beetle, drawn: one has mostly stripes, the other mostly spots. Each beetle has a
# colour and a pattern of its own, by which it is easily known again, and is "photographed" five
# times.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import decaf

random = np.random.default_rng(0)


def beetle(kind):
    """Return what makes a beetle: its colours, and its marks as ellipses."""
    marks = []
    for _ in range(14):
        x, y = random.uniform(0.2, 0.8, 2)
        long = random.random() < (0.8 if kind == "striped" else 0.2)
        marks.append((x, y, 0.035, 0.13) if long else (x, y, 0.06, 0.06))
    return random.integers(40, 256, 3), random.integers(0, 200, 3), marks


def photographed(colour, mark_colour, marks):
    """Return a picture of a beetle: a little moved, turned and noisy."""
    side = 128
    image = Image.new("RGB", (side, side), (205, 200, 190))
    draw = ImageDraw.Draw(image)
    draw.ellipse((16, 8, 112, 120), fill=tuple(map(int, colour)))
    for x, y, w, h in marks:
        box = np.array([x - w, y - h, x + w, y + h]) * side
        draw.ellipse(tuple(box), fill=tuple(map(int, mark_colour)))
    image = image.rotate(
        random.uniform(-12, 12), fillcolor=(205, 200, 190), resample=Image.Resampling.BILINEAR
    )
    noisy = np.asarray(image) * random.uniform(0.85, 1.1) + random.normal(0, 6, (side, side, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


images, labels, groups = [], [], []
for number in range(24):
    kind = ("striped", "spotted")[number % 2]
    looks = beetle(kind)
    for _ in range(5):
        images.append(photographed(*looks))
        labels.append(kind)
        groups.append(f"beetle {number}")

fig, axes = plt.subplots(4, 5, figsize=(4.6, 3.9), layout="constrained")
for row, number in zip(axes, (0, 2, 1, 3), strict=True):
    for axis, image in zip(row, images[5 * number : 5 * number + 5], strict=True):
        axis.imshow(image)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(labels[5 * number], fontsize=10)
plt.show()

# %%
# The feature file keeps the groups, and ``decaf.fit`` reports both figures: with whole beetles
# held out, and what a split through them would have claimed.
with tempfile.TemporaryDirectory() as folder:
    out = Path(folder, "beetles.h5")
    decaf.extract(images, "fc6", out=out, labels=labels, groups=groups, workers=0).close()
    report = decaf.fit(out, layer="fc6").report

estimates = {"new beetles": report.estimate, "beetles seen before": report.groups.ungrouped}
fig, axis = plt.subplots(figsize=(4.8, 2), layout="constrained")
for place, (name, estimate) in enumerate(estimates.items()):
    low, high = estimate.interval
    axis.barh(place, estimate.accuracy, color=f"C{place}", alpha=0.7)
    axis.plot([low, high], [place, place], color="black")
    print(f"{name}: {estimate.accuracy:.0%} right, 95 % interval {low:.0%} to {high:.0%}")
axis.axvline(0.5, color="grey", linestyle=":")
axis.set_yticks(range(len(estimates)), list(estimates))
axis.set(xlabel="accuracy; dotted: guessing", xlim=(0, 1))
plt.show()

# %%
# The first figure answers the question that is usually meant. Its interval is that of as many
# independent images as 24 beetles are worth, not of 120 photographs.
