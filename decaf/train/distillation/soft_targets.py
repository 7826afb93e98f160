"""Soft targets: the answers of a teacher that a student learns, and the images they belong to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from decaf.errors import SettingError
from decaf.train.augment import Views, draw_views, fixed_views
from decaf.train.distillation.answer_cache import Answers
from decaf.train.distillation.photographs import Photographs, PhotographSplit
from decaf.train.distillation.settings import DistilSettings
from decaf.train.distillation.teacher import Teacher
from decaf.train.feed import Batch
from decaf.train.randomness import generator, shared_order
from decaf.train.recipe import TrainSettings
from decaf.train.step import guessing_loss

__all__ = ["SoftTargets", "distillation_loss"]


@dataclass(eq=False)
class SoftTargets:
    """The answers that a student learns, and the images and views that they are to.

    Parameters
    ----------
    split : PhotographSplit
        The images that are trained on.
    photographs : Photographs
        The data set that they are of.
    settings : DistilSettings
    training : TrainSettings
    teacher : Teacher
    processes : int
        Number of processes that share a batch.
    answers : sequence of Answers
        The answers that are kept, for each view. Without views the teacher answers in every step.
    """

    split: PhotographSplit
    photographs: Photographs
    settings: DistilSettings
    training: TrainSettings
    teacher: Teacher
    processes: int = 1
    answers: Sequence[Answers] = ()

    def __post_init__(self) -> None:
        training = self.training
        rules = [
            (training.crop != "resized", "`crop` must be 'resized'"),
            (training.lighting > 0, "`lighting` must be 0: student and teacher see the same"),
            (
                training.sampling != "shuffled",
                "`sampling` must be 'shuffled': give `shares` instead",
            ),
            (training.class_weights != "none", "`class_weights` must be 'none'"),
            (training.label_smoothing > 0, "`label_smoothing` must be 0: the teacher is soft"),
            (
                self.settings.mixing != "none" and training.batch_size % (2 * self.processes) != 0,
                "`mixing` takes pairs: `batch_size` must be an even number for each process",
            ),
        ]
        problems = [text for wrong, text in rules if wrong]
        if problems:
            raise SettingError(f"distillation: {'; '.join(problems)}")

    @property
    def teacher_side(self) -> int | None:
        """Side of the views that the teacher has to see in every step; None if in none."""
        return None if self.settings.views else self.teacher.side

    @property
    def guess(self) -> float:
        """The loss of a student that takes all classes for equally likely, or about that."""
        if self.settings.loss == "logits":
            return math.inf  # it has the unit of the teacher's logits, which is not known
        chance = guessing_loss(len(self.teacher.card.class_names))
        heat = max(1.0, self.settings.temperature**2)
        return heat * chance * (1 + self.settings.label_weight)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a student's answers to a batch; see `distillation_loss`.

        Parameters
        ----------
        logits : Tensor, shape (N, classes)
        batch : Batch
        """
        return distillation_loss(logits, batch, self.settings)

    def described(self) -> dict[str, Any]:
        """Return what the record of a student says of teacher and photographs: JSON values."""
        return {"teacher": self.teacher.described(), "sources": self.photographs.sources()}

    def order(self, epoch: int) -> np.ndarray:
        """Return the images of an epoch in the order in which they are shown.

        Parameters
        ----------
        epoch : int
        """
        return shared_order(self.training.seed, epoch, self.split.source, self.photographs.shown)

    def views(self, step: int, indices: np.ndarray, crop: int) -> Views:
        """Return the views of the images of a global batch, which `numbers` counts if kept.

        Parameters
        ----------
        step : int
        indices : ndarray of int64, shape (N,)
        crop : int
            Side of the views in pixels.
        """
        sides = self.split.sides[indices]
        if not self.settings.views:
            return draw_views(self.training, step, sides, crop)
        contents = self.split.contents[indices]
        return fixed_views(self.training, contents, self.numbers(step), sides)

    def numbers(self, step: int) -> np.ndarray:
        """Return which of its kept views each image of a global batch is shown in.

        Parameters
        ----------
        step : int
        """
        random = generator(self.training.seed, "view", step)
        return random.integers(0, self.settings.views, self.training.batch_size)

    def answered(
        self, batch: Batch, indices: np.ndarray, rows: slice, seen: Tensor | None
    ) -> Batch:
        """Mix the images of a batch, and add the answers.

        Parameters
        ----------
        batch : Batch
            With the labels of the teacher's classes, -1 where there are none.
        indices : ndarray of int64, shape (n,)
            Its images.
        rows : slice
            The rows of the global batch that it has.
        seen : Tensor of uint8, shape (n, side, side, 3), optional
            The views as the teacher takes them, where it is to answer.

        Returns
        -------
        Batch
            Batch whose ``labels`` are the classes that the teacher gives.
        """
        pairs = self._pairs(batch.step, rows)
        if self.settings.views:
            places = zip(indices.tolist(), self.numbers(batch.step)[rows].tolist(), strict=True)
            kept = np.stack([self.answers[number][index] for index, number in places])
            answers = torch.from_numpy(kept).float()
            if pairs is not None:
                answers = pairs.mixed_answers(answers, self.settings.loss)
        else:
            assert seen is not None
            if pairs is not None:
                mixed = seen.permute(0, 3, 1, 2).float()
                pairs.mix(mixed)
                seen = mixed.permute(0, 2, 3, 1)
            answers = self.teacher.answers(seen)
        known = batch.labels
        images = batch.images
        if pairs is not None:
            pairs.mix(images)
            alone = torch.from_numpy(pairs.untouched()).to(known.device)
            known = torch.where(alone, known, -1)
        answers = answers.to(images.device)
        return replace(batch, images=images, labels=answers.argmax(1), answers=answers, known=known)

    def _pairs(self, step: int, rows: slice) -> _Pairs | None:
        settings = self.settings
        if settings.mixing == "none":
            return None
        count = self.training.batch_size // 2
        random = generator(self.training.seed, "mixing", step)
        part = random.beta(settings.mixing_alpha, settings.mixing_alpha, count)
        touched = random.random(count) < settings.mixed_share
        cut = random.random(count) < {"mixup": 0, "cutmix": 1, "both": 0.5}[settings.mixing]
        centre = random.random((count, 2))
        some = slice(rows.start // 2, rows.stop // 2)
        part = np.where(touched, part, 1.0)
        return _Pairs(part[some], cut[some], centre[some])


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The way in which images 0 and 1, 2 and 3, … of a batch are mixed.

    Parameters
    ----------
    part : ndarray of float64, shape (pairs,)
        Share of each image that stays; 1 leaves the pair as it is.
    cut : ndarray of bool, shape (pairs,)
        Whether a box is pasted, else the two are added up.
    centre : ndarray of float64, shape (pairs, 2)
        Centre of the box, in heights and widths.
    """

    part: np.ndarray
    cut: np.ndarray
    centre: np.ndarray

    def untouched(self) -> np.ndarray:
        """Tell for each image whether nothing of another is in it: bool (images,)."""
        return np.repeat(self.part == 1, 2)

    def _box(self, pair: int) -> tuple[float, float, float, float]:
        """Return top, bottom, left and right of a pair's box, from 0 to 1."""
        half = np.sqrt(1 - self.part[pair]) / 2
        low = np.clip(self.centre[pair] - half, 0, 1)
        high = np.clip(self.centre[pair] + half, 0, 1)
        return low[0], high[0], low[1], high[1]

    def mix(self, images: Tensor) -> None:
        """Mix images in place: float (n, 3, side, side)."""
        side = images.shape[-1]
        for pair in np.flatnonzero(self.part < 1).tolist():
            one, other = images[2 * pair], images[2 * pair + 1]
            if self.cut[pair]:
                top, bottom, left, right = (round(edge * side) for edge in self._box(pair))
                box = (slice(None), slice(top, bottom), slice(left, right))
                kept = one[box].clone()
                one[box] = other[box]
                other[box] = kept
            else:
                part = float(self.part[pair])
                mixed = torch.lerp(other, one, part)
                other.copy_(torch.lerp(one, other, part))
                one.copy_(mixed)

    def mixed_answers(self, answers: Tensor, loss: str) -> Tensor:
        """Return what stands for the answers to mixed images: logits, float32 (n, classes).

        Probabilities are mixed; where logits are learnt, these.
        """
        part = self.part.copy()
        for pair in np.flatnonzero((part < 1) & self.cut).tolist():
            top, bottom, left, right = self._box(pair)
            part[pair] = 1 - (bottom - top) * (right - left)
        stays = torch.from_numpy(np.repeat(part, 2)).float()[:, None]
        if loss == "logits":
            return stays * answers + (1 - stays) * _swapped(answers)
        own = answers.log_softmax(1)
        # In logarithms, where a small probability is not lost.
        mixed = torch.logaddexp(own + stays.log(), _swapped(own) + (1 - stays).log())
        return torch.where(stays < 1, mixed, answers)


def _swapped(values: Tensor) -> Tensor:
    return values.view(-1, 2, values.shape[1]).flip(1).reshape(values.shape)


def distillation_loss(logits: Tensor, batch: Batch, settings: DistilSettings) -> Tensor:
    """Return the loss of a student's answers.

    Cross-entropy at temperature T: with p = softmax(z / T) of the student and q of the teacher,
    T² Σ q log(q / p), whose gradient does not fade with T (Hinton et al. 2015, section 2); it is
    less the entropy of q, so that a perfect student has a loss of 0. Logits: the mean over classes
    of (z - t)², both less their means.

    Parameters
    ----------
    logits : Tensor of float32, shape (n, classes)
    batch : Batch
        With ``answers`` (n, classes) and ``known`` (n,).
    settings : DistilSettings

    Returns
    -------
    Tensor, scalar
        The mean over the images.
    """
    assert batch.answers is not None
    taught = batch.answers
    if settings.loss == "logits":
        target = taught - taught.mean(1, keepdim=True)
        own = logits - logits.mean(1, keepdim=True)
        loss = (own - target).square().mean()
    else:
        t = settings.temperature
        p, q = (logits / t).log_softmax(1), (taught / t).log_softmax(1)
        loss = t**2 * functional.kl_div(p, q, reduction="batchmean", log_target=True)
    if settings.label_weight and batch.known is not None:
        # The sum over the images that have a class, per image of the batch: what an image counts
        # does not depend on how many of its neighbours have one.
        own_class = functional.cross_entropy(logits, batch.known, ignore_index=-1, reduction="sum")
        loss = loss + settings.label_weight * own_class / len(logits)
    return loss
