"""`decaf.fit`: from labelled images to a classifier, with an estimate of how good it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from decaf.backbone.weights import is_registry_name
from decaf.classify.classifier import Classifier
from decaf.classify.head_target import check_targets, ending, is_almost_done, is_same_head
from decaf.classify.held_out import MIN_IMAGES, plan_of
from decaf.classify.layer_choice import best_trial, try_layers
from decaf.classify.report import FitReport, TestedImages, report_of, tested_images
from decaf.classify.source import (
    FeatureRequest,
    candidate_layers,
    features_to_fit,
    only_source,
    rows_of,
    source_name,
    usable_of,
)
from decaf.errors import SettingError
from decaf.features.settings import NetworkSettings
from decaf.heads.feature_identity import FeatureIdentity
from decaf.heads.saved import SavedHead, save_head
from decaf.heads.scaling import SCALES
from decaf.images import ListingSettings
from decaf.runtime.names import name_text
from decaf.runtime.progress import tell_line
from decaf.runtime.settings import (
    ComputeSettings,
    Part,
    one_of,
    refuse,
    settings_from,
    whole_number,
)

__all__ = ["HEADS", "FitSettings", "Fitted", "fit"]

HEADS = ("logreg", "svm")


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of `fit`.

    Attributes
    ----------
    classifier : Classifier
        Ready to predict; it was fitted to all images, those of the test too.
    report : FitReport
    tested : TestedImages or None
        What was said of each image of the test; None where nothing was tested.
    """

    classifier: Classifier
    report: FitReport
    tested: TestedImages | None = None


@dataclass(frozen=True)
class FitSettings:
    """How a head is fitted and tested.

    Parameters
    ----------
    head : {"logreg", "svm"}
        Multinomial logistic regression, or a linear SVM (one-vs-rest, squared hinge loss).
    layer : str
        ``"auto"`` chooses among pool5, fc6 and fc7.
    C : float or "cv"
        The inverse of the strength of regularisation; "cv" chooses it.
    dropout : float
        Share of the activations that is dropped in training.
    scale : {"mean-norm", "none", "unit-norm", "standard"}
        How features are scaled; see `decaf.heads.LogisticRegression`.
    class_weight : None, "balanced" or dict
        ``"balanced"`` has each class count alike; a dict gives weights by class name.
    held_out : float
        The share of the images that is held out, below 1, where they do not come divided; 0 for no
        test.
    seed : int
        Seed of the share held out, and of the folds.

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
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = one_of("head", self.head, HEADS)
        if not isinstance(self.layer, str):
            wrong.append(f"`layer` {self.layer!r}: must be 'auto' or the name of a layer")
        if self.C != "cv" and not (_is_number(self.C) and 0 < float(self.C) < np.inf):
            wrong.append(f"`C` {self.C!r}: must be 'cv' or a number above 0")
        if not (_is_number(self.dropout) and 0 <= self.dropout < 1):
            wrong.append(f"`dropout` {self.dropout!r}: must be from 0 to below 1")
        wrong += one_of("scale", self.scale, SCALES)
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            wrong.append(f"`class_weight` {self.class_weight!r}: must be 'balanced' or a dict")
        if not (_is_number(self.held_out) and 0 <= self.held_out < 1):
            wrong.append(f"`held_out` {self.held_out!r}: must be from 0 (no test) to below 1")
        refuse(wrong + whole_number("seed", self.seed, most=2**32 - 1))

    def estimator(self, class_names: tuple[str, ...], device: str) -> Any:
        """Make an estimator that searches for C, be it among one value: the search tells more.

        Parameters
        ----------
        class_names : tuple of str
        device : str
            Where the solver runs.

        Raises
        ------
        SettingError
            For weights of classes that are not there.
        """
        from decaf.heads import LinearSVM, LogisticRegression

        weight: Any = self.class_weight
        if weight is not None and not isinstance(weight, str):
            unknown = [name for name in weight if name not in class_names]
            if unknown:
                raise SettingError(f"`class_weight` names {unknown[0]!r}, which is no class here")
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
        """Return the settings as JSON can hold them."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        if isinstance(self.class_weight, Mapping):
            record["class_weight"] = dict(self.class_weight)
        return record


def fit(
    source: Any,
    *,
    features: Any = None,
    paths: Any = None,
    out: str | os.PathLike[str] | None = None,
    keep_features: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    before_writing: Callable[[Fitted], object] | None = None,
    settings: FitSettings | None = None,
    listing: ListingSettings | None = None,
    network: NetworkSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> Fitted:
    """Make a classifier of labelled images.

    A share of the images is held out. On the others the layer and C are chosen by cross-validation
    and a head is fitted, which is then tested on the held-out images. The classifier that is given
    is fitted anew to all images, with layer and C chosen anew on all. Where the images are few, all
    of them are tested in turn instead: layer and C are chosen, and a head is fitted, without each
    of five folds (nested cross-validation).

    Where the images come divided, in folders ``train`` and ``val`` or ``test``, the classifier is
    fitted to the first and tested on the second, and that is the one that is given. Where there are
    all three, layer and C are chosen on ``val``.

    Where images belong together, `groups` keeps them on one side of every split, in the choice of
    layer and C too. The report then has both figures: that of the test, and what a test would have
    claimed that takes no notice of groups.

    Exact copies of an image in its class count once. An image that is in several classes is fitted
    to, not tested on. Images that have no class, or with ``on_error="record"`` cannot be read, are
    left out.

    Parameters
    ----------
    source : path, sequence, array, torch Dataset or FeatureFile
        A folder with a folder for each class, or whatever else `decaf.extract` takes with labels;
        or features, or the path of their file.
    features : path or array, optional
        Features of the images by any other network, one row each, to which the head is fitted, and
        nothing is extracted: ``.npy``, ``.h5`` or ``.parquet``, as
        `decaf.features.matrix.read_matrix` takes them, or an array (N, D). The classifier takes
        such features then, and no images.
    paths : path or sequence, optional
        Path of each row's image, one a line of a text or a column of a table, or a sequence; where
        `features` hold none. Every image must have a row, and every row an image.
    out : path, optional
        Write the classifier there; `decaf.load_classifier` reads it. While features are computed
        they are in ``OUT.parts``, from which the same call goes on after an interruption.
    keep_features : path, optional
        Keep the features in this file; where it is complete, nothing is computed.
    overwrite : bool
        Replace `out`, if that is a classifier, and `keep_features`, a feature file, where it
        differs.
    before_writing : callable, optional
        Called with the result before `out` is written, such as to write a page of it: if that
        fails, or is stopped, there is no `out` yet, and the same call makes both.
    settings : FitSettings, optional
        How the head is fitted and tested; or its fields by their names, as of the objects below:

        - head : "logreg" (default), multinomial logistic regression, or "svm", a linear SVM
          (one-vs-rest, squared hinge loss).
        - layer : "auto" (default) chooses among pool5, fc6 and fc7.
        - C : the inverse of the strength of regularisation; "cv" (default) chooses it.
        - dropout : share of the activations that is dropped in training, 0 when not given.
        - scale : how features are scaled, "mean-norm" (default), "none", "unit-norm" or "standard";
          see `decaf.heads.LogisticRegression`.
        - class_weight : "balanced" has each class count alike; a dict gives weights by class name.
        - held_out : the share of the images that is held out, below 1, where they do not come
          divided; 0.2 when not given, 0 for no test.
        - seed : seed of the share held out, and of the folds.
    listing : ListingSettings, optional
        How the images are listed:

        - labels : "folder" (default), path or sequence, as in `decaf.extract`.
        - layout : "auto" (default), "splits" or "classes", as in `decaf.extract`; "classes" takes
          no notice of the splits of features that are there.
        - groups : as in `decaf.extract`; by default those of features that are there.
        - splits : ``"FILE:COLUMN"`` of a table, or train, val or test for each image, where folders
          do not say it; as for `decaf.collect`.
        - crops_from, margin, min_confidence, categories : boxes as images of their own, as
          `decaf.collect` takes them.
        - min_images : leave out classes with fewer different images for training, with a word; by
          default those with fewer than two.
        - on_error : at an image that cannot be read, "raise" `ImageError` (default; on the command
          line "record" is), or leave it out and "record" it.
    network : NetworkSettings, optional
        How features are computed; for features that are there none but theirs:

        - weights : str, path or `Backbone`, as in `decaf.extract`.
        - preprocess, crops, precision : as in `decaf.extract`.
        - batch_size : as in `decaf.extract`; not for features that are there.
    compute : ComputeSettings, optional
        How the work is done:

        - device : where the network and the solver run, as in `decaf.extract`.
        - workers : as in `decaf.extract`; not for features that are there.
        - progress : tell on stderr how far it is; by default on a terminal. A function is called
          with (images done, images in all) of the extraction, as in `decaf.extract`.
        - stop : a `threading.Event`; set it to end early, by `Stopped`.
    **named
        Fields of `settings`, `listing`, `network` and `compute` by their names:
        ``C=1.0, groups="animals.csv", weights="imagenet", device="cuda"``.

    Returns
    -------
    Fitted

    Raises
    ------
    SettingError, InputError, WeightsError
        For what cannot be asked for: settings, one class only, no labels.
    ImageError
        For a bad image, with ``on_error="raise"``.
    FeatureFileError
        For features that are not finite.
    OutputError
        If `out` exists, or cannot be written; with `overwrite` too if it is no classifier.
    Stopped
        After `stop` was set.

    Examples
    --------
    >>> fitted = fit("photos/", out="photos.head")  # doctest: +SKIP
    >>> if fitted.report.estimate:  # doctest: +SKIP
    ...     print(fitted.report.estimate.accuracy)
    0.914
    >>> fitted.classifier.predict("new.jpg")[0].classes[0]  # doctest: +SKIP
    ('bee', 0.97)
    """
    made = settings_from(
        fit,
        named,
        Part("settings", FitSettings, settings),
        Part("listing", ListingSettings, listing, ("val_labels", "val_fraction"), _listing),
        Part("network", NetworkSettings, network),
        Part("compute", ComputeSettings, compute),
    )
    settings, listing, network, compute = made
    target = None if out is None else Path(name_text(out))
    request = FeatureRequest(
        source=only_source(source),
        out=target,
        layer=settings.layer,
        keep_features=keep_features,
        overwrite=overwrite,
        listing=listing,
        network=network,
        compute=compute,
        features=features,
        paths=paths,
    )
    record = {**settings.record(), "min_images": listing.min_images}
    almost = not overwrite and target is not None and is_almost_done(target, record)
    inputs = (source, features, paths)
    check_targets(target, keep_features, overwrite=overwrite or almost, inputs=inputs)
    began = time.perf_counter()
    with features_to_fit(request) as ready:
        extracted = time.perf_counter()
        usable = usable_of(ready, request)
        plan = plan_of(usable, settings.held_out, settings.seed)
        trials = try_layers(
            plan.tasks,
            usable.images.labels,
            candidate_layers(ready, settings.layer),
            lambda name: rows_of(ready, name, usable),
            lambda: settings.estimator(usable.images.class_names, compute.device),
            tell=_teller(compute.progress),
            stop=compute.stop,
        )
        fitted = time.perf_counter()
        report = report_of(
            source_name(request.source),
            ready,
            usable,
            plan,
            trials,
            groups=_shown_groups(listing, request),
            settings=record,
            weights_file=_weights_file(network.weights),
            seconds={"features": extracted - began, "fit": fitted - extracted},
        )
        tested = tested_images(ready, usable, plan, trials)
        best = best_trial(trials[plan.final])
        saved = SavedHead(
            estimator=best.estimator,
            identity=FeatureIdentity.of(ready, best.candidate.layer),
            class_names=usable.images.class_names,
            report=report.summary(),
            calibration=best.calibration,
        )
    weights = network.weights
    classifier = Classifier(
        saved,
        weights=None if isinstance(weights, (str, os.PathLike)) else weights,
        path="the classifier" if target is None else target,
    )
    result = Fitted(classifier, report, tested)
    if before_writing is not None:
        before_writing(result)
    if target is not None:
        with ending(target):
            save_head(
                target,
                saved.estimator,
                identity=saved.identity,
                class_names=saved.class_names,
                report=saved.report,
                calibration=saved.calibration,
                overwrite=overwrite or (almost and is_same_head(target, saved)),
            )
    return result


def _listing(given: ListingSettings | None, changes: dict[str, Any]) -> ListingSettings:
    """Return how the images are listed; a class of one image can be fitted to, and not tested."""
    listing = replace(given or ListingSettings(), **changes)
    refuse(whole_number("min_images", listing.min_images, MIN_IMAGES, optional=True))
    return listing


def _shown_groups(listing: ListingSettings, request: FeatureRequest) -> str:
    groups = listing.groups
    if groups is None and request.holds_features:
        return "the feature file"
    if groups is None:
        return "the images that boxes are of" if listing.crops_from else "the column group"
    return name_text(groups) if isinstance(groups, (str, bytes, os.PathLike)) else "as given"


def _weights_file(weights: Any) -> str | None:
    """Return where the weights are, if that is a file that can be found again."""
    if isinstance(weights, os.PathLike) or (
        isinstance(weights, str) and not is_registry_name(weights)
    ):
        return os.path.abspath(os.fspath(weights))
    return None


def _teller(progress: Any) -> Callable[[str], None]:
    """Return what tells of the stages, on stderr."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not (progress is True or (progress is None and terminal)):
        return lambda _: None
    return lambda text: tell_line(f"decaf: {text}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
