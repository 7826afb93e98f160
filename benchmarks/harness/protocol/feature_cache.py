"""Features of a data set, computed once: a second run of a benchmark extracts nothing.

A cached file is an ordinary feature file. Its name holds a hash of everything that determines it
and of the list of images; that the images themselves are unchanged is checked when it is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import OutputError, ResumeError
from decaf.features.extract import extract
from decaf.features.settings import RunSettings
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import open_features
from decaf.images import ImageList, ImageRef, is_kind
from decaf.storage import disk_errors

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["CachedFeatures", "cache_folder", "cached_features"]

# Digits of a SHA-256 that tell files apart in names and manifests.
_DIGITS = 16


@dataclass(frozen=True, eq=False)
class CachedFeatures:
    """Features of all images of a data set at some layers.

    Attributes
    ----------
    path : Path
        The feature file in the cache.
    fingerprint : str
        SHA-256 of the settings and of the images' bytes: another fingerprint, other features.
    weights : dict
        ``name`` and ``sha256`` of the network's weights.
    ok : array of bool, shape (N,)
        Which images could be read.
    messages : tuple of str
        Error of each image; empty where it is ok.
    digests : dict of image name to str
        The beginning of the SHA-256 of the images that could be read.
    computed : int
        How many images were extracted by this call; 0 where the cache had them all.
    rows : array of int64, optional
        Rows of the file that are the rows of `matrix`; all when not given.
    """

    path: Path
    fingerprint: str
    weights: dict[str, str]
    ok: npt.NDArray[np.bool_]
    messages: tuple[str, ...]
    digests: dict[bytes, str]
    computed: int
    rows: npt.NDArray[np.int64] | None = None

    def matrix(self, layer: str, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Read rows of a layer.

        Parameters
        ----------
        layer : str
        rows : array of int
            In any order.

        Returns
        -------
        array of float32, shape (len(rows), D)
            Maps are flattened. Rows of bad images are NaN.
        """
        rows = rows if self.rows is None else self.rows[rows]
        with open_features(self.path) as file:
            view = file[layer]
            place = np.full(len(file), -1, np.int64)
            order, back = np.unique(rows, return_inverse=True)
            place[order] = np.arange(len(order))
            gathered = np.empty((len(order), int(np.prod(view.shape[1:]))), np.float32)
            for start, values in view.blocks():
                here = place[start : start + len(values)]
                gathered[here[here >= 0]] = values[here >= 0].reshape(-1, gathered.shape[1])
        return gathered if np.array_equal(back, np.arange(len(order))) else gathered[back]


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder that features are kept in, and make it.

    Parameters
    ----------
    folder : path, optional
        ``$DECAF_CACHE`` when not given, else ``decaf`` in ``$XDG_CACHE_HOME``, which is
        ``~/.cache`` by default.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    location = Path(folder or os.environ.get("DECAF_CACHE") or caches / "decaf")
    with disk_errors(location, "nothing was computed"):
        location.mkdir(parents=True, exist_ok=True)
    return location


def cached_features(
    dataset: Dataset,
    layers: Sequence[str],
    *,
    weights: str | os.PathLike[str] | Backbone = DEFAULT_WEIGHTS,
    crops: str = "center",
    precision: str = "fp32",
    preprocess: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    device: str = "auto",
    workers: int | None = None,
    progress: bool | Callable[[int, int], Any] | None = None,
    stop: threading.Event | None = None,
) -> CachedFeatures:
    """Return the features of a data set, from the cache or else computed and kept there.

    A run that was killed is taken up where it was. Images that changed are computed anew. Images
    that cannot be read are recorded as bad and keep their rows.

    Parameters
    ----------
    dataset : Dataset
        Its references may be to parts of images; the same image may have several rows.
    layers : sequence of str
    weights, crops, precision, preprocess, device, workers, progress, stop
        As `decaf.extract` takes them.
    cache : path, optional
        See `cache_folder`.

    Raises
    ------
    SettingError, WeightsError, OutputError, Stopped
        As `decaf.extract`.
    """
    from decaf.backbone.model import load_backbone

    backbone = load_backbone(weights).with_preprocess(preprocess)
    settings = RunSettings(tuple(layers), crops=crops, precision=precision)
    refs = dataset.refs or ()
    names = [_row_name(ref) for ref in refs]
    source = {"kind": "files", "path": "", "images": len(names)}
    images = ImageList(names, dataset.labels, (), (source,), refs)
    path = cache_folder(cache) / _file_name(dataset.name, names, settings.record(backbone))

    def run(overwrite: bool) -> FeatureFile:
        file = extract(
            images,
            settings.layers,
            out=path,
            weights=backbone,
            crops=crops,
            precision=precision,
            device=device,
            workers=workers,
            on_error="record",
            progress=progress,
            overwrite=overwrite,
            stop=stop,
        )
        assert isinstance(file, FeatureFile)
        return file

    before = _identity(path)
    try:
        file = run(overwrite=False)
    except (ResumeError, OutputError) as error:
        # The settings are part of the name: only images can have changed.
        if isinstance(error, OutputError) and _identity(path) is None:
            raise
        if not is_kind(path, "features"):
            path.unlink(missing_ok=True)
        file = run(overwrite=True)
    with file:
        hexadecimal = [row.tobytes().hex()[:_DIGITS] for row in file.content_sha256]
        contents = hashlib.sha256(file.fingerprint.encode() + file.content_sha256.tobytes())
        for ref in refs:
            if ref.box is not None:
                contents.update(ref.box_text + b";")
        return CachedFeatures(
            path=path,
            fingerprint=contents.hexdigest(),
            weights=dict(file.run["weights"]),
            ok=file.ok,
            messages=tuple(file.messages),
            digests={
                name: digits
                for name, digits, good in zip(dataset.names, hexadecimal, file.ok, strict=True)
                if good
            },
            computed=len(file) if _identity(path) != before else 0,
        )


def _row_name(ref: ImageRef) -> bytes:
    """Return what tells a row from all others: the path, and the box where it is of a part."""
    return ref.name if ref.box is None else b"%s[%s]" % (ref.name, ref.box_text)


def _file_name(dataset: str, names: Sequence[bytes], run: dict[str, Any]) -> str:
    key = hashlib.sha256(json.dumps(run, sort_keys=True).encode())
    for name in names:
        key.update(b"\0" + name)
    words = "".join(sign for sign in dataset.lower() if sign.isascii() and sign.isalnum())
    return f"{words or 'images'}-{key.hexdigest()[:_DIGITS]}.h5"


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns
