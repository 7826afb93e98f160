"""The description of each kind of file."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import decaf
from decaf.backbone.export.models import export_model
from decaf.backbone.spec import architecture
from decaf.backbone.weights.load import Weights, save_weights
from decaf.backbone.weights.random_weights import default_preprocess, random_state
from decaf.description import describe
from decaf.errors import DecafError, InputError
from decaf.images.listing.recognise import not_wanted
from decaf.train.pack.build import make_pack
from decaf.train.recipe import TrainSettings
from decaf.train.train_network import train_network


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of each kind that decaf writes."""
    folder = tmp_path_factory.mktemp("kinds")
    spec = architecture("alexnet-64")
    convs = tuple(dataclasses.replace(each, channels=each.channels // 16) for each in spec.convs)
    narrow = dataclasses.replace(spec, convs=convs, hidden=(32, 24), classes=2)
    state = random_state(narrow, 0)
    preprocess = default_preprocess("alexnet-64")
    weights = Weights.of("net", narrow, preprocess, state, class_names=["ant", "bee"])
    net = folder / "net.safetensors"
    save_weights(net, weights)
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    features = decaf.extract(folder / "photos", "fc6", out=folder / "f.h5", weights=net, workers=0)
    assert isinstance(features, decaf.FeatureFile)
    features.close()
    decaf.fit(folder / "f.h5", out=folder / "a.head", held_out=0, C=1.0)
    make_pack(folder / "photos", folder / "a.pack", size=72, workers=0).close()
    settings = TrainSettings(
        arch="weights", epochs=1, batch_size=4, warmup_epochs=0, precision="fp32", lr=1e-4
    )
    train_network(folder / "a.pack", folder / "run", settings, init_from=net, tensorboard=False)
    export_model(net, folder / "net.onnx", check=False)
    torch.save({"conv1.weight": torch.zeros(2), "fc.weight": torch.zeros(2)}, folder / "r.pth")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f.h5", {"kind": "features", "noun": "a feature file", "rows": 12}),
        ("a.head", {"kind": "head", "estimator": "LogisticRegression", "layer": "fc6"}),
        ("a.head", {"class_names": ["ant", "bee"], "images": 12, "accuracy": None}),
        ("a.head", {"written_by": f"decaf {decaf.__version__}"}),
        ("net.safetensors", {"kind": "weights", "arch": "alexnet-64", "classes": 2}),
        ("a.pack", {"kind": "pack", "size": 72, "classes": 2}),
        ("run", {"kind": "run", "images": 12, "network": "weights.safetensors"}),
        ("run/checkpoints/step-000000003.safetensors", {"kind": "checkpoint", "step": 3}),
        ("photos/ant/0.png", {"kind": "image", "format": "PNG", "width": 16, "height": 16}),
        ("net.onnx", {"kind": "onnx", "inputs": ["images"], "outputs": ["prob"]}),
        ("r.pth", {"kind": "torch"}),
        ("photos", {"kind": "folder"}),
    ],
)
def test_each_kind_of_file_has_its_facts(
    name: str, expected: dict[str, object], made: Path
) -> None:
    result = describe(made / name)
    assert json.loads(json.dumps(result)) == result
    assert result["path"] == str(made / name)
    assert {key: result[key] for key in expected} == expected


def test_a_state_dict_of_another_network_is_told(made: Path) -> None:
    said = "is the state dict of another network (conv1.weight, fc.weight, …)"
    assert describe(made / "r.pth")["not_read"].startswith(said)
    with pytest.raises(decaf.WeightsError, match=r"r\.pth: is the state dict of another network"):
        decaf.load_backbone(made / "r.pth")


@pytest.mark.parametrize("name", ["f.h5", "photos"])
def test_what_cannot_be_read_is_not_told_to_be_something_else(
    name: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read everything, so permissions alone are no test.
    monkeypatch.setattr(
        os, "access", lambda path, mode: not os.fsencode(path).endswith(name.encode())
    )
    with pytest.raises(InputError, match=f"{name}: cannot be read: Permission denied$"):
        describe(made / name)
    said = not_wanted(made / name, "head")
    assert said == f"{made / name}: cannot be read: Permission denied"


def test_what_is_not_there_or_damaged(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: there is no such file or folder"):
        describe(tmp_path / "none")
    for name in ("f.h5", "a.pack", "a.head", "net.safetensors"):
        (tmp_path / name).write_bytes((made / name).read_bytes()[:-10])
        with pytest.raises(DecafError, match=name):
            describe(tmp_path / name)
