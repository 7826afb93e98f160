"""Near copies in a test are counted, and told of where they are many."""

from __future__ import annotations

import numpy as np

from decaf.classify.near_copies import count_near_copies, near_copies_note


def test_near_copies_are_counted() -> None:
    random = np.random.default_rng(0)
    train = random.standard_normal((50, 200)).astype(np.float32).clip(0)
    test = random.standard_normal((2500, 200)).astype(np.float32).clip(0)
    test[::5] = train[7] * 3 + 0.01
    assert count_near_copies("fc6", test[:100], train) == (20, 100)
    near, compared = count_near_copies("fc7", test, train)
    assert compared <= 1000
    assert 0 < near < compared
    assert count_near_copies("conv1", test, train) == (0, 0)


def test_few_near_copies_are_not_told_of() -> None:
    assert near_copies_note(1, 10) == near_copies_note(4, 100) == near_copies_note(0, 0) == ""
    note = near_copies_note(5, 100)
    assert note.startswith("5 of 100 tested images are nearly the same as an image that was learnt")
    assert "belong together (`groups`: FILE:COLUMN, path:REGEX, folder, time:60s)" in note
