"""Receptive fields found by experiment: one pixel is changed, and what changes is looked at.

A change must not be able to hide. With positive weights and a positive input every ReLU is open and
passes its change on, and every sum grows strictly with each of its terms. A maximum could hide a
change in a term that is not the largest; so the map of each pooling is replaced by the mean of the
same windows, which depends on just the same positions. Normalisation divides by the neighbouring
channels at the same position: it cannot widen a field, and is left out so that it cannot cancel
a change either.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional

from decaf.backbone.spec import PoolSpec, architecture, map_sizes
from decaf.backbone.steps import ReceptiveField, receptive_fields

MAPS = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")


def thin(name, **changes):
    """The same kernels, strides and pads, with the fewest channels that the groups allow."""
    spec = architecture(name)
    convs = tuple(dataclasses.replace(conv, channels=2) for conv in spec.convs)
    convs = (convs[0], *(dataclasses.replace(conv, groups=1) for conv in convs[1:]))
    small = {"convs": convs, "hidden": (2, 2), "classes": 2, "lrn": None}
    return dataclasses.replace(spec, **small, **changes)


def forward_rows(spec, rows):
    """All maps of images that are (N, 3, H, 1): the network along one axis, in float64.

    Kernels, strides and pads are the same along both axes, so one axis tells all and a 1-wide
    image makes the experiment cheap. Every weight is 1 over the number of terms.
    """
    values, x = {}, rows
    for number, conv in enumerate(spec.convs, start=1):
        weight = torch.full((conv.channels, x.shape[1], conv.kernel, 1), 1.0, dtype=x.dtype)
        weight /= weight[0].numel()
        x = functional.conv2d(x, weight, stride=(conv.stride, 1), padding=(conv.padding, 0)).relu()
        values[f"conv{number}"] = x
        if number in (1, 2, 5):
            x = functional.avg_pool2d(x, (spec.pool.kernel, 1), stride=(spec.pool.stride, 1))
            values[f"pool{number}"] = x
    return values


def seen_from_experiment(spec, size):
    """For each map, a matrix: does output position i change with input pixel p?"""
    rows = torch.ones(size + 1, 3, size, 1, dtype=torch.float64)
    rows[torch.arange(size), :, torch.arange(size)] += 1.0  # image p has pixel p changed
    values = forward_rows(spec, rows)
    # The change is at least a pixel's share of a sum of a few hundred terms a layer, 1e-12 of the
    # value, and float64 keeps 1e-16; where a pixel is not seen the sums are the same bit for bit.
    return {
        layer: (value[:-1] != value[-1:])[:, 0, :, 0].T.contiguous()
        for layer, value in values.items()
    }


def field_of(sees):
    """Size, stride and padding that describe the matrix, from the positions no border cuts off."""
    spans = []
    for position, pixels in enumerate(sees):
        result = pixels.nonzero().flatten().tolist()
        assert result == list(range(result[0], result[-1] + 1))  # without holes
        spans.append((position, result[0], len(result)))
    size = max(length for _, _, length in spans)
    whole = [(position, first) for position, first, length in spans if length == size]
    (one, first), (other, second) = whole[:2]
    stride = (second - first) // (other - one)
    assert [at - first for _, at in whole] == [stride * (each - one) for each, _ in whole]
    return ReceptiveField(size=size, stride=stride, padding=one * stride - first)


@pytest.mark.parametrize("name", ["alexnet", "alexnet-2012", "alexnet-64"])
@pytest.mark.parametrize("pool", [PoolSpec(3, 2), PoolSpec(2, 2)], ids=["pool-3/2", "pool-2/2"])
def test_arithmetic_equals_experiment(name, pool):
    # Long enough that several positions of pool5 see no border.
    spec = thin(name, pool=pool)
    result = seen_from_experiment(spec, 520)
    expected = receptive_fields(spec)
    assert {layer: field_of(result[layer]) for layer in MAPS} == expected


def test_every_position_of_alexnet_at_227_sees_what_the_arithmetic_says():
    """Border positions included: the field, cut off where the image ends, or where a map does.

    A window that does not fit any more is dropped: the last column of conv1 is in no window of
    pool1, so what only that column sees is seen by nothing behind it.
    """
    spec = thin("alexnet")
    result = seen_from_experiment(spec, 227)
    end = 227
    for layer, field in receptive_fields(spec).items():
        count = map_sizes(spec, 227)[layer]
        assert len(result[layer]) == count
        for position, pixels in enumerate(result[layer]):
            first = position * field.stride - field.padding
            inside = range(max(0, first), min(end, first + field.size))
            assert pixels.nonzero().flatten().tolist() == list(inside), (layer, position)
        end = min(end, (count - 1) * field.stride - field.padding + field.size)


def test_the_network_itself_sees_no_more_and_no_less(built):
    """The real module on both axes, by gradient: a pixel is seen where the gradient is not zero.

    Positive weights and input leave the ReLUs open; pooling passes its gradient to the largest
    value alone, so the input makes that any of them: over many inputs, each is the largest once.
    """
    spec = thin("alexnet-64")
    network = built(spec, dtype=torch.float64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_().add_(0.01)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 3, 64, 64, dtype=torch.float64, generator=generator).requires_grad_()
    for layer in ("conv1", "pool1", "conv2", "pool2", "conv3"):
        field = receptive_fields(spec)[layer]
        value = network.tap(x, layer)[layer]
        row, column = value.shape[2] // 2, value.shape[3] // 2 - 1
        (gradient,) = torch.autograd.grad(value[:, :, row, column].sum(), x)
        seen = (gradient != 0).any(dim=0).any(dim=0).nonzero()
        for axis, position in enumerate((row, column)):
            first = max(0, position * field.stride - field.padding)
            last = min(64, position * field.stride - field.padding + field.size) - 1
            assert (seen[:, axis].min(), seen[:, axis].max()) == (first, last), layer


def test_the_published_table_of_the_modified_network():
    fields = receptive_fields(architecture("alexnet"))
    assert [fields[layer].size for layer in MAPS] == [11, 19, 51, 67, 99, 131, 163, 195]
    assert [fields[layer].stride for layer in MAPS] == [4, 8, 8, 16, 16, 16, 16, 32]
    # The table prints 2, 2, 18, 34, 50, 66, 66, 66, which its own pads do not give: pooling has
    # no pad, so pool2's cannot exceed conv2's. The experiments above give these.
    assert [fields[layer].padding for layer in MAPS] == [2, 2, 18, 18, 34, 50, 66, 66]
