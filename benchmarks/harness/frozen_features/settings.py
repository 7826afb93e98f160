"""What a benchmark measures, and how: settings made once and passed whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import SettingError
from harness.frozen_features.baselines import BASELINES
from harness.frozen_features.naming import same_weights
from harness.protocol.measure import HeadSettings

__all__ = ["BenchmarkSettings", "paper_heads"]


@dataclass(frozen=True)
class BenchmarkSettings:
    """What a benchmark measures, and how.

    Attributes
    ----------
    name : str
        Stem of the report's files.
    heads : tuple of HeadSettings
        Rows of the tables.
    layers : tuple of str
        Columns of the tables.
    weights : tuple of str
        Networks; each has a table. The curves and the baseline are of the first.
    train_per_class : int
        Training images of each class in splits that are drawn.
    test_per_class : int, optional
        Test images of each class at most.
    splits : int or path
        How many, or a manifest that an earlier run wrote.
    official : bool
        Take the splits that come with the data set, not drawn ones.
    seed : int
        Of the splits that are drawn.
    baselines : tuple of str
        Of `harness.frozen_features.baselines.BASELINES`.
    curve_sizes : tuple of int
        Training images a class of the curves; those above a split's are left out.
    curve_layers : tuple of str
        Some of `layers`.
    curve_heads : tuple of HeadSettings
    crops, precision, device, batch_size, workers
        As `decaf.extract` takes them.
    cache : path, optional
        See `harness.protocol.feature_cache.cache_folder`.
    recompute : bool
        Fit all heads again, whatever an earlier run has stored.
    command : str
        For the report.
    title : str
        What its title ends in: what sets a partial run apart.
    """

    name: str
    heads: tuple[HeadSettings, ...]
    layers: tuple[str, ...] = ("pool5", "fc6", "fc7")
    weights: tuple[str, ...] = (DEFAULT_WEIGHTS,)
    train_per_class: int = 30
    test_per_class: int | None = None
    splits: int | str | os.PathLike[str] = 5
    official: bool = False
    seed: int = 0
    baselines: tuple[str, ...] = ()
    curve_sizes: tuple[int, ...] = ()
    curve_layers: tuple[str, ...] = ()
    curve_heads: tuple[HeadSettings, ...] = ()
    crops: str = "center"
    precision: str = "fp32"
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    cache: str | os.PathLike[str] | None = None
    recompute: bool = False
    command: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        wrong = [
            f"baseline {name!r} is not one of {', '.join(BASELINES)}"
            for name in self.baselines
            if name not in BASELINES
        ]
        for what in ("heads", "layers", "weights"):
            if not getattr(self, what):
                wrong.append(f"no {what} asked for")
        wrong += [
            f"curve layer {name!r} is not one of {', '.join(self.layers)}"
            for name in self.curve_layers
            if name not in self.layers
        ]
        wrong += [f"weights {name} are named twice" for name in same_weights(self.weights)]
        if wrong:
            raise SettingError("; ".join(wrong))


# Where the accuracy with dropout changes little from one C to the next, and a fit takes long: the
# range of the estimators' own eight values, in five. For rows of norm 1, as theirs.
_DROPOUT_CS = {
    "logreg": (4.0, 32.0, 256.0, 2048.0, 16384.0),
    "svm": (0.25, 2.0, 16.0, 128.0, 1024.0),
}


def paper_heads(**settings: Any) -> tuple[HeadSettings, ...]:
    """Return the four rows of Donahue et al. 2014, section 4.1: half of the activations drop.

    Parameters
    ----------
    **settings
        Fields of `HeadSettings` for all of them.

    Examples
    --------
    >>> [head.name for head in paper_heads()]
    ['LogReg', 'LogReg with dropout', 'SVM', 'SVM with dropout']
    """
    return (
        HeadSettings("LogReg", "logreg", **settings),
        _with_dropout("LogReg with dropout", "logreg", settings),
        HeadSettings("SVM", "svm", **settings),
        _with_dropout("SVM with dropout", "svm", settings),
    )


def _with_dropout(name: str, kind: str, settings: dict[str, Any]) -> HeadSettings:
    rows_of_norm_1 = settings.get("scale", HeadSettings.scale) in ("mean-norm", "unit-norm")
    grid = {"Cs": _DROPOUT_CS[kind]} if rows_of_norm_1 else {}
    return HeadSettings(name, kind, dropout=0.5, **{**grid, **settings})
