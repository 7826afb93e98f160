"""Weights of other programs by their files, and the names of classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from decaf.backbone.weights.importing import read_class_names, read_external_weights
from decaf.backbone.weights.load import save_weights
from decaf.backbone.weights.random_weights import default_preprocess, random_state
from decaf.backbone.weights.state import Weights
from decaf.errors import InputError, SettingError, WeightsError

CAFFE = Path(__file__).parents[1] / "caffe" / "golden" / "small.caffemodel"
GREY = (120.0, 115.0, 105.0)
NAMES = [f"class {number}" for number in range(10)]


@pytest.mark.slow
def test_weights_of_torchvision_are_read(tmp_path, torchvision_state):
    state = torchvision_state(3)
    torch.save(state, tmp_path / "alexnet.pth")
    weights = read_external_weights(
        tmp_path / "alexnet.pth", arch="alexnet", class_names=["a", "b", "c"]
    )
    assert torch.equal(weights.state["conv1.weight"], state["features.0.weight"])
    assert torch.equal(weights.state["fc8.weight"], state["classifier.6.weight"])
    assert (weights.class_names, weights.spec.classes) == (("a", "b", "c"), 3)
    with pytest.raises(WeightsError, match="not the architecture alexnet-2012: input_size is 224"):
        read_external_weights(tmp_path / "alexnet.pth", arch="alexnet-2012")
    with pytest.raises(SettingError, match=r"only networks of Caffe .* take `mean`; leave it out"):
        read_external_weights(tmp_path / "alexnet.pth", mean=GREY)


def test_weights_of_caffe_are_read():
    weights = read_external_weights(CAFFE, mean=GREY, class_names=NAMES)
    assert weights.spec.name == "caffe-smallnet"
    assert weights.class_names == tuple(NAMES)
    with pytest.raises(WeightsError) as caught:
        read_external_weights(CAFFE, mean=GREY, arch="alexnet-2012")
    assert "input_size is 99, expected 227; hidden is (16, 14), expected (4096, 4096); " in str(
        caught.value
    )
    assert "conv1 is (channels 8, kernel 11, stride 4, padding 0, groups 1), expected (chan" in str(
        caught.value
    )


def test_weights_of_decaf_are_read(tmp_path, narrow):
    spec = narrow("alexnet-64")
    preprocess = default_preprocess("alexnet-64")
    weights = Weights.of("x", spec, preprocess, random_state(spec, 0))
    save_weights(tmp_path / "w.safetensors", weights)
    assert read_external_weights(tmp_path / "w.safetensors").sha256 == weights.sha256


@pytest.mark.slow
def test_an_architecture_is_told_by_its_sizes_not_by_its_name(tmp_path, narrow):
    spec = dataclasses.replace(narrow("alexnet-64"), hidden=(4096, 4096))
    weights = Weights.of("x", spec, default_preprocess("alexnet-64"), random_state(spec, 0))
    save_weights(tmp_path / "w.safetensors", weights)
    with pytest.raises(WeightsError, match=r"conv1 is \(channels 4, .*conv5 is"):
        read_external_weights(tmp_path / "w.safetensors", arch="alexnet-64")


def test_what_cannot_be_imported_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.pth: no such file"):
        read_external_weights(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="is a folder"):
        read_external_weights(tmp_path)
    (tmp_path / "deploy.prototxt").write_text("name: 'AlexNet'")
    with pytest.raises(WeightsError, match=r"ends in \.pth, \.pt, \.caffemodel, \.safetensors"):
        read_external_weights(tmp_path / "deploy.prototxt")
    with pytest.raises(SettingError, match="no architecture 'caffenet'; there are alexnet-2012"):
        read_external_weights(CAFFE, arch="caffenet")
    with pytest.raises(WeightsError, match="3 class names for 10 classes of the network"):
        read_external_weights(CAFFE, mean=GREY, class_names=["a", "b", "c"])


def test_wordnet_ids_before_names_are_kept_apart():
    names = [f"n0144076{number} tench, Tinca {number}" for number in range(10)]
    weights = read_external_weights(CAFFE, mean=GREY, class_names=names)
    assert weights.class_names[4] == "tench, Tinca 4"
    assert weights.provenance["wnids"][4] == "n01440764"
    mixed = read_external_weights(CAFFE, mean=GREY, class_names=["no id", *names[1:]])
    assert mixed.class_names == ("no id", *names[1:])
    assert "wnids" not in mixed.provenance


def test_names_without_ids_take_the_place_of_the_ids_there_were(tmp_path):
    names = [f"n0144076{number} tench, Tinca {number}" for number in range(10)]
    first = read_external_weights(CAFFE, mean=GREY, class_names=names)
    save_weights(tmp_path / "w.safetensors", first)
    again = read_external_weights(tmp_path / "w.safetensors")
    assert again.provenance == first.provenance
    renamed = read_external_weights(tmp_path / "w.safetensors", class_names=NAMES)
    assert renamed.class_names == tuple(NAMES)
    assert "wnids" not in renamed.provenance
    assert renamed.provenance["source"] == "caffe"


def test_class_names_of_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffé, a\n b \r\nc\n\n", encoding="utf-8", newline="")
    assert read_class_names(path) == ["é, a", "b", "c"]
    path.write_text("a\u2028b\nc\x0bd\x85e\n", encoding="utf-8", newline="")
    assert read_class_names(path) == ["a\u2028b", "c\x0bd\x85e"]
    for data, text in [
        (b"a\n\nb\n", "line 2 is empty"),
        (b"\n", "holds no class names"),
        (b"\xff\n", "is no UTF-8 text"),
    ]:
        path.write_bytes(data)
        with pytest.raises(InputError, match=text):
            read_class_names(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_class_names(tmp_path / "none.txt")
