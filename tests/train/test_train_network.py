"""Runs from a pack to weights: resumed, refused, diverged, gone on from others."""

from __future__ import annotations

import csv
import json
import logging
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from decaf.backbone.model import load_backbone
from decaf.backbone.weights.load import load_weights
from decaf.errors import OutputError, PackError, ResumeError, SettingError, Stopped
from decaf.storage.lock import acquire
from decaf.train import log as log_module
from decaf.train import train_network as train_module
from decaf.train import training_run
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import PackSplit
from decaf.train.recipe import TrainSettings
from decaf.train.step import Trainer
from decaf.train.train_network import Diverged, train_network
from decaf.train.training_run import TrainResult

pytestmark = pytest.mark.usefixtures("tiny")
Make = Callable[..., TrainSettings]


@pytest.fixture
def settings(settings_of: Make) -> TrainSettings:
    """With all that has a state: batch normalisation, average, momentum, dropout, plateau."""
    return settings_of(
        dropout=0.3, lighting=0.1, schedule="plateau", patience=1, warmup_epochs=0.5, average=0.9
    )


def go(pack: Path, out: Path, settings: TrainSettings, **rest: Any) -> TrainResult:
    options = {"workers": 2, "log_every": 2, "tensorboard": False, "progress": False, **rest}
    return train_network(pack, out, settings, **options)


def rows_of(folder: Path) -> list[dict[str, float]]:
    return log_module.read_log(folder / "log.csv")


def stopped_at(images: int) -> dict[str, Any]:
    """Options that stop a run when so many images are done."""
    event = threading.Event()

    def look(done: int, _total: int) -> None:
        if done >= images - 16:  # the step under way is the last
            event.set()

    return {"stop": event, "progress": look}


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "log.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def timeless(out: Path) -> list[dict[str, str]]:
    return [
        {k: v for k, v in row.items() if k not in ("images_per_second", "seconds")}
        for row in rows(out)
    ]


@pytest.fixture(scope="module")
def other_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of three classes, of which two are as in `pack_path`, without validation images."""
    root = tmp_path_factory.mktemp("others")
    random = np.random.default_rng(5)
    for name in ("ants", "bees", "elks"):
        (root / name).mkdir()
        for i in range(8):
            pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    path = tmp_path_factory.mktemp("packs") / "others.pack"
    make_pack(root, path, size=40, encoding="raw", workers=0).close()
    return path


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_that_would_be_emulated_is_warned_of(
    native: bool,
    pack_path: Path,
    tmp_path: Path,
    settings_of: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_run, "bf16_is_native", lambda device: native)
    go(pack_path, tmp_path / "run", settings_of(epochs=1, precision="bf16"))
    told = (
        "precision bf16: this CPU has no native bfloat16 arithmetic and emulates it, which takes "
        "many times as long; `precision='fp32'` is faster here"
    )
    assert caplog.messages == ([] if native else [told])


@pytest.mark.slow
def test_a_run_learns_and_leaves_all_it_should(
    pack_path: Path, tmp_path: Path, settings_of: Make
) -> None:
    out = tmp_path / "run"
    result = go(pack_path, out, settings_of(epochs=12, average=0.9), tensorboard=None)
    assert result.epochs == 12
    assert result.validation is not None
    assert result.validation.images == 21
    assert result.validation.top1_error < 40  # of four classes
    weights = load_weights(out / "weights.safetensors")
    assert weights.sha256 == result.sha256
    assert weights.provenance["finished"] is True
    assert weights.provenance["wnids"] == ["ants", "bees", "cats", "dogs"]
    assert weights.provenance["settings"] == settings_of(epochs=12, average=0.9).to_dict()
    assert weights.metrics["validation"]["top1_error"] == result.validation.top1_error
    kept = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert kept == [f"step-{step:09d}.safetensors" for step in (40, 44, 48)]
    found = rows(out)
    assert [int(row["step"]) for row in found if row["train_loss"]] == list(range(2, 49, 2))
    assert [int(row["step"]) for row in found if row["val_loss"]] == list(range(4, 49, 4))
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["settings"]["epochs"] == 12
    # What was measured is what the weights do from photographs of the same size.
    images = [np.array(i) for i in np.zeros((2, 40, 40, 3), np.uint8)]
    best = load_backbone(out / "weights.safetensors").classify(images, top=4)
    assert {name for name, _ in best[0]} == {"ants", "bees", "cats", "dogs"}


@pytest.mark.slow
@pytest.mark.parametrize("images", [16, 64, 80, 150])
def test_a_stopped_run_goes_on_to_the_same_weights(
    pack_path: Path, tmp_path: Path, settings: TrainSettings, images: int
) -> None:
    whole = go(pack_path, tmp_path / "whole", settings)
    with pytest.raises(Stopped, match=r"stopped after step \d+; .*`resume=True` to go on"):
        go(pack_path, tmp_path / "cut", settings, **stopped_at(images))
    step = -(-images // 16)
    assert (tmp_path / f"cut/checkpoints/step-{step:09d}.safetensors").exists()
    assert len(list((tmp_path / "cut/checkpoints").iterdir())) == min(3, -(-step // 4))
    again = go(pack_path, tmp_path / "cut", settings, resume=True, workers=1)
    assert again.sha256 == whole.sha256
    assert again.validation == whole.validation
    assert timeless(tmp_path / "cut") == timeless(tmp_path / "whole")


def test_resuming_what_is_finished_tells_the_result_again(
    pack_path: Path, tmp_path: Path, settings: TrainSettings
) -> None:
    first = go(pack_path, tmp_path / "run", settings)
    path = tmp_path / "run/weights.safetensors"
    before = path.stat()
    assert go(pack_path, tmp_path / "run", settings, resume=True) == first
    assert path.stat() == before
    path.unlink()  # as if killed between the last checkpoint and the weights
    assert go(pack_path, tmp_path / "run", settings, resume=True) == first
    assert load_weights(path).sha256 == first.sha256


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_finished_run_goes_on_with_more_epochs(
    schedule: str,
    pack_path: Path,
    tmp_path: Path,
    settings: TrainSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    short = replace(settings, schedule=schedule, patience=50)
    long = replace(short, epochs=short.epochs + 2)
    out = tmp_path / "run"
    first = go(pack_path, out, short)
    weights = load_weights(first.weights)
    with caplog.at_level(logging.WARNING, "decaf"):
        again = go(pack_path, out, long, resume=True)
    assert again.epochs == long.epochs
    assert again.sha256 != first.sha256
    steps = weights.provenance["steps"]
    rates = {"cosine": "", "plateau": r"0\.02, and it was 0\.02"}
    assert re.search(
        rf"run: has 5 epochs now, it had 3: the schedule '{schedule}' is now that of 5 epochs, so "
        rf"from step {steps} \(epoch 3\.00\) the learning rate is {rates[schedule]}",
        caplog.text,
    )
    told = [{"epochs": 3.0, "step": steps}]
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (record["settings"]["epochs"], record["lengthened"]) == (5, told)
    assert load_weights(again.weights).provenance["lengthened"] == told
    # What was done before stands in the log, and the rates of the rest are those of the long run.
    whole = go(pack_path, tmp_path / "whole", long)
    rate = {row["step"]: row["lr"] for row in rows_of(whole.folder)}
    for row in rows_of(out):
        if row["step"] > steps:
            assert row["lr"] == rate[row["step"]]
    assert go(pack_path, out, long, resume=True).sha256 == again.sha256
    with pytest.raises(ResumeError, match=r"settings epochs: 5\S* there, 3\S* now"):
        go(pack_path, out, short, resume=True)


def test_a_run_of_one_epoch_goes_on_with_more(
    pack_path: Path, tmp_path: Path, settings: TrainSettings
) -> None:
    """Its warm-up was made shorter than the recipe's, since it had no more epochs."""
    short = replace(settings, epochs=1, warmup_epochs=0.1)
    out = tmp_path / "run"
    go(pack_path, out, short)
    assert go(pack_path, out, replace(short, epochs=2, warmup_epochs=1), resume=True).epochs == 2
    with pytest.raises(ResumeError, match=r"warmup_epochs: 1\S* there, 0\.5 now"):
        go(pack_path, out, replace(short, epochs=3, warmup_epochs=0.5), resume=True)


@pytest.mark.slow
def test_curves_that_a_kill_left_out_are_drawn_by_resuming(
    pack_path: Path,
    tmp_path: Path,
    settings: TrainSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(train_module, "draw_curves", log_module.draw_curves)
    go(pack_path, tmp_path / "run", settings)
    curves = tmp_path / "run/curves.png"
    curves.unlink()
    go(pack_path, tmp_path / "run", settings, resume=True)
    assert curves.read_bytes()[:4] == b"\x89PNG"


def test_resume_begins_where_there_is_nothing(
    pack_path: Path, tmp_path: Path, settings: TrainSettings
) -> None:
    out = tmp_path / "runs/new"
    assert go(pack_path, out, settings, resume=True).epochs == 3


def damage_cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def damage_byte(data: bytes) -> bytes:
    return data[:-1000] + bytes([data[-1000] ^ 4]) + data[-999:]


def damage_header(data: bytes) -> bytes:
    return data.replace(b'\\"step\\": 8', b'\\"step\\": 7')


def damage_all(_data: bytes) -> bytes:
    return b""


@pytest.mark.slow
@pytest.mark.parametrize("damage", [damage_cut, damage_byte, damage_header, damage_all])
@pytest.mark.parametrize("keep", [1, 3])
def test_a_damaged_checkpoint_is_passed_over(
    pack_path: Path,
    tmp_path: Path,
    settings: TrainSettings,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
    keep: int,
) -> None:
    out = tmp_path / "run"
    whole = go(pack_path, tmp_path / "whole", settings)
    with pytest.raises(Stopped):
        go(pack_path, out, settings, **stopped_at(128))
    names = [f"checkpoints/step-{step:09d}.safetensors" for step in (4, 8)]
    newest = (out / names[1]).read_bytes()
    assert damage(newest) != newest
    (out / names[1]).write_bytes(damage(newest))
    with pytest.raises(Stopped):  # writes one of a step before that of the damaged one
        go(pack_path, out, settings, resume=True, keep=keep, **stopped_at(80))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.match(r".*step-000000008.safetensors: is damaged.*going back", record.getMessage())
    assert "\n" not in record.getMessage()
    assert (out / "checkpoints/step-000000005.safetensors").exists()
    assert not (out / names[1]).exists()
    assert go(pack_path, out, settings, resume=True, keep=keep).sha256 == whole.sha256
    assert len(caplog.records) == 1
    assert timeless(out) == timeless(tmp_path / "whole")


def test_where_all_checkpoints_are_damaged_nothing_is_done(
    pack_path: Path, tmp_path: Path, settings: TrainSettings
) -> None:
    go(pack_path, tmp_path / "run", settings)
    for path in (tmp_path / "run/checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ResumeError, match="none of its 3 checkpoints is intact; begin again"):
        go(pack_path, tmp_path / "run", settings, resume=True)
    assert load_weights(tmp_path / "run/weights.safetensors").provenance["finished"]


def test_a_folder_that_is_taken_is_refused(
    pack_path: Path,
    tmp_path: Path,
    settings: TrainSettings,
    settings_of: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        go(pack_path, out, settings, **stopped_at(16))
    with pytest.raises(OutputError, match="holds a run already; give `resume=True`"):
        go(pack_path, out, settings)
    with pytest.raises(
        ResumeError, match=r"settings seed: 0 there, 4 now; settings lr: 0\.02 there, 0\.01"
    ):
        go(pack_path, out, settings_of(**{**settings.to_dict(), "crop_area": (0.35, 1.0),
           "crop_ratio": settings.crop_ratio, "lr": 0.01, "seed": 4}), resume=True)  # fmt: skip
    with pytest.raises(ResumeError, match=r"validation_pack: none there, [0-9a-f]{12}… now"):
        go(pack_path, out, settings, resume=True, val=pack_path)
    # All of that is told before a network is made.
    with monkeypatch.context() as patched:
        patched.setattr(training_run, "start_state", None)
        with pytest.raises(OutputError, match="holds a run already"):
            go(pack_path, out, settings)
        with pytest.raises(ResumeError, match="validation_pack: none there"):
            go(pack_path, out, settings, resume=True, val=pack_path)
    (out / "lock").unlink()
    import os

    held = acquire(out)
    with pytest.raises(OutputError, match=r"another run is writing here \(process \d+"):
        go(pack_path, out, settings, resume=True)
    os.close(held)
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(OutputError, match="is no folder; move it away"):
        go(pack_path, file, settings)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_bytes(b"")
    with pytest.raises(OutputError, match=r"holds something else \('thesis.tex'\)"):
        go(pack_path, tmp_path / "mine", settings)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, r"was written in schema 2 by decaf 9\.9, this version reads 1"),
        ({"format": "cake"}, r"is damaged \(its format is 'cake', not 'decaf-train'\)"),
        (None, r"run\.json: is damaged \("),
    ],
)
def test_a_run_of_another_version_is_refused(
    pack_path: Path,
    tmp_path: Path,
    settings: TrainSettings,
    change: dict[str, object] | None,
    message: str,
) -> None:
    out = tmp_path / "run"
    with pytest.raises(Stopped):
        go(pack_path, out, settings, **stopped_at(16))
    text = (out / "run.json").read_text(encoding="utf-8")
    record = {**json.loads(text), **(change or {}), "decaf_version": "9.9"}
    (out / "run.json").write_text(json.dumps(record) if change else text[:-40])
    with pytest.raises(ResumeError, match=message):
        go(pack_path, out, settings, resume=True)


def test_what_a_killed_beginning_leaves_is_no_hindrance(
    pack_path: Path, tmp_path: Path, settings: TrainSettings
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "lock").write_bytes(b"proc")
    for name in ("run.json.decaf-tmp", "log.csv.decaf-tmp", "weights.safetensors.decaf-tmp"):
        (out / name).write_bytes(b"half")
    go(pack_path, out, settings)
    left = {"run.json", "log.csv", "lock", "checkpoints", "weights.safetensors"}
    assert {path.name for path in out.iterdir()} == left


def test_an_exploding_loss_ends_the_run_and_keeps_what_was_good(
    pack_path: Path, tmp_path: Path, settings_of: Make
) -> None:
    out = tmp_path / "run"
    settings = settings_of(
        lr=60.0, warmup_epochs=2.9, batch_norm=False, average=0.9, schedule="constant"
    )
    # Of 12 steps it bears some: validation comes after each fourth, checkpoints after each.
    with pytest.raises(Diverged) as caught:
        go(pack_path, out, settings, checkpoint_steps=1)
    text = str(caught.value)
    assert re.match(r"step \d+ \(epoch \d\.\d\d\), learning rate [0-9.]+: the loss is ", text)
    assert re.search(r"the last good state is .*step-0000\d+\.safetensors", text)
    assert "try, with another `out`, a lower `lr` (such as " in text
    assert "\n" not in text
    step = int(re.match(r"step (\d+)", text)[1])
    kept = sorted((out / "checkpoints").iterdir())[-1]
    assert kept.name == f"step-{step - (step > int(kept.stem[5:])):09d}.safetensors"
    from decaf.train.checkpoint import read_checkpoint

    _, tensors = read_checkpoint(kept)
    assert all(bool(torch.isfinite(tensor.double()).all()) for tensor in tensors.values())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["network", "average"])
def test_a_broken_weight_ends_the_run_and_keeps_what_was_good(
    pack_path: Path,
    tmp_path: Path,
    settings: TrainSettings,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    take = Trainer.take

    def broken(self: Trainer, batch: Any) -> Any:
        loss = take(self, batch)
        if self.step == 8:
            getattr(self, where).get_parameter("plain.fc7.weight").data[0, 0] = torch.inf
        return loss

    monkeypatch.setattr(Trainer, "take", broken)
    with pytest.raises(Diverged, match=r"step 8 .*: a weight is no finite number; the last good "):
        go(pack_path, tmp_path / "run", settings)
    weights = load_weights(tmp_path / "run/weights.safetensors")
    assert weights.provenance["steps"] == 4
    assert not weights.provenance["finished"]
    monkeypatch.setattr(Trainer, "take", take)  # as with a mended machine
    whole = go(pack_path, tmp_path / "whole", settings)
    assert go(pack_path, tmp_path / "run", settings, resume=True).sha256 == whole.sha256


def test_a_loss_that_is_no_number_is_told(
    pack_path: Path, tmp_path: Path, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = PackSplit.pixels
    monkeypatch.setattr(
        "decaf.train.feed.lighting_shift",
        lambda alpha, *_: np.full_like(alpha, np.nan),
    )
    monkeypatch.setattr(PackSplit, "pixels", pixels)
    with pytest.raises(Diverged, match=r"step 0 .*: the loss is not a finite number; nothing was"):
        go(pack_path, tmp_path / "run", settings)


@pytest.mark.slow
def test_a_pack_that_fails_in_the_middle_is_told_and_nothing_hangs(
    pack_path: Path, tmp_path: Path, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, count = PackSplit.pixels, 0

    def failing(self: PackSplit, index: int) -> np.ndarray:
        nonlocal count
        count += 1
        if count == 120:
            raise PackError("the pack: train, image 7: damaged")
        return pixels(self, index)

    monkeypatch.setattr(PackSplit, "pixels", failing)
    with pytest.raises(PackError, match="train, image 7: damaged"):
        go(pack_path, tmp_path / "run", settings)
    assert not [thread for thread in threading.enumerate() if "decaf" in thread.name]
    again = go(pack_path, tmp_path / "run", settings, resume=True)
    assert again.sha256 == go(pack_path, tmp_path / "whole", settings).sha256


def test_checkpoints_come_after_the_steps_asked_for(
    pack_path: Path, tmp_path: Path, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    init = train_module._Loop.__init__

    def rarely(self: Any, *args: Any) -> None:
        init(self, *args)
        self.look_every = 1000  # as on a GPU, where looking costs time

    monkeypatch.setattr(train_module._Loop, "__init__", rarely)
    monkeypatch.setattr(
        "decaf.train.checkpoint.Checkpoints.write", lambda self, step, *_: seen.append(step)
    )
    go(pack_path, tmp_path / "run", settings, checkpoint_steps=3)
    assert seen == [3, 4, 6, 8, 9, 12]


def test_not_enough_disk_is_told_beforehand(
    pack_path: Path, tmp_path: Path, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"checkpoints and weights take 0\.\d+ GB, and the disk"):
        go(pack_path, tmp_path / "run", settings)
    monkeypatch.undo()


@pytest.mark.slow
def test_test_images_validate_only_where_asked_for(
    other_classes: Path, tmp_path: Path, settings_of: Make
) -> None:
    for split, count in (("train", 3), ("test", 2)):
        for number, name in enumerate(("ants", "bees", "elks")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.full((40, 40, 3), 60 * number + i, np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{i}.png")
    tested = tmp_path / "tested.pack"
    make_pack(tmp_path / "data", tested, size=40, encoding="raw", workers=0).close()
    settings = settings_of(batch_size=8, epochs=2)
    assert go(tested, tmp_path / "a", settings).validation is None
    result = go(other_classes, tmp_path / "b", settings, val=tested).validation
    assert result is not None
    assert result.images == 6


def test_mistakes_are_told_before_anything_is_begun(
    pack_path: Path, other_classes: Path, tmp_path: Path, settings_of: Make
) -> None:
    out = tmp_path / "run"
    for changes, told in (
        ({"batch_size": 65}, "`batch_size` 65 is more than the 64 training images"),
        ({"arch": "alexnet-64", "crop": "random"}, "needs images of at least the network's 64"),
        ({"precision": "fp16"}, "precision fp16 is for GPUs; use bf16 or fp32"),
        ({"mean": "image"}, "`mean='image'` needs a pack made with resize 'warp'"),
        ({"resize_to": 20}, "`resize_to` 20 is less than the network's 32 pixels"),
    ):
        with pytest.raises(SettingError, match=told):
            go(pack_path, out, settings_of(**changes))
    with pytest.raises(
        SettingError, match=r"validation images, and .*others\.pack has none: give .* `val`, "
    ):
        go(other_classes, out, settings_of(schedule="plateau"))
    with pytest.raises(
        SettingError, match=r"others\.pack: has other classes than .*: 1 more \(elks\), 2 missing"
    ):
        go(pack_path, out, settings_of(), val=other_classes)
    for rest, told in (
        ({"keep": 0}, "`keep` must be above 0, got 0"),
        ({"checkpoint_minutes": -1}, "`checkpoint_minutes` must be above 0, got -1"),
        ({"workers": 0}, "`workers` must be 1 or more, got 0"),
        ({"device": "tpu"}, "`device` 'tpu' is not one torch knows"),
    ):
        with pytest.raises(SettingError, match=told):
            go(pack_path, out, settings_of(), **rest)
    with pytest.raises(PackError, match="No such file"):
        go(tmp_path / "nothing.pack", out, settings_of())
    assert not out.exists()


def test_classes_without_images_are_told(
    pack_path: Path, tmp_path: Path, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = PackSplit.__init__

    def without_cats(self: PackSplit, *args: Any) -> None:
        init(self, *args)
        self.labels = np.where(self.labels == 2, 1, self.labels)

    monkeypatch.setattr(PackSplit, "__init__", without_cats)
    with pytest.raises(SettingError, match="has no training images of cats"):
        go(pack_path, tmp_path / "run", settings)


def test_going_on_from_weights(
    pack_path: Path, other_classes: Path, tmp_path: Path, settings_of: Make
) -> None:
    plain = {"batch_norm": False, "average": 0.0, "lr": 1e-9, "epochs": 0.5, "warmup_epochs": 0}
    first = go(
        pack_path, tmp_path / "first", settings_of(batch_norm=False, pixels="0-255", lr=1e-4)
    )
    begun = load_weights(first.weights)
    same = go(pack_path, tmp_path / "same", settings_of(**plain), init_from=first.weights)
    weights = load_weights(same.weights)
    assert weights.provenance["init_from"] == begun.sha256
    for key, tensor in weights.state.items():
        torch.testing.assert_close(tensor, begun.state[key], rtol=0, atol=1e-6)
    # The network sees what it is used to: 0 to 255 less the mean of the pack it first saw.
    assert weights.preprocess.scale == 1
    assert weights.preprocess.mean == begun.preprocess.mean
    other = go(
        other_classes, tmp_path / "other", settings_of(**plain, batch_size=8),
        init_from=first.weights,
    )  # fmt: skip
    weights = load_weights(other.weights)
    assert weights.class_names == ("ants", "bees", "elks")
    assert weights.preprocess.mean == begun.preprocess.mean
    for key, tensor in weights.state.items():
        if key.startswith("fc8"):
            assert len(tensor) == 3
        else:
            torch.testing.assert_close(tensor, begun.state[key], rtol=0, atol=1e-6)
    assert other.validation is None
    with pytest.raises(SettingError, match=r"is not the tiny-2012 to be trained: other convs, lrn"):
        go(
            pack_path, tmp_path / "arch", settings_of(**plain, arch="tiny-2012"),
            init_from=first.weights,
        )  # fmt: skip


@pytest.mark.slow
def test_going_on_with_batch_normalisation_begins_with_what_the_weights_compute(
    pack_path: Path, tmp_path: Path, settings_of: Make
) -> None:
    first = go(pack_path, tmp_path / "first", settings_of(epochs=6))
    still = {"lr": 1e-9, "epochs": 0.5, "warmup_epochs": 0, "average": 0.0}
    same = go(pack_path, tmp_path / "same", settings_of(**still), init_from=first.weights)
    assert first.validation is not None
    assert same.validation is not None
    # Running statistics have moved once, to those of a batch of 16.
    assert same.validation.loss == pytest.approx(first.validation.loss, abs=0.1)
    killed = tmp_path / "killed"
    options = {"init_from": first.weights, "resume": True}
    with pytest.raises(Stopped):
        go(pack_path, killed, settings_of(epochs=2), **options, **stopped_at(64))
    went_on = go(pack_path, killed, settings_of(epochs=2), **options)
    whole = go(pack_path, tmp_path / "whole", settings_of(epochs=2), **options)
    assert load_weights(went_on.weights).sha256 == load_weights(whole.weights).sha256


def test_the_first_layers_of_weights_are_taken(
    pack_path: Path, tmp_path: Path, settings_of: Make
) -> None:
    first = go(pack_path, tmp_path / "first", settings_of(batch_norm=False, lr=1e-4))
    begun = load_weights(first.weights)
    plain = {"batch_norm": False, "average": 0.0, "lr": 1e-9, "epochs": 0.5, "warmup_epochs": 0}
    adaptive = {"arch": "tiny-adaptive", "train_size": 64, "init_layers": "conv5"}
    result = go(
        pack_path, tmp_path / "run", settings_of(**plain, **adaptive), init_from=first.weights
    )
    for key, tensor in load_weights(result.weights).state.items():
        if key.startswith("conv"):
            torch.testing.assert_close(tensor, begun.state[key], rtol=0, atol=1e-6)
        else:
            assert tensor.shape != begun.state[key].shape or not torch.equal(
                tensor, begun.state[key]
            )
    with pytest.raises(SettingError, match=r"has fc6.weight of shape .* must name an earlier"):
        go(
            pack_path, tmp_path / "fc6", settings_of(**{**plain, **adaptive, "init_layers": "fc7"}),
            init_from=first.weights,
        )  # fmt: skip
    with pytest.raises(SettingError, match="tiny: fc6 needs inputs of 32 pixels, got 64"):
        go(pack_path, tmp_path / "size", settings_of(grow_from=32, train_size=64))


def test_views_too_small_for_a_network_are_told(
    pack_path: Path, tmp_path: Path, settings_of: Make
) -> None:
    with pytest.raises(SettingError, match="alexnet: a 48-pixel input is too small"):
        go(pack_path, tmp_path / "run", settings_of(arch="alexnet", train_size=48))
    with pytest.raises(SettingError, match="`grow_from` must be at most 32, got 64"):
        go(pack_path, tmp_path / "run", settings_of(arch="tiny-adaptive", grow_from=64))
    with pytest.raises(SettingError, match="`init_layers` needs weights to take them from"):
        go(pack_path, tmp_path / "run", settings_of(init_layers="conv2"))


def test_the_papers_recipe_runs_with_its_mean_image(
    pack_path: Path, tmp_path: Path, settings_of: Make
) -> None:
    settings = settings_of("alexnet-2012", arch="tiny-2012", lr=1e-3, epochs=2)
    result = go(pack_path, tmp_path / "run", settings, val=pack_path)
    weights = load_weights(result.weights)
    assert weights.preprocess.mean_image_sha256 is not None
    assert weights.preprocess.resize == "warp"
    again = go(
        pack_path, tmp_path / "again", settings_of("alexnet-2012", arch="tiny-2012", epochs=1),
        init_from=result.weights,
    )  # fmt: skip
    sha256 = load_weights(again.weights).preprocess.mean_image_sha256
    assert sha256 == weights.preprocess.mean_image_sha256


def test_missing_libraries_are_told_beforehand(
    pack_path: Path,
    tmp_path: Path,
    settings: TrainSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("decaf.train.train_network.can_draw", lambda: False)
    monkeypatch.setattr(log_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match="TensorBoard is not installed: pip install"):
        go(pack_path, tmp_path / "run", settings, tensorboard=True)
    caplog.clear()
    go(pack_path, tmp_path / "run", settings, tensorboard=None)
    assert caplog.messages == ["matplotlib is not installed: there will be no curves.png"]
    assert not (tmp_path / "run/tensorboard").exists()


@pytest.mark.slow
def test_memory_does_not_grow(pack_path: Path, tmp_path: Path, settings_of: Make) -> None:
    process, seen = psutil.Process(), []

    def look(done: int, _total: int) -> None:
        if done % 160 == 0:
            seen.append(process.memory_info().rss)

    go(
        pack_path, tmp_path / "run", settings_of(epochs=60, validate_every=10), progress=look
    )  # fmt: skip
    assert len(seen) >= 24
    assert max(seen[12:]) - max(seen[6:12]) < 8 << 20
