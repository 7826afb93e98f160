"""The forward pass as a graph of ONNX operators, normalisation included.

The graph takes pixels as decoders give them, 8 bits and not normalised: what is most often done
wrong outside of decaf (other means, 0 to 1 instead of 0 to 255, channels and axes swapped, a mean
image that was left behind) is then either done in here, or refused for its type or shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from decaf.backbone.spec import ArchSpec, map_sizes
from decaf.backbone.steps import Step, forward_steps, layer_shape, resolve_layers
from decaf.backbone.weights.state import Weights
from decaf.images.preprocess import normalise

__all__ = ["INPUT", "Graph", "Node", "forward_graph"]

INPUT = "images"
"""Name of the graph's input: uint8 (N, crop, crop, 3), RGB."""

_FLOAT = 1  # TensorProto.DataType

Attribute = int | float | tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operator; its output has the node's name.

    Parameters
    ----------
    op : str
        ONNX's name of the operator.
    name : str
    inputs : tuple of str
        Names of nodes, of constants, or of the graph's input.
    attributes : mapping of str to int, float or tuple of int
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, eq=False)
class Graph:
    """What a model computes.

    Attributes
    ----------
    nodes : tuple of Node
        In the order in which they run.
    constants : dict of str to ndarray of float32
    outputs : dict of str to tuple of int
        Layers, and the shape of their value for one image.
    crop : int
        Side of the images.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]
    outputs: dict[str, tuple[int, ...]]
    crop: int


def forward_graph(weights: Weights, layers: str | Sequence[str]) -> Graph:
    """Write the pass from pixels to layers down in operators of ONNX's version 13.

    It ends at the deepest layer, and holds only the parameters that it needs. Dropout, which does
    nothing outside of training, is left out.

    Parameters
    ----------
    weights : Weights
    layers : str or sequence of str
        The outputs.

    Raises
    ------
    SettingError
        If a name is no layer.
    """
    wanted = resolve_layers(weights.spec, layers)
    nodes, constants = _normalisation(weights)
    missing = set(wanted)
    for step in forward_steps(weights.spec):
        if step.kind == "dropout":
            continue
        made = _step_nodes(step, weights.spec, nodes[-1].name)
        nodes += made
        if step.kind in ("conv", "linear"):
            for name in (f"{step.name}.weight", f"{step.name}.bias"):
                constants[name] = weights.state[name].numpy()
        elif step.kind == "adaptive_pool" and made:
            constants |= _averaging(weights.spec)
        missing.difference_update(step.taps)
        if not missing:
            break
    outputs = {layer: layer_shape(weights.spec, layer) for layer in wanted}
    return Graph(tuple(nodes), constants, outputs, weights.preprocess.crop)


def _normalisation(weights: Weights) -> tuple[list[Node], dict[str, np.ndarray]]:
    """Return x · scale/std − mean/std, mean being a colour or the middle of the mean image.

    The two constants are read off `normalise` itself, so that the graph cannot differ from it: at
    pixels of 0 it gives the shift, and what 1 adds to that, found by a spec without mean, the
    factor.
    """
    preprocess = weights.preprocess
    side = preprocess.crop
    black = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    shift = normalise(black, preprocess, mean_image=weights.mean_image)[0]
    plain = replace(preprocess, mean=(0.0, 0.0, 0.0), mean_image_sha256=None)
    factor = normalise(black[:, :1, :1] + 1, plain)[0]
    if weights.mean_image is None:
        shift = shift[:, :1, :1]
    constants = {
        "pixel_factor": factor.contiguous().numpy(),
        "pixel_shift": shift.contiguous().numpy(),
    }
    nodes = [
        Node("Transpose", "channels_first", (INPUT,), {"perm": (0, 3, 1, 2)}),
        Node("Cast", "float_pixels", ("channels_first",), {"to": _FLOAT}),
        Node("Mul", "scaled_pixels", ("float_pixels", "pixel_factor"), {}),
        Node("Add", "normalised", ("scaled_pixels", "pixel_shift"), {}),
    ]
    return nodes, constants


def _step_nodes(step: Step, spec: ArchSpec, x: str) -> list[Node]:
    """Return the operators of a step whose input is the value named `x`."""
    name = step.taps[0] if step.taps else step.name or step.kind
    weight, bias = f"{step.name}.weight", f"{step.name}.bias"
    match step.kind:
        case "conv":
            conv = spec.convs[int(step.name[-1]) - 1]
            attributes: dict[str, Attribute] = {
                "kernel_shape": (conv.kernel,) * 2,
                "strides": (conv.stride,) * 2,
                "pads": (conv.padding,) * 4,
                "group": conv.groups,
            }
            return [Node("Conv", name, (x, weight, bias), attributes)]
        case "act":
            return [Node({"relu": "Relu", "tanh": "Tanh"}[spec.activation], name, (x,), {})]
        case "lrn":
            assert spec.lrn is not None
            lrn = spec.lrn
            # ONNX divides alpha by the size of the window, the paper (and decaf) does not.
            attributes = {
                "size": lrn.size,
                "alpha": lrn.alpha * lrn.size,
                "beta": lrn.beta,
                "bias": lrn.k,
            }
            return [Node("LRN", name, (x,), attributes)]
        case "pool":
            attributes = {
                "kernel_shape": (spec.pool.kernel,) * 2,
                "strides": (spec.pool.stride,) * 2,
            }
            return [Node("MaxPool", name, (x,), attributes)]
        case "adaptive_pool":
            if spec.adaptive_pool == map_sizes(spec)["pool5"]:
                return []
            return [
                Node("MatMul", f"{name}_rows", ("average_rows", x), {}),
                Node("MatMul", name, (f"{name}_rows", "average_columns"), {}),
            ]
        case "flatten":
            return [Node("Flatten", name, (x,), {"axis": 1})]
        case "linear":
            return [Node("Gemm", name, (x, weight, bias), {"transB": 1})]
        case "softmax":
            return [Node("Softmax", name, (x,), {"axis": 1})]
    raise AssertionError(f"no operator for {step.kind}")


def _averaging(spec: ArchSpec) -> dict[str, np.ndarray]:
    """Return the matrix A for which A X Aᵀ is the adaptive average of a map X.

    Of s rows, number i of o averages those from floor(i s / o) to before ceil((i + 1) s / o).
    ONNX has no such operator, since its windows differ in size where o does not divide s.
    """
    assert spec.adaptive_pool is not None
    size, out = map_sizes(spec)["pool5"], spec.adaptive_pool
    matrix = np.zeros((out, size), np.float32)
    for row in range(out):
        first, end = row * size // out, -((row + 1) * size // -out)
        matrix[row, first:end] = 1 / (end - first)
    return {"average_rows": matrix, "average_columns": np.ascontiguousarray(matrix.T)}
