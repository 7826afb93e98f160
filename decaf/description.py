"""The kind and main facts of a file or folder: `describe`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from decaf.errors import ImageError, InputError, WeightsError
from decaf.images.listing.names import path_text
from decaf.images.listing.recognise import recognise, told_closed

__all__ = ["describe"]

_SHOWN_BAD = 5
_MOST_FIELDS = 10_000  # of an ONNX model, besides what lies in its graph


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Say what a file or folder is, and its main facts.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        JSON values: ``path``, ``kind`` (such as "features", "head" or "weights"),
        ``noun``, ``used`` (what it is for), and for files that decaf reads what they hold: of a
        feature file what `decaf.FeatureFile.info` gives, and in ``bad_images`` the first few bad
        images of each status; of weights the architecture, preprocessing, classes and SHA-256, of a
        head what it was fitted to and how well, and so on.

    Raises
    ------
    DecafError
        Where there is no such path, it cannot be read, or the file is damaged.

    Examples
    --------
    >>> describe(os.curdir)["noun"]
    'a folder'
    """
    where = os.fspath(path)
    kind = recognise(where)
    if kind.name == "absent":
        raise InputError(f"{where}: there is no such file or folder")
    if closed := told_closed(where):
        raise InputError(closed)
    facts: dict[str, Any] = {"path": where, "kind": kind.name, "noun": kind.noun, "used": kind.used}
    if os.path.isfile(where):
        facts["bytes"] = os.path.getsize(where)
    read = _FACTS.get(kind.name)
    return facts if read is None else {**facts, **read(where)}


def _features(where: str) -> dict[str, Any]:
    from decaf.features.store.opening import open_features

    with open_features(where) as file:
        bad = [
            {
                "row": row,
                "path": path_text(file.path_bytes[row]),
                "status": status,
                "message": file.messages[row],
            }
            for code, status in enumerate(file.status_names)
            if code
            for row in np.flatnonzero(file.status == code)[:_SHOWN_BAD].tolist()
        ]
        return {**file.info(), "bad_images": bad}


def _pack(where: str) -> dict[str, Any]:
    from decaf.train.pack.reader import Pack

    with Pack.open(where) as pack:
        return pack.info()


def _weights(where: str) -> dict[str, Any]:
    from decaf.backbone.weights.load import load_weights

    weights = load_weights(Path(where))
    parameters = sum(tensor.numel() for tensor in weights.state.values())
    return {
        "arch": weights.spec.name,
        "input_size": weights.spec.input_size,
        "parameters": parameters,
        "classes": weights.spec.classes,
        "class_names": list(weights.class_names),
        "preprocess": weights.preprocess.to_dict(),
        "sha256": weights.sha256,
        "metrics": weights.metrics,
        "provenance": weights.provenance,
    }


def _torch(where: str) -> dict[str, Any]:
    try:
        return _weights(where)
    except WeightsError as error:
        return {"not_read": str(error).removeprefix(f"{where}: ")}


def _head(where: str) -> dict[str, Any]:
    from decaf.heads.saved import load_head

    head = load_head(where)
    estimate = head.report.get("estimate")
    return {
        "estimator": type(head.estimator).__name__,
        "takes": head.takes,
        "layer": head.identity.layer,
        "weights": {"name": head.identity.weights_name, "sha256": head.identity.weights_sha256},
        "preprocess": dict(head.identity.preprocess),
        "crops": head.identity.crops or None,
        "precision": head.identity.precision or None,
        "gives": "scores" if head.calibration is None else "probabilities",
        "classes": len(head.class_names),
        "class_names": list(head.class_names),
        "written_by": f"decaf {head.decaf_version}",
        "images": head.report.get("images"),
        "accuracy": estimate.get("accuracy") if isinstance(estimate, dict) else None,
    }


def _localiser(where: str) -> dict[str, Any]:
    from decaf.train.localiser import load_localiser

    localiser = load_localiser(where)
    identity = localiser.identity
    return {
        "layer": identity.layer,
        "weights": {"name": identity.weights_name, "sha256": identity.weights_sha256},
        "preprocess": dict(identity.preprocess),
        "precision": identity.precision,
        "classes": len(localiser.class_names),
        "class_names": list(localiser.class_names),
        "images": localiser.report.get("images"),
        "error": localiser.report.get("error"),
    }


def _checkpoint(where: str) -> dict[str, Any]:
    from decaf.train.checkpoint import read_checkpoint

    state, tensors = read_checkpoint(Path(where))
    trainer = state.get("trainer")
    return {
        "step": trainer.get("step") if isinstance(trainer, dict) else None,
        "seconds": state.get("seconds"),
        "validation": state.get("last"),
        "numbers": sum(tensor.numel() for tensor in tensors.values()),
    }


def _run(where: str) -> dict[str, Any]:
    from decaf.train.checkpoint import LOG_FILE, SETTINGS_FILE, WEIGHTS_FILE, TrainingFolder
    from decaf.train.log import read_log

    folder = Path(where)
    record = json.loads((folder / SETTINGS_FILE).read_bytes())
    rows = read_log(folder / LOG_FILE)
    return {
        "written_by": f"decaf {record.get('decaf_version')}",
        "settings": record.get("settings"),
        "images": record.get("images"),
        "validation_images": record.get("validation_images"),
        "init_from": record.get("init_from"),
        "checkpoints": [path.name for path in TrainingFolder(folder, {}, 1).checkpoints.paths()],
        "network": WEIGHTS_FILE if (folder / WEIGHTS_FILE).is_file() else None,
        "last_row": rows[-1] if rows else None,
    }


def _image(where: str) -> dict[str, Any]:
    from decaf.images.decoding.formats import sniff
    from decaf.images.decoding.limits import MAX_FILE_BYTES

    with open(where, "rb") as file:
        data = file.read(MAX_FILE_BYTES)
    try:
        header = sniff(data)
    except ImageError as error:
        return {"not_read": error.message}
    return {
        "format": header.format,
        "width": header.width,
        "height": header.height,
        "orientation": header.orientation,
    }


def _hdf5(where: str) -> dict[str, Any]:
    from decaf.images.listing.arrays import open_any_hdf5

    # What it is stands in a part of the file that may be gone.
    with open_any_hdf5(os.fsencode(where)):
        return {}


def _array(where: str) -> dict[str, Any]:
    from decaf.images.listing.arrays import npy_header

    with open(where, "rb") as file:
        try:
            shape, dtype = npy_header(file)
        except ValueError as error:
            return {"not_read": f"{error!s:.200}"}
    return {"shape": list(shape), "dtype": str(dtype)}


def _onnx(where: str) -> dict[str, Any]:
    """Read the metadata of a model (``ModelProto`` of onnx.proto)."""
    from decaf.backbone.caffe.wire import Budget, Message, WireError
    from decaf.images.decoding.limits import MAX_FILE_BYTES

    if os.path.getsize(where) > MAX_FILE_BYTES:
        return {}
    try:
        model = Message(memoryview(Path(where).read_bytes()), Budget(_MOST_FIELDS))
        graph = model.message(7)
        metadata = {entry.text(1): entry.text(2) for entry in model.messages(14)}
        return {
            "written_by": f"{model.text(2)} {model.text(3)}".strip(),
            "inputs": [each.text(1) for each in graph.messages(11)],
            "outputs": [each.text(1) for each in graph.messages(12)],
            "weights": {"name": metadata.get("weights"), "sha256": metadata.get("weights_sha256")},
        }
    except WireError as error:
        return {"not_read": f"damaged: {error}"}


_FACTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "features": _features,
    "part-set": _features,
    "pack": _pack,
    "weights": _weights,
    "torch": _torch,
    "head": _head,
    "localiser": _localiser,
    "checkpoint": _checkpoint,
    "run": _run,
    "image": _image,
    "array": _array,
    "hdf5": _hdf5,
    "onnx": _onnx,
}
