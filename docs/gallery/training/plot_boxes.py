"""
Where is the object?
====================

The maps of ``pool5`` still know where things are. ``decaf.localise`` learns boxes from them, by
regression, as in the localisation task of ILSVRC2012.
"""

# %%
# Scenes, drawn: one dark disc or rectangle somewhere on a cluttered ground, and a table that says
# where.
import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw

import decaf

random = np.random.default_rng(0)
SIDE = 160


def scene():
    """Return a picture, and the first and last pixel of its object in both directions."""
    image = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in random.integers(90, 200, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        a, b, c, d = random.integers(0, SIDE, 4).tolist()
        draw.line((a, b, c, d), fill=tuple(int(v) for v in random.integers(60, 220, 3)), width=2)
    w, h = random.integers(40, 90, 2).tolist()
    x, y = (int(random.integers(0, SIDE - side)) for side in (w, h))
    box = (x, y, x + w - 1, y + h - 1)
    colour = tuple(int(v) for v in random.integers(0, 80, 3))
    (draw.ellipse if random.random() < 0.5 else draw.rectangle)(box, fill=colour, outline="white")
    return image, box


folder = tempfile.TemporaryDirectory()
train, test = [], []
with open(Path(folder.name, "boxes.csv"), "w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["path", "xmin", "ymin", "xmax", "ymax"])
    for number in range(140):
        image, box = scene()
        path = Path(folder.name, f"{number:03}.png")
        image.save(path)
        table.writerow([path.name, *box])
        (train if number < 120 else test).append((path, box))

# %%
# A box is right if it overlaps the true one by half or more. Beside the errors stand those of
# answers that do not look at the image.
localiser = decaf.localise(
    [path for path, _ in train],
    Path(folder.name, "boxes.csv"),
    hidden=256,
    epochs=35,
    batch_size=32,
    held_out=0.2,
    workers=0,
)
for answer in ("error", "whole_image", "mean_box", "centre_box"):
    print(f"{answer:12} {localiser.report[answer]:5.1f} % wrong")

# %%
# On images that were not learned from: white is true, orange predicted.
boxes = localiser.predict([path for path, _ in test], workers=0).pixels[:, 0]
fig, axes = plt.subplots(2, 4, figsize=(5.2, 2.8), layout="constrained")
for axis, (path, box), (left, top, right, bottom) in zip(axes.flat, test, boxes, strict=False):
    axis.imshow(Image.open(path))
    x, y, last_x, last_y = box
    axis.add_patch(
        Rectangle(
            (x, y), last_x - x + 1, last_y - y + 1, fill=False, edgecolor="white", linewidth=1.5
        )
    )
    axis.add_patch(
        Rectangle(
            (left, top), right - left, bottom - top, fill=False, edgecolor="tab:orange", linewidth=2
        )
    )
    axis.axis("off")
plt.show()

folder.cleanup()
