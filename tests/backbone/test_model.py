"""The backbone as a user meets it: features of a batch, and the classes of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor, ten_crop

import decaf
from decaf.backbone.model import Backbone, load_backbone
from decaf.backbone.network import AlexNet
from decaf.backbone.steps import LAYERS
from decaf.backbone.weights.load import load_weights
from decaf.backbone.weights.state import Weights
from decaf.errors import InputError, SettingError


@pytest.fixture(scope="module")
def weights():
    plain = load_weights("random:0:alexnet-64")
    names = [f"class {number}" for number in range(200)]
    return Weights.of("named", plain.spec, plain.preprocess, plain.state, class_names=names)


@pytest.fixture(scope="module")
def backbone(weights):
    return Backbone(weights)


def batch(count=2, seed=0):
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def picture(seed, size=(90, 70)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_knows_what_it_is(weights, backbone):
    assert backbone.layers == LAYERS
    assert (backbone.spec, backbone.preprocess) == (weights.spec, weights.preprocess)
    assert (backbone.weights_name, backbone.sha256) == ("named", weights.sha256)
    assert backbone.class_names[199] == "class 199"
    assert backbone.device == torch.device("cpu")
    assert repr(backbone) == f"Backbone('named': alexnet-64, SHA-256 {weights.sha256[:12]}…)"


def test_features_are_the_networks_taps(weights, backbone):
    network = AlexNet(weights.spec)
    network.load_state_dict(weights.state)
    network.eval()
    with torch.no_grad():
        expected = network.tap(batch(), ["fc7", "pool1", "conv5_pre", "prob"])
    got = backbone.features(batch(), ["fc7", "pool1", "conv5_pre", "prob"])
    assert list(got) == list(expected)
    for layer, value in got.items():
        assert (value - expected[layer]).abs().max() <= 1e-5 * expected[layer].abs().max()
        assert not value.requires_grad
    assert list(backbone.features(batch(), "fc6")) == ["fc6"]


def test_a_row_does_not_depend_on_its_neighbours(backbone):
    alone = backbone.features(batch(8)[5:6], "fc7")["fc7"]
    among = backbone.features(batch(8), "fc7")["fc7"][5:6]
    assert (alone - among).abs().max() <= 1e-5 * among.abs().max()


def test_features_take_other_float_types(backbone):
    expected = backbone.features(batch(), "fc6")["fc6"]
    got = backbone.features(batch().double(), "fc6")["fc6"]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


def test_a_wrong_layer_name_lists_the_right_ones(backbone):
    with pytest.raises(SettingError, match=r"'fc9' is no layer of alexnet-64; choose from conv1_"):
        backbone.features(batch(), ["fc6", "fc9"])


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (
            np.zeros((1, 3, 64, 64)),
            r"takes a preprocessed float tensor \(N, 3, H, W\), got ndarray",
        ),
        (
            torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
            r"got torch.uint8 of shape .*; for image files use",
        ),
        (torch.zeros(3, 64, 64), r"got torch.float32 of shape \(3, 64, 64\)"),
        (torch.zeros(1, 3, 99, 99), "fc6 needs inputs of 64 pixels"),
    ],
)
def test_wrong_batches_are_refused(backbone, wrong, text):
    with pytest.raises(SettingError, match=text):
        backbone.features(wrong, "fc6")


def test_the_callers_modes_are_put_back_after_an_error(weights):
    backbone = Backbone(weights)
    backbone.network.train()

    def fail(*_):
        raise RuntimeError("in the middle of the pass")

    backbone.network.conv3.register_forward_hook(fail)
    assert torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match="in the middle of the pass"):
        backbone.features(batch(), "fc6")
    assert torch.is_grad_enabled()
    assert all(module.training for module in backbone.network.modules())
    # What lies before the failure still works, and dropout stays out of features.
    assert backbone.features(batch(), "pool2")["pool2"].shape == (2, 192, 7, 7)


def test_classify_gives_the_most_probable_first(backbone):
    answers = backbone.classify([picture(0), picture(1)], top=3)
    assert [len(answer) for answer in answers] == [3, 3]
    for answer in answers:
        chances = [chance for _, chance in answer]
        assert chances == sorted(chances, reverse=True)
        assert all(name in backbone.class_names for name, _ in answer)
    everything = backbone.classify([picture(0)], top=1000)[0]
    assert len(everything) == 200
    assert sum(chance for _, chance in everything) == pytest.approx(1)


def test_classify_takes_paths_arrays_and_single_images(backbone, tmp_path):
    image = picture(0)
    image.save(tmp_path / "a.png")
    picture(1).save(tmp_path / "b.png")
    expected = backbone.classify([image, picture(1)])
    both = np.stack([np.asarray(image), np.asarray(picture(1))])
    for given in (tmp_path, str(tmp_path / "a.png"), image, np.asarray(image), both):
        for got, wanted in zip(backbone.classify(given), expected, strict=False):
            assert dict(got) == pytest.approx(dict(wanted), rel=1e-4)
    assert len(backbone.classify(both)) == len(backbone.classify(tmp_path)) == 2
    assert len(backbone.classify(image)) == 1


def test_classify_is_independent_of_batching(backbone, monkeypatch):
    images = [picture(seed) for seed in range(5)]
    expected = backbone.classify(images, top=1)
    monkeypatch.setattr("decaf.backbone.model._BATCH", 2)
    got = backbone.classify(images, top=1)
    assert [answer[0][0] for answer in got] == [answer[0][0] for answer in expected]


@pytest.mark.slow
def test_classify_averages_the_ten_crops_of_torchvision(backbone):
    spec = backbone.preprocess
    images = [picture(seed, (spec.resize_to, spec.resize_to)) for seed in range(5)]
    mean, std = torch.tensor(spec.mean)[:, None, None], torch.tensor(spec.std)[:, None, None]
    for image, answer in zip(images, backbone.classify(images, 200, crops="ten"), strict=True):
        crops = torch.stack([pil_to_tensor(crop) for crop in ten_crop(image, spec.crop)])
        inputs = (crops / 255 - mean) / std
        expected = backbone.features(inputs, "prob")["prob"].double().mean(dim=0)
        chances = dict(answer)
        got = torch.tensor([chances[name] for name in backbone.class_names])
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-7)
    assert backbone.classify(images[0], crops="ten") != backbone.classify(images[0])
    with pytest.raises(SettingError, match="`crops` 'five' is not one of center, ten"):
        backbone.classify(images[0], crops="five")


def test_classify_gives_the_first_of_equals_first(weights):
    state = {**weights.state, "fc8.weight": torch.zeros_like(weights.state["fc8.weight"])}
    state["fc8.bias"] = torch.zeros(200)
    names = [f"class {number}" for number in range(200)]
    blank = Backbone(Weights.of("w", weights.spec, weights.preprocess, state, class_names=names))
    (answer,) = blank.classify(picture(0), top=3)
    assert answer == [(name, pytest.approx(1 / 200)) for name in names[:3]]


def test_classes_without_names_are_numbers():
    backbone = load_backbone("random:0:alexnet-64")
    ((number, _),) = backbone.classify(picture(0), top=1)[0:1][0]
    assert isinstance(number, int)


def test_classify_names_the_image_it_cannot_read(backbone, tmp_path):
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"b\.png: .*\(unsupported\)"):
        backbone.classify(tmp_path)
    with pytest.raises(SettingError, match="`top` must be a whole number from 1, got 0"):
        backbone.classify(picture(0), top=0)


def test_load_backbone_takes_weights_and_is_public(weights):
    assert load_backbone(weights).sha256 == weights.sha256
    assert decaf.load_backbone is load_backbone
    assert decaf.Backbone is Backbone
