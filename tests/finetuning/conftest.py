"""Weights small enough to be fine-tuned in a second."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_network
from decaf.backbone.weights.load import Weights, save_weights
from decaf.backbone.weights.random_weights import random_state
from decaf.finetuning.fine_tune import finetune
from decaf.finetuning.result import Finetuned
from decaf.finetuning.settings import FinetuneSettings
from decaf.heads import LogisticRegression
from decaf.images.spec import PreprocessSpec


@pytest.fixture(scope="session")
def begun() -> Weights:
    """The smallest network with random weights, for images of 36 pixels cut to 32."""
    preprocess = PreprocessSpec("decaf", "warp", resize_to=36, crop=32)
    state = random_state(tiny_network.TINY, 3)
    return Weights.of("tiny", tiny_network.TINY, preprocess, state)


@pytest.fixture(scope="session")
def weights_path(begun: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, begun)
    return path


@pytest.fixture(scope="session")
def short() -> Callable[..., FinetuneSettings]:
    """Make settings of a short run with all that has a state."""

    def make(**changes: Any) -> FinetuneSettings:
        first = {"epochs": 3.0, "lr": 3e-3, "precision": "fp32", "batch_size": 16}
        return FinetuneSettings(**{**first, **changes})

    return make


@pytest.fixture(scope="session")
def fitted_heads() -> dict[bytes, dict[str, Any]]:
    """What heads have learned, by their settings and all that they were fitted to."""
    return {}


@pytest.fixture
def same_head(fitted_heads: dict[bytes, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit the frozen head to the same features once: its search for C takes longest of all."""
    fit = LogisticRegression.fit

    def fit_once(head: LogisticRegression, *data: Any, **more: Any) -> LogisticRegression:
        key = pickle.dumps((head.get_params(), data, more))
        if key not in fitted_heads:
            fitted_heads[key] = vars(fit(head, *data, **more))
        vars(head).update(copy.deepcopy(fitted_heads[key]))
        return head

    monkeypatch.setattr(LogisticRegression, "fit", fit_once)


@pytest.fixture
def tune(
    photographs: Path,
    begun: Weights,
    short: Callable[..., FinetuneSettings],
    tiny: None,
    same_head: None,
) -> Callable[..., Finetuned]:
    """Fine-tune the smallest network to the photographs' training images."""

    def run(out: Path | None = None, source: Any = None, **options: Any) -> Finetuned:
        changes = options.pop("changes", {})
        given = {"weights": begun, "settings": short(**changes), "workers": 0, "progress": False}
        return finetune(source or photographs / "train", out=out, **{**given, **options})

    return run
