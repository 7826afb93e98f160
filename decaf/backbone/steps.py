"""The forward pass as data: its named layers, and the elementary steps from image to ``prob``.

The network, the summary and any faster engine walk the same list of steps, so they cannot disagree
on what comes after what, or on which value a layer's name stands for. All members of the family
have the same layers, so a name means the same in every feature file. No torch in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from decaf.backbone.spec import POOLED, ArchSpec, check_input_size, map_sizes
from decaf.errors import SettingError

__all__ = [
    "LAYERS",
    "ReceptiveField",
    "Step",
    "StepKind",
    "forward_steps",
    "layer_shape",
    "needed_steps",
    "receptive_fields",
    "resolve_layers",
    "seen_pixels",
]

LAYERS: tuple[str, ...] = (
    *("conv1_pre", "conv1", "pool1", "conv2_pre", "conv2", "pool2"),
    *("conv3_pre", "conv3", "conv4_pre", "conv4", "conv5_pre", "conv5", "pool5"),
    *("fc6_pre", "fc6", "fc7_pre", "fc7", "fc8", "prob"),
)
"""Names of all layers, in the order in which a forward pass makes them."""


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
    >>> from decaf.backbone.spec import architecture
    >>> resolve_layers(architecture("alexnet"), ["fc7", "pool5"])
    ('pool5', 'fc7')
    """
    asked = [layers] if isinstance(layers, str) else list(layers)
    if not asked:
        raise SettingError(f"no layer asked for; choose from {', '.join(LAYERS)}")
    wrong = [layer for layer in asked if layer not in LAYERS]
    if wrong:
        what = "is no layer" if len(wrong) == 1 else "are no layers"
        raise SettingError(
            f"{', '.join(map(repr, wrong))} {what} of {spec.name}; choose from {', '.join(LAYERS)}"
        )
    return tuple(layer for layer in LAYERS if layer in asked)


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
    >>> from decaf.backbone.spec import architecture
    >>> layer_shape(architecture("alexnet"), "pool5"), layer_shape(architecture("alexnet"), "fc6")
    ((256, 6, 6), (4096,))
    """
    resolve_layers(spec, layer)
    if input_size is not None:
        check_input_size(input_size)
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


StepKind = Literal[
    "conv", "act", "lrn", "pool", "adaptive_pool", "flatten", "linear", "dropout", "softmax"
]


@dataclass(frozen=True)
class Step:
    """One elementary operation of the forward pass.

    Parameters
    ----------
    kind : str
        Kind of the operation; the numbers it needs are in the spec.
    name : str
        Name of the step. For a conv or linear step it is the module with its parameters; of the
        others, a name unique in the network (``"norm1"`` for the normalisation behind ``conv1``),
        or ``""``.
    taps : tuple of str
        Layers whose value is this step's output.
    """

    kind: StepKind
    name: str = ""
    taps: tuple[str, ...] = ()


def forward_steps(spec: ArchSpec) -> tuple[Step, ...]:
    """Return the steps of `spec` in the order in which they run.

    Parameters
    ----------
    spec : ArchSpec

    Examples
    --------
    >>> from decaf.backbone.spec import architecture
    >>> [step.kind for step in forward_steps(architecture("alexnet-2012"))[:4]]
    ['conv', 'act', 'lrn', 'pool']
    """
    steps: list[Step] = []
    for number in range(1, 6):
        steps.append(Step("conv", f"conv{number}", (f"conv{number}_pre",)))
        steps.append(Step("act", "", (f"conv{number}",)))
        lrn_after = spec.lrn.after if spec.lrn is not None and number in (1, 2) else None
        if lrn_after == "activation":
            steps.append(Step("lrn", f"norm{number}"))
        if number in POOLED:
            steps.append(Step("pool", f"pool{number}", (f"pool{number}",)))
        if lrn_after == "pool":
            steps.append(Step("lrn", f"norm{number}"))
    if spec.adaptive_pool is not None:
        steps.append(Step("adaptive_pool", "avgpool"))
    steps.append(Step("flatten"))
    for number in (6, 7):
        if spec.dropout_at == "input":
            steps.append(Step("dropout", f"drop{number}"))
        steps.append(Step("linear", f"fc{number}", (f"fc{number}_pre",)))
        steps.append(Step("act", "", (f"fc{number}",)))
        if spec.dropout_at == "output":
            steps.append(Step("dropout", f"drop{number}"))
    steps.append(Step("linear", "fc8", ("fc8",)))
    steps.append(Step("softmax", "", ("prob",)))
    return tuple(steps)


def needed_steps(spec: ArchSpec, layers: Sequence[str]) -> list[Step]:
    """Return the steps up to the deepest of some layers, without dropout, as inference runs them.

    Parameters
    ----------
    spec : ArchSpec
    layers : sequence of str
        At least one.
    """
    steps = forward_steps(spec)
    last = max(at for at, step in enumerate(steps) if set(step.taps) & set(layers))
    return [step for step in steps[: last + 1] if step.kind != "dropout"]


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that a position of a map sees, along one axis of the input.

    Position i sees the pixels from ``i * stride - padding`` to ``i * stride - padding + size``,
    the last one not included. Pixels before the first and after the last are padding.

    Parameters
    ----------
    size : int
        Width in input pixels.
    stride : int
        Distance in input pixels from what one position sees to what the next one sees.
    padding : int
        How many pixels before the image's first the field of position 0 begins.
    """

    size: int = 1
    stride: int = 1
    padding: int = 0

    def through(self, kernel: int, stride: int, padding: int) -> ReceptiveField:
        """Return the field behind one more convolution or pooling.

        Its position i sees the positions ``i * stride - padding`` up to, in all, `kernel` of the
        map before, whose own positions lie ``self.stride`` pixels apart: hence the three sums.

        Parameters
        ----------
        kernel, stride, padding : int
            Kernel, stride and padding of the layer, in positions of the map before it.

        Examples
        --------
        >>> ReceptiveField().through(11, 4, 2).through(3, 2, 0)
        ReceptiveField(size=19, stride=8, padding=2)
        """
        return ReceptiveField(
            size=self.size + (kernel - 1) * self.stride,
            stride=self.stride * stride,
            padding=self.padding + padding * self.stride,
        )


def receptive_fields(spec: ArchSpec) -> dict[str, ReceptiveField]:
    """Return the receptive field of every map, ``conv1`` to ``pool5``.

    Activation and normalisation act at each position alone and change nothing. The vectors behind
    the maps see the whole input.

    Parameters
    ----------
    spec : ArchSpec

    Examples
    --------
    >>> from decaf.backbone.spec import architecture
    >>> receptive_fields(architecture("alexnet"))["pool5"]
    ReceptiveField(size=195, stride=32, padding=66)
    """
    fields: dict[str, ReceptiveField] = {}
    seen = ReceptiveField()
    for number, conv in enumerate(spec.convs, start=1):
        seen = seen.through(conv.kernel, conv.stride, conv.padding)
        fields[f"conv{number}"] = seen
        if number in POOLED:
            seen = seen.through(spec.pool.kernel, spec.pool.stride, 0)
            fields[f"pool{number}"] = seen
    return fields


def seen_pixels(spec: ArchSpec, layer: str, input_size: int | None = None) -> list[tuple[int, int]]:
    """Return the pixels that each position of a map sees, along one axis of the input.

    These are the receptive fields as the borders leave them: of the input, and of the maps between,
    whose last positions a stride may leave out, so that fields beside the far border can end before
    it.

    Parameters
    ----------
    spec : ArchSpec
    layer : str
        A map, ``conv1`` to ``pool5``, or its value before the activation.
    input_size : int, optional
        Height and width of the input; the spec's own by default.

    Returns
    -------
    list of (int, int)
        First pixel and pixel after the last, for each position.

    Examples
    --------
    >>> from decaf.backbone.spec import architecture
    >>> seen_pixels(architecture("alexnet"), "pool1")[:2]
    [(0, 17), (6, 25)]
    """
    name = layer.removesuffix("_pre")
    sizes = map_sizes(spec, input_size)
    seen = [(pixel, pixel + 1) for pixel in range(input_size or spec.input_size)]
    for below, size in sizes.items():
        conv = spec.convs[int(below[-1]) - 1] if below.startswith("conv") else None
        window, padding = conv or spec.pool, conv.padding if conv else 0
        last = len(seen) - 1
        fields = []
        for position in range(size):
            start = position * window.stride - padding
            end = start + window.kernel - 1
            # What sees padding alone, in an odd network, is counted to the nearest position.
            fields.append((seen[min(max(start, 0), last)][0], seen[max(min(end, last), 0)][1]))
        seen = fields
        if below == name:
            break
    return seen
