"""
Fine-tune a network, if it pays
===============================

Where frozen features are not enough, the network itself can be trained on. ``decaf.finetune``
first fits a head to the features as they are, and keeps what it has trained only where that beats
the head on validation images.
"""

# %%
# Four textures, drawn, that differ in their marks: dots, dashes, rings or crosses. Colour, size,
# angle and noise change from picture to picture.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import decaf

random = np.random.default_rng(0)


def texture(kind):
    """Return a picture of marks on a ground of changing colour."""
    light = random.integers(120, 256, 3)
    ink = tuple(int(v) for v in light * random.uniform(0.6, 0.85))
    image = Image.new("RGB", (160, 160), tuple(map(int, light)))
    draw = ImageDraw.Draw(image)
    step = random.uniform(20, 28)
    for x in np.arange(0, 170, step):
        for y in np.arange(0, 170, step):
            if kind == "dots":
                draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=ink)
            elif kind == "dashes":
                draw.rectangle((x - 8, y - 3, x + 8, y + 3), fill=ink)
            elif kind == "rings":
                draw.ellipse((x - 7, y - 7, x + 7, y + 7), outline=ink, width=3)
            else:
                draw.line((x - 6, y - 6, x + 6, y + 6), fill=ink, width=3)
                draw.line((x - 6, y + 6, x + 6, y - 6), fill=ink, width=3)
    image = image.rotate(random.uniform(-30, 30), resample=Image.Resampling.BILINEAR)
    pixels = np.asarray(image.crop((30, 30, 130, 130)))
    noisy = pixels + random.normal(0, 35, pixels.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


KINDS = ("dots", "dashes", "rings", "crosses")
folder = tempfile.TemporaryDirectory()
fig, axes = plt.subplots(1, 4, figsize=(5.2, 1.6), layout="constrained")
for axis, kind in zip(axes, KINDS, strict=True):
    own = Path(folder.name, "textures", kind)
    own.mkdir(parents=True)
    for number in range(20):
        texture(kind).save(own / f"{number:02}.png")
    axis.imshow(Image.open(own / "00.png"))
    axis.set_title(kind, fontsize=10)
    axis.axis("off")
plt.show()

# %%
# The folder is all that is needed. Here the convolutions stay as they are, which saves time.
result = decaf.finetune(
    Path(folder.name, "textures"),
    epochs=3,
    batch_size=16,
    freeze="conv5",
    precision="fp32",
    workers=0,
    progress=False,
)
for name, accuracy in result.compared.items():
    low, high = accuracy.interval
    right = f"{accuracy.right} of {accuracy.images} right"
    print(f"{name:22} {right}, 95 % interval {low:.0f} to {high:.0f} %")
print(result.verdict)

# %%
# With 64 training images there is little to be gained, and the rule says so: what is not better by
# more than chance is not kept. The log of the run shows why: at 0 stands the frozen network with
# its head, and training makes the loss on the validation images larger.
log = [row for row in result.history if np.isfinite(row.get("val_loss", np.nan))]
fig, axis = plt.subplots(figsize=(4.8, 2.6), layout="constrained")
axis.plot([row["epoch"] for row in log], [row["val_loss"] for row in log], marker="o")
axis.set(xlabel="epochs", ylabel="loss on the validation images")
plt.show()

folder.cleanup()
