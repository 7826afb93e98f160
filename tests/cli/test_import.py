"""``decaf import``, through the command line's own entry point."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from decaf.backbone.weights.load import load_weights
from decaf.cli.main import main

NET = Path(__file__).parent.parent / "backbone" / "caffe" / "golden" / "small.caffemodel"


@pytest.fixture
def mean_file(tmp_path):
    """A mean image of 112 pixels in Caffe's form: blue 100, green 110, red 120."""
    values = np.repeat(np.array([100, 110, 120], dtype="<f4"), 112 * 112).tobytes()
    size = struct.pack(
        "BBB", len(values) & 127 | 128, len(values) >> 7 & 127 | 128, len(values) >> 14
    )
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(b"\x08\x01\x10\x03\x18\x70\x20\x70\x2a" + size + values)
    return path


def test_a_network_of_caffe_becomes_a_weights_file(tmp_path, mean_file, capsys):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"class {number}\n" for number in range(10)))
    out = tmp_path / "net.safetensors"
    arguments = ["import", str(NET), "-o", str(out), "--mean", str(mean_file)]
    assert main([*arguments, "--class-names", str(names)]) == 0
    weights = load_weights(out)
    first, second = capsys.readouterr().out.splitlines()
    parameters = sum(tensor.numel() for tensor in weights.state.values())
    assert first.startswith(f"{out}: caffe-smallnet, {parameters:,} parameters, 10 classes, ")
    assert second == f"SHA-256 {weights.sha256}"
    assert weights.class_names[9] == "class 9"
    assert weights.preprocess.mean == (120.0, 110.0, 100.0)
    assert weights.mean_image.shape == (3, 112, 112)
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["import", "absent.pth", "-o", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err  # told before anything is read
    assert main([*arguments, "--overwrite", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sha256"] == weights.sha256  # names are no numbers
    assert report["class_names"] is False
    assert report["bytes"] == out.stat().st_size
    assert report["preprocess"]["mean_image_sha256"] == weights.preprocess.mean_image_sha256
    assert report["provenance"]["source"] == "caffe"
    assert report["relative_errors"] == {}


def test_a_mean_colour_and_rounded_weights_are_told(tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    arguments = ["import", str(NET), "-o", str(out), "--mean", "123,117,104.5"]
    assert main([*arguments, "--dtype", "fc6.weight=codebook4,fc7.weight=int8"]) == 0
    assert load_weights(out).preprocess.mean == (123.0, 117.0, 104.5)
    output = capsys.readouterr().out
    assert "10 classes without names, " in output
    assert "rounded: 2 of 16 tensors, relative error at most 0.0" in output
    assert output.endswith(" (fc6.weight)\n")
    smaller = tmp_path / "smaller.safetensors"
    assert main(["import", str(out), "-o", str(smaller), "--dtype", "int8", "--json"]) == 0
    errors = json.loads(capsys.readouterr().out)["relative_errors"]
    assert {"conv1.weight", "fc6.weight", "fc8.weight"} <= set(errors)
    assert max(errors.values()) < 0.02


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "tells no mean; give --mean, its mean file"),
        (["--mean", "1,2"], "--mean must be a file, or three numbers (red, green, blue)"),
        (["--mean", "no/such.binaryproto"], "no/such.binaryproto: cannot be read: No such file"),
        (["--mean", "1,2,3", "--arch", "alexnet-2012"], "not the architecture alexnet-2012"),
        (["--mean", "1,2,3", "--arch", "caffenet"], "no architecture 'caffenet'"),
        (["--mean", "1,2,3", "--class-names", "none.txt"], "none.txt: cannot be read"),
        (["--mean", "1,2,3", "--dtype", "int4"], "--dtype must be one of float32"),
        (["--mean", "1,2,3", "--dtype", "fc6.weight=int8,int8"], "expected TENSOR=TYPE"),
        (["--mean", "1,2,3", "--dtype", "fc9=int8"], "'fc9' is no weight matrix"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, arguments, text, capsys):
    out = tmp_path / "net.safetensors"
    assert main(["import", str(NET), "-o", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert len(error.splitlines()) == 1
    assert not out.exists()


def test_files_that_cannot_be_read_or_written_are_told(tmp_path, capsys):
    for source, out, text in [
        ("none.caffemodel", "o.safetensors", "none.caffemodel: no such file"),
        (str(NET), "o.pth", "the name of a weights file ends in .safetensors"),
        (str(NET), "no/folder/o.safetensors", "there is no folder"),
    ]:
        assert main(["import", source, "-o", str(tmp_path / out), "--mean=1,2,3"]) == 2
        assert text in capsys.readouterr().err
