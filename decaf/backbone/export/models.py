"""Writing a network in a form that other programs run; the file's ending says which."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from decaf.backbone.export import INPUT
from decaf.backbone.export.onnx_file import (
    Run,
    onnx_is_there,
    onnxruntime_is_there,
    run_onnx,
    write_onnx,
)
from decaf.backbone.export.torch_program import ExportedNetwork, run_program, write_program
from decaf.backbone.model import Backbone
from decaf.backbone.steps import layer_shape, resolve_layers
from decaf.backbone.weights.load import Weights, load_weights
from decaf.errors import DecafError, OutputError, SettingError
from decaf.images.normalise import normalise
from decaf.images.spec import PreprocessSpec
from decaf.storage import check_output, disk_errors, temporary_path, whole_file
from decaf.version import __version__

__all__ = [
    "ENDINGS",
    "FORMAT",
    "TOLERANCE",
    "Agreement",
    "ExportedModel",
    "compare",
    "export_model",
    "model_metadata",
    "pixel_normalisation",
]

ENDINGS = (".onnx", ".pt2")
"""Endings of the files that `export_model` writes."""

FORMAT = "decaf-model"
"""The format that the metadata of a model names first."""

TOLERANCE = 1e-4
"""The largest relative error that is let pass; sums in another order give less than 1e-5."""

# Images and their contrast: two lengths, since the first axis is to be free, and weak contrasts
# for networks that are sure of their class in all that is strong.
_BATCHES = ((1, 1.0), (3, 1.0), (3, 0.1))
# What is below is lost to some programs, which take it for 0.
_LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Agreement:
    """The agreement of two programs.

    Attributes
    ----------
    program : str
        The program that was compared with, and its version.
    relative_errors : dict of str to float
        For each layer the largest difference, divided by the largest value of the layer. That of
        ``prob`` is also that of its logarithms, divided by the largest logit, if it is larger.
    """

    program: str
    relative_errors: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest of the errors."""
        return max(self.relative_errors.values())


@dataclass(frozen=True)
class ExportedModel:
    """The result of an export.

    Attributes
    ----------
    path : Path
    bytes : int
    weights : Weights
        The weights that were exported.
    layers : dict of str to tuple of int
        The outputs, and the shape of each for one image.
    agreement : Agreement or None
        The result of the check; None where there was none.
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
    (`model_metadata`).

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
        For an ending, a layer, or a size that cannot be; or where onnx is missing, or ONNX
        Runtime and `check` is true.
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
    loaded = weights if isinstance(weights, Weights) else load_weights(weights)
    if ending == ".onnx" and not onnx_is_there():
        raise SettingError(
            "to write an ONNX model, onnx is needed: pip install 'decaf-features[onnx]'"
        )
    if check is None:
        check = ending != ".onnx" or onnxruntime_is_there()
    elif check and ending == ".onnx" and not onnxruntime_is_there():
        raise SettingError(
            "to check the model, ONNX Runtime is needed: pip install 'decaf-features[onnx]'"
        )
    outputs = {
        layer: layer_shape(loaded.spec, layer) for layer in resolve_layers(loaded.spec, layers)
    }
    metadata = model_metadata(loaded, outputs)
    normalisation = pixel_normalisation(loaded)
    agreement = None
    with disk_errors(target, "nothing was written"), whole_file(target) as stream:
        if ending == ".onnx":
            write_onnx(stream, loaded, outputs, normalisation, metadata, target)
        else:
            network = ExportedNetwork(loaded, outputs, normalisation)
            write_program(stream, network, loaded.preprocess.crop, json.dumps(metadata))
        size = stream.tell()
        stream.flush()
        if check:
            agreement = _checked(temporary_path(target), ending, loaded, [*outputs])
    return ExportedModel(target, size, loaded, outputs, agreement)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix.lower() not in ENDINGS:
        raise SettingError(
            f"{target}: cannot tell the format from the ending {target.suffix!r}; "
            f"use one of {', '.join(ENDINGS)}"
        )
    check_output(target, "onnx" if target.suffix.lower() == ".onnx" else "torch-program")
    if os.path.lexists(target) and not overwrite:
        raise OutputError(f"{target}: is there already; choose another name, or `overwrite=True`")


def pixel_normalisation(weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the shift that make pixels into the network's input.

    x · scale/std − mean/std, the mean being a colour or the middle of the mean image. Both are read
    off `normalise` itself, so that no model can differ from it: at pixels of 0 it gives the shift,
    and what 1 adds to that, found by a spec without mean, the factor.

    Parameters
    ----------
    weights : Weights

    Returns
    -------
    factor : ndarray of float32, shape (3, 1, 1)
    shift : ndarray of float32, shape (3, 1, 1) or (3, crop, crop)
    """
    preprocess = weights.preprocess
    side = preprocess.crop
    black = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    shift = normalise(black, preprocess, mean_image=weights.mean_image)[0]
    plain = replace(preprocess, mean=(0.0, 0.0, 0.0), mean_image_sha256=None)
    factor = normalise(black[:, :1, :1] + 1, plain)[0]
    if weights.mean_image is None:
        shift = shift[:, :1, :1]
    return factor.contiguous().numpy(), shift.contiguous().numpy()


def _checked(path: Path, ending: str, weights: Weights, layers: list[str]) -> Agreement:
    program, run = run_onnx(path, layers) if ending == ".onnx" else run_program(path)
    return compare(program, run, Backbone(weights), layers)


def model_metadata(weights: Weights, outputs: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return what a model says of itself; values are JSON where they are more than words.

    ===============  =======================================================================
    format           ``decaf-model``
    decaf_version    that wrote the file
    weights          what the weights were called
    weights_sha256   `decaf.backbone.weights.state.state_sha256` of the weights
    arch             `ArchSpec.to_dict`
    input            what the input is and how to make it, in words
    preprocess       `PreprocessSpec.to_dict`; what it says of scale, mean and std the model does
    layers           dict of output to its shape for one image
    class_names      list of str, one a column of ``fc8`` and ``prob``; empty where not known
    metrics          dict, as in the weights file
    provenance       dict, as in the weights file
    ===============  =======================================================================

    Parameters
    ----------
    weights : Weights
        The weights that are exported.
    outputs : mapping of str to tuple of int
        The layers, and the shape of each for one image.
    """
    return {
        "format": FORMAT,
        "decaf_version": __version__,
        "weights": weights.name,
        "weights_sha256": weights.sha256,
        "arch": json.dumps(weights.spec.to_dict()),
        "input": _input_in_words(weights.preprocess),
        "preprocess": json.dumps(weights.preprocess.to_dict()),
        "layers": json.dumps({layer: list(shape) for layer, shape in outputs.items()}),
        "class_names": json.dumps(list(weights.class_names), ensure_ascii=False),
        "metrics": json.dumps(weights.metrics, ensure_ascii=False),
        "provenance": json.dumps(weights.provenance, ensure_ascii=False),
    }


def _input_in_words(spec: PreprocessSpec) -> str:
    """Describe the input of the model, and how an image is made into it."""
    side = spec.resize_to
    if spec.resize == "warp":
        resize = (
            f"resize to {side} x {side} pixels whatever the aspect ratio (bilinear, antialiased)"
        )
    elif spec.resize == "none":
        resize = f"take an image of {side} x {side} pixels as it is, and no other"
    else:
        resize = (
            f"resize the shorter side to {side} pixels, keeping the aspect ratio (bilinear, "
            "antialiased)"
        )
    background = ", ".join(map(str, spec.background))
    return (
        f"{INPUT}: uint8 (N, {spec.crop}, {spec.crop}, 3), RGB, 0 to 255, not normalised. "
        f"Decode, apply the EXIF orientation, composite transparency on RGB ({background}), "
        f"{resize}, and crop the {spec.crop} x {spec.crop} pixels in the "
        "centre. The model itself scales the pixels and subtracts the mean."
    )


def compare(program: str, run: Run, backbone: Backbone, layers: Sequence[str]) -> Agreement:
    """Compare a program with the network, on the same layers of the same pixels.

    A network that is sure of its class has probabilities near 0 and 1 whatever was done to its
    logits. Therefore the logarithms of ``prob`` are compared too: up to a constant for each image
    they are the logits.

    Parameters
    ----------
    program : str
        Its name, for messages.
    run : callable
        Maps pixels, uint8 (N, crop, crop, 3), to the values of the layers.
    backbone : Backbone
        On the CPU.
    layers : sequence of str
        Layers that the program computes.

    Raises
    ------
    DecafError
        If the values differ by more than `TOLERANCE`; or if ``prob`` is the only layer, and always
        0 and 1, so that nothing can be said of it.
    """
    needed = list(dict.fromkeys([*layers, *(["fc8"] if "prob" in layers else [])]))
    ours: dict[str, list[np.ndarray]] = {layer: [] for layer in needed}
    theirs: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    for seed, (count, contrast) in enumerate(_BATCHES):
        pixels = _pixels(seed, count, backbone.preprocess.crop, contrast)
        batch = normalise(
            torch.from_numpy(pixels), backbone.preprocess, mean_image=backbone.mean_image
        )
        expected = backbone.features(batch, needed)
        for layer in needed:
            ours[layer].append(expected[layer].numpy())
        for layer, found in zip(layers, run(pixels), strict=True):
            if found.shape != tuple(expected[layer].shape):
                raise DecafError(
                    f"{program} gives {layer} the shape {found.shape}, not "
                    f"{tuple(expected[layer].shape)}; the model was not written"
                )
            theirs[layer].append(found)
    right = {layer: np.concatenate(ours[layer]).astype(np.float64) for layer in needed}
    errors = {}
    for layer in layers:
        difference = np.abs(np.concatenate(theirs[layer]) - right[layer])
        errors[layer] = float(difference.max()) / (float(np.abs(right[layer]).max()) or 1.0)
    if "prob" in layers:
        wrong = _error_of_logarithms(np.concatenate(theirs["prob"]), right["fc8"])
        if wrong is not None:
            errors["prob"] = float(np.maximum(errors["prob"], wrong))  # NaN stays
        elif list(layers) == ["prob"]:
            raise DecafError(
                "prob of this network is 0 or 1 in all that it was tried on, so that nothing was "
                "proved; take `layers` fc8 and prob; the model was not written"
            )
    for layer, error in errors.items():
        if not error <= TOLERANCE:  # or is NaN
            raise DecafError(
                f"{program} gives other values than decaf: relative error {error:.2g} in {layer}, "
                f"{TOLERANCE:g} is allowed; the model was not written"
            )
    return Agreement(program, errors)


def _error_of_logarithms(found: np.ndarray, logits: np.ndarray) -> float | None:
    """Return the error of log-probabilities, relative to the logits; None where all are 0 and 1.

    Rounding changes a logit in relation to the largest, and by that its probability's logarithm.
    """
    least = np.log(_LEAST_PROBABILITY)
    shifted = logits - logits.max(axis=1, keepdims=True)
    right = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    if logits.shape[1] > 1 and not ((right > least) & (shifted < 0)).any():
        return None
    # Of what is not a number nothing is made here: it stays one.
    logarithms = np.log(np.maximum(found.astype(np.float64), _LEAST_PROBABILITY))
    difference = np.abs(logarithms - np.maximum(right, least))
    return float(difference.max()) / (float(np.abs(logits).max()) or 1.0)


def _pixels(seed: int, count: int, side: int, contrast: float) -> np.ndarray:
    """Return images of coarse and fine structure: to most filters noise alone is all the same."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 8, 8, 3))
    cell = -(-side // 8)
    blocks = coarse.repeat(cell, axis=1).repeat(cell, axis=2)[:, :side, :side]
    noise = generator.integers(-40, 41, blocks.shape)
    values = 127.5 + contrast * (np.clip(blocks + noise, 0, 255) - 127.5)
    pixels: np.ndarray = values.astype(np.uint8)
    return pixels
