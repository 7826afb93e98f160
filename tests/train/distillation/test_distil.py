"""Whole runs: folders and packs in, a student out, to the same bits however it got there."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from colours import NAMES, Colours
from decaf.backbone.weights.load import load_weights
from decaf.errors import InputError, OutputError, ResumeError, SettingError, Stopped
from decaf.train.distillation import answer_cache
from decaf.train.distillation.photographs import Photographs
from decaf.train.distillation.settings import DistilSettings
from decaf.train.distillation.teacher import ModuleTeacher, TeacherCard
from decaf.train.log import read_log
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack
from decaf.train.recipe import TrainSettings
from decaf.train.training_run import TrainResult

pytestmark = pytest.mark.usefixtures("tiny")
Make = Callable[..., TrainSettings]
Teach = Callable[..., TrainResult]


class Counting(ModuleTeacher):
    """Counts the images that it is asked about."""

    def __init__(self, card: TeacherCard) -> None:
        super().__init__(Colours(), card)
        self.asked = 0

    def answers(self, pixels: Any) -> Any:
        self.asked += len(pixels)
        return super().answers(pixels)


def bits(result: TrainResult) -> dict[str, bytes]:
    state = load_weights(result.weights).state
    return {key: tensor.numpy().tobytes() for key, tensor in state.items()}


@pytest.fixture(scope="session")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty photographs in a folder, of no classes."""
    folder = tmp_path_factory.mktemp("loose")
    random = np.random.default_rng(4)
    for number in range(50):
        pixels = random.integers(0, 200, (36, 30 + number % 9, 3), dtype=np.uint8)
        pixels[:, :, number % 3] //= 2
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("taught", [{"views": 2}, {"views": 0, "mixing": "both"}], ids=str)
def test_a_student_learns_what_its_teacher_says(
    teach: Teach,
    pack_path: Path,
    loose: Path,
    tmp_path: Path,
    short_settings: Make,
    taught: dict[str, Any],
) -> None:
    settings = short_settings(epochs=12)
    result = teach([pack_path, loose], tmp_path / "run", settings, shares=[1, 2], taught=taught)
    weights = load_weights(result.weights)
    assert weights.class_names == NAMES
    assert weights.provenance["source"] == "decaf distil"
    assert weights.provenance["teacher"]["name"] == "colours"
    # 64 images once and 50 twice: 114 places, in the share of 64 to 100.
    shown = [source["shown"] for source in weights.provenance["sources"]]
    np.testing.assert_allclose(shown, [64 / 164, 100 / 164], atol=1e-6)
    rows = [row for row in read_log(tmp_path / "run" / "log.csv") if "val_loss" in row]
    assert rows[-1]["val_loss"] < 0.7 * rows[0]["val_loss"]
    assert result.validation is not None
    assert result.validation.images == 21
    # Of five classes; the teacher gives one of them to two thirds at most.
    assert result.validation.top1_error < 25


@pytest.mark.slow
def test_sources_without_validation_images_are_divided_by_contents(
    teach: Teach, loose: Path, tmp_path: Path
) -> None:
    result = teach(loose, tmp_path / "run", taught={"views": 1, "held_out": 0.2})
    assert result.validation is not None
    assert 3 <= result.validation.images <= 18
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert record["images"] + record["validation_images"] == 50
    # With more images those that are there stay on their side.
    more = tmp_path / "more"
    shutil.copytree(loose, more)
    Image.new("RGB", (40, 40), "red").save(more / "another.png")
    other = teach(more, tmp_path / "other", taught={"views": 1, "held_out": 0.2})
    assert other.validation is not None
    assert other.validation.images - result.validation.images in (0, 1)


@pytest.mark.slow
def test_stopped_anywhere_a_run_goes_on_to_the_same_bits(
    teach: Teach, pack_path: Path, tmp_path: Path
) -> None:
    for taught in ({"views": 2, "mixing": "mixup"}, {"views": 0, "mixing": "cutmix"}):
        name = f"v{taught['views']}"
        whole = bits(teach(pack_path, tmp_path / f"{name}-whole", taught=taught))
        out, stops = tmp_path / name, 0
        for images in (1, 40, 90, 150):
            event = threading.Event()

            def look(done: int, _total: int, event: Any = event, images: int = images) -> None:
                if done >= images:
                    event.set()

            try:
                teach(pack_path, out, taught=taught, resume=True, stop=event, progress=look)
            except Stopped:
                stops += 1
        assert stops >= 2
        assert bits(teach(pack_path, out, taught=taught, resume=True)) == whole


@pytest.mark.slow
def test_answers_are_computed_once(
    teach: Teach, card: TeacherCard, pack_path: Path, loose: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"

    def asked(sources: Any, out: str, views: int) -> int:
        teacher = Counting(card)
        taught = {"views": views}
        teach(sources, tmp_path / out, teacher=teacher, cache=cache, taught=taught)
        return teacher.asked - 2  # the check

    assert asked(pack_path, "first", 1) == 64 + 21
    assert asked(pack_path, "second", 1) == 0
    assert asked(pack_path, "third", 2) == 64
    assert asked([pack_path, loose], "fourth", 2) == 2 * 50
    # A shard that was damaged is made anew.
    shard = max(cache.glob("answers-*/*.shard"), key=lambda path: path.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert asked([pack_path, loose], "fifth", 2) in (64, 50)
    assert asked([pack_path, loose], "sixth", 2) == 0


@pytest.mark.slow
def test_answers_are_to_images_as_they_are_stored(
    teach: Teach, card: TeacherCard, photographs: Path, tmp_path: Path
) -> None:
    cache, asked = tmp_path / "cache", []
    for number, (size, resize) in enumerate([(40, "warp"), (40, "shorter-side"), (32, "warp")]):
        path = tmp_path / f"{number}.pack"
        make_pack(photographs, path, size=size, resize=resize, workers=0).close()
        teacher = Counting(card)
        teach(path, tmp_path / f"run{number}", teacher=teacher, cache=cache, taught={"views": 1})
        asked.append(teacher.asked - 2)
    assert asked == [85, 85, 85]


def test_shards_keep_no_file_open(
    teach: Teach, pack_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_cache, "SHARD_IMAGES", 2)
    process, opened = psutil.Process(), []

    def look(*_: object) -> None:
        opened.append(process.num_fds())

    teach(pack_path, tmp_path / "run", progress=look)
    assert len(list((tmp_path / "run.cache").glob("answers-*/*.shard"))) == 32 + 32 + 11
    assert max(opened) < 40 + min(opened)


def test_what_does_not_change_the_answers_does_not_ask_again(
    teach: Teach, card: TeacherCard, pack_path: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    cache = tmp_path / "cache"
    teach(pack_path, tmp_path / "first", cache=cache)
    renamed = Counting(dataclasses.replace(card, name="tints", source="found in a drawer"))
    # The same run, though its pack is named otherwise.
    monkeypatch.chdir(pack_path.parent)
    again = teach(pack_path.name, tmp_path / "first", teacher=renamed, cache=cache, resume=True)
    assert again.sha256
    other = teach(pack_path.name, tmp_path / "second", teacher=renamed, cache=cache)
    assert renamed.asked == 2 * 2  # the checks
    assert load_weights(other.weights).provenance["teacher"]["source"] == "found in a drawer"
    names = dataclasses.replace(card, class_names=("rot", *card.class_names[1:]))
    with pytest.raises(ResumeError, match="begun with other settings"):
        teach(pack_path, tmp_path / "second", card=names, cache=cache, resume=True)


def test_mistakes_are_told_before_the_teacher_answers(
    teach: Teach, card: TeacherCard, pack_path: Path, tmp_path: Path, short_settings: Make
) -> None:
    teacher = Counting(card)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("all of it")
    for out, settings, taught in (
        (tmp_path / "run", short_settings(batch_size=128), {}),
        (tmp_path / "run", short_settings(batch_size=15), {"mixing": "mixup"}),
        (tmp_path / "run", short_settings(grow_from=64), {}),
        (tmp_path / "run", short_settings(init_layers="conv5"), {}),
        (taken, short_settings(), {}),
    ):
        with pytest.raises((SettingError, OutputError)):
            teach(pack_path, out, settings, teacher=teacher, taught={"views": 1, **taught})
    assert teacher.asked == 2 * 5  # the checks
    assert not (tmp_path / "run").exists()


def test_the_run_may_be_the_folder_one_is_in(
    teach: Teach, pack_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    teach(pack_path, Path("."))
    assert (tmp_path / "here" / "weights.safetensors").exists()
    assert (tmp_path / "here.cache").is_dir()


def test_a_students_photographs_are_resized_as_those_of_the_weights_it_begins_with(
    teach: Teach, pack_path: Path, tmp_path: Path, short_settings: Make
) -> None:
    first = teach(pack_path, tmp_path / "first", short_settings(resize_to=44))
    settings = short_settings(arch="weights", batch_norm=False)
    second = teach(pack_path, tmp_path / "second", settings, init_from=first.weights)
    spec = load_weights(second.weights).preprocess
    assert (spec.resize_to, spec.crop) == (44, 32)


def test_contradicting_folders_are_told_not_thrown_together(
    teach: Teach, photographs: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "photographs"
    shutil.copytree(photographs, copy)
    (copy / "val" / "elks").mkdir()
    shutil.copy(copy / "val" / "ants" / "00.png", copy / "val" / "elks")
    with pytest.raises(InputError, match="train and val have other classes"):
        teach(copy, tmp_path / "run")


def test_a_cache_of_another_teacher_is_refused(
    teach: Teach, card: TeacherCard, pack_path: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    teach(pack_path, tmp_path / "first", cache=cache, taught={"views": 1})
    for folder in cache.glob("answers-*"):
        header = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        header["run"]["teacher"]["sha256"] = "0" * 64
        (folder / "run.json").write_text(json.dumps(header))
    with pytest.raises(ResumeError, match="answers of another teacher or of other views, or is"):
        teach(pack_path, tmp_path / "second", cache=cache, taught={"views": 1})


def test_a_disk_too_small_for_the_answers_is_told_with_the_figure(
    teach: Teach, pack_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(
        OutputError,
        match=r"answers to 2 views of 64 images take 0.00\d+ GB, and the disk has 1e-06",
    ):
        teach(pack_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_taught_is_refused(
    teach: Teach, card: TeacherCard, pack_path: Path, tmp_path: Path, short_settings: Make
) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match="no photographs"):
        teach([], out)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no images"):
        teach(empty, out)
    with pytest.raises(SettingError, match="`shares`: one number above 0 for each of 1 sources"):
        teach(pack_path, out, shares=[1, 2])
    with pytest.raises(SettingError, match="needs a card"):
        teach(pack_path, out, card=None)
    with pytest.raises(SettingError, match="tiny: fc6 needs inputs of 32 pixels, got 48"):
        teach(pack_path, out, short_settings(train_size=48))
    with pytest.raises(SettingError, match="`batch_size` 128 is more than the 64"):
        teach(pack_path, out, short_settings(batch_size=128))
    with pytest.raises(InputError, match="too few images to train on and to hold out"):
        few = tmp_path / "few"
        few.mkdir()
        for number in range(2):
            Image.new("RGB", (30, 30), (number, 0, 0)).save(few / f"{number}.png")
        teach(few, out, taught={"held_out": 1e-6})
    teach(pack_path, out)
    with pytest.raises(ResumeError, match="begun with other settings"):
        teach(pack_path, out, taught={"views": 2, "temperature": 2.0}, resume=True)


def test_labels_of_the_teachers_classes_are_found(card: TeacherCard, tmp_path: Path) -> None:
    for name in ("Green", "n02084071", "zebra", "Dark"):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((30, 30, 3), (ord(name[0]), 0, number), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photographs" / name / f"{number}.png")
    path = tmp_path / "named.pack"
    make_pack(tmp_path / "photographs", path, size=24, workers=0).close()
    names = ("red", "green", "dark", "dark", "bright")  # the dog and the garment
    wnids = ("n00000001", "n00000002", "n02084071", "n00000004", "n00000005")
    known = TeacherCard("named", card.preprocess, names, wnids)
    with Pack.open(path) as pack:
        photographs = Photographs([pack], [1.0], known, DistilSettings(held_out=0.4), 28)
        labels = np.concatenate([split.labels for split in photographs.splits.values()])
    assert photographs.wnids == wnids
    assert sorted(labels.tolist()) == [-1] * 6 + [1] * 3 + [2] * 3
