"""A part set reads as one feature file would, and opens a part when its rows are asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import decaf
from decaf.errors import FeatureFileError
from decaf.features.rows import Rows
from decaf.features.store import part_set
from decaf.features.store.assemble import FileHead, write_feature_file
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.parquet_part import ParquetPart, write_parquet_part
from decaf.features.store.part_folder import InputShard, PartFolder, ShardRecord
from decaf.images.status import STATUS_NAMES
from made_shards import part_bytes

LAYERS = {"fc6": (8,), "conv1": (2, 3, 3)}
SIZES = (5, 1, 9, 4)


def run_of(dtype: str) -> dict[str, Any]:
    return {
        "weights": {"name": "random:0", "sha256": "ab" * 32},
        "arch": {"name": "alexnet-2012"},
        "preprocess": {"name": "decaf", "resize": "warp", "resize_to": 256, "crop": 227},
        "crops": "center",
        "layers": list(LAYERS),
        "precision": "fp32",
        "dtype": dtype,
    }


def rows_of(count: int, seed: int, dtype: str) -> Rows:
    """Random rows; the second of every four is bad."""
    generator = np.random.default_rng(seed)
    rows = Rows.empty(0, count)
    rows.status[1::4] = 5
    rows.messages = ["cut short, né" if code else "" for code in rows.status]
    rows.source_size[...] = generator.integers(1, 999, (count, 2))
    rows.content_sha256[...] = generator.integers(0, 256, (count, 32))
    for layer, shape in LAYERS.items():
        rows.features[layer] = generator.standard_normal((count, *shape)).astype(dtype)
        rows.features[layer][1::4] = np.nan
    return rows


def cut(rows: Rows, at: int) -> list[Rows]:
    """The same rows in two blocks."""
    pieces = []
    for place in (slice(0, at), slice(at, rows.stop)):
        piece = Rows.empty(place.start, place.stop)
        piece.features = {layer: values[place] for layer, values in rows.features.items()}
        for name in ("status", "source_size", "content_sha256", "messages"):
            setattr(piece, name, getattr(rows, name)[place])
        pieces += [piece] if piece.stop > piece.start else []
    return pieces


def make(folder: Path, form: str, dtype: str = "float32", leave_out: int | None = None) -> Path:
    """Write a part set of four parts without decaf.scale."""
    parts = PartFolder(folder)
    body = parts.begin(run_of(dtype), form, overwrite=False)
    shards = [InputShard(f"s3://b/{n}.tar", 10 + n, "v") for n in range(len(SIZES))]
    parts.write_list(shards)
    for number, (shard, count) in enumerate(zip(shards, SIZES, strict=True)):
        rows = rows_of(count, number, dtype)
        head = FileHead(
            names=[b"%d/\xff%d.jpg" % (number, row) for row in range(count)],
            labels=np.arange(count) % 3,
            class_names=(),
            run=body["run"],
            environment={"shard": {"name": shard.name}},
            decaf_version="1",
            created=body["created"],
            samples={
                "key": [f"{number}/{row}" for row in range(count)],
                "txt": [f"caption {row}" for row in range(count)],
                "json": [""] * count,
            },
        )
        path = folder / f"{shard.stem(body['fingerprint'])}.{form}"
        if number == leave_out:
            continue
        write = write_parquet_part if form == "parquet" else write_feature_file
        write(path, head, LAYERS, cut(rows, count // 2))
        parts.write_record(path.stem, ShardRecord(shard.name, count, {"ok": count}, 7))
    return folder


@pytest.fixture(params=[("parquet", "float32"), ("parquet", "float16"), ("h5", "float32")])
def form(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


def test_it_reads_as_its_parts_one_after_the_other(
    form: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_set, "OPEN_PARTS", 2)
    expected = [rows_of(count, number, form[1]) for number, count in enumerate(SIZES)]
    with decaf.open_features(make(tmp_path / "set", *form)) as features:
        assert isinstance(features, FeatureFile)
        assert len(features) == sum(SIZES)
        for layer, shape in LAYERS.items():
            whole = np.concatenate([rows.features[layer] for rows in expected])
            view = features[layer]
            assert (view.shape, view.dtype) == ((19, *shape), form[1])
            for rows in (slice(None), slice(4, 7), slice(18, 3, -2), [17, 0, 0, 6], 5, -1):
                np.testing.assert_array_equal(view[rows], whole[rows])
        for name in ("status", "source_size", "content_sha256"):
            joined = np.concatenate([getattr(rows, name) for rows in expected])
            np.testing.assert_array_equal(getattr(features, name), joined)
        assert features.messages.tolist() == [m for rows in expected for m in rows.messages]
        assert features.labels.tolist() == [row % 3 for count in SIZES for row in range(count)]
        assert features.column("key")[5:7] == ("1/0", "2/0")
        assert features.column("split") is None
        assert features.status_names == STATUS_NAMES
        assert features.class_names == ()
        # Parquet's texts are UTF-8: another byte is escaped.
        first = "0/\\xff0.jpg" if form[0] == "parquet" else "0/\udcff0.jpg"
        assert features.paths[0] == first
        assert features.info()["bytes"] == 28
        assert features.info()["bad"] == {"corrupt": 4}


def test_batches_are_to_xy_in_pieces(form: tuple[str, str], tmp_path: Path) -> None:
    with decaf.open_features(make(tmp_path / "set", *form)) as features:
        X, y = features.to_xy("conv1")
        assert (X.shape, X.dtype, y.shape) == ((15, 18), np.float32, (15,))
        batches = list(features.batches("conv1", rows=4))
        assert [len(batch) for batch, _ in batches] == [3, 3, 3, 4, 2]
        np.testing.assert_array_equal(np.concatenate([batch for batch, _ in batches]), X)
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), y)
        every = np.concatenate([x for x, _ in features.batches("fc6", ok_only=False)])
        assert np.isnan(every).all(axis=1).sum() == 4


def test_a_part_is_opened_when_its_rows_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    whole = ParquetPart.__init__

    def init(self: ParquetPart, *given: Any) -> None:
        opened.append(str(given[0]).rpartition("/")[2][0])
        whole(self, *given)

    folder = make(tmp_path / "set", "parquet")
    monkeypatch.setattr(ParquetPart, "__init__", init)
    with decaf.open_features(folder) as features:
        assert len(features) == 19
        assert opened == []
        _ = features["fc6"][16:18]
        assert opened == ["0", "3"]  # the first tells the shape of a row


@pytest.mark.parametrize("form", ["parquet", "h5"])
def test_missing_parts_are_said(form: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "set", form, leave_out=1)
    with pytest.warns(UserWarning, match=r"1 of 4 parts are not there .the first is of s3://b/1"):
        features = decaf.open_features(folder)
    with features:
        assert features.missing == ("s3://b/1.tar",)
        assert len(features) == 18
        assert features.column("key")[5] == "2/0"


def test_no_part_at_all_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", "h5")
    for path in folder.glob("*.h5"):
        path.unlink()
    with pytest.raises(FeatureFileError, match="none of its 4 parts is there yet"):
        decaf.open_features(folder)


def test_a_part_of_other_settings_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", "parquet")
    other = make(tmp_path / "b", "parquet", "float16")
    ours, theirs = (sorted(each.glob("0-*.parquet"))[0] for each in (folder, other))
    ours.write_bytes(theirs.read_bytes())
    with (
        decaf.open_features(folder) as features,
        pytest.raises(FeatureFileError, match="is of other settings than the set"),
    ):
        _ = features["fc6"][0]


def test_a_record_that_does_not_fit_its_part_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", "parquet")
    (part,) = folder.glob("2-*.parquet")
    PartFolder(folder).write_record(part.stem, ShardRecord("s3://b/2.tar", 8))
    with (
        decaf.open_features(folder) as features,
        pytest.raises(FeatureFileError, match="has 9 rows, its record says 8"),
    ):
        _ = features["fc6"][:]


def test_damage_is_found_or_does_no_harm(tmp_path: Path) -> None:
    """Bytes changed at random: an error that names the file, or the rows as they were."""
    folder = make(tmp_path / "set", "parquet")
    part = sorted(folder.glob("2-*.parquet"))[0]
    whole = part.read_bytes()
    with decaf.open_features(part) as file:
        expected = {layer: file[layer][:] for layer in LAYERS}
        labels = file.labels.tolist()
    generator = random.Random(0)
    messages = []
    for number in range(120):
        data = bytearray(whole)
        if number % 3 == 0:
            del data[generator.randrange(len(data)) :]
        else:
            for _ in range(generator.randrange(1, 4)):
                data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        part.write_bytes(data)
        try:
            with decaf.open_features(part) as file:
                assert file.labels.tolist() == labels
                for layer, values in expected.items():
                    np.testing.assert_array_equal(file[layer][:], values)
        except FeatureFileError as error:
            messages.append(str(error))
    assert len(messages) > 60
    assert all(str(part) in message for message in messages)


def test_whatever_pyarrow_raises_on_damage_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow
    import pyarrow.parquet

    part = sorted(make(tmp_path / "set", "parquet").glob("2-*.parquet"))[0]
    for kind in ("ArrowNotImplementedError", "ArrowCapacityError", "ArrowIndexError"):

        def fail(*_: object, kind: str = kind, **__: object) -> None:
            raise getattr(pyarrow.lib, kind)("integers of 128 bits")

        monkeypatch.setattr(pyarrow.parquet, "ParquetFile", fail)
        with pytest.raises(FeatureFileError, match=rf"{part.name}.*damaged \(integers of 128"):
            decaf.open_features(part)


def test_a_parquet_file_of_others_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    with pytest.raises(FeatureFileError, match="no part of a part set"):
        decaf.open_features(path)


@pytest.mark.parametrize("form", ["parquet", "h5"])
def test_the_bytes_are_the_same_each_time(form: str, tmp_path: Path) -> None:
    make(tmp_path / "a", form)
    (tmp_path / "b").mkdir()
    # What is written once, when a set is begun, is the time.
    (tmp_path / "b/run.json").write_bytes((tmp_path / "a/run.json").read_bytes())
    make(tmp_path / "b", form)
    assert part_bytes(tmp_path / "a") == part_bytes(tmp_path / "b")


def test_what_is_exported_is_what_is_there(
    tmp_path: Path, write_features: Callable[..., Path]
) -> None:
    with decaf.open_features(make(tmp_path / "set", "parquet")) as features:
        decaf.export_features(features, tmp_path / "x.npy", layer="fc6")
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), features["fc6"][:])
