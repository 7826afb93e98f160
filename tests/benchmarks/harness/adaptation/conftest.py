"""Domains of a few rows that differ by a shift, without images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from datasets.domains import DomainSet, make_domain_set
from harness.adaptation.measure import FeatureColumn
from harness.adaptation.splits import draw_domain_splits

CLASSES = ("ant", "bee", "cat")


def make_domains(
    domains: Sequence[str] = ("amazon", "webcam"), each: int = 12, name: str = "Office-31"
) -> DomainSet:
    """Return domains whose images are on no disk."""
    images = [
        (f"{domain}/{label}/{number:03}.jpg".encode(), b"/nowhere", label)
        for domain in domains
        for label in CLASSES
        for number in range(each)
    ]
    return make_domain_set(name, b"/nowhere", images)


def make_features(domains: DomainSet, d: int = 10, seed: int = 0) -> np.ndarray:
    """Return rows around a place for each class, shifted and turned a little in each domain."""
    random = np.random.default_rng(seed)
    places = 3 * random.standard_normal((len(CLASSES), d))
    rows = places[domains.labels] + random.standard_normal((len(domains), d))
    shifts = 2 * random.standard_normal((len(domains.domains), d))
    return (rows + shifts[domains.domain_of]).astype(np.float32)


def make_column(domains: DomainSet, n_splits: int = 2, name: str = "fc6") -> FeatureColumn:
    splits = draw_domain_splits(domains, source_per_class=6, n_splits=n_splits)
    rows = make_features(domains)
    return FeatureColumn(name, "", domains, splits, "f" * 64, lambda: rows)


@pytest.fixture(name="make_domains", scope="session")
def _make_domains() -> Callable[..., DomainSet]:
    return make_domains


@pytest.fixture(name="make_features", scope="session")
def _make_features() -> Callable[..., np.ndarray]:
    return make_features


@pytest.fixture(name="make_column", scope="session")
def _make_column() -> Callable[..., FeatureColumn]:
    return make_column
