"""Kept decompositions: the same results, no more than asked for, and nothing without a memory."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import numpy as np
import pytest

import decaf.adapt
from decaf.adapt.algebra import fit_cache
from decaf.adapt.algebra.fit_cache import Memory, recalled


def two_domains(n_s: int, n_t: int, d: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    centres = 2 * random.normal(size=(3, d))
    scales = 3.0 / np.sqrt(np.arange(1, d + 1))
    Xs, Xt = (
        (centres[np.arange(n) % 3] + random.normal(size=(n, d)) + shift) * scales
        for n, shift in ((n_s, 0.0), (n_t, random.normal(size=d)))
    )
    yt = np.where(np.arange(n_t) < 9, np.arange(n_t) % 3, -1)
    return Xs, np.arange(n_s) % 3, Xt, yt


# More target rows than features, as many within a few, and fewer; as many source rows as features.
METHODS = ["GFK", "DLID", "CORAL", "SubspaceAlignment", "TCA", "JDA"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_s", "n_t", "d"),
    [
        *((name, 24, 90, 200) for name in METHODS),
        *((name, 24, 62, 60) for name in METHODS[::2]),
        *((name, 60, 90, 60) for name in METHODS[1::2]),
        ("GFK", 24, 90, 40),
        ("TCA", 24, 700, 640),
    ],
)
def test_methods_find_the_same(name: str, n_s: int, n_t: int, d: int) -> None:
    Xs, ys, Xt, yt = two_domains(n_s, n_t, d)
    # Its matrix holds the variances squared, so that what the search for eigenvectors leaves of the
    # largest, 1e-7, is far more of the others.
    atol = 1e-3 if name == "TCA" else 2e-5
    for settings in ({}, {} if name == "CORAL" else {"dim": 4}):
        method: Any = getattr(decaf.adapt, name)(**settings)
        alone = method.fit(Xs, ys, Xt, yt).decision_function(Xt)
        shared = Memory()
        for labels in (yt, None, yt):
            method.fit(Xs, ys, Xt, labels, memory=shared)
        assert len(shared)
        method = pickle.loads(pickle.dumps(method))  # without what is shared
        np.testing.assert_allclose(method.decision_function(Xt), alone, atol=atol)


def test_a_result_is_made_once() -> None:
    X = np.arange(6.0)
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return X + 1

    recalled(None, "sum", make, X)
    assert len(made) == 1
    kept = Memory()
    first = recalled(kept, "sum", make, X)
    assert recalled(kept, "sum", make, X.copy()) is first
    assert len(made) == 2
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 5
    recalled(kept, "sum", make, X, 1)
    recalled(kept, "another", make, X)
    recalled(kept, "sum", make, X.reshape(2, 3))
    recalled(kept, "sum", make, X.astype(np.float32))
    X[2] = 9  # the same array with other values
    np.testing.assert_array_equal(recalled(kept, "sum", make, X), X + 1)
    assert len(made) == 7


@pytest.mark.slow
def test_read_only_arrays_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    digest = fit_cache._digest
    monkeypatch.setattr(fit_cache, "_digest", lambda array: hashed.append(1) or digest(array))
    X = np.arange(6.0)
    X.flags.writeable = False
    kept = Memory()
    for _ in range(3):
        kept.recalled("number", lambda: 1, X)
    assert len(hashed) == 1
    del X
    gc.collect()
    assert not kept._digests


def test_the_least_used_go_when_there_are_too_many_bytes() -> None:
    kept = Memory(1000)
    for number in (1, 2, 3):
        kept.recalled("zeros", lambda: (np.zeros(50), "text"), number)
    assert kept.bytes == 800
    assert len(kept) == 2
    remade = []
    kept.recalled("zeros", lambda: remade.append(2), 2)
    kept.recalled("zeros", lambda: (np.zeros(50), remade.append(4)), 4)
    kept.recalled("zeros", lambda: remade.append(3), 3)
    assert remade == [4, 3]
    kept.recalled("zeros", lambda: np.zeros(1000), 5)
    assert kept.bytes <= 1000
    kept.recalled("zeros", lambda: remade.append(2), 2)
    assert remade == [4, 3]
