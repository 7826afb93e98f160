"""
Are the probabilities right?
============================

Of answers that are given with 80 %, four in five should be right. Decision values of a support
vector machine are no probabilities; one number, fitted to rows that the head had not seen, makes
them such.
"""

# %%
# A head takes any matrix with a row for each image: here the 64 grey values of handwritten
# digits, so that there are enough rows for a test.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from decaf.exploration import reliability
from decaf.heads import Calibration, LinearSVM

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X.astype(np.float32), y, train_size=300, stratify=y, random_state=0
)
head = LinearSVM("cv").fit(X_train, y_train)
print(f"C = {head.C_:g}; {head.score(X_test, y_test):.1%} of {len(y_test)} digits right")

# %%
# The search for C has held each training row out once, and keeps its decision values:
# ``Calibration`` is fitted to them. To compare with, the softmax of the decision values as they
# are.
calibration = Calibration.fit(head.search_.decisions, y_train)
decisions = head.decision_function(X_test)
chances = {
    "decision values": Calibration(1.0).probabilities(decisions),
    f"times {calibration.a:.1f}": calibration.probabilities(decisions),
}

fig, axes = plt.subplots(1, 2, figsize=(5.2, 2.8), sharey=True, layout="constrained")
for axis, (name, probabilities) in zip(axes, chances.items(), strict=True):
    answers = probabilities.argmax(axis=1)
    curve = reliability(probabilities.max(axis=1), answers == y_test)
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    there = curve.counts > 0
    axis.scatter(curve.confidence[there], curve.accuracy[there], s=10 + curve.counts[there] / 4)
    axis.set(xlabel="probability that was given", xlim=(0, 1.05), ylim=(0, 1.05))
    axis.set_title(f"{name}\nerror {curve.error:.3f}", fontsize=10)
axes[0].set_ylabel("share that is right")
plt.show()

# %%
# Left the head is far too modest: right nearly always, and never sure. On the right the points
# are near the line, and no answer has changed: the order of the classes stays. ``decaf.fit`` does
# this for every support vector machine.
before, after = chances.values()
assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))
