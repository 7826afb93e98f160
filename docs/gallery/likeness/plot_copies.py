"""
Copies in a collection
======================

The same picture, saved again, made smaller, mirrored or cut a little, is found in most
collections. On both sides of a split it makes a test too good. ``decaf.duplicates`` finds
candidates by their features, and lets the pixels decide.
"""

# %%
# A folder of twelve different pictures, cut from three photographs, and copies of some of them.
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.cbook import get_sample_data
from PIL import Image
from sklearn.datasets import load_sample_images

import decaf

photographs = [Image.fromarray(image) for image in load_sample_images().images]
photographs.append(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)))
folder = tempfile.TemporaryDirectory()
pictures = Path(folder.name, "pictures")
pictures.mkdir()
for name, photograph in zip("abc", photographs, strict=True):
    for number, (x, y) in enumerate([(0, 0), (270, 0), (60, 200), (270, 200)]):
        photograph.crop((x, y, x + 240, y + 200)).save(pictures / f"{name}{number}.png")

shutil.copy(pictures / "c3.png", pictures / "c3-same.png")
first = Image.open(pictures / "a2.png")
first.save(pictures / "a2-again.jpg", quality=50)
first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(pictures / "a2-mirrored.png")
Image.open(pictures / "b2.png").resize((120, 100)).save(pictures / "b2-small.png")
Image.open(pictures / "c0.png").crop((8, 6, 232, 194)).save(pictures / "c0-cut.png")

# %%
# Each pair is told with its kind, and whether it crosses a border of classes or of splits.
decaf.extract(pictures, "fc7", out=Path(folder.name, "pictures.h5"), workers=0).close()
found = decaf.duplicates(Path(folder.name, "pictures.h5"))
pairs = found.pairs
for pair in pairs:
    first, second = (Path(found.name(place)).name for place in (pair.first, pair.second))
    print(f"{first:16} {second:16} {pair.kind}, cosine {pair.cosine:.2f}")
print(f"{found.refused} pairs are near by their features, and their pixels differ")

of_each_kind = {pair.kind: pair for pair in pairs}
fig, axes = plt.subplots(2, len(of_each_kind), figsize=(5.2, 2.2), layout="constrained")
for column, (kind, pair) in zip(axes.T, of_each_kind.items(), strict=True):
    for axis, place in zip(column, (pair.first, pair.second), strict=True):
        axis.imshow(Image.open(found.name(place)))
        axis.axis("off")
    column[0].set_title(kind.replace(", ", ",\n"), fontsize=10)
plt.show()

# %%
# The groups that they make are a table for ``decaf.fit(..., groups="groups.csv:group")``, which
# keeps copies on one side of a split.
print(found.groups_table().decode().splitlines()[0])
print(f"{found.copies} pictures are in a group with one before them")
folder.cleanup()
