"""Teachers: what they are given, what they answer, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from colours import Colours
from decaf.backbone.export.models import export_model
from decaf.backbone.model import load_backbone
from decaf.errors import SettingError, WeightsError
from decaf.train.distillation.teacher import ModuleTeacher, TeacherCard, load_teacher


def write_onnx(path: Path, side: int, outputs: Sequence[str] = ("answers",)) -> Path:
    """Write `Colours` as other programs do, for inputs of this side."""
    onnx = pytest.importorskip("onnx")
    h, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = Colours().weight.detach().numpy().T.copy()
    graph = h.make_graph(
        [
            h.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
            h.make_node("MatMul", ["mean", "weight"], ["answers"]),
        ],
        "colours",
        [h.make_tensor_value_info("images", kind, ["n", 3, side, side])],
        [h.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def pixels() -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (37, 24, 24, 3), dtype=np.uint8)
    )


def expected(pixels: Tensor) -> np.ndarray:
    mean = (pixels.numpy() / 255 - 0.5).astype(np.float64).mean((1, 2)) / 0.2
    return mean @ Colours().weight.detach().double().numpy().T


def test_a_module_answers_normalised_pixels(card: TeacherCard, pixels: Tensor) -> None:
    teacher = ModuleTeacher(Colours(), card)
    np.testing.assert_allclose(teacher.answers(pixels), expected(pixels), atol=1e-4)
    np.testing.assert_allclose(teacher.answers(pixels.float()), expected(pixels), atol=1e-4)
    assert teacher.identity()["engine"] == f"torch {torch.__version__} cpu fp32"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_onnx_file_answers_as_its_module(
    card: TeacherCard, pixels: Tensor, tmp_path: Path, engine: str
) -> None:
    pytest.importorskip(engine)
    path = write_onnx(tmp_path / "colours.onnx", 24)
    path.with_suffix(".json").write_text(json.dumps(card.to_dict()))
    teacher = load_teacher(path, engine=engine, precision="fp32")
    assert teacher.card == card
    np.testing.assert_allclose(teacher.answers(pixels), expected(pixels), atol=1e-3)
    # Whatever is asked beside it, an image is answered with the same bits.
    assert torch.equal(teacher.answers(pixels)[30:], teacher.answers(pixels[30:]))


def test_numbers_in_files_beside_a_model_belong_to_it(card: TeacherCard, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    identities = []
    for number, factor in enumerate((1.0, 2.0, 1.0)):
        folder = tmp_path / str(number)
        folder.mkdir()
        model = onnx.load(write_onnx(folder / "plain.onnx", 24))
        weight = model.graph.initializer[0]
        values = factor * onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), "weight"))
        onnx.save(
            model,
            folder / "colours.onnx",
            save_as_external_data=True,
            location="colours.bin",
            size_threshold=0,
        )
        assert (folder / "colours.bin").stat().st_size >= 60
        teacher = load_teacher(folder / "colours.onnx", card=card, engine="onnxruntime")
        identities.append(teacher.identity()["sha256"])
    assert identities[0] == identities[2] != identities[1]


def test_networks_with_the_same_numbers_are_not_one_teacher(card: TeacherCard) -> None:
    class Squared(Colours):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square()

    plain, other = ModuleTeacher(Colours(), card), ModuleTeacher(Squared(), card)
    assert plain.identity() != other.identity()
    assert plain.identity() == ModuleTeacher(Colours(), card).identity()
    bytes_of = dataclasses.replace(card, pixels="bytes")
    assert ModuleTeacher(Colours(), bytes_of).identity() != plain.identity()
    named = dataclasses.replace(card, name="tints", source="a drawer")
    assert ModuleTeacher(Colours(), named).identity() == plain.identity()
    assert ModuleTeacher(Colours(), named).described()["source"] == "a drawer"


def test_a_module_is_given_back_as_it_was(card: TeacherCard, pixels: Tensor) -> None:
    module = nn.Sequential(Colours(), nn.BatchNorm1d(5), nn.Dropout())
    module.train()
    module[1].eval()
    ModuleTeacher(module, card).answers(pixels)
    assert [part.training for part in (module, *module)] == [True, True, False, True]


def test_probabilities_become_logits(card: TeacherCard, pixels: Tensor) -> None:
    module = nn.Sequential(Colours(), nn.Softmax(1))
    teacher = ModuleTeacher(module, dataclasses.replace(card, output="probabilities"))
    logits = expected(pixels)
    answers = teacher.answers(pixels).double().numpy()
    np.testing.assert_allclose(
        answers - answers.max(1, keepdims=True), logits - logits.max(1, keepdims=True), atol=1e-3
    )
    wrong = ModuleTeacher(Colours(), dataclasses.replace(card, output="probabilities"))
    with pytest.raises(SettingError, match="which are no probabilities: output is 'logits'"):
        wrong.answers(pixels)


@pytest.mark.slow
def test_what_decaf_exports_needs_no_card(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    out = tmp_path / "own.onnx"
    export_model("random:3:alexnet-64", out, layers="fc8", check=False)
    with pytest.raises(SettingError, match="class_names has 0 entries"):
        load_teacher(out, engine="onnxruntime")
    card = TeacherCard(
        "own",
        load_backbone("random:3:alexnet-64").preprocess,
        tuple(map(str, range(200))),
        pixels="bytes",
    )
    teacher = load_teacher(out, card=card, engine="onnxruntime")
    same = load_teacher("random:3:alexnet-64")
    views = torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    )
    torch.testing.assert_close(teacher.answers(views), same.answers(views), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_weights_teach_with_their_logits() -> None:
    teacher = load_teacher("random:3:alexnet-64")
    backbone = load_backbone("random:3:alexnet-64")
    views = torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    )
    spec = backbone.preprocess
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    images = ((views * spec.scale - mean) / std).permute(0, 3, 1, 2)
    logits = backbone.features(images, "fc8")["fc8"]
    torch.testing.assert_close(teacher.answers(views), logits, rtol=1e-4, atol=1e-4)


class Wrong(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda x: x, r"have shape \(2, 3, 24, 24\), one vector of 5 classes"),
        (lambda x: x[:, 0, 0, :4], r"have shape \(2, 4\), one vector of 5 classes"),
        (lambda x: x[:, 0, 0, :5] / 0 * 0, "its answers are not finite"),
        (lambda x: (x, x), "answers with a tuple, a tensor"),
    ],
    ids=["maps", "classes", "nan", "two"],
)
def test_wrong_answers_are_refused(card: TeacherCard, answer: Any, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        ModuleTeacher(Wrong(answer), card).check()


def test_a_file_that_says_too_little_is_refused(card: TeacherCard, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx(tmp_path / "colours.onnx", 24)
    with pytest.raises(SettingError, match="says how images become its input and what its classes"):
        load_teacher(path)
    values = card.to_dict()
    del values["preprocess"]
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps(values))
    with pytest.raises(SettingError, match="does not say preprocess: both have to be known"):
        load_teacher(path)
    beside.write_text(json.dumps({**card.to_dict(), "class_names": ["one"]}))
    with pytest.raises(SettingError, match="class_names has 1 entries, 2 or more expected"):
        load_teacher(path)
    beside.write_text("no JSON")
    with pytest.raises(SettingError, match=r"colours.json: cannot be read"):
        load_teacher(path)
    beside.write_text(json.dumps(card.to_dict()))
    with pytest.raises(SettingError, match=r"`engine` must be one of auto, openvino, onnxruntime"):
        load_teacher(path, engine="tensorflow")
    with pytest.raises(SettingError, match="computes in fp32 on CPUs"):
        load_teacher(path, engine="onnxruntime", precision="bf16")
    (tmp_path / "broken.onnx").write_bytes(path.read_bytes()[:100])
    with pytest.raises(SettingError, match=r"broken.onnx: onnxruntime refuses it"):
        load_teacher(tmp_path / "broken.onnx", card=card, engine="onnxruntime")
    with pytest.raises(SettingError, match=r"missing.onnx: no such file"):
        load_teacher(tmp_path / "missing.onnx")
    with pytest.raises(WeightsError, match="no weights 'missing'"):
        load_teacher("missing")
    for wrong in ({"card": beside}, {"engine": "openvino"}):
        with pytest.raises(SettingError, match="`card` and `engine` are for ONNX files"):
            load_teacher("random:0:alexnet-64", **wrong)


def test_another_input_size_is_refused(card: TeacherCard, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx(tmp_path / "colours.onnx", 4)
    teacher = load_teacher(path, card=card, engine="onnxruntime")
    with pytest.raises(SettingError, match=r"cannot be run on input of shape \(2, 3, 24, 24\)"):
        teacher.check()


def test_several_outputs_are_refused(card: TeacherCard, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx(tmp_path / "two.onnx", 24, ["answers", "mean"])
    with pytest.raises(SettingError, match=r"has 2 outputs \(answers, mean\)"):
        load_teacher(path, card=card, engine="onnxruntime")
