"""`FineTuneClassifier`: fine-tuning with scikit-learn's interface."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import ImageError, InputError, SettingError
from decaf.features.extract import extract
from decaf.features.transformer import ImageEstimator, one_an_item
from decaf.finetuning.fine_tune import finetune
from decaf.finetuning.settings import VAL_FRACTION, FinetuneSettings
from decaf.images import ImageList
from decaf.images.listing.groups import find_groups
from decaf.images.listing.image_ref import RefList
from decaf.runtime.names import name_text
from decaf.runtime.wording import counted
from decaf.train.pack.sources import source_of

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.backbone.weights.state import Weights
    from decaf.images.spec import PreprocessSpec

__all__ = ["FineTuneClassifier"]

# Arguments that are fields of FinetuneSettings under the same name.
_FIELDS = ("epochs", "lr", "batch_size", "freeze")


class FineTuneClassifier(ClassifierMixin, ImageEstimator):  # type: ignore[misc]
    """A network that is fine-tuned to images; see `decaf.finetune`.

    Parameters
    ----------
    weights : str or path
        The network to start from, as for `decaf.load_backbone`.
    preprocess : str, mapping or PreprocessSpec, optional
        As in `decaf.extract`; the network keeps it.
    settings : FinetuneSettings, optional
        Settings besides the arguments below, such as ``FinetuneSettings(dropout=0.2)``.
    epochs, lr, batch_size, freeze
        Fields of `FinetuneSettings`; None for that of `settings`.
    class_weight : "balanced" or None
        Weigh the losses of a class by the inverse of its share of the images.
    val_fraction : float
        The share of each class that is kept back in `fit` to choose the epoch by.
    random_state : int, RandomState or None
        Seed of all randomness.
    device, workers
        As in `decaf.extract`.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
    weights_ : Weights
        The network; `decaf.backbone.weights.load.save_weights` writes it to a file.
    result_ : Finetuned
        How it compares with the frozen head on the images kept back, and the history.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 200, (12, 64, 64, 3), dtype=np.uint8)
    >>> images[::2, :, :, 0] += 55
    >>> classifier = FineTuneClassifier("random:0:alexnet-64", epochs=1, workers=1)
    >>> classifier.fit(images, ["red", "grey"] * 6).predict_proba(images).shape
    (12, 2)
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] = DEFAULT_WEIGHTS,
        *,
        preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
        settings: FinetuneSettings | None = None,
        epochs: float | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        freeze: str | None = None,
        class_weight: str | None = None,
        val_fraction: float = VAL_FRACTION,
        random_state: Any = 0,
        device: str = "auto",
        workers: int | None = None,
    ) -> None:
        self.weights = weights
        self.preprocess = preprocess
        self.settings = settings
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.freeze = freeze
        self.class_weight = class_weight
        self.val_fraction = val_fraction
        self.random_state = random_state
        self.device = device
        self.workers = workers

    def fit(self, X: Any, y: Any, groups: Sequence[Any] | None = None) -> FineTuneClassifier:
        """Fine-tune the network to images.

        Parameters
        ----------
        X : sequence of paths or images, or ndarray of uint8 (N, H, W, 3)
        y : array-like, shape (N,)
            Classes: numbers or texts.
        groups : array-like, shape (n,), optional
            Group of each image, None where it has none: no group is both trained on and kept
            back.

        Returns
        -------
        FineTuneClassifier

        Raises
        ------
        SettingError, InputError, WeightsError
            As `decaf.finetune`.
        ImageError
            For an image that is not there or cannot be read.
        """
        if self.class_weight not in (None, "balanced"):
            raise SettingError(
                f"`class_weight` must be None or 'balanced', got {self.class_weight!r}"
            )
        images = one_an_item(X)
        images = replace(
            images, groups=find_groups(groups, images.names, images.names, images.refs)
        )
        y = np.asarray(y)
        if y.ndim != 1 or len(y) != len(images):
            raise InputError(
                f"y must have one class an image: {counted(len(images), 'image')}, {y.shape}"
            )
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"all {counted(len(y), 'image', 'are')} of one class, {y.tolist()[0]!r}; a "
                "classifier needs two"
            )
        state = check_random_state(self.random_state)
        seed = (
            int(self.random_state)
            if isinstance(self.random_state, (int, np.integer))
            else int(state.randint(np.iinfo(np.int32).max))
        )
        given = {name: getattr(self, name) for name in _FIELDS if getattr(self, name) is not None}
        if self.class_weight is not None:
            given["class_weights"] = self.class_weight
        settings = replace(self.settings or FinetuneSettings(), seed=seed, **given)
        source = self._source(images, codes, seed)
        try:
            self.result_ = finetune(
                source,
                weights=self.weights,
                preprocess=self.preprocess,
                settings=settings,
                val_fraction=self.val_fraction,
                device=self.device,
                workers=self.workers,
                progress=False,
            )
        except ImageError as error:
            if error.name is None:
                raise
            # `_source` names images by their places. Nothing can be left out here: no remedy.
            name = name_text(images.names[int(error.name)])
            raise ImageError(error.status, error.message, name) from error
        self.weights_: Weights = self.result_.weights
        self._backbone_: Backbone | None = None
        return self

    def _source(self, images: ImageList, codes: np.ndarray, seed: int) -> ImageList:
        names = [str(name) for name in self.classes_.tolist()]
        # Classes are known by their names where these are sorted as they are, else by number.
        ids = names if names == sorted(set(names)) else [f"{i:06d}" for i in range(len(names))]
        # Images are known by their places: what is drawn does not depend on where they lie.
        places = [b"%09d" % row for row in range(len(images))]
        refs = None
        if images.refs is not None:
            refs = RefList(places, dict(enumerate(images.refs)))
        listed = ImageList(
            places,
            codes.astype(np.int64),
            tuple(ids),
            ({"kind": "estimator", "path": "X", "images": len(images)},),
            refs,
            objects=images.objects,
            groups=images.groups,
            titles=tuple(names),
        )
        return source_of(
            "X",
            "estimator",
            {"train": listed},
            split_val=self.val_fraction,
            seed=seed,
            # Every class of y is one of the estimator's.
            min_images=1,
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : sequence of paths or images, or ndarray of uint8 (N, H, W, 3)

        Returns
        -------
        ndarray of float32, shape (N, K)

        Raises
        ------
        ImageError
            For an image that is not there or cannot be read.
        """
        check_is_fitted(self, "weights_")
        images = one_an_item(X)
        try:
            probabilities = extract(
                images,
                "prob",
                weights=self._loaded(),
                device=self.device,
                workers=self.workers,
                progress=False,
            )
        except ImageError as error:
            raise ImageError(error.status, error.message, error.name, error.row) from error
        assert isinstance(probabilities, np.ndarray)
        return probabilities

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each image.

        Parameters
        ----------
        X : sequence of paths or images, or ndarray of uint8 (N, H, W, 3)

        Returns
        -------
        ndarray, shape (N,)
            Classes, of the type of `classes_`.
        """
        best = self.predict_proba(X).argmax(axis=1)
        answers: np.ndarray = self.classes_[best]
        return answers

    def _loaded(self) -> Backbone:
        if getattr(self, "_backbone_", None) is None:
            self._backbone_ = self.result_.backbone()
        assert self._backbone_ is not None
        return self._backbone_
