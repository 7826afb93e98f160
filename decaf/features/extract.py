"""`decaf.extract`: images in, the activations of named layers out."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import SettingError
from decaf.features.extraction import Extraction
from decaf.features.settings import NetworkSettings, RunSettings
from decaf.features.store.feature_file import FeatureFile
from decaf.features.write import GO_ON, FeatureOutput
from decaf.images import ListingSettings, collect
from decaf.images.status import STATUS_NAMES
from decaf.images.workers.decoders import warm_decoders
from decaf.runtime.cores import local_rank
from decaf.runtime.names import name_text
from decaf.runtime.settings import ComputeSettings
from decaf.runtime.wording import counted
from decaf.storage import check_output, fill

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from decaf.backbone.model import Backbone
    from decaf.images.spec import PreprocessSpec

__all__ = ["extract", "warn_of_bad"]


class _Options(TypedDict, total=False):
    """What decides nothing about the type of what `extract` returns."""

    weights: str | os.PathLike[str] | Backbone
    preprocess: str | Mapping[str, Any] | PreprocessSpec | None
    crops: str
    precision: str
    device: str
    batch_size: int | None
    workers: int | None
    on_error: str
    progress: bool | Callable[[int, int], Any] | None
    labels: Any
    layout: str
    groups: Any
    dtype: str
    overwrite: bool
    stop: threading.Event | None


@overload
def extract(
    images: Any, layer: str = "fc6", *, out: None = None, **options: Unpack[_Options]
) -> np.ndarray: ...
@overload
def extract(
    images: Any,
    layer: list[str] | tuple[str, ...],
    *,
    out: None = None,
    **options: Unpack[_Options],
) -> dict[str, np.ndarray]: ...
@overload
def extract(
    images: Any,
    layer: str | Sequence[str] = "fc6",
    *,
    out: str | bytes | os.PathLike[str],
    **options: Unpack[_Options],
) -> FeatureFile: ...
def extract(
    images: Any,
    layer: str | Sequence[str] = "fc6",
    *,
    out: str | bytes | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | Backbone = DEFAULT_WEIGHTS,
    preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
    crops: str = "center",
    precision: str = "fp32",
    device: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
    on_error: str = "raise",
    progress: bool | Callable[[int, int], Any] | None = None,
    labels: Any = "folder",
    layout: str = "auto",
    groups: Any = None,
    dtype: str = "float32",
    overwrite: bool = False,
    stop: threading.Event | None = None,
) -> np.ndarray | dict[str, np.ndarray] | FeatureFile:
    """Compute the activations of images at one layer or several.

    Row i belongs to image i, always: an image that cannot be read keeps its row (NaN).

    Parameters
    ----------
    images : path, sequence, ndarray of uint8 (N, H, W, 3), data set, DataFrame or ImageList
        A path may be an image, a folder (all images below it, sorted), a glob, a list file, a
        table, a tar or zip archive, which is read in place, or an array of such images in a
        ``.npy`` or HDF5 file (``FILE.h5:DATASET`` names one of several). A sequence may hold
        paths, PIL images or arrays. A data set is a torch Dataset, or one of Hugging Face; a
        DataFrame has a column of paths. `decaf.collect` lists images with more to say of them, such
        as boxes to cut out.
    layer : str or sequence of str
        ``conv1`` … ``conv5``, ``pool1``, ``pool2``, ``pool5``, ``fc6``, ``fc7``, ``fc8``,
        ``prob``; ``conv1_pre`` … ``fc7_pre`` are the values before the ReLU.
    out : path, optional
        Write a feature file (HDF5) and return it open. The same call resumes a run that was
        interrupted, and computes nothing where the file is complete and the images are as they
        were. The processes of a ``torchrun`` share the work: all of them have to make the call.
    weights : str, path or Backbone
        A name (of `decaf.backbone.weights`: ``imagenet``, ``random:SEED``) or a file of
        weights.
    preprocess : str, mapping or PreprocessSpec, optional
        How images become the network's input, where that is not as its weights say: ``"decaf"``
        (warped to a square), ``"shorter-side"``, ``"as-is"`` (images of the network's own size are
        taken pixel for pixel, others are refused), or fields of `decaf.images.PreprocessSpec`, such
        as ``{"resize": "shorter-side", "resize_to": 256, "crop": 192}``. Its ``mean`` and ``std``
        are in units of ``pixel * scale``, by default 0 to 1.
    crops : {"center", "ten", "ten-max", "ten-stack"}
        Centre crop, or the ten-crop of Krizhevsky et al. 2012, section 4.1: mean, maximum, or all.
        The ten are top left, top right, bottom left, bottom right and centre, then the mirror
        images of these five, in that order.
    precision : {"fp32", "bf16"}
        ``"bf16"`` is faster on processors that have it; rows keep a cosine of 0.9995 or more with
        those of ``"fp32"``, probabilities (``prob``) one of 0.995.
    device : str
        ``"auto"`` (a GPU for CUDA where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or
        ``"mps"``: Apple's GPU, whose rows are compared with the CPU's first. The processes of a
        ``torchrun`` take turns at the GPUs where none is named.
    batch_size : int, optional
        Images a forward pass; chosen by the device when not given.
    workers : int, optional
        Decoding processes, 0 to decode in this process. When not given, one a core, which the next
        call starts faster; and none for JPEG and PNG files of usual size, where there are no more
        than 16 images.
    on_error : {"raise", "record"}
        At an image that cannot be read: raise `ImageError` (default; on the command line "record"
        is), or go on and record it.
    progress : bool or callable, optional
        True, False, or a function of (images done, images in all); by default a bar on terminals.
    labels : {"folder", "none"}, path, or sequence
        The first folder below the one given, none, a labels file, one label an image, or the name
        of a column of a DataFrame or Dataset. An image without a label, such as that of an empty
        cell, has the label -1.
    layout : {"auto", "splits", "classes"}
        Folders called ``train``, ``val`` or ``test`` (in any case; training, valid, validation,
        testing) are splits, and the folders in them are the classes, or are classes themselves; by
        default what lies in them and beside them decides. The file has the splits as a column.
    groups : str, path or sequence, optional
        Which images belong together, kept as a column of the file: ``"FILE:COLUMN"`` of a table,
        ``"path:REGEX"``, ``"folder"``, ``"folder:N"``, ``"time:60s"``, or one for each image; as
        for `decaf.collect`.
    dtype : {"float32", "float16"}
        Type of the rows.
    overwrite : bool
        Replace `out` if it exists and differs.
    stop : threading.Event, optional
        Set it to end the run early: what has been begun is finished and kept, then `Stopped` is
        raised.

    Returns
    -------
    ndarray of shape (N, D), dict of them, or FeatureFile
        Maps are flattened in C order (channel, row, column): pool5 has 9216 columns. A ten-crop
        stack has shape (N, 10, D). A dict where several layers were asked for as a sequence. With
        `out`, the open feature file, which keeps the shape of maps.

    Raises
    ------
    SettingError, InputError, WeightsError
        For what cannot be asked for.
    ImageError
        For a bad image, with ``on_error="raise"``.
    ResumeError, OutputError
        Where `out` belongs to another run, or cannot be written.

    References
    ----------
    Donahue et al., "DeCAF: A Deep Convolutional Activation Feature for Generic Visual
    Recognition", ICML 2014, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> photographs = np.zeros((2, 60, 80, 3), np.uint8)
    >>> extract(photographs, "fc6", weights="random:0:alexnet-64").shape
    (2, 4096)
    """
    several = not isinstance(layer, str)
    settings = RunSettings(
        layers=_layer_names(layer),
        crops=crops,
        precision=precision,
        dtype=dtype,
    )
    network = NetworkSettings(weights, preprocess, crops, precision, batch_size)
    compute = ComputeSettings(device, workers, progress, stop)
    listing = ListingSettings(labels, layout, groups, on_error=on_error)
    path = None if out is None else Path(name_text(out))
    if path is not None:
        check_output(path, "features", example="f.h5")
    image_list = collect(images, listing)
    warm_decoders(image_list, compute.workers)
    backbone = _backbone(network, settings)
    from decaf.runtime.device import choose_device

    raise_bad = listing.on_error == "raise"
    with Extraction(
        image_list,
        backbone,
        settings,
        device=choose_device(compute.device, local_rank=local_rank()),
        workers=compute.workers,
        batch_size=network.batch_size,
        in_one_go=path is None,
    ) as extraction:
        if path is not None:
            from decaf.runtime.processes import world_of_run

            output = FeatureOutput(
                path, extraction, overwrite=overwrite, raise_bad=raise_bad, stop=compute.stop
            )
            # What the processes say to each other is said by CPUs, wherever the network is.
            with world_of_run("cpu", go_on=GO_ON) as world:
                fill(output, world, compute.progress)
            return FeatureFile(path)
        rows = extraction.all_rows(
            progress=compute.progress, stop=compute.stop, raise_bad=raise_bad
        )
    warn_of_bad(rows.status, stacklevel=2)
    return rows.features if several else rows.features[settings.layers[0]]


def _layer_names(layer: Any) -> tuple[str, ...]:
    names = (layer,) if isinstance(layer, str) else layer
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise SettingError(f"`layer` {layer!r}: must be the name of a layer, or a list of names")
    return tuple(names)


def _backbone(network: NetworkSettings, settings: RunSettings) -> Backbone:
    from decaf.backbone.model import load_backbone
    from decaf.backbone.steps import resolve_layers

    backbone = load_backbone(network.weights)
    resolve_layers(backbone.spec, settings.layers)
    return backbone.with_preprocess(network.preprocess)


def warn_of_bad(status: np.ndarray, stacklevel: int) -> None:
    """Warn of images that could not be read; `stacklevel` counts from the caller.

    Parameters
    ----------
    status : ndarray of uint8
    stacklevel : int
    """
    bad = np.flatnonzero(status)
    if len(bad):
        warnings.warn(
            f"{len(bad)} of {counted(len(status), 'image')} could not be read (the first is row "
            f"{bad[0]}, "
            f"{STATUS_NAMES[status[bad[0]]]}); their rows are NaN",
            stacklevel=stacklevel + 1,
        )
