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
# A classifier that learns batch by batch never needs all rows. The first two parts teach it, each
# row once, and the last one is the test.
model = GaussianNB(var_smoothing=0.01)
seen, accuracy = [0], []
with decaf.open_features(parts) as features:
    batches = list(features.batches("fc6", rows=20))
test_X, test_y = (np.concatenate(each) for each in zip(*batches[6:], strict=True))
for X, y in batches[:6]:
    model.partial_fit(X, y, classes=np.arange(10))
    seen.append(seen[-1] + len(X))
    accuracy.append(model.score(test_X, test_y))

fig, axis = plt.subplots(figsize=(4.8, 2.6), layout="constrained")
axis.plot(seen[1:], accuracy, marker="o")
axis.set(xlabel="rows learned from", ylabel="accuracy on the last part", ylim=(0, 1))
plt.show()
print(f"{accuracy[-1]:.0%} of {len(test_y)} digits right")

folder.cleanup()
