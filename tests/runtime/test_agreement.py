"""Apple's GPU is used where it computes what the CPU computes, and refused where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import decaf
from apple_gpu import Spoil, apple_gpu
from decaf.backbone.model import load_backbone
from decaf.cli.main import main
from decaf.errors import SettingError
from decaf.heads.problem import Problem
from decaf.heads.solver.solve import solve
from decaf.runtime.agreement import check_device, check_network
from decaf.runtime.device import choose_device, float64_device, is_out_of_memory
from decaf.runtime.processes import world_of_run

__all__ = ["apple_gpu"]

GPU = torch.device("mps", 0)
WEIGHTS = "random:0:alexnet-64"
Spoiler = Callable[[Spoil], None]


@pytest.fixture
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (5, 80, 90, 3), np.uint8))


def coarse(tensor: torch.Tensor) -> torch.Tensor:
    """Round as bfloat16 does, which no row of float32 bears."""
    return tensor.bfloat16().to(tensor.dtype) if tensor.is_floating_point() else tensor


def test_where_there_is_none_it_is_refused() -> None:
    if not torch.backends.mps.is_available():
        with pytest.raises(SettingError, match="'mps': torch sees no GPU of Apple's here"):
            choose_device("mps")


@pytest.mark.usefixtures("apple_gpu")
def test_it_is_taken_by_its_name_alone() -> None:
    assert choose_device("mps") == choose_device("mps:0") == GPU
    assert choose_device("auto").type != "mps"
    assert float64_device(GPU).type == "cpu"
    with pytest.raises(SettingError, match="'mps:1': there is one such GPU"):
        choose_device("mps:1")
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5.23 GB)"))


@pytest.mark.usefixtures("apple_gpu")
def test_its_rows_are_the_cpus(images: list[np.ndarray], tmp_path: Path) -> None:
    expected = decaf.extract(images, "fc7", weights=WEIGHTS, device="cpu", workers=0)
    rows = decaf.extract(images, "fc7", weights=WEIGHTS, device="mps", workers=0)
    assert np.linalg.norm(rows - expected) <= 1e-5 * np.linalg.norm(expected)
    with decaf.extract(
        images, ["fc6", "prob"], weights=WEIGHTS, device="mps", workers=0, out=tmp_path / "f.h5"
    ) as file:
        assert file.environment["gpu"] == "Apple's GPU, by Metal"


@pytest.mark.parametrize("crops", ["center", "ten"])
def test_one_that_computes_otherwise_is_refused(
    apple_gpu: Spoiler, images: list[np.ndarray], crops: str, tmp_path: Path
) -> None:
    apple_gpu(coarse)
    out = tmp_path / "f.h5"
    with pytest.raises(SettingError, match=r"'mps': computes other values than the CPU: fc7 diffe"):
        decaf.extract(images, "fc7", weights=WEIGHTS, device="mps", workers=0, crops=crops, out=out)
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingError, match=r"fc8 differs by \d\.\de-0\d \(relative error\)"):
        load_backbone(WEIGHTS).to("mps")
    rows = decaf.extract(images, "fc7", weights=WEIGHTS, device="cpu", workers=0)
    assert np.isfinite(rows).all()


def test_rows_that_are_no_numbers_are_refused(apple_gpu: Spoiler) -> None:
    with pytest.raises(SettingError, match="fc6 differs by inf"):
        check_device(
            GPU,
            lambda: {"fc6": np.array([[1.0, np.nan]])},
            lambda: {"fc6": np.array([[1.0, 2.0]])},
        )


@pytest.mark.usefixtures("apple_gpu")
def test_bfloat16_is_refused(images: list[np.ndarray]) -> None:
    with pytest.raises(SettingError, match="this MPS has no native bfloat16"):
        decaf.extract(images, "fc7", weights=WEIGHTS, device="mps", precision="bf16", workers=0)


class _Scaled(torch.autograd.Function):
    """Nothing forwards, a product backwards."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(factor)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None]:
        return slope * ctx.saved_tensors[0], None


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.linear = nn.Linear(4 * 36, 7)
        self.register_buffer("factor", torch.ones(4 * 36))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(_Scaled.apply(self.conv(x).flatten(1), self.factor))  # type: ignore[no-any-return]


def test_training_looks_at_slopes_too(apple_gpu: Spoiler) -> None:
    network = _Net()
    check_network(GPU, network, (3, 8, 8), slopes=True)
    assert network.conv.weight.grad is None

    def halved(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape == (4 * 36,):
            tensor[::2] = 0
        return tensor

    apple_gpu(halved)
    check_network(GPU, network, (3, 8, 8))
    with pytest.raises(SettingError, match=r"the slope of conv\.\w+ differs by .*1 - cosine"):
        check_network(GPU, network, (3, 8, 8), slopes=True)


def test_heads_are_fitted_in_float64_on_the_cpu(apple_gpu: Spoiler) -> None:
    apple_gpu(coarse)
    random = np.random.default_rng(0)
    X, y = random.standard_normal((60, 5)), random.integers(0, 3, 60)
    problem = Problem(X, y, 3)
    there, here = (solve(problem, "multinomial", 1.0, device=d) for d in ("mps", "cpu"))
    np.testing.assert_array_equal(there.coef, here.coef)


@pytest.mark.usefixtures("apple_gpu")
def test_processes_of_torchrun_cannot_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    with pytest.raises(SettingError, match="Apple's GPU is one"), world_of_run("mps"):
        pass


@pytest.mark.slow
def test_doctor_tells_of_it(apple_gpu: Spoiler, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "Apple's, 8 GiB: used with --device mps" in " ".join(said.split())
    assert "self-test on Apple's GPU ok: 10 images" in " ".join(said.split())
    apple_gpu(coarse)
    assert main(["doctor", "--json"]) == 0  # decaf works; where it was not asked for it is not used
    found = json.loads(capsys.readouterr().out)
    assert "computes other values than the CPU" in found["apple_test"]["error"]
    assert main(["doctor", "--device", "mps"]) == 1
