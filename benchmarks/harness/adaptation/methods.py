"""The rows of the table: which method, with which head, and what the paper has of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import decaf.adapt
from decaf.errors import SettingError

__all__ = [
    "METHODS",
    "PAIR",
    "PUBLISHED",
    "PUBLISHED_COLUMNS",
    "SOURCE",
    "MethodSettings",
    "methods_of",
]

# The paper's table: Amazon → Webcam of Office-31, in columns of its own.
SOURCE = "Donahue et al. 2014, table 1"
PAIR = ("amazon", "webcam")

# The last: Chopra et al. 2013 learn features of their own from the images.
PUBLISHED_COLUMNS = ("SURF", "DeCAF₆", "DeCAF₇", "own features")

Score = tuple[float, float | None]


@dataclass(frozen=True)
class MethodSettings:
    """A method as a row of the table.

    Attributes
    ----------
    key : str
        Name on the command line.
    name : str
        Name of the row.
    estimator : str
        A class of `decaf.adapt`.
    settings : mapping
        Settings of the class.
    uses : {"source", "target", "both"}
        Which domains' images it learns from.
    needs_labels : bool
        Whether it learns from labelled target images only where there are some: it has no row in
        the unsupervised setting.
    short : str
        Name where there is little room; `name` when empty.
    """

    key: str
    name: str
    estimator: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    uses: str = "both"
    needs_labels: bool = False
    short: str = ""

    def make(self, *, C: float | str = "cv", seed: int = 0) -> Any:
        """Make the estimator, not fitted.

        Parameters
        ----------
        C : float or "cv"
            Regularisation of its head, where the head has one.
        seed : int
        """
        settings = {"random_state": seed, **self.settings}
        if settings.get("head") != "1nn":
            settings.setdefault("C", C)
        return getattr(decaf.adapt, self.estimator)(**settings)

    def record(self, *, C: float | str = "cv", seed: int = 0) -> dict[str, Any]:
        """Return what determines its answers, as JSON can hold it.

        Parameters
        ----------
        C : float or "cv"
        seed : int
            As `make` takes them.
        """
        return {"estimator": self.estimator, **self.make(C=C, seed=seed).get_params(deep=False)}


METHODS = (
    MethodSettings("logreg-s", "LogReg (S)", "SourceOnly", {"head": "logreg"}, "source"),
    MethodSettings("svm-s", "SVM (S)", "SourceOnly", {"head": "svm"}, "source"),
    MethodSettings("logreg-t", "LogReg (T)", "TargetOnly", {"head": "logreg"}, "target", True),
    MethodSettings("svm-t", "SVM (T)", "TargetOnly", {"head": "svm"}, "target", True),
    MethodSettings("logreg-st", "LogReg (ST)", "SourceAndTarget", {"head": "logreg"}, "both", True),
    MethodSettings("svm-st", "SVM (ST)", "SourceAndTarget", {"head": "svm"}, "both", True),
    MethodSettings(
        "daume",
        "Daumé III 2007",
        "FeatureAugmentation",
        {"head": "svm"},
        needs_labels=True,
        short="Daumé III",
    ),
    MethodSettings(
        "mmdt",
        "Hoffman et al. 2013 (MMDT)",
        "MMDT",
        {"head": "svm"},
        needs_labels=True,
        short="MMDT",
    ),
    MethodSettings(
        "gfk-1nn", "Gong et al. 2012 (GFK, 1-NN)", "GFK", {"head": "1nn"}, short="GFK, 1-NN"
    ),
    MethodSettings(
        "gfk-svm", "Gong et al. 2012 (GFK, SVM)", "GFK", {"head": "svm"}, short="GFK, SVM"
    ),
    MethodSettings("dlid", "Chopra et al. 2013 (DLID)", "DLID", {"head": "svm"}, short="DLID"),
    MethodSettings("coral", "CORAL", "CORAL", {"head": "svm"}),
    MethodSettings(
        "subspace", "Subspace alignment", "SubspaceAlignment", {"head": "svm"}, short="Subspaces"
    ),
    MethodSettings("tca", "TCA", "TCA", {"head": "svm"}),
    MethodSettings("jda", "JDA", "JDA", {"head": "svm"}),
    MethodSettings(
        "transport", "Optimal transport", "OptimalTransport", {"head": "svm"}, short="Transport"
    ),
)


def _three(*numbers: float) -> dict[str, Score]:
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return dict(zip(PUBLISHED_COLUMNS[:3], pairs, strict=True))


# Key of the method → column → (mean, standard deviation over 5 splits), in percent.
PUBLISHED: Mapping[str, Mapping[str, Score]] = {
    "logreg-s": _three(9.63, 1.4, 48.58, 1.3, 53.56, 1.5),
    "svm-s": _three(11.05, 2.3, 52.22, 1.7, 53.90, 2.2),
    "logreg-t": _three(24.33, 2.1, 72.56, 2.1, 74.19, 2.8),
    "svm-t": _three(51.05, 2.0, 78.26, 2.6, 78.72, 2.3),
    "logreg-st": _three(19.89, 1.7, 75.30, 2.0, 76.32, 2.0),
    "svm-st": _three(23.19, 3.5, 80.66, 2.3, 79.12, 2.1),
    "daume": _three(40.26, 1.1, 82.14, 1.9, 81.65, 2.4),
    "mmdt": _three(37.66, 2.2, 80.06, 2.7, 80.37, 2.0),
    # The paper does not say with which classifier; Gong et al. use the nearest neighbour.
    "gfk-1nn": _three(39.80, 2.3, 75.21, 1.2, 77.55, 1.9),
    "dlid": {"own features": (58.85, None)},
}


def methods_of(keys: Sequence[str]) -> tuple[MethodSettings, ...]:
    """Return methods by their keys, in the order of the table.

    Parameters
    ----------
    keys : sequence of str

    Raises
    ------
    SettingError
        For keys that there are none of.

    Examples
    --------
    >>> [method.name for method in methods_of(["svm-s", "logreg-s"])]
    ['LogReg (S)', 'SVM (S)']
    """
    known = [method.key for method in METHODS]
    wrong = [key for key in keys if key not in known]
    if wrong:
        raise SettingError(f"methods {', '.join(wrong)}: not of {', '.join(known)}")
    return tuple(method for method in METHODS if method.key in keys)
