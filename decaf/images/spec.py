"""How a photograph becomes the network's input, written down as data.

A `PreprocessSpec` travels with the weights and is part of every feature file's fingerprint, so what
was done to the pixels can be read there instead of guessed from code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from decaf.errors import SettingError

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "MAX_SIDE",
    "NAMES",
    "PreprocessSpec",
    "named_preprocess",
    "override_preprocess",
]

# Per-channel mean and standard deviation of ImageNet's training pixels in [0, 1], as published with
# torchvision's weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_SIDE = 4096

NAMES = {"decaf": "warp", "shorter-side": "shorter-side", "as-is": "none"}
"""The built-in specs by name, and how each resizes."""

# The side that is resized to before cropping: 256 for the 224 and 227 crops of the paper
# (Krizhevsky et al. 2012, sec. 2), and that ratio, 9/8, for the networks on small images.
_RESIZE_TO = {224: 256, 227: 256, 143: 160, 127: 143, 64: 72}


@dataclass(frozen=True)
class PreprocessSpec:
    """Resize, crop and normalisation of one network's input.

    Parameters
    ----------
    name : str
        Name of the spec in listings: one of `NAMES` for the built-in ones.
    resize : {"warp", "shorter-side", "none"}
        ``"warp"`` makes the image `resize_to` square whatever its aspect ratio;
        ``"shorter-side"`` keeps the ratio and makes the shorter side `resize_to`; ``"none"`` takes
        images that are `resize_to` square already, pixel for pixel, and refuses others.
    resize_to : int
        Side after the resize, in pixels, 1 to 4096.
    crop : int
        Side of the square crop that the network sees, at most `resize_to`.
    mean, std : tuple of 3 float
        Subtracted from, then divided into ``pixel * scale``, in RGB order.
    scale : float
        Factor on the 0-255 pixel before `mean` is taken off.
    mean_image_sha256 : str or None
        SHA-256 of the mean image (float32 ``(3, resize_to, resize_to)``, units of `mean`) that is
        kept beside the weights. When set, it is subtracted in place of `mean`; not with
        "shorter-side".
    interpolation, orientation, color : str
        Recorded facts; there is one choice of each so far.
    background : tuple of 3 int
        Colour that transparent pixels are composited on, 0-255.

    Raises
    ------
    SettingError
        If a field is of the wrong type or out of range.
    """

    name: str
    resize: Literal["warp", "shorter-side", "none"]
    resize_to: int
    crop: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    scale: float = 1 / 255
    mean_image_sha256: str | None = None
    interpolation: str = "bilinear-antialias"
    background: tuple[int, int, int] = (255, 255, 255)
    orientation: str = "exif-applied"
    color: str = "RGB"

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise SettingError("preprocessing: " + "; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as a dictionary that `json` can write."""
        values = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PreprocessSpec:
        """Make a spec from what `to_dict` gave, trusting none of it.

        Parameters
        ----------
        values : mapping

        Raises
        ------
        SettingError
            If a field is unknown, missing, of the wrong type or out of range.

        Examples
        --------
        >>> spec = named_preprocess("decaf", 227)
        >>> PreprocessSpec.from_dict(spec.to_dict()) == spec
        True
        """
        if not isinstance(values, Mapping):
            raise SettingError(f"preprocessing: expected a mapping, got {type(values).__name__}")
        known = {f.name for f in fields(cls)}
        unknown = sorted(str(k) for k in values if k not in known)
        missing = [k for k in ("name", "resize", "resize_to", "crop") if k not in values]
        if unknown or missing:
            raise SettingError(
                f"preprocessing: unknown fields {unknown}, missing fields {missing}; "
                f"known are {sorted(known)}"
            )
        checked: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**checked)


def named_preprocess(name: str, crop: int) -> PreprocessSpec:
    """Return one of the built-in specs for a network that takes `crop` × `crop` pixels.

    Parameters
    ----------
    name : {"decaf", "shorter-side", "as-is"}
        ``"decaf"`` warps to a square (Donahue et al. 2014, sec. 4; Krizhevsky's own pipeline);
        ``"shorter-side"`` keeps the aspect ratio (torchvision's for its AlexNet); ``"as-is"`` takes
        images of the network's own size, pixel for pixel.
    crop : int
        Side of the network's input.

    Raises
    ------
    SettingError
        If there is no such spec, or the side is none.

    Examples
    --------
    >>> named_preprocess("shorter-side", 224).resize_to
    256
    """
    if name not in NAMES:
        raise SettingError(f"no preprocessing is called {name!r}; there are {sorted(NAMES)}")
    resize: Any = NAMES[name]
    resize_to = crop if resize == "none" else _RESIZE_TO.get(crop) or round(crop * 9 / 8)
    return PreprocessSpec(name=name, resize=resize, resize_to=resize_to, crop=crop)


def override_preprocess(own: PreprocessSpec, given: Any) -> PreprocessSpec:
    """Put what a user asks for in place of the preprocessing that a network has of its own.

    Parameters
    ----------
    own : PreprocessSpec
        Preprocessing of the weights.
    given : str, mapping, PreprocessSpec or None
        A name of `NAMES`, which stands for resize and crop alone, at the network's own size; or
        fields in place of those of `own` (``{"resize": "none", "crop": 227}``), after those of a
        ``name`` where one is among them; or all of it. None for `own`. Without a resize,
        `resize_to` is the crop where it is not given.

    Returns
    -------
    PreprocessSpec
        Equal however it was asked for: its name follows from how it resizes, unless nothing but
        the name would differ from `own`.

    Raises
    ------
    SettingError
        For names, fields or values that there are not; a mean that no pixels have; and where the
        weights subtract a mean image that does not fit any more.

    Examples
    --------
    >>> own = named_preprocess("shorter-side", 224)
    >>> override_preprocess(own, "as-is").resize_to
    224
    >>> override_preprocess(own, {"resize": "warp"}) == override_preprocess(own, "decaf")
    True
    """
    if given is None:
        return own
    if isinstance(given, PreprocessSpec):
        made = given
    elif isinstance(given, (str, Mapping)):
        asked: dict[str, Any] = {"name": given} if isinstance(given, str) else dict(given)
        values = own.to_dict()
        if "name" in asked:
            named = named_preprocess(asked.pop("name"), asked.get("crop", own.crop)).to_dict()
            values |= {key: named[key] for key in ("resize", "resize_to", "crop")}
        values |= asked
        if values["resize"] == "none" and "resize_to" not in asked:
            values["resize_to"] = values["crop"]
        image = values.pop("mean_image_sha256") if "mean" not in asked else None
        made = PreprocessSpec.from_dict(values | {"mean_image_sha256": None})
        white = 255 * made.scale
        if "mean" in asked and not all(0 <= value <= white * 1.001 for value in made.mean):
            shown = ", ".join(f"{value:g}" for value in made.mean)
            raise SettingError(
                f"preprocessing: `mean` {shown} is no mean of pixels, which are 0 to {white:g} "
                f"where it is subtracted: the weights scale them by {made.scale:.6g}; scale "
                "`mean` (and `std`) alike"
            )
        if image and (made.resize, made.resize_to) != (own.resize, own.resize_to):
            raise SettingError(
                f"preprocessing: the weights subtract a mean image, which fits images resized by "
                f"{own.resize!r} to {own.resize_to} pixels alone; give `mean` too, three numbers"
            )
        name = next(name for name, resize in NAMES.items() if resize == made.resize)
        made = replace(made, name=name, mean_image_sha256=image)
        if replace(made, name=own.name) == own:
            made = own
    else:
        raise SettingError(
            f"`preprocess` must be a name ({', '.join(NAMES)}), a dict of fields or a "
            f"PreprocessSpec, got {type(given).__name__}"
        )
    if made.mean_image_sha256 not in (None, own.mean_image_sha256):
        raise SettingError(
            f"preprocessing: asks for the mean image {made.mean_image_sha256:.12}…, the weights "
            f"have {own.mean_image_sha256 or 'none':.12}"
        )
    return made


def _problems(spec: PreprocessSpec) -> list[str]:
    """List what is wrong with a spec's fields, in words."""
    problems = []
    if not isinstance(spec.name, str) or not 0 < len(spec.name) <= 100:
        problems.append(f"`name` must be a text of 1 to 100 characters, got {spec.name!r:.120}")
    if spec.resize not in NAMES.values():
        problems.append(f"`resize` must be one of {[*NAMES.values()]}, got {spec.resize!r:.120}")
    sizes_ok = True
    for field in ("resize_to", "crop"):
        value = getattr(spec, field)
        if not _is_int(value) or not 1 <= value <= MAX_SIDE:
            sizes_ok = False
            problems.append(f"`{field}` must be an integer of 1 to {MAX_SIDE}, got {value!r:.120}")
    if sizes_ok and spec.crop > spec.resize_to:
        problems.append(f"`crop` {spec.crop} is larger than `resize_to` {spec.resize_to}")
    if not _is_triple(spec.mean, _is_finite):
        problems.append(f"`mean` must be 3 finite numbers, got {spec.mean!r:.120}")
    if not _is_triple(spec.std, _is_positive):
        problems.append(f"`std` must be 3 finite numbers above 0, got {spec.std!r:.120}")
    if not _is_positive(spec.scale):
        problems.append(f"`scale` must be a finite number above 0, got {spec.scale!r:.120}")
    if not _is_triple(spec.background, lambda v: _is_int(v) and 0 <= v <= 255):
        problems.append(
            f"`background` must be 3 integers of 0 to 255, got {spec.background!r:.120}"
        )
    if spec.mean_image_sha256 is not None:
        if not _is_sha256(spec.mean_image_sha256):
            problems.append(
                f"`mean_image_sha256` must be 64 hex digits, got {spec.mean_image_sha256!r:.120}"
            )
        if spec.resize == "shorter-side":
            problems.append("a mean image needs `resize='warp'` (or `resize='none'`)")
    only = {"interpolation": "bilinear-antialias", "orientation": "exif-applied", "color": "RGB"}
    for field, value in only.items():
        if getattr(spec, field) != value:
            problems.append(f"`{field}` can only be {value!r}, got {getattr(spec, field)!r:.120}")
    return problems


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond float's range
        return False


def _is_positive(value: Any) -> bool:
    # Below the smallest normal float32 a division would overflow.
    return _is_finite(value) and value >= 1.2e-38


def _is_triple(value: object, check: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(check(v) for v in value)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
