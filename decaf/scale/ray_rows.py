"""`Rows`: features as a step of a pipeline of others, such as ``ray.data``'s ``map_batches``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import InputError, SettingError
from decaf.features.extraction import Extraction
from decaf.features.rows import Rows as MadeRows
from decaf.features.settings import RunSettings
from decaf.images import STATUS_NAMES, ImageList, collect
from decaf.scale.parquet_images import ImageSpool

__all__ = ["Rows"]

_MAX_BATCH_BYTES = 16 << 30


class Rows:
    """A callable that adds the features of images to batches of columns.

    ``dataset.map_batches(Rows("fc7"), batch_size=256)`` runs it in tasks, and ``map_batches(Rows,
    fn_constructor_args=("fc7",), concurrency=2, batch_size=256)`` in actors. The network is loaded
    at the first batch, once in each process.

    Parameters
    ----------
    layer : str or sequence of str
        As in `decaf.extract`.
    image : str
        Column of the images: encoded (bytes, or a dict with ``"bytes"``), or arrays of uint8
        (H, W, 3).
    weights : str, path or Backbone
    preprocess, crops, precision, dtype, device
        As in `decaf.extract`.
    workers : int
        Decoding processes; 0, the default, decodes in this one: a pipeline has workers of its own.

    Examples
    --------
    >>> batch = {"image": np.zeros((2, 60, 80, 3), np.uint8)}
    >>> made = Rows("fc6", weights="random:0:alexnet-64")(batch)
    >>> made["fc6"].shape, made["status"].tolist()
    ((2, 4096), ['ok', 'ok'])
    """

    def __init__(
        self,
        layer: str | Sequence[str] = "fc6",
        *,
        image: str = "image",
        weights: Any = DEFAULT_WEIGHTS,
        preprocess: Any = None,
        crops: str = "center",
        precision: str = "fp32",
        dtype: str = "float32",
        device: str = "auto",
        workers: int = 0,
    ) -> None:
        layers = (layer,) if isinstance(layer, str) else tuple(layer)
        self._settings = RunSettings(layers, crops, precision, dtype)
        self._image = image
        self._weights, self._preprocess = weights, preprocess
        self._device, self._workers = device, workers
        self._loaded: Any = None

    def __getstate__(self) -> dict[str, Any]:
        # The network does not travel: each process loads its own.
        return {**self.__dict__, "_loaded": None}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch with the features of its images.

        Parameters
        ----------
        batch : mapping of str to ndarray
            Columns of the same length.

        Returns
        -------
        dict of str to ndarray
            The columns, and a column for each layer, (n, D), NaN where the image is bad; ``status``
            and ``message`` say why.
        """
        if self._image not in batch:
            raise SettingError(
                f"`image` {self._image!r}: the batch has no such column; it has "
                f"{', '.join(map(str, batch))}"
            )
        values = batch[self._image]
        if not len(values):
            return dict(batch)
        with tempfile.TemporaryDirectory(prefix="decaf-rows-") as scratch:
            rows = self._compute(_listed(values, Path(scratch, "images")))
        texts = np.array(rows.messages, object)
        columns = {layer: rows.features[layer] for layer in self._settings.layers}
        status = np.array([STATUS_NAMES[code] for code in rows.status], object)
        return {**batch, **columns, "status": status, "message": texts}

    def _compute(self, images: ImageList) -> MadeRows:
        from decaf.backbone.engine import Engine
        from decaf.backbone.model import load_backbone
        from decaf.runtime.device import choose_device

        if self._loaded is None:
            backbone = load_backbone(self._weights).with_preprocess(self._preprocess)
            device = choose_device(self._device)
            settings = self._settings
            engine = Engine(
                backbone,
                settings.layers,
                crops=settings.crops,
                precision=settings.precision,
                device=device,
            )
            self._loaded = backbone, device, engine
        backbone, device, engine = self._loaded
        with Extraction(
            images,
            backbone,
            self._settings,
            device=device,
            workers=self._workers,
            in_one_go=False,
            engine=engine,
        ) as extraction:
            return extraction.all_rows(progress=False)


def _listed(values: Any, spool_path: Path) -> ImageList:
    """List the images of a column; encoded ones go through a scratch file."""
    first = values[0]
    if isinstance(first, dict):
        values = [value.get("bytes") if isinstance(value, dict) else value for value in values]
        first = values[0]
    if not all(value is None or isinstance(value, (bytes, bytearray)) for value in values):
        return collect(values if isinstance(values, np.ndarray) else list(values), labels="none")
    names = [os.fsencode(str(row)) for row in range(len(values))]
    with ImageSpool(spool_path, _MAX_BATCH_BYTES) as spool:
        refs = [
            spool.add(name, bytes(value or b"")) for name, value in zip(names, values, strict=True)
        ]
    if not refs:
        raise InputError("the batch has no images")
    return ImageList(names, np.full(len(refs), -1, np.int64), (), (), refs)
