"""The layer table of a network, from its spec alone, as data and as text: no torch is loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from decaf.backbone.spec import ARCHITECTURES, ArchSpec, parameter_shapes
from decaf.backbone.steps import (
    ReceptiveField,
    Step,
    forward_steps,
    layer_shape,
    receptive_fields,
)
from decaf.errors import WeightsError

__all__ = [
    "GroupTotal",
    "LayerRow",
    "Summary",
    "summarise",
    "summary_markdown",
    "summary_text",
]

_FLOAT32 = 4

# A row of the table and the part of the network that it is counted under, by the kind of step. The
# activation is counted with the convolution or product before it; flattening and dropout do nothing
# at inference.
_KINDS = {
    "conv": "convolutions",
    "lrn": "convolutions",
    "pool": "convolutions",
    "adaptive_pool": "convolutions",
    "linear": "fully connected",
    "softmax": "fully connected",
}

_HEADS = (
    *("layer", "kind", "input", "output", "filters", "kernel", "stride", "pad", "groups"),
    *("parameters", "multiply-adds", "memory (KiB)"),
    *("receptive field", "eff. stride", "eff. pad"),
)
# Short enough for a terminal of 120 columns.
_SHORT = (
    *("layer", "kind", "input", "output", "filters", "kernel", "stride", "pad", "grp"),
    *("params", "mult-adds", "KiB", "field", "e.str", "e.pad"),
)
_LEGEND = (
    "grp: groups; KiB: the output in float32, for one image; field, e.str, e.pad: receptive\n"
    "field, effective stride and effective padding in input pixels"
)
_MARKDOWN_LEGEND = (
    "Memory is that of the layer's output in float32, for one image; receptive field, effective "
    "stride and effective padding are in input pixels."
)
_LEFT = 2  # the columns that hold words


@dataclass(frozen=True)
class LayerRow:
    """One layer of the table.

    Parameters
    ----------
    layer : str
        ``"conv1"``; ``"norm1"`` and ``"avgpool"`` for steps whose value has no layer name.
    kind : str
        ``"conv"``, ``"lrn"``, ``"pool"``, ``"adaptive_pool"``, ``"linear"`` or ``"softmax"``.
    group : str
        ``"convolutions"`` (all up to the last map) or ``"fully connected"``.
    input, output : tuple of int
        Shapes for one image: (C, H, W) or (D,).
    filters, kernel, stride, padding, groups : int or None
        None where the layer has no such thing.
    parameters : int
        Weights and biases.
    multiply_adds : int
        Multiply-adds of convolutions and products, for one image. Biases, activations,
        normalisation and pooling are not counted, as is usual.
    activation_bytes : int
        Bytes of the output, in float32, for one image.
    receptive_field, effective_stride, effective_padding : int or None
        In input pixels (`decaf.backbone.steps.ReceptiveField`); None for what sees the whole
        input.
    """

    layer: str
    kind: str
    group: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    filters: int | None
    kernel: int | None
    stride: int | None
    padding: int | None
    groups: int | None
    parameters: int
    multiply_adds: int
    activation_bytes: int
    receptive_field: int | None
    effective_stride: int | None
    effective_padding: int | None


@dataclass(frozen=True)
class GroupTotal:
    """Sums over a part of the network, and their shares of the whole.

    Attributes
    ----------
    name : str
    parameters, multiply_adds, activation_bytes : int
    parameters_share, multiply_adds_share, activation_bytes_share : float
        From 0 to 1.
    """

    name: str
    parameters: int
    multiply_adds: int
    activation_bytes: int
    parameters_share: float
    multiply_adds_share: float
    activation_bytes_share: float


@dataclass(frozen=True)
class Summary:
    """The layer table of a network at one input size.

    Parameters
    ----------
    architecture : str
    input_size : int
        Height and width of the input in pixels.
    rows : tuple of LayerRow
        In forward order.
    groups : tuple of GroupTotal
        The convolutional and the fully connected part.
    parameters, multiply_adds, activation_bytes : int
        Sums over all rows.
    spec : dict
        The architecture, as `ArchSpec.to_dict` has it.
    weights : dict or None
        For weights ``name``, ``sha256``, ``preprocess``, ``class_names``, ``metrics`` and
        ``provenance``; None for an architecture.
    """

    architecture: str
    input_size: int
    rows: tuple[LayerRow, ...]
    groups: tuple[GroupTotal, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int
    spec: dict[str, Any]
    weights: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain JSON values."""
        return asdict(self)


def summarise(
    network: ArchSpec | str | os.PathLike[str] = "alexnet-2012", input_size: int | None = None
) -> Summary:
    """Make the layer table of a network.

    Parameters
    ----------
    network : ArchSpec, str or path
        An architecture, or its name; or weights, as `decaf.load_backbone` takes them.
    input_size : int, optional
        Height and width of the input in pixels; the spec's own by default.

    Raises
    ------
    SettingError
        If the network does not take inputs of that size.
    WeightsError
        If there is neither an architecture nor weights of the name, or these cannot be read.

    Examples
    --------
    >>> summarise("alexnet-2012").parameters
    60965224
    """
    spec, weights = (network, None) if isinstance(network, ArchSpec) else _spec_of(network)
    size = spec.input_size if input_size is None else input_size
    rows: list[LayerRow] = []
    shape: tuple[int, ...] = (3, size, size)
    seen: ReceptiveField | None = ReceptiveField()
    for step in forward_steps(spec):
        if step.kind in _KINDS:
            after = _output_shape(spec, step, shape, size)
            seen = _seen(spec, step, seen, before=shape, after=after)
            rows.append(_row(spec, step, shape, after, seen))
            shape = after
        elif step.kind == "flatten":
            shape = (math.prod(shape),)
    totals = _totals(rows)
    parts = dict.fromkeys(row.group for row in rows)
    return Summary(
        architecture=spec.name,
        input_size=size,
        rows=tuple(rows),
        groups=tuple(_group(part, rows, totals) for part in parts),
        parameters=totals[0],
        multiply_adds=totals[1],
        activation_bytes=totals[2],
        spec=spec.to_dict(),
        weights=weights,
    )


def _spec_of(network: str | os.PathLike[str]) -> tuple[ArchSpec, dict[str, Any] | None]:
    """Return the spec of an architecture, or of weights with what is known of those."""
    name = os.fspath(network)
    if name in ARCHITECTURES:
        return ARCHITECTURES[name], None
    # Only here is torch loaded: the table of an architecture needs arithmetic alone.
    from decaf.backbone.weights.load import load_weights

    try:
        weights = load_weights(network)
    except WeightsError as error:
        if name.isidentifier() or name.startswith("alex"):
            names = ", ".join(ARCHITECTURES)
            raise WeightsError(f"{error} Architectures are {names}.") from None
        raise
    return weights.spec, {
        "name": weights.name,
        "sha256": weights.sha256,
        "preprocess": weights.preprocess.to_dict(),
        "class_names": list(weights.class_names),
        "metrics": weights.metrics,
        "provenance": weights.provenance,
    }


def _output_shape(spec: ArchSpec, step: Step, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    if step.kind == "adaptive_pool" and spec.adaptive_pool is not None:
        return (shape[0], spec.adaptive_pool, spec.adaptive_pool)
    # Steps without a layer name of their own (normalisation) keep the shape.
    return layer_shape(spec, step.taps[0], size) if step.taps else shape


def _seen(
    spec: ArchSpec,
    step: Step,
    seen: ReceptiveField | None,
    *,
    before: tuple[int, ...],
    after: tuple[int, ...],
) -> ReceptiveField | None:
    """Return the receptive field behind a step; None where it is all of the input, or several."""
    if step.kind in ("conv", "pool"):
        return receptive_fields(spec)[step.name]
    # Averaging to the size that the map has already is no change; to any other size, the windows
    # are not all of one width.
    return (
        seen if step.kind == "lrn" or (step.kind == "adaptive_pool" and before == after) else None
    )


def _row(
    spec: ArchSpec,
    step: Step,
    before: tuple[int, ...],
    after: tuple[int, ...],
    seen: ReceptiveField | None,
) -> LayerRow:
    shapes = parameter_shapes(spec)
    weight = shapes.get(f"{step.name}.weight", ())
    bias = shapes.get(f"{step.name}.bias", ())
    conv = spec.convs[int(step.name[-1]) - 1] if step.kind == "conv" else None
    window = conv or (spec.pool if step.kind == "pool" else None)
    # Each position of a map, or the one position of a vector, is one product with every filter.
    positions = math.prod(after[1:])
    return LayerRow(
        layer=step.name or step.taps[0],
        kind=step.kind,
        group=_KINDS[step.kind],
        input=before,
        output=after,
        filters=weight[0] if weight else None,
        kernel=window.kernel if window else None,
        stride=window.stride if window else None,
        padding=(conv.padding if conv else 0) if window else None,
        groups=conv.groups if conv else None,
        parameters=math.prod(weight) + math.prod(bias) if weight else 0,
        multiply_adds=math.prod(weight) * positions if weight else 0,
        activation_bytes=math.prod(after) * _FLOAT32,
        receptive_field=seen.size if seen else None,
        effective_stride=seen.stride if seen else None,
        effective_padding=seen.padding if seen else None,
    )


def _totals(rows: Sequence[LayerRow]) -> tuple[int, int, int]:
    return (
        sum(row.parameters for row in rows),
        sum(row.multiply_adds for row in rows),
        sum(row.activation_bytes for row in rows),
    )


def _group(name: str, rows: Sequence[LayerRow], totals: tuple[int, int, int]) -> GroupTotal:
    own = _totals([row for row in rows if row.group == name])
    shares = [part / whole for part, whole in zip(own, totals, strict=True)]
    return GroupTotal(name, *own, *shares)


def summary_text(summary: Summary) -> str:
    """Return the table as text of at most 120 columns, with totals and shares under it.

    Parameters
    ----------
    summary : Summary
    """
    table = [_SHORT, *(_cells(row) for row in summary.rows), _total_cells(summary)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(_SHORT))]
    lines = [_aligned(cells, widths) for cells in table]
    rule = "-" * max(map(len, lines))
    shares = [("share of", "params", "mult-adds", "memory"), *_share_cells(summary)]
    share_widths = [max(len(cells[column]) for cells in shares) for column in range(4)]
    return "\n".join(
        [
            _title(summary),
            "",
            lines[0],
            rule,
            *lines[1:-1],
            rule,
            lines[-1],
            "",
            *(_aligned(cells, share_widths, left=1) for cells in shares),
            "",
            _LEGEND,
        ]
    )


def summary_markdown(summary: Summary) -> str:
    """Return the table as Markdown, with totals and shares under it.

    Parameters
    ----------
    summary : Summary
    """
    table = [_HEADS, *(_cells(row) for row in summary.rows), _total_cells(summary)]
    shares = [("share of", "parameters", "multiply-adds", "memory"), *_share_cells(summary)]
    return "\n\n".join(
        [
            _title(summary),
            _markdown_table(table, left=_LEFT),
            _markdown_table(shares, left=1),
            _MARKDOWN_LEGEND,
        ]
    )


def _title(summary: Summary) -> str:
    size = summary.input_size
    return f"{summary.architecture}, input 3×{size}×{size}"


def _cells(row: LayerRow) -> tuple[str, ...]:
    def or_dash(value: int | None) -> str:
        return "-" if value is None else str(value)

    return (
        row.layer,
        row.kind.replace("adaptive_pool", "average"),
        "×".join(map(str, row.input)),
        "×".join(map(str, row.output)),
        *map(or_dash, (row.filters, row.kernel, row.stride, row.padding, row.groups)),
        f"{row.parameters:,}",
        f"{row.multiply_adds:,}",
        _memory(row.activation_bytes),
        "all" if row.receptive_field is None else str(row.receptive_field),
        or_dash(row.effective_stride),
        or_dash(row.effective_padding),
    )


def _total_cells(summary: Summary) -> tuple[str, ...]:
    sums = (
        f"{summary.parameters:,}",
        f"{summary.multiply_adds:,}",
        _memory(summary.activation_bytes),
    )
    return ("total", *[""] * 8, *sums, "", "", "")


def _share_cells(summary: Summary) -> list[tuple[str, ...]]:
    return [
        (
            group.name,
            f"{group.parameters_share:.1%}",
            f"{group.multiply_adds_share:.1%}",
            f"{group.activation_bytes_share:.1%}",
        )
        for group in summary.groups
    ]


def _memory(size: int) -> str:
    return f"{size / 1024:,.1f}"


def _aligned(cells: Sequence[str], widths: Sequence[int], left: int = _LEFT) -> str:
    padded = [
        cell.ljust(width) if column < left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return " ".join(padded).rstrip()


def _markdown_table(table: Sequence[Sequence[str]], left: int) -> str:
    rule = [":--" if column < left else "--:" for column in range(len(table[0]))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (table[0], rule, *table[1:]))
