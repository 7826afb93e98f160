"""`decaf.fit`: from labelled images to a classifier, with an estimate of how good it is."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import decaf
from decaf.backbone.registry import is_registry_name
from decaf.errors import FeatureFileError, SettingError
from decaf.evaluate.fitting.choosing import Task, Trial, best_trial, choice_of, try_layers
from decaf.evaluate.fitting.held_out import Usable, deal_folds, draw_held_out, usable_images
from decaf.evaluate.fitting.report import Conflict, Estimate, FitReport, estimate_of
from decaf.evaluate.fitting.source import (
    candidate_layers,
    features_to_fit,
    only_source,
    remove_parts,
    source_name,
)
from decaf.evaluate.fitting.targets import check_targets
from decaf.evaluate.networks.classification import BadImage
from decaf.features.store.file import FeatureFile
from decaf.heads.classifier import Classifier
from decaf.heads.identity import FeatureIdentity
from decaf.heads.saved import SavedHead, save_head
from decaf.heads.scaling import SCALES

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.images.spec import PreprocessSpec

__all__ = ["HEADS", "FitSettings", "Fitted", "fit"]

HEADS = ("logreg", "svm")

# Below either number one share of the images says too little, and all are tested in turn, where
# there are no more than the third: of many images that takes long, and a share is enough.
LEAST_TESTED = 20
LEAST_OF_A_CLASS = 5
MOST_TESTED_IN_TURN = 2000
FOLDS = 5
NO_TEST = "not tested: too few images to fit to some and test on others; add some to each class"


@dataclass(frozen=True, eq=False)
class Fitted:
    """What `fit` gives.

    Attributes
    ----------
    classifier : Classifier
        Ready to predict; it was fitted to all images, those of the test too.
    report : FitReport
    """

    classifier: Classifier
    report: FitReport


@dataclass(frozen=True)
class FitSettings:
    """What is to be fitted and how it is to be tested; see `fit`.

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    head: str = "logreg"
    layer: str = "auto"
    C: float | str = "cv"
    dropout: float = 0.0
    scale: str = "mean-norm"
    class_weight: Mapping[str, float] | str | None = None
    held_out: float = 0.2
    min_images: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if self.head not in HEADS:
            wrong.append(f"head {self.head!r} is not one of {', '.join(HEADS)}")
        if not isinstance(self.layer, str):
            wrong.append(f"layer {self.layer!r}: must be 'auto' or the name of a layer")
        if self.C != "cv" and not (_is_number(self.C) and 0 < float(self.C) < np.inf):
            wrong.append(f"C {self.C!r}: must be 'cv' or a number above 0")
        if not (_is_number(self.dropout) and 0 <= self.dropout < 1):
            wrong.append(f"dropout {self.dropout!r}: must be from 0 to below 1")
        if self.scale not in SCALES:
            wrong.append(f"scale {self.scale!r} is not one of {', '.join(SCALES)}")
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            wrong.append(f"class_weight {self.class_weight!r}: must be 'balanced' or a dict")
        if not (_is_number(self.held_out) and 0 <= self.held_out < 1):
            wrong.append(f"held_out {self.held_out!r}: must be from 0 (no test) to below 1")
        if self.min_images is not None and not (
            isinstance(self.min_images, int) and self.min_images >= 2
        ):
            wrong.append(f"min_images {self.min_images!r}: must be a whole number from 2 on")
        if isinstance(self.seed, bool) or not (
            isinstance(self.seed, int) and 0 <= self.seed < 2**32
        ):
            wrong.append(f"seed {self.seed!r}: must be a whole number from 0 to {2**32 - 1}")
        if wrong:
            raise SettingError("; ".join(wrong))

    def estimator(self, class_names: tuple[str, ...], device: str) -> Any:
        """Make an estimator that searches for C, be it among one value: the search tells more.

        Raises
        ------
        SettingError
            For weights of classes that are not there.
        """
        from decaf.heads.logistic import LogisticRegression
        from decaf.heads.svm import LinearSVM

        weight: Any = self.class_weight
        if weight is not None and not isinstance(weight, str):
            unknown = [name for name in weight if name not in class_names]
            if unknown:
                raise SettingError(f"class_weight names {unknown[0]!r}, which is no class here")
            weight = {code: weight.get(name, 1.0) for code, name in enumerate(class_names)}
        kind = LogisticRegression if self.head == "logreg" else LinearSVM
        return kind(
            "cv",
            Cs=None if isinstance(self.C, str) else [float(self.C)],
            dropout=self.dropout,
            scale=self.scale,
            class_weight=weight,
            random_state=self.seed,
            device=device,
        )

    def record(self) -> dict[str, Any]:
        """Give the settings as JSON can hold them."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        if isinstance(self.class_weight, Mapping):
            record["class_weight"] = dict(self.class_weight)
        return record


def fit(
    source: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    head: str = "logreg",
    layer: str = "auto",
    weights: str | os.PathLike[str] | Backbone | None = None,
    C: float | str = "cv",
    dropout: float = 0.0,
    scale: str = "mean-norm",
    class_weight: Mapping[str, float] | str | None = None,
    held_out: float = 0.2,
    min_images: int | None = None,
    labels: Any = "folder",
    keep_features: str | os.PathLike[str] | None = None,
    preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
    crops: str | None = None,
    precision: str | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    progress: bool | Callable[[int, int], Any] | None = None,
    overwrite: bool = False,
    stop: threading.Event | None = None,
) -> Fitted:
    """Make a classifier of labelled images.

    A share of the images is held out. On the others the layer and C are chosen by cross-validation
    and a head is fitted, which is then tested on the held-out images. The classifier that is given
    is fitted anew to all images, with layer and C chosen anew on all. Where the images are few, all
    of them are tested in turn instead: layer and C are chosen, and a head is fitted, without each
    of five folds (nested cross-validation).

    Exact copies of an image in its class count once. An image that is in several classes is fitted
    to, not tested on. Images that cannot be read, or have no class, are left out.

    Parameters
    ----------
    source : path, sequence, array, torch Dataset or FeatureFile
        A folder with a folder for each class, or whatever else `decaf.extract` takes with labels;
        or features, or the path of their file.
    out : path, optional
        Write the classifier there; `decaf.load_classifier` reads it. While features are computed
        they are in ``OUT.parts``, from which the same call goes on after an interruption.
    head : {"logreg", "svm"}
        Multinomial logistic regression, or a linear SVM (one-vs-rest, squared hinge loss).
    layer : str
        ``"auto"`` chooses among pool5, fc6 and fc7.
    weights : str, path or Backbone, optional
        As in `decaf.extract`; for features that are there none but theirs.
    C : float or "cv"
        The inverse of the strength of regularisation; "cv" chooses it.
    dropout : float
        Share of the activations that is dropped in training.
    scale : {"mean-norm", "none", "unit-norm", "standard"}
        How features are scaled; see `decaf.heads.LogisticRegression`.
    class_weight : None, "balanced" or dict
        ``"balanced"`` has each class count alike; a dict gives weights by class name.
    held_out : float
        The share of the images that is held out, below 1; 0 for no test.
    min_images : int, optional
        Leave out classes with fewer different images. By default a class with a single one is
        refused.
    labels : "folder", path or sequence
        As in `decaf.extract`.
    keep_features : path, optional
        Keep the features in this file; where it is complete, nothing is computed.
    preprocess, crops, precision : optional
        As in `decaf.extract`; for features that are there none but theirs.
    batch_size, workers
        As in `decaf.extract`; not for features that are there.
    seed : int
        Of the share held out, and of the folds.
    device : str
        Where the network and the solver run.
    progress : bool or callable, optional
        Tell on stderr how far it is; by default on a terminal. A function is called with (images
        done, images in all) of the extraction, as in `decaf.extract`.
    overwrite : bool
        Replace `out`, if that is a classifier, and `keep_features`, a feature file, where it
        differs.
    stop : threading.Event, optional
        Set it to end early, by `Stopped`.

    Returns
    -------
    Fitted

    Raises
    ------
    SettingError, InputError, WeightsError
        For what cannot be asked for: settings, one class only, a class with one image, no labels.
    FeatureFileError
        For features that are not finite.
    OutputError
        If `out` exists, or cannot be written; with `overwrite` too if it is no classifier.
    Stopped
        After `stop` was set.

    Examples
    --------
    >>> fitted = decaf.fit("photos/", out="photos.head")  # doctest: +SKIP
    >>> fitted.report.estimate.accuracy  # doctest: +SKIP
    0.914
    >>> fitted.classifier.predict("new.jpg")[0].classes[0]  # doctest: +SKIP
    ('bee', 0.97)
    """
    settings = FitSettings(head, layer, C, dropout, scale, class_weight, held_out, min_images, seed)
    source = only_source(source)
    target = None if out is None else Path(os.fsdecode(out))
    check_targets(target, keep_features, overwrite=overwrite)
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    with features_to_fit(
        source,
        out=target,
        layer=layer,
        labels=labels,
        keep_features=keep_features,
        min_images=min_images,
        overwrite=overwrite,
        extraction={
            "weights": weights,
            "preprocess": preprocess,
            "crops": crops,
            "precision": precision,
            "device": device,
            "batch_size": batch_size,
            "workers": workers,
            "progress": progress,
            "stop": stop,
        },
    ) as features:
        seconds["features"] = time.perf_counter() - began
        began = time.perf_counter()
        usable = usable_images(
            features.labels,
            features.class_names,
            features.ok,
            features.content_sha256,
            names=features.paths.tolist(),
            min_images=min_images,
            source=source_name(source),
        )
        tasks = _tasks(usable, settings)
        trials = try_layers(
            tasks,
            candidate_layers(features, layer),
            lambda name: _rows(features, name, usable),
            usable.codes,
            lambda: settings.estimator(usable.class_names, device),
            tell=_teller(progress),
            stop=stop,
        )
        seconds["fit"] = time.perf_counter() - began
        where = _weights_file(weights)
        report = _report(source, features, where, usable, tasks, trials, settings, seconds)
        best = best_trial(trials[0])
        saved = SavedHead(
            estimator=best.estimator,
            identity=FeatureIdentity.of(features, best.candidate.layer),
            class_names=usable.class_names,
            report=report.summary(),
            calibration=best.calibration,
        )
    classifier = Classifier(
        saved,
        weights=None if isinstance(weights, (str, os.PathLike)) else weights,
        path="the classifier" if target is None else target,
    )
    if target is not None:
        save_head(
            target,
            saved.estimator,
            identity=saved.identity,
            class_names=saved.class_names,
            report=saved.report,
            calibration=saved.calibration,
            overwrite=overwrite,
        )
        remove_parts(target)
    return Fitted(classifier, report)


def _tasks(usable: Usable, settings: FitSettings) -> list[Task]:
    """Give what is to be fitted: to all images first, and then for the test."""
    everything = np.arange(len(usable.rows))
    tasks = [Task("choosing on all images", everything, everything[:0])]
    if settings.held_out == 0:
        return tasks
    held = draw_held_out(usable, settings.held_out, settings.seed)
    few = int(held.sum()) < LEAST_TESTED or int(usable.counts.min()) < LEAST_OF_A_CLASS
    if not (few and len(everything) <= MOST_TESTED_IN_TURN):
        # Of classes with two images each none is held out.
        test = [Task("for the test", everything[~held], everything[held])] if held.any() else []
        return tasks + test
    folds = min(FOLDS, int(usable.counts.max()))
    fold = deal_folds(usable, folds, settings.seed)
    for number in range(folds):
        test_rows = everything[fold == number]
        if len(test_rows):
            name = f"for the test, fold {number + 1} of {folds}"
            tasks.append(Task(name, everything[fold != number], test_rows))
    # Without one of its folds, too, some class must have two images: C is chosen on them.
    if any(np.bincount(usable.codes[task.train]).max() < 2 for task in tasks[1:]):
        return tasks[:1]
    return tasks


def _rows(features: FeatureFile, layer: str, usable: Usable) -> np.ndarray:
    X, _ = features.to_xy(layer)
    if len(X) != len(usable.rows):
        X = X[np.searchsorted(np.flatnonzero(features.ok), usable.rows)]
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        first = os.fsdecode(features.paths[usable.rows[bad.argmax()]])
        raise FeatureFileError(
            f"{features.path}: {int(bad.sum())} of {len(X)} images have NaN or infinity in "
            f"{layer}, the first is {first!r}; extract them anew, in float32"
        )
    return X


def _report(
    source: Any,
    features: FeatureFile,
    weights_file: str | None,
    usable: Usable,
    tasks: list[Task],
    trials: list[list[Trial]],
    settings: FitSettings,
    seconds: dict[str, float],
) -> FitReport:
    names, labels, known = features.paths, features.labels, features.class_names
    return FitReport(
        source=source_name(source),
        images=len(usable.rows),
        class_names=usable.class_names,
        class_counts=tuple(usable.counts.tolist()),
        choice=choice_of(tasks[0], trials[0]),
        estimate=_estimate(names, usable, tasks[1:], trials[1:]),
        bad=tuple(
            BadImage(
                names[row], features.status_names[features.status[row]], features.messages[row]
            )
            for row in np.flatnonzero(~features.ok).tolist()
        ),
        unlabelled=usable.unlabelled,
        copies=usable.copies,
        left_out=usable.left_out,
        conflicts=tuple(
            Conflict(
                tuple(names[row] for row in rows),
                tuple(known[labels[row]] if known else str(labels[row]) for row in rows),
            )
            for rows in usable.conflicts
        ),
        notes=(
            *((NO_TEST,) if settings.held_out and len(tasks) == 1 else ()),
            *_notes(tasks, trials),
        ),
        settings=settings.record(),
        features={
            **{
                name: features.run[name] for name in ("weights", "preprocess", "crops", "precision")
            },
            "weights_file": weights_file,
        },
        seconds=seconds,
        versions={"decaf": decaf.__version__, **features.run["versions"]},
    )


def _estimate(
    names: np.ndarray, usable: Usable, tasks: list[Task], trials: list[list[Trial]]
) -> Estimate | None:
    if not tasks:
        return None
    tested = np.concatenate([task.test for task in tasks])
    scores = np.concatenate([best_trial(found).scores for found in trials])
    return estimate_of(
        usable.codes[tested],
        scores.argmax(axis=1),
        scores.max(axis=1),
        class_names=usable.class_names,
        largest=int(usable.counts.argmax()),
        paths=[names[row] for row in usable.rows[tested].tolist()],
        folds=len(tasks),
        choices=tuple(choice_of(task, found) for task, found in zip(tasks, trials, strict=True)),
    )


def _notes(tasks: list[Task], trials: list[list[Trial]]) -> tuple[str, ...]:
    """Give the warnings of what was chosen; those of candidates that were not do not matter."""
    notes = []
    for task, found in zip(tasks, trials, strict=True):
        best = best_trial(found)
        notes += [f"{task.name}, {best.candidate.layer}: {note}" for note in best.notes]
    return tuple(notes)


def _weights_file(weights: Any) -> str | None:
    """Give where the weights are, if that is a file that can be found again."""
    if isinstance(weights, os.PathLike) or (
        isinstance(weights, str) and not is_registry_name(weights)
    ):
        return os.path.abspath(os.fspath(weights))
    return None


def _teller(progress: Any) -> Callable[[str], None]:
    """Give what tells of the stages, on stderr."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not (progress is True or (progress is None and terminal)):
        return lambda _: None
    return lambda text: print(f"decaf: {text}", file=sys.stderr, flush=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
