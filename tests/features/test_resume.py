"""A run that was interrupted is taken up where it ended, and only if it is the same run."""

from __future__ import annotations

import functools
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.errors import ImageError, OutputError, ResumeError, Stopped
from decaf.storage.shards import manifest_line, read_manifest

ROWS = 11
SHARD = 4  # two batches of two


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("originals")
    generator = np.random.default_rng(1)
    for row in range(ROWS):
        folder = root / ("ant" if row < 5 else "bee")
        folder.mkdir(exist_ok=True)
        pixels = generator.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{row:02d}.png")
    (root / "ant" / "02.png").write_bytes(b"<html>not found</html>")
    return root


@pytest.fixture
def photographs(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals, tmp_path / "photographs"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "f.h5"


@functools.cache
def backbone(seed: int = 0) -> decaf.Backbone:
    return decaf.load_backbone(f"random:{seed}:alexnet-64")


def extract(images: Any, out: Path, layer: Any = "pool5", **rest: Any) -> dict[str, Any]:
    """Extract, and give what the file holds and how many rows were done before."""
    told: list[int] = []
    settings = {"weights": backbone(), "workers": 0, "batch_size": 2, "on_error": "record", **rest}
    file = decaf.extract(
        images, layer, out=out, progress=lambda done, total: told.append(done), **settings
    )
    assert isinstance(file, decaf.FeatureFile)
    with file:
        assert not parts(out).exists()
        return {
            "rows": {name: file[name][:].tobytes() for name in file.layers},
            "paths": list(file.path_bytes),
            "labels": file.labels.tolist(),
            "status": file.status.tolist(),
            "messages": list(file.messages),
            "done": told[0] if told else len(file),
        }


class AfterOneShard(threading.Event):
    """A wish to stop that comes after the first range of rows was begun."""

    asked = 0

    def is_set(self) -> bool:
        self.asked += 1
        return self.asked > 1


def interrupt(images: Any, out: Path, layer: Any = "pool5", **rest: Any) -> None:
    """Extract, and stop when the first shard is on the disk."""
    settings = {"weights": backbone(), "workers": 0, "batch_size": 2, "on_error": "record", **rest}
    with pytest.raises(Stopped, match="run the same command again to go on"):
        decaf.extract(images, layer, out=out, stop=AfterOneShard(), **settings)
    assert not out.exists()
    assert [path.name for path in parts(out).glob("*.shard")] == [f"{0:010d}-{SHARD:010d}.shard"]


def parts(out: Path) -> Path:
    return out.with_name(out.name + ".parts")


def without_count(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "done"}


@pytest.mark.slow
@pytest.mark.parametrize("crops", ["center", "ten-stack"])
def test_an_interrupted_run_ends_as_the_undisturbed_one(
    photographs: Path, out: Path, crops: str
) -> None:
    layers = ["fc6", "pool5"] if crops == "center" else ["pool5"]
    whole = extract(photographs, out, layers, crops=crops)
    out.unlink()
    interrupt(photographs, out, layers, crops=crops)
    again = extract(photographs, out, layers, crops=crops)
    assert whole["done"] == 0
    assert again["done"] == SHARD
    assert without_count(again) == without_count(whole)
    assert whole["status"] == [0, 0, 4, *[0] * (ROWS - 3)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "text"),
    [
        (lambda root: shutil.copy(root / "bee/07.png", root / "bee/99.png"), "11 images there, 12"),
        (lambda root: (root / "bee/07.png").unlink(), r"1 gone \(such as '.*07\.png'\)"),
        (lambda root: (root / "ant").rename(root / "cow"), "cow"),
        (
            lambda root: (root / "ant/00.png").write_bytes((root / "bee/07.png").read_bytes()),
            r"1 image changed since their rows were made \(such as '.*00\.png'\)",
        ),
        (lambda root: (root / "ant/01.png").unlink() or (root / "ant/01.png").mkdir(), "1 gone"),
    ],
    ids=["added", "removed", "renamed", "changed", "no file any more"],
)
def test_other_images_are_refused_with_the_difference(
    photographs: Path, out: Path, by: Callable[[Path], object], text: str
) -> None:
    interrupt(photographs, out)
    before = {path: path.read_bytes() for path in parts(out).iterdir()}
    by(photographs)
    with pytest.raises(
        ResumeError, match=rf"f\.h5\.parts: was begun with.*{text}.*`overwrite=True`"
    ):
        extract(photographs, out)
    assert {path: path.read_bytes() for path in parts(out).iterdir()} == before
    assert extract(photographs, out, overwrite=True)["done"] == 0


def test_another_order_and_other_labels_are_refused(photographs: Path, out: Path) -> None:
    paths = sorted(photographs.rglob("*.png"))
    interrupt(paths, out, labels=[0] * ROWS)
    with pytest.raises(ResumeError, match="in another order"):
        extract(paths[::-1], out, labels=[0] * ROWS)
    with pytest.raises(ResumeError, match=r"2 other labels \(such as of '.*09\.png'\)"):
        extract(paths, out, labels=[0] * (ROWS - 2) + [1, 1])
    assert extract(paths, out, labels=[0] * ROWS)["done"] == SHARD


def test_what_changes_no_finished_row_is_accepted(photographs: Path, out: Path) -> None:
    """A file that was only touched, and new content of an image whose row is still to come."""
    interrupt(photographs, out)
    os.utime(photographs / "ant/00.png", ns=(1, 1))
    late = photographs / "bee/10.png"
    late.write_bytes((photographs / "bee/07.png").read_bytes())
    again = extract(photographs, out)
    assert again["done"] == SHARD
    rows = np.frombuffer(again["rows"]["pool5"], np.float32).reshape(ROWS, -1)
    np.testing.assert_array_equal(rows[10], rows[7])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"layer": "fc6"}, "layers: pool5 there, fc6 now"),
        ({"weights": 1}, "weights name: random:0:alexnet-64 there, random:1:alexnet-64 now"),
        ({"crops": "ten"}, "crops: center there, ten now"),
        ({"dtype": "float16"}, "dtype: float32 there, float16 now"),
    ],
    ids=str,
)
def test_other_settings_are_refused_with_the_difference(
    photographs: Path, out: Path, settings: dict[str, Any], text: str
) -> None:
    if "weights" in settings:
        settings = {"weights": backbone(settings["weights"])}
    interrupt(photographs, out)
    with pytest.raises(ResumeError, match=f"other settings .*{text}.*`overwrite=True`"):
        extract(photographs, out, **settings)
    first = extract(photographs, out)
    assert first["done"] == SHARD
    with pytest.raises(OutputError, match=f"exists and differs from this run .*{text}"):
        extract(photographs, out, **settings)
    assert extract(photographs, out) == {**first, "done": ROWS}
    assert extract(photographs, out, overwrite=True, **settings)["done"] == 0


def test_another_batch_size_goes_on_with_the_shards_there_are(photographs: Path, out: Path) -> None:
    interrupt(photographs, out)
    assert extract(photographs, out, batch_size=3)["done"] == SHARD


@pytest.mark.parametrize("crippled", ["kept", "header gone", "lock alone"])
def test_leftovers_of_a_run_killed_as_it_cleaned_up_are_cleaned_away(
    photographs: Path, out: Path, tmp_path: Path, crippled: str
) -> None:
    interrupt(photographs, out)
    left = Path(shutil.copytree(parts(out), tmp_path / "left"))
    first = extract(photographs, out)
    shutil.copytree(left, parts(out))
    if crippled != "kept":
        (parts(out) / "run.json").unlink()
    if crippled == "lock alone":
        for path in parts(out).iterdir():
            if path.name != "lock":
                path.unlink()
    assert extract(photographs, out) == {**first, "done": ROWS}
    assert [path.name for path in out.parent.iterdir()] == ["f.h5"]


def test_another_runs_unfinished_work_beside_a_finished_file_is_left_alone(
    photographs: Path, out: Path
) -> None:
    extract(photographs, out)
    out.rename(out.with_name("kept.h5"))
    interrupt(photographs, out, "fc6")
    out.with_name("kept.h5").rename(out)
    file = decaf.extract(photographs, "pool5", out=out, weights=backbone(), on_error="record")
    file.close()  # type: ignore[union-attr]
    assert next(parts(out).glob("*.shard"))


def test_a_finished_file_with_an_image_that_killed_its_decoder_is_still_recognised(
    photographs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content is not known, and that is no difference."""
    from decaf.images.status import NO_DIGEST, Outcome
    from decaf.images.workers import decoders

    real = decoders.prepare

    def deadly(ref: Any, *args: Any, **rest: Any) -> Outcome:
        outcome = real(ref, *args, **rest)
        if ref.name.endswith(b"03.png"):
            rest["out"][...] = 0
            return Outcome("worker_died", "it died", -1, -1, NO_DIGEST)
        return outcome

    monkeypatch.setattr(decoders, "prepare", deadly)
    interrupt(photographs, out)
    os.utime(photographs / "ant/03.png", ns=(1, 1))
    first = extract(photographs, out)
    assert first["status"][3] == 9
    assert extract(photographs, out)["done"] == ROWS


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("5\n"),
    ],
    ids=["empty", "cut", "noise", "list", "number"],
)
@pytest.mark.parametrize("name", ["run.json", "inputs.jsonl"])
def test_damaged_settings_and_lists_are_refused(
    photographs: Path, out: Path, name: str, damage: Callable[[Path], object]
) -> None:
    interrupt(photographs, out)
    damage(parts(out) / name)
    with pytest.raises(ResumeError, match="`overwrite=True` to start anew") as caught:
        extract(photographs, out)
    assert name in str(caught.value) or "0 images there" in str(caught.value)
    assert extract(photographs, out, overwrite=True)["done"] == 0


def test_settings_altered_by_hand_are_refused(photographs: Path, out: Path) -> None:
    interrupt(photographs, out)
    header = parts(out) / "run.json"
    result = json.loads(header.read_bytes())
    header.write_text(json.dumps({**result, "shard_rows": 0}))
    with pytest.raises(ResumeError, match="no size of shards"):
        extract(photographs, out)
    header.write_text(json.dumps({**result, "run": {**result["run"], "crops": "ten"}}))
    with pytest.raises(ResumeError, match="not those of its fingerprint"):
        extract(photographs, out)
    # Shards cut in another way than they were: what does not fit is made anew.
    header.write_text(json.dumps({**result, "shard_rows": 3}))
    assert extract(photographs, out)["done"] < SHARD


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["cut", "flipped", "gone", "line torn", "line forged", "empty"])
def test_a_shard_that_is_not_what_its_line_says_is_made_anew(
    photographs: Path, out: Path, harm: str
) -> None:
    whole = extract(photographs, out)
    out.unlink()
    interrupt(photographs, out)
    shard = parts(out) / f"{0:010d}-{SHARD:010d}.shard"
    manifest = parts(out) / "manifest-00000.txt"
    data = shard.read_bytes()
    if harm == "cut":
        shard.write_bytes(data[:-1])
    elif harm == "flipped":
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "gone":
        shard.unlink()
    elif harm == "line torn":
        manifest.write_bytes(manifest.read_bytes().split(b"\n")[0][:-3])
    elif harm == "line forged":
        manifest.write_bytes(b"0 4 10 " + b"0" * 64 + b" 00000000\n")
    else:
        manifest.write_bytes(b"")
    again = extract(photographs, out)
    assert again["done"] == 0
    assert without_count(again) == without_count(whole)


def test_manifest_lines_survive_what_is_torn_between_them(photographs: Path, out: Path) -> None:
    interrupt(photographs, out)
    lines = (parts(out) / "manifest-00000.txt").read_bytes()
    shards = list(read_manifest(lines))
    assert b"".join(map(manifest_line, shards)) == lines
    assert list(read_manifest(b"\xff 12 3\n" + lines + lines[:30])) == shards


def test_what_a_run_did_not_write_is_never_deleted(photographs: Path, out: Path) -> None:
    parts(out).mkdir()
    for name in ("thesis.txt", "thesis.tmp", "notes.shard", "manifest-old.txt"):
        (parts(out) / name).write_text("all of it")
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=f"holds something else \\('{name}'\\)"):
                extract(photographs, out, overwrite=overwrite)
        assert (parts(out) / name).read_text(encoding="utf-8") == "all of it"
        (parts(out) / name).unlink()
    # Beside the work of a run of ours they stay as well, whatever becomes of it.
    parts(out).joinpath("lock").unlink()
    parts(out).rmdir()
    interrupt(photographs, out)
    (parts(out) / "thesis.tmp").write_text("all of it")
    settings = {"weights": backbone(), "workers": 0, "batch_size": 2, "progress": False}
    file = decaf.extract(photographs, "pool5", out=out, on_error="record", **settings)
    assert isinstance(file, decaf.FeatureFile)
    file.close()
    assert [path.name for path in parts(out).iterdir()] == ["thesis.tmp"]
    assert (parts(out) / "thesis.tmp").read_text(encoding="utf-8") == "all of it"


def test_the_output_may_lie_among_the_images(photographs: Path) -> None:
    out = photographs / "f.h5"
    interrupt(photographs, out)
    assert extract(photographs, out)["done"] == SHARD
    assert extract(photographs, out)["done"] == ROWS


def test_arrays_in_memory_are_never_taken_for_those_of_another_run(out: Path) -> None:
    arrays = np.random.default_rng(2).integers(0, 256, (9, 70, 70, 3), dtype=np.uint8)
    interrupt(arrays, out)
    first = extract(arrays, out)
    assert first["done"] == 0
    with pytest.raises(OutputError, match="images in memory, which cannot be compared"):
        extract(arrays, out)
    assert without_count(extract(arrays, out, overwrite=True)) == without_count(first)


def test_a_bad_image_is_an_error_wherever_the_run_was_interrupted(
    photographs: Path, out: Path
) -> None:
    interrupt(photographs, out)
    with pytest.raises(ImageError, match=r"02\.png' \(image 2\).*unsupported.*on_error='record'"):
        extract(photographs, out, on_error="raise")
    assert extract(photographs, out)["done"] == SHARD
    finished = out.read_bytes()
    with pytest.raises(
        ImageError, match=r"02\.png' \(image 2\).*, as .*f\.h5 has it, which is finished \(unsuppor"
    ):
        extract(photographs, out, on_error="raise")
    assert out.read_bytes() == finished
    (photographs / "ant/02.png").unlink()
    with pytest.raises(OutputError, match="11 images there, 10 now"):
        extract(photographs, out, on_error="raise")
