"""Damages files of one kind and reads them: ``mutation_probe.py KIND COUNT SEED [FOLDER]``.

A damaged file is refused in one line, by an error of decaf, or is read with the content that it
had; anything else is printed, and ends the probe with 1. KIND is one of `READERS`. The files are
made in FOLDER, which may be kept between runs. Prints how many were refused and how many read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import decaf
from decaf.backbone.spec import architecture
from decaf.backbone.weights.load import Weights, load_weights, save_weights
from decaf.backbone.weights.random_weights import default_preprocess, random_state
from decaf.errors import DecafError
from decaf.heads.saved import load_head
from decaf.train.checkpoint import read_checkpoint, write_checkpoint
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack

IMAGES = 24


def small_weights() -> Weights:
    """A network of 15,000 numbers."""
    spec = architecture("alexnet-64")
    convs = tuple(dataclasses.replace(each, channels=each.channels // 16) for each in spec.convs)
    narrow = dataclasses.replace(spec, convs=convs, hidden=(32, 24), classes=2)
    return Weights.of(
        "net",
        narrow,
        default_preprocess("alexnet-64"),
        random_state(narrow, 0),
        class_names=["ant", "bee"],
        metrics={"top1": 12.5},
        provenance={"source": "a test"},
    )


def make_files(folder: Path) -> None:
    """Make a file of each kind in a folder."""
    rng = np.random.default_rng(0)
    for row in range(IMAGES):
        place = folder / "photos" / ("ant" if row % 2 else "bee")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{row:02d}.png")
    save_weights(folder / "net.safetensors", small_weights())
    extract(folder, folder / "f.h5").close()
    decaf.fit(folder / "f.h5", out=folder / "a.head", held_out=0, C=1.0)
    for encoding in ("jpeg", "raw"):
        made = make_pack(
            folder / "photos", folder / f"{encoding}.pack", size=16, workers=0, encoding=encoding
        )
        made.close()
    decaf.finetune(
        folder / "photos",
        out=folder / "tuned.safetensors",
        weights=folder / "net.safetensors",
        epochs=1,
        batch_size=4,
        start="new",
        val_fraction=0.3,
    )
    tensors = small_weights().state
    state = {"trainer": {"step": 3, "schedule": {"best": 0.25}}, "seconds": 1.5, "last": None}
    write_checkpoint(folder / "step-000000003.safetensors", state, tensors)
    try:
        extract(folder, folder / "g.h5", progress=_end_after_two_shards)
    except InterruptedError:
        return


def _end_after_two_shards(done: int, _total: int) -> None:
    if done >= 8:
        raise InterruptedError


def extract(folder: Path, out: Path, **rest: Any) -> decaf.FeatureFile:
    """Extract the photographs of a folder, in shards of four rows."""
    file = decaf.extract(
        folder / "photos",
        ["fc6", "pool5"],
        out=out,
        weights=backbone(folder),
        batch_size=2,
        workers=0,
        **rest,
    )
    assert isinstance(file, decaf.FeatureFile)
    return file


_BACKBONES: dict[Path, decaf.Backbone] = {}


def backbone(folder: Path) -> decaf.Backbone:
    """Load the network of a folder once."""
    if folder not in _BACKBONES:
        _BACKBONES[folder] = decaf.load_backbone(folder / "net.safetensors")
    return _BACKBONES[folder]


def digest(*parts: Any) -> str:
    """Hash arrays, texts and JSON values."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype != object:
            total.update(repr((part.dtype, part.shape)).encode() + part.tobytes())
        else:
            total.update(repr(part.tolist() if isinstance(part, np.ndarray) else part).encode())
    return total.hexdigest()


def read_weights_file(path: Path) -> str:
    """Read all of a weights file."""
    weights = load_weights(path)
    tensors = [tensor.numpy() for tensor in weights.state.values()]
    about = dataclasses.asdict(dataclasses.replace(weights, state={}, mean_image=None))
    return digest(about, *tensors)


def read_head_file(path: Path) -> str:
    """Read all of a head."""
    head = load_head(path)
    estimator = head.estimator
    scaling = estimator.scaling_
    return digest(
        estimator.get_params(),
        [estimator.coef_, estimator.intercept_, estimator.classes_, scaling.mean, scaling.std],
        estimator.coef_,
        head.identity.to_dict(),
        head.class_names,
        head.report,
        head.calibration,
    )


def read_feature_file(path: Path) -> str:
    """Read all of a feature file, as one who opens it does."""
    with decaf.open_features(path) as file:
        columns = [file.paths, file.labels, file.status, file.source_size, file.content_sha256]
        about = [file.attrs, file.run, file.environment, file.content, file.class_names]
        texts = [file.messages, file.status_names]
        return digest(*columns, *about, *texts, *(file[layer][:] for layer in file.layers))


def read_pack_file(path: Path) -> str:
    """Read all of a pack, after comparing it with its checksums."""
    with Pack.open(path) as pack:
        pack.verify()
        parts: list[Any] = [pack.info() | {"path": ""}, pack.mean_image, pack.bad, pack.wnids]
        parts += [pack.class_names, *pack.pca]
        for split in pack.splits.values():
            parts += [split.labels, split.names, split.content_sha256]
            parts += [split.pixels(place) for place in range(len(split))]
        return digest(*parts)


def read_checkpoint_file(path: Path) -> str:
    """Read all of a checkpoint."""
    state, tensors = read_checkpoint(path)
    return digest(state, sorted(tensors), *(tensors[name].numpy() for name in sorted(tensors)))


def read_parts(path: Path) -> str:
    """Finish an extraction whose folder of parts was damaged, and read the file."""
    out = path.parent.with_suffix("")
    with extract(out.parent.parent, out, on_error="record") as file:
        return digest(file.paths, file.labels, *(file[layer][:] for layer in file.layers))


READERS: dict[str, tuple[tuple[str, ...], Callable[[Path], str]]] = {
    "weights": (("net.safetensors",), read_weights_file),
    "tuned": (("tuned.safetensors",), read_weights_file),
    "head": (("a.head",), read_head_file),
    "features": (("f.h5",), read_feature_file),
    "pack": (("jpeg.pack", "raw.pack"), read_pack_file),
    "checkpoint": (("step-000000003.safetensors",), read_checkpoint_file),
    "parts": (("g.h5.parts",), read_parts),
}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip a byte or a bit, cut, swap two pieces, insert bytes, or lose some."""
    changed = bytearray(data)
    # Half of them in the first kilobytes, where headers are.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 4096)
    at = int(rng.integers(reach))
    length = int(rng.integers(1, 64))
    kind = rng.integers(6)
    if kind == 0:
        changed[at] ^= int(rng.integers(1, 256))
    elif kind == 1:
        changed[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        del changed[at:]
    elif kind == 3:
        other = int(rng.integers(len(data)))
        here, there = changed[at : at + length], changed[other : other + length]
        changed[at : at + length], changed[other : other + length] = there, here
    elif kind == 4:
        changed[at:at] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    else:
        del changed[at : at + length]
    return bytes(changed)


def probe(kind: str, count: int, seed: int, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Try `count` damaged files of a kind; return how they ended, and what is wrong."""
    names, read = READERS[kind]
    rng = np.random.default_rng(seed)
    ended = {"refused": 0, "read": 0, "unchanged": 0}
    wrong = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        expected = {}
        for name in names:
            target = _placed(folder, scratch, name)
            expected[name] = read(target)
        for number in range(count):
            name = names[number % len(names)]
            target = _placed(folder, scratch, name, rng)
            before = target.read_bytes()
            after = mutated(before, rng)
            if after == before:
                ended["unchanged"] += 1
                continue
            target.write_bytes(after)
            what = f"{kind} {name} {target.name} seed {seed} number {number}"
            try:
                same = read(target) == expected[name]
                ended["read"] += 1
                if not same:
                    wrong.append(f"{what}: altered silently")
                    shutil.copy(target, folder / f"altered-{seed}-{number}")
            except DecafError as error:
                ended["refused"] += 1
                if "\n" in str(error):
                    wrong.append(f"{what}: {str(error)!r:.200}")
            except Exception as error:
                wrong.append(f"{what}: {type(error).__name__}: {error!s:.200}")
    return ended, wrong


def _placed(folder: Path, scratch: str, name: str, rng: np.random.Generator | None = None) -> Path:
    """Put a copy of a file into the scratch folder; of a folder return one of its files."""
    target = Path(scratch) / name
    if not (folder / name).is_dir():
        return Path(shutil.copy(folder / name, target))
    shutil.rmtree(target, ignore_errors=True)
    target.with_suffix("").unlink(missing_ok=True)
    shutil.copytree(folder / name, target)
    files = sorted(path for path in target.iterdir() if path.name != "lock")
    return files[0 if rng is None else int(rng.integers(len(files)))]


def main(arguments: list[str]) -> int:
    """Run the probe."""
    kind, count, seed = arguments[0], int(arguments[1]), int(arguments[2])
    warnings.simplefilter("ignore")
    folder = Path(arguments[3] if len(arguments) > 3 else tempfile.mkdtemp())
    if not (folder / "g.h5.parts").exists():
        folder.mkdir(parents=True, exist_ok=True)
        make_files(folder)
    ended, wrong = probe(kind, count, seed, folder)
    print(json.dumps({"kind": kind, "seed": seed, **ended, "wrong": len(wrong)}))
    print("\n".join(wrong[:50]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
