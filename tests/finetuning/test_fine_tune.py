"""From a folder of images to a network and its card: whole, stopped, refused, short of memory."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from decaf.backbone.model import load_backbone
from decaf.backbone.weights.load import Weights, load_weights
from decaf.classify.classifier import load_classifier
from decaf.errors import (
    DecafError,
    DiskError,
    ImageError,
    InputError,
    OutputError,
    ResumeError,
    SettingError,
    Stopped,
)
from decaf.features.extract import extract
from decaf.finetuning import fine_tune, training
from decaf.finetuning.fine_tune import finetune
from decaf.finetuning.keep_rule import Trial
from decaf.finetuning.result import Finetuned
from decaf.heads import load_head
from decaf.images.spec import override_preprocess
from decaf.train import training_run
from decaf.train.feed import Batch
from decaf.train.pack.build import make_pack
from decaf.train.step import Trainer
from decaf.train.train_network import Diverged

Tune = Callable[..., Finetuned]
CLASSES = ("ants", "bees", "cats", "dogs")


def stop_after(images: int) -> dict[str, Any]:
    """Options that stop a run in training, when so many images are done."""
    event = threading.Event()

    def look(done: int, total: int) -> None:
        if total == 48 * 3 and done >= images:  # of packing there are fewer
            event.set()

    return {"progress": look, "stop": event}


@pytest.mark.slow
def test_a_run_leaves_a_network_its_card_and_its_log(
    tune: Tune, photographs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m.safetensors"
    result = tune(out, changes={"epochs": 12.0})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.finetune", "m.md", "m.safetensors"
    ]  # fmt: skip
    left = {str(path.relative_to(tmp_path / "m.finetune")) for path in
            (tmp_path / "m.finetune").rglob("*") if path.is_file()}  # fmt: skip
    assert left == {"lock", "finetune.json", "run/lock", "run/log.csv", "run/run.json"}
    assert result.path == out
    assert [each[0] for each in result.classes] == list(CLASSES)
    assert [each[1:] for each in result.classes] == [(13, 3)] * 4
    assert result.tuned.images == result.frozen.images == 12
    assert result.tuned.right >= result.frozen.right  # by the start, which is the head
    weights = load_weights(out)
    assert weights.sha256 == result.weights.sha256
    assert weights.class_names == CLASSES
    assert weights.provenance["source"] == "decaf finetune"
    assert weights.metrics["validation"]["right"] == result.tuned.right
    # What is told is what the network does with the files themselves.
    probabilities = extract(photographs / "val", "prob", weights=out, workers=0, progress=False)
    assert isinstance(probabilities, np.ndarray)
    names = [path.parent.name for path in sorted((photographs / "val").rglob("*.png"))]
    answers = [CLASSES[i] for i in probabilities.argmax(axis=1)]
    assert sum(a == b for a, b in zip(answers, names, strict=True)) > 10  # of 21
    assert load_backbone(out).layers
    card = (tmp_path / "m.md").read_text(encoding="utf-8")
    for text in ("# m: a fine-tuned network", weights.sha256, "| ants | 13 | 3 |", "| lr | 0.003 |",
                 f"| fine-tuned | {result.tuned.percent:.1f} |", "torch 2."):  # fmt: skip
        assert text in card


@pytest.mark.slow
def test_a_network_that_was_tuned_is_tuned_again(tune: Tune, tmp_path: Path) -> None:
    first = tune(tmp_path / "a.safetensors", changes={"epochs": 6.0})
    again = tune(tmp_path / "b.safetensors", weights=tmp_path / "a.safetensors")
    assert again.weights.provenance["from"]["sha256"] == first.weights.sha256
    assert again.weights.class_names == CLASSES


@pytest.mark.slow
def test_nothing_is_written_without_out(tune: Tune) -> None:
    result = tune()
    assert (result.path, result.card, result.folder) == (None, None, None)
    assert result.backbone().class_names == CLASSES
    assert result.history


@pytest.mark.slow
def test_it_starts_where_the_frozen_features_end(
    tune: Tune, begun: Weights, tmp_path: Path
) -> None:
    """With a rate of next to nothing the network stays the head: its answers are the head's."""
    out, head = tmp_path / "m.safetensors", tmp_path / "m.head"
    result = tune(out, save_head=head, changes={"lr": 1e-12, "epochs": 1.0})
    images = np.random.default_rng(0).integers(0, 256, (20, 50, 40, 3), dtype=np.uint8)
    found = load_backbone(out).classify(list(images), top=4)
    expected = load_classifier(head, load_backbone(begun)).predict(images, top=4)
    for one, other in zip(found, expected, strict=True):
        assert dict(one) == pytest.approx(dict(other.classes), abs=1e-5)
    assert result.tuned.right == result.frozen.right
    assert result.tuned.calibrated_loss == pytest.approx(result.frozen.calibrated_loss, rel=1e-6)
    assert not result.better
    assert result.p_value == 1


@pytest.mark.slow
def test_a_new_last_layer_begins_near_nothing(tune: Tune) -> None:
    result = tune(changes={"start": "new", "epochs": 1.0, "lr": 1e-12})
    assert result.history[0]["val_loss"] == pytest.approx(np.log(4), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("images", [16, 60, 100])
def test_a_stopped_run_goes_on_to_the_same_weights(tune: Tune, tmp_path: Path, images: int) -> None:
    changes = {"average": 0.9, "clip_norm": 5.0}
    whole = tune(tmp_path / "whole.safetensors", changes=changes)
    out = tmp_path / "m.safetensors"
    with pytest.raises(Stopped, match="holds what is finished: run the same again with `resum"):
        tune(out, changes=changes, **stop_after(images))
    assert not out.exists()
    assert not (tmp_path / "m.md").exists()
    again = tune(out, changes=changes, resume=True)
    assert again.weights.sha256 == whole.weights.sha256
    assert again.to_dict() | {"path": 0, "card": 0, "folder": 0, "seconds": 0} == (
        whole.to_dict() | {"path": 0, "card": 0, "folder": 0, "seconds": 0}
    )


@pytest.mark.slow
def test_a_run_that_ends_between_its_weights_and_its_curves_draws_them_later(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(_log: Path, out: Path) -> None:
        out.write_bytes(b"curves")
        if not ended:
            out.unlink()
            ended.append(True)
            raise KeyboardInterrupt

    ended: list[bool] = []
    monkeypatch.setattr("decaf.train.train_network.can_draw", lambda: True)
    monkeypatch.setattr("decaf.train.train_network.draw_curves", drawn)
    out = tmp_path / "m.safetensors"
    with pytest.raises(KeyboardInterrupt):
        tune(out, changes={"epochs": 1.0}, resume=True)
    curves = tmp_path / "m.finetune/run/curves.png"
    assert not curves.exists()
    tune(out, changes={"epochs": 1.0}, resume=True)
    assert curves.read_bytes() == b"curves"


@pytest.mark.slow
def test_a_run_that_is_stopped_while_it_packs_goes_on(tune: Tune, tmp_path: Path) -> None:
    event = threading.Event()
    event.set()
    out = tmp_path / "m.safetensors"
    with pytest.raises(
        Stopped, match=r"m\.finetune holds what is finished: .* `resume=True` to go on"
    ):
        tune(out, stop=event)
    assert not out.exists()
    assert tune(out, resume=True).path == out


@pytest.mark.slow
def test_resuming_what_is_finished_tells_it_again(tune: Tune, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    first = tune(out)
    before = out.stat()
    again = tune(out, resume=True)
    now = out.stat()
    assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert again.to_dict() == first.to_dict()
    assert again.history == first.history


@pytest.mark.slow
def test_a_finished_run_is_of_its_images(tune: Tune, photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    shutil.copytree(photographs / "train", root)
    out = tmp_path / "m.safetensors"
    first = tune(out, root, val=photographs / "val", changes={"epochs": 1.0})
    again = {"resume": True, "changes": {"epochs": 1.0}}
    assert tune(out, root, val=photographs / "val", **again).to_dict() == first.to_dict()
    told = r"m\.finetune: was begun with other images \(85 there, 84 now\); give those, another"
    (root / "ants/00.png").unlink()
    with pytest.raises(ResumeError, match=told):
        tune(out, root, val=photographs / "val", **again)
    shutil.copy(photographs / "train/ants/01.png", root / "ants/00.png")
    with pytest.raises(ResumeError, match="as many, with other names, labels or sizes"):
        tune(out, root, val=photographs / "val", **again)
    with pytest.raises(ResumeError, match="was begun with other images"):
        tune(out, photographs / "train", val=root, **again)
    assert load_weights(out).sha256 == first.weights.sha256


@pytest.mark.slow
def test_a_finished_run_is_of_its_pack(
    tune: Tune, pack_path: Path, photographs: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "m.safetensors", tmp_path / "other.pack"
    tune(out, pack_path, changes={"epochs": 1.0})
    make_pack(photographs, other, size=40, encoding="jpeg", resize="warp", workers=0).close()
    with pytest.raises(ResumeError, match="was begun with other images"):
        tune(out, other, changes={"epochs": 1.0}, resume=True)


@pytest.mark.slow
def test_of_a_finished_run_the_head_is_written_too(tune: Tune, tmp_path: Path) -> None:
    out, head, later = (tmp_path / name for name in ("m.safetensors", "m.head", "later.head"))
    first = tune(out, save_head=head, changes={"epochs": 1.0})
    before = sorted(tmp_path.rglob("*"))
    again = tune(out, save_head=later, changes={"epochs": 1.0}, resume=True)
    assert again.to_dict() == first.to_dict()
    one, other = load_head(head), load_head(later)
    np.testing.assert_array_equal(one.estimator.coef_, other.estimator.coef_)
    assert (one.identity, one.report) == (other.identity, other.report)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, later])


@pytest.mark.slow
def test_other_pixels_under_the_same_names_make_no_head(
    tune: Tune, photographs: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "images", tmp_path / "m.safetensors"
    for path in sorted((photographs / "train").rglob("*.png")):
        where = root / path.parent.name / f"{path.stem}.ppm"  # all of one size
        where.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(where)
    first = tune(out, root, changes={"epochs": 1.0})
    shutil.copy(root / "ants/00.ppm", root / "bees/00.ppm")
    options: dict[str, Any] = {"save_head": tmp_path / "m.head", "resume": True}
    with pytest.raises(ResumeError, match="was begun with other images"):
        tune(out, root, changes={"epochs": 1.0}, **options)
    assert not (tmp_path / "m.head").exists()
    assert not (tmp_path / "m.finetune/data.pack").exists()
    assert load_weights(out).sha256 == first.weights.sha256


def test_a_file_of_the_users_is_no_card(tune: Tune, tmp_path: Path) -> None:
    (tmp_path / "m.md").write_text("my notes")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match=r"m\.md: exists and is no card of decaf"):
            tune(tmp_path / "m.safetensors", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["m.md"]


@pytest.mark.slow
def test_what_replaces_nothing_leaves_what_was_there(
    tune: Tune, photographs: Path, tmp_path: Path
) -> None:
    out, root = tmp_path / "m.safetensors", tmp_path / "images"
    tune(out, changes={"epochs": 1.0})

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*")
                if path.is_file() and path.name != "lock" and root not in path.parents}  # fmt: skip

    before = content()
    shutil.copytree(photographs / "train", root)
    (root / "ants/00.png").write_bytes(b"no image")
    with pytest.raises(ImageError):
        tune(out, root, overwrite=True)
    assert content() == before
    with pytest.raises(Stopped):
        tune(out, overwrite=True, **stop_after(60))
    aside = tmp_path / "m.finetune/before/run/log.csv"
    assert aside.read_bytes() == before[tmp_path / "m.finetune/run/log.csv"]
    assert out.read_bytes() == before[out]
    assert tune(out, resume=True).epochs == 3
    assert not (tmp_path / "m.finetune/before").exists()


@pytest.mark.slow
def test_a_full_disk_is_told_with_what_became_of_what_was_there(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m.safetensors"

    def told(**options: Any) -> str:
        with pytest.raises(DiskError) as failed:
            tune(out, changes={"epochs": 1.0, "seed": 3}, **options)
        text = str(failed.value)
        assert "\n" not in text
        assert f"{tmp_path}/m.finetune holds what is finished" in text
        assert text.endswith(
            ": make room, and run the same again with `resume=True` (not `overwrite=True`) to go on"
        )
        return text

    full = monkeypatch.context
    with full() as patch:
        patch.setattr("decaf.runtime.disk.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        assert "m.safetensors is" not in told()
        shutil.rmtree(tmp_path / "m.finetune")
    tune(out, changes={"epochs": 1.0})
    before = out.read_bytes()
    with full() as patch:
        patch.setattr("decaf.runtime.disk.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        text = told(overwrite=True)
    assert "data.pack: the pack takes " in text
    assert "GB left" not in text.partition(";")[2]
    assert f", and {out} is as it was: " in text
    assert out.read_bytes() == before
    with full() as patch:

        def fail(*_: object) -> None:
            raise DiskError("m.md: cannot be written: No space left on device; that; mend that")

        patch.setattr("decaf.finetuning.fine_tune.write_card", fail)
        text = told(resume=True)
    assert text.startswith("m.md: cannot be written: No space left on device; ")
    assert f", and {out} is the new one: " in text
    assert out.read_bytes() != before
    assert tune(out, resume=True, changes={"epochs": 1.0, "seed": 3}).card.exists()


@pytest.mark.slow
def test_settings_are_keywords(tune: Tune, photographs: Path, begun: Weights) -> None:
    result = finetune(photographs / "train", weights=begun, workers=0, progress=False,
                      epochs=1, batch_size=16, precision="fp32")  # fmt: skip
    assert (result.epochs, result.batch_size) == (1, 16)
    with pytest.raises(
        SettingError, match=r"finetune has no argument `epoch` \(did you mean `epochs`\?\)"
    ):
        finetune(photographs / "train", weights=begun, epoch=1)
    with pytest.raises(
        SettingError, match="`epochs` is given by name, and in `settings` besides: give it in"
    ):
        tune(epochs=1)
    with pytest.raises(SettingError, match="`val_fraction` is for a run without `val`: give one"):
        tune(val=photographs / "val", val_fraction=0.2)


@pytest.mark.slow
def test_resume_begins_where_there_is_nothing(tune: Tune, tmp_path: Path) -> None:
    assert tune(tmp_path / "m.safetensors", resume=True).epochs == 3


@pytest.mark.slow
def test_what_is_there_is_left_alone(tune: Tune, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    first = tune(out)
    with pytest.raises(
        OutputError, match=r"m\.safetensors: exists already; give another `out`, or"
    ):
        tune(out)
    out.unlink()
    with pytest.raises(
        OutputError, match=r"m\.finetune: holds a run already; give `resume=True` to"
    ):
        tune(out)
    with pytest.raises(
        ResumeError, match=r"begun with other settings .settings lr: 0.003 there, 0"
    ):
        tune(out, resume=True, changes={"lr": 0.01})
    assert not out.exists()
    second = tune(out, overwrite=True, changes={"seed": 3})
    assert second.weights.sha256 != first.weights.sha256
    assert tune(out, overwrite=True).weights.sha256 == first.weights.sha256
    (tmp_path / "other.finetune").mkdir()
    (tmp_path / "other.finetune/thesis.tex").write_bytes(b"")
    with pytest.raises(OutputError, match=r"holds something else \('thesis.tex'\); move it away"):
        tune(tmp_path / "other.safetensors", overwrite=True)
    assert [path.name for path in (tmp_path / "other.finetune").iterdir()] == ["thesis.tex"]
    (tmp_path / "file.finetune").write_bytes(b"")
    with pytest.raises(OutputError, match="is needed for work and is no folder"):
        tune(tmp_path / "file.safetensors")


@pytest.mark.parametrize(
    ("out", "kind", "message"),
    [
        ("m.pth", SettingError, "the name of a weights file ends in .safetensors"),
        ("no/m.safetensors", OutputError, "there is no folder"),
    ],
)
def test_where_nothing_could_be_written_is_told(
    tune: Tune, tmp_path: Path, out: str, kind: type[DecafError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        tune(tmp_path / out)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_mistakes_leave_nothing(tune: Tune, photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    shutil.copytree(photographs / "train", root)
    out = tmp_path / "m.safetensors"

    def refused(kind: type[DecafError], message: str, **options: Any) -> None:
        with pytest.raises(kind, match=message) as caught:
            tune(out, root, **options)
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]

    refused(SettingError, "`val_fraction` 1: must be between 0 and 1", val_fraction=1)
    refused(SettingError, "`on_error` 'pass' is not one of raise, record", on_error="pass")
    refused(SettingError, "`workers` -1: must be a whole number from 0 on", workers=-1)
    refused(SettingError, "precision fp16 is for GPUs", changes={"precision": "fp16"})
    refused(OutputError, "there is no folder", save_head=tmp_path / "no/h.head")
    (root / "ants/00.png").write_bytes(b"no image")
    refused(ImageError, r"ants/00\.png.*on_error='record'. leaves it out")
    for path in (root / "ants").iterdir():
        path.write_bytes(b"no image")
    refused(InputError, "no training image of the class 'ants' can be read", on_error="record")
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    refused(InputError, r"can be read .*; mend these images, or remove them and their folder$",
            on_error="record")  # fmt: skip
    shutil.rmtree(root / "bees")
    shutil.rmtree(root / "cats")
    shutil.rmtree(root / "dogs")
    refused(InputError, "has the class 'ants' alone; training takes two classes or more")


@pytest.mark.slow
def test_bad_images_can_be_left_out(tune: Tune, photographs: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    shutil.copytree(photographs / "train", root)
    (root / "ants/00.png").write_bytes(b"no image")
    result = tune(tmp_path / "m.safetensors", root, on_error="record")
    assert [(name, status) for _, name, status, _ in result.bad] == [("ants/00.png", "unsupported")]
    assert sum(train + val for _, train, val in result.classes) == 63
    assert "| ants/00.png | unsupported |" in (tmp_path / "m.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_images_seen_in_training_are_told(
    tune: Tune, photographs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune(val=photographs / "train", changes={"epochs": 1.0})
    assert "64 of 64 validation images are training images too" in caplog.text


@pytest.mark.slow
def test_packs_are_taken_as_they_are(
    tune: Tune, pack_path: Path, photographs: Path, tmp_path: Path
) -> None:
    result = tune(tmp_path / "m.safetensors", pack_path)
    assert result.tuned.images == 21  # its own validation images
    assert result.weights.preprocess.resize_to == 40  # its own size
    assert pack_path.exists()
    other = tmp_path / "other.pack"
    make_pack(photographs / "val", other, size=40, encoding="raw", resize="warp", workers=0).close()
    assert tune(None, pack_path, val=other).tuned.images == 21
    with pytest.raises(SettingError, match="`train` and `val` must both be packs, or neither"):
        tune(None, pack_path, val=photographs / "val")


# -- Memory -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved_and_told(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take = Trainer.take
    sizes = []

    def full(self: Trainer, batch: Batch) -> torch.Tensor:
        sizes.append(len(batch.labels))
        if len(batch.labels) > 4 and self.step == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return take(self, batch)

    monkeypatch.setattr(Trainer, "take", full)
    result = tune(tmp_path / "m.safetensors", changes={"lr": 0.004})
    assert [size for i, size in enumerate(sizes) if size not in sizes[:i]] == [16, 8, 4]
    assert result.batch_size == 4
    assert result.weights.provenance["settings"]["batch_size"] == 4
    assert result.weights.provenance["settings"]["lr"] == pytest.approx(0.002)
    told = [record.getMessage() for record in caplog.records if "does not fit" in record.message]
    assert len(told) == 2
    assert re.match(
        r"a batch of 16 does not fit into memory: going on with 8, and a rate of", told[0]
    )
    monkeypatch.setattr(Trainer, "take", take)
    straight = tune(None, changes={"lr": 0.002, "batch_size": 4})
    assert straight.weights.sha256 == result.weights.sha256


@pytest.mark.slow
def test_a_smaller_batch_is_kept_to_when_the_run_goes_on(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_to_end = training.train_to_end
    failed = []

    def full_once(run: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return train_to_end(run)

    monkeypatch.setattr(training, "train_to_end", full_once)
    out = tmp_path / "m.safetensors"
    with pytest.raises(Stopped):
        tune(out, **stop_after(60))
    record = json.loads((tmp_path / "m.finetune/finetune.json").read_text(encoding="utf-8"))
    assert record["adjusted"]["batch_size"] == 8
    assert tune(out, resume=True).batch_size == 8


@pytest.mark.slow
def test_on_a_cpu_the_batch_is_made_to_fit_before(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(training, "available_memory", lambda: 2_000_000)
    monkeypatch.setattr(
        training, "step_memory", lambda _spec, settings: 300_000 * settings.batch_size
    )
    assert tune(changes={"epochs": 1.0}).batch_size == 4
    assert "a batch of 16 does not fit into memory: going on with 4" in caplog.text
    monkeypatch.setattr(training, "available_memory", lambda: 10)
    with pytest.raises(SettingError, match=r"takes about .* GiB of memory with a batch of 1, and"):
        tune()


@pytest.mark.slow
def test_where_nothing_is_left_to_halve_it_is_told(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Trainer, batch: Batch) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "take", full)
    with pytest.raises(SettingError, match="a batch of 1 image does not fit into memory; use a"):
        tune(tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


# -- Settings at work ---------------------------------------------------------------------------


@pytest.mark.slow
def test_frozen_layers_stay_to_the_bit(tune: Tune, begun: Weights) -> None:
    result = tune(changes={"freeze": "conv3", "weight_decay": 0.5, "lr": 1e-2, "start": "new"})
    for key, tensor in result.weights.state.items():
        frozen = key.startswith(("conv1", "conv2", "conv3"))
        if not key.startswith("fc8"):
            assert torch.equal(tensor, begun.state[key]) == frozen, key


@pytest.mark.slow
def test_the_run_ends_where_validation_gets_no_better(tune: Tune) -> None:
    result = tune(changes={"early_stopping": 2, "epochs": 40.0, "lr": 1e-12, "validate_every": 1})
    assert result.epochs == 2
    assert result.is_start


@pytest.mark.slow
def test_what_is_not_better_as_it_is_used_makes_way_for_the_start(
    tune: Tune, begun: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validations between the steps, in fewer bits, may say otherwise."""
    validate = training_run.validate

    def flattering(*args: Any, **kwargs: Any) -> Any:
        errors.append(100.0 - len(errors))
        return replace(validate(*args, **kwargs), top1_error=errors[-1])

    monkeypatch.setattr(training_run, "validate", flattering)
    errors: list[float] = []
    changes = {"lr": 1e-7, "weight_decay": 0.0, "validate_every": 1}
    moved = tune(tmp_path / "new.safetensors", changes={**changes, "start": "new"})
    assert not torch.equal(moved.weights.state["conv1.weight"], begun.state["conv1.weight"])
    errors.clear()
    out = tmp_path / "m.safetensors"
    result = tune(out, changes=changes)
    assert (result.is_start, result.best_epoch) == (True, 0)
    assert result.tuned.right == result.frozen.right
    assert result.tuned.calibrated_loss == pytest.approx(result.frozen.calibrated_loss, rel=1e-6)
    assert not result.better
    assert result.passed_over is None
    for key, tensor in load_weights(out).state.items():
        assert torch.equal(tensor, begun.state[key]) == (not key.startswith("fc8")), key
    assert "kept is the state after 0" in out.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("lower", [False, True])
def test_more_images_at_a_higher_loss_make_way_for_the_start(
    tune: Tune, begun: Weights, lower: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best of many states on few images is often so by chance."""
    validate, tried = training_run.validate, fine_tune._tried

    def flattering(*args: Any, **kwargs: Any) -> Any:
        errors.append(100.0 - len(errors))
        return replace(validate(*args, **kwargs), top1_error=errors[-1])

    def lucky(job: Any, data: Any, weights: Weights) -> Trial:
        result = tried(job, data, weights)
        if torch.equal(weights.state["conv1.weight"], begun.state["conv1.weight"]):
            return result
        return Trial(np.ones_like(result.right), result.losses + (-0.5 if lower else 0.5))

    monkeypatch.setattr(training_run, "validate", flattering)
    monkeypatch.setattr(fine_tune, "_tried", lucky)
    errors: list[float] = []
    changes = {"lr": 1e-7, "weight_decay": 0.0, "validate_every": 1}
    result = tune(changes=changes)
    assert result.frozen.right < 12
    assert (result.better, result.is_start) == (lower, not lower)
    if lower:
        assert result.passed_over is None
        assert result.tuned.right == 12
        return
    assert result.passed_over is not None
    assert (result.passed_over.right, result.tuned.right) == (12, result.frozen.right)
    assert f"(12 against {result.frozen.right}), but its calibrated loss" in result.verdict
    assert torch.equal(result.weights.state["conv1.weight"], begun.state["conv1.weight"])
    errors.clear()
    new = tune(changes={**changes, "start": "new"})
    assert (new.better, new.is_start, new.passed_over) == (False, False, None)
    assert "the network written is the fine-tuned one" in new.verdict


@pytest.mark.slow
def test_logits_that_are_no_numbers_are_refused(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite weights may still overflow."""
    real = fine_tune.layer_values

    def infinite(backbone: Any, layer: str, *rest: Any) -> np.ndarray:
        return real(backbone, layer, *rest) + np.float32(np.inf)

    monkeypatch.setattr(fine_tune, "layer_values", infinite)
    with pytest.raises(Diverged, match="gives logits that are not finite"):
        tune(tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


def test_few_images_are_enough(tune: Tune, tmp_path: Path) -> None:
    """Fewer than a batch; each is seen as often as the others."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    result = tune(None, tmp_path, changes={"epochs": 5.0, "validate_every": 1})
    assert result.epochs == 5
    assert result.batch_size == 16
    assert [each[1:] for each in result.classes] == [(2, 1), (2, 1)]


@pytest.mark.slow
def test_what_the_frozen_head_reaches_is_told_first(
    tune: Tune, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="decaf"):
        result = tune(changes={"epochs": 1.0})
    assert caplog.records[0].getMessage() == (
        f"frozen fc7 + logistic regression: {result.frozen} of 12 validation images"
    )


def test_stimuli_are_taken_as_they_are(tune: Tune, begun: Weights, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(4):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    result = tune(
        tmp_path / "m.safetensors", tmp_path / "images", preprocess="as-is", changes={"epochs": 1.0}
    )
    assert result.weights.preprocess == override_preprocess(begun.preprocess, "as-is")
    found = load_classifier(tmp_path / "m.safetensors").predict(tmp_path / "images", workers=0)
    assert {each.status for each in found} == {"ok"}
    with pytest.raises(ImageError, match="must have 36 x 36"):
        tune(None, tmp_path / "images", preprocess={"resize": "none", "resize_to": 36})
    with pytest.raises(SettingError, match="fc6 needs inputs of 32 pixels, got 30"):
        tune(None, tmp_path / "images", preprocess={"crop": 30})
