"""Receptive fields: which pixels of the input a position of a map can see. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass

from decaf.backbone.spec import POOLED, ArchSpec

__all__ = ["ReceptiveField", "receptive_fields"]


@dataclass(frozen=True)
class ReceptiveField:
    """What a position of a map sees, along one axis of the input.

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
