"""Apple's GPU where there is none: torch says that it is there, and its tensors are the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

CPU = torch.device("cpu")
Spoil = Callable[[torch.Tensor], torch.Tensor]


class _Factories(TorchFunctionMode):
    """Tensors that are made on it, in this thread."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if _is_it(kwargs.get("device")):
            _refuse_float64(kwargs.get("dtype"))
            kwargs["device"] = CPU
        return func(*args, **kwargs)


def _is_it(device: Any) -> bool:
    return isinstance(device, (str, torch.device)) and torch.device(device).type == "mps"


def _refuse_float64(dtype: Any) -> None:
    if dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")


@pytest.fixture
def apple_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that there is one; `spoil` is what it does to the tensors that it is given."""
    to = torch.Tensor.to
    state: dict[str, Spoil] = {}

    def moved(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        asked = [*args, *kwargs.values()]
        if not any(_is_it(each) for each in asked):
            return to(tensor, *args, **kwargs)
        for each in asked:
            _refuse_float64(each)
        if tensor.dtype == torch.float64:
            _refuse_float64(tensor.dtype)
        args = tuple(CPU if _is_it(each) else each for each in args)
        kwargs = {key: CPU if _is_it(each) else each for key, each in kwargs.items()}
        there = to(tensor, *args, **kwargs)
        return state["spoil"](there.clone()) if "spoil" in state else there

    monkeypatch.setattr(torch.Tensor, "to", moved)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 8 << 30)

    def spoil(how: Spoil) -> None:
        state["spoil"] = how

    with _Factories():
        yield spoil
