"""``decaf export`` of networks, through the command line's own entry point."""

from __future__ import annotations

import dataclasses
import json

import pytest

from decaf.backbone.spec import architecture
from decaf.backbone.weights.load import Weights, save_weights
from decaf.backbone.weights.random_weights import default_preprocess, random_state
from decaf.cli.main import main


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A narrow network of three classes, and its SHA-256."""
    spec = architecture("alexnet-64")
    convs = tuple(dataclasses.replace(each, channels=each.channels // 16) for each in spec.convs)
    narrow = dataclasses.replace(spec, convs=convs, hidden=(32, 24), classes=3)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    weights = Weights.of(
        "net",
        narrow,
        default_preprocess("alexnet-64"),
        random_state(narrow, 0),
        class_names=["ant", "bee", "cicada"],
    )
    return path, save_weights(path, weights)


def test_a_network_with_onnxruntime(weights_file, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    path, sha256 = weights_file
    out = tmp_path / "net.onnx"
    assert main(["export", str(path), "-o", str(out), "--check"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"{out}: net.safetensors, {out.stat().st_size / 1024:.3g} KiB; images uint8 "
        "N × 64 × 64 × 3 to prob N × 3"
    )
    assert second.startswith(
        f"ONNX Runtime {onnxruntime.__version__} agrees: largest relative error "
    )
    assert main(["export", str(path), "-o", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"decaf: {out}: is there already")
    again = ["export", str(path), "-o", str(out), "-l", "fc7", "-l", "pool5", "--overwrite"]
    assert main([*again, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report.pop("relative_errors").keys() == {"pool5", "fc7"}
    assert report.pop("preprocess")["resize_to"] == 72
    assert report == {
        "file": str(out),
        "bytes": out.stat().st_size,
        "weights": "net.safetensors",
        "sha256": sha256,
        "input": ["N", 64, 64, 3],
        "layers": {"pool5": ["N", 16, 3, 3], "fc7": ["N", 24]},
        "class_names": ["ant", "bee", "cicada"],
        "checked_with": f"ONNX Runtime {onnxruntime.__version__}",
    }


def test_a_network_without_onnxruntime(weights_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("decaf.backbone.export.models.onnxruntime_is_there", lambda: False)
    command = ["export", str(weights_file[0]), "-o", str(tmp_path / "net.onnx")]
    assert main([*command, "--check"]) == 2
    assert "ONNX Runtime is needed: pip install 'decaf-features[onnx]'" in capsys.readouterr().err
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "not checked: ONNX Runtime is not installed (pip install 'decaf-features[onnx]')"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.safetensors", "-o", "a.onnx"], "nothing.safetensors: no such file"),
        (["features.h5", "-o", "a.onnx"], "no weights 'features.h5'"),
        (["NET", "-o", "a.npy"], "is a weights file, not a feature file"),
        (["NET", "-o", "a.onnx", "-l", "fc9"], "'fc9' is no layer"),
        (["NET", "-o", "a.onnx", "--ok-only"], "--ok-only is for feature files"),
        (["NET", "-o", "a.npy", "--check"], "--check is for networks"),
        (["NET", "-o", "a.xlsx"], "cannot tell the format from the ending '.xlsx'; use one of"),
        (["NET", "-o", "a"], "cannot tell the format from the ending ''; use one of"),
        (["NET", "-o", "absent/a.onnx"], "there is no folder absent"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments, message, weights_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = [str(weights_file[0]) if each == "NET" else each for each in arguments]
    assert main(["export", *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
