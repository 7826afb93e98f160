"""Exported models against the network they are made of, run by ONNX Runtime and by torch."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import systems
from decaf.backbone.export import models, onnx_file
from decaf.backbone.export.models import (
    TOLERANCE,
    compare,
    export_model,
    pixel_normalisation,
)
from decaf.backbone.export.torch_program import METADATA, ExportedNetwork
from decaf.backbone.model import Backbone
from decaf.backbone.spec import LRNSpec, PoolSpec
from decaf.backbone.steps import LAYERS
from decaf.errors import DecafError, OutputError, SettingError
from decaf.images.normalise import normalise

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

ARCH = "alexnet-2012"

KINDS = {
    "alexnet-2012": {},
    "alexnet": {},  # one tower, and an average of 6 × 6 of a map of 2 × 2
    "alexnet-64": {},
    "alexnet, a smaller average": {"adaptive_pool": 2, "input_size": 131},
    "alexnet, an average that is none": {"adaptive_pool": 2},
    "alexnet-2012, tanh": {"activation": "tanh"},
    "alexnet-2012, normalised behind the pool": {
        "lrn": LRNSpec(size=3, k=1.5, alpha=0.01, beta=0.6, after="pool")
    },
    "alexnet-2012, no overlap": {"lrn": None, "pool": PoolSpec(2, 2)},
}


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def expected(weights, images, layers):
    batch = normalise(torch.from_numpy(images), weights.preprocess, mean_image=weights.mean_image)
    values = Backbone(weights).features(batch, layers)
    return {layer: value.numpy() for layer, value in values.items()}


def assert_same(actual, right):
    assert actual.shape == right.shape
    assert actual.dtype == np.float32
    assert np.abs(right).max() > 0
    assert np.abs(actual - right).max() <= 1e-5 * np.abs(right).max()


@pytest.mark.slow
@pytest.mark.parametrize("mean_image", [False, True], ids=["mean colour", "mean image"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_what_the_network_gives(kind, mean_image, small_weights, pixels, tmp_path):
    weights = small_weights(kind.partition(",")[0], mean_image=mean_image, **KINDS[kind])
    path = tmp_path / "model.onnx"
    done = export_model(weights, path, layers=LAYERS, check=False)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert tuple(done.layers) == LAYERS
    session = session_of(path)
    assert [each.name for each in session.get_outputs()] == list(LAYERS)
    graph = ExportedNetwork(weights, LAYERS, pixel_normalisation(weights))
    for count in (1, 3):
        images = pixels(count, weights.spec.input_size)
        right = expected(weights, images, LAYERS)
        with torch.no_grad():
            traced = graph(torch.from_numpy(images))
        for layer, found in zip(LAYERS, session.run(None, {"images": images}), strict=True):
            assert found.shape == (count, *done.layers[layer])
            assert_same(found, right[layer])
            assert_same(traced[layer].numpy(), right[layer])


def test_what_lies_behind_the_deepest_layer_is_left_out(small_weights, pixels, tmp_path):
    weights = small_weights(ARCH)
    path = tmp_path / "model.onnx"
    done = export_model(weights, path, layers=["conv3", "pool1"])
    model = onnx.load(path)
    names = {each.name for each in model.graph.initializer}
    assert names == {"pixel_factor", "pixel_shift"} | {
        f"conv{number}.{what}" for number in (1, 2, 3) for what in ("weight", "bias")
    }
    assert [*done.layers] == ["pool1", "conv3"]
    assert done.agreement.relative_errors.keys() == done.layers.keys()
    assert done.agreement.worst < 1e-5
    images = pixels(2, weights.spec.input_size)
    result = session_of(path).run(["conv3"], {"images": images})[0]
    assert_same(result, expected(weights, images, "conv3")["conv3"])


def test_the_same_weights_give_the_same_bytes(small_weights, tmp_path):
    weights = small_weights(ARCH)
    path = tmp_path / "model.onnx"
    done = export_model(weights, path, check=False)
    data = path.read_bytes()
    model = onnx.load(path)
    assert done.bytes == len(data)
    assert (model.ir_version, model.opset_import[0].version) == (7, 13)
    assert model.producer_name == "decaf"
    export_model(weights, path, check=False, overwrite=True)
    assert path.read_bytes() == data
    # The values are as inference of shapes finds them: nothing is announced that is not so.
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    output = inferred.graph.output[0]
    assert output.name == "prob"
    sizes = [each.dim_param or each.dim_value for each in output.type.tensor_type.shape.dim]
    assert sizes == ["N", weights.spec.classes]


def test_pixels_that_were_prepared_otherwise_are_refused(small_weights, pixels, tmp_path):
    weights = small_weights(ARCH)
    path = tmp_path / "model.onnx"
    export_model(weights, path, check=False)
    session = session_of(path)
    images = pixels(2, weights.spec.input_size)
    wrong = {
        "normalised": (images / 255).astype(np.float32),
        "channels first": np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
        "another size": images[:, :64, :64],
        "one image": images[0],
        "transparency": np.concatenate([images, images[..., :1]], axis=-1),
    }
    for name, batch in wrong.items():
        with pytest.raises(Exception, match=r"INVALID_ARGUMENT|Unexpected|rank"):
            session.run(None, {"images": batch})
            pytest.fail(name)


def test_a_photograph_prepared_by_what_the_model_says(small_weights, pixels, tmp_path):
    """With Pillow and the metadata alone, as on a machine without decaf."""
    weights = small_weights(ARCH)
    path, photograph = tmp_path / "model.onnx", tmp_path / "a.png"
    export_model(weights, path, layers=["fc6", "prob"], check=False)
    Image.fromarray(pixels(1, 260)[0][:190]).save(photograph)

    session = session_of(path)
    told = session.get_modelmeta().custom_metadata_map
    how = json.loads(told["preprocess"])
    with Image.open(photograph) as image:
        size = (how["resize_to"], how["resize_to"])
        small = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    margin = round((how["resize_to"] - how["crop"]) / 2)
    batch = np.asarray(small)[None, margin:, margin:][:, : how["crop"], : how["crop"]]
    fc6, prob = session.run(["fc6", "prob"], {"images": np.ascontiguousarray(batch)})

    from decaf.features.extract import extract

    right = extract(photograph, "fc6", weights=Backbone(weights), workers=0)
    assert np.corrcoef(fc6[0], right[0])[0, 1] > 0.9999  # resized by another library
    names = json.loads(told["class_names"])
    answers = Backbone(weights).classify(photograph, top=3)[0]
    assert [name for name, _ in answers] == [names[unit] for unit in np.argsort(-prob[0])[:3]]


def test_the_metadata_says_what_the_model_is(small_weights, tmp_path):
    weights = small_weights(ARCH)
    path = tmp_path / "model.onnx"
    export_model(weights, path, layers=["pool5", "prob"], check=False)
    model = onnx.load(path)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["format"] == "decaf-model"
    assert told["weights"] == "small"
    assert told["weights_sha256"] == weights.sha256
    assert json.loads(told["arch"]) == weights.spec.to_dict()
    assert json.loads(told["preprocess"]) == weights.preprocess.to_dict()
    assert json.loads(told["class_names"]) == list(weights.class_names)
    assert json.loads(told["layers"]) == {"pool5": [16, 2, 2], "prob": [10]}
    assert json.loads(told["metrics"]) == {"top1_error": 50.0}
    assert json.loads(told["provenance"]) == {"source": "a test"}
    assert told["input"] == model.doc_string == model.graph.input[0].doc_string
    assert told["input"] == (
        "images: uint8 (N, 99, 99, 3), RGB, 0 to 255, not normalised. Decode, apply the EXIF "
        "orientation, composite transparency on RGB (255, 255, 255), resize to 108 x 108 pixels "
        "whatever the aspect ratio (bilinear, antialiased), and crop the 99 x 99 pixels in the "
        "centre. The model itself scales the pixels and subtracts the mean."
    )
    shorter = replace(weights, preprocess=replace(weights.preprocess, resize="shorter-side"))
    export_model(shorter, path, check=False, overwrite=True)
    assert "resize the shorter side to 108 pixels, keeping" in onnx.load(path).doc_string


@pytest.mark.slow
def test_a_program_of_torch(small_weights, pixels, tmp_path):
    weights = small_weights(ARCH, lrn=LRNSpec(size=3, k=1.5, after="pool"), mean_image=True)
    path = tmp_path / "model.pt2"
    done = export_model(weights, path, layers=["fc6", "prob"])
    assert done.agreement.program == f"torch {torch.__version__}"
    assert done.agreement.worst < 1e-5
    assert [entry.name for entry in os.scandir(tmp_path)] == ["model.pt2"]
    extra = {METADATA: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra[METADATA])["weights_sha256"] == weights.sha256
    images = pixels(5, weights.spec.input_size)
    found, right = program(torch.from_numpy(images)), expected(weights, images, ["fc6", "prob"])
    for layer in right:
        assert_same(found[layer].detach().numpy(), right[layer])


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_a_model_may_have_any_name_and_is_checked(ending, small_weights, tmp_path):
    folder = tmp_path / (os.fsdecode(b"a\xff\nb") if not systems.WINDOWS else "a日 b")
    folder.mkdir()
    done = export_model(
        small_weights("alexnet-64"), folder / f"x.{ending}", layers="fc7", check=True
    )
    assert done.agreement.worst <= TOLERANCE
    assert [path.name for path in folder.iterdir()] == [f"x.{ending}"]


def test_a_model_that_computes_something_else_is_not_written(small_weights, tmp_path, monkeypatch):
    weights = small_weights(ARCH)
    # alpha divided by the size of the window once more: what other programs mean by it.
    other = replace(weights, spec=replace(weights.spec, lrn=replace(weights.spec.lrn, alpha=0.5)))
    monkeypatch.setattr(models, "Backbone", lambda _: Backbone(other))
    with pytest.raises(DecafError, match=r"ONNX Runtime \S+ gives other values than decaf: relat"):
        export_model(weights, tmp_path / "model.onnx")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("factor", [1 + 2 * TOLERANCE, float("nan")])
def test_a_difference_above_the_tolerance_is_refused(factor, small_weights):
    backbone = Backbone(small_weights("alexnet-64"))

    def run(images):
        return [expected_of(images)["fc6"] * np.float32(factor)]

    def expected_of(images):
        return {
            "fc6": backbone.features(
                normalise(torch.from_numpy(images), backbone.preprocess), "fc6"
            )["fc6"].numpy()
        }

    with pytest.raises(DecafError, match=r"other values than decaf: relative error .* in fc6"):
        compare("a program", run, backbone, ["fc6"])
    result = compare("a program", lambda images: [expected_of(images)["fc6"]], backbone, ["fc6"])
    assert result.worst == 0
    with pytest.raises(DecafError, match=r"gives fc6 the shape \(1, 31\), not \(1, 32\)"):
        compare("a program", lambda x: [expected_of(x)["fc6"][:, 1:]], backbone, ["fc6"])


def sure_network(small_weights, factor):
    """A network whose logits are `factor` times as far apart."""
    weights = small_weights("alexnet-64")
    state = {**weights.state, "fc8.weight": weights.state["fc8.weight"] * factor}
    return Backbone(replace(weights, state=state))


def probabilities(backbone, change=0.0):
    """A program that computes ``prob``, with larger logits for later classes."""

    def run(images):
        batch = normalise(torch.from_numpy(images), backbone.preprocess)
        logits = backbone.features(batch, "fc8")["fc8"].double()
        part = 1 + change * torch.linspace(0, 1, logits.shape[1])
        return [(logits * part).softmax(1).float().numpy()]

    return run


def test_probabilities_near_0_and_1_are_compared_by_their_logarithms(small_weights):
    backbone = sure_network(small_weights, 10)
    for contrast in (1.0, 0.1):
        pixels = models._pixels(1, 3, 64, contrast)
        right, wrong = (probabilities(backbone, change)(pixels)[0] for change in (0, 0.01))
        assert np.abs(right - wrong).max() < TOLERANCE / 10  # of which nothing is seen
    with pytest.raises(DecafError, match=r"other values than decaf: relative error .* in prob"):
        compare("a program", probabilities(backbone, 0.01), backbone, ["prob"])
    assert compare("a program", probabilities(backbone), backbone, ["prob"]).worst < 1e-6


def test_a_network_that_knows_0_and_1_alone_cannot_be_checked_by_them(small_weights):
    backbone = sure_network(small_weights, 1e9)
    with pytest.raises(DecafError, match=r"nothing was proved; take `layers` fc8 and prob"):
        compare("a program", probabilities(backbone), backbone, ["prob"])


def test_without_onnxruntime_a_check_is_refused(small_weights, tmp_path, monkeypatch):
    weights = small_weights("alexnet-64")
    monkeypatch.setattr(models, "onnxruntime_is_there", lambda: False)
    with pytest.raises(SettingError, match=r"is needed: pip install 'decaf-features\[onnx\]'"):
        export_model(weights, tmp_path / "model.onnx", check=True)
    assert not os.listdir(tmp_path)
    assert export_model(weights, tmp_path / "model.onnx").agreement is None
    monkeypatch.setattr(models, "onnx_is_there", lambda: False)
    with pytest.raises(SettingError, match=r"onnx is needed: pip install 'decaf-features\[onnx\]'"):
        export_model(weights, tmp_path / "other.onnx")
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_what_cannot_be_asked_for(small_weights, tmp_path, monkeypatch):
    weights = small_weights("alexnet-64")
    with pytest.raises(SettingError, match=r"the ending '\.pb'; use one of \.onnx, \.pt2"):
        export_model(weights, tmp_path / "model.pb")
    with pytest.raises(SettingError, match="'fc9' is no layer of alexnet-64"):
        export_model(weights, tmp_path / "model.onnx", layers="fc9")
    with pytest.raises(OutputError, match="there is no folder"):
        export_model(weights, tmp_path / "absent" / "model.onnx")
    (tmp_path / "there.onnx").write_text("mine")
    for name in ("there.onnx", "there.pt2"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(OutputError, match=f"{name}: exists and is a text file, not a"):
            export_model(weights, tmp_path / name, overwrite=True)
        assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
    (tmp_path / "there.onnx").write_bytes(b"")
    with pytest.raises(OutputError, match="is there already"):
        export_model(weights, tmp_path / "there.onnx")
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 1000)
    with pytest.raises(SettingError, match="an ONNX file at most 1,000; export an earlier layer"):
        export_model(weights, tmp_path / "model.onnx")
    assert sorted(os.listdir(tmp_path)) == ["there.onnx", "there.pt2"]
