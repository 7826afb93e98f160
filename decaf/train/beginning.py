"""What a run begins with: the preprocessing its pack calls for, and the first weights."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from decaf.backbone.init import random_state
from decaf.backbone.spec import ArchSpec
from decaf.backbone.state import Weights, tensor_sha256
from decaf.errors import SettingError
from decaf.images.spec import PreprocessSpec
from decaf.train.pack.reader import Pack
from decaf.train.recipe import TrainSettings

__all__ = ["preprocess_of", "start_state"]


def preprocess_of(
    pack: Pack, settings: TrainSettings, crop: int
) -> tuple[PreprocessSpec, Tensor | None]:
    """Give the preprocessing that the trained network will want, and its mean image.

    Parameters
    ----------
    pack : Pack
    settings : TrainSettings
    crop : int
        Side of the network's input.

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
    warped = pack.resize == "warp"
    resize_to = settings.resize_to or (pack.size if pack.size > crop else round(crop * 9 / 8))
    if resize_to < crop:
        raise SettingError(f"resize_to {resize_to} is less than the network's {crop} pixels")
    scale = 255.0 if settings.pixels == "0-255" else 1.0
    std = (1.0, 1.0, 1.0) if settings.pixels == "0-255" else tuple(map(float, pack.std))
    spec = PreprocessSpec(
        name="decaf" if warped else "shorter-side",
        resize="warp" if warped else "shorter-side",
        resize_to=resize_to,
        crop=crop,
        mean=tuple(float(value) * scale for value in pack.mean),  # type: ignore[arg-type]
        std=std,  # type: ignore[arg-type]
        scale=scale / 255,
    )
    possible = warped and pack.size == resize_to and settings.crop == "random"
    if settings.mean == "image" and not possible:
        raise SettingError(
            "mean 'image' needs a pack made with --resize warp, of the size that evaluation "
            "resizes to, and crop 'random'; use mean 'channel'"
        )
    if settings.mean == "channel" or not possible:
        return spec, None
    image = torch.from_numpy(pack.mean_image * scale).float().contiguous()
    return replace(spec, mean_image_sha256=tensor_sha256(image)), image


def start_state(
    spec: ArchSpec, pack: Pack, settings: TrainSettings, begun: Weights | None
) -> dict[str, Tensor]:
    """Give the parameters of the first step.

    Parameters
    ----------
    spec : ArchSpec
        Of the network to train.
    pack : Pack
        Has the classes.
    settings : TrainSettings
    begun : Weights or None
        To go on from; None for random ones.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    SettingError
        Where `begun` is of another network, or batch normalisation is asked for.
    """
    fresh = random_state(spec, settings.seed, settings.init)
    if settings.init == "he":
        # A classifier that begins near "don't know": with He's deviation its 4096 rectified
        # inputs make logits in the tens, and the first steps go into undoing that.
        source = torch.Generator().manual_seed(settings.seed)
        fresh["fc8.weight"].normal_(0.0, 0.01, generator=source)
    if begun is None:
        return fresh
    if settings.batch_norm:
        raise SettingError(
            "weights to start from have no batch normalisation; set batch_norm off "
            "(--no-batch-norm)"
        )
    same = replace(
        begun.spec, name=spec.name, classes=spec.classes, dropout=spec.dropout,
        dropout_at=spec.dropout_at,
    )  # fmt: skip
    if same != spec:
        raise SettingError(
            f"{begun.name} is of {begun.spec.name}, which is not the {spec.name} to be trained"
        )
    known = begun.provenance.get("wnids") or list(begun.class_names)
    state = {key: tensor.clone() for key, tensor in begun.state.items()}
    if list(known) != list(pack.wnids):
        state |= {key: fresh[key] for key in ("fc8.weight", "fc8.bias")}
    return state
