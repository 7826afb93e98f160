"""Caffe's messages: a network, its layers, and blobs of numbers.

Field numbers are those of Caffe's ``caffe.proto``. Networks come in two versions of the layer
message, which differ in numbers and in how a layer's type is written; both are read into the same
`Layer`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from decaf.backbone.caffe.wire import Budget, Message, WireError

__all__ = ["Blob", "Layer", "Net", "read_blob", "read_net"]

_MAX_AXES = 32  # Caffe's own bound

# Types of version 1, by their number in V1LayerParameter.LayerType, as version 2 spells them.
_V1_TYPES = {
    1: "Accuracy",
    4: "Convolution",
    5: "Data",
    6: "Dropout",
    9: "HDF5Data",
    12: "ImageData",
    14: "InnerProduct",
    15: "LRN",
    17: "Pooling",
    18: "ReLU",
    19: "Sigmoid",
    20: "Softmax",
    21: "SoftmaxWithLoss",
    22: "Split",
    23: "TanH",
    24: "WindowData",
    29: "MemoryData",
    32: "DummyData",
    36: "Silence",
}

# Field numbers of what a layer has, in version 1 (`layers`) and version 2 (`layer`).
_V1 = {
    "name": 4,
    "type": 5,
    "bottom": 2,
    "top": 3,
    "blobs": 6,
    "convolution": 10,
    "data": 11,
    "dropout": 12,
    "inner_product": 17,
    "lrn": 18,
    "pooling": 19,
    "relu": 30,
    "transform": 36,
}
_V2 = {
    "name": 1,
    "type": 2,
    "bottom": 3,
    "top": 4,
    "blobs": 7,
    "convolution": 106,
    "data": 107,
    "dropout": 108,
    "inner_product": 117,
    "lrn": 118,
    "pooling": 121,
    "relu": 123,
    "transform": 100,
    "input": 143,
}


@dataclass(frozen=True, eq=False)
class Blob:
    """An array of numbers: parameters of a layer, or a mean image.

    Parameters
    ----------
    shape : tuple of int
        Its axes; of the old form always four, with leading ones where there are fewer.
    values : ndarray
        float32 or float64 ``(n,)``, n the product of `shape`; may be a view of the file's bytes.
    """

    shape: tuple[int, ...]
    values: np.ndarray

    def array(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the values as float32 of another shape, or None where that is not this blob's.

        Axes of length 1 are not told apart, since the old form adds them.

        Parameters
        ----------
        shape : tuple of int
        """
        if [each for each in self.shape if each != 1] != [each for each in shape if each != 1]:
            return None
        # A double beyond float32 becomes infinite, which is refused with all that is not finite.
        with np.errstate(over="ignore"):
            return self.values.astype(np.float32).reshape(shape)


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of a network.

    Parameters
    ----------
    name, type : str
        The type as version 2 spells it (``"InnerProduct"``), or ``"type 35"`` for one that is
        known of version 1 by number only.
    bottoms, tops : tuple of str
        Names of the blobs it takes and gives.
    blobs : tuple of Blob
        Its parameters: weights, then biases.
    settings : dict of str to Message
        Its description, by the name of the message: ``"convolution"``, ``"lrn"``, ….
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[Blob, ...]
    settings: dict[str, Message]


@dataclass(frozen=True, eq=False)
class Net:
    """A network.

    Parameters
    ----------
    name : str
    layers : tuple of Layer
        In the order in which they are computed.
    input_shape : tuple of int
        (N, C, H, W) as the network itself tells it; empty where it does not.
    """

    name: str
    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]


def read_net(data: memoryview) -> Net:
    """Read a network (NetParameter).

    Parameters
    ----------
    data : memoryview

    Raises
    ------
    WireError
        If the bytes are no such message, or are one of the oldest version, which Caffe itself
        upgrades.
    """
    net = Message(data, Budget())
    first, second = net.messages(2), net.messages(100)
    if first and second:
        raise WireError("holds layers of two versions")
    if any(1 in layer for layer in first):
        raise WireError("of Caffe's oldest layer format; run upgrade_net_proto_binary on it first")
    layers = [_layer(layer, _V1) for layer in first]
    layers += [_layer(layer, _V2) for layer in second]
    if not layers:
        raise WireError("holds no layers")
    return Net(net.text(1), tuple(layers), _input_shape(net, layers))


def read_blob(data: memoryview) -> Blob:
    """Read an array on its own (BlobProto): the form of a mean file.

    Parameters
    ----------
    data : memoryview

    Raises
    ------
    WireError
        If the bytes are no such message.
    """
    return _blob(Message(data, Budget()))


def _layer(message: Message, fields: dict[str, int]) -> Layer:
    if fields is _V2:
        kind = message.text(fields["type"])
    else:
        number = message.integer(fields["type"], 0)
        kind = _V1_TYPES.get(number, f"type {number}")
    structural = ("name", "type", "bottom", "top", "blobs")
    return Layer(
        name=message.text(fields["name"]),
        type=kind,
        bottoms=tuple(message.texts(fields["bottom"])),
        tops=tuple(message.texts(fields["top"])),
        blobs=tuple(_blob(blob) for blob in message.messages(fields["blobs"])),
        settings={
            key: message.message(number)
            for key, number in fields.items()
            if key not in structural and number in message
        },
    )


def _blob(message: Message) -> Blob:
    # The form with doubles wins where it is there, as it does in Caffe.
    values = message.floats(8, double=True) if 8 in message else message.floats(5)
    if 7 in message:
        shape = tuple(message.message(7).integers(1))
    else:
        shape = tuple(message.integer(number, 0) for number in (1, 2, 3, 4))
    if len(shape) > _MAX_AXES or any(each < 0 for each in shape):
        raise WireError(f"an array of shape {str(shape)[:80]}")
    if math.prod(shape) != len(values):
        raise WireError(f"an array of shape {str(shape)[:80]} with {len(values)} numbers")
    return Blob(shape, values)


def _input_shape(net: Message, layers: list[Layer]) -> tuple[int, ...]:
    """Return the shape of the input, which is told in one of three ways; the newest counts."""
    for layer in layers:
        if layer.type == "Input" and "input" in layer.settings:
            shapes = layer.settings["input"].messages(1)
            if shapes:
                return tuple(shapes[0].integers(1))
    shapes = net.messages(8)
    return tuple(shapes[0].integers(1) if shapes else net.integers(4)[:4])
