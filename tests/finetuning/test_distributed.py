"""Two processes fine-tune as one does, end together and go on together."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from decaf.backbone.weights.load import load_weights
from decaf.finetuning.fine_tune import finetune
from decaf.finetuning.settings import FinetuneSettings
from forked import until
from two_processes import end, start

pytestmark = pytest.mark.usefixtures("tiny")
TINY = Path(__file__).parents[1] / "support/tiny_network.py"
HOW = ("--precision", "fp32", "--device", "cpu", "--batch-size", 16)


def command(
    source: Path, out: Path, weights: Path, *more: object, workers: int = 0, **settings: float
) -> list[object]:
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    how = (*HOW, "-j", workers, *flags)
    return [TINY, "finetune", source, "-o", out, "-w", weights, *how, *more]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "settings"),
    [(1, {"epochs": 3, "lr": 3e-3, "dropout": 0}), (0, {"epochs": 2, "lr": 1e-3, "lighting": 0})],
    ids=["no dropout", "no lighting"],
)
def test_two_processes_make_the_network_of_one(
    photographs: Path,
    weights_path: Path,
    tmp_path: Path,
    child_env: dict[str, str],
    workers: int,
    settings: dict[str, float],
) -> None:
    out, head = tmp_path / "m.safetensors", tmp_path / "m.head"
    more = ("--json", "--save-head", head)
    asked = command(photographs, out, weights_path, *more, workers=workers, **settings)
    both = start(child_env, *asked)
    (code, said, complained), (other, silent, _) = end(both)
    assert (code, other) == (0, 0), complained
    assert silent == ""
    told = json.loads(said)
    alone = finetune(
        photographs,
        weights=weights_path,
        settings=FinetuneSettings(**settings, batch_size=16, precision="fp32"),
        workers=0,
        device="cpu",
        progress=False,
    )
    result = load_weights(out)
    assert result.provenance["processes"] == 2
    assert result.provenance["classes"] == alone.weights.provenance["classes"]
    for key, tensor in alone.weights.state.items():
        torch.testing.assert_close(result.state[key], tensor, rtol=1e-4, atol=1e-5)
    assert told["frozen"] == alone.frozen.to_dict()
    assert told["tuned"] == alone.tuned.to_dict()
    assert head.exists()
    assert out.with_suffix(".md").exists()


@pytest.mark.slow
def test_a_mistake_ends_both(
    photographs: Path, weights_path: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    out = tmp_path / "m.safetensors"
    one_class = tmp_path / "one"
    (one_class / "ants").mkdir(parents=True)
    for image in (photographs / "train" / "ants").iterdir():
        (one_class / "ants" / image.name).write_bytes(image.read_bytes())
    ends = end(start(child_env, *command(one_class, out, weights_path, epochs=3)))
    assert [code for code, _, _ in ends] == [2, 2], ends
    for _, _, told in ends:
        assert "has the class 'ants' alone; training takes two classes or more" in told
        assert "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.slow
@pytest.mark.faults
def test_stopped_they_go_on(
    photographs: Path, weights_path: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    out = tmp_path / "m.safetensors"
    long = {"epochs": 15, "lr": 3e-3, "dropout": 0}
    again = command(photographs, out, weights_path, "--resume", "--checkpoint-steps", 5, **long)
    both = start(child_env, *again)
    until(lambda: list((tmp_path / "m.finetune").glob("run/checkpoints/step-*")), *both)
    for process in both:
        process.send_signal(signal.SIGTERM)
    ends = end(both)
    assert [code for code, _, _ in ends] == [143, 143], ends
    assert ends[0][2].count("--resume to go on") == 1
    assert not out.exists()
    ends = end(start(child_env, *again, "-q"))
    assert [code for code, _, _ in ends] == [0, 0], ends
    alone = tmp_path / "alone.safetensors"
    undisturbed = end(start(child_env, *command(photographs, alone, weights_path, "-q", **long)))
    assert [code for code, _, _ in undisturbed] == [0, 0], undisturbed
    assert load_weights(out).sha256 == load_weights(alone).sha256
