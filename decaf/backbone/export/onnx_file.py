"""A network as an ONNX model, which other programs run.

The file is written without the ``onnx`` package and without tracing: AlexNet is a list of steps of
ten kinds (`decaf.backbone.steps`), each of which is an operator of ONNX, and a model is a message
of a few fields whose numbers are fixed for good. So nothing needs to be installed, the same weights
give the same bytes, and the graph has the layers' names. What is computed is checked where ONNX
Runtime is at hand (`decaf.backbone.export.agreement`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from decaf.backbone.export.graph import INPUT, Graph, Node
from decaf.backbone.export.metadata import input_in_words, model_metadata
from decaf.backbone.export.protobuf import MAX_MESSAGE_BYTES, Message
from decaf.backbone.weights.state import Weights
from decaf.errors import SettingError
from decaf.version import __version__

__all__ = ["IR_VERSION", "OPSET", "model_message"]

# Of 2020 (ONNX 1.8), and read by every ONNX Runtime since 1.6: nothing here needs a later one.
OPSET = 13
IR_VERSION = 7

_FLOAT, _UINT8 = 1, 2  # TensorProto.DataType
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 2, 7  # AttributeProto.AttributeType


def model_message(weights: Weights, graph: Graph, where: str | os.PathLike[str]) -> Message:
    """Make the model's message (``ModelProto`` of onnx.proto).

    Parameters
    ----------
    weights : Weights
        For the metadata; the parameters are those of `graph`.
    graph : Graph
        As `decaf.backbone.export.graph.forward_graph` gives it.
    where : str or path
        The file, for messages.

    Raises
    ------
    SettingError
        If the model is larger than a file of this kind can be.
    """
    metadata = model_metadata(weights, graph)
    model = Message()
    model.integer(1, IR_VERSION)
    model.text(2, "decaf")
    model.text(3, __version__)
    model.text(6, metadata["input"])
    model.message(7, _graph(weights, graph))
    opset = Message()
    opset.text(1, "")  # the domain of ONNX's own operators
    opset.integer(2, OPSET)
    model.message(8, opset)
    for key, value in metadata.items():
        entry = Message()
        entry.text(1, key)
        entry.text(2, value)
        model.message(14, entry)
    if model.size > MAX_MESSAGE_BYTES:
        raise SettingError(
            f"{os.fspath(where)}: the model takes {model.size:,} bytes, an ONNX file at most "
            f"{MAX_MESSAGE_BYTES:,}; export an earlier layer"
        )
    return model


def _graph(weights: Weights, graph: Graph) -> Message:
    message = Message()
    for node in graph.nodes:
        message.message(1, _node(node))
    message.text(2, weights.spec.name)
    for name, values in graph.constants.items():
        message.message(5, _tensor(name, values))
    side = graph.crop
    message.message(11, _value(INPUT, _UINT8, (side, side, 3), input_in_words(weights.preprocess)))
    for layer, shape in graph.outputs.items():
        message.message(12, _value(layer, _FLOAT, shape))
    return message


def _node(node: Node) -> Message:
    message = Message()
    for name in node.inputs:
        message.text(1, name)
    message.text(2, node.name)
    message.text(3, node.name)
    message.text(4, node.op)
    for name, value in node.attributes.items():
        attribute = Message()
        attribute.text(1, name)
        if isinstance(value, float):
            attribute.single(2, value)
            attribute.integer(20, _ATTRIBUTE_FLOAT)
        elif isinstance(value, int):
            attribute.integer(3, value)
            attribute.integer(20, _ATTRIBUTE_INT)
        else:
            for each in value:
                attribute.integer(8, each)
            attribute.integer(20, _ATTRIBUTE_INTS)
        message.message(5, attribute)
    return message


def _tensor(name: str, values: np.ndarray) -> Message:
    message = Message()
    for length in values.shape:
        message.integer(1, length)
    message.integer(2, _FLOAT)
    message.text(8, name)
    # Little-endian and in C order, which is how the weights lie in memory.
    flat = np.ascontiguousarray(values, dtype="<f4").reshape(-1)
    message.raw(9, flat.view(np.uint8).data)
    return message


def _value(name: str, kind: int, shape: Sequence[int], words: str = "") -> Message:
    sizes = Message()
    batch = Message()
    batch.text(2, "N")  # of any length
    sizes.message(1, batch)
    for length in shape:
        size = Message()
        size.integer(1, length)
        sizes.message(1, size)
    tensor = Message()
    tensor.integer(1, kind)
    tensor.message(2, sizes)
    of_tensor = Message()
    of_tensor.message(1, tensor)
    message = Message()
    message.text(1, name)
    message.message(2, of_tensor)
    if words:
        message.text(3, words)
    return message
