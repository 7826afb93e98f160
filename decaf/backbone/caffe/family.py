"""From the layers of a Caffe network to the spec of a member of decaf's family.

The network is followed layer by layer from its first convolution. What is not of the family is
refused with the name of the first layer that differs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from decaf.backbone.caffe.messages import Layer, Net
from decaf.backbone.caffe.wire import Budget, Message
from decaf.backbone.spec import POOLED, ArchSpec, ConvSpec, LRNSpec, PoolSpec, map_sizes
from decaf.errors import SettingError, WeightsError

__all__ = ["Member", "family_member"]

# What is not computed when features are: where images come from, what is learned from, bookkeeping.
_BESIDE = {
    *("Data", "DummyData", "HDF5Data", "ImageData", "Input", "MemoryData", "WindowData"),
    *("Accuracy", "Silence", "Softmax", "SoftmaxWithLoss"),
}
# What hands its input on unchanged.
_ALIASES = {"Dropout", "Split"}

_NOTHING = Message([], Budget())


@dataclass(frozen=True, eq=False)
class Member:
    """A Caffe network as a member of the family.

    Parameters
    ----------
    spec : ArchSpec
    layers : dict of str to Layer
        Layers with parameters, by decaf's names: ``conv1`` … ``fc8``.
    scale : float
        Factor of the pixels once the mean is taken off.
    mean_values : tuple of float
        Mean colour in Caffe's channel order (blue first), where the network tells it.
    """

    spec: ArchSpec
    layers: dict[str, Layer]
    scale: float
    mean_values: tuple[float, ...]


def family_member(net: Net, input_size: int) -> Member:
    """Recognise a network.

    Parameters
    ----------
    net : Net
    input_size : int
        Height and width of the input in pixels, for files that do not tell it.

    Raises
    ------
    WeightsError
        Naming the layer that is not of the family.
    """
    walk = _Walk([layer for layer in net.layers if layer.type not in _BESIDE])
    layers: dict[str, Layer] = {}
    convs: list[ConvSpec] = []
    pools: list[Layer] = []
    norms: list[Layer] = []
    after: set[str] = set()
    for number in range(1, 6):
        name = f"conv{number}"
        layers[name] = walk.take(name, "Convolution")
        convs.append(_conv(layers[name]))
        walk.activation(name)
        if number in POOLED:
            if walk.next_type() == "LRN" and number != 5:
                norms.append(walk.take(f"the normalisation after {name}", "LRN"))
                after.add("activation")
            pools.append(walk.take(f"pool{number}", "Pooling"))
            if walk.next_type() == "LRN" and number != 5:
                norms.append(walk.take(f"the normalisation after pool{number}", "LRN"))
                after.add("pool")
    widths: list[int] = []
    for number in (6, 7, 8):
        name = f"fc{number}"
        layers[name] = walk.take(name, "InnerProduct")
        widths.append(_width(layers[name]))
        if number != 8:
            walk.activation(name)
    walk.end()
    transform = _transform(net)
    size = _input_size(net, transform) or input_size
    try:
        spec = ArchSpec(
            name=_spec_name(net.name),
            input_size=size,
            convs=tuple(convs),
            hidden=(widths[0], widths[1]),
            classes=widths[2],
            activation="tanh" if walk.activations == {"TanH"} else "relu",
            lrn=_lrn(norms, after),
            pool=_pool(pools),
            dropout=walk.dropout,
        )
    except SettingError as error:
        raise WeightsError(str(error)) from None
    if len(walk.activations) > 1:
        raise WeightsError("ReLU and TanH are mixed; decaf's networks have one activation")
    _check_pooling(spec, pools)
    return Member(
        spec=spec,
        layers=layers,
        scale=transform.number(1, 1.0) if 1 in transform else _old_scale(net),
        mean_values=tuple(float(each) for each in transform.floats(5)),
    )


@dataclass
class _Walk:
    """Takes one layer after the other, and sees that each works on what the one before gave."""

    layers: list[Layer]
    activations: set[str] = field(default_factory=set)
    dropout: float = 0.0
    _at: int = 0
    _blob: str | None = None
    _alias: dict[str, str] = field(default_factory=dict)

    def next_type(self) -> str:
        self._pass_aliases()
        return self.layers[self._at].type if self._at < len(self.layers) else "nothing"

    def take(self, role: str, *types: str) -> Layer:
        type_ = self.next_type()
        expected = " or ".join(types)
        if type_ == "nothing":
            raise WeightsError(f"ends before {role}, where {expected} was expected")
        layer = self.layers[self._at]
        if type_ not in types:
            raise WeightsError(
                f"layer {_shown(layer.name)} is of type {_shown(type_)}, expected {expected} as "
                f"{role}"
            )
        self._at += 1
        # Files that hold nothing but parameters tell no bottoms and tops.
        bottoms = [self._alias.get(each, each) for each in layer.bottoms]
        if self._blob is not None and bottoms and bottoms != [self._blob]:
            raise WeightsError(
                f"layer {_shown(layer.name)} works on {', '.join(map(_shown, bottoms[:4]))}, "
                f"expected {_shown(self._blob)} for {role}"
            )
        if layer.tops:
            self._blob = layer.tops[0]
            self._alias.pop(self._blob, None)
        return layer

    def activation(self, behind: str) -> None:
        layer = self.take(f"the activation of {behind}", "ReLU", "TanH")
        self.activations.add(layer.type)
        if _settings(layer, "relu").number(1, 0.0):
            raise WeightsError(f"layer {_shown(layer.name)} lets negative values through (leaky)")

    def end(self) -> None:
        if self.next_type() != "nothing":
            layer = self.layers[self._at]
            raise WeightsError(
                f"layer {_shown(layer.name)} of type {_shown(layer.type)} comes after fc8, "
                "expected nothing more"
            )

    def _pass_aliases(self) -> None:
        while self._at < len(self.layers) and self.layers[self._at].type in _ALIASES:
            layer = self.layers[self._at]
            if layer.type == "Dropout" and not self.dropout:
                self.dropout = _settings(layer, "dropout").number(1, 0.5)
            for top in layer.tops if layer.bottoms else ():
                if top not in layer.bottoms:
                    self._alias[top] = self._alias.get(layer.bottoms[0], layer.bottoms[0])
            self._at += 1


def _settings(layer: Layer, kind: str) -> Message:
    return layer.settings.get(kind) or _NOTHING


def _conv(layer: Layer) -> ConvSpec:
    told = _settings(layer, "convolution")
    shape = layer.blobs[0].shape if layer.blobs else ()
    if len(shape) != 4 or shape[2] != shape[3]:
        raise WeightsError(
            f"layer {_shown(layer.name)} has weights of shape {shape}, expected square filters "
            "(filters, channels, size, size)"
        )
    kernel = _square(layer, told, (4, 11, 12), 0)
    stride, padding = _square(layer, told, (6, 13, 14), 1), _square(layer, told, (3, 9, 10), 0)
    groups = told.integer(5, 1)
    if kernel != shape[2] or told.integer(1, 0) != shape[0]:
        raise WeightsError(
            f"layer {_shown(layer.name)} is described with {told.integer(1, 0)} filters of "
            f"{kernel} pixels, its weights have shape {shape}"
        )
    odd = [
        what
        for what, wrong in (
            ("no biases", told.integer(2, 1) != 1),
            ("dilated filters", any(each != 1 for each in told.integers(18))),
            ("channels on another axis", told.integer(16, 1) != 1),
        )
        if wrong
    ]
    if odd:
        raise WeightsError(f"layer {_shown(layer.name)} has {' and '.join(odd)}")
    try:
        return ConvSpec(shape[0], shape[2], stride, padding, groups)
    except SettingError as error:
        raise WeightsError(f"layer {_shown(layer.name)}: {error}") from None


def _square(layer: Layer, told: Message, fields: tuple[int, int, int], default: int) -> int:
    """Return a size that may be told once, for each axis, or as height and width."""
    both, *each = fields
    sizes = told.integers(both) + [size for number in each for size in told.integers(number)]
    if len(set(sizes)) > 1:
        raise WeightsError(f"layer {_shown(layer.name)} is not square: {sizes[:4]}")
    # Height alone, with a width that is left to its default, is not square either.
    if both not in told and sizes and not all(number in told for number in each):
        raise WeightsError(f"layer {_shown(layer.name)} tells a size for one axis only")
    return sizes[0] if sizes else default


def _width(layer: Layer) -> int:
    told = _settings(layer, "inner_product")
    if told.integer(2, 1) != 1 or told.integer(6, 0) or told.integer(5, 1) != 1:
        raise WeightsError(
            f"layer {_shown(layer.name)} is transposed, without biases or on another axis, which "
            "decaf's fully connected layers are not"
        )
    shape = layer.blobs[0].shape if layer.blobs else ()
    if len(shape) < 2 or told.integer(1, shape[-2]) != shape[-2]:
        raise WeightsError(
            f"layer {_shown(layer.name)} has weights of shape {shape} for "
            f"{told.integer(1, 0)} units"
        )
    return shape[-2]


def _lrn(layers: list[Layer], after: set[str]) -> LRNSpec | None:
    if not layers:
        return None
    specs = []
    for layer in layers:
        told = _settings(layer, "lrn")
        if told.integer(4, 0) != 0:
            raise WeightsError(
                f"layer {_shown(layer.name)} normalises within a channel, not across channels"
            )
        size = told.integer(1, 5)
        where: Literal["activation", "pool"] = "pool" if "pool" in after else "activation"
        try:
            # Caffe divides alpha by the size, the paper and decaf do not.
            specs.append(
                LRNSpec(
                    size,
                    k=told.number(5, 1.0),
                    alpha=told.number(2, 1.0) / max(size, 1),
                    beta=told.number(3, 0.75),
                    after=where,
                )
            )
        except SettingError as error:
            raise WeightsError(f"layer {_shown(layer.name)}: {error}") from None
    if len(specs) != 2 or specs[0] != specs[1] or len(after) != 1:
        raise WeightsError(
            f"layer {_shown(layers[-1].name)}: normalisation must follow conv1 and conv2 alike, "
            "in the same place and with the same constants"
        )
    return specs[0]


def _pool(layers: list[Layer]) -> PoolSpec:
    specs = []
    for layer in layers:
        told = _settings(layer, "pooling")
        if told.integer(1, 0) != 0 or told.integer(12, 0):
            raise WeightsError(f"layer {_shown(layer.name)} is no max pooling over windows")
        if _square(layer, told, (4, 9, 10), 0):
            raise WeightsError(f"layer {_shown(layer.name)} pads its input, expected no padding")
        kernel, stride = _square(layer, told, (2, 5, 6), 0), _square(layer, told, (3, 7, 8), 1)
        try:
            specs.append(PoolSpec(kernel, stride))
        except SettingError as error:
            raise WeightsError(f"layer {_shown(layer.name)}: {error}") from None
        if specs[-1] != specs[0]:
            raise WeightsError(
                f"layer {_shown(layer.name)} pools {kernel}/{stride}, the first one "
                f"{specs[0].kernel}/{specs[0].stride}; decaf's networks pool alike"
            )
    return specs[0]


def _check_pooling(spec: ArchSpec, layers: list[Layer]) -> None:
    """Refuse sizes that Caffe's pooling rounds up, where decaf's rounds down."""
    sizes = map_sizes(spec)
    for number, layer in zip(POOLED, layers, strict=True):
        left = (sizes[f"conv{number}"] - spec.pool.kernel) % spec.pool.stride
        if left and _settings(layer, "pooling").integer(13, 0) == 0:
            here = sizes[f"pool{number}"]
            raise WeightsError(
                f"layer {_shown(layer.name)} makes maps of {here + 1} pixels of "
                f"{sizes[f'conv{number}']}, since Caffe rounds up, decaf's makes {here}"
            )


def _transform(net: Net) -> Message:
    for layer in net.layers:
        if "transform" in layer.settings:
            return layer.settings["transform"]
    return _NOTHING


def _input_size(net: Net, transform: Message) -> int | None:
    if net.input_shape:
        shape = net.input_shape
        if len(shape) != 4 or shape[2] != shape[3]:
            raise WeightsError(
                f"takes inputs of shape {str(shape)[:80]}, expected (N, 3, size, size)"
            )
        return shape[2]
    for layer in net.layers:
        if "data" in layer.settings and layer.settings["data"].integer(5, 0):
            return layer.settings["data"].integer(5, 0)
    return transform.integer(3, 0) or None


def _old_scale(net: Net) -> float:
    for layer in net.layers:
        if "data" in layer.settings:
            return layer.settings["data"].number(2, 1.0)
    return 1.0


def _spec_name(name: str) -> str:
    # Never the plain name of a member: constants differ ("AlexNet" of Caffe has k = 1).
    cleaned = re.sub(r"[^a-z0-9._+-]+", "-", name.lower())[:60].strip("-")
    return f"caffe-{cleaned}" if cleaned else "caffe"


def _shown(name: str) -> str:
    return repr(name[:60])
