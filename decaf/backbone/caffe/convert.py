"""A network of Caffe with its mean, as weights of decaf.

The two differ in, and are converted in: channels (Caffe's images are blue first, decaf's
red first), pixels (0 to 255 in both, which the preprocessing records), the mean image, and the
constants of the normalisation. Weights of a grouped convolution, and the order in which a map is
read by ``fc6`` (channel, row, column), are the same.

Caffe's own pipeline resizes with OpenCV or ImageMagick, without or with other smoothing than
decaf's; features therefore differ by what that makes of the pixels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from decaf.backbone.caffe.family import Member, family_member
from decaf.backbone.caffe.messages import Layer, read_blob, read_net
from decaf.backbone.caffe.wire import WireError
from decaf.backbone.spec import parameter_shapes
from decaf.backbone.weights.state import Weights, tensor_sha256
from decaf.errors import SettingError, WeightsError
from decaf.images.spec import MAX_SIDE, PreprocessSpec

__all__ = ["read_caffemodel", "read_mean"]

# Protocol buffers hold no more.
_MAX_BYTES = 2**31
# The paper's image sides (Krizhevsky et al. 2012, section 2): 256 are resized to, 227 are cropped.
_RESIZED, _CROPPED = 256, 227
_RGB = [2, 1, 0]

T = TypeVar("T")


def read_caffemodel(
    path: str | os.PathLike[str],
    *,
    mean: str | os.PathLike[str] | Sequence[float] | None = None,
    input_size: int = _CROPPED,
) -> Weights:
    """Read a network of Caffe (a binary ``.caffemodel``).

    The family has ``bvlc_alexnet`` (normalisation before pooling), ``bvlc_reference_caffenet``
    (after it), and networks trained from the same descriptions with other numbers of filters,
    units or classes.

    Parameters
    ----------
    path : str or path
    mean : path or three floats, optional
        The mean image (``.binaryproto``, in Caffe's own channel order and units); or the mean
        colour, red first, 0 to 255. Where the network itself tells its mean colour, nothing is
        needed.
    input_size : int
        Height and width of the input in pixels, used where the network does not tell it.

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If a file is damaged or of another kind, or the network not of the family, naming the
        layer; or if no mean is given nor told.
    """
    where = os.fspath(path)
    data, digest = _content(where)
    net = _read(where, data, read_net)
    try:
        member = family_member(net, input_size)
        state = _state(member)
        preprocess, image, provenance = _preprocess(member, mean)
        return Weights.of(
            Path(where).name,
            member.spec,
            preprocess,
            state,
            mean_image=image,
            provenance={
                "source": "caffe",
                "network": net.name[:200],
                "file": Path(where).name,
                "file_sha256": digest,
                **provenance,
            },
        )
    except (WeightsError, SettingError) as error:
        raise WeightsError(f"{where}: {error}") from None
    except WireError as error:  # a layer's settings are read when they are asked for
        raise WeightsError(f"{where}: damaged, or no file of Caffe: {error}") from None


def read_mean(path: str | os.PathLike[str]) -> Tensor:
    """Read a mean image of Caffe (``.binaryproto``).

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Tensor
        float32 ``(3, side, side)``, red first, 0 to 255.

    Raises
    ------
    WeightsError
        If the file is damaged or holds no square image of three channels.
    """
    where = os.fspath(path)
    data, _ = _content(where)
    blob = _read(where, data, read_blob)
    side = blob.shape[-1] if blob.shape else 0
    values = blob.array((3, side, side)) if 1 < side <= MAX_SIDE else None
    if values is None:
        raise WeightsError(
            f"{where}: holds numbers of shape {str(blob.shape)[:80]}, expected a mean image "
            "(1, 3, side, side)"
        )
    return torch.from_numpy(values[_RGB])


def _content(where: str) -> tuple[memoryview, str]:
    try:
        size = os.path.getsize(where)
        if size > _MAX_BYTES:
            raise WeightsError(f"{where}: {size:,} bytes, at most {_MAX_BYTES:,} are read")
        data = Path(where).read_bytes()
    except OSError as error:
        raise WeightsError(f"{where}: cannot be read: {error.strerror or error}") from None
    return memoryview(data), hashlib.sha256(data).hexdigest()


def _read(where: str, data: memoryview, read: Callable[[memoryview], T]) -> T:
    if bytes(data[:8]) == b"\x89HDF\r\n\x1a\n":
        raise WeightsError(f"{where}: Caffe's HDF5 form, which is not read; save it as binaryproto")
    try:
        return read(data)
    except WireError as error:
        raise WeightsError(f"{where}: damaged, or no file of Caffe: {error}") from None


def _state(member: Member) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for key, shape in parameter_shapes(member.spec).items():
        name, _, kind = key.partition(".")
        values = _parameter(member.layers[name], 0 if kind == "weight" else 1, shape)
        if key == "conv1.weight":
            values = np.ascontiguousarray(values[:, _RGB])
        state[key] = torch.from_numpy(values)
    return state


def _parameter(layer: Layer, number: int, shape: tuple[int, ...]) -> np.ndarray:
    what = ("weights", "biases")[number]
    if len(layer.blobs) != 2:
        raise WeightsError(
            f"layer {layer.name[:60]!r} has {len(layer.blobs)} arrays, expected weights and biases"
        )
    values = layer.blobs[number].array(shape)
    if values is None:
        raise WeightsError(
            f"layer {layer.name[:60]!r} has {what} of shape {layer.blobs[number].shape}, expected "
            f"{shape}"
        )
    return values


def _preprocess(
    member: Member, mean: str | os.PathLike[str] | Sequence[float] | None
) -> tuple[PreprocessSpec, Tensor | None, dict[str, str]]:
    crop = member.spec.input_size
    spec = PreprocessSpec(
        name="caffe",
        resize="warp",
        resize_to=max(crop, round(crop * _RESIZED / _CROPPED)),
        crop=crop,
        mean=(0.0, 0.0, 0.0),
        # Caffe multiplies with its scale what is left of a pixel without its mean.
        std=_stds(member.scale),
        scale=1.0,
    )
    if mean is None:
        told = member.mean_values
        if not told:
            raise WeightsError(
                "tells no mean; give `mean`, its mean file (imagenet_mean.binaryproto) or mean "
                "colour"
            )
        colour = (told * 3)[:3] if len(told) == 1 else told[::-1]
        return _with_colour(spec, colour), None, {}
    if not isinstance(mean, (str, os.PathLike)):
        return _with_colour(spec, mean), None, {}
    image = read_mean(mean)
    side = image.shape[1]
    if side < crop:
        raise WeightsError(f"the mean image has {side} pixels, the network takes {crop}")
    if not bool(torch.isfinite(image).all()):
        raise WeightsError(f"{os.fspath(mean)}: holds NaN or infinite values")
    red, green, blue = image.double().mean(dim=(1, 2)).tolist()
    whole = dataclasses.replace(
        spec,
        resize_to=side,
        mean=(red, green, blue),
        mean_image_sha256=tensor_sha256(image),
    )
    return whole, image, {"mean_file": Path(mean).name}


def _stds(scale: float) -> tuple[float, float, float]:
    if not scale > 0:
        raise WeightsError(f"scales pixels by {scale:g}, expected a number above 0")
    return (1 / scale, 1 / scale, 1 / scale)


def _with_colour(spec: PreprocessSpec, colour: Sequence[float]) -> PreprocessSpec:
    if len(colour) != 3:
        raise SettingError(
            f"`mean` must be a file, or three numbers (red, green, blue), got {colour!r}"
        )
    red, green, blue = (float(each) for each in colour)
    return dataclasses.replace(spec, mean=(red, green, blue))
