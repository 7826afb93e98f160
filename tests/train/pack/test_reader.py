"""The pack, read; and packs from strangers, refused before anything is followed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decaf.errors import PackError, SettingError
from decaf.images import collect
from decaf.storage.hdf5 import write_text_attribute
from decaf.train.pack import reader, schema
from decaf.train.pack.reader import Pack
from decaf.train.pack.schema import PackContents

Change = Callable[[h5py.File], None]
GOLDEN = Path(__file__).parent / "golden" / "pack-1.h5"


@pytest.fixture(params=["raw", "jpeg"])
def either(request: pytest.FixtureRequest, shared_packs: dict[str, Path]) -> Path:
    return shared_packs[request.param]


def test_a_split_is_a_dataset(either: Path) -> None:
    with Pack.open(either) as pack:
        split = pack.splits["val"]
        assert len(split) == 4
        assert split.labels.dtype == np.int64
        assert [label for _, label in split] == split.labels.tolist() == [0, 0, 1, 1]
        np.testing.assert_array_equal(split[-1][0], split[3][0])
        for wrong in (4, -5):
            with pytest.raises(IndexError, match="of 4"):
                split[wrong]
        pixels, _ = split[0]
        assert (pixels.shape, pixels.dtype) == ((24, 24, 3), np.uint8)
        pixels[...] = 0  # the caller's own
        assert split[0][0].any()
        loader = torch.utils.data.DataLoader(split, batch_size=3)
        assert [tuple(images.shape) for images, _ in loader] == [(3, 24, 24, 3), (1, 24, 24, 3)]
    assert "val 4 images of 2 classes, 24×24" in repr(pack)
    assert repr(pack).endswith("closed>")


def test_views_are_of_the_file_and_read_only(shared_packs: dict[str, Path]) -> None:
    with Pack.open(shared_packs["raw"]) as pack:
        split = pack.splits["train"]
        raw = split.raw
        assert raw is not None
        assert raw.shape == (10, 24, 24, 3)
        assert raw.tobytes() in shared_packs["raw"].read_bytes()
        assert not raw.flags.writeable
        assert not split.labels.flags.writeable
        with pytest.raises(SettingError, match="holds raw pixels, no JPEGs"):
            split.encoded(0)
    assert raw[3].any()  # also when the file is closed
    with pytest.raises(SettingError, match="the pack is closed"):
        _ = split.names
    with Pack.open(shared_packs["jpeg"]) as pack:
        split = pack.splits["train"]
        assert split.raw is None
        assert split.offsets is not None
        for i in range(len(split)):
            data = split.encoded(i)
            assert data[:2].tolist() == [0xFF, 0xD8]
            assert data[-2:].tolist() == [0xFF, 0xD9]
            assert not data.flags.writeable


def test_it_is_read_from_several_threads(shared_packs: dict[str, Path]) -> None:
    with Pack.open(shared_packs["jpeg"]) as pack, ThreadPoolExecutor(8) as threads:
        split = pack.splits["train"]
        expected = [split.pixels(i) for i in range(10)]
        start = threading.Barrier(8)

        def read(_: int) -> tuple[list[bytes], list[np.ndarray]]:
            start.wait()
            split.content_sha256.sum()
            return split.names, [split.pixels(i) for i in range(10)]

        for names, found in threads.map(read, range(8)):
            assert names == split.names
            np.testing.assert_array_equal(found, expected)


def test_labels_tell_what_they_number(either: Path) -> None:
    with Pack.open(either) as pack:
        result = collect(pack.splits["val"])
        assert result.class_names == pack.splits["val"].classes == ("n01", "n02")
        assert result.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.posix("open files")
def test_what_is_mapped_is_the_file_that_was_checked(
    shared_packs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(shared_packs["raw"], tmp_path / "p"))
    (tmp_path / "other").write_bytes(bytes(path.stat().st_size))
    check_pack = reader.check_pack

    def checked(file: h5py.File, name: str) -> PackContents:
        result = check_pack(file, name)
        (tmp_path / "other").replace(path)
        return result

    with Pack.open(path) as pack:
        expected = pack.splits["val"].data.copy()
    monkeypatch.setattr(reader, "check_pack", checked)
    with Pack.open(path) as pack:
        np.testing.assert_array_equal(pack.splits["val"].data, expected)
    assert expected.any()


def test_a_file_cut_short_meanwhile_is_told(
    shared_packs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(shared_packs["raw"], tmp_path / "p"))
    with Pack.open(path) as pack:
        monkeypatch.setattr(pack, "_map", None)
        os.truncate(path, 4096)
        with pytest.raises(PackError, match=r"p: the file is damaged \("):
            pack.mapped(4096, 4096)


def test_info_is_json(either: Path) -> None:
    with Pack.open(either) as pack:
        info = json.loads(json.dumps(pack.info()))
    assert info["splits"]["train"]["images"] == 10
    assert info["fingerprint"] == pack.fingerprint
    assert info["bytes"] == either.stat().st_size


def test_the_golden_pack_reads_for_ever() -> None:
    with Pack.open(GOLDEN) as pack:
        pack.verify()
        assert (pack.size, pack.encoding, pack.resize) == (4, "jpeg", "shorter-side")
        assert (pack.wnids, pack.class_names) == (("n01", "n02"), ("tench", "goldfish"))
        assert {name: len(split) for name, split in pack.splits.items()} == {"train": 3, "val": 1}
        names = [b"train/n01/a.png", b"train/n02/a.png", b"train/n02/b\xff.png"]
        assert pack.splits["train"].names == names
        assert pack.splits["train"].labels.tolist() == [0, 1, 1]
        assert pack.bad == [
            ("train", b"train/n01/b.png", "empty", "file of zero bytes"),
            ("val", b"val/n02/a.png", "empty", "file of zero bytes"),
        ]
        # Grey of 0, 51 and 255 in these; a JPEG of one colour is exact.
        np.testing.assert_allclose(pack.mean, (0 + 51 + 255) / 3 / 255)
        assert [int(pixels[0, 0, 0]) for pixels, _ in pack.splits["train"]] == [0, 51, 255]
        assert pack.fingerprint.startswith("2d45c952cc361cf6")


@pytest.mark.parametrize("where", ["train/data", "train/label", "val/name", "mean", "wnid"])
def test_damage_is_found(either: Path, tmp_path: Path, where: str) -> None:
    path = Path(shutil.copy(either, tmp_path / "p"))
    with h5py.File(path) as file:
        dataset = file[where]
        place = dataset.id.get_offset()
        if place is None:
            place = dataset.id.get_chunk_info(0).byte_offset
    with open(path, "r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)[0]
        stream.seek(place)
        stream.write(bytes([byte ^ 0x10]))
    said = "damaged|train, images 0 to 9: the data is damaged; make the pack again"
    with pytest.raises(PackError, match=said), Pack.open(path) as pack:
        pack.verify()
    if where == "train/data":  # who reads an image of it is told as well
        with Pack.open(path) as pack:
            for index in (0, 9):
                with pytest.raises(PackError, match="images 0 to 9: the data is damaged"):
                    pack.splits["train"].pixels(index)
            assert pack.splits["val"].pixels(0).any()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_pack_never_does_worse_than_raise(
    shared_packs: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(shared_packs["jpeg"].read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "p"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(PackError), Pack.open(path) as pack:
        pack.verify()
        for split in pack.splits.values():
            assert len(split.names) == len([*split])


def signed(file: h5py.File) -> None:
    """Make the fingerprint fit again, as who forges a pack would."""
    run, content = (json.loads(file.attrs[name]) for name in ("run", "content"))
    fingerprint = schema.content_fingerprint(run, content)
    del file.attrs["fingerprint"]
    write_text_attribute(file, "fingerprint", fingerprint)


def settled(**changes: Any) -> Change:
    def change(file: h5py.File) -> None:
        run = {**json.loads(file.attrs["run"]), **changes}
        del file.attrs["run"]
        write_text_attribute(file, "run", json.dumps(run))

    return change


def uncounted(file: h5py.File) -> None:
    content = json.loads(file.attrs["content"])
    del content["splits"]["val"], file.attrs["content"]
    write_text_attribute(file, "content", json.dumps(content))


def replaced(name: str, **how: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **how)

    return change


def set_to(name: str, index: Any, value: Any) -> Change:
    def change(file: h5py.File) -> None:
        file[name][index] = value

    return change


def external(file: h5py.File) -> None:
    del file["train/data"]
    storage = [("/etc/passwd", 0, 500)]
    file.create_dataset("train/data", (500,), "u1", external=storage)


def linked(file: h5py.File) -> None:
    del file["mean"]
    file["mean"] = h5py.ExternalLink("/etc/passwd", "/x")


def unsplit(file: h5py.File) -> None:
    del file["train"]


def schema_two(file: h5py.File) -> None:
    file.attrs["schema"] = 2


def another_format(file: h5py.File) -> None:
    del file.attrs["format"]
    write_text_attribute(file, "format", "decaf-features")


REFUSED: list[tuple[Change, str]] = [
    (schema_two, "its schema is 2, this decaf reads 1; read it with the decaf that wrote it"),
    (another_format, "format says 'decaf-features', not 'decaf-pack'"),
    (external, "'data' has its data in another file; training packs hold their own"),
    (linked, "'mean' in the file is an external link; training packs hold none"),
    (unsplit, "lacks train"),
    (uncounted, "its attribute 'content' does not describe its splits"),
    (settled(size=25), "'mean_image' has shape (3, 24, 24), expected (3, 25, 25)"),
    (settled(size=10**9), "its settings give the size 1000000000, expected 1 to 4096"),
    (settled(size="24"), "its settings give the size '24'"),
    (settled(encoding="png"), "its settings give the encoding 'png', expected jpeg or raw"),
    (settled(encoding="raw"), "holds 'kept', which schema 1 has not"),
    (settled(resize="no"), "its settings give the resize 'no'"),
    (replaced("extra", data=[1]), "holds 'extra', which schema 1 has not"),
    (
        replaced("train/data", data=np.zeros(9, "u1"), chunks=True),
        "train/data is not stored in one",
    ),
    (replaced("train/data", shape=(9,), dtype="u1"), "'data' claims 9 bytes, but 0 are stored"),
    (
        replaced("train/label", data=np.zeros(3, "i8")),
        "'train/label' has shape (3,), expected (10,)",
    ),
    (replaced("train/label", data=np.zeros(10, "i4")), "'train/label' is not of int64"),
    (set_to("train/label", 3, 2), "train/label, image 3: class 2 found, 0 to 1 expected"),
    (set_to("train/label", 3, -1), "class -1 found"),
    (set_to("train/offset", 3, 10**9), "train/offset does not cut "),
    (set_to("train/offset", 0, 5), "train/offset does not cut "),
    # Whose differences, in 64 bits, are all positive.
    (set_to("train/offset", slice(3, 5), [-(2**63), -(2**62)]), "train/offset does not cut "),
    (set_to("mean", 0, np.nan), "its statistics hold NaN or infinity"),
    (set_to("wnid", 0, b"n02"), "its classes are not sorted, or one is there twice"),
    (set_to("wnid", 0, b"\xff\xff"), "the file is damaged ("),
]


@pytest.mark.parametrize(
    ("change", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED]
)
def test_packs_from_strangers(
    shared_packs: dict[str, Path], tmp_path: Path, change: Change, message: str
) -> None:
    path = Path(shutil.copy(shared_packs["jpeg"], tmp_path / "p"))
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        if change.__qualname__.startswith("replaced") and "extra" in message:
            file.create_dataset("extra", data=[1])
        change(file)
        signed(file)
    with pytest.raises(PackError, match=re.escape(message)) as error:
        Pack.open(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_forged_fingerprint_is_refused(shared_packs: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(shared_packs["jpeg"], tmp_path / "p"))
    with h5py.File(path, "r+") as file:
        settled(quality=50)(file)
    with pytest.raises(PackError, match="is not that of its settings and checksums"):
        Pack.open(path)


def test_changed_tables_of_a_signed_pack_are_found(
    shared_packs: dict[str, Path], tmp_path: Path
) -> None:
    path = Path(shutil.copy(shared_packs["jpeg"], tmp_path / "p"))
    with h5py.File(path, "r+") as file:
        file["train/label"][0] = 1
    with Pack.open(path) as pack, pytest.raises(PackError, match="its tables are not those of"):
        pack.verify()


def test_what_is_no_pack_is_told(tmp_path: Path, shared_packs: dict[str, Path]) -> None:
    for content, said in [
        (b"", "is a file of zero bytes, not a training pack"),
        (b"hello", "is a text file, not a training pack"),
        (shared_packs["raw"].read_bytes()[:-100], "an HDF5 file, but cut short"),
    ]:
        (tmp_path / "p").write_bytes(content)
        with pytest.raises(PackError, match=said):
            Pack.open(tmp_path / "p")
    with pytest.raises(PackError, match="is a folder, not a training pack"):
        Pack.open(tmp_path)
    with pytest.raises(PackError, match="No such file"):
        Pack.open(tmp_path / "nothing")


def test_a_jpeg_that_is_not_one_is_told(shared_packs: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(shared_packs["jpeg"], tmp_path / "p"))
    with h5py.File(path, "r+") as file:
        file["val/data"][:8] = 0
        file["val/data_sha256"][0] = np.frombuffer(
            hashlib.sha256(file["val/data"][()]).digest(), np.uint8
        )
    with Pack.open(path) as pack:
        with pytest.raises(PackError, match=r"p: val, image 0: not an image"):
            pack.splits["val"].pixels(0)
        assert pack.splits["val"].pixels(1).any()
