"""
Labels that are likely wrong
============================

A classifier that has not seen an image, and is sure that it is of another class, is a hint that
the label is wrong. Confident learning (Northcutt et al. 2021) ranks all labels by such hints.
"""

# %%
# The handwritten digits of scikit-learn, of which we give 5 % a wrong label on purpose.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from decaf.exploration import held_out_probabilities, rank_label_errors
from decaf.heads import LogisticRegression

digits = load_digits()
X, true = digits.data.astype(np.float32), digits.target
random = np.random.default_rng(0)
changed = random.choice(len(true), len(true) // 20, replace=False)
labels = true.copy()
labels[changed] = (true[changed] + random.integers(1, 10, len(changed))) % 10

# %%
# Each image gets the probabilities of a head that has seen only the other folds.
probabilities = held_out_probabilities(X, labels, like=LogisticRegression(C=1.0))
ranked = rank_label_errors(probabilities, labels)
is_wrong = np.isin(ranked.order, changed)
found = np.cumsum(is_wrong)
print(f"{len(changed)} of {len(labels)} labels were changed")
print(f"{ranked.likely} are called likely wrong; {found[ranked.likely - 1]} of these were changed")

fig, axis = plt.subplots(figsize=(5, 2.8), layout="constrained")
looked = np.arange(1, len(found) + 1)
axis.plot(looked, found / len(changed), label="ranked")
axis.plot(looked, looked / len(looked), color="grey", linewidth=0.8, label="in any order")
axis.axvline(ranked.likely, color="black", linestyle=":", label="called likely wrong")
axis.set(xlabel="labels looked at", ylabel="changed labels found", xlim=(0, 600))
axis.legend(fontsize=9)
plt.show()

# %%
# The first of the list: the label that is given, and the class that is proposed.
fig, axes = plt.subplots(2, 6, figsize=(5.2, 2.4), layout="constrained")
for axis, row, proposed in zip(axes.flat, ranked.order, ranked.proposed, strict=False):
    axis.imshow(digits.images[row], cmap="gray_r")
    axis.set_title(f"{labels[row]}, rather {proposed}", fontsize=9)
    axis.axis("off")
plt.show()
