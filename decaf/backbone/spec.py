"""The frozen description of a network of the family, with its bounds and sizes; and the named ones.

Every member has five convolutions, max pooling after the first, second and fifth, and three fully
connected layers. No torch in here: what a network looks like can be told, and a hostile spec
refused, without building it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from decaf.errors import SettingError

__all__ = [
    "ARCHITECTURES",
    "MAX_CLASSES",
    "MAX_INPUT_SIZE",
    "POOLED",
    "ArchSpec",
    "ConvSpec",
    "LRNSpec",
    "PoolSpec",
    "architecture",
    "check_input_size",
    "map_sizes",
    "parameter_shapes",
]

MAX_CHANNELS = 65_536
MAX_CLASSES = 1_000_000
MAX_INPUT_SIZE = 4_096
MAX_PARAMETERS = 1_000_000_000

POOLED: tuple[int, ...] = (1, 2, 5)
"""The convolutions (counted from 1) that max pooling follows."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class ConvSpec:
    """One convolution.

    Parameters
    ----------
    channels : int
        Number of filters, 1 to 65,536.
    kernel, stride, padding : int
        Side, step and padding of the window, the same in both axes, in pixels of the layer's input.
    groups : int
        Input and output channels are cut into this many groups that do not see each other: 2 for
        the two towers of the 2012 network.
    """

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        _refuse(
            "ConvSpec",
            _check_int("channels", self.channels, 1, MAX_CHANNELS),
            _check_int("kernel", self.kernel, 1, 64),
            _check_int("stride", self.stride, 1, 64),
            _check_int("padding", self.padding, 0, 64),
            _check_int("groups", self.groups, 1, MAX_CHANNELS),
        )


@dataclass(frozen=True)
class PoolSpec:
    """Max pooling; overlapping where `kernel` exceeds `stride` (Krizhevsky et al. 2012, 3.4).

    Parameters
    ----------
    kernel, stride : int
        In pixels.
    """

    kernel: int = 3
    stride: int = 2

    def __post_init__(self) -> None:
        _refuse(
            "PoolSpec",
            _check_int("kernel", self.kernel, 1, 64),
            _check_int("stride", self.stride, 1, 64),
        )


@dataclass(frozen=True)
class LRNSpec:
    """Local response normalisation, with the paper's constants (Krizhevsky et al. 2012, 3.3).

    `alpha` multiplies the sum of squares itself. Caffe and torch divide by `size` first, so their
    ``alpha`` for the same network is five times this one.

    Parameters
    ----------
    size : int
        Number of channels summed over, odd.
    k, alpha, beta : float
        Constants of the formula (`decaf.backbone.lrn.local_response_norm`).
    after : {"activation", "pool"}
        The maps that are normalised: those of ``conv1`` and ``conv2`` before they are pooled (the
        paper), or ``pool1`` and ``pool2`` (the reference network of Caffe).
    """

    size: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75
    after: Literal["activation", "pool"] = "activation"

    def __post_init__(self) -> None:
        _refuse(
            "LRNSpec",
            _check_int("size", self.size, 1, 1_001),
            None if not isinstance(self.size, int) or self.size % 2 else "size must be odd",
            _check_float("k", self.k, 1e-6, 1e6),
            _check_float("alpha", self.alpha, 0.0, 1e6),
            _check_float("beta", self.beta, 0.0, 100.0),
            _check_choice("after", self.after, ("activation", "pool")),
        )


@dataclass(frozen=True)
class ArchSpec:
    """A member of the family, complete: what is not in here does not change the network.

    Parameters
    ----------
    name : str
        Name of the network; one of `ARCHITECTURES`, or another for a variant of your own.
    input_size : int
        Height and width in pixels of the images it is made for.
    convs : tuple of ConvSpec
        ``conv1`` to ``conv5``.
    hidden : tuple of int
        Widths of ``fc6`` and ``fc7``.
    classes : int
        Width of ``fc8``.
    activation : {"relu", "tanh"}
        Follows ``conv1`` to ``conv5``, ``fc6`` and ``fc7``.
    lrn : LRNSpec or None
        Normalisation behind ``conv1`` and ``conv2``.
    pool : PoolSpec
        The pooling after ``conv1``, ``conv2`` and ``conv5``.
    adaptive_pool : int or None
        Height and width to which ``pool5`` is averaged before ``fc6``, as torchvision does; None
        for networks of one input size.
    dropout : float
        Probability of dropping a unit in training.
    dropout_at : {"output", "input"}
        Whether dropout follows ``fc6`` and ``fc7`` (the paper) or goes before them (torchvision).

    Raises
    ------
    SettingError
        If a field is out of its bounds, or the fields do not make a network together.
    """

    name: str
    input_size: int
    convs: tuple[ConvSpec, ...]
    hidden: tuple[int, ...] = (4096, 4096)
    classes: int = 1000
    activation: Literal["relu", "tanh"] = "relu"
    lrn: LRNSpec | None = None
    pool: PoolSpec = field(default_factory=PoolSpec)
    adaptive_pool: int | None = None
    dropout: float = 0.5
    dropout_at: Literal["output", "input"] = "output"

    def __post_init__(self) -> None:
        _refuse("ArchSpec", *self._wrong_fields())
        _refuse(f"architecture {self.name!r}", *self._wrong_together())

    def _wrong_fields(self) -> list[str | None]:
        complaints = [
            _check_name("name", self.name),
            _check_int("input_size", self.input_size, 1, MAX_INPUT_SIZE),
            _check_int("classes", self.classes, 1, MAX_CLASSES),
            _check_choice("activation", self.activation, ("relu", "tanh")),
            _check_float("dropout", self.dropout, 0.0, 0.999),
            _check_choice("dropout_at", self.dropout_at, ("output", "input")),
        ]
        if self.adaptive_pool is not None:
            complaints.append(_check_int("adaptive_pool", self.adaptive_pool, 1, 256))
        complaints += [
            _check_type("pool", self.pool, PoolSpec),
            None if self.lrn is None else _check_type("lrn", self.lrn, LRNSpec),
        ]
        if not _all_of(self.convs, ConvSpec, 5):
            complaints.append("convs must be a tuple of 5 ConvSpec")
        if not _all_of(self.hidden, int, 2):
            complaints.append("hidden must be a tuple of 2 whole numbers")
        else:
            complaints += [_check_int("hidden", width, 1, MAX_CHANNELS) for width in self.hidden]
        return complaints

    def _wrong_together(self) -> list[str | None]:
        complaints: list[str | None] = []
        channels = 3
        for number, conv in enumerate(self.convs, start=1):
            if channels % conv.groups or conv.channels % conv.groups:
                complaints.append(
                    f"conv{number}: {channels} channels in and {conv.channels} out cannot be cut "
                    f"into {conv.groups} groups"
                )
            channels = conv.channels
        small = [name for name, size in map_sizes(self).items() if size < 1]
        if small:
            return [*complaints, f"{self.input_size}-pixel input leaves nothing at {small[0]}"]
        if not complaints:
            total = sum(math.prod(shape) for shape in parameter_shapes(self).values())
            if total > MAX_PARAMETERS:
                complaints.append(f"{total:,} parameters, at most {MAX_PARAMETERS:,} are allowed")
        return complaints

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain JSON values; `from_dict` is the way back."""
        plain = asdict(self)
        # Left out where it says nothing new, so that what was written before there was a choice
        # (files, and the fingerprints of runs) keeps its text.
        if self.lrn is not None and self.lrn.after == "activation":
            del plain["lrn"]["after"]
        return {**plain, "convs": list(plain["convs"]), "hidden": list(plain["hidden"])}

    @classmethod
    def from_dict(cls, plain: object) -> ArchSpec:
        """Make a spec of what `to_dict` returned, or of what a stranger's file holds.

        Parameters
        ----------
        plain : object

        Raises
        ------
        SettingError
            If `plain` is not such a dict: unknown or missing fields, wrong types, out of bounds.
        """
        values = _plain_fields(cls, plain)
        convs = values["convs"]
        if not isinstance(convs, (list, tuple)) or len(convs) != 5:
            raise SettingError("ArchSpec: convs must be a list of 5 dicts")
        values["convs"] = tuple(ConvSpec(**_plain_fields(ConvSpec, conv)) for conv in convs)
        if not isinstance(values["hidden"], (list, tuple)):
            raise SettingError("ArchSpec: hidden must be a list of 2 whole numbers")
        values["hidden"] = tuple(values["hidden"])
        values["pool"] = PoolSpec(**_plain_fields(PoolSpec, values["pool"]))
        if values["lrn"] is not None:
            lrn = values["lrn"]
            if isinstance(lrn, Mapping):
                lrn = {"after": "activation", **lrn}
            values["lrn"] = LRNSpec(**_plain_fields(LRNSpec, lrn))
        return cls(**values)


def _plain_fields(kind: type, plain: object) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    if not isinstance(plain, Mapping):
        raise SettingError(f"{kind.__name__}: must be a dict, got {type(plain).__name__}")
    given = set(plain)
    if given != names:
        missing = sorted(names - given)
        unknown = sorted(repr(each)[:40] for each in given - names)[:5]
        raise SettingError(f"{kind.__name__}: missing fields {missing}, unknown fields {unknown}")
    return dict(plain)


def _check_type(name: str, value: object, kind: type) -> str | None:
    return None if isinstance(value, kind) else f"{name} must be of type {kind.__name__}"


def _all_of(values: object, kind: type, count: int) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
    )


def map_sizes(spec: ArchSpec, input_size: int | None = None) -> dict[str, int]:
    """Return height (= width) of every map, ``conv1`` to ``pool5``.

    Parameters
    ----------
    spec : ArchSpec
    input_size : int, optional
        Height and width of the input; the spec's own by default.

    Returns
    -------
    dict of str to int
        Layer to size in pixels. 0 or less where the input is too small for the layer.

    Examples
    --------
    >>> map_sizes(architecture("alexnet-2012"))["conv1"]
    55
    """
    size = spec.input_size if input_size is None else input_size
    sizes: dict[str, int] = {}
    for number, conv in enumerate(spec.convs, start=1):
        size = (size + 2 * conv.padding - conv.kernel) // conv.stride + 1
        sizes[f"conv{number}"] = size
        if number in POOLED:
            size = (size - spec.pool.kernel) // spec.pool.stride + 1
            sizes[f"pool{number}"] = size
    return sizes


def parameter_shapes(spec: ArchSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, by its name in a state dict, in forward order.

    Parameters
    ----------
    spec : ArchSpec

    Examples
    --------
    >>> parameter_shapes(architecture("alexnet-2012"))["conv2.weight"]
    (256, 48, 5, 5)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for number, conv in enumerate(spec.convs, start=1):
        kernel = (conv.kernel, conv.kernel)
        shapes[f"conv{number}.weight"] = (conv.channels, inputs // conv.groups, *kernel)
        shapes[f"conv{number}.bias"] = (conv.channels,)
        inputs = conv.channels
    inputs *= (spec.adaptive_pool or map_sizes(spec)["pool5"]) ** 2
    for number, width in enumerate((*spec.hidden, spec.classes), start=6):
        shapes[f"fc{number}.weight"] = (width, inputs)
        shapes[f"fc{number}.bias"] = (width,)
        inputs = width
    return shapes


def check_input_size(size: object) -> None:
    """Refuse what cannot be the height and width of an input.

    Parameters
    ----------
    size : object

    Raises
    ------
    SettingError
    """
    if wrong := _check_int("`input_size`", size, 1, MAX_INPUT_SIZE):
        raise SettingError(wrong)


# Checks of single fields, collected so that an error names all that is wrong at once: each returns
# the complaint, or None where there is none. They are strict, because a spec may come from a
# stranger's weights file: a bool is no number, and NaN is within no bounds.


def _check_int(name: str, value: object, low: int, high: int) -> str | None:
    """Check a whole number with ``low <= value <= high``."""
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return None
    return f"{name} must be a whole number from {low} to {high}, got {repr(value)[:60]}"


def _check_float(name: str, value: object, low: float, high: float) -> str | None:
    """Check a finite number with ``low <= value <= high``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
        return None
    return f"{name} must be a number from {low:g} to {high:g}, got {repr(value)[:60]}"


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> str | None:
    """Check a string that is one of `choices`."""
    if isinstance(value, str) and value in choices:
        return None
    return f"{name} must be one of {', '.join(choices)}, got {repr(value)[:60]}"


def _check_name(name: str, value: object) -> str | None:
    """Check a short name of letters, digits and ``. _ + -``."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return None
    return f"{name} must be a short name (letters, digits, . _ + -), got {repr(value)[:60]}"


def _refuse(what: str, *complaints: str | None) -> None:
    """Raise one error with all complaints about `what`, if there are any.

    Raises
    ------
    SettingError
        With every complaint in one line.
    """
    wrong = [complaint for complaint in complaints if complaint]
    if wrong:
        raise SettingError(f"{what}: {'; '.join(wrong)}")


def _family() -> dict[str, ArchSpec]:
    last = ConvSpec(256, 3, padding=1)
    tower = (ConvSpec(192, 5, padding=2), ConvSpec(384, 3, padding=1), last, last)
    small = ArchSpec(
        name="alexnet-127",
        input_size=127,
        convs=(ConvSpec(64, 11, stride=4, padding=2), *tower),
        classes=200,
    )
    # Krizhevsky, Sutskever & Hinton 2012, section 3.5 and figure 2; 227 pixels, since the 224 of
    # the text do not give the 55x55 map of the figure.
    paper = ArchSpec(
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
    )
    first = replace(paper.convs[0], kernel=5, stride=2, padding=1)
    paper_64 = replace(
        paper, name="alexnet-2012-64", input_size=64, convs=(first, *paper.convs[1:]), classes=200
    )
    halves = (replace(each, channels=each.channels // 2, groups=1) for each in paper_64.convs[:-1])
    return {
        "alexnet-2012": paper,
        # Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks",
        # footnote 1, as torchvision ships it.
        "alexnet": ArchSpec(
            name="alexnet",
            input_size=224,
            convs=(ConvSpec(64, 11, stride=4, padding=2), *tower),
            adaptive_pool=6,
            dropout_at="input",
        ),
        # The one-tower network for 64-pixel data: the first kernel and stride are scaled down so
        # that its maps (32, 15, 7, 3) keep about half the resolution of the large ones.
        "alexnet-64": replace(
            small,
            name="alexnet-64",
            input_size=64,
            convs=(ConvSpec(64, 5, stride=2, padding=2), *tower),
        ),
        # The same network as "alexnet", first kernel and stride included, on inputs for which its
        # maps are about half their size (31, 15, 7, 3): fc6 is small enough to ship.
        "alexnet-127": small,
        # The parameters fit a somewhat larger input as well (maps 35, 17, 8, 3): what was trained
        # on random crops, which show things larger, sees whole images better at this size
        # (Touvron et al. 2019).
        "alexnet-143": replace(small, name="alexnet-143", input_size=143),
        # The 2012 network for 64-pixel data. Its maps (31, 15, 7, 3) are of odd sizes, as those of
        # the paper, so that 2/2 pooling gives the same sizes and can be compared (section 3.4).
        paper_64.name: paper_64,
        # What section 3.2 compares the two towers with: one tower with half the kernels, but for
        # conv5, so that the fully connected layers keep their size (footnote 2).
        "alexnet-2012-64-one-tower": replace(
            paper_64, name="alexnet-2012-64-one-tower", convs=(*halves, last)
        ),
    }


ARCHITECTURES: Mapping[str, ArchSpec] = MappingProxyType(_family())
"""The members that have a name, by it."""


def architecture(name: str) -> ArchSpec:
    """Return the spec of a named architecture.

    Parameters
    ----------
    name : str

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
