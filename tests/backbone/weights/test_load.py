"""The registry: names, paths, and what is said of those that are neither."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from decaf.backbone.spec import architecture
from decaf.backbone.weights import load as registry
from decaf.backbone.weights.load import load_weights, save_weights
from decaf.backbone.weights.random_weights import default_preprocess
from decaf.backbone.weights.state import Weights, state_sha256, tensor_sha256
from decaf.errors import WeightsError
from decaf.images.spec import named_preprocess


@pytest.mark.slow
def test_random_weights_have_one_name_for_the_same_numbers():
    short = load_weights("random:7:alexnet-64")
    long = load_weights("random:007:alexnet-64:he")
    assert (short.name, short.sha256) == (long.name, long.sha256)
    assert short.name == "random:7:alexnet-64"
    assert load_weights("random:7:alexnet-64:paper").sha256 != short.sha256
    assert load_weights("random:8:alexnet-64").sha256 != short.sha256
    assert short.provenance == {"source": "random", "seed": 7, "initialisation": "he"}
    assert (short.class_names, short.metrics, short.mean_image) == ((), {}, None)


@pytest.mark.slow
def test_random_weights_are_of_the_2012_network_by_default():
    weights = load_weights("random:0")
    assert (weights.name, weights.spec) == ("random:0", architecture("alexnet-2012"))
    assert weights.preprocess == named_preprocess("decaf", 227)
    assert weights.sha256 == state_sha256(weights.state)


def test_default_preprocessing():
    assert default_preprocess("alexnet-64") == named_preprocess("decaf", 64)
    assert default_preprocess("alexnet") == named_preprocess("shorter-side", 224)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("random:", r"expected random:SEED\[:ARCH\[:he\|paper\]\]"),
        ("random:-1", "expected random:SEED"),
        ("random:\uff11", "expected random:SEED"),
        ("random:0:alexnet:he:x", "expected random:SEED"),
        ("random:9223372036854775808", "the seed must be a whole number from 0 to"),
        ("random:0:alexnt", "no architecture 'alexnt'; there are .*Did you mean alexnet?"),
        ("random:0:alexnet:xavier", "must be he or paper, got 'xavier'"),
        (
            "imagenette",
            r"there are imagenet-distilled, imagenet, .* mean imagenet\?",
        ),
        ("", "no weights ''; there are imagenet-distilled"),
        (
            "tiny-imagenet",
            r"earlier version of decaf.* file tiny-imagenet.safetensors \(SHA",
        ),
        ("no/such.safetensors", "no/such.safetensors: no such file"),
        ("no/such.pth", "no/such.pth: no such file"),
    ],
)
def test_what_is_no_weights(asked, text):
    with pytest.raises(WeightsError, match=text):
        load_weights(asked)


def test_other_files_are_refused_by_their_ending(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"\x00")
    with pytest.raises(WeightsError, match=r"of a weights file ends in \.safetensors, \.pth, \.pt"):
        load_weights(tmp_path / "weights.bin")
    (tmp_path / "a.pth").mkdir()
    with pytest.raises(WeightsError, match=r"a\.pth: is a folder, not a weights file"):
        load_weights(tmp_path / "a.pth")


def test_the_packaged_weights(monkeypatch, tmp_path, narrow):
    monkeypatch.setattr(registry, "_PACKAGED", tmp_path)
    with pytest.raises(
        WeightsError,
        match="imagenet-distilled are not part of this version of decaf; use random:0, imagenet or",
    ):
        load_weights("imagenet-distilled")
    made = small_weights(narrow)
    save_weights(tmp_path / "imagenet-distilled.safetensors", made)
    assert load_weights("imagenet-distilled").name == "imagenet-distilled"
    assert load_weights("imagenet-distilled").sha256 == made.sha256


@pytest.mark.slow
def test_the_default_weights_come_with_decaf():
    path = registry._PACKAGED / f"{registry.DEFAULT_WEIGHTS}.safetensors"
    assert path.stat().st_size < 32e6
    assert path.with_suffix(".md").is_file(), "its card"
    weights = load_weights(registry.DEFAULT_WEIGHTS)
    assert weights.spec == architecture("alexnet")
    assert weights.spec.classes == len(weights.class_names) == len(weights.provenance["wnids"])
    assert (weights.class_names[0], weights.provenance["wnids"][0]) == ("tench", "n01440764")
    assert weights.sha256 in path.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_default_weights_know_photographs(shared_data):
    """Of ten classes among 1,000; of the images those named after ImageNet's validation set."""
    from decaf.backbone.model import load_backbone

    backbone = load_backbone(registry.DEFAULT_WEIGHTS)
    wnids = backbone.provenance["wnids"]
    names = dict(zip(wnids, backbone.class_names, strict=True))
    folders = sorted((shared_data / "imagenette-mini" / "val").iterdir())
    paths = [path for folder in folders for path in sorted(folder.glob("ILSVRC2012_val_*"))]
    result = backbone.classify(paths, top=5)
    right = [
        names[path.parent.name] in [guess[0] for guess in guesses]
        for path, guesses in zip(paths, result, strict=True)
    ]
    assert len(right) >= 50
    assert sum(right) > 0.7 * len(right)


def small_weights(narrow, **more):
    from decaf.backbone.weights.random_weights import random_state

    spec = narrow("alexnet-64")
    return Weights.of("small", spec, named_preprocess("decaf", 64), random_state(spec, 0), **more)


def test_weights_of_checks_that_all_fits(narrow):
    weights = small_weights(narrow, class_names=[str(number) for number in range(10)])
    spec, preprocess, state = weights.spec, weights.preprocess, weights.state
    with pytest.raises(WeightsError, match="3 class names for 10 classes"):
        Weights.of("w", spec, preprocess, state, class_names=["a", "b", "c"])
    changed = {**state, "other": state["conv1.bias"]}
    del changed["conv1.bias"]
    with pytest.raises(WeightsError, match=r"missing conv1\.bias; unexpected other"):
        Weights.of("w", spec, preprocess, changed)
    with pytest.raises(WeightsError, match=r"fc8\.bias has shape \(3,\), expected \(10,\)"):
        Weights.of("w", spec, preprocess, {**state, "fc8.bias": torch.zeros(3)})
    with pytest.raises(WeightsError, match="network takes 64 pixels, the preprocessing gives 224"):
        Weights.of("w", spec, named_preprocess("decaf", 224), state)
    for bad in (float("nan"), float("inf"), -float("inf")):
        bias = torch.zeros(10)
        bias[3] = bad
        with pytest.raises(WeightsError, match=r"fc8\.bias holds NaN or infinite values"):
            Weights.of("w", spec, preprocess, {**state, "fc8.bias": bias})


def test_the_mean_image_is_the_one_the_preprocessing_names(narrow):
    weights = small_weights(narrow)
    image = torch.rand(3, 72, 72, generator=torch.Generator().manual_seed(0))
    named = dataclasses.replace(weights.preprocess, mean_image_sha256=tensor_sha256(image))
    made = Weights.of("w", weights.spec, named, weights.state, mean_image=image)
    assert torch.equal(made.mean_image, image)
    assert "mean_image" not in made.state
    assert made.sha256 != weights.sha256  # it is part of what the numbers are
    with pytest.raises(WeightsError, match="the mean image has SHA-256"):
        Weights.of("w", weights.spec, named, weights.state, mean_image=image + 1)
    with pytest.raises(WeightsError, match="missing mean_image"):
        Weights.of("w", weights.spec, named, weights.state)
    with pytest.raises(WeightsError, match="unexpected mean_image"):
        Weights.of("w", weights.spec, weights.preprocess, weights.state, mean_image=image)


def test_the_hash_is_of_names_shapes_types_and_values():
    one = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    others = [
        {"a": one["a"], "c": one["b"]},
        {"a": one["a"].reshape(3, 2), "b": one["b"]},
        {"a": one["a"].double(), "b": one["b"]},
        {"a": one["a"], "b": torch.tensor([0.0, 1.0])},
        {"a": one["a"], "b": torch.tensor([0.0, -0.0])},
    ]
    digests = {state_sha256(state) for state in [one, *others]}
    assert len(digests) == 6
    # Neither the order of names nor the layout in memory is part of it.
    turned = {"b": one["b"], "a": one["a"].T.contiguous().T}
    assert state_sha256(turned) == state_sha256(one)


def test_the_hash_is_what_its_documentation_says():
    import hashlib

    values = np.array([1.5, -2.0], dtype="<f4")
    expected = hashlib.sha256(b'["x", "float32", [2]]\n' + values.tobytes()).hexdigest()
    assert state_sha256({"x": torch.from_numpy(values)}) == expected


IMAGENET = "alexnet-owt-7be5be79.pth"


def test_imagenet_without_a_network_names_the_file_and_the_folder(monkeypatch, tmp_path):
    def offline(*_args, **_more):
        raise OSError("no network in this test")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(WeightsError) as caught:
        load_weights("imagenet")
    assert str(caught.value) == (
        f"weights imagenet: {IMAGENET} could not be downloaded (no network in this test); put "
        f"that file into {tmp_path}/checkpoints, or give its path as the weights"
    )


@pytest.mark.slow
def test_imagenet_refuses_another_file_of_that_name(monkeypatch, tmp_path, torchvision_state):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(torchvision_state(3), tmp_path / "checkpoints" / IMAGENET)
    with pytest.raises(WeightsError, match="its SHA-256 does not begin with 7be5be79; delete it"):
        load_weights("imagenet")


@pytest.mark.slow
def test_imagenet_from_torchvisions_download(monkeypatch, tmp_path, torchvision_state):
    """The download puts a file where torchvision does; its hash alone is made to fit."""
    path = tmp_path / "checkpoints" / IMAGENET
    asked = {}

    def download(url, **more):
        asked.update(more, url=url)
        path.parent.mkdir()
        torch.save(torchvision_state(1000), path)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    monkeypatch.setattr(
        "decaf.backbone.weights.torchvision_file._file_sha256", lambda where: "7be5be79" + "0" * 56
    )
    weights = load_weights("imagenet")
    assert asked["url"].endswith(IMAGENET)
    assert (asked["check_hash"], asked["weights_only"]) == (True, True)
    assert (weights.name, weights.spec) == ("imagenet", architecture("alexnet"))
    assert weights.preprocess == named_preprocess("shorter-side", 224)
    assert (len(weights.class_names), weights.class_names[0]) == (1000, "tench")
