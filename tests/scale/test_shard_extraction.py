"""Each shard becomes a part; what is in it is what `decaf.extract` makes of the same images."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import decaf
import made_shards
from decaf.errors import OutputError, ResumeError, SettingError, Stopped
from decaf.features.store.part_folder import PartFolder
from decaf.scale import ShardStatus, make_part, shard_status
from decaf.storage import object_store
from made_shards import part_bytes, photograph, samples_of, tar_bytes

Extract = Callable[..., ShardStatus]


@pytest.fixture
def store() -> Iterator[MemoryFileSystem]:
    """fsspec's store in memory, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which take no time."""
    waited: list[float] = []
    monkeypatch.setattr(object_store, "_sleep", waited.append)
    monkeypatch.setattr(object_store, "_random", lambda: 1.0)
    return waited


def test_parts_hold_what_extract_makes(
    made: Path, shards: Path, network: str, tmp_path: Path
) -> None:
    for name, data in samples_of(1):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    images = sorted(tmp_path.rglob("*.jpg"))
    with decaf.extract(
        images,
        ["fc7", "pool5"],
        out=tmp_path / "f.h5",
        weights=network,
        on_error="record",
        workers=0,
        progress=False,
        labels="none",
    ) as expected:
        (part,) = made.glob("001-*.parquet")
        # Read by pyarrow alone, as others read it.
        table = pyarrow.parquet.read_table(part)
        assert table["path"].to_pylist() == [f"001/{n:04d}.jpg" for n in range(5)]
        assert table["key"].to_pylist() == [f"001/{n:04d}" for n in range(5)]
        assert table["label"].to_pylist() == [0, 1, 2, 0, 1]
        assert table["txt"].to_pylist() == [f"caption {n}" for n in range(5)]
        assert json.loads(table["json"][2].as_py()) == {"width": 60, "about": "né 2"}
        assert table["status"].to_pylist() == ["ok", "ok", "ok", "unsupported", "ok"]
        assert table["message"].to_pylist() == expected.messages.tolist()
        sizes = zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True)
        assert list(sizes) == [tuple(size) for size in expected.source_size.tolist()]
        digests = [hashlib.sha256(path.read_bytes()).digest() for path in images]
        assert table["sha256"].to_pylist() == digests
        for layer in ("fc7", "pool5"):
            values = np.array(table[layer].to_pylist(), np.float32)
            np.testing.assert_array_equal(values, expected[layer][:].reshape(5, -1))
        metadata = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        assert json.loads(metadata["run"]) == expected.run
        assert metadata["fingerprint"] == expected.fingerprint
        shard = json.loads(metadata["environment"])["shard"]
    data = (shards / "001.tar").read_bytes()
    assert (shard["size"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert shard["name"] == str(shards / "001.tar")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_both_formats_hold_the_same(
    dtype: str, shards: Path, extract: Extract, tmp_path: Path
) -> None:
    for form in ("parquet", "h5"):
        extract(shards / "000.tar", tmp_path / form, ["fc7", "pool5"], format=form, dtype=dtype)
    (parquet,), (h5,) = (sorted((tmp_path / f).glob(f"*.{f}")) for f in ("parquet", "h5"))
    with decaf.open_features(parquet) as a, decaf.open_features(h5) as b:
        assert a.content == b.content
        for name in ("run", "layers", "status_names", "class_names", "environment"):
            assert getattr(a, name) == getattr(b, name)
        for name in ("paths", "labels", "status", "messages", "source_size", "content_sha256"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for name in ("key", "txt", "json", "split"):
            assert a.column(name) == b.column(name)
        for layer in a.layers:
            assert a[layer].dtype == b[layer].dtype == dtype
            np.testing.assert_array_equal(a[layer][[4, 0, 3]], b[layer][[4, 0, 3]])


def test_the_same_call_again_makes_nothing(
    shards: Path, extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = extract(f"{shards}/*.tar", tmp_path / "parts")
    assert (status.shards, status.done, status.rows, status.bad) == (3, 3, 15, {"unsupported": 3})
    assert status.complete
    assert status.images_per_second > 0
    assert status.seconds_left == 0
    before = part_bytes(tmp_path / "parts")
    files = [path for path in (tmp_path / "parts").iterdir() if path.is_file()]
    times = [path.stat().st_mtime_ns for path in files]
    monkeypatch.setattr(make_part, "open_shard", None)
    assert extract(f"{shards}/*.tar", tmp_path / "parts") == status
    assert part_bytes(tmp_path / "parts") == before
    assert [path.stat().st_mtime_ns for path in files] == times


def test_a_changed_shard_is_made_again_and_no_other(extract: Extract, tmp_path: Path) -> None:
    folder = made_shards.write_shards(tmp_path / "in")
    extract(f"{folder}/*.tar", tmp_path / "parts")
    before = part_bytes(tmp_path / "parts")
    (folder / "001.tar").write_bytes(tar_bytes(samples_of(9, 4, None)))
    status = extract(f"{folder}/*.tar", tmp_path / "parts")
    after = part_bytes(tmp_path / "parts")
    # The part of the old one is gone, with its record, and the others are untouched.
    assert len(after) == len(list((tmp_path / "parts/records").iterdir())) == 3
    assert len(before.items() & after.items()) == 2
    assert (status.rows, status.bad) == (14, {"unsupported": 2})
    with decaf.open_features(tmp_path / "parts") as features:
        assert features.paths[5:9].tolist() == [f"009/{n:04d}.jpg" for n in range(4)]


def test_a_bad_shard_is_recorded_and_does_not_stop_the_others(
    extract: Extract, tmp_path: Path
) -> None:
    folder = made_shards.write_shards(tmp_path / "in")
    whole = (folder / "000.tar").read_bytes()
    (folder / "000.tar").write_bytes(whole[:1700])
    torn = [("a.jpg", photograph(1)), ("b.jpg", photograph(2)), ("a.cls", b"1")]
    (folder / "001.tar").write_bytes(tar_bytes(torn))
    status = extract(f"{folder}/{{000..003}}.tar", tmp_path / "parts")
    assert (status.shards, status.done, status.left) == (4, 1, 0)
    reasons = [status.failed[str(folder / f"{n:03d}.tar")] for n in (0, 1, 3)]
    assert "cannot be read as a tar archive" in reasons[0]
    assert "'a.cls' stands apart from 'a.jpg'" in reasons[1]
    assert reasons[2] == "it is not there"
    # Mended, they are made, and their old records go.
    (folder / "000.tar").write_bytes(whole)
    status = extract(f"{folder}/{{000..003}}.tar", tmp_path / "parts")
    assert (status.done, len(status.failed)) == (2, 2)


def test_other_settings_are_refused_or_replaced(
    shards: Path, extract: Extract, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    extract(shards / "000.tar", out)
    with pytest.raises(ResumeError, match=r"other settings \(layers: fc7 there, fc6 now\); give"):
        extract(shards / "000.tar", out, "fc6")
    with pytest.raises(ResumeError, match="format: parquet there, h5 now"):
        extract(shards / "000.tar", out, format="h5")
    extract(shards / "001.tar", out, "fc6", format="h5", overwrite=True)
    assert [name.rpartition(".")[2] for name in part_bytes(out)] == ["h5"]


def test_a_folder_of_something_else_is_refused(
    shards: Path, extract: Extract, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds something else \('thesis.tex'\)"):
        extract(shards / "000.tar", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_settings_are_checked_before_anything(shards: Path, extract: Extract) -> None:
    with pytest.raises(SettingError, match=r"`engine` 'spark' is not one of .*`actors` 0: must"):
        extract(shards, "out", engine="spark", actors=0)
    with pytest.raises(SettingError, match="are for `engine='ray'`"):
        extract(shards, "out", actors=2)


def test_a_stop_keeps_finished_parts(shards: Path, extract: Extract, tmp_path: Path) -> None:
    stop = threading.Event()

    def progress(done: int, _total: int) -> None:
        if done == 1:
            stop.set()

    with pytest.raises(Stopped, match="finished parts are kept: run the same command again"):
        extract(f"{shards}/*.tar", tmp_path / "parts", progress=progress, stop=stop)
    status = shard_status(tmp_path / "parts")
    assert (status.done, status.left) == (1, 2)
    assert status.seconds_left == pytest.approx(2 * 5 / status.images_per_second, rel=0.01)


def test_two_runs_at_once_share_the_work(
    shards: Path, made: Path, extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both open their first shard before one of them goes on: at least one part is made twice."""
    both = threading.Barrier(2, timeout=60)
    first = threading.local()
    open_shard = make_part.open_shard

    def opened(shard: Any) -> Any:
        if not hasattr(first, "done"):
            first.done = True
            both.wait()
        return open_shard(shard)

    monkeypatch.setattr(make_part, "open_shard", opened)
    errors = []

    def run() -> None:
        try:
            extract(f"{shards}/{{000..002}}.tar", tmp_path / "parts", ["fc7", "pool5"])
        except BaseException as error:
            errors.append(error)

    runs = [threading.Thread(target=run) for _ in range(2)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert not errors
    assert shard_status(tmp_path / "parts").complete
    with decaf.open_features(tmp_path / "parts") as a, decaf.open_features(made) as b:
        assert a.paths.tolist() == b.paths.tolist()
        np.testing.assert_array_equal(a["fc7"][:], b["fc7"][:])


def test_a_set_that_another_run_begins_meanwhile_is_gone_on_with(
    shards: Path, made: Path, extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run comes between the look for a set and the look at what else lies there."""
    extract(shards / "000.tar", tmp_path / "other", ["fc7", "pool5"])
    read_run = PartFolder.read_run
    looks = []

    def read_then_begun(self: PartFolder) -> dict[str, Any] | None:
        there = read_run(self)
        looks.append(there)
        if there is None:
            shutil.copytree(tmp_path / "other", tmp_path / "parts")
        return there

    monkeypatch.setattr(PartFolder, "read_run", read_then_begun)
    extract(f"{shards}/{{000..002}}.tar", tmp_path / "parts", ["fc7", "pool5"])
    assert looks[0] is None
    assert looks[1] is not None
    with decaf.open_features(tmp_path / "parts") as a, decaf.open_features(made) as b:
        assert a.paths.tolist() == b.paths.tolist()


def test_runs_on_other_shards_add_to_the_set(
    shards: Path, made: Path, extract: Extract, tmp_path: Path
) -> None:
    for name in ("002", "000", "001"):
        status = extract(shards / f"{name}.tar", tmp_path / "parts", ["fc7", "pool5"])
    assert (status.shards, status.done) == (3, 3)
    with decaf.open_features(tmp_path / "parts") as a, decaf.open_features(made) as b:
        assert a.paths.tolist() == b.paths.tolist()
        assert a.fingerprint == b.fingerprint


def test_a_record_that_was_lost_is_made_again(
    shards: Path, extract: Extract, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    extract(shards / "000.tar", out)
    (record,) = (out / "records").iterdir()
    record.unlink()
    with decaf.open_features(out) as features:
        assert len(features) == 5
    status = extract(shards / "000.tar", out)
    assert (status.rows, status.bad) == (5, {"unsupported": 1})


def test_from_store_to_store(store: MemoryFileSystem, shards: Path, extract: Extract) -> None:
    for path in sorted(shards.iterdir()):
        store.pipe_file(f"/in/{path.name}", path.read_bytes())
    status = extract("memory://in/{000..003}.tar", "memory://out/set/")
    assert (status.done, status.failed) == (3, {"memory://in/003.tar": "it is not there"})
    with pytest.warns(UserWarning, match="1 of 4 parts are not there"):
        features = decaf.open_features("memory://out/set/")
    with features:
        X, y = features.to_xy("fc7")
        assert X.shape == (12, 20)
        assert y.tolist() == [0, 1, 2, 1] * 3
    before = {name: file.getvalue() for name, file in store.store.items()}
    assert extract("memory://in/*.tar", "memory://out/set/").done == 3
    for name, data in before.items():
        if name.endswith(".parquet"):
            assert store.store[name].getvalue() == data
    # The same bytes as those of a folder, but for the names of the shards.
    assert extract("memory://in/000.tar", "memory://h5/", format="h5").complete
    with decaf.open_features("memory://h5/") as part:
        np.testing.assert_array_equal(part.to_xy("fc7")[0], X[:4])


class Throttled(OSError):
    """What stores say: slow down."""


def test_a_store_that_throttles_is_asked_again(
    store: MemoryFileSystem,
    shards: Path,
    extract: Extract,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.pipe_file("/in/000.tar", (shards / "000.tar").read_bytes())
    store.pipe_file("/in/001.tar", (shards / "001.tar").read_bytes())
    calls = {"failed": 0, "made": 0}
    generator = np.random.default_rng(0)

    def failing(name: str) -> None:
        whole = getattr(MemoryFileSystem, name)

        def call(self: Any, *given: Any, **named: Any) -> Any:
            calls["made"] += 1
            if generator.random() < 0.5:
                calls["failed"] += 1
                # Sometimes what was asked for is done, and only the answer is lost.
                if name == "pipe_file" and generator.random() < 0.3:
                    whole(self, *given, **named)
                raise Throttled("503 Slow Down")
            return whole(self, *given, **named)

        monkeypatch.setattr(MemoryFileSystem, name, call)

    monkeypatch.setattr(object_store, "TRIES", 25)
    for name in ("info", "ls", "cat_file", "open", "pipe_file"):
        failing(name)
    status = extract("memory://in/{000..001}.tar", "memory://out/")
    assert status.complete
    assert status.rows == 10
    assert calls["failed"] > 10
    assert set(pauses) >= {0.5, 1.0}


def test_a_shard_whose_store_goes_on_failing_is_recorded(
    store: MemoryFileSystem,
    shards: Path,
    extract: Extract,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("000", "001"):
        store.pipe_file(f"/in/{name}.tar", (shards / f"{name}.tar").read_bytes())
    whole = MemoryFileSystem.open

    def call(self: Any, path: str, *given: Any, **named: Any) -> Any:
        if path.endswith("000.tar"):
            raise Throttled("503 Slow Down")
        return whole(self, path, *given, **named)

    monkeypatch.setattr(MemoryFileSystem, "open", call)
    status = extract("memory://in/{000..001}.tar", tmp_path / "parts")
    assert status.done == 1
    assert status.failed == {
        "memory://in/000.tar": "memory://in/000.tar: failed 7 times, at last with Throttled: 503 "
        "Slow Down"
    }
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_list_of_images_here_and_elsewhere(
    store: MemoryFileSystem, extract: Extract, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    store.pipe_file("/listed/b.jpg", photograph(2))
    lines = ["a.jpg", "memory://listed/b.jpg", "memory://listed/none.jpg", "none.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    status = extract(tmp_path / "list.txt", tmp_path / "parts", shard_images=3)
    assert (status.done, status.rows, status.bad) == (2, 4, {"missing": 2})
    with decaf.open_features(tmp_path / "parts") as features:
        names = [str(tmp_path / "a.jpg"), *lines[1:3], str(tmp_path / "none.jpg")]
        assert features.paths.tolist() == names
        assert features.ok.tolist() == [True, True, False, False]
        assert features.messages.tolist() == ["", "", "no such file", "no such file"]


def test_a_part_is_there_whole_or_not_at_all(
    shards: Path, extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full ends the run; nothing is left under the part's name."""

    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("decaf.features.store.parquet_part._check", full)
    with pytest.raises(OutputError, match="the disk is full; finished parts are kept"):
        extract(shards / "000.tar", tmp_path / "parts")
    names = sorted(os.listdir(tmp_path / "parts"))
    assert names == ["run.json", "shards"]


def test_a_worker_of_another_run_is_refused(shards: Path, extract: Extract, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    extract(shards / "000.tar", out)
    body = json.loads((out / "run.json").read_bytes())
    folder = PartFolder(out)
    assert folder.read_run() == body
    body["run"]["crops"] = "ten"
    (out / "run.json").write_text(json.dumps(body))
    with pytest.raises(decaf.FeatureFileError, match="fingerprint is not that of its settings"):
        folder.read_run()


@pytest.mark.slow
def test_a_part_set_is_fitted_answered_and_shown_as_a_feature_file_is(
    extract: Extract, tmp_path: Path
) -> None:
    (tmp_path / "0.tar").write_bytes(tar_bytes(samples_of(0, count=48, bad=None)))
    parts, head = tmp_path / "parts", tmp_path / "parts.head"
    extract(tmp_path / "0.tar", parts)
    decaf.fit(parts, out=head)
    classifier = decaf.load_classifier(head)
    answers = list(classifier.predict(str(parts)))
    with decaf.open_features(parts) as features:
        assert [one.path for one in answers] == features.paths.tolist()
        assert answers == list(classifier.predict(features))
    assert decaf.explore(parts, tmp_path / "page.html").images == 48
