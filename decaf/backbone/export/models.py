"""Writing a network in a form that other programs run; the file's ending says which."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decaf.backbone.export.agreement import Agreement, compare, onnxruntime_is_there, run_onnx
from decaf.backbone.export.graph import Graph, forward_graph
from decaf.backbone.export.metadata import model_metadata
from decaf.backbone.export.onnx_file import model_message
from decaf.backbone.export.torch_program import run_program, write_program
from decaf.backbone.model import Backbone
from decaf.backbone.weights.load import Weights, load_weights
from decaf.errors import OutputError, SettingError
from decaf.storage.atomic import disk_errors, temporary_path, whole_file

__all__ = ["ENDINGS", "ExportedModel", "export_model"]

ENDINGS = (".onnx", ".pt2")
"""Endings of the files that `export_model` writes."""


@dataclass(frozen=True)
class ExportedModel:
    """What an export has written.

    Attributes
    ----------
    path : Path
    bytes : int
    weights : Weights
        What was exported.
    layers : dict of str to tuple of int
        The outputs, and the shape of each for one image.
    agreement : Agreement or None
        What the check gave; None where there was none.
    """

    path: Path
    bytes: int
    weights: Weights
    layers: dict[str, tuple[int, ...]]
    agreement: Agreement | None


def export_model(
    weights: str | os.PathLike[str] | Weights,
    out: str | os.PathLike[str],
    *,
    layers: str | Sequence[str] = "prob",
    check: bool | None = None,
    overwrite: bool = False,
) -> ExportedModel:
    """Write a network for use without decaf.

    ``.onnx``
        An ONNX model (operators of version 13, float32).
    ``.pt2``
        A program of `torch.export`; the metadata is its extra file ``decaf.json``.

    The input ``images`` is uint8 (N, crop, crop, 3): RGB pixels of 0 to 255, resized and cropped,
    not normalised, N of any length; the normalisation is in the model. Pixels that were normalised
    already, or have their channels first, are refused by what runs the model, since their type or
    shape is another. The outputs have the names of the layers and the values that
    `decaf.backbone.model.Backbone.features` gives: maps (N, C, H, W), vectors (N, D). How images
    are to be prepared, class names and the identity of the weights are in the metadata
    (`decaf.backbone.export.metadata.model_metadata`).

    Parameters
    ----------
    weights : str, path or Weights
        A registry name or file, as `decaf.backbone.weights.load.load_weights` takes it.
    out : str or path
        Its ending is the format. It appears under its name when it is complete, and checked.
    layers : str or sequence of str
        The outputs. What lies behind the deepest of them is left out.
    check : bool, optional
        Load what was written, and compare what it computes with the network: by ONNX Runtime, or
        by torch. By default a program of torch is checked, and an ONNX model where ONNX Runtime is
        installed.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    ExportedModel

    Raises
    ------
    SettingError
        For an ending, a layer, or a size that cannot be; or where ONNX Runtime is missing and
        `check` is true.
    WeightsError
        If there are no such weights, or they cannot be trusted.
    OutputError
        If the file is there already, or cannot be written.
    DecafError
        If the check finds other values; then nothing is written.
    """
    target = Path(out)
    ending = target.suffix.lower()
    _check_target(target, overwrite)
    if check is None:
        check = ending != ".onnx" or onnxruntime_is_there()
    elif check and ending == ".onnx" and not onnxruntime_is_there():
        raise SettingError("to check the model, ONNX Runtime is needed: pip install 'decaf[onnx]'")
    loaded = weights if isinstance(weights, Weights) else load_weights(weights)
    graph = forward_graph(loaded, layers)
    agreement = None
    with disk_errors(target, "nothing was written"), whole_file(target) as stream:
        if ending == ".onnx":
            model_message(loaded, graph, target).write(stream)
        else:
            write_program(stream, graph, json.dumps(model_metadata(loaded, graph)))
        size = stream.tell()
        stream.flush()
        if check:
            agreement = _checked(temporary_path(target), ending, loaded, graph)
    return ExportedModel(target, size, loaded, graph.outputs, agreement)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix.lower() not in ENDINGS:
        raise SettingError(
            f"{target}: cannot tell the format from the ending {target.suffix!r}; "
            f"use one of {', '.join(ENDINGS)}"
        )
    if not target.parent.is_dir():
        raise OutputError(f"{target}: cannot be written: there is no folder {target.parent}")
    if os.path.lexists(target) and not overwrite:
        raise OutputError(f"{target}: is there already; choose another name, or `overwrite=True`")


def _checked(path: Path, ending: str, weights: Weights, graph: Graph) -> Agreement:
    layers = [*graph.outputs]
    program, run = run_onnx(path, layers) if ending == ".onnx" else run_program(path)
    return compare(program, run, Backbone(weights), layers)
