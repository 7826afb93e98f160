"""
Features for MATLAB, R and pandas
=================================

A feature file is HDF5, and anything reads that. Where another format is easier,
``decaf.export_features`` writes it, with the names and the labels of the rows.
"""

# %%
# Six images of two classes, one of which cannot be read: it keeps its row.
import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from scipy.io import loadmat
from sklearn.datasets import load_sample_images

import decaf

folder = tempfile.TemporaryDirectory()
for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
    own = Path(folder.name, "photos", name)
    own.mkdir(parents=True)
    for number, left in enumerate((0, 180, 360)):
        Image.fromarray(photograph[100:380, left : left + 280]).save(own / f"{number}.jpg")
(Path(folder.name, "photos", "temple", "2.jpg")).write_bytes(b"not a photograph")

file = Path(folder.name, "photos.h5")
decaf.extract(Path(folder.name, "photos"), ["fc6", "fc7"], out=file, on_error="record").close()

# %%
# MATLAB: every layer under its name, a row for each image. There ``fc6(i, :)`` is image i, and
# its class ``class_names{label(i) + 1}``. Here SciPy reads it.
decaf.export_features(file, Path(folder.name, "photos.mat"))
matlab = loadmat(Path(folder.name, "photos.mat"))
for name, value in matlab.items():
    if not name.startswith("__"):
        print(f"{name:12} {value.shape}")

# %%
# A table: one layer, with the path, class and status of each row in front. ``pandas.read_csv``,
# R's ``read.csv`` and spreadsheets take it as it is.
decaf.export_features(file, Path(folder.name, "photos.csv"), layer="fc7")
with open(Path(folder.name, "photos.csv"), newline="") as table:
    head, *rows = csv.reader(table)
print(head[:6], "…", head[-1])
for row in rows:
    print([cell[-12:] for cell in row[:6]])

# %%
# The bad image is there with its status, and its values are NaN: rows never move. ``to_xy``
# leaves it out.
with decaf.open_features(file) as features:
    X, y = features.to_xy("fc7")
    print(f"{len(features)} rows, {features.ok.sum()} readable: X {X.shape}")
    values = features["fc7"][:]

fig, axis = plt.subplots(figsize=(5.2, 2.2), layout="constrained")
shown = np.ma.masked_invalid(values[:, :120])
colours = plt.colormaps["viridis"].with_extremes(bad="lightgrey")
axis.imshow(shown, aspect="auto", cmap=colours, interpolation="nearest")
axis.set(xlabel="the first 120 numbers of fc7", yticks=range(len(values)))
axis.set_yticklabels([row[0][-12:] for row in rows], fontsize=9)
plt.show()

folder.cleanup()
