"""A write that the disk takes and loses is found before a file gets its name, whatever it held."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.errors import OutputError
from decaf.features.rows import Rows
from decaf.features.store.assemble import FileHead, write_feature_file
from decaf.storage import temporary_path
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack

RUN = {
    "weights": {"name": "random:0", "sha256": "ab" * 32},
    "arch": {"name": "alexnet-2012"},
    "preprocess": {"name": "decaf", "resize": "warp", "resize_to": 256, "crop": 227},
    "crops": "center",
    "layers": ["fc6"],
    "precision": "fp32",
    "dtype": "float32",
    "versions": {"torch": "2.11.0"},
}


def features(folder: Path, out: Path) -> None:
    count = 40
    names = [b"%d.jpg" % row for row in range(count)]
    labels, moment = np.arange(count) % 2, "2026-01-02T03:04:05+00:00"
    head = FileHead(names, labels, ["ant", "bee"], RUN, {"device": "cpu"}, "0", moment)
    rows = Rows.empty(0, count)
    rows.features["fc6"] = np.random.default_rng(0).random((count, 3000), np.float32)
    rows.source_size[:], rows.content_sha256[:] = 7, 7
    rows.status[3], rows.messages[3] = 2, "cut short"
    rows.features["fc6"][3] = np.nan
    write_feature_file(out, head, {"fc6": (3000,)}, [rows])


def read_features(out: Path) -> Any:
    with decaf.open_features(out) as file:
        columns = ("paths", "labels", "status", "messages", "source_size", "content_sha256")
        found = {name: np.asarray(getattr(file, name)).tolist() for name in columns}
        return {**found, "fc6": file["fc6"][:].tobytes(), "run": file.run}


def pack(folder: Path, out: Path) -> None:
    options = {"size": 40, "encoding": "raw", "workers": 0, "on_error": "record"}
    make_pack(folder, out, progress=False, **options).close()


def read_pack(out: Path) -> Any:
    with Pack.open(out) as found:
        found.verify()
        return found.fingerprint, found.mean_image.tobytes(), found.mean.tolist(), found.bad


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for split in ("train", "val"):
        for number, name in enumerate(("ants", "bees")):
            (root / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = np.full((40, 40, 3), 10 * i + 100 * number, np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    (root / "train" / "bees" / "2.png").write_bytes(b"")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "read"), [(features, read_features), (pack, read_pack)], ids=["features", "pack"]
)
def test_a_write_that_is_lost_is_found_before_the_file_has_its_name(
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, Path], None],
    read: Callable[[Path], Any],
) -> None:
    out, real = tmp_path / "out", os.write
    write(photographs, out)
    expected = read(out)
    out.unlink()
    writes = 0

    def lose(number: int) -> None:
        nonlocal writes
        writes = 0

        def counted(descriptor: int, data: Any) -> int:
            nonlocal writes
            there = temporary_path(out)
            if not there.exists() or not os.path.samestat(os.fstat(descriptor), there.stat()):
                return real(descriptor, data)
            writes += 1
            return len(data) if writes == number else real(descriptor, data)

        monkeypatch.setattr(os, "write", counted)
        write(photographs, out)

    lose(0)
    out.unlink()
    found = 0
    for number in range(1, writes + 1):
        try:
            lose(number)
        except OutputError:
            found += 1
            assert not out.exists()
        else:  # written over later, or part of what nothing is in
            assert read(out) == expected, f"write {number}"
            out.unlink()
    assert found >= 0.7 * writes
    assert not list(tmp_path.glob("*.decaf-tmp"))
