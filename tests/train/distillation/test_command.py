"""``decaf distil`` as a process: killed and gone on with, shared by two, and its mistakes."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import forked
from decaf.backbone.weights.load import Weights, load_weights, save_weights
from decaf.backbone.weights.random_weights import random_state
from decaf.cli.main import main
from decaf.images.spec import PreprocessSpec
from decaf.train.log import read_log
from forked import run
from two_processes import end, start

PROGRAM = Path(__file__).parents[2] / "support/tiny_network.py"
SHORT = ("--arch", "tiny", "--precision", "fp32", "--batch-size", "16", "--lr", "0.01")
QUIET = ("--device", "cpu", "-j", "1", "--no-tensorboard", "-q", "--checkpoint-steps", "2")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_network

    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    state = random_state(tiny_network.TINY, 1)
    state["fc8.weight"] *= 4
    spec = PreprocessSpec("own", "warp", 36, 32, mean=(0.4,) * 3, std=(0.2,) * 3)
    save_weights(path, Weights.of("t", tiny_network.TINY, spec, state, class_names="abcd"))
    return path


def command(pack: Path, teacher: Path, out: Path, *more: str) -> list[str]:
    what = [str(PROGRAM), "distil", str(pack), "--teacher", str(teacher), "-o", str(out)]
    return [*what, *SHORT, *QUIET, *more]


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("views", ["2", "0"])
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(
    pack_path: Path, teacher: Path, tmp_path: Path, child_env: dict[str, str], views: str
) -> None:
    env = {**child_env, "OMP_NUM_THREADS": "1", "SHARD_IMAGES": "5"}
    more = ("--views", views, "--epochs", "16", "--mixing", "both", "--resume")
    began = time.monotonic()
    code, _, complained = run(env, *command(pack_path, teacher, tmp_path / "whole", *more))
    assert code == 0, complained
    seconds = time.monotonic() - began
    whole = load_weights(tmp_path / "whole" / "weights.safetensors")
    out, chance, steps = tmp_path / "out", random.Random(time.time_ns()), set()
    for _ in range(2):
        child = forked.start(env, *command(pack_path, teacher, out, *more))
        time.sleep(chance.uniform(0.1, 0.9) * seconds)
        child.kill()
        child.wait()
        steps.add(max((p.name for p in out.glob("checkpoints/step-*")), default=""))
    code, _, complained = run(env, *command(pack_path, teacher, out, *more))
    assert code == 0, complained
    weights = load_weights(out / "weights.safetensors")
    assert weights.sha256 == whole.sha256, f"killed at {sorted(steps)}"


@pytest.mark.slow
def test_two_processes_learn_what_one_does(
    pack_path: Path, teacher: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    # Two steps: Adam makes of a rounding where a gradient is nearly nothing a whole step.
    more = ("--epochs", "0.5", "--warmup-epochs", "0", "--views", "2", "--mixing", "both")
    # Shards of few images, so that both processes have some to make.
    child_env = {**child_env, "SHARD_IMAGES": "5"}
    both = end(start(child_env, *command(pack_path, teacher, tmp_path / "two", *more)))
    assert [code for code, *_ in both] == [0, 0], both
    env = {**child_env, "OMP_NUM_THREADS": "1"}
    code, said, complained = run(env, *command(pack_path, teacher, tmp_path / "one", *more))
    assert code == 0, complained
    assert "the teacher's class first" in said
    logs = [read_log(tmp_path / name / "log.csv")[-1] for name in ("one", "two")]
    assert logs[1]["val_loss"] == pytest.approx(logs[0]["val_loss"], rel=1e-3)
    one, two = (load_weights(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for key, tensor in one.state.items():
        scale = float(tensor.abs().max())
        assert float((tensor - two.state[key]).abs().max()) < 2e-2 * max(scale, 1e-3), key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--teacher", "nothing"], "no weights 'nothing'"),
        (["--teacher", "nothing.onnx"], "nothing.onnx: no such file"),
        (["--teacher", "random:0:alexnet-64", "--lr", "-1"], "--lr must be above 0"),
        (["--teacher", "random:0:alexnet-64", "--views", "-1"], "--views must be a whole number"),
        (["--teacher", "random:0:alexnet-64", "--shares", "1", "2"], "one number above 0 for each"),
        (["--teacher", "random:0:alexnet-64", "--arch", "resnet"], "no architecture 'resnet'"),
    ],
)
def test_mistakes_are_a_line(
    pack_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert main(["distil", str(pack_path), "-o", str(tmp_path / "run"), "-q", *more]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
