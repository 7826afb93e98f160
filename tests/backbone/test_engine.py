"""The engine against the module, torchvision, and the claims it makes about rows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decaf.backbone.engine import Engine, SplittingEngine, fused_operators_work
from decaf.backbone.model import Backbone, load_backbone
from decaf.backbone.spec import LRNSpec
from decaf.backbone.weights.load import load_weights
from decaf.errors import DecafError, SettingError
from decaf.features.verify import tolerance
from decaf.images import ImageRef
from decaf.images.normalise import normalise
from decaf.images.preprocess import prepare
from decaf.runtime.device import bf16_is_native, is_out_of_memory

CPU = torch.device("cpu")


def pictures(count: int, crop: int, seed: int = 0, crops: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, crops, crop, crop, 3), dtype=np.uint8)


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest relative error of a row."""
    a = actual.reshape(len(actual), -1).astype(np.float64)
    b = expected.reshape(len(expected), -1).astype(np.float64)
    return float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max())


@pytest.fixture(scope="module")
def small() -> Backbone:
    return load_backbone("random:0:alexnet-64")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet-64", "alexnet", "alexnet-2012"])
def test_agrees_with_the_module_at_every_layer(name: str) -> None:
    backbone = load_backbone(f"random:1:{name}")
    crops = pictures(3, backbone.preprocess.crop)
    result = Engine(backbone, backbone.layers)(crops)
    pixels = normalise(torch.from_numpy(crops[:, 0]), backbone.preprocess)
    expected = backbone.features(pixels.contiguous(), backbone.layers)
    assert list(result) == list(backbone.layers)
    for layer in backbone.layers:
        assert result[layer].dtype == np.float32
        assert relative(result[layer], expected[layer].numpy()) < 1e-5, layer


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"activation": "tanh"}, {"lrn": LRNSpec(after="pool")}], ids=["tanh", "lrn"]
)
def test_a_variant_agrees_with_the_module(change: dict[str, Any]) -> None:
    weights = load_weights("random:1:alexnet-64")
    backbone = Backbone(replace(weights, spec=replace(weights.spec, **change)))
    crops = pictures(2, 64)
    result = Engine(backbone, ["conv2_pre", "conv2", "fc7"])(crops)
    pixels = normalise(torch.from_numpy(crops[:, 0]), backbone.preprocess)
    expected = backbone.features(pixels, ["conv2_pre", "conv2", "fc7"])
    for layer, values in expected.items():
        assert relative(result[layer], values.numpy()) < 1e-5


def test_uses_the_fused_operators_where_torch_has_onednn() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    assert fused_operators_work(torch.float32)


@pytest.mark.slow
def test_runs_the_module_where_the_fused_operators_are_missing(
    small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = pictures(4, 64)
    layers = ["pool1", "fc6_pre", "fc6"]
    fused = Engine(small, layers)(crops)
    monkeypatch.setattr("decaf.backbone.engine.fused_operators_work", lambda dtype: False)
    plain = Engine(small, layers)(crops)
    for layer in layers:
        assert relative(plain[layer], fused[layer]) < 1e-5


def test_the_value_before_the_relu_stays_what_it_is(small: Backbone) -> None:
    crops = pictures(2, 64)
    both = Engine(small, ["fc6_pre", "fc6", "conv1_pre", "conv1"])(crops)
    for layer in ("fc6", "conv1"):
        assert both[f"{layer}_pre"].min() < 0
        np.testing.assert_array_equal(both[layer], np.maximum(both[f"{layer}_pre"], 0))


@pytest.mark.slow
def test_a_row_depends_on_neither_its_neighbours_nor_its_batch(small: Backbone) -> None:
    engine = Engine(small, ["fc7"])
    one, other = pictures(8, 64, seed=1), pictures(8, 64, seed=2)
    mixed = np.concatenate([one[:4], other[4:]])
    whole = engine(one)["fc7"]
    np.testing.assert_array_equal(engine(mixed)["fc7"][:4], whole[:4])
    for size in (1, 2, 3, 5):
        pieces = [engine(one[start : start + size])["fc7"] for start in range(0, 8, size)]
        assert relative(np.concatenate(pieces), whole) < 1e-5


def test_a_pass_is_the_same_on_one_core_and_on_several(small: Backbone) -> None:
    engine = Engine(small, ["pool5", "fc6"])
    crops = pictures(6, 64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = engine(crops)
        torch.set_num_threads(2)
        together = engine(crops)
    finally:
        torch.set_num_threads(before)
    for layer in alone:
        assert relative(together[layer], alone[layer]) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet-64", "alexnet-2012"])
def test_bf16_rows_keep_their_direction(name: str) -> None:
    if not bf16_is_native(CPU):
        pytest.skip("this processor has no bfloat16 arithmetic")
    backbone = load_backbone(f"random:0:{name}")
    layers = ["pool5", "fc6", "fc7", "fc8"]
    crops = pictures(4, backbone.preprocess.crop)
    exact = Engine(backbone, layers)(crops)
    fast = Engine(backbone, layers, precision="bf16")(crops)
    for layer in layers:
        assert fast[layer].dtype == np.float32
        a, b = exact[layer].reshape(4, -1), fast[layer].reshape(4, -1)
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosine.min() >= 0.9995, layer
        assert cosine.min() < 1.0, f"{layer} was not computed in bfloat16"


@pytest.mark.slow
def test_bf16_keeps_on_photographs_what_is_promised(shared_data: Path) -> None:
    if not bf16_is_native(CPU):
        pytest.skip("this processor has no bfloat16 arithmetic")
    # Those of the sample that lose most: the network hesitates between classes.
    names = ("n02099712_Labrador_retriever", "n02489166_proboscis_monkey", "n07753113_fig")
    backbone = load_backbone()
    crops = np.empty((len(names), 1, 224, 224, 3), np.uint8)
    for name, out in zip(names, crops, strict=True):
        ref = ImageRef(os.fsencode(shared_data / "imagenet-sample" / f"{name}.JPEG"))
        assert prepare(ref, backbone.preprocess, ten=False, out=out).status == "ok"
    exact = Engine(backbone, backbone.layers)(crops)
    fast = Engine(backbone, backbone.layers, precision="bf16")(crops)
    for layer in backbone.layers:
        a, b = (rows[layer].reshape(len(names), -1).astype(float) for rows in (exact, fast))
        cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert cosine.min() >= 1 - tolerance("bf16", "float32", layer)[1], layer
    np.testing.assert_allclose(fast["prob"].sum(1), 1, rtol=1e-5)


def test_bf16_is_refused_where_it_is_emulated(
    small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decaf.backbone.engine.bf16_is_native", lambda device: False)
    with pytest.raises(SettingError, match="no native bfloat16"):
        Engine(small, ["fc6"], precision="bf16")


@pytest.mark.slow
@pytest.mark.parametrize("crops", ["ten", "ten-max", "ten-stack"])
def test_ten_crop_is_the_ten_views_reduced(small: Backbone, crops: str) -> None:
    views = pictures(3, 64, crops=5)
    result = Engine(small, ["fc6"], crops=crops)(views)["fc6"]
    mirrored = views[:, :, :, ::-1]
    single = Engine(small, ["fc6"])
    rows = [
        single(np.ascontiguousarray(part[:, number : number + 1]))["fc6"]
        for part in (views, mirrored)
        for number in range(5)
    ]
    stack = np.stack(rows, axis=1)
    expected = {"ten": stack.mean(1), "ten-max": stack.max(1), "ten-stack": stack}[crops]
    assert result.shape == expected.shape
    assert relative(result, expected) < 1e-5


def test_a_mean_image_is_mirrored_with_its_crop() -> None:
    weights = load_weights("random:0:alexnet-64")
    generator = torch.Generator().manual_seed(0)
    mean_image = torch.rand(3, 72, 72, generator=generator)
    spec = replace(weights.preprocess, mean_image_sha256="0" * 64)
    backbone = Backbone(replace(weights, preprocess=spec, mean_image=mean_image))
    image = np.random.default_rng(0).integers(0, 256, (72, 72, 3), dtype=np.uint8)
    corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    views = np.stack([image[top : top + 64, left : left + 64] for top, left in corners])[None]
    result = Engine(backbone, ["fc6"], crops="ten-stack")(views)["fc6"][0]
    centred = (torch.from_numpy(image).permute(2, 0, 1).double() / 255 - mean_image.double()) / (
        torch.tensor(spec.std).double()[:, None, None]
    )
    crops = [centred[:, top : top + 64, left : left + 64] for top, left in corners]
    batch = torch.stack(crops + [crop.flip(-1) for crop in crops]).float()
    assert relative(result, backbone.features(batch, "fc6")["fc6"].numpy()) < 1e-5


@pytest.mark.slow
def test_equals_torchvision_on_photographs(shared_data: Path, tmp_path: Path) -> None:
    """The whole way, from the file to fc6, fc7 and logits, against torchvision's own."""
    from PIL import Image
    from torchvision.models import alexnet
    from torchvision.models.feature_extraction import create_feature_extractor
    from torchvision.transforms import v2

    import decaf

    torch.manual_seed(0)
    model = alexnet(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "alexnet.pth")
    paths = sorted((shared_data / "imagenet-sample").iterdir())[:12]
    # The numbers of AlexNet_Weights.IMAGENET1K_V1.transforms(), with transforms that stay in uint8:
    # those of the preset go through float32 and round some pixels the other way.
    preset = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    batch = torch.stack([preset(Image.open(path).convert("RGB")) for path in paths])
    # In torchvision the ReLU after fc6 and fc7 is in place: classifier.2 and .5 are their outputs.
    nodes = {"classifier.2": "fc6", "classifier.5": "fc7", "classifier.6": "fc8"}
    with torch.inference_mode():
        expected = create_feature_extractor(model, nodes)(batch)
    result = decaf.extract(
        paths, ["fc6", "fc7", "fc8"], weights=tmp_path / "alexnet.pth", workers=1
    )
    assert isinstance(result, dict)
    for layer, values in expected.items():
        assert relative(result[layer], values.numpy()) < 1e-5, layer


def test_building_an_engine_leaves_the_random_state_alone(
    small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seed(_: int) -> None:
        raise AssertionError("the generators of the GPUs are not put back")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seed)
    fused_operators_work.cache_clear()
    before = torch.get_rng_state()
    Engine(small, ["fc6"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered(
    small: Backbone, error: Exception
) -> None:
    engine = Engine(small, ["fc6"])
    sizes: list[int] = []

    def tight(crops: np.ndarray) -> dict[str, np.ndarray]:
        sizes.append(len(crops))
        if len(crops) > 3:
            raise error
        return engine(crops)

    halving = SplittingEngine(tight)
    crops = pictures(11, 64)
    assert relative(halving(crops)["fc6"], engine(crops)["fc6"]) < 1e-5
    assert sizes == [11, 6, 3, 3, 3, 2]
    halving(crops[:4])
    assert sizes[6:] == [3, 1]


def test_an_image_that_does_not_fit_alone_is_an_error() -> None:
    def full(crops: np.ndarray) -> dict[str, np.ndarray]:
        raise MemoryError

    with pytest.raises(DecafError, match="not even one image fits"):
        SplittingEngine(full)(pictures(4, 8))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not match"))

    def broken(crops: np.ndarray) -> dict[str, np.ndarray]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        SplittingEngine(broken)(pictures(4, 8))
