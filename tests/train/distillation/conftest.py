"""A teacher of a few numbers, and a short run that it teaches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import colours
from decaf.images.spec import PreprocessSpec
from decaf.train.distillation.distil import distil
from decaf.train.distillation.settings import DistilSettings
from decaf.train.distillation.teacher import TeacherCard
from decaf.train.presets import preset
from decaf.train.recipe import TrainSettings
from decaf.train.training_run import SavingSettings, TrainResult


@pytest.fixture(scope="session")
def card() -> TeacherCard:
    spec = PreprocessSpec("own", "shorter-side", 28, 24, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    return TeacherCard("colours", spec, colours.NAMES)


@pytest.fixture(scope="session")
def short_settings() -> Callable[..., TrainSettings]:
    def make(**changes: Any) -> TrainSettings:
        short = {"arch": "tiny", "epochs": 3, "batch_size": 16, "precision": "fp32", "lr": 0.01}
        return preset("distil", **{**short, "warmup_epochs": 0.5, "dropout": 0.2, **changes})

    return make


@pytest.fixture
def teach(
    card: TeacherCard, short_settings: Callable[..., TrainSettings]
) -> Callable[..., TrainResult]:
    def run(
        sources: Any, out: Path, settings: TrainSettings | None = None, **rest: Any
    ) -> TrainResult:
        taught = rest.pop("taught", {"views": 2})
        options = {
            "teacher": colours.Colours(),
            "card": card,
            "tensorboard": False,
            "progress": False,
        }
        options |= {"saving": SavingSettings(log_every=2), "workers": 1, **rest}
        teacher = options.pop("teacher")
        chosen = settings or short_settings()
        return distil(sources, teacher, out, chosen, DistilSettings(**taught), **options)

    return run
