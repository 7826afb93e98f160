"""What an exported model says of itself, whatever its format."""

from __future__ import annotations

import json

from decaf.backbone.export.graph import INPUT, Graph
from decaf.backbone.weights.state import Weights
from decaf.images.spec import PreprocessSpec
from decaf.version import __version__

__all__ = ["FORMAT", "input_in_words", "model_metadata"]

FORMAT = "decaf-model"


def model_metadata(weights: Weights, graph: Graph) -> dict[str, str]:
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
    graph : Graph
    """
    return {
        "format": FORMAT,
        "decaf_version": __version__,
        "weights": weights.name,
        "weights_sha256": weights.sha256,
        "arch": json.dumps(weights.spec.to_dict()),
        "input": input_in_words(weights.preprocess),
        "preprocess": json.dumps(weights.preprocess.to_dict()),
        "layers": json.dumps({layer: list(shape) for layer, shape in graph.outputs.items()}),
        "class_names": json.dumps(list(weights.class_names), ensure_ascii=False),
        "metrics": json.dumps(weights.metrics, ensure_ascii=False),
        "provenance": json.dumps(weights.provenance, ensure_ascii=False),
    }


def input_in_words(spec: PreprocessSpec) -> str:
    """Say what the model takes, and how an image is made into it."""
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
