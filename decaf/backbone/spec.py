"""The members of the family by name, and the names and shapes of their layers.

All members have the same layers, so a name means the same in every feature file. What a spec is
made of is in `decaf.backbone.arch`, and is at hand from here too. No torch in here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from decaf.backbone.arch import (
    MAX_INPUT_SIZE,
    POOLED,
    ArchSpec,
    ConvSpec,
    LRNSpec,
    PoolSpec,
    map_sizes,
    parameter_shapes,
)
from decaf.backbone.bounds import check_int, refuse
from decaf.errors import SettingError

__all__ = [
    "ARCHITECTURES",
    "LAYERS",
    "POOLED",
    "ArchSpec",
    "ConvSpec",
    "LRNSpec",
    "PoolSpec",
    "architecture",
    "layer_names",
    "layer_shape",
    "map_sizes",
    "parameter_shapes",
    "resolve_layers",
]

LAYERS: tuple[str, ...] = (
    *("conv1_pre", "conv1", "pool1", "conv2_pre", "conv2", "pool2"),
    *("conv3_pre", "conv3", "conv4_pre", "conv4", "conv5_pre", "conv5", "pool5"),
    *("fc6_pre", "fc6", "fc7_pre", "fc7", "fc8", "prob"),
)
"""Names of all layers, in the order in which a forward pass makes them."""


def layer_names(spec: ArchSpec) -> tuple[str, ...]:
    """Return the names of all layers of `spec` in forward order, ``_pre`` ones included."""
    del spec  # the members of the family differ in sizes, never in layers
    return LAYERS


def resolve_layers(spec: ArchSpec, layers: str | Sequence[str]) -> tuple[str, ...]:
    """Check layer names, and put them into forward order without repeats.

    Parameters
    ----------
    spec : ArchSpec
    layers : str or sequence of str
        One name, or several in any order.

    Raises
    ------
    SettingError
        If there is no name, or one that is no layer; lists those there are.

    Examples
    --------
    >>> resolve_layers(architecture("alexnet"), ["fc7", "pool5"])
    ('pool5', 'fc7')
    """
    asked = [layers] if isinstance(layers, str) else list(layers)
    names = layer_names(spec)
    if not asked:
        raise SettingError(f"no layer asked for; choose from {', '.join(names)}")
    wrong = [layer for layer in asked if layer not in names]
    if wrong:
        what = "is no layer" if len(wrong) == 1 else "are no layers"
        raise SettingError(
            f"{', '.join(map(repr, wrong))} {what} of {spec.name}; choose from {', '.join(names)}"
        )
    return tuple(layer for layer in names if layer in asked)


def layer_shape(spec: ArchSpec, layer: str, input_size: int | None = None) -> tuple[int, ...]:
    """Return the shape of a layer's value for one image: ``(C, H, W)``, or ``(D,)`` of a vector.

    Parameters
    ----------
    spec : ArchSpec
    layer : str
    input_size : int, optional
        Height and width of the input; the spec's own by default.

    Raises
    ------
    SettingError
        If `layer` is no layer, or cannot be computed from an input of that size.

    Examples
    --------
    >>> layer_shape(architecture("alexnet"), "pool5"), layer_shape(architecture("alexnet"), "fc6")
    ((256, 6, 6), (4096,))
    """
    resolve_layers(spec, layer)
    if input_size is not None:
        refuse("layer_shape", check_int("input_size", input_size, 1, MAX_INPUT_SIZE))
    name = layer.removesuffix("_pre")
    sizes = map_sizes(spec, input_size)
    needed = [*sizes] if name not in sizes else [*sizes][: [*sizes].index(name) + 1]
    if min(sizes[each] for each in needed) < 1:
        raise SettingError(f"{spec.name}: a {input_size}-pixel input is too small for {layer}")
    if name in sizes:
        return (spec.convs[int(name[-1]) - 1].channels, sizes[name], sizes[name])
    if spec.adaptive_pool is None and sizes["pool5"] != map_sizes(spec)["pool5"]:
        raise SettingError(
            f"{spec.name}: {name} needs inputs of {spec.input_size} pixels, got {input_size}"
        )
    return ({"fc6": spec.hidden[0], "fc7": spec.hidden[1]}.get(name, spec.classes),)


def _family() -> dict[str, ArchSpec]:
    small = ArchSpec(
        name="alexnet-127",
        input_size=127,
        convs=(
            ConvSpec(64, 11, stride=4, padding=2),
            ConvSpec(192, 5, padding=2),
            ConvSpec(384, 3, padding=1),
            ConvSpec(256, 3, padding=1),
            ConvSpec(256, 3, padding=1),
        ),
        classes=200,
    )
    return {
        # Krizhevsky, Sutskever & Hinton 2012, section 3.5 and figure 2; 227 pixels, since the 224
        # of the text do not give the 55x55 map of the figure.
        "alexnet-2012": ArchSpec(
            name="alexnet-2012",
            input_size=227,
            convs=(
                ConvSpec(96, 11, stride=4),
                ConvSpec(256, 5, padding=2, groups=2),
                ConvSpec(384, 3, padding=1),
                ConvSpec(384, 3, padding=1, groups=2),
                ConvSpec(256, 3, padding=1, groups=2),
            ),
            lrn=LRNSpec(),
        ),
        # Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks",
        # footnote 1, as torchvision ships it.
        "alexnet": ArchSpec(
            name="alexnet",
            input_size=224,
            convs=(
                ConvSpec(64, 11, stride=4, padding=2),
                ConvSpec(192, 5, padding=2),
                ConvSpec(384, 3, padding=1),
                ConvSpec(256, 3, padding=1),
                ConvSpec(256, 3, padding=1),
            ),
            adaptive_pool=6,
            dropout_at="input",
        ),
        # The one-tower network for 64-pixel data: the first kernel and stride are scaled down so
        # that its maps (32, 15, 7, 3) keep about half the resolution of the large ones.
        "alexnet-64": ArchSpec(
            name="alexnet-64",
            input_size=64,
            convs=(
                ConvSpec(64, 5, stride=2, padding=2),
                ConvSpec(192, 5, padding=2),
                ConvSpec(384, 3, padding=1),
                ConvSpec(256, 3, padding=1),
                ConvSpec(256, 3, padding=1),
            ),
            classes=200,
        ),
        # The same network as "alexnet", first kernel and stride included, on inputs for which its
        # maps are about half their size (31, 15, 7, 3): fc6 is small enough to ship.
        "alexnet-127": small,
        # The parameters fit a somewhat larger input as well (maps 35, 17, 8, 3): what was trained
        # on random crops, which show things larger, sees whole images better at this size
        # (Touvron et al. 2019).
        "alexnet-143": replace(small, name="alexnet-143", input_size=143),
    }


ARCHITECTURES: Mapping[str, ArchSpec] = MappingProxyType(_family())
"""The members that have a name, by it."""


def architecture(name: str) -> ArchSpec:
    """Return the spec of a named architecture.

    Raises
    ------
    SettingError
        If there is none of that name; lists those there are.

    Examples
    --------
    >>> architecture("alexnet").convs[0].channels
    64
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    close = difflib.get_close_matches(name, ARCHITECTURES, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise SettingError(f"no architecture {name!r}; there are {', '.join(ARCHITECTURES)}.{hint}")
