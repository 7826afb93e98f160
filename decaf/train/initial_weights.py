"""The beginning of a run: the preprocessing that its pack calls for, and the first weights."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from decaf.backbone.spec import ArchSpec, parameter_shapes
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights, tensor_sha256
from decaf.errors import SettingError
from decaf.images.spec import NAMES, PreprocessSpec
from decaf.train.pack.reader import Pack
from decaf.train.recipe import LEARNED, TrainSettings

if TYPE_CHECKING:
    from decaf.train.distillation.photographs import Photographs

__all__ = ["preprocess_of", "start_state"]


def preprocess_of(
    pack: Pack | Photographs, settings: TrainSettings, crop: int, begun: Weights | None = None
) -> tuple[PreprocessSpec, Tensor | None]:
    """Return the preprocessing that the trained network will want, and its mean image.

    Parameters
    ----------
    pack : Pack or Photographs
    settings : TrainSettings
    crop : int
        Side of the network's input.
    begun : Weights, optional
        To go on from: their network keeps the scale and mean that it knows.

    Returns
    -------
    PreprocessSpec
    Tensor or None
        Float32 (3, resize_to, resize_to).

    Raises
    ------
    SettingError
        Where a mean image is asked for of a pack that cannot have one.
    """
    resize: Any = pack.resize
    squared = resize != "shorter-side"
    resize_to = settings.resize_to or (pack.size if pack.size > crop else round(crop * 9 / 8))
    if resize_to < crop:
        raise SettingError(f"`resize_to` {resize_to} is less than the network's {crop} pixels")
    image: Tensor | None = None
    own = None if begun is None else begun.preprocess
    if (
        begun is not None
        and own is not None
        and settings.resize_to is None
        and (own.resize, own.resize_to, own.crop) == (pack.resize, pack.size, crop)
    ):
        # The pack is of the images as their network sees them: all of it stays.
        return own, begun.mean_image
    if begun is not None:
        scale, std, mean = begun.preprocess.scale, begun.preprocess.std, begun.preprocess.mean
        image = begun.mean_image
        if image is not None:
            mean = _triple(image.double().mean((1, 2)))
    else:
        standard = settings.pixels == "standard"
        scale = 1 / 255 if standard else 1.0
        std = _triple(pack.std) if standard else (1.0, 1.0, 1.0)
        mean = _triple(pack.mean * (scale * 255))
        if settings.mean != "channel":
            image = torch.from_numpy(pack.mean_image * (scale * 255)).float().contiguous()
    spec = PreprocessSpec(
        name=next(name for name, kind in NAMES.items() if kind == resize),
        resize=resize,
        resize_to=resize_to,
        crop=crop,
        mean=mean,
        std=std,
        scale=scale,
    )
    fits = image is not None and image.shape[1] == resize_to
    possible = squared and pack.size == resize_to and settings.crop == "random" and fits
    if begun is None and settings.mean == "image" and not possible:
        raise SettingError(
            "`mean='image'` needs a pack made with resize 'warp', of the size that evaluation "
            "resizes to, and `crop='random'`; use `mean='channel'`"
        )
    if image is None or not possible:
        return spec, None
    return replace(spec, mean_image_sha256=tensor_sha256(image)), image


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def start_state(
    spec: ArchSpec,
    pack: Pack | Photographs,
    settings: TrainSettings,
    begun: Weights | None,
    head: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the parameters of the first step.

    Parameters
    ----------
    spec : ArchSpec
        Spec of the network to train.
    pack : Pack or Photographs
        Has the classes.
    settings : TrainSettings
    begun : Weights or None
        To go on from; None for random ones.
    head : tuple of Tensor, optional
        Weight (classes, width of fc7) and bias of fc8, in place of those of `begun` or random ones.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    SettingError
        Where `begun` is of another network, or what `init_layers` takes of it is.
    """
    fresh = random_state(spec, settings.seed, settings.init)
    if settings.init == "he":
        # A classifier that begins near "don't know": with He's deviation its 4096 rectified
        # inputs make logits in the tens, and the first steps go into undoing that.
        source = torch.Generator().manual_seed(settings.seed)
        fresh["fc8.weight"].normal_(0.0, 0.01, generator=source)
    if begun is None:
        return fresh
    if settings.init_layers is not None:
        return fresh | _taken(begun, spec, settings.init_layers)
    same = replace(
        begun.spec, name=spec.name, classes=spec.classes, dropout=spec.dropout,
        dropout_at=spec.dropout_at,
    )  # fmt: skip
    if same != spec:
        other = [f.name for f in fields(spec) if getattr(same, f.name) != getattr(spec, f.name)]
        raise SettingError(
            f"{begun.name} is of {begun.spec.name}, which is not the {spec.name} to be trained: "
            f"other {', '.join(other)}; `init_layers` takes the first layers alone"
        )
    state = {key: tensor.clone() for key, tensor in begun.state.items()}
    known = begun.provenance.get("wnids")
    alike = (
        list(known) == list(pack.wnids)
        if isinstance(known, list)
        else begun.class_names in (pack.wnids, pack.class_names)
    )
    if not alike:
        state |= {key: fresh[key] for key in ("fc8.weight", "fc8.bias")}
    if head is not None:
        state |= {"fc8.weight": head[0].float(), "fc8.bias": head[1].float()}
    return state


def _taken(begun: Weights, spec: ArchSpec, last: str) -> dict[str, Tensor]:
    """Return the parameters of the layers up to `last`, where they fit."""
    shapes = parameter_shapes(spec)
    layers = LEARNED[: LEARNED.index(last) + 1]
    keys = [key for key in shapes if key.partition(".")[0] in layers]
    for key in keys:
        if tuple(begun.state[key].shape) != shapes[key]:
            raise SettingError(
                f"{begun.name} has {key} of shape {tuple(begun.state[key].shape)}, {spec.name} "
                f"{shapes[key]}: `init_layers` must name an earlier layer"
            )
    return {key: begun.state[key].clone() for key in keys}
