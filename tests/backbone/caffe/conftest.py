"""Caffe's files written byte by byte, and what Caffe computes from them.

Both are made from Caffe's published message definitions and layer formulas, with nothing of decaf.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

# Numbers of V1LayerParameter.LayerType.
V1_TYPES = {
    "Accuracy": 1,
    "Convolution": 4,
    "Data": 5,
    "Dropout": 6,
    "InnerProduct": 14,
    "LRN": 15,
    "Pooling": 17,
    "ReLU": 18,
    "Sigmoid": 19,
    "SoftmaxWithLoss": 21,
    "Split": 22,
    "TanH": 23,
}
# Type → field of its settings in version 1 and in version 2.
SETTINGS = {
    "Convolution": (10, 106),
    "Data": (36, 100),
    "Dropout": (12, 108),
    "InnerProduct": (17, 117),
    "LRN": (18, 118),
    "Pooling": (19, 121),
    "ReLU": (30, 123),
    "Input": (None, 143),
}


def varint(value):
    value %= 2**64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def integer(number, value):
    return varint(number << 3) + varint(value)


def real(number, value):
    return varint(number << 3 | 5) + struct.pack("<f", value)


def chunk(number, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(values, *, legacy=False, packed=True, double=False):
    values = np.asarray(values)
    if legacy:
        shape = (1,) * (4 - values.ndim) + values.shape
        out = b"".join(integer(number, size) for number, size in enumerate(shape, start=1))
    else:
        out = chunk(7, chunk(1, b"".join(varint(size) for size in values.shape)))
    kind, number, wire = ("<f8", 8, 1) if double else ("<f4", 5, 5)
    data = values.astype(kind).tobytes()
    if packed:
        return out + chunk(number, data)
    size = np.dtype(kind).itemsize
    key = varint(number << 3 | wire)
    return out + b"".join(key + data[at : at + size] for at in range(0, len(data), size))


@dataclasses.dataclass
class Part:
    """A layer: its type, name, bottom and top, settings as bytes, and arrays."""

    type: str
    name: str
    bottom: str
    top: str
    settings: bytes = b""
    blobs: tuple[np.ndarray, ...] = ()


@dataclasses.dataclass
class SmallNet:
    """A narrow network of the family, that can be changed, written and computed."""

    parts: list[Part]
    order: str
    alpha: float = 0.5
    crop: int = 99

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    def write(self, version: int = 2, net: bytes = b"", **how: Any) -> bytes:
        out = chunk(1, "SmallNet") + net
        how.setdefault("legacy", version == 1)
        for part in self.parts:
            if version == 1:
                layer = chunk(2, part.bottom) if part.bottom else b""
                layer += chunk(3, part.top) + chunk(4, part.name)
                layer += integer(5, V1_TYPES[part.type])
                layer += b"".join(chunk(6, blob(each, **how)) for each in part.blobs)
                layer += real(7, 1.0) + real(7, 2.0) + real(8, 1.0) + real(8, 0.0)
            else:
                layer = chunk(1, part.name) + chunk(2, part.type)
                layer += chunk(3, part.bottom) if part.bottom else b""
                layer += chunk(4, part.top) + chunk(6, real(3, 1.0))
                layer += b"".join(chunk(7, blob(each, **how)) for each in part.blobs)
                layer += integer(10, 0)
            if part.settings:
                layer += chunk(SETTINGS[part.type][version - 1], part.settings)
            out += chunk(2 if version == 1 else 100, layer)
        return out

    def compute(self, images: np.ndarray) -> dict[str, torch.Tensor]:
        """Return what Caffe gives for images (N, 3, H, W), blue first, their mean taken off."""
        values = {}
        x = torch.from_numpy(images.astype(np.float64))
        for number in range(1, 6):
            weight, bias = (torch.from_numpy(b).double() for b in self.part(f"c{number}").blobs)
            stride, pad, groups = CONVS[number]
            # The groups of a convolution, each on its own.
            pieces = [
                functional.conv2d(part, w, b, stride, pad)
                for part, w, b in zip(
                    x.chunk(groups, 1), weight.chunk(groups), bias.chunk(groups), strict=True
                )
            ]
            values[f"conv{number}_pre"] = x = torch.cat(pieces, dim=1)
            values[f"conv{number}"] = x = x.clamp(min=0)
            if number in (1, 2) and self.order == "norm-pool":
                x = self.normalise(x)
            if number in (1, 2, 5):
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
                values[f"pool{number}"] = x
            if number in (1, 2) and self.order == "pool-norm":
                x = self.normalise(x)
        x = torch.from_numpy(x.numpy().reshape(len(x), -1))
        for number in (6, 7, 8):
            weight, bias = (torch.from_numpy(b).double() for b in self.part(f"ip{number}").blobs)
            x = x @ weight.T + bias
            if number < 8:
                values[f"fc{number}_pre"] = x
                x = x.clamp(min=0)
            values[f"fc{number}"] = x
        return values

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """LRNLayer across channels: x / (1 + alpha / 5 · Σ x²) ^ 0.75 over 5 channels."""
        out, count = torch.empty_like(x), x.shape[1]
        for channel in range(count):
            near = [x[:, c] ** 2 for c in range(channel - 2, channel + 3) if 0 <= c < count]
            out[:, channel] = x[:, channel] * (1 + self.alpha / 5 * sum(near)) ** -0.75
        return out


CONVS = {1: (4, 0, 1), 2: (1, 2, 2), 3: (1, 1, 1), 4: (1, 1, 2), 5: (1, 1, 2)}


def small_net(order="norm-pool"):
    """Build the network: layers as in bvlc_alexnet (norm-pool) or caffenet (pool-norm)."""
    generator = np.random.default_rng(0)

    def arrays(*shape, scale):
        weight = generator.normal(0, scale, shape).astype(np.float32)
        return weight, generator.normal(0, 0.1, shape[0]).astype(np.float32)

    parts = [Part("Data", "data", "", "data", integer(2, 1) + integer(3, 99))]
    blob_name = "data"
    shapes = {1: (8, 3, 11), 2: (12, 4, 5), 3: (12, 12, 3), 4: (8, 6, 3), 5: (6, 4, 3)}
    for number, (filters, channels, kernel) in shapes.items():
        stride, pad, groups = CONVS[number]
        scale = (0.02 if number == 1 else 1.4) / (channels * kernel**2) ** 0.5
        settings = integer(1, filters) + integer(4, kernel)
        settings += integer(6, stride) * (stride != 1) + integer(3, pad) * (pad != 0)
        settings += integer(5, groups) * (groups != 1)
        weights = arrays(filters, channels, kernel, kernel, scale=scale)
        top = f"c{number}"
        parts.append(Part("Convolution", top, blob_name, top, settings, weights))
        parts.append(Part("ReLU", f"relu{number}", top, top))
        norm, pool = f"norm{number}", f"pool{number}"
        constants = integer(1, 5) + real(2, 0.5) + real(3, 0.75)
        window = integer(1, 0) + integer(2, 3) + integer(3, 2)
        if number in (1, 2) and order == "norm-pool":
            parts.append(Part("LRN", norm, top, norm, constants))
            top = norm
        if number in (1, 2, 5):
            parts.append(Part("Pooling", pool, top, pool, window))
            top = pool
        if number in (1, 2) and order == "pool-norm":
            parts.append(Part("LRN", norm, top, norm, constants))
            top = norm
        blob_name = top
    inputs = 6 * 2 * 2
    for number, width in ((6, 16), (7, 14), (8, 10)):
        weights = arrays(width, inputs, scale=1.4 / inputs**0.5)
        top = f"ip{number}"
        parts.append(Part("InnerProduct", top, blob_name, top, integer(1, width), weights))
        if number != 8:
            parts.append(Part("ReLU", f"relu{number}", top, top))
            parts.append(Part("Dropout", f"drop{number}", top, top, real(1, 0.25)))
        blob_name, inputs = top, width
    parts.append(Part("SoftmaxWithLoss", "loss", "ip8", "loss"))
    return SmallNet(parts, order)


class Caffe:
    """A writer of files for tests."""

    varint, integer, real, chunk, blob = map(staticmethod, (varint, integer, real, chunk, blob))
    Part = Part
    net = staticmethod(small_net)


@pytest.fixture(scope="session")
def caffe():
    return Caffe
