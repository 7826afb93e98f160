"""decaf's own weights file: safetensors, with all that belongs to the weights in its header.

The header (string values, JSON where they are more than a word):

==============  ==========================================================================
format          ``decaf-weights``
schema          ``3``; files of schemas 1 and 2, which have no ``header_sha256``, are read
decaf_version   that wrote the file
arch            `ArchSpec.to_dict`
preprocess      `PreprocessSpec.to_dict`
class_names     list of str, empty where not known
metrics         dict
provenance      dict
sha256          `decaf.backbone.weights.state.state_sha256` of the tensors, widened to float32
storage         dict of parameter to its encoding, where a tensor is quantised
header_sha256   SHA-256 of all the others: of the JSON object that they are, keys sorted
==============  ==========================================================================

The tensors have the names of the network's parameters, and ``mean_image``; stored as float32,
float16 or bfloat16. A quantised parameter is stored in parts, as
`decaf.backbone.weights.quantised.part_layout` lists them: its codes under its own name, with their
``.scale`` and ``.codebook``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decaf.backbone.spec import ArchSpec, parameter_shapes
from decaf.backbone.weights.quantised import (
    ENCODINGS,
    Quantised,
    encodings_by_name,
    part_layout,
    quantise,
    with_rounded,
)
from decaf.backbone.weights.state import MEAN_IMAGE, Weights, check_layout
from decaf.errors import OutputError, SettingError, WeightsError
from decaf.images.spec import PreprocessSpec
from decaf.storage import check_output, disk_errors, whole_file
from decaf.storage.tensors import TensorFileKind, json_field, write_tensors
from decaf.version import __version__

__all__ = ["FORMAT", "SCHEMA", "check_weights_path", "read_weights", "save_weights"]

FORMAT = "decaf-weights"
SCHEMA = 3

# Earlier ones, whose header has no checksum of its own.
_UNCHECKED = ("1", "2")
_OWN_SUM = "header_sha256"

_FILE = TensorFileKind("weights", FORMAT, (*_UNCHECKED, str(SCHEMA)), WeightsError)

# Safetensors' names of the types that may be stored as they are.
_TYPES = {"F32": 4, "F16": 2, "BF16": 2}
_HALF = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def read_weights(path: str | os.PathLike[str], *, name: str | None = None) -> Weights:
    """Read and check a weights file of decaf.

    The header alone decides whether the tensors are looked at: what it announces must be exactly
    the names, shapes and types of the network it describes, and that within fixed bounds.

    Parameters
    ----------
    path : str or path
    name : str, optional
        Name of the weights; the file's name without folder by default.

    Raises
    ------
    WeightsError
        If the file is damaged, not decaf's, of a later schema, not consistent with itself, holds
        values that are not finite, or does not have the SHA-256 it names.
    """
    where = os.fspath(path)
    with _FILE.open(where, "pt") as (header, file):
        _check_seal(where, header)
        spec, preprocess, extra = _read_header(where, header)
        storage = _read_storage(where, header, spec)
        names: list[str] = file.keys()
        slices = {name: file.get_slice(name) for name in names}
        stored = {
            key: (piece.get_dtype(), tuple(piece.get_shape())) for key, piece in slices.items()
        }
        shapes = _logical_shapes(where, stored, spec, storage)
        check_layout(where, spec, preprocess, shapes)
        tensors = {
            key: _dequantised(file, key, shapes[key], storage[key])
            if key in storage
            else _own(file.get_tensor(key))
            for key in shapes
        }
    image = tensors.pop(MEAN_IMAGE, None)
    try:
        weights = Weights.of(
            name or Path(where).name, spec, preprocess, tensors, mean_image=image, **extra
        )
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from None
    if weights.sha256 != header.get("sha256"):
        raise WeightsError(
            f"{where}: damaged or altered: its tensors have SHA-256 {weights.sha256}, its header "
            f"names {str(header.get('sha256'))[:64]}"
        )
    return weights


def _read_storage(where: str, header: dict[str, str], spec: ArchSpec) -> dict[str, str]:
    if header["schema"] == "1" or (header["schema"] != "2" and "storage" not in header):
        return {}
    try:
        storage: dict[str, str] = json_field(header, "storage", dict)
    except ValueError as error:
        raise WeightsError(f"{where}: {error}") from None
    try:
        return encodings_by_name(spec, storage)
    except SettingError as error:
        raise WeightsError(f"{where}: its storage: {error}") from None


def _logical_shapes(
    where: str, stored: dict[str, tuple[str, Any]], spec: ArchSpec, storage: Mapping[str, str]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters themselves; their parts are checked and left out."""
    left = dict(stored)
    expected = parameter_shapes(spec)
    shapes: dict[str, tuple[int, ...]] = {}
    for key, encoding in storage.items():
        for part, (kind, shape) in part_layout(key, expected[key], encoding).items():
            given = left.pop(part, None)
            if given != (kind, shape):
                raise WeightsError(
                    f"{where}: {part} must be stored as {kind} of shape {shape} for {encoding}, "
                    + (f"got {given[0]} of shape {given[1]}" if given else "it is missing")
                )
        shapes[key] = expected[key]
    wrong = sorted(key for key in left if left[key][0] not in _TYPES)
    if wrong:
        raise WeightsError(f"{where}: {wrong[0]} is not stored as {', '.join(_TYPES)}")
    return {**shapes, **{key: shape for key, (_, shape) in left.items()}}


def _dequantised(file: Any, key: str, shape: tuple[int, ...], encoding: str) -> Tensor:
    parts = (file.get_tensor(name) for name in part_layout(key, shape, encoding))
    return Quantised(encoding, shape, *parts).dequantise()


def _own(tensor: Tensor) -> Tensor:
    # A copy, since the tensor may lie in the mapped file, where cutting the file short under a
    # running process would kill it.
    return tensor.to(torch.float32, copy=True)


def _check_seal(where: str, header: dict[str, str]) -> None:
    """Refuse a header that was altered."""
    # Checked wherever it stands: a schema may be what was altered.
    if header["schema"] == str(SCHEMA) or _OWN_SUM in header:
        digest = _header_sha256(header)
        if digest != header.get(_OWN_SUM):
            raise WeightsError(
                f"{where}: damaged or altered: its header has SHA-256 {digest}, and names "
                f"{str(header.get(_OWN_SUM))[:64]}"
            )


def _header_sha256(header: Mapping[str, str]) -> str:
    others = {key: header[key] for key in sorted(header) if key != _OWN_SUM}
    return hashlib.sha256(json.dumps(others).encode()).hexdigest()


def _read_header(where: str, header: dict[str, str]) -> tuple[ArchSpec, PreprocessSpec, Any]:
    try:
        class_names = json_field(header, "class_names", list)
        if not all(isinstance(each, str) for each in class_names):
            raise WeightsError(f"{where}: class_names must be texts")
        extra = {
            "class_names": class_names,
            "metrics": json_field(header, "metrics", dict),
            "provenance": json_field(header, "provenance", dict),
        }
        spec = ArchSpec.from_dict(json_field(header, "arch", dict))
        preprocess = PreprocessSpec.from_dict(json_field(header, "preprocess", dict))
    except (SettingError, ValueError) as error:
        raise WeightsError(f"{where}: {error}") from None
    return spec, preprocess, extra


def check_weights_path(
    path: str | os.PathLike[str], *, overwrite: bool = False, inputs: Iterable[Any] = ()
) -> None:
    """Refuse a place that no weights could be written to, before anything is computed.

    Parameters
    ----------
    path : str or path
    overwrite : bool
        Whether a weights file that is there may be replaced.
    inputs : iterable
        As in `decaf.storage.check_output`.

    Raises
    ------
    SettingError
        If the name does not end in ``.safetensors``.
    OutputError
        If it lies in no folder, or is there already and must not be replaced; what is no weights
        file never is.
    """
    target = Path(path)
    if os.path.basename(path) in ("", ".safetensors"):
        raise SettingError(
            f"{os.fspath(path)!r}: is no name for a weights file; expected one such as "
            "'photos.safetensors'"
        )
    if target.suffix != ".safetensors":
        raise SettingError(f"{target}: the name of a weights file ends in .safetensors")
    check_output(target, "weights", inputs=inputs)
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; give another name, or `overwrite=True`")


def save_weights(
    path: str | os.PathLike[str],
    weights: Weights,
    *,
    dtype: str | Mapping[str, str] = "float32",
    metrics: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> str:
    """Write a weights file; it is complete under its name, or not there.

    Where storing rounds, the file does not claim what was measured before: see
    `decaf.backbone.weights.quantised.with_rounded`.

    Parameters
    ----------
    path : str or path
        Ends in ``.safetensors``.
    weights : Weights
    dtype : str or mapping of str to str
        Type to store all tensors in: ``"float32"``, ``"float16"``, ``"bfloat16"``; or one of
        `decaf.backbone.weights.quantised.ENCODINGS` for all weight matrices, with biases in
        float32; or the names of single weight matrices with the encoding of each, the rest in
        float32. All but float32 round, and so give another SHA-256.
    metrics : mapping, optional
        Measurements with the weights as they will be in the file, JSON values: where they are
        rounded, with what `decaf.backbone.weights.quantised.compact` gives, or with a file written
        before. By default that of `weights`, where nothing is rounded.
    overwrite : bool
        Whether a file of that name may be replaced.

    Returns
    -------
    str
        The SHA-256 of the weights as they are in the file.

    Raises
    ------
    SettingError
        If `dtype`, a name in it, or the file's ending is not one of these.
    WeightsError
        If rounding makes a value infinite, or metrics or provenance are not JSON values.
    OutputError
        If the file exists already, or cannot be written.
    """
    target = Path(path)
    kind, encodings = _storage(weights.spec, dtype)
    check_weights_path(target, overwrite=overwrite)
    stored: dict[str, Tensor] = {}
    values: dict[str, Tensor] = {}
    for key, tensor in weights.state.items():
        if key in encodings:
            quantised = quantise(tensor, encodings[key])
            stored.update(quantised.parts(key))
            values[key] = quantised.dequantise()
        else:
            stored[key] = values[key] = tensor.to(kind)
    written = weights
    if encodings or kind != torch.float32:
        written = with_rounded(weights, values)
    if metrics is not None:
        before = {} if written.sha256 == weights.sha256 else written.metrics
        written = replace(written, metrics={**metrics, **before})
    if weights.mean_image is not None:
        # Kept in full: the preprocessing names its hash.
        stored[MEAN_IMAGE] = weights.mean_image
    header = {
        "format": FORMAT,
        "schema": str(SCHEMA),
        "decaf_version": __version__,
        "arch": json.dumps(weights.spec.to_dict()),
        "preprocess": json.dumps(weights.preprocess.to_dict()),
        "class_names": json.dumps(list(weights.class_names)),
        "metrics": _to_json("metrics", written.metrics),
        "provenance": _to_json("provenance", written.provenance),
        "sha256": written.sha256,
    }
    if encodings:
        header["storage"] = json.dumps(encodings)
    header[_OWN_SUM] = _header_sha256(header)
    with disk_errors(target, "nothing was written"), whole_file(target, wait=True) as stream:
        write_tensors(stream, stored, header)
    return written.sha256


def _storage(spec: ArchSpec, dtype: str | Mapping[str, str]) -> tuple[torch.dtype, dict[str, str]]:
    """Return the type of what is stored as it is, and the encodings of the rest."""
    if isinstance(dtype, str) and dtype in _HALF:
        return _HALF[dtype], {}
    if isinstance(dtype, str) and dtype not in ENCODINGS:
        known = ", ".join((*_HALF, *ENCODINGS))
        raise SettingError(f"`dtype` must be one of {known}, got {dtype!r}")
    return torch.float32, encodings_by_name(spec, dtype)


def _to_json(key: str, value: dict[str, Any]) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{key} must hold JSON values only: {error}") from None
