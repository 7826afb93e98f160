"""
Preprocessing matters
=====================

A network is never shown the file, but what preprocessing makes of it: resized, cut, and
normalised. The same weights give other features when one of these steps is another, and nothing
in the numbers tells. Here is by how much.
"""

# %%
# What the network is shown of a wide photograph: the packaged weights resize the shorter side and
# cut the middle; the DeCAF paper squeezes the whole image into a square; ``as-is`` takes an image
# that has the network's size already.
import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_images

import decaf

photographs = [Image.fromarray(image) for image in load_sample_images().images]
photographs.append(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)))
network = decaf.load_backbone()


def shown(image, preprocess):
    """Return the image as the network sees it."""
    return decaf.pixel_importance(
        image, 0, "conv1", method="gradient", weights=network, preprocess=preprocess
    ).pixels


wide = photographs[0]
cut = Image.fromarray(shown(wide, "shorter-side"))
fig, axes = plt.subplots(2, 2, figsize=(4.8, 4.6), layout="constrained")
for axis, title, picture in zip(
    axes.flat,
    ("the photograph", "shorter-side", "decaf (warped)", "a part, as-is"),
    (wide, cut, shown(wide, "decaf"), shown(wide.crop((208, 101, 432, 325)), "as-is")),
    strict=True,
):
    axis.imshow(picture)
    axis.set_title(title, fontsize=10)
    axis.axis("off")
plt.show()

# %%
# Each change is made to one step alone. The cosine tells how near the features are to those of
# the weights' own preprocessing, as the mean over three photographs.


def compressed(image):
    """Return the image after a pass through a JPEG file of low quality."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("RGB")


def resized(image, how):
    """Return the middle of the image, resized here; the network then takes it as it is."""
    scale = 256 / min(image.size)
    size = [round(side * scale) for side in image.size]
    left, top = ((side - 224) // 2 for side in size)
    return image.resize(size, how).crop((left, top, left + 224, top + 224))


own = network.preprocess
bicubic, nearest = Image.Resampling.BICUBIC, Image.Resampling.NEAREST
ways = {
    "bicubic": ([resized(each, bicubic) for each in photographs], {"preprocess": "as-is"}),
    "ten-crop, mean": (photographs, {"crops": "ten"}),
    "JPEG of quality 30": ([compressed(each) for each in photographs], {}),
    "no antialiasing": ([resized(each, nearest) for each in photographs], {"preprocess": "as-is"}),
    "mirrored": ([each.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for each in photographs], {}),
    "warped": (photographs, {"preprocess": "decaf"}),
    "red and blue swapped": (
        [Image.fromarray(np.asarray(each)[..., ::-1].copy()) for each in photographs],
        {},
    ),
    "mean and std left out": (photographs, {"preprocess": {"mean": (0, 0, 0), "std": (1, 1, 1)}}),
}
layers = ["pool5", "fc6", "fc7"]


def cosines(a, b):
    """Return the cosine of each row with that of the other matrix."""
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


reference = decaf.extract(photographs, layers, weights=network)
table = {}
for way, (images, options) in ways.items():
    values = decaf.extract(images, layers, weights=network, **options)
    table[way] = [cosines(values[layer], reference[layer]).mean() for layer in layers]
table["another photograph"] = [
    cosines(reference[layer], np.roll(reference[layer], 1, axis=0)).mean() for layer in layers
]

print(f"{'':22}" + "".join(f"{layer:>7}" for layer in layers))
for way, row in table.items():
    print(f"{way:22}" + "".join(f"{value:7.2f}" for value in row))

# %%
# How to resize, between two good filters, hardly matters. Whether the whole image is warped or
# its middle is cut moves the features a good way towards those of another photograph; swapped
# colours and a forgotten normalisation do more. This is why every feature file records how its
# images were prepared, and why a classifier refuses features that were prepared otherwise.
fig, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
places = np.arange(len(table))
for number, layer in enumerate(layers):
    axis.barh(
        places + 0.27 * (number - 1), [row[number] for row in table.values()], 0.25, label=layer
    )
axis.set_yticks(places, list(table))
axis.invert_yaxis()
axis.set(xlabel="cosine with the weights' own preprocessing", xlim=(0, 1))
axis.legend(fontsize=9, loc="lower right")
plt.show()
