"""
The choice of C
===============

How strongly a linear head is regularised decides how good it is. ``"cv"`` chooses C by
cross-validation among the training rows, and the curve of that search says how far the choice can
be trusted.
"""

# %%
# Features of 150 handwritten digits, 15 of each; scikit-learn ships them as images of 8 × 8
# pixels.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

import decaf
from decaf.heads import LogisticRegression

digits = load_digits()
rows = np.concatenate([np.flatnonzero(digits.target == digit)[:15] for digit in range(10)])
images = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)
X, y = decaf.extract(images, "fc6", workers=0), digits.target[rows]

# %%
# All folds and all values of C are solved together. The curve is the accuracy on rows that were
# held out, the band one standard deviation over the five folds: of 30 rows each, so it is wide.
# Where the curve is flat, the choice among its values is chance, and does not matter.
head = LogisticRegression("cv").fit(X, y)
search = head.search_
fig, axis = plt.subplots(figsize=(5, 3), layout="constrained")
upper = np.minimum(search.accuracy + search.std, 1)
axis.fill_between(search.Cs, search.accuracy - search.std, upper, alpha=0.25)
axis.semilogx(search.Cs, search.accuracy, marker="o")
axis.axvline(search.chosen, color="black", linestyle=":", label=f"chosen: C = {search.chosen:g}")
axis.set(xlabel="C", ylabel="accuracy on held-out rows")
axis.legend(fontsize=9, loc="lower right")
plt.show()
border = "at the border" if search.at_border else "inside"
print(f"{search.accuracy.max():.1%} at C = {search.chosen:g}, {border} of the grid")

# %%
# The head is scikit-learn's: the objective that both minimise, 1/2 ‖w‖² + C Σ loss, ends at the
# same value when scikit-learn is told to be exact.
scaled = head.scaling_.apply(X)


def objective(W, b, C):
    """Return 1/2 ‖w‖² + C Σ loss of a multinomial model on the training rows."""
    scores = scaled @ W.T + b
    losses = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(y)), y]
    return 0.5 * (W**2).sum() + C * losses.sum()


print("      C       decaf  scikit-learn")
for C in (search.Cs[0], search.chosen):
    ours = LogisticRegression(C).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = SklearnLogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(scaled, y)
    here, there = ours.objective_, objective(theirs.coef_, theirs.intercept_, C)
    print(f"{C:7g}  {here:10.4f}  {there:12.4f}")
    assert here <= there * (1 + 1e-3)
