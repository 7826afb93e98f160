"""Made-up domains of which the shift is known: who must win, and who must not lose."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import decaf.adapt

SEEDS = range(5)
N, K = 120, 4
Domains = tuple[np.ndarray, np.ndarray, np.ndarray]


def moved(seed: int) -> Domains:
    """The target is the source's distribution, moved far."""
    random = np.random.default_rng(seed)
    centres, y = 1.2 * random.normal(size=(K, 20)), np.arange(N) % K
    offset = random.normal(size=20)
    offset *= 15 / np.linalg.norm(offset)
    Xs, Xt = (centres[y] + random.normal(size=(N, 20)) for _ in range(2))
    return Xs, y, Xt + offset


def turned(seed: int) -> Domains:
    """Six directions hold the classes; in the target all are turned by 63° out of their span."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(40, 12)))[0]
    sizes = np.linspace(3, 1, 6)
    centres, y = random.normal(size=(K, 6)) * sizes, np.arange(N) % K
    bases = axes[:, :6], axes[:, :6] * np.cos(1.1) + axes[:, 6:] * np.sin(1.1)
    Xs, Xt = (
        (centres[y] + 0.5 * random.normal(size=(N, 6)) * sizes) @ basis.T
        + 0.1 * random.normal(size=(N, 40))
        for basis in bases
    )
    return Xs, y, Xt


def stretched(seed: int) -> Domains:
    """The target is the source's distribution after a symmetric map: other covariances."""
    random = np.random.default_rng(seed)
    centres, y = random.normal(size=(K, 20)), np.arange(N) % K
    S = np.linalg.qr(random.normal(size=(20, 20)))[0] * np.exp(0.8 * random.normal(size=20))
    Xs, Xt = (centres[y] + random.normal(size=(N, 20)) for _ in range(2))
    return Xs, y, Xt @ S @ S.T


def same(seed: int) -> Domains:
    """No shift at all."""
    random = np.random.default_rng(seed)
    centres, y = 0.8 * random.normal(size=(K, 20)), np.arange(N) % K
    Xs, Xt = (centres[y] + random.normal(size=(N, 20)) for _ in range(2))
    return Xs, y, Xt


@cache
def alone(make: Any, head: str) -> float:
    """The accuracy of a head on the source alone, which several methods are held against."""
    return accuracy(make, "SourceOnly", head=head)


def accuracy(make: Any, name: str, **settings: Any) -> float:
    scores = []
    for seed in SEEDS:
        Xs, y, Xt = make(seed)
        method = getattr(decaf.adapt, name)(**settings).fit(Xs, y, Xt)
        scores.append(method.score(Xt, y))
    return float(np.mean(scores))


WINNERS: list[tuple[Any, str, dict[str, Any]]] = [
    (moved, "GFK", {}),
    (moved, "SubspaceAlignment", {}),
    (moved, "CORAL", {}),
    (moved, "TCA", {"dim": 6, "scale": "none"}),
    (moved, "JDA", {"dim": 6, "scale": "none"}),
    (moved, "DLID", {"dim": 6}),
    (moved, "OptimalTransport", {}),
    (turned, "GFK", {}),
    (turned, "SubspaceAlignment", {}),
    (turned, "OptimalTransport", {}),
    (stretched, "CORAL", {"ridge": 0.1}),
    (stretched, "OptimalTransport", {}),
]


# In whitened rows neighbours are hardly nearer than others: linear heads alone gain by it.
CASES = [
    pytest.param(make, name, settings, head, id=f"{make.__name__}-{name}-{head}")
    for make, name, settings in WINNERS
    for head in ("svm", "1nn")
    if (make, name, head) != (stretched, "CORAL", "1nn")
]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "name", "settings", "head"), CASES)
def test_beats_the_source_alone(make: Any, name: str, settings: dict[str, Any], head: str) -> None:
    assert accuracy(make, name, head=head, **settings) > alone(make, head) + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("head", ["svm", "1nn"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("GFK", {}),
        ("SubspaceAlignment", {"dim": 10}),
        ("CORAL", {}),
        ("TCA", {"dim": 6}),
        ("JDA", {"dim": 6}),
        ("DLID", {"dim": 6}),
        ("OptimalTransport", {}),
    ],
)
def test_does_not_lose_where_nothing_has_moved(
    name: str, settings: dict[str, Any], head: str
) -> None:
    assert accuracy(same, name, head=head, **settings) > alone(same, head) - 0.04
