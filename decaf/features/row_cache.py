"""Rows of images that were computed before, by what the images hold and how they were computed."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from decaf.errors import ImageError
from decaf.features.extraction import Extraction
from decaf.storage import fingerprint

if TYPE_CHECKING:
    import torch

    from decaf.backbone.model import Backbone
    from decaf.features.settings import RunSettings
    from decaf.images import ImageList

__all__ = ["RowCache", "rows_of", "shared_rows"]

# Settings, SHA-256 of the image, and of one in memory its width and height: pixels are hashed
# without their shape.
Key = tuple[str, bytes, int, int]


class RowCache:
    """The rows last used, as many as fit into a number of bytes; for any number of threads.

    Attributes
    ----------
    bytes : int
        Bytes of the rows that are kept.
    """

    def __init__(self) -> None:
        self._rows: OrderedDict[Key, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: Key) -> np.ndarray | None:
        """Return a row, not to be written to; None where it is not there.

        Parameters
        ----------
        key : tuple
        """
        with self._lock:
            if key not in self._rows:
                return None
            self._rows.move_to_end(key)
            return self._rows[key]

    def put(self, key: Key, row: np.ndarray, max_bytes: int) -> None:
        """Keep a copy of a row; then drop those not used for longest, until so many bytes are left.

        Parameters
        ----------
        key : tuple
        row : ndarray
        max_bytes : int
            Largest size of all rows together. A row that alone is larger is not kept.
        """
        row = row.copy()  # not a view, which would hold on to its neighbours
        with self._lock:
            before = self._rows.pop(key, None)
            self.bytes += row.nbytes - (0 if before is None else before.nbytes)
            self._rows[key] = row
            while self.bytes > max_bytes:
                self.bytes -= self._rows.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Drop all rows."""
        with self._lock:
            self._rows.clear()
            self.bytes = 0

    def renew_lock(self) -> None:
        """Take a lock that no thread holds, in a process just forked."""
        self._lock = threading.Lock()


shared_rows = RowCache()
"""Used by every `decaf.FeatureExtractor` of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared_rows.renew_lock)


def rows_of(
    images: ImageList,
    backbone: Backbone,
    settings: RunSettings,
    *,
    max_bytes: int,
    device: torch.device,
    workers: int | None,
    batch_size: int | None,
    raise_bad: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the rows of images, each content once, and none that `shared_rows` has.

    Parameters
    ----------
    images : ImageList
    backbone : Backbone
    settings : RunSettings
        Its layers are put side by side.
    max_bytes : int
        Bytes that `shared_rows` may hold afterwards; 0 to compute every row, and keep none.
    device, workers, batch_size
        As `decaf.extract` has them.
    raise_bad : bool
        Raise at a bad image, instead of giving a row of NaN.

    Returns
    -------
    features : ndarray of float32, shape (N, width)
    status : ndarray of uint8, shape (N,)

    Raises
    ------
    ImageError
        With `raise_bad`.
    """
    how = f"{fingerprint(settings.record(backbone))} {device}"
    background = backbone.preprocess.background
    # Of items that a user's code makes nothing tells whether they are the same the next time.
    cached = max_bytes > 0 and images.sources[0]["kind"] != "dataset"
    keys = [_key(how, images, row, background) if cached else None for row in range(len(images))]
    known = {key: shared_rows.get(key) for key in keys if key is not None}
    # The first image of each content that is not known, and every one whose content is not.
    first = {key: row for row, key in reversed([*enumerate(keys)]) if key is not None}
    missing = [
        row
        for row, key in enumerate(keys)
        if key is None or (known[key] is None and first[key] == row)
    ]
    computed: dict[int, np.ndarray] = {}
    status = np.zeros(len(images), np.uint8)
    if missing:
        part = images if len(missing) == len(images) else images.take(np.array(missing))
        try:
            with Extraction(
                part, backbone, settings, device=device, workers=workers, batch_size=batch_size
            ) as extraction:
                rows = extraction.all_rows(progress=False, raise_bad=raise_bad)
        except ImageError as error:
            if error.row is None:
                raise
            row = missing[error.row]
            raise ImageError(error.status, error.message, error.name, row, error.remedy) from None
        values = np.hstack([v.reshape(len(missing), -1) for v in rows.features.values()])
        computed = dict(zip(missing, values, strict=True))
        status[missing] = rows.status
        for row, value, digest, size in zip(
            missing, values, rows.content_sha256, rows.source_size.tolist(), strict=True
        ):
            if cached and status[row] == 0:
                # By what was decoded, which is not what was looked for if the file has changed.
                width, height = size if images.in_memory else (0, 0)
                shared_rows.put((how, digest.tobytes(), width, height), value, max_bytes)
    features = []
    for row, key in enumerate(keys):
        at = row if key is None else first[key]
        kept = None if key is None else known[key]
        status[row] = status[at]
        features.append(computed[at] if kept is None else kept)
    return np.stack(features), status


def _key(how: str, images: ImageList, row: int, background: tuple[int, int, int]) -> Key | None:
    """Return what tells the content of an image from others; None where it cannot be had."""
    from decaf.images.preprocess import object_content

    try:
        if images.refs is not None:
            ref = images.refs[row]
            return how, ref.digest(ref.load()), 0, 0
        decoded, digest = object_content(images.get(row), background)
    except ImageError:
        return None
    return how, digest, decoded.width, decoded.height
