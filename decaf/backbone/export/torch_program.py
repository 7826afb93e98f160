"""The graph of a model as a program of `torch.export` (``.pt2``).

It is the same list of operators that goes into an ONNX file, run by torch's own functions: what can
be traced cannot loop over the rows of a batch, as decaf's own pass does.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from decaf.backbone.export.graph import INPUT, Graph, Node

__all__ = ["METADATA", "GraphModule", "run_program", "write_program"]

METADATA = "decaf.json"
"""Name of the metadata among the extra files of a program."""


class GraphModule(nn.Module):
    """A graph as a module: uint8 pixels (N, crop, crop, 3) to a dict of layers.

    Parameters
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._nodes = graph.nodes
        self._outputs = tuple(graph.outputs)
        self._constants = tuple(graph.constants)
        for name, values in graph.constants.items():
            self.register_buffer(_buffer(name), torch.from_numpy(np.ascontiguousarray(values)))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Run the operators one after the other.

        Parameters
        ----------
        images : Tensor of uint8, shape (N, side, side, 3)
        """
        values: dict[str, Tensor] = {INPUT: images}
        for name in self._constants:
            values[name] = getattr(self, _buffer(name))
        for node in self._nodes:
            values[node.name] = _run(node, *(values[name] for name in node.inputs))
        return {layer: values[layer] for layer in self._outputs}


def write_program(stream: IO[bytes], graph: Graph, metadata: str) -> None:
    """Trace a graph for batches of any length, and write the program.

    Parameters
    ----------
    stream : binary stream
    graph : Graph
    metadata : str
        Kept in the file as `METADATA`; ``torch.export.load(path, extra_files={METADATA: ""})``
        puts it into that dict.
    """
    example = torch.zeros(2, graph.crop, graph.crop, 3, dtype=torch.uint8)
    batch = torch.export.Dim("N", min=1)
    with torch.no_grad(), warnings.catch_warnings():
        # What torch tells of its own insides is not for the user of a network.
        warnings.simplefilter("ignore")
        program = torch.export.export(
            GraphModule(graph).eval(), (example,), dynamic_shapes={INPUT: {0: batch}}
        )
        # In memory first: where a write fails, torch's own does not only raise.
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={METADATA: metadata})
    stream.write(file.getbuffer())


def run_program(path: str | os.PathLike[str]) -> tuple[str, Any]:
    """Load a program.

    Parameters
    ----------
    path : path

    Returns
    -------
    (str, callable)
        The name of what runs it; and a function that maps pixels, uint8 (N, crop, crop, 3), to the
        values of the layers.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open(path, "rb") as stream:  # torch asks a path for its ending
            module = torch.export.load(stream).module()

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            values = cast(Mapping[str, Tensor], module(torch.from_numpy(pixels)))
        return [value.numpy() for value in values.values()]

    return f"torch {torch.__version__}", run


def _buffer(name: str) -> str:
    return name.replace(".", "_")


def _run(node: Node, x: Tensor, *constants: Tensor) -> Tensor:
    """Compute one operator, as ONNX defines it."""
    given: Any = node.attributes
    match node.op:
        case "Transpose":
            return x.permute(given["perm"])
        case "Cast":
            return x.float()
        case "Mul":
            return x * constants[0]
        case "Add":
            return x + constants[0]
        case "Conv":
            padding = given["pads"][:2]
            weight, bias = constants
            return functional.conv2d(
                x, weight, bias, given["strides"], padding, groups=given["group"]
            )
        case "Relu":
            return x.relu()
        case "Tanh":
            return x.tanh()
        case "LRN":
            return functional.local_response_norm(
                x, given["size"], given["alpha"], given["beta"], given["bias"]
            )
        case "MaxPool":
            return functional.max_pool2d(x, given["kernel_shape"], given["strides"])
        case "MatMul":
            return x @ constants[0]
        case "Flatten":
            return x.flatten(1)
        case "Gemm":
            return functional.linear(x, constants[0], constants[1])
        case "Softmax":
            return x.softmax(1)
    raise AssertionError(f"no function for {node.op}")
