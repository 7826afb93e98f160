"""The images and targets of a student: views, mixed images, answers, and the loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from colours import Colours
from decaf.errors import SettingError
from decaf.train.augment import fixed_views
from decaf.train.distillation.settings import DistilSettings
from decaf.train.distillation.soft_targets import SoftTargets, distillation_loss
from decaf.train.distillation.teacher import ModuleTeacher, TeacherCard
from decaf.train.feed import Batch
from decaf.train.presets import preset
from decaf.train.randomness import shared_order
from decaf.train.recipe import TrainSettings

pytestmark = pytest.mark.usefixtures("tiny")
Make = Callable[..., TrainSettings]


class Split:
    """Eight images of two sources."""

    labels = np.array([0, -1, 1, 2, 3, 4, -1, 0])
    sides = np.array([40, 40, 40, 40, 64, 64, 64, 64])
    source = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    contents = np.random.default_rng(0).integers(0, 256, (8, 32), dtype=np.uint8)

    def __len__(self) -> int:
        return 8


class Shares:
    shown = np.array([0.5, 0.5])


PHOTOGRAPHS: Any = Shares()


class Kept:
    """Answers of a view: its number, and the image's."""

    def __init__(self, view: int) -> None:
        self.view = view

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array([index, self.view, 0, 1, 2], np.float16)


@pytest.fixture
def targets(card: TeacherCard, short_settings: Make) -> Callable[..., SoftTargets]:
    def make(views: int = 0, **taught: Any) -> SoftTargets:
        settings = DistilSettings(views=views, **taught)
        training = short_settings(batch_size=8)
        teacher = ModuleTeacher(Colours(), card)
        kept: Any = [Kept(view) for view in range(views)]
        split: Any = Split()
        return SoftTargets(split, PHOTOGRAPHS, settings, training, teacher, 1, kept)

    return make


def batch_of(step: int = 0, side: int = 6) -> tuple[Batch, Tensor]:
    random = np.random.default_rng(step)
    seen = torch.from_numpy(random.integers(0, 256, (8, 24, 24, 3), dtype=np.uint8))
    images = torch.from_numpy(random.random((8, 3, side, side), np.float32))
    return Batch(step, images, torch.from_numpy(Split.labels)), seen


def test_the_teacher_answers_what_it_sees(targets: Callable[..., SoftTargets]) -> None:
    batch, seen = batch_of()
    plain = targets()
    taught = plain.answered(batch, np.arange(8), slice(0, 8), seen)
    assert taught.answers is not None
    torch.testing.assert_close(taught.answers, plain.teacher.answers(seen))
    assert torch.equal(taught.labels, taught.answers.argmax(1))
    assert taught.known is not None
    assert torch.equal(taught.known, batch.labels)


def test_kept_answers_are_those_of_the_view_that_is_shown(
    targets: Callable[..., SoftTargets],
) -> None:
    kept = targets(views=3)
    assert kept.teacher_side is None
    chosen = set()
    for step in range(6):
        batch, _ = batch_of(step)
        indices = np.array([5, 1, 0, 7, 2, 2, 3, 6])
        taught = kept.answered(batch, indices, slice(0, 8), None)
        assert taught.answers is not None
        assert taught.answers[:, 0].tolist() == indices.tolist()
        numbers = kept.numbers(step)
        assert taught.answers[:, 1].tolist() == numbers.tolist()
        chosen |= set(numbers.tolist())
        views = kept.views(step, indices, 24)
        alone = fixed_views(kept.training, Split.contents[indices], numbers, Split.sides[indices])
        for field in dataclasses.fields(views):
            np.testing.assert_array_equal(getattr(views, field.name), getattr(alone, field.name))
    assert chosen == {0, 1, 2}


@given(st.integers(0, 2**32), st.floats(0.05, 1), st.floats(0.3, 1))
def test_fixed_views_lie_in_the_image_and_depend_on_contents_alone(
    seed: int, least: float, ratio: float
) -> None:
    settings = preset("distil", seed=seed, crop_area=(least, 1.0), crop_ratio=(ratio, 1 / ratio))
    random = np.random.default_rng(seed)
    digests = random.integers(0, 256, (50, 32), dtype=np.uint8)
    numbers, sides = random.integers(0, 9, 50), random.integers(8, 300, 50)
    views = fixed_views(settings, digests, numbers, sides)
    assert (views.top >= 0).all()
    assert (views.left >= 0).all()
    assert (views.top + views.height <= sides).all()
    assert (views.left + views.width <= sides).all()
    one = fixed_views(settings, digests[7:8], numbers[7:8], sides[7:8])
    assert (one.top[0], one.left[0]) == (views.top[7], views.left[7])
    assert (one.height[0], one.mirrored[0]) == (views.height[7], views.mirrored[7])


def test_fixed_views_are_spread_as_drawn_ones() -> None:
    settings = preset("distil")
    digests = np.random.default_rng(0).integers(0, 256, (20_000, 32), dtype=np.uint8)
    views = fixed_views(settings, digests, np.arange(20_000) % 4, np.full(20_000, 200))
    area = views.height * views.width / 200**2
    # A uniform area from 0.25 to 1 has mean 0.625; boxes that fit are somewhat smaller.
    assert 0.55 < area.mean() < 0.63
    assert abs(views.mirrored.mean() - 0.5) < 0.015
    free = (views.height < 190) & (views.width < 190)
    for place, size in ((views.top, views.height), (views.left, views.width)):
        assert abs((place[free] / (200 - size[free])).mean() - 0.5) < 0.01
    other = fixed_views(settings, digests, np.arange(20_000) % 4 + 1, np.full(20_000, 200))
    assert abs(np.corrcoef(views.top, other.top)[0, 1]) < 0.03


def test_mixup_adds_up_images_and_cutmix_pastes_boxes(targets: Callable[..., SoftTargets]) -> None:
    for mixing in ("mixup", "cutmix"):
        mixed = targets(mixing=mixing, mixed_share=1.0)
        batch, seen = batch_of(side=24)
        # The network sees what the teacher sees, but for its scale.
        batch = dataclasses.replace(batch, images=seen.permute(0, 3, 1, 2).float() / 255)
        before = batch.images.clone()
        taught = mixed.answered(batch, np.arange(8), slice(0, 8), seen)
        assert taught.answers is not None
        pixels = taught.images.permute(0, 2, 3, 1) * 255
        torch.testing.assert_close(
            taught.answers, mixed.teacher.answers(pixels), atol=1e-3, rtol=1e-3
        )
        assert taught.known is not None
        assert (taught.known == -1).all()
        for one, other in zip(range(0, 8, 2), range(1, 8, 2), strict=True):
            total = taught.images[one] + taught.images[other]
            torch.testing.assert_close(total, before[one] + before[other])
            assert not torch.equal(taught.images[one], before[one])
            if mixing == "cutmix":
                own = taught.images[one] == before[one]
                assert (own | (taught.images[one] == before[other])).all()


def test_kept_answers_are_mixed_by_the_part_that_is_seen(
    targets: Callable[..., SoftTargets],
) -> None:
    mixed = targets(views=1, mixing="cutmix", mixed_share=1.0)
    ramp = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 200, 200).clone()
    batch = Batch(0, ramp, torch.from_numpy(Split.labels))
    taught = mixed.answered(batch, np.arange(8), slice(0, 8), None)
    plain = torch.stack([torch.from_numpy(Kept(0)[i]) for i in range(8)]).float().softmax(1)
    assert taught.answers is not None
    for row in range(8):
        other = row ^ 1
        part = float((taught.images[row] == row).float().mean())
        expected = part * plain[row] + (1 - part) * plain[other]
        torch.testing.assert_close(taught.answers[row].softmax(0), expected, atol=2e-2, rtol=0)


def test_what_is_mixed_does_not_depend_on_the_number_of_processes(
    targets: Callable[..., SoftTargets],
) -> None:
    mixed = targets(mixing="both", mixed_share=0.7)
    batch, seen = batch_of()
    whole = mixed.answered(
        dataclasses.replace(batch, images=batch.images.clone()), np.arange(8), slice(0, 8), seen
    )
    for rows in (slice(0, 4), slice(4, 8)):
        part = Batch(0, batch.images[rows].clone(), batch.labels[rows])
        half = mixed.answered(part, np.arange(8)[rows], rows, seen[rows])
        assert torch.equal(half.images, whole.images[rows])
        assert half.known is not None
        assert whole.known is not None
        assert torch.equal(half.known, whole.known[rows])
    with pytest.raises(SettingError, match="must be an even number for each process"):
        dataclasses.replace(mixed, processes=8)


def test_the_losses_are_their_formulas() -> None:
    random = np.random.default_rng(5)
    z, t = random.normal(0, 2, (6, 5)), random.normal(0, 3, (6, 5))
    known = np.array([-1, 2, -1, 0, 4, -1])

    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max(1, keepdims=True))
        return np.asarray(e / e.sum(1, keepdims=True))

    def loss(**settings: Any) -> float:
        student, teacher = (torch.from_numpy(x).float() for x in (z, t))
        batch = Batch(0, student, teacher.argmax(1), teacher, torch.from_numpy(known))
        return float(distillation_loss(student, batch, DistilSettings(**settings)))

    for heat in (1.0, 3.5):
        q, p = softmax(t / heat), softmax(z / heat)
        expected = heat**2 * (q * np.log(q / p)).sum(1).mean()
        assert math.isclose(loss(temperature=heat, label_weight=0), expected, rel_tol=1e-5)
    own = -np.log(softmax(z)[np.arange(6), known])[known >= 0].sum() / 6
    q, p = softmax(t), softmax(z)
    with_labels = (q * np.log(q / p)).sum(1).mean() + 0.5 * own
    assert math.isclose(loss(label_weight=0.5), with_labels, rel_tol=1e-5)
    apart = (z - z.mean(1, keepdims=True)) - (t - t.mean(1, keepdims=True))
    assert math.isclose(loss(loss="logits", label_weight=0), (apart**2).mean(), rel_tol=1e-5)
    # The limit of a high temperature (Hinton et al. 2015, section 2.1).
    hot = loss(temperature=1000.0, label_weight=0)
    assert math.isclose(hot, (apart**2).sum(1).mean() / 10, rel_tol=2e-2)


def test_sources_are_shown_in_their_shares() -> None:
    source = np.repeat([0, 1, 2], [10, 1000, 90])
    shown = np.array([0.2, 0.5, 0.3])
    order = shared_order(0, 3, source, shown)
    assert len(order) == 1100
    np.testing.assert_array_equal(np.bincount(source[order]), [220, 550, 330])
    counts = np.bincount(order, minlength=1100)
    assert set(counts[:10]) == {22}
    assert set(counts[10:1010]) == {0, 1}
    assert set(counts[1010:]) == {3, 4}
    assert not np.array_equal(order, shared_order(0, 4, source, shown))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"crop": "random"}, "`crop` must be 'resized'"),
        ({"lighting": 0.1}, "`lighting` must be 0"),
        ({"sampling": "balanced"}, "give `shares` instead"),
        ({"class_weights": "balanced"}, "`class_weights` must be 'none'"),
        ({"label_smoothing": 0.1}, "`label_smoothing` must be 0"),
    ],
)
def test_settings_that_a_teacher_leaves_no_room_for(
    card: TeacherCard, short_settings: Make, changes: dict[str, Any], text: str
) -> None:
    split: Any = Split()
    with pytest.raises(SettingError, match=text):
        SoftTargets(
            split,
            PHOTOGRAPHS,
            DistilSettings(),
            short_settings(**changes),
            ModuleTeacher(Colours(), card),
        )


def test_settings_out_of_bounds_are_named_together() -> None:
    with pytest.raises(
        SettingError, match=r"`temperature` must .*; `views` must .*; `mixed_share`"
    ):
        DistilSettings(temperature=0, views=-1, mixed_share=2)
    with pytest.raises(SettingError, match=r"`views` must be a whole number, got 2.5; `mixing"):
        DistilSettings(views=2.5, mixing="cutout")  # type: ignore[arg-type]
