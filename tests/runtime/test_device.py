"""Devices that are asked for, and what is borrowed of their settings."""

from __future__ import annotations

import pytest
import torch

import forked
from decaf.backbone.model import load_backbone
from decaf.errors import SettingError
from decaf.runtime.device import choose_device, strict_float32

CPU = torch.device("cpu")

STRICT = """
import os, sys, torch
from decaf.runtime.device import strict_float32

def state():
    switches = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends
    return [switch.fp32_precision for switch in switches]

def legacy():
    try:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return "refused"

def try_it(wish):
    exec(wish)
    before = state(), legacy()
    try:
        with strict_float32(torch.device('cuda')):
            assert state()[:2] == ["ieee", "ieee"], state()
            raise KeyError
    except KeyError:
        pass
    assert (state(), legacy()) == before, (wish, before, state(), legacy())

for wish in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try_it(wish)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, wish
"""


@pytest.mark.slow
@pytest.mark.posix("fork")
def test_strict_float32_bears_with_a_users_settings_and_puts_them_back(
    child_env: dict[str, str],
) -> None:
    wishes = [
        "pass",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
        "torch.backends.fp32_precision = 'tf32'",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.cudnn.allow_tf32 = False",
        "torch.set_float32_matmul_precision('high')",
    ]
    # In processes of their own, since torch does not let some of these be taken back.
    code, _, complained = forked.run(child_env, "-c", STRICT, *wishes)
    assert code == 0, complained


def test_devices_that_are_not_there_are_refused() -> None:
    assert choose_device("cpu") == CPU
    with pytest.raises(SettingError, match="'toaster' is not one torch knows"):
        choose_device("toaster")
    with pytest.raises(SettingError, match="'meta' is not supported"):
        choose_device("meta")
    if not torch.cuda.is_available():
        assert choose_device("auto") == CPU
        with pytest.raises(SettingError, match="torch sees no GPU here"):
            choose_device("cuda")


def test_a_gpu_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    for wish in ("auto", "cuda"):
        assert str(choose_device(wish)) == "cuda:3"
        assert [str(choose_device(wish, local_rank=n)) for n in (0, 1, 5)] == [
            "cuda:0",
            "cuda:1",
            "cuda:1",
        ]
    assert str(choose_device("cuda:2", local_rank=1)) == "cuda:2"
    assert choose_device("cpu", local_rank=1) == CPU
    with pytest.raises(SettingError, match="'cuda:4': there are 4 GPUs, counted from 0"):
        choose_device("cuda:4")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_backbone_on_a_gpu_computes_without_tf32() -> None:
    backbone = load_backbone("random:0:alexnet-64")
    batch = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = backbone.features(batch, "fc7")["fc7"]
    result = backbone.to("cuda").features(batch, "fc7")["fc7"].cpu()
    assert (result - expected).norm() <= 1e-5 * expected.norm()


def test_elsewhere_than_on_a_gpu_nothing_is_switched() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    with strict_float32(CPU):
        assert torch.backends.cuda.matmul.fp32_precision == before != "ieee"
