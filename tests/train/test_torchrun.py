"""Two processes make what one makes, and end together."""

from __future__ import annotations

import csv
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import ranks_probe
from decaf.backbone.weights.load import load_weights
from decaf.errors import SettingError
from decaf.runtime.processes import World
from decaf.train.train_network import train_network
from forked import until
from two_processes import end, start

pytestmark = pytest.mark.usefixtures("tiny")
SUPPORT = Path(__file__).parents[1] / "support"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def together(
    pack_path: Path, tmp_path_factory: pytest.TempPathFactory, child_env: dict[str, str]
) -> Path:
    folder = tmp_path_factory.mktemp("together")
    for code, _, complained in end(start(child_env, SUPPORT / "ranks_probe.py", pack_path, folder)):
        assert code == 0, complained
    return folder


def rows(out: Path) -> list[dict[str, float]]:
    with open(out / "log.csv", encoding="utf-8", newline="") as file:
        timed = ("images_per_second", "seconds")
        return [
            {k: float(v) for k, v in row.items() if k not in timed and v}
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["normalised", "clipped", "papers"])
def test_two_processes_make_the_weights_of_one(
    together: Path, pack_path: Path, tmp_path: Path, case: str
) -> None:
    settings = ranks_probe.cases()[case]
    options: dict[str, Any] = {"tensorboard": False, "progress": False, "workers": 2}
    alone = train_network(pack_path, tmp_path / case, settings, **options)
    found, expected = (
        load_weights(out / case / "weights.safetensors") for out in (together, tmp_path)
    )
    assert (found.provenance["processes"], expected.provenance["processes"]) == (2, 1)
    for key, tensor in expected.state.items():
        torch.testing.assert_close(found.state[key], tensor, rtol=1e-5, atol=1e-5)
    # 21 images for two processes: each is counted once.
    assert alone.validation is not None
    measured = found.metrics["validation"]
    assert measured["images"] == 21
    assert measured["top1_error"] == alone.validation.top1_error
    assert measured["loss"] == pytest.approx(alone.validation.loss, rel=1e-5)
    for here, there in zip(rows(tmp_path / case), rows(together / case), strict=True):
        assert here == pytest.approx(there, rel=1e-4)


def test_shared_normalisation_is_torchs_of_the_whole_batch(together: Path) -> None:
    parts = [torch.load(together / f"norm-{rank}.pt") for rank in range(2)]
    for case, (x, above) in enumerate(ranks_probe.norm_cases()):
        reference: nn.Module = (nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d)(5)
        expected = ranks_probe.run_norm(reference, x, above, slice(None))
        one, other = parts[0][case], parts[1][case]
        close: dict[str, float] = {"rtol": 1e-4, "atol": 2e-4}
        for name in ("out", "x"):
            joined = torch.cat([one[name], other[name]])
            torch.testing.assert_close(joined, expected[name], **close)
        for name in ("weight", "bias"):  # DistributedDataParallel sums these
            torch.testing.assert_close(one[name] + other[name], expected[name], **close)
        for name in ("running_mean", "running_var"):
            assert torch.equal(one[name], other[name])
            torch.testing.assert_close(one[name], expected[name], rtol=1e-5, atol=1e-5)


def command(pack: Path, out: Path, epochs: int) -> list[object]:
    what = ["train", pack, "-o", out, "--arch", "tiny", "--precision", "fp32", "--device", "cpu"]
    how = ["--batch-size", 16, "--epochs", epochs, "--dropout", 0.3, "--no-tensorboard", "-j", 1]
    return [SUPPORT / "tiny_network.py", *what, *how, "--resume", "-q", "--checkpoint-steps", 5]


@pytest.mark.slow
@pytest.mark.faults
def test_signals_deaths_and_going_on(
    pack_path: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    """SIGTERM to both makes a checkpoint; where one is killed the other says so; then on alone."""
    out = tmp_path / "run"
    both = start(child_env, *command(pack_path, out, 600))
    until(lambda: list(out.glob("checkpoints/step-*")), *both)
    for process in both:
        process.send_signal(signal.SIGTERM)
    ends = end(both)
    assert [code for code, _, _ in ends] == [143, 143], ends
    assert ends[0][2].count("decaf: stopped after step ") == 1
    assert "decaf: stopped" not in ends[1][2]
    stopped = sorted(out.glob("checkpoints/step-*"))[-1]
    step = int(stopped.stem[5:])
    assert f"stopped after step {step};" in ends[0][2]

    both = start(child_env, *command(pack_path, out, 600))
    until(lambda: sorted(out.glob("checkpoints/step-*"))[-1] != stopped, *both)
    both[1].kill()
    ends = end(both)
    assert ends[0][0] == 2, ends
    told = "decaf: another process of this run has ended; go on from the last checkpoint with --re"
    assert told in ends[0][2]
    assert "Traceback" not in ends[0][2]
    assert int(sorted(out.glob("checkpoints/step-*"))[-1].stem[5:]) > step


def test_a_batch_that_cannot_be_shared_is_refused(pack_path: Path, tmp_path: Path) -> None:
    from decaf.runtime.settings import ComputeSettings
    from decaf.train.pack.reader import Pack
    from decaf.train.training_run import SavingSettings, TrainingData, TrainingRun

    with (
        Pack.open(pack_path) as pack,
        pytest.raises(SettingError, match="`batch_size` 16 cannot be shared evenly by 3 processes"),
    ):
        TrainingRun(
            TrainingData(pack, pack.splits["train"], None),
            tmp_path,
            ranks_probe.cases()["clipped"],
            World(CPU, 0, 3),
            saving=SavingSettings(),
            compute=ComputeSettings(),
        )
