"""The number of torch's threads is put back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from decaf.heads.solver import Problem, solve
from decaf.runtime.cores import one_thread, share_out


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


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("count", [1, 7])
def test_shared_work_is_done_once_each(count: int) -> None:
    done = np.zeros(count, int)
    threads = set()

    def work(item: int) -> None:
        done[item] += 1
        threads.add(torch.get_num_threads())

    share_out(work, range(count), torch.device("cpu"), small=False)
    assert (done == 1).all()
    assert threads == ({1} if count > 1 else {2})
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_what_goes_wrong_in_a_thread_is_not_lost() -> None:
    def work(item: int) -> None:
        if item == 5:
            raise KeyError(item)

    with pytest.raises(KeyError):
        share_out(work, range(7), torch.device("cpu"), small=True)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_a_fit_in_threads_repeats_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(600) % 40)
    X = rng.normal(size=(600, 900)) + 2 * rng.normal(size=(40, 900))[codes]
    problem = Problem(X.astype(np.float32), codes, 40)
    one, other = (solve(problem, "squared_hinge", 1.0) for _ in range(2))
    np.testing.assert_array_equal(one.coef, other.coef)
    assert one.converged
