"""The number of torch's threads is put back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from decaf.heads.batched import Problem, solve
from decaf.heads.batched.threads import one_thread


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_put_back_after_errors_too() -> None:
    with pytest.raises(KeyError), one_thread(True):
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2
    with one_thread(False):
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_fit_leaves_the_number_as_it_was() -> None:
    solve(Problem(np.eye(4), np.array([0, 1, 0, 1]), 2), "squared_hinge", 1.0)
    assert torch.get_num_threads() == 2
