"""`FeatureExtractor`: images to features as a step of a scikit-learn pipeline.

What all estimators of images have in common is here too: `ImageEstimator` and `one_an_item`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import ImageError, InputError, SettingError
from decaf.features.extract import warn_of_bad
from decaf.features.row_cache import rows_of
from decaf.features.settings import RunSettings
from decaf.images import ImageList, collect
from decaf.images.status import ON_ERROR
from decaf.runtime.names import name_text
from decaf.runtime.settings import one_of, refuse, whole_number
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.images.spec import PreprocessSpec

__all__ = ["FeatureExtractor", "ImageEstimator", "one_an_item"]


class ImageEstimator(BaseEstimator):  # type: ignore[misc]
    """An estimator whose X is images, one an item; a network that it has loaded is not pickled."""

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {key: value for key, value in state.items() if key != "_backbone_"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        tags.requires_fit = True
        return tags


def one_an_item(X: Any) -> ImageList:
    """List the images of an estimator, and refuse an item that stands for several.

    Parameters
    ----------
    X : sequence of paths or images, or ndarray of uint8 (N, H, W, 3)
        An array of strings holds paths.

    Raises
    ------
    ImageError
        For an only image that is not there; of several it is told by what reads them.
    InputError
        For an item such as a folder.
    """
    items = X
    if isinstance(X, np.ndarray) and X.dtype.kind in "USO":
        items = [item[0] if isinstance(item, np.ndarray) else item for item in X]
    elif isinstance(X, (str, bytes, os.PathLike)):
        items = [X]
    try:
        images = collect(items, labels="none")
    except InputError:
        for item in items if isinstance(items, list) else []:
            if isinstance(item, (str, bytes, os.PathLike)) and not os.path.lexists(item):
                raise ImageError("missing", "no such file", name_text(item)) from None
        raise
    if len(images) != len(items):
        raise InputError(
            f"X has {counted(len(items), 'item')}, which stand for "
            f"{counted(len(images), 'image')} (a folder, archive or "
            "list among them?); an estimator takes one image an item"
        )
    return images


class FeatureExtractor(TransformerMixin, ImageEstimator):  # type: ignore[misc]
    """Turns images into the activations of a layer.

    Nothing is learned from the images: `fit` loads the network and checks the settings. A fitted
    extractor keeps only the name and the hash of its weights when it is pickled or cloned, and
    loads them again when it is used; the network last used stays loaded.

    Parameters
    ----------
    layer : str or sequence of str
        The activations of several layers are put side by side.
    weights : str or path
        As in `decaf.extract`.
    preprocess, crops, precision, device, batch_size, workers, on_error
        As in `decaf.extract`. With ``on_error="record"`` the row of a bad image is NaN, for a later
        step to fill in.
    cache_bytes : int
        Rows are kept in memory, and an image that comes again (in another fold, in another
        pipeline of this process) is not computed again: by the SHA-256 of its content, its weights
        and all settings. This is how much memory the rows of all extractors may take together
        when this one is done, 256 MiB by default, or 16,000 rows of fc6; those not used for longest
        go first. 0 computes everything anew. The rows are the same to the bit on a CPU. Items of a
        torch Dataset are not kept: they may be others each time.

    Attributes
    ----------
    n_features_out_ : int
        Columns of the result.
    weights_sha256_ : str
        Identity of the weights.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("fc6", weights="random:0:alexnet-64")
    >>> classifier = make_pipeline(extractor, LogisticRegression())
    >>> classifier.fit(images, [0, 1] * 4).predict(images).tolist()
    [0, 1, 0, 1, 0, 1, 0, 1]
    """

    def __init__(
        self,
        layer: str | Sequence[str] = "fc6",
        *,
        weights: str | os.PathLike[str] = DEFAULT_WEIGHTS,
        preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
        crops: str = "center",
        precision: str = "fp32",
        device: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        on_error: str = "raise",
        cache_bytes: int = 256 << 20,
    ) -> None:
        self.layer = layer
        self.weights = weights
        self.preprocess = preprocess
        self.crops = crops
        self.precision = precision
        self.device = device
        self.batch_size = batch_size
        self.workers = workers
        self.on_error = on_error
        self.cache_bytes = cache_bytes

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Load the network and check the settings; the images are not looked at.

        Parameters
        ----------
        X, y
            Ignored.

        Returns
        -------
        FeatureExtractor

        Raises
        ------
        SettingError, WeightsError
            For settings or weights that cannot be used.
        """
        from decaf.backbone.steps import layer_shape, resolve_layers

        settings = self._settings()
        self._backbone_: Backbone | None = None
        backbone = self._loaded()
        resolve_layers(backbone.spec, settings.layers)
        self.weights_sha256_ = backbone.sha256
        side = backbone.preprocess.crop
        width = sum(
            int(np.prod(layer_shape(backbone.spec, name, side))) for name in settings.layers
        )
        self.n_features_out_ = width * (10 if self.crops == "ten-stack" else 1)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute the features of images.

        Parameters
        ----------
        X : sequence of paths or images, or ndarray of uint8 (N, H, W, 3)
            Anything `decaf.extract` takes; one row an image. An array of strings holds paths.

        Returns
        -------
        ndarray of float32, shape (N, ``n_features_out_``)

        Raises
        ------
        ImageError
            For an image that cannot be read, with ``on_error="raise"``.
        InputError
            For an item that is not one image, such as a folder.
        """
        check_is_fitted(self, "weights_sha256_")
        images = one_an_item(X)
        from decaf.runtime.device import choose_device

        features, status = rows_of(
            images,
            self._loaded(),
            self._settings(),
            max_bytes=self.cache_bytes,
            device=choose_device(self.device),
            workers=self.workers,
            batch_size=self.batch_size,
            raise_bad=self.on_error == "raise",
        )
        warn_of_bad(status, stacklevel=2)
        return features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns ``fc6_0``, ``fc6_1``, …

        Parameters
        ----------
        input_features
            Ignored.
        """
        from decaf.backbone.steps import layer_shape

        check_is_fitted(self, "weights_sha256_")
        backbone = self._loaded()
        crops = 10 if self.crops == "ten-stack" else 1
        names = [
            f"{name}_{column}"
            for name in self._layers()
            for column in range(
                crops * int(np.prod(layer_shape(backbone.spec, name, backbone.preprocess.crop)))
            )
        ]
        return np.array(names, dtype=object)

    def _settings(self) -> RunSettings:
        """Check what was asked for, as `decaf.extract` does."""
        refuse(
            [
                *one_of("on_error", self.on_error, ON_ERROR),
                *whole_number("batch_size", self.batch_size, 1, optional=True),
                *whole_number("workers", self.workers, optional=True),
                *whole_number("cache_bytes", self.cache_bytes),
            ]
        )
        return RunSettings(self._layers(), self.crops, self.precision)

    def _layers(self) -> tuple[str, ...]:
        return (self.layer,) if isinstance(self.layer, str) else tuple(self.layer)

    def _loaded(self) -> Backbone:
        backbone: Backbone | None = getattr(self, "_backbone_", None)
        if backbone is None:
            weights: Any = self.weights  # mypy does not know that paths have a hash
            backbone = _network(weights, _stamp(weights))
            backbone = backbone.with_preprocess(self.preprocess)
            known = getattr(self, "weights_sha256_", backbone.sha256)
            if backbone.sha256 != known:
                raise SettingError(
                    f"weights {str(self.weights)!r} are {backbone.sha256[:12]}… now, but were "
                    f"{known[:12]}… when this extractor was fitted"
                )
            self._backbone_ = backbone
        return backbone


@functools.lru_cache(maxsize=1)
def _network(weights: str | os.PathLike[str], stamp: object) -> Backbone:
    """Load a network, or give the one last loaded: scikit-learn makes a clone for every fold."""
    from decaf.backbone.model import load_backbone

    return load_backbone(weights)


def _stamp(weights: str | os.PathLike[str]) -> object:
    """Return what changes when a file of weights is replaced; None for a name."""
    try:
        stat = os.stat(weights)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
