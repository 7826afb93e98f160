"""A network with its weights, ready to compute features or to name what is in an image."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decaf.backbone.network import AlexNet, evaluating
from decaf.backbone.spec import ArchSpec
from decaf.backbone.steps import LAYERS, resolve_layers
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.backbone.weights.load import Weights, load_weights
from decaf.errors import InputError, SettingError
from decaf.images.crops import with_mirrors
from decaf.images.spec import PreprocessSpec, override_preprocess
from decaf.runtime.agreement import check_network
from decaf.runtime.device import strict_float32
from decaf.runtime.names import name_text

__all__ = ["Backbone", "load_backbone"]

_BATCH = 32


class Backbone:
    """A network of the family with loaded weights, for inference.

    Parameters
    ----------
    weights : Weights
        As `decaf.backbone.weights.load.load_weights` returns them.

    Attributes
    ----------
    network : AlexNet
        In evaluation mode, convolutions in channels-last layout. It may share memory with
        `weights`: to train, build an `AlexNet` of your own and load a copy.
    spec : ArchSpec
    preprocess : PreprocessSpec
    weights_name, sha256 : str
        Name of the weights, and the identity of their numbers.
    class_names : tuple of str
        Names of the units of ``fc8``, or empty where they are not known.
    provenance : dict
        Where the weights come from; ``"wnids"``, where it is there, are the WordNet ids (or names
        of folders) of the units of ``fc8``.
    mean_image : Tensor or None
        The image that the preprocessing subtracts, where it is not a mean colour.
    layers : tuple of str
        Names that `features` takes, in forward order.
    """

    def __init__(self, weights: Weights) -> None:
        self.spec: ArchSpec = weights.spec
        self.preprocess: PreprocessSpec = weights.preprocess
        self.weights_name = weights.name
        self.sha256 = weights.sha256
        self.class_names = weights.class_names
        self.provenance = weights.provenance
        self.mean_image = weights.mean_image
        self.layers = LAYERS
        self.network = AlexNet(weights.spec)
        self.network.load_state_dict(weights.state, assign=True)
        self.network.requires_grad_(False).eval()
        self.network.to(memory_format=torch.channels_last)

    def __repr__(self) -> str:
        return f"Backbone({self.weights_name!r}: {self.spec.name}, SHA-256 {self.sha256[:12]}…)"

    @property
    def device(self) -> torch.device:
        """The device that the parameters are on."""
        return self.network.conv1.weight.device

    def to(self, device: str | torch.device) -> Backbone:
        """Move the network to a device, and return the backbone.

        Parameters
        ----------
        device : str or torch.device

        Raises
        ------
        SettingError
            Where it is an Apple GPU that computes other rows than the CPU; it is then left.
        """
        wanted = torch.device(device)
        if wanted.type != self.device.type:
            side = self.spec.input_size
            check_network(wanted, self.network, (3, side, side))
        self.network.to(wanted)
        return self

    def with_preprocess(self, preprocess: Any) -> Backbone:
        """Return a backbone of the same network that prepares images in another way.

        Parameters
        ----------
        preprocess : str, mapping, PreprocessSpec or None
            As `decaf.images.override_preprocess` takes it. Other crops than the network's own serve
            the layers that can be computed from them: all of a network whose pooling is adaptive,
            else maps alone.

        Returns
        -------
        Backbone
            It shares the network with this one.

        Raises
        ------
        SettingError
            For what is no preprocessing.
        """
        other = copy.copy(self)
        other.preprocess = override_preprocess(self.preprocess, preprocess)
        if other.preprocess.mean_image_sha256 is None:
            other.mean_image = None
        return other

    def features(self, batch: Tensor, layers: str | Sequence[str]) -> dict[str, Tensor]:
        """Compute the values of layers for a batch, in one pass that ends at the deepest.

        Parameters
        ----------
        batch : Tensor of float, shape (N, 3, H, W)
            Images preprocessed as `preprocess` says (`decaf.images.normalise.normalise`), on any
            device.
        layers : str or sequence of str
            Names of `layers`.

        Returns
        -------
        dict of str to Tensor
            In the order asked for, on the network's device: maps (N, C, H, W), vectors (N, D).
            They need no gradient and share memory with nothing.

        Raises
        ------
        SettingError
            If a layer is unknown, or the batch does not fit the network.
        """
        resolve_layers(self.spec, layers)
        if not isinstance(batch, Tensor) or batch.dim() != 4 or not batch.is_floating_point():
            got = type(batch).__name__
            if isinstance(batch, Tensor):
                got = f"{batch.dtype} of shape {tuple(batch.shape)}"
            raise SettingError(
                f"features takes a preprocessed float tensor (N, 3, H, W), got {got}; for image "
                "files use decaf.extract"
            )
        x = batch.to(self.device, self.network.conv1.weight.dtype)
        with evaluating(self.network), strict_float32(self.device):
            return self.network.tap(x.contiguous(memory_format=torch.channels_last), layers)

    def classify(
        self, images: Any, top: int = 5, *, crops: str = "center"
    ) -> list[list[tuple[str | int, float]]]:
        """Name the most probable classes of images.

        Parameters
        ----------
        images : path, folder, glob, archive, image, array, or a list of them
            Whatever `decaf.extract` takes, or a single PIL image or (H, W, 3) array.
        top : int
            How many classes to give for each image, at least 1; no more than there are.
        crops : {"center", "ten"}
            Centre crop, or the mean of the probabilities over the ten crops of Krizhevsky et al.
            2012, sec. 4.1.

        Returns
        -------
        list of list of (str or int, float)
            For each image the classes, most probable first (of equals the first), and their
            probabilities; a class is its number where the weights have no class names.

        Raises
        ------
        SettingError
            If `top` is less than 1, or `crops` is neither.
        InputError
            If there are no images, or one cannot be read.
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise SettingError(f"`top` must be a whole number from 1, got {top!r}")
        if crops not in ("center", "ten"):
            raise SettingError(f"`crops` {crops!r} is not one of center, ten")
        ten = crops == "ten"
        answers: list[list[tuple[str | int, float]]] = []
        for batch in self._batches(images, ten):
            probabilities = self.features(batch, "prob")["prob"]
            if ten:
                probabilities = probabilities.view(-1, 10, self.spec.classes).mean(dim=1)
            # Not topk, which orders equals as it likes.
            best = probabilities.sort(dim=1, descending=True, stable=True)
            values, indices = best.values[:, :top], best.indices[:, :top]
            for chances, classes in zip(values.tolist(), indices.tolist(), strict=True):
                names = [self.class_names[each] if self.class_names else each for each in classes]
                answers.append(list(zip(names, chances, strict=True)))
        return answers

    def _batches(self, images: Any, ten: bool) -> Iterator[Tensor]:
        """Yield the preprocessed pixels of images, a batch at a time; with `ten`, ten rows each."""
        from decaf.images import collect
        from decaf.images.normalise import normalise
        from decaf.images.preprocess import prepare

        listed = collect([images] if _is_one_image(images) else images, labels="none")
        step, side = max(1, _BATCH // 8) if ten else _BATCH, self.preprocess.crop
        for first in range(0, len(listed), step):
            rows = range(first, min(first + step, len(listed)))
            crops = np.empty((len(rows), 5 if ten else 1, side, side, 3), np.uint8)
            for row, out in zip(rows, crops, strict=True):
                outcome = prepare(listed.source_of(row), self.preprocess, ten=ten, out=out)
                if outcome.status != "ok":
                    name = name_text(listed.names[row])
                    raise InputError(f"{name}: {outcome.message} ({outcome.status})")
            pixels = torch.from_numpy(crops).flatten(0, 1)
            pixels = normalise(pixels, self.preprocess, mean_image=self.mean_image, ten=ten)
            yield with_mirrors(pixels) if ten else pixels


def _is_one_image(images: Any) -> bool:
    if isinstance(images, (str, bytes, os.PathLike, list, tuple)):
        return False
    # A PIL image has a mode; an array or tensor of four axes is many images.
    return hasattr(images, "mode") or 2 <= getattr(images, "ndim", 0) <= 3


def load_backbone(
    weights: str | os.PathLike[str] | Weights | Backbone = DEFAULT_WEIGHTS,
) -> Backbone:
    """Load a network with its weights.

    Parameters
    ----------
    weights : str, path, Weights or Backbone
        A registry name or a file's path, as `decaf.backbone.weights.load.load_weights` takes it; a
        network that is loaded is returned as it is.

    Returns
    -------
    Backbone

    Raises
    ------
    WeightsError
        If there are no such weights, or they cannot be trusted.

    Examples
    --------
    >>> import torch
    >>> backbone = load_backbone("random:0:alexnet-64")
    >>> backbone.features(torch.zeros(2, 3, 64, 64), "fc6")["fc6"].shape
    torch.Size([2, 4096])
    """
    if isinstance(weights, Backbone):
        return weights
    return Backbone(weights if isinstance(weights, Weights) else load_weights(weights))
