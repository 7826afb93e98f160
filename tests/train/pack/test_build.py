"""Packing: what is in the pack, what is refused, and that nothing is made twice or lost."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decaf.errors import ImageError, InputError, OutputError, ResumeError, SettingError, Stopped
from decaf.images.decoding.decode import decode
from decaf.images.preprocess import resized_crops
from decaf.images.spec import PreprocessSpec
from decaf.storage import resumable
from decaf.train.pack import build
from decaf.train.pack.reader import Pack

Make = Callable[..., Pack]
SIZE = 24


def expected_pixels(path: Path, resize: Any = "shorter-side") -> np.ndarray:
    spec = PreprocessSpec("test", resize, resize_to=SIZE, crop=SIZE)
    found: np.ndarray = resized_crops(decode(path.read_bytes()).pixels, spec)[0]
    return found


def same_content(one: Path, other: Path) -> bool:
    """Compare packs but for the moment at which they were begun."""
    with Pack.open(one) as a, Pack.open(other) as b:
        return a.content == b.content and a.fingerprint == b.fingerprint and a.run == b.run


@pytest.mark.parametrize("resize", ["shorter-side", "warp"])
def test_raw_pixels_are_those_of_the_images(
    shared_dataset: Path, tmp_path: Path, make: Make, resize: str
) -> None:
    with make(shared_dataset, tmp_path / "p", encoding="raw", resize=resize) as pack:
        assert (pack.size, pack.encoding, pack.resize) == (SIZE, "raw", resize)
        assert pack.wnids == pack.class_names == ("n01", "n02")
        assert {name: len(split) for name, split in pack.splits.items()} == {"train": 10, "val": 4}
        for name, split in pack.splits.items():
            for (pixels, label), path in zip(split, split.names, strict=True):
                file = shared_dataset / os.fsdecode(path)
                np.testing.assert_array_equal(pixels, expected_pixels(file, resize))
                assert path.startswith(name.encode() + b"/")
                assert pack.wnids[label] == file.parent.name


def test_statistics_are_those_of_the_training_pixels(shared_packs: dict[str, Path]) -> None:
    with Pack.open(shared_packs["raw"]) as pack:
        raw = pack.splits["train"].raw
        assert raw is not None
        images = raw.astype(np.float64) / 255
        pixels = images.reshape(-1, 3)
        np.testing.assert_allclose(pack.mean, pixels.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(pack.std, pixels.std(axis=0), rtol=1e-12)
        np.testing.assert_allclose(
            pack.mean_image, images.mean(axis=0).transpose(2, 0, 1), rtol=1e-6
        )
        values, vectors = pack.pca
        covariance = np.cov(pixels.T, bias=True)
        np.testing.assert_allclose(covariance @ vectors, vectors * values, atol=1e-15)
        assert (np.diff(values) <= 0).all()
    with Pack.open(shared_packs["jpeg"]) as other:
        np.testing.assert_array_equal(other.mean_image, pack.mean_image)


def test_jpegs_of_the_size_keep_their_bytes(
    shared_dataset: Path, shared_packs: dict[str, Path]
) -> None:
    with Pack.open(shared_packs["jpeg"]) as pack:
        kept = []
        for split in pack.splits.values():
            for i, name in enumerate(split.names):
                file = shared_dataset / os.fsdecode(name)
                pixels = split.pixels(i).astype(int)
                if split.encoded(i).tobytes() == file.read_bytes():
                    kept.append(os.fsdecode(name))
                    np.testing.assert_array_equal(pixels, expected_pixels(file))
                else:
                    # Other pictures of the set are 60 and more away.
                    assert np.abs(pixels - expected_pixels(file)).mean() < 8
        # Not the one that EXIF turns, though its size is right.
        assert kept == ["train/n01/3.JPEG", "train/n01/4.JPEG"]
        assert [pack.content["splits"][name]["kept"] for name in ("train", "val")] == [2, 0]
        assert pack.info()["splits"]["train"]["kept"] == 2


def test_quality_is_that_of_the_jpegs(shared_dataset: Path, tmp_path: Path, make: Make) -> None:
    sizes = [
        len(make(shared_dataset, tmp_path / str(q), quality=q).splits["val"].data) for q in (30, 95)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.slow
def test_processes_give_the_same_pack_to_the_byte(
    shared_dataset: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        @staticmethod
        def now(_zone: object) -> Clock:
            return Clock()

        def isoformat(self, timespec: str) -> str:
            return "2026-01-02T03:04:05+00:00"

    monkeypatch.setattr(resumable, "datetime", Clock)
    make(shared_dataset, tmp_path / "a").close()
    monkeypatch.setattr(build, "SHARD_ROWS", (3, 3))
    make(shared_dataset, tmp_path / "b", workers=2).close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_bad_images_are_left_out_and_written_down(
    dataset: Path, tmp_path: Path, make: Make
) -> None:
    (dataset / "train" / "n01" / "0.JPEG").write_bytes(b"")
    (dataset / "train" / "n02" / "1.JPEG").write_bytes(b"<html>not found</html>")
    (dataset / "val" / "n01" / "1.JPEG").unlink()
    (dataset / "val" / "n01" / "1.JPEG").symlink_to("nowhere")
    with make(dataset, tmp_path / "p", on_error="record") as pack:
        assert [entry[:3] for entry in pack.bad] == [
            ("train", b"train/n01/0.JPEG", "empty"),
            ("train", b"train/n02/1.JPEG", "unsupported"),
            ("val", b"val/n01/1.JPEG", "missing"),
        ]
        assert pack.bad[1][3] == "not an image but a web page"
        train = pack.splits["train"]
        assert (len(train), len(pack.splits["val"])) == (8, 3)
        assert b"train/n01/0.JPEG" not in train.names
        table, statuses = pack.sources("train")
        assert table.names[0] == b"train/n01/0.JPEG"
        assert statuses == {0: "empty", 6: "unsupported"}
        assert table.labels.tolist() == [0] * 5 + [1] * 5
    began = (tmp_path / "p").stat().st_mtime_ns
    make(dataset, tmp_path / "p", on_error="record").close()  # complete: nothing to do
    assert (tmp_path / "p").stat().st_mtime_ns == began


def test_a_bad_image_is_an_error_unless_it_is_to_be_recorded(
    dataset: Path, tmp_path: Path, make: Make
) -> None:
    (dataset / "train" / "n02" / "1.JPEG").write_bytes(b"")
    with pytest.raises(ImageError, match=r"'train/n02/1.JPEG': file of zero bytes \(empty\); "):
        make(dataset, tmp_path / "p")
    make(dataset, tmp_path / "p", on_error="record").close()


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("val/*/*", "none of the 4 val images can be read"),
        ("train/n02/*", "no training image of the class 'n02' can be read"),
    ],
)
def test_a_class_or_split_of_bad_images_alone_is_refused(
    dataset: Path, tmp_path: Path, make: Make, which: str, message: str
) -> None:
    for path in dataset.glob(which):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=message):
        make(dataset, tmp_path / "p", on_error="record")
    assert not (tmp_path / "p").exists()


def test_a_class_of_bad_images_is_refused_once_they_are_known(
    dataset: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SHARD_ROWS", (2, 2))
    monkeypatch.setattr(build, "IN_FLIGHT", 1)  # else a busy machine is told of it later
    good = {path: path.read_bytes() for path in dataset.glob("train/n01/*")}
    for path in good:
        path.write_bytes(b"")
    told: list[int] = []
    options: dict[str, Any] = {"on_error": "record", "progress": lambda done, _: told.append(done)}
    said = (
        "no training image of the class 'n01' can be read (such as 'train/n01/4.JPEG': empty); "
        "mend these images, or remove them and their folder, and run the same command again with "
        "`overwrite=True`"
    )
    for _again in range(2):
        with pytest.raises(InputError, match=re.escape(said)):
            make(dataset, tmp_path / "p", **options)
    assert max(told) < 8  # of 14; the class has the first 5
    for path, data in good.items():
        path.write_bytes(data)
    with make(dataset, tmp_path / "p", overwrite=True) as pack:
        assert not pack.bad


def test_a_finished_pack_with_bad_images_is_an_error_too(
    dataset: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset / "train" / "n02" / "1.JPEG").write_bytes(b"")
    out = tmp_path / "p"
    make(dataset, out, on_error="record").close()
    for overwrite in (False, True):
        with pytest.raises(ImageError, match=r"'train/n02/1.JPEG': file of zero bytes \(empty\)"):
            make(dataset, out, overwrite=overwrite)
    # One of which it is not known what it is gets another try where that was asked for.
    monkeypatch.setattr(build, "_UNKNOWN", {"empty"})
    shutil.copy(dataset / "train/n02/2.JPEG", dataset / "train/n02/1.JPEG")
    with pytest.raises(ImageError, match="file of zero bytes"):
        make(dataset, out)
    with make(dataset, out, overwrite=True) as pack:
        assert not pack.bad


def test_overwrite_leaves_a_pack_that_is_right(dataset: Path, tmp_path: Path, make: Make) -> None:
    out = tmp_path / "p"
    make(dataset, out).close()
    began = out.stat()
    make(dataset, out, overwrite=True).close()
    assert (out.stat().st_mtime_ns, out.stat().st_ino) == (began.st_mtime_ns, began.st_ino)
    out.write_bytes(out.read_bytes()[:-100])
    with pytest.raises(OutputError, match="exists and is no training pack that can be read"):
        make(dataset, out)
    with make(dataset, out, overwrite=True) as pack:
        pack.verify()
    shutil.copy(dataset / "val/n02/0.JPEG", dataset / "val/n02/1.JPEG")
    with make(dataset, out, overwrite=True) as pack:
        val = pack.splits["val"]
        assert val.encoded(2).tobytes() == val.encoded(3).tobytes()


def test_it_stops_while_it_compares_and_assembles(
    dataset: Path, tmp_path: Path, make: Make, unfinished: Callable[..., Pack]
) -> None:
    event = threading.Event()
    event.set()
    out = tmp_path / "p"

    def stopped() -> None:
        with pytest.raises(Stopped, match=r"p: stopped; run the same command again to go on"):
            unfinished(stop=event)

    stopped()  # before the shards are looked at
    event.clear()
    with pytest.raises(Stopped, match="p: stopped; "):  # as it assembles
        unfinished(stop=event, progress=lambda *_: event.set())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "p.parts"]
    told: list[int] = []
    unfinished(progress=lambda done, _: told.append(done)).close()
    assert told == [14]
    stopped()  # as it compares
    assert out.exists()


def test_a_stopped_run_goes_on_where_it_was(
    shared_dataset: Path,
    shared_packs: dict[str, Path],
    tmp_path: Path,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "SHARD_ROWS", (3, 3))
    event = threading.Event()
    monkeypatch.setattr(build, "MAX_THREADS", 1)
    out = tmp_path / "p"
    told: list[int] = []

    def stop_at_once(done: int, _total: int) -> None:
        told.append(done)
        event.set()

    event.set()
    with pytest.raises(Stopped, match=r"p: stopped after 0 of 14 images; they are kept in .*parts"):
        make(shared_dataset, out, stop=event)
    monkeypatch.setattr(build, "SHARD_ROWS", (14, 14))
    with make(shared_dataset, out, progress=stop_at_once) as pack:
        assert sorted(np.diff(told).tolist()) == [2, 3, 3, 3, 3]  # shards as they were begun
        pack.verify()
    assert same_content(out, shared_packs["jpeg"])


def test_finished_shards_are_not_made_again(
    dataset: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SHARD_ROWS", (5, 5))

    def fail(*_: object) -> None:
        raise OSError(5, "no")

    with monkeypatch.context() as broken:
        broken.setattr(build, "write_pack", fail)
        with pytest.raises(OutputError, match=r"all 14 images are kept in .*p.parts; mend that"):
            make(dataset, tmp_path / "p")
    told: list[int] = []
    make(dataset, tmp_path / "p", progress=lambda done, total: told.append(done)).close()
    assert told == [14]


@pytest.fixture
def unfinished(
    dataset: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Pack]:
    """A run that was left before its end, and a call that takes it up."""

    def fail(*_: object) -> None:
        raise OSError(5, "no")

    with monkeypatch.context() as broken:
        broken.setattr(build, "write_pack", fail)
        with pytest.raises(OutputError):
            make(dataset, tmp_path / "p")
    return lambda **options: make(dataset, tmp_path / "p", **options)


def test_an_image_that_changed_meanwhile_is_told(
    dataset: Path, unfinished: Callable[..., Pack]
) -> None:
    shutil.copy(dataset / "train/n01/0.JPEG", dataset / "train/n01/2.JPEG")
    with pytest.raises(ResumeError, match=r"1 image changed .* \(such as 'train: train/n01/2.JPE"):
        unfinished()
    with unfinished(overwrite=True) as pack:
        first, third = pack.splits["train"][0][0], pack.splits["train"][2][0]
        np.testing.assert_array_equal(first, third)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 20}, "size: 24 there, 20 now"),
        ({"encoding": "raw"}, "encoding: jpeg there, raw now"),
        ({"quality": 80}, "quality: 92 there, 80 now"),
        ({"resize": "warp"}, "resize: shorter-side there, warp now"),
    ],
)
def test_other_settings_are_told(
    unfinished: Callable[..., Pack], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ResumeError, match=re.escape(message)):
        unfinished(**options)
    unfinished().close()
    with pytest.raises(OutputError, match=rf"exists and differs from this run \(.*{message}"):
        unfinished(**options)
    unfinished(**options, overwrite=True).close()


def test_an_image_more_is_told(dataset: Path, unfinished: Callable[..., Pack]) -> None:
    new = dataset / "train/n01/9.JPEG"
    shutil.copy(dataset / "train/n01/0.JPEG", new)
    with pytest.raises(ResumeError, match=r"14 images there, 15 now; 1 new \(such as 'train: "):
        unfinished()
    new.unlink()
    unfinished().close()
    shutil.copy(dataset / "train/n01/0.JPEG", new)
    with pytest.raises(OutputError, match=r"exists and differs .*train: 10 images there, 11 now"):
        unfinished()


def test_a_finished_pack_is_compared_by_content(dataset: Path, tmp_path: Path, make: Make) -> None:
    make(dataset, tmp_path / "p").close()
    os.utime(dataset / "val/n02/1.JPEG", (1, 1))
    make(dataset, tmp_path / "p").close()
    shutil.copy(dataset / "val/n02/0.JPEG", dataset / "val/n02/1.JPEG")
    with pytest.raises(OutputError, match=r"the content of 'val/n02/1.JPEG'"):
        make(dataset, tmp_path / "p")


def test_what_is_no_pack_is_not_replaced(shared_dataset: Path, tmp_path: Path, make: Make) -> None:
    (tmp_path / "p").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists and is a text file, not a training pack"):
            make(shared_dataset, tmp_path / "p", overwrite=overwrite)
    assert (tmp_path / "p").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("at", ["begin", "assembly"])
def test_a_disk_without_room_is_told_in_a_line(
    shared_dataset: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    free = iter([1000] if at == "begin" else [10**9, 1000])

    class Usage:
        def __init__(self) -> None:
            self.free = next(free)

    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _path: Usage())
        with pytest.raises(
            OutputError, match=r"the pack takes .* GB, and the disk has .* GB left; "
        ) as e:
            make(shared_dataset, tmp_path / "p")
    assert ("all 14 images are kept" in str(e.value)) == (at == "assembly")
    assert [path.name for path in tmp_path.iterdir()] == ["p.parts"]
    make(shared_dataset, tmp_path / "p").close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "`size` 0: must be a whole number from 1 to 4096"),
        ({"size": 5000}, "`size` 5000"),
        (
            {"encoding": "png", "quality": 0},
            "`encoding` 'png' is not one of jpeg, raw; `quality` 0",
        ),
        ({"resize": "stretch"}, "`resize` 'stretch' is not one of shorter-side, warp"),
        ({"on_error": "skip"}, "`on_error` 'skip' is not one of raise, record"),
        ({"workers": -1}, "`workers` -1: must be a whole number"),
        ({"split_val": 1.0}, "`split_val` 1.0: must be between 0 and 1"),
    ],
)
def test_wrong_settings_are_told(
    shared_dataset: Path, tmp_path: Path, make: Make, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        make(shared_dataset, tmp_path / "p", **options)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_told(
    shared_dataset: Path, tmp_path: Path, make: Make
) -> None:
    with pytest.raises(OutputError, match=r"is a folder; give the name of a file, such as"):
        make(shared_dataset, tmp_path)
    with pytest.raises(OutputError, match="there is no folder"):
        make(shared_dataset, tmp_path / "no" / "p")


def test_tiny_imagenet_is_packed_at_its_own_size(
    tmp_path: Path, make: Make, jpeg_bytes: Callable[..., bytes]
) -> None:
    root = tmp_path / "tiny"
    lines = []
    for number, wnid in enumerate(("n02", "n01")):
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        for i in range(2):
            (images / f"{wnid}_{i}.JPEG").write_bytes(jpeg_bytes(10 * number + i, 64, 64))
        (root / "val" / "images").mkdir(parents=True, exist_ok=True)
        (root / "val" / "images" / f"val_{number}.JPEG").write_bytes(jpeg_bytes(number, 64, 64))
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t1\t1\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcentipede\n")
    with make(root, tmp_path / "p", size=None) as pack:
        assert pack.size == 64
        assert pack.class_names == ("goldfish, Carassius auratus", "centipede")
        assert pack.wnids == ("n01", "n02")
        assert pack.splits["val"].labels.tolist() == [1, 0]
        assert [pack.content["splits"][s]["kept"] for s in pack.splits] == [4, 2]
        for name in pack.splits["val"].names:
            assert (root / os.fsdecode(name)).exists()


def test_images_in_two_splits_or_two_classes_are_told(
    tmp_path: Path,
    make: Make,
    jpeg_bytes: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number, name in enumerate(("train/a/1", "train/a/2", "train/b/1", "val/a/1", "val/b/1")):
        path = tmp_path / "d" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg_bytes(number, 64, 64))
    with make(tmp_path / "d", tmp_path / "p"):
        assert not caplog.text
    shutil.copy(tmp_path / "d/train/a/1.jpg", tmp_path / "d/val/a/copy.jpg")
    shutil.copy(tmp_path / "d/train/a/2.jpg", tmp_path / "d/train/b/2.jpg")
    with make(tmp_path / "d", tmp_path / "q"):
        assert "1 of 3 validation images are training images too" in caplog.text
        assert "1 image is in several classes" in caplog.text


def test_real_photographs(shared_data: Path, tmp_path: Path, make: Make) -> None:
    root = tmp_path / "few"
    for number, path in enumerate(sorted((shared_data / "imagenet-sample").iterdir())[:6]):
        folder = root / f"c{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    with make(root, tmp_path / "p", size=256, split_val=0.34) as pack:
        assert {name: len(split) for name, split in pack.splits.items()} == {"train": 4, "val": 2}
        for i, name in enumerate(pack.splits["train"].names):
            with Image.open(root / os.fsdecode(name)) as image:
                side = min(image.size)
                left, top = (image.width - side) // 2, (image.height - side) // 2
                box = (left, top, left + side, top + side)
                reference = image.convert("RGB").resize((256, 256), 2, box=box)
            difference = np.abs(np.asarray(reference, int) - pack.splits["train"].pixels(i))
            assert difference.mean() < 8  # cut a pixel further, and a JPEG once more
        pack.verify()
