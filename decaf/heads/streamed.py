"""Heads of more rows than memory holds: `fit_streaming`."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from decaf.errors import InputError, SettingError
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import opened_features
from decaf.heads.c_search import CSearch
from decaf.heads.linear_head import LinearHead
from decaf.heads.problem import Solution, predicted_codes
from decaf.heads.scaling import Scaling
from decaf.heads.streaming_input import (
    class_weights,
    held_rows,
    rows_and_labels,
    streaming_template,
)
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted
from decaf.storage import canonical_json, write_atomically

if TYPE_CHECKING:
    from decaf.heads.solver.row_stream import RowStream
    from decaf.heads.solver.streaming import StreamedPass

__all__ = ["StreamedFit", "fit_streaming"]

BLOCK_BYTES = 1 << 28
SMALL = 3e7  # numbers of all rows times columns, up to which float64 costs nothing worth having


@dataclass(frozen=True, eq=False)
class StreamedFit:
    """The heads that `fit_streaming` has fitted.

    Attributes
    ----------
    heads : tuple of LogisticRegression or LinearSVM
        One for each C, in the order given, fitted: what `fit` of the same estimator gives, to the
        tolerance.
    gaps : ndarray of float64, shape (n_Cs,)
        Bound on (objective - optimum) / objective of each, certified by a point of the dual.
    accuracy : ndarray of float64, shape (n_Cs,), or None
        Share of the held-out rows that each classifies rightly; None where none were held out.
    rows : int
        Rows that were learned from.
    held_out : int
        Rows that were held out and could be read.
    left_out : int
        Rows that have no features: those of images that could not be read, and others with NaN or
        infinity.
    passes : int
        Passes over the rows, that for their statistics and for the held-out ones not counted.
    """

    heads: tuple[Any, ...]
    gaps: np.ndarray
    accuracy: np.ndarray | None
    rows: int
    held_out: int
    left_out: int
    passes: int

    @property
    def head(self) -> Any:
        """The head of the best accuracy, of several the one of the smallest C; or the only one.

        Raises
        ------
        SettingError
            Where there are several, and no rows were held out to choose by.
        """
        if len(self.heads) == 1:
            return self.heads[0]
        if self.accuracy is None:
            raise SettingError(
                "several `Cs` and no `held_out` rows to choose by: take one of heads"
            )
        return min(
            zip(self.heads, self.accuracy, strict=True), key=lambda each: (-each[1], each[0].C_)
        )[0]


def fit_streaming(
    features: Any,
    layer: str | None = None,
    labels: Any = None,
    *,
    head: str | LinearHead = "logreg",
    Cs: Sequence[float] | float | None = None,
    held_out: Any = None,
    precision: str = "fp32",
    block: int | None = None,
    state: str | os.PathLike[str] | None = None,
    progress: Callable[[StreamedPass], object] | None = None,
) -> StreamedFit:
    """Fit heads to rows that are read in blocks, again and again, and never held.

    The head is the same that its `fit` finds with all rows in memory; see
    `decaf.heads.solver.streaming` for how. Memory holds some arrays of the size of the weights
    (each C has its own), one block, and two matrices of features by features: about 1.5 GB for
    4,096 features, 1,000 classes and one C, however many rows there are. A pass costs two products
    of the rows with the weights; tens of passes are usual, more for a larger C.

    Parameters
    ----------
    features : path, FeatureFile or array-like, shape (n, …)
        A feature file or part set; or whatever gives arrays of float16, float32 or float64 for
        slices of rows, such as a mapped ``.npy`` file.
    layer : str, optional
        Of a feature file; its only one by default.
    labels : array-like, shape (n,), optional
        Classes: numbers or texts; rows of a whole number below 0 are passed over, as those
        without a label are in a feature file. By default those of the feature file.
    head : {"logreg", "svm"} or estimator
        ``"logreg"`` is ``LogisticRegression(tol=1e-3, max_iter=100)`` and ``"svm"`` the same of
        `LinearSVM`. Of an estimator `C`, `class_weight`, `tol`, `device` and `random_state` are
        heeded, and `max_iter`, which counts passes; `scale` must be "mean-norm", and there is no
        `dropout` and no hinge that is not squared. It is not changed.
    Cs : float or sequence of float, optional
        Values of C, all fitted in the same passes; by default that of the estimator.
    held_out : float, or array-like of bool, shape (n,), optional
        Rows to measure the accuracy on, by which C is chosen: a share of each class, drawn by
        `random_state`, or a mask of rows, with which groups can be kept together.
    precision : {"fp32", "bf16"}
        ``"bf16"`` has the first passes multiply in bfloat16, which some processors do several
        times faster. The last ones, and the gap that is certified, are of float32 in any case.
        Small problems are solved in float64.
    block : int, optional
        Rows that are read at a time; by default what takes about 256 MB to work on. The result is
        the same but for rounding.
    state : path, optional
        Keep the weights there after each pass, from which the same call goes on after an
        interruption; removed at the end. What L-BFGS has learned by then is lost.
    progress : callable, optional
        Called after each pass with its number, objectives and gaps; see
        `decaf.heads.solver.streaming.StreamedPass`.

    Returns
    -------
    StreamedFit

    Raises
    ------
    SettingError
        For settings that cannot be used, all of them in one message, and a `state` of another fit.
    InputError
        For fewer than two classes, a class with no row that can be read, labels of another number.

    Warns
    -----
    ConvergenceWarning
        If a gap is above the tolerance after `max_iter` passes.

    Examples
    --------
    >>> import numpy as np
    >>> from decaf.heads import fit_streaming
    >>> X = np.random.default_rng(0).exponential(size=(60, 100)).astype(np.float16)
    >>> y = np.repeat(["cat", "dog", "newt"], 20)
    >>> X[20:40, :10] += 1
    >>> X[40:, 10:20] += 1
    >>> fitted = fit_streaming(X, labels=y, Cs=[4.0, 64.0], held_out=np.arange(60) % 5 == 0)
    >>> fitted.head.predict(X[::20]).tolist()
    ['cat', 'dog', 'newt']
    >>> bool(fitted.gaps.max() <= 1e-3)
    True
    """
    template = streaming_template(head, Cs, precision, block)
    values = [float(C) for C in np.atleast_1d(template.C if Cs is None else Cs)]
    is_file = isinstance(features, (str, bytes, os.PathLike, FeatureFile))
    with opened_features(features) if is_file else nullcontext(features) as source:
        rows, y, labelled, ok = rows_and_labels(source, layer, labels)
        used = labelled & ok
        classes = np.unique(y[used])
        if len(classes) < 2:
            raise InputError(
                f"`labels`: {counted(int(used.sum()), 'row')} of {counted(len(classes), 'class')}; "
                "a classifier needs two classes"
            )
        codes = np.full(len(y), -1)
        codes[used] = np.searchsorted(classes, y[used])
        task = _Task(
            template,
            values,
            codes,
            held_rows(held_out, codes, template.random_state),
            classes,
            left_out=int((labelled & ~ok).sum()),
            precision=precision,
            block=block,
            state=None if state is None else Path(name_text(state)),
            progress=progress,
        )
        return _fit_stream(task, rows)


@dataclass(frozen=True, eq=False)
class _Task:
    """What is fitted, checked."""

    template: LinearHead
    Cs: list[float]
    codes: np.ndarray  # -1 for rows that are passed over
    held: np.ndarray
    classes: np.ndarray
    left_out: int
    precision: str
    block: int | None
    state: Path | None
    progress: Callable[[StreamedPass], object] | None


def _fit_stream(task: _Task, rows: Any) -> StreamedFit:
    import torch

    from decaf.heads.solver.row_stream import RowStream, stream_statistics
    from decaf.heads.solver.streaming import solve_stream
    from decaf.runtime.device import choose_device, float64_device

    template, classes, Cs = task.template, task.classes, task.Cs
    columns = (1 if len(classes) == 2 else len(classes)) * len(Cs)
    width = int(np.prod(rows.shape[1:]))
    block = task.block or int(np.clip(BLOCK_BYTES // (4 * (3 * width + 4 * columns)), 64, 8192))
    stream = RowStream(rows, np.where(task.held, -1, task.codes), block)
    statistics = stream_statistics(
        stream, len(classes), float64_device(choose_device(template.device))
    )
    empty = np.flatnonzero(statistics.counts == 0)
    if len(empty):
        raise InputError(
            f"class {classes[empty[0]]!s:.60} has no row to learn from "
            f"({counted(len(empty), 'class')} such): all its rows are held out, or hold NaN or "
            "infinity; leave the class out"
        )
    weight = class_weights(template.class_weight, classes, statistics.counts)
    loss = template._loss()
    learned = int(statistics.counts.sum())
    small = learned * width * columns < SMALL
    fit = {
        "loss": loss,
        "Cs": Cs,
        "counts": statistics.counts.tolist(),
        "weight": weight.tolist(),
        "width": width,
        "norm": statistics.mean_square_norm,
    }
    state = None if task.state is None else _State(task.state, canonical_json(fit))

    def tell(now: StreamedPass) -> None:
        if state is not None:
            state.keep(now)
        if task.progress is not None:
            task.progress(now)

    solutions = solve_stream(
        stream.without(~statistics.finite),
        statistics,
        loss,
        Cs,
        weight=weight,
        tol=template.tol,
        max_passes=template.max_iter,
        dtype=torch.float64 if small else torch.float32,
        bf16=task.precision == "bf16" and not small,
        start=None if state is None else state.read(),
        tell=tell,
    )
    factor = float(statistics.mean_square_norm) ** -0.5
    heads = [
        _fitted(template, C, each, factor, classes) for C, each in zip(Cs, solutions, strict=True)
    ]
    unreadable = int((~statistics.finite).sum())
    tested, accuracy = 0, None
    if task.held.any():
        right, tested = _count_right(
            heads, RowStream(rows, np.where(task.held, task.codes, -1), block)
        )
        unreadable += int(task.held.sum()) - tested
    if tested:
        accuracy = right / tested
        for head in heads:
            head.search_ = _search(Cs, accuracy, tested, head.C_, solutions)
    if state is not None:
        state.path.unlink(missing_ok=True)
    return StreamedFit(
        heads=tuple(heads),
        gaps=np.array([each.gap for each in solutions]),
        accuracy=accuracy,
        rows=learned,
        held_out=tested,
        left_out=task.left_out + unreadable,
        passes=max(each.n_iter for each in solutions),
    )


def _fitted(
    template: LinearHead, C: float, solution: Solution, factor: float, classes: np.ndarray
) -> Any:
    """Return a fitted copy of the estimator."""
    head: Any = clone(template).set_params(C=C)
    head.classes_, head.n_features_in_ = classes, solution.coef.shape[1]
    head.scaling_ = Scaling("mean-norm", factor=factor)
    head.coef_, head.intercept_ = head.scaling_.fold(solution.coef, solution.intercept)
    head.C_, head.search_ = C, None
    head.objective_, head.converged_ = solution.objective, solution.converged
    head.n_iter_ = max(1, solution.n_iter)
    if not solution.converged:
        warnings.warn(
            f"{type(head).__name__} did not converge: its gap is {solution.gap:.1e} after "
            f"{counted(solution.n_iter, 'pass')} at C = {C:g}, asked for {template.tol:.1e}; raise "
            "`max_iter` or `tol`, or use a smaller `C`",
            ConvergenceWarning,
            stacklevel=4,
        )
    return head


def _count_right(heads: Sequence[Any], held: RowStream) -> tuple[np.ndarray, int]:
    """Return how many held-out rows each head classifies rightly, and how many can be read."""
    coef = [head.coef_.astype(np.float32).T for head in heads]
    right, tested = np.zeros(len(heads)), 0
    for X, places in held.blocks():
        finite = np.isfinite(X).all(axis=1)
        rows, codes = X[finite].astype(np.float32, copy=False), held.codes[places[finite]]
        tested += len(rows)
        for number, head in enumerate(heads):
            right[number] += (predicted_codes(rows @ coef[number] + head.intercept_) == codes).sum()
    return right, tested


def _search(
    Cs: Sequence[float],
    accuracy: np.ndarray,
    tested: int,
    chosen: float,
    solutions: Sequence[Solution],
) -> CSearch:
    """Return what a head keeps of the choice of C: one fold, the rows held out."""
    order = np.argsort(Cs)
    ascending, place = accuracy[order], int(np.flatnonzero(np.array(Cs)[order] == chosen)[0])
    at_border = len(Cs) > 1 and place in (0, len(Cs) - 1)
    # Without the rows on which two values differ: their standard error is at most this.
    error = float(np.sqrt(2 * ascending[place] * (1 - ascending[place]) / tested))
    beside = ascending[1 if place == 0 else place - 1] if at_border else 1.0
    return CSearch(
        Cs=np.array(Cs, np.float64)[order],
        accuracy=ascending,
        std=np.zeros(len(Cs)),
        chosen=chosen,
        at_border=at_border,
        widened=0,
        folds=(),
        decisions=None,
        converged=np.array([solutions[number].converged for number in order]),
        rising=bool(ascending[place] - beside > error),
    )


class _State:
    """The weights after a pass, in a file of numpy's, beside what they were fitted to."""

    def __init__(self, path: Path, fit: str) -> None:
        self.path, self.fit = path, fit

    def keep(self, now: StreamedPass) -> None:
        data = io.BytesIO()
        weights, intercept = now.weights.cpu().numpy(), now.intercept.cpu().numpy()
        np.savez(data, weights=weights, intercept=intercept, fit=np.array(self.fit))
        write_atomically(self.path, data.getvalue())

    def read(self) -> Any:
        """Return weights and intercepts to begin at, or None where there is no file."""
        import torch

        if not self.path.exists():
            return None
        try:
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as file:
                fit, weights, intercept = str(file["fit"]), file["weights"], file["intercept"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise SettingError(f"`state` {self.path}: not that of a fit ({error!s:.80})") from None
        if fit != self.fit:
            raise SettingError(
                f"`state` {self.path}: of another fit ({fit:.120}…); remove it, or name another"
            )
        return torch.from_numpy(weights), torch.from_numpy(intercept)
