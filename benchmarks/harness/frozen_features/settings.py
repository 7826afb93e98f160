"""What a benchmark measures, and how: settings made once and passed whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from decaf.errors import SettingError
from harness.frozen_features.baselines import BASELINES
from harness.protocol.measure import HeadSettings
from harness.protocol.run import ProtocolSettings, same_weights

__all__ = ["BenchmarkSettings", "paper_heads"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(ProtocolSettings):
    """What a benchmark measures, and how; more in `ProtocolSettings`.

    The curves and the baseline are those of the first of `weights`; each has a table.

    Attributes
    ----------
    heads : tuple of HeadSettings
        Rows of the tables.
    train_per_class : int
        Training images of each class in splits that are drawn.
    test_per_class : int, optional
        Test images of each class at most.
    official : bool
        Take the splits that come with the data set, not drawn ones.
    baselines : tuple of str
        Some of `harness.frozen_features.baselines.BASELINES`.
    curve_sizes : tuple of int
        Training images a class of the curves; those above a split's are left out.
    curve_layers : tuple of str
        Some of `layers`.
    curve_heads : tuple of HeadSettings
    """

    heads: tuple[HeadSettings, ...]
    layers: tuple[str, ...] = ("pool5", "fc6", "fc7")
    train_per_class: int = 30
    test_per_class: int | None = None
    official: bool = False
    baselines: tuple[str, ...] = ()
    curve_sizes: tuple[int, ...] = ()
    curve_layers: tuple[str, ...] = ()
    curve_heads: tuple[HeadSettings, ...] = ()

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
