"""
More images than fit in memory
==============================

Large collections come in shards, and their features are a set of parts that opens like one file.
Batches are read one at a time, and a classifier learns from them as they come.
"""

# %%
# Three shards of handwritten digits, as webdataset's tars: an image, and its class beside it.
import io
import tarfile
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

import decaf

digits = load_digits()
folder = tempfile.TemporaryDirectory()


def add(tar, name, content):
    """Add a file to a tar."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


for shard in range(3):
    with tarfile.open(Path(folder.name, f"{shard:03}.tar"), "w") as tar:
        for row in range(60 * shard, 60 * shard + 60):
            png = io.BytesIO()
            pixels = np.rint(digits.images[row] * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(png, "PNG")
            add(tar, f"{row:04}.png", png.getvalue())
            add(tar, f"{row:04}.cls", str(digits.target[row]).encode())

# %%
# One shard becomes one part. Killed at any instant, the same call goes on with the parts that are
# not there yet; on a store or a cluster only the addresses and the ``engine`` are others.
shards, parts = f"{folder.name}/{{000..002}}.tar", f"{folder.name}/parts"
status = decaf.extract_shards(shards, parts, "fc6", format="h5", workers=0, progress=False)
print(f"{status.done} of {status.shards} shards done, {status.rows} rows")
again = decaf.extract_shards(shards, parts, "fc6", format="h5", workers=0, progress=False)
assert again.rows == status.rows

# %%
# A classifier that learns batch by batch never needs all rows. Each batch is first predicted, then
# learned from: so every answer is tested on images that were not seen before.
model = GaussianNB(var_smoothing=0.01)
learned, right = [], []
with decaf.open_features(parts) as features:
    for X, y in features.batches("fc6", rows=20):
        if learned:
            right.append((model.predict(X) == y).mean())
        model.partial_fit(X, y, classes=np.arange(10))
        learned.append(len(X) + sum(learned[-1:]))

fig, axis = plt.subplots(figsize=(4.8, 2.6), layout="constrained")
axis.plot(learned[:-1], right, marker="o")
axis.set(xlabel="images learned from", ylabel="share of the next 20 right", ylim=(0, 1.02))
plt.show()
print(f"{np.mean(right):.0%} of {20 * len(right)} answers right")

folder.cleanup()
