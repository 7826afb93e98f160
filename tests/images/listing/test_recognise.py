"""The kind of a path, told from its first bytes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save

from decaf.images.listing.recognise import KINDS, not_wanted, recognise


def pack_like(path: Path) -> None:
    """Write an HDF5 file whose attribute lies behind two megabytes of data."""
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file["data"] = np.zeros(2 << 20, "u1")
        for name in ("schema", "created", "run"):
            file.attrs[name] = np.bytes_(b"x" * 300)
        file.attrs["format"] = np.bytes_(b"decaf-pack")


def zipped(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return make


def headed(form: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(save({"x": np.zeros(2)}, metadata={"format": form}))


MADE: list[tuple[str, str, Callable[[Path], object]]] = [
    ("hdf5", "a.h5", lambda path: h5py.File(path, "w").close()),
    ("pack", "a.anything", pack_like),
    ("head", "a.head", headed("decaf-head")),
    ("weights", "a.head", headed("decaf-weights")),
    ("checkpoint", "a.safetensors", headed("decaf-checkpoint")),
    ("safetensors", "a.safetensors", headed("decaf-\x1b[2J")),
    ("safetensors", "a.safetensors", lambda path: path.write_bytes(save({"x": np.zeros(2)}))),
    ("torch", "a.pth", lambda path: torch.save({}, path)),
    (
        "torch",
        "old.pth",
        lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
    ),
    ("torch-program", "a.pt2", zipped("a/archive_format", "a/data/weights/0")),
    ("onnx", "a.onnx", lambda path: path.write_bytes(b"\x08\x07\x12\x05decaf")),
    ("array", "a.png", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00")),
    ("arrays", "a.npz", lambda path: np.savez(path, a=np.zeros(3))),
    ("image", "a.csv", lambda path: Image.new("RGB", (4, 4)).save(path, "PNG")),
    ("archive", "a", zipped("a.png")),
    ("table", "a.CSV", lambda path: path.write_bytes("path;é\n".encode("cp1252"))),
    ("list", "a.txt", lambda path: path.write_text("a.png\n")),
    ("text", "a", lambda path: path.write_text("é" * 400, encoding="utf-8")),
    ("unknown", "a", lambda path: path.write_bytes(bytes(range(256)))),
    ("unknown", "a.safetensors", lambda path: path.write_bytes(b"\xff" * 8 + b"{}")),
    ("empty", "a", lambda path: path.write_bytes(b"")),
    ("absent", "a", lambda path: path.symlink_to("a")),
    ("folder", "a", Path.mkdir),
    ("parts", "a.h5.parts", Path.mkdir),
]


@pytest.mark.parametrize(("kind", "name", "make"), MADE, ids=[f"{k}-{n}" for k, n, _ in MADE])
def test_each_kind_is_recognised(
    kind: str, name: str, make: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path / name)
    assert recognise(tmp_path / name) is KINDS[kind]
    assert recognise(os.fsencode(tmp_path / name)) is KINDS[kind]


@pytest.mark.posix("pipes")
def test_a_pipe_is_recognised(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    assert recognise(tmp_path / "a") is KINDS["special"]


def test_folders_that_say_what_they_are(tmp_path: Path) -> None:
    for name, record in (("run", "decaf-train"), ("finetuning", "decaf-finetune")):
        folder = tmp_path / name
        folder.mkdir()
        file = "run.json" if name == "run" else "finetune.json"
        (folder / file).write_text(f'{{"format": "{record}"}}')
        assert recognise(folder).name == name
        (folder / file).write_text("[" * 100_000)
        assert recognise(folder).name == "folder"


def test_a_refusal_says_what_is_there_and_what_was_wanted(tmp_path: Path) -> None:
    headed("decaf-head")(tmp_path / "a.head")
    assert not_wanted(tmp_path / "a.head", "features") == (
        f"{tmp_path}/a.head: is a head, not a feature file, as `decaf extract` writes it; "
        "`decaf predict` takes it, with the images after it"
    )
    assert not_wanted(tmp_path, "a photograph").startswith(f"{tmp_path}: is a folder, not a photo")
