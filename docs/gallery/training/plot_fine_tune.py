"""
Fine-tune a network, if it pays
===============================

Where frozen features are not enough, the network itself can be trained on. ``decaf.finetune``
first fits a head to the features as they are, and keeps what it has trained only where that beats
the head on validation images.
"""

# %%
# Four textures, drawn, that differ in little: dots or dashes, in rows or shifted.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import decaf

random = np.random.default_rng(0)


def texture(dashes, shifted):
    """Return a picture of marks on a ground of changing colour."""
    light = random.integers(120, 256, 3)
    dark = (light * random.uniform(0.3, 0.6)).astype(int)
    image = Image.new("RGB", (96, 96), tuple(map(int, light)))
    draw = ImageDraw.Draw(image)
    step, angle = random.uniform(11, 15), random.uniform(-8, 8)
    for i in range(14):
        for j in range(14):
            x = i * step + (step / 2 if shifted and j % 2 else 0) - 30
            y = j * step - 30
            width = 4 if dashes else 2.5
            draw.ellipse((x - width, y - 2.5, x + width, y + 2.5), fill=tuple(map(int, dark)))
    image = image.rotate(angle, resample=Image.Resampling.BILINEAR).crop((12, 12, 84, 84))
    noisy = np.asarray(image) + random.normal(0, 12, (72, 72, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


KINDS = {"dots": (0, 0), "dots shifted": (0, 1), "dashes": (1, 0), "dashes shifted": (1, 1)}
folder = tempfile.TemporaryDirectory()
fig, axes = plt.subplots(1, 4, figsize=(5.6, 1.7), layout="constrained")
for axis, (kind, how) in zip(axes, KINDS.items(), strict=True):
    own = Path(folder.name, "textures", kind)
    own.mkdir(parents=True)
    for number in range(20):
        texture(*how).save(own / f"{number:02}.png")
    axis.imshow(Image.open(own / "00.png"))
    axis.set_title(kind, fontsize=10)
    axis.axis("off")
plt.show()

# %%
# The folder is all that is needed. Here all layers up to fc6 stay as they are, which saves time.
result = decaf.finetune(
    Path(folder.name, "textures"),
    epochs=3,
    batch_size=16,
    freeze="fc6",
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
# The log of the run has losses and errors by epoch; at 0 stands the frozen network with its head.
log = [row for row in result.history if np.isfinite(row.get("val_loss", np.nan))]
fig, axis = plt.subplots(figsize=(4.8, 2.6), layout="constrained")
axis.plot([row["epoch"] for row in log], [row["val_loss"] for row in log], marker="o")
axis.set(xlabel="epochs", ylabel="loss on the validation images")
plt.show()

folder.cleanup()
