"""The frozen head: logistic regression on fc7 of the network as it was, to compare with."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decaf.backbone.model import Backbone
from decaf.backbone.network import evaluating
from decaf.backbone.weights.state import Weights
from decaf.finetuning.data import Packed
from decaf.finetuning.job import Job
from decaf.finetuning.keep_rule import Trial
from decaf.finetuning.work_folder import WorkFolder
from decaf.images.listing.draws import groups_of_classes
from decaf.images.normalise import normalise
from decaf.runtime.wording import counted
from decaf.train.feed import Split
from decaf.train.initial_weights import preprocess_of
from decaf.train.validate import centre_crops

__all__ = [
    "LAYER",
    "FrozenHead",
    "as_last_layer",
    "fit_frozen_head",
    "frozen_head",
    "layer_values",
    "write_head",
]

LAYER = "fc7"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FrozenHead:
    """A logistic regression on the features of a frozen network.

    Attributes
    ----------
    coef : Tensor of float64, shape (classes, width of fc7)
    intercept : Tensor of float64, shape (classes,)
        Their scores are logits: the softmax of them is the head's answer.
    C : float
        Chosen by cross-validation inside the training images.
    trial : Trial
        On the validation images.
    """

    coef: Tensor
    intercept: Tensor
    C: float
    trial: Trial

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, Tensor], groups: Sequence[str] | None = None
    ) -> FrozenHead:
        """Make it of what `tensors` returned.

        Parameters
        ----------
        tensors : dict of str to Tensor
        groups : sequence of str, optional
            Groups of the validation images.
        """
        trial = Trial(tensors["right"].numpy(), tensors["losses"].numpy(), groups)
        return cls(tensors["coef"], tensors["intercept"], float(tensors["C"]), trial)

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it as tensors, to be kept."""
        return {
            "coef": self.coef,
            "intercept": self.intercept,
            "C": torch.tensor([self.C], dtype=torch.float64),
            "right": torch.from_numpy(self.trial.right),
            "losses": torch.from_numpy(self.trial.losses),
        }


def layer_values(backbone: Backbone, layer: str, split: Split, workers: int) -> np.ndarray:
    """Compute a layer of the centre crops of images, in float32, as `decaf.extract` does.

    Parameters
    ----------
    backbone : Backbone
        On the device where it is to be computed.
    layer : str
    split : Split
    workers : int
        Threads that decode.

    Returns
    -------
    ndarray of float32, shape (N, D)
    """
    blocks: list[np.ndarray] = []
    rows, preprocess = np.arange(len(split)), backbone.preprocess
    with evaluating(backbone.network):
        for _, crops in centre_crops(split, rows, preprocess, workers):
            pixels = normalise(crops, preprocess, mean_image=backbone.mean_image)
            pixels = pixels.to(backbone.device).contiguous(memory_format=torch.channels_last)
            values = backbone.network.tap(pixels, layer)[layer]
            blocks.append(values.flatten(1).float().cpu().numpy())
    return np.concatenate(blocks)


def fit_frozen_head(
    weights: Weights,
    train: Split,
    val: Split,
    *,
    balanced: bool,
    seed: int,
    device: torch.device,
    workers: int,
    groups: Sequence[str] | None = None,
    val_groups: Sequence[str] | None = None,
) -> tuple[FrozenHead, Any]:
    """Fit the head to the training images, and try it on those for validation.

    Parameters
    ----------
    weights : Weights
        With the preprocessing of the images of the splits.
    train, val : Split
    balanced : bool
        Whether classes weigh the same, however many images they have.
    seed : int
        Seed of the folds of the search for C.
    device : torch.device
    workers : int
        Threads that decode.
    groups : sequence of str, optional
        Groups of the training images: none is on both sides of a fold of the search for C.
    val_groups : sequence of str, optional
        Groups of the validation images.

    Returns
    -------
    FrozenHead
    LogisticRegression
        The same, fitted.
    """
    from decaf.heads import LogisticRegression

    backbone = Backbone(weights).to(device)
    features, held = (layer_values(backbone, LAYER, split, workers) for split in (train, val))
    labels = np.asarray(train.labels)
    # C is searched among the training images, which takes two of a class, or groups.
    several = groups_of_classes(labels, groups).max() > 1
    head = LogisticRegression(
        C="cv" if several else 1.0,
        class_weight="balanced" if balanced else None,
        random_state=seed,
        device=device.type,
    )
    with warnings.catch_warnings():
        # A search that ends at its border, or a fit that was cut short, is still a head.
        warnings.simplefilter("ignore")
        head.fit(features, labels, groups=groups)
    coef, intercept = as_last_layer(head.coef_, head.intercept_)
    logits = held.astype(np.float64) @ coef.numpy().T + intercept.numpy()
    trial = Trial.of(logits, val.labels, val_groups)
    return FrozenHead(coef, intercept, float(head.C_), trial), head


def as_last_layer(coef: np.ndarray, intercept: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the fc8 whose logits a logistic regression's decisions are.

    Parameters
    ----------
    coef : ndarray of float64, shape (K, D)
        K = 1 for two classes.
    intercept : ndarray of float64, shape (K,)

    Returns
    -------
    Tensor of float64, shape (classes, D)
    Tensor of float64, shape (classes,)
    """
    if len(coef) == 1:
        # Of two classes there is one decision d, with the second class's probability
        # 1 / (1 + exp(-d)): the softmax of (-d/2, d/2).
        coef = np.concatenate([-coef / 2, coef / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    return (
        torch.from_numpy(np.ascontiguousarray(coef, np.float64)),
        torch.from_numpy(np.ascontiguousarray(intercept, np.float64)),
    )


def frozen_head(job: Job, data: Packed, work: WorkFolder) -> tuple[FrozenHead, Any]:
    """Fit the head to the frozen features (rank 0), or take the one that was kept.

    Parameters
    ----------
    job : Job
    data : Packed
    work : WorkFolder
        Keeps it.

    Returns
    -------
    FrozenHead
    LogisticRegression or None
        The same, where it was fitted here.
    """

    def fit() -> tuple[dict[str, Tensor], Any]:
        kept = work.head()
        if kept is not None and kept[0].get("pack") == data.pack.fingerprint:
            return kept[1], None
        head, fitted = _fitted(job, data)
        work.keep_head({"pack": data.pack.fingerprint}, head.tensors())
        return head.tensors(), fitted

    tensors, fitted = job.world.on_chief(fit) or (None, None)
    head = FrozenHead.from_tensors(job.world.share_tensors(tensors), data.val.groups)
    if job.world.chief:
        accuracy = head.trial.accuracy
        _logger.info(
            "frozen fc7 + logistic regression: %s of %s",
            accuracy,
            counted(accuracy.images, "validation image"),
        )
    return head, fitted


def _fitted(job: Job, data: Packed) -> tuple[FrozenHead, Any]:
    return fit_frozen_head(
        _as_packed(job, data),
        data.train,
        data.val,
        balanced="balanced" in (job.settings.class_weights, job.settings.sampling),
        groups=data.train.groups,
        val_groups=data.val.groups,
        seed=job.settings.seed,
        device=job.world.device,
        workers=job.threads,
    )


def _as_packed(job: Job, data: Packed) -> Weights:
    """Return the weights begun with, with the preprocessing that images of the pack call for."""
    settings = job.training(len(data.train))
    spec, image = preprocess_of(data.pack, settings, job.begun.spec.input_size, job.begun)
    return replace(job.begun, preprocess=spec, mean_image=image)


def write_head(
    path: str | os.PathLike[str],
    job: Job,
    data: Packed,
    head: FrozenHead,
    fitted: Any,
    weights_file: str | None,
) -> None:
    """Write the head as a file that `decaf predict` takes.

    Parameters
    ----------
    path : path
    job : Job
    data : Packed
    head : FrozenHead
    fitted : LogisticRegression or None
        The result of `frozen_head`; where it had been kept, it is fitted again.
    weights_file : str or None
        Where the weights that were begun with are, if that is a file.
    """
    from decaf.heads import FeatureIdentity, save_head
    from decaf.images.decoding.jpeg import decoder_versions

    if fitted is None:
        _, fitted = _fitted(job, data)
    preprocess = _as_packed(job, data).preprocess
    identity = FeatureIdentity(
        weights_name=job.begun.name,
        weights_sha256=job.begun.sha256,
        arch=job.begun.spec.to_dict(),
        preprocess=preprocess.to_dict(),
        crops="center",
        layer=LAYER,
        precision="fp32",
        versions={"torch": str(torch.__version__), **decoder_versions()},
    )
    report: dict[str, Any] = {"frozen": head.trial.accuracy.to_dict()}
    if weights_file is not None:
        report["features"] = {"weights_file": weights_file}
    save_head(
        path,
        fitted,
        identity=identity,
        class_names=data.pack.class_names,
        report=report,
        overwrite=True,
    )
