"""What is in a shard becomes rows, or the shard is refused with the member named."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import made_shards
from decaf.errors import DecafError, ImageError, InputError
from decaf.features.store.part_folder import InputShard
from decaf.scale.open_shard import OpenShard, ShardChanged, open_shard
from decaf.scale.shard_list import list_shards
from made_shards import photograph, samples_of, tar_bytes

JPEG = photograph(0)


def opened(path: Path, data: bytes | None = None) -> OpenShard:
    """Open a shard; its scratch files are gone when this returns."""
    if data is not None:
        path.write_bytes(data)
    (shard,) = list_shards(path)
    with open_shard(shard) as result:
        for ref in result.samples.refs:
            ref.load()
        return result


def refusal(path: Path, data: bytes) -> str:
    with pytest.raises(InputError) as refused:
        opened(path, data)
    return str(refused.value)


def test_members_of_a_sample_become_columns(tmp_path: Path) -> None:
    result = opened(tmp_path / "a.tar", tar_bytes(samples_of(7)))
    samples = result.samples
    assert result.kind == "tar"
    assert samples.names == [f"007/{n:04d}.jpg".encode() for n in range(5)]
    assert samples.keys == [f"007/{n:04d}" for n in range(5)]
    assert samples.labels == [0, 1, 2, 0, 1]
    assert samples.txt == [f"caption {n}" for n in range(5)]
    assert samples.json[2] == '{"about":"n\\u00e9 2","width":60}'


def test_all_images_of_a_sample_have_a_row(tmp_path: Path) -> None:
    members = [("1.left.jpg", JPEG), ("1.right.png", JPEG), ("1.cls", b"4"), ("2.cls", b"5")]
    samples = opened(tmp_path / "a.tar", tar_bytes(members)).samples
    assert samples.names == [b"1.left.jpg", b"1.right.png", b"2"]
    assert samples.keys == ["1", "1", "2"]
    assert samples.labels == [4, 4, 5]
    # A sample without an image is not lost without a word.
    assert samples.problems == {2: ("missing", "the sample has no image")}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["a.jpg", "b.jpg", "a.cls", "b.cls"], "sample 'a' are not adjacent: 'a.cls' stands apart"),
        (["a.jpg", "b.jpg", "a.png"], "sample 'a' are not adjacent: 'a.png' stands apart from"),
        (["a.jpg", "a.jpg"], "the member 'a.jpg' is there twice"),
        (["a.txt", "a.cls"], "there are no images in it"),
        ([], "there are no images in it"),
    ],
)
def test_a_torn_sample_is_refused(tmp_path: Path, members: list[str], message: str) -> None:
    assert message in refusal(tmp_path / "a.tar", tar_bytes([(name, JPEG) for name in members]))


def test_dots_in_the_names_of_plain_photographs_are_no_samples(tmp_path: Path) -> None:
    names = ["2020.01.jpg", "2021.01.jpg", "2020.02.jpg", "x/.hidden.jpg", "notes.pdf"]
    samples = opened(tmp_path / "a.tar", tar_bytes([(name, JPEG) for name in names])).samples
    assert samples.keys == ["2020.01", "2021.01", "2020.02"]


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("1.cls", b"cat", "1.cls was not taken: invalid literal for int"),
        ("1.cls", b"-7", "-7 is no class index"),
        ("1.json", b"{", "1.json was not taken"),
        ("1.json", b"[NaN]", "1.json was not taken"),
        ("1.json", b"[" * 5000, "1.json was not taken"),
        ("1.txt", b"\xff\xfe", "1.txt was not taken: 'utf-8'"),
        ("1.txt", b"x" * 20000, "20000 bytes; 16384 bytes is the limit"),
    ],
)
def test_what_cannot_be_taken_costs_no_image(
    tmp_path: Path, name: str, content: bytes, note: str
) -> None:
    samples = opened(tmp_path / "a.tar", tar_bytes([("1.jpg", JPEG), (name, content)])).samples
    assert (samples.labels, samples.txt, samples.json) == ([-1], [""], [""])
    assert note in samples.notes[0]


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    names = ["../../etc/x.jpg", "/root/.ssh/y.jpg", "a\x1b[31m\n.jpg", "ü" * 90 + ".jpg"]
    samples = opened(tmp_path / "a.tar", tar_bytes([(name, JPEG) for name in names])).samples
    # What begins with a dot below the root is hidden, wherever it points.
    assert samples.names == [n.encode() for n in names if "/." not in n.replace("../", "")]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tar"]


def test_links_are_no_members(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert refusal(tmp_path / "a.tar", data.getvalue()) == "there are no images in it"


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_other_archives(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            # A zip has no order that a stream would be read in.
            for name, data in sorted(samples_of(1), key=lambda member: member[0][::-1]):
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, data in samples_of(1):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    samples = opened(path).samples
    assert sorted(zip(samples.keys, samples.labels, samples.txt, strict=True)) == [
        (f"001/{n:04d}", n % 3, f"caption {n}") for n in range(5)
    ]


def test_a_zip_bomb_fills_no_memory(tmp_path: Path) -> None:
    zeros = bytes(70 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("1.jpg", JPEG), ("1.json", zeros), ("2.jpg", zeros)):
            archive.writestr(name, data)
    (shard,) = list_shards(tmp_path / "a.zip")
    with open_shard(shard) as result:
        assert "73400320 bytes; 16384 bytes is the limit" in result.samples.notes[0]
        with pytest.raises(ImageError, match=r"unpacks to 73400320 bytes from .*, as no image"):
            result.samples.refs[1].load()


def test_a_truncated_or_damaged_tar_is_refused_or_read(tmp_path: Path) -> None:
    whole = tar_bytes(samples_of(0))
    reasons = set()
    generator = random.Random(0)
    for number in range(60):
        data = bytearray(whole[: generator.randrange(len(whole))] if number % 2 else whole)
        for _ in range(generator.randrange(4)):
            if data:
                data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            opened(tmp_path / "a.tar", bytes(data))
        except DecafError as error:
            reasons.add(str(error)[:24])
    assert any("cannot be read as a tar" in reason or "'/" in reason for reason in reasons)


def test_what_is_no_shard_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.dat", b"x" * 600) == "it is no tar, zip or Parquet file"
    assert refusal(tmp_path / "a.tar", b"") == "it is empty"


def test_a_shard_that_changes_while_it_waits_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes(samples_of(0)))
    (shard,) = list_shards(path)
    path.write_bytes(tar_bytes(samples_of(1, 7)))
    with pytest.raises(ShardChanged, match="changed since it was listed"), open_shard(shard):
        pass
    path.unlink()
    with pytest.raises(InputError, match="not there any more"), open_shard(shard):
        pass
    with pytest.raises(InputError, match="it is not there"), open_shard(list_shards(path)[0]):
        pass


def parquet(path: Path, columns: dict[str, Any], group: int = 2) -> bytes:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=group)
    return path.read_bytes()


def test_parquet_as_hugging_face_writes_it(tmp_path: Path) -> None:
    images = [{"bytes": JPEG, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]
    data = parquet(tmp_path / "x.parquet", {"image": images, "label": [4, 2, None]})
    samples = opened(tmp_path / "x.parquet", data).samples
    assert samples.names == [b"a.jpg", b"b.jpg", b"000000002"]
    assert samples.labels == [4, 2, -1]
    assert samples.problems == dict.fromkeys((1, 2), ("missing", "the row has no image"))


def test_parquet_as_img2dataset_writes_it(tmp_path: Path) -> None:
    columns = {
        "jpg": [JPEG, photograph(1)],
        "key": ["000", "001"],
        "caption": ["a cat", None],
        "width": [60, 61],
        "similarity": [0.25, float("nan")],
        "exif": [["nested"], []],
    }
    data = parquet(tmp_path / "x.parquet", columns)
    samples = opened(tmp_path / "x.parquet", data).samples
    assert samples.keys == ["000", "001"]
    assert samples.txt == ["a cat", ""]
    assert samples.json == ['{"similarity":0.25,"width":60}', '{"width":61}']


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [b"x"], "b": [b"y"]}, "not one column of images in it: a, b hold bytes"),
        ({"a": ["x"]}, "no column holds bytes"),
        ({"jpg": pyarrow.array([], pyarrow.binary())}, "there are no images in it"),
    ],
)
def test_parquet_without_images_is_refused(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    assert message in refusal(tmp_path / "x.parquet", parquet(tmp_path / "x.parquet", columns))


def test_a_parquet_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image that a dictionary repeats a thousand times takes a file of some kilobytes."""
    image = np.random.default_rng(0).bytes(100_000)
    data = parquet(tmp_path / "x.parquet", {"jpg": pyarrow.array([image] * 1000)}, 1000)
    assert len(data) < 300_000
    monkeypatch.setattr("decaf.scale.parquet_images.unpacked_limit", lambda packed: 50 * packed)
    assert "bytes, as no images do" in refusal(tmp_path / "x.parquet", data)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    data = parquet(tmp_path / "x.parquet", {"jpg": [JPEG] * 4})
    assert "cannot be read as a Parquet file" in refusal(tmp_path / "x.parquet", data[:-9])


def test_images_of_a_list_are_read_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    import fsspec

    fsspec.filesystem("memory").pipe_file("/listed/b.jpg", photograph(1))
    lines = (str(tmp_path / "a.jpg"), "memory://listed/b.jpg", "memory://listed/none.jpg")
    with open_shard(InputShard("images:0-3", 1, "v", lines)) as result:
        assert [ref.load() for ref in result.samples.refs[:2]] == [JPEG, photograph(1)]
        assert result.samples.problems == {2: ("missing", "no such file")}
        assert result.kind == "list"


def test_the_sha256_is_that_of_the_file(shards: Path) -> None:
    import hashlib

    result = opened(shards / "000.tar")
    assert result.sha256 == hashlib.sha256((shards / "000.tar").read_bytes()).hexdigest()
    assert made_shards.tar_bytes(samples_of(0)) == (shards / "000.tar").read_bytes()
