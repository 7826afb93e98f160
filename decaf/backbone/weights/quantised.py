"""Weight matrices in 3 to 8 bits a number, for files that must be small.

Two forms, chosen tensor by tensor. Each has one float32 scale for every output row (filter of a
convolution, unit of a fully connected layer), since rows differ in magnitude far more than the
numbers within one:

``int8``
    value = scale of the row × code, with whole codes from -127 to 127.
``codebook3`` … ``codebook6``
    value = scale of the row × level of the code, with 8 to 64 levels a tensor that are fitted to
    its distribution (Lloyd 1982; for networks Han, Mao and Dally 2016, section 3).

Either way a number is one float32 product of two stored float32 numbers, rounded once: every
machine reads the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decaf.backbone.spec import ArchSpec, parameter_shapes
from decaf.backbone.weights.state import Weights
from decaf.errors import SettingError

__all__ = [
    "ENCODINGS",
    "Quantised",
    "compact",
    "encodings_by_name",
    "part_layout",
    "quantise",
    "relative_errors",
    "with_rounded",
]

ENCODINGS: tuple[str, ...] = ("int8", "codebook3", "codebook4", "codebook5", "codebook6")
"""The forms in which a weight matrix may be stored."""

SCALE = ".scale"
CODEBOOK = ".codebook"

# Codes are packed in groups of 8, which fill as many whole bytes as a code has bits.
_GROUP = 8
# Rows unpacked at a time: what is in work stays in the caches.
_ROWS = 64
# A scale below this could make products that are subnormal, which a process may have set its
# processor to flush to zero; such a row is as good as zero.
_SMALLEST_SCALE = 2.0**-100
_LLOYD_ROUNDS = 500


@dataclass(frozen=True, eq=False)
class Quantised:
    """A weight matrix as it is stored.

    Parameters
    ----------
    encoding : str
        One of `ENCODINGS`.
    shape : tuple of int
        Shape of the tensor; the first axis counts the rows.
    codes : Tensor
        int8 of that shape for ``int8``; else uint8 ``(rows, ceil(columns / 8) * bits)``, where a
        row's codes follow one another from the lowest bit of its first byte on, and zeros fill
        the last group of 8 codes.
    scale : Tensor
        float32 ``(rows,)``.
    codebook : Tensor or None
        float32 ``(2 ** bits,)``; None for ``int8``.
    """

    encoding: str
    shape: tuple[int, ...]
    codes: Tensor
    scale: Tensor
    codebook: Tensor | None = None

    def parts(self, key: str) -> dict[str, Tensor]:
        """Return the tensors to store, by their names in the file, for the parameter `key`.

        Parameters
        ----------
        key : str
        """
        parts = {key: self.codes, key + SCALE: self.scale}
        return parts if self.codebook is None else {**parts, key + CODEBOOK: self.codebook}

    def dequantise(self) -> Tensor:
        """Return the values, float32 of `shape`.

        Returns
        -------
        Tensor
            In memory of its own.
        """
        rows = self.shape[0]
        out = np.empty((rows, math.prod(self.shape[1:])), dtype=np.float32)
        scale = self.scale.numpy()[:, None]
        codes = self.codes.numpy().reshape(rows, -1)
        # A damaged scale or level may not be finite; that is told when the values are checked.
        with np.errstate(over="ignore", invalid="ignore"):
            if self.codebook is None:
                # Codes are exact in float32.
                np.multiply(codes, scale, out=out, dtype=np.float32)
            else:
                pairs = _level_pairs(self.codebook.numpy())
                bits = _bits(self.encoding)
                for first in range(0, rows, _ROWS):
                    some = slice(first, first + _ROWS)
                    levels = pairs[_pair_codes(codes[some], bits)].view(np.float32)
                    np.multiply(levels[:, : out.shape[1]], scale[some], out=out[some])
        return torch.from_numpy(out).reshape(self.shape)


def part_layout(key: str, shape: tuple[int, ...], encoding: str) -> dict[str, tuple[str, Any]]:
    """Return what a file must hold for a tensor of `shape`: for each name the type and the shape.

    The types are safetensors' names of them. Needs no tensor, so that a file can be refused
    before anything of it is read.

    Parameters
    ----------
    key : str
        Name of the parameter.
    shape : tuple of int
    encoding : str
        One of `ENCODINGS`.

    Examples
    --------
    >>> part_layout("fc6.weight", (4096, 2304), "codebook6")["fc6.weight"]
    ('U8', (4096, 1728))
    """
    parts: dict[str, tuple[str, Any]] = {key + SCALE: ("F32", shape[:1])}
    if encoding == "int8":
        return {key: ("I8", shape), **parts}
    bits = _bits(encoding)
    groups = -(-math.prod(shape[1:]) // _GROUP)
    parts[key + CODEBOOK] = ("F32", (2**bits,))
    return {key: ("U8", (shape[0], groups * bits)), **parts}


def quantise(tensor: Tensor, encoding: str) -> Quantised:
    """Find scales and codes for a weight matrix.

    Parameters
    ----------
    tensor : Tensor of float32
        On the CPU, finite, with at least two axes.
    encoding : str
        One of `ENCODINGS`. ``int8`` scales a row by its largest magnitude. A codebook is fitted by
        Lloyd's algorithm to the numbers of all rows, each row divided by its root mean square;
        then every row's scale is set to the one of least squared error.

    Raises
    ------
    SettingError
        If there is no such encoding, or the tensor has fewer than two axes.
    """
    if encoding not in ENCODINGS:
        raise SettingError(
            f"`encoding` must be one of {', '.join(ENCODINGS)}, got {encoding!r:.60}"
        )
    if tensor.dim() < 2:
        raise SettingError(f"{encoding} is for weight matrices, got shape {tuple(tensor.shape)}")
    shape = tuple(tensor.shape)
    rows = tensor.detach().to(torch.float32).reshape(shape[0], -1).numpy()
    if encoding == "int8":
        scale = _usable(np.abs(rows).max(axis=1) / np.float32(127))
        codes = np.rint(rows / _divisor(scale)).clip(-127, 127).astype(np.int8)
        return Quantised(
            encoding, shape, torch.from_numpy(codes).reshape(shape), torch.from_numpy(scale)
        )
    bits = _bits(encoding)
    scale = _usable(np.sqrt(np.mean(np.square(rows, dtype=np.float64), axis=1)))
    levels = _lloyd(np.sort(rows / _divisor(scale), axis=None), 2**bits)
    scale = _best_scale(rows, _nearest(rows / _divisor(scale), levels), levels, scale)
    codes = _nearest(rows / _divisor(scale), levels)
    return Quantised(
        encoding,
        shape,
        torch.from_numpy(_packed(codes, bits)),
        torch.from_numpy(scale),
        torch.from_numpy(levels),
    )


def compact(weights: Weights, encodings: str | Mapping[str, str]) -> Weights:
    """Return weights with the values they have once stored in fewer bits.

    So that what is lost can be measured before a file is written; `save_weights` with the same
    encodings then stores these values.

    Parameters
    ----------
    weights : Weights
    encodings : str or mapping of str to str
        One of `ENCODINGS` for all weight matrices, or the name of a parameter (``"fc6.weight"``)
        to the encoding of each that shall have one.

    Returns
    -------
    Weights
        As `with_rounded` returns them.

    Raises
    ------
    SettingError
        If a name is no weight matrix of the network, or an encoding does not exist.
    """
    chosen = encodings_by_name(weights.spec, encodings)
    state = {
        key: quantise(tensor, chosen[key]).dequantise() if key in chosen else tensor
        for key, tensor in weights.state.items()
    }
    return with_rounded(weights, state)


def with_rounded(weights: Weights, state: Mapping[str, Tensor]) -> Weights:
    """Return weights with rounded values, and with nothing said of them that holds for others.

    Parameters
    ----------
    weights : Weights
    state : mapping of str to Tensor
        Their parameters after rounding, of any floating type.

    Returns
    -------
    Weights
        With the hash of the rounded values. Where they differ from the values before, what was
        measured with those stands in the metrics under ``before_rounding``, with the ``sha256`` it
        was measured with; and the provenance has one more entry in its list ``rounded``: that
        ``sha256_before``, and the ``relative_errors`` of the tensors that were changed.

    Raises
    ------
    WeightsError
        If a value became infinite.
    """
    checked = Weights.of(
        weights.name, weights.spec, weights.preprocess, state, mean_image=weights.mean_image
    )
    rounded = replace(weights, state=checked.state, sha256=checked.sha256)
    if rounded.sha256 == weights.sha256:
        return rounded
    errors = {key: error for key, error in relative_errors(weights, rounded).items() if error}
    earlier = weights.provenance.get("rounded")
    entry = {"sha256_before": weights.sha256, "relative_errors": errors}
    measured = {"before_rounding": {**weights.metrics, "sha256": weights.sha256}}
    return replace(
        rounded,
        metrics=measured if weights.metrics else {},
        provenance={
            **weights.provenance,
            "rounded": [*(earlier if isinstance(earlier, list) else []), entry],
        },
    )


def relative_errors(weights: Weights, rounded: Weights) -> dict[str, float]:
    """Tell for each tensor how far the rounded one is off: ‖w − r‖ / ‖w‖, Euclidean norms.

    Parameters
    ----------
    weights, rounded : Weights
        Weights of one architecture, as before and after `compact`.

    Returns
    -------
    dict of str to float
        By parameter, in forward order; 0 where nothing changed.
    """
    errors = {}
    for key, tensor in weights.state.items():
        exact = tensor.numpy()
        lost = _norm(exact - rounded.state[key].numpy())
        errors[key] = lost / _norm(exact) if lost else 0.0
    return errors


def _norm(array: np.ndarray) -> float:
    # In float64, where no square of a float32 overflows.
    flat = array.reshape(-1)
    return math.sqrt(float(np.einsum("i,i->", flat, flat, dtype=np.float64)))


def encodings_by_name(spec: ArchSpec, encodings: str | Mapping[str, str]) -> dict[str, str]:
    """Check a choice of encodings, and return it by parameter.

    Parameters
    ----------
    spec : ArchSpec
    encodings : str or mapping of str to str
        One for all weight matrices, or one for each of those named.

    Raises
    ------
    SettingError
        If a name is no weight matrix of the network, or an encoding does not exist.
    """
    shapes = parameter_shapes(spec)
    matrices = [key for key in shapes if len(shapes[key]) > 1]
    chosen = dict.fromkeys(matrices, encodings) if isinstance(encodings, str) else dict(encodings)
    for key, encoding in chosen.items():
        if key not in matrices:
            raise SettingError(
                f"{key!r:.60} is no weight matrix of {spec.name}; there are {', '.join(matrices)}"
            )
        if encoding not in ENCODINGS:
            raise SettingError(
                f"{key}: encoding must be one of {', '.join(ENCODINGS)}, got {encoding!r:.60}"
            )
    return chosen


def _bits(encoding: str) -> int:
    return int(encoding.removeprefix("codebook"))


def _usable(scale: np.ndarray) -> np.ndarray:
    return np.where(scale < _SMALLEST_SCALE, 0, scale).astype(np.float32)


def _divisor(scale: np.ndarray) -> np.ndarray:
    return np.where(scale == 0, np.float32(np.inf), scale)[:, None]


def _lloyd(ordered: np.ndarray, count: int) -> np.ndarray:
    """Fit `count` levels of least squared error to sorted numbers of root mean square 1."""
    sums = np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])
    # The best levels of many lie as densely as the cube root of the distribution, which for a
    # normal one is again normal, √3 times as wide (Panter and Dite 1951).
    chances = torch.linspace(0, 1, 2 * count + 1, dtype=torch.float64)[1::2]
    levels = (math.sqrt(3) * torch.special.ndtri(chances)).numpy()
    for _ in range(_LLOYD_ROUNDS):
        ends = np.searchsorted(ordered, ((levels[1:] + levels[:-1]) / 2).astype(np.float32))
        ends = np.concatenate([[0], ends, [len(ordered)]])
        held = np.diff(ends)
        # A level that no number is nearest to stays where it is.
        moved = np.where(held, np.diff(sums[ends]) / np.maximum(held, 1), levels)
        done = np.abs(moved - levels).max() < 1e-6
        levels = moved
        if done:
            break
    return np.sort(levels).astype(np.float32)


def _nearest(numbers: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the number of the nearest level, uint8."""
    borders = (levels[1:] + levels[:-1]) / 2
    return np.searchsorted(borders, numbers).astype(np.uint8)


def _best_scale(
    rows: np.ndarray, codes: np.ndarray, levels: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Return the s that makes Σ(w − s·l)² least in each row: Σ w·l / Σ l²."""
    chosen = levels[codes]
    energy = np.einsum("rc,rc->r", chosen, chosen, dtype=np.float64)
    product = np.einsum("rc,rc->r", rows, chosen, dtype=np.float64)
    best = np.divide(product, energy, out=scale.astype(np.float64), where=energy > 0)
    return _usable(np.where(scale == 0, 0, best))


def _packed(codes: np.ndarray, bits: int) -> np.ndarray:
    rows, columns = codes.shape
    groups = -(-columns // _GROUP)
    padded = np.zeros((rows, groups * _GROUP), dtype=np.uint8)
    padded[:, :columns] = codes
    single = np.unpackbits(padded[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(single.reshape(rows, -1), axis=1, bitorder="little")


def _level_pairs(levels: np.ndarray) -> np.ndarray:
    """Return the levels of each pair of codes in 8 bytes: one look-up unpacks two numbers."""
    low, high = np.meshgrid(levels, levels)
    return np.stack([low, high], axis=-1).reshape(-1, 2).view(np.int64)[:, 0]


def _pair_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Unpack the codes of rows two at a time: (rows, groups * bits) bytes to (rows, groups * 4)."""
    if bits == 4:
        return codes  # a byte is a pair
    rows = len(codes)
    groups = codes.reshape(rows, -1, bits).astype(np.uint16)
    pairs = np.empty((rows, groups.shape[1], _GROUP // 2), dtype=np.uint16)
    for pair in range(_GROUP // 2):
        byte, shift = divmod(2 * bits * pair, 8)
        value = groups[..., byte] >> shift
        # The 16 bits from the pair's first byte on hold all of it: shifts are even, at most 6,
        # and 4 where the pair has 12 bits.
        if shift + 2 * bits > 8:
            value |= groups[..., byte + 1] << (8 - shift)
        pairs[..., pair] = value & (4**bits - 1)
    return pairs.reshape(rows, -1)
