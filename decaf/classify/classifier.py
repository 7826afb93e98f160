"""`Classifier`: images in, the names of their classes with probabilities out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.backbone.weights import DEFAULT_WEIGHTS, WEIGHTS_ENDINGS, is_registry_name
from decaf.classify.locate_weights import (
    check_margins,
    check_preprocess,
    find_backbone,
    named_backbone,
)
from decaf.errors import HeadError, SettingError, Stopped
from decaf.features.extraction import Extraction
from decaf.features.matrix import is_matrix_file, read_matrix, refuse_not_finite
from decaf.features.settings import RunSettings
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import holds_features, opened_features
from decaf.heads.calibration import head_scores, softmax
from decaf.heads.feature_identity import FeatureIdentity
from decaf.heads.saved import SavedHead, is_head_file, load_head
from decaf.images import collect
from decaf.images.listing.box_crop import BoxCrop
from decaf.images.listing.recognise import not_wanted, recognise
from decaf.images.status import STATUS_NAMES
from decaf.images.workers.decoders import warm_decoders
from decaf.runtime.names import name_text
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import ComputeSettings, Part, refuse, settings_from, whole_number
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.backbone.engine import Engine
    from decaf.backbone.model import Backbone
    from decaf.images.spec import PreprocessSpec

__all__ = ["Classifier", "Prediction", "load_classifier"]

_Answer = Callable[[np.ndarray], np.ndarray]

_ANSWERS = "answers"
_BLOCK = 1024  # rows of a feature file that are answered at a time


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes
    ----------
    path : str
        The image's name, as given (as `os.fsdecode` gives it).
    status : str
        ``"ok"``, or what was wrong: one of `decaf.images.status.STATUS_NAMES`.
    message : str
        More about what was wrong.
    classes : tuple of (str, float)
        Names of classes and their probabilities (or scores, see `Classifier.gives`), the most
        probable first, of equals the first class; empty where the image could not be read.
    box : (float, float, float, float) or None
        Left, top, width and height in pixels of the part of the image that was looked at, without
        its margin, NaN where they are not known; None for all of it.
    annotation : str
        What the box is called where it is from.
    confidence : float or None
        Of the detector that found it, where it tells.
    """

    path: str
    status: str
    message: str
    classes: tuple[tuple[str, float], ...]
    box: tuple[float, float, float, float] | None = None
    annotation: str = ""
    confidence: float | None = None


class Classifier:
    """A backbone and what turns its features into the names of classes.

    Made by `decaf.load_classifier` and `decaf.fit`.

    Parameters
    ----------
    head : SavedHead, optional
        By default the network's own last layer answers, for which `weights` are needed.
    weights : str, path or Backbone, optional
        The network that the head's features come from. By default it is found by its name, or as a
        file where it was when the head was fitted or beside the head. It is loaded when it is first
        needed.
    preprocess : str, mapping or PreprocessSpec, optional
        As in `decaf.extract`, where a network answers itself; a head has the preprocessing of the
        features that it was fitted to, and is refused with another.
    path : str or path
        The head's file, for messages.

    Attributes
    ----------
    head : SavedHead or None
    class_names : tuple of str
    gives : {"probability", "score"}
        Kind of number beside the names: a head that was fitted without calibration gives scores.
    """

    def __init__(
        self,
        head: SavedHead | None = None,
        *,
        weights: str | os.PathLike[str] | Backbone | None = None,
        preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
        path: str | os.PathLike[str] = "the classifier",
    ) -> None:
        self.head = head
        self._path = os.fspath(path)
        self._backbone: Backbone | None = None
        self._engine: Engine | None = None  # kept: it takes longer to make than an image to answer
        self.gives = "probability"
        if head is not None:
            if head.identity.is_given and not (weights is None and preprocess is None):
                raise HeadError(f"{self._path}: takes {head.takes}, and has no network of its own")
            if preprocess is not None:
                check_preprocess(head.identity, preprocess, self._path)
            self.class_names = tuple(head.class_names)
            if head.calibration is None and not hasattr(head.estimator, "predict_proba"):
                self.gives = "score"
            if weights is not None:
                self._backbone = named_backbone(head.identity, weights, self._path)
            return
        if weights is None:
            raise SettingError("a classifier needs a head, or the weights of a network")
        from decaf.backbone.model import load_backbone

        self._backbone = backbone = load_backbone(weights).with_preprocess(preprocess)
        count = backbone.spec.classes
        self.class_names = backbone.class_names or tuple(str(unit) for unit in range(count))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        weights: str | os.PathLike[str] | Backbone | None = None,
        preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
    ) -> Classifier:
        """Load a classifier; see `load_classifier`.

        Parameters
        ----------
        path, weights, preprocess
            As in `load_classifier`.
        """
        return load_classifier(path, weights, preprocess)

    def __repr__(self) -> str:
        what = "the network's own classes"
        if self.head is not None:
            what = f"{type(self.head.estimator).__name__} on {self.head.identity.layer}"
        return f"<Classifier {self._path!r}: {len(self.class_names)} classes, {what}>"

    @property
    def backbone(self) -> Backbone:
        """The network, loaded when it is first asked for.

        Raises
        ------
        WeightsError
            If the weights are not where they were, or are others.
        HeadError
            If the head takes features.
        """
        if self._backbone is None:
            assert self.head is not None
            if self.head.identity.is_given:
                raise HeadError(f"{self._path}: takes {self.head.takes}, and has no network")
            self._backbone = find_backbone(self.head, self._path)
        return self._backbone

    def predict(
        self,
        images: Any,
        *,
        top: int | None = 5,
        batch_size: int | None = None,
        compute: ComputeSettings | None = None,
        **named: Any,
    ) -> list[Prediction]:
        """Name the classes of images.

        Parameters
        ----------
        images : path, sequence, array, torch Dataset or FeatureFile
            Whatever `decaf.extract` takes, or the features of images (or the path of their file),
            which must be those that the head was fitted to. A head that was fitted to features of
            another network takes a matrix of such ones: an array (N, D), or the path of a ``.npy``,
            ``.h5`` or ``.parquet``.
        top : int, optional
            How many classes to give for each image, no more than there are; None for all.
        batch_size : int, optional
            As in `decaf.extract`.
        compute : ComputeSettings, optional
            How the work is done: device, workers, progress and stop, as in `decaf.extract`.
        **named
            Fields of `compute` by their names: ``device="cuda"``.

        Returns
        -------
        list of Prediction
            One an image, in order.

        Raises
        ------
        InputError
            If there are no images.
        WeightsError
            If the network cannot be found, or is another one than the head was fitted on.
        HeadError, SettingError
            For features of other weights, preprocessing or layers.
        Stopped
            After `stop` was set.
        """
        return list(self.stream(images, top=top, batch_size=batch_size, compute=compute, **named))

    def stream(
        self,
        images: Any,
        *,
        top: int | None = 5,
        batch_size: int | None = None,
        compute: ComputeSettings | None = None,
        **named: Any,
    ) -> Iterator[Prediction]:
        """Name the classes of images one after the other, as `predict`, with bounded memory.

        Parameters
        ----------
        images, top, batch_size, compute, **named
            As in `predict`.

        Yields
        ------
        Prediction
            In the order of the images.
        """
        (how,) = settings_from(self.predict, named, Part("compute", ComputeSettings, compute))
        if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
            raise SettingError(f"`top` must be a whole number from 1, got {top!r}")
        if self.head is not None and self.head.identity.is_given:
            yield from self._of_matrix(self.head, images, top, how)
        elif holds_features(images):
            with opened_features(images) as features:
                yield from self._of_features(features, top, how)
        else:
            yield from self._of_images(images, top, batch_size, how)

    def _of_matrix(
        self, head: SavedHead, features: Any, top: int | None, compute: ComputeSettings
    ) -> Iterator[Prediction]:
        features = features.path if isinstance(features, FeatureFile) else features
        if not (isinstance(features, np.ndarray) or is_matrix_file(features)):
            raise HeadError(
                f"{self._path}: takes {head.takes}, not images: compute the same features of them, "
                "and give the .npy, .h5 or .parquet"
            )
        matrix = read_matrix(features)
        if matrix.rows.shape[1] != head.estimator.n_features_in_:
            raise HeadError(
                f"{matrix.name}: has {counted(matrix.rows.shape[1], 'number')} an image; "
                f"{self._path} takes "
                f"{head.takes}"
            )
        refuse_not_finite(matrix.rows, matrix.name, matrix.paths)
        for start in range(0, len(matrix.rows), _BLOCK):
            if compute.stopped:
                raise Stopped(f"stopped after {start} of {counted(len(matrix.rows), 'image')}")
            scores = self._head_scores(matrix.rows[start : start + _BLOCK])
            for row, row_scores in enumerate(scores, start):
                name = f"{matrix.name}[{row}]"
                if matrix.paths is not None:
                    name = name_text(matrix.paths[row])
                yield self._prediction(name, STATUS_NAMES[0], "", row_scores, top)

    def _of_features(
        self, features: FeatureFile, top: int | None, compute: ComputeSettings
    ) -> Iterator[Prediction]:
        answer, layer = self._answers_to(features)
        view, ok, crops = features[layer], features.ok, features.crops
        for start in range(0, len(features), _BLOCK):
            if compute.stopped:
                raise Stopped(f"stopped after {start} of {counted(len(features), 'image')}")
            rows = slice(start, min(start + _BLOCK, len(features)))
            good = ok[rows]
            scores = np.full((len(good), len(self.class_names)), np.nan)
            if good.any():
                values = np.asarray(view[rows], np.float32)[good]
                scores[good] = answer(values.reshape(len(values), -1))
            for place, row_scores in enumerate(scores):
                row = start + place
                answer_of_row = self._prediction(
                    features.paths[row],
                    features.status_names[features.status[row]],
                    features.messages[row],
                    row_scores,
                    top,
                )
                size = features.source_size[row].tolist()
                yield answer_of_row if crops is None else _of_part(answer_of_row, crops[row], size)

    def _answers_to(self, features: FeatureFile) -> tuple[_Answer, str]:
        """Return what answers to the rows of a feature file, and the layer that it takes."""
        if self.head is not None:
            identity = self.head.identity
            if identity.layer not in features:
                raise SettingError(
                    f"{features.path}: has no layer {identity.layer!r}, to which {self._path} was "
                    f"fitted; it has {', '.join(features.layers)}"
                )
            identity.check(FeatureIdentity.of(features, identity.layer), features.path)
            check_margins(self.head, features.crops, self._path)
            return self._head_scores, identity.layer
        known, there = self.backbone.sha256, features.run["weights"]["sha256"]
        if there != known:
            raise SettingError(
                f"{features.path}: holds features of weights {there[:12]}…, {self._path} is "
                f"{known[:12]}…; give the head or the network that they belong to"
            )
        if features.run["crops"] == "center" and "fc8" in features:
            return softmax, "fc8"
        if features.run["crops"] in ("center", "ten") and "prob" in features:
            return _in_float64, "prob"
        raise SettingError(
            f"{features.path}: has no layer prob, in which the network answers; extract it, or "
            "name the images"
        )

    def _of_images(
        self, images: Any, top: int | None, batch_size: int | None, compute: ComputeSettings
    ) -> Iterator[Prediction]:
        refuse(whole_number("batch_size", batch_size, 1, optional=True))
        listed = collect(images, labels="none")
        if self.head is not None:
            check_margins(self.head, listed.crops, self._path)
        warm_decoders(listed, compute.workers)
        from decaf.backbone.engine import Engine
        from decaf.runtime.device import choose_device

        chosen, settings = choose_device(compute.device), self._settings()
        engine = self._engine
        if engine is None or engine.device != chosen:
            engine = self._engine = Engine(
                self.backbone,
                settings.layers,
                crops=settings.crops,
                precision=settings.precision,
                device=chosen,
            )
        answer = softmax if self.head is None else self._head_scores

        def answers(crops: np.ndarray) -> dict[str, np.ndarray]:
            values = engine(crops)[settings.layers[0]]
            return {_ANSWERS: answer(values.reshape(len(values), -1))}

        # Blocks come in the order in which they are finished; those that are early wait.
        early: dict[int, list[Prediction]] = {}
        due = 0
        with (
            Extraction(
                listed,
                self.backbone,
                settings,
                device=chosen,
                workers=compute.workers,
                batch_size=batch_size,
                engine=answers,
            ) as extraction,
            progress_for(compute.progress, len(listed), 0) as shown,
            _told_of_stop(lambda: f"after {due} of {counted(len(listed), 'image')}"),
        ):
            for rows in extraction.rows(stop=compute.stop, dtype="float64"):
                early[rows.start] = ready = [
                    self._prediction(
                        name_text(listed.names[rows.start + place]),
                        STATUS_NAMES[rows.status[place]],
                        rows.messages[place],
                        scores,
                        top,
                    )
                    for place, scores in enumerate(rows.features[_ANSWERS])
                ]
                if listed.crops is not None:
                    parts = listed.crops[rows.start : rows.stop]
                    sizes = rows.source_size.tolist()
                    ready[:] = map(_of_part, ready, parts, sizes)
                shown.advance(rows.stop - rows.start)
                while due in early:
                    ready = early.pop(due)
                    due += len(ready)
                    yield from ready

    def _settings(self) -> RunSettings:
        if self.head is None:
            return RunSettings(("fc8",))
        identity = self.head.identity
        return RunSettings((identity.layer,), identity.crops, identity.precision)

    def _head_scores(self, X: np.ndarray) -> np.ndarray:
        assert self.head is not None
        return head_scores(self.head.estimator, self.head.calibration, X)

    def _prediction(
        self, path: str, status: str, message: str, scores: np.ndarray, top: int | None
    ) -> Prediction:
        if status != STATUS_NAMES[0]:
            return Prediction(path, status, message, ())
        best = np.argsort(-scores, kind="stable")[:top]
        classes = tuple((self.class_names[place], float(scores[place])) for place in best.tolist())
        return Prediction(path, status, message, classes)


def _of_part(prediction: Prediction, crop: BoxCrop | None, size: list[int]) -> Prediction:
    """Return a prediction with the box that it is of."""
    if crop is None:
        return prediction
    width, height = size
    return replace(
        prediction,
        box=crop.in_pixels(width, height),
        annotation=crop.annotation,
        confidence=crop.confidence,
    )


def load_classifier(
    path: str | os.PathLike[str] = DEFAULT_WEIGHTS,
    weights: str | os.PathLike[str] | Backbone | None = None,
    preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
) -> Classifier:
    """Load a classifier.

    Parameters
    ----------
    path : str or path
        A file that `decaf.fit` has written; or the name or file of weights, as
        `decaf.load_backbone` takes it: then the network's own last layer answers. By default the
        weights that come with decaf.
    weights : str, path or Backbone, optional
        The network that the classifier was fitted on, where it is not found by itself: by its name,
        where its file was, or beside `path`.
    preprocess : str, mapping or PreprocessSpec, optional
        As in `decaf.extract`, for a network that answers itself; a head knows its own.

    Returns
    -------
    Classifier

    Raises
    ------
    WeightsError
        For weights that are not there, or are others than the classifier was fitted on.
    HeadError
        For a file that is not a classifier, or damaged.

    Examples
    --------
    >>> classifier = load_classifier("random:0:alexnet-64")
    >>> photograph = np.zeros((1, 60, 80, 3), np.uint8)
    >>> [len(each.classes) for each in classifier.predict(photograph, top=3)]
    [3]
    """
    if is_registry_name(path) or (
        os.fspath(path).endswith(WEIGHTS_ENDINGS) and not is_head_file(path)
    ):
        if weights is not None:
            raise SettingError(f"{os.fspath(path)}: is a network itself; leave `weights` out")
        return Classifier(weights=path, preprocess=preprocess, path=path)
    if recognise(path).name not in ("head", "unknown", "absent"):
        wanted = "a head, as `decaf fit` writes it, nor a network (the name or the file of weights)"
        raise HeadError(not_wanted(path, wanted))
    return Classifier(load_head(path), weights=weights, preprocess=preprocess, path=path)


@contextmanager
def _told_of_stop(when: Callable[[], str]) -> Iterator[None]:
    try:
        yield
    except Stopped:
        raise Stopped(f"stopped {when()}") from None


def _in_float64(probabilities: np.ndarray) -> np.ndarray:
    return probabilities.astype(np.float64)
