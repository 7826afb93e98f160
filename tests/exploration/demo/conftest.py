"""A small network behind the demo, and requests to it without a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asgi_requests import HOST
from decaf.backbone.weights.state import Weights
from decaf.classify import Classifier
from decaf.exploration.demo.answers import Answers
from decaf.exploration.demo.app import demo_app
from decaf.exploration.demo.settings import DemoSettings
from decaf.runtime.settings import ComputeSettings
from network_fixtures import _features, _make_weights, folder, images, labels, one_thread, weights

__all__ = ["_features", "_make_weights", "folder", "images", "labels", "one_thread", "weights"]


@pytest.fixture
def answers_of(weights: Weights) -> Callable[..., Answers]:
    """What makes the answers of the small network."""

    def make(classifier: Classifier | None = None, **settings: Any) -> Answers:
        return Answers(
            classifier or Classifier(weights=weights),
            settings=DemoSettings(**settings),
            compute=ComputeSettings("cpu", workers=0, progress=False),
        )

    return make


@pytest.fixture
def app_of(answers_of: Callable[..., Answers]) -> Callable[..., Any]:
    """What makes the application, whose token is ``secret``."""

    def make(answers: Answers | None = None, **settings: Any) -> Any:
        return demo_app(
            answers or answers_of(**settings),
            token="secret",
            hosts=[HOST, "localhost:8000"],
            settings=DemoSettings(**settings),
        )

    return make


@pytest.fixture
def photograph(folder: Path) -> bytes:
    return (folder / "bee" / "0.png").read_bytes()
