"""`evaluate` against torchvision's own network, and against averages in float64."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score
from torchvision.transforms import v2

from decaf.backbone.model import Backbone
from decaf.backbone.weights.load import load_weights
from decaf.backbone.weights.state import Weights
from decaf.errors import ImageError, InputError, SettingError, Stopped, WeightsError
from decaf.evaluate import ensemble
from decaf.evaluate.classification import evaluate_network
from decaf.evaluate.report import Evaluation
from decaf.evaluate.test_set import read_test_set
from decaf.images.spec import IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec
from decaf.train.pack.build import make_pack

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def run(weights: object, data: object, **rest: object) -> Evaluation:
    return evaluate_network(weights, data, **{"workers": 0, "device": "cpu", **rest})


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def agrees(message: Evaluation, labels: np.ndarray, scores: np.ndarray) -> None:
    """Compare all figures with scikit-learn's for these scores."""
    columns = np.arange(scores.shape[1])
    answers = scores.argmax(1)
    top1 = top_k_accuracy_score(labels, scores, k=1, labels=columns)
    top5 = top_k_accuracy_score(labels, scores, k=5, labels=columns)
    assert message.top1_error == pytest.approx(100 * (1 - top1))
    assert message.top5_error == pytest.approx(100 * (1 - top5))
    counts = confusion_matrix(labels, answers, labels=columns)
    there = np.unique(labels)
    np.testing.assert_array_equal(message.confusion, counts[there])
    recall = np.diag(counts)[there] / counts[there].sum(1)
    assert message.mean_per_class_accuracy == pytest.approx(100 * recall.mean())
    if set(answers) <= set(labels):
        balanced = balanced_accuracy_score(labels, answers)
        assert message.mean_per_class_accuracy == pytest.approx(100 * balanced)
    assert message.images == len(labels)
    # The place of the right class in a sorted row, the first of equals first.
    order = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(message.ranks, (order == labels[:, None]).argmax(1))
    assert [result.images for result in message.classes] == np.bincount(labels)[there].tolist()
    assert [result.top1 for result in message.classes] == np.diag(counts)[there].tolist()


@pytest.fixture(scope="module")
def photographs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs of each of six classes of Imagenette's validation images."""
    root = tmp_path_factory.mktemp("imagenette")
    for source in sorted((shared_data / "imagenette-mini" / "val").iterdir())[:6]:
        (root / "val" / source.name).mkdir(parents=True)
        for file in sorted(source.iterdir())[:2]:
            shutil.copy(file, root / "val" / source.name / file.name)
    return root


@pytest.fixture(scope="module")
def published(
    photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[torch.nn.Module, list[torch.Tensor], Weights]:
    """Torchvision's AlexNet, its fc8 knowing half of the photographs, and its input of each.

    And the same network, saved and loaded.
    """
    random = load_weights("random:0:alexnet")
    network = torchvision.models.alexnet(num_classes=6).eval()
    old = network.state_dict()
    new = dict(zip(old, random.state.values(), strict=True))
    network.load_state_dict({k: new[k] if new[k].shape == old[k].shape else old[k] for k in old})
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(256, antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    files = sorted((photographs / "val").rglob("*.JPEG"))
    inputs = [transform(Image.open(file).convert("RGB")) for file in files]
    centre = v2.CenterCrop(224)
    with torch.no_grad():
        body = network.classifier[:6]
        fc7 = body(
            network.avgpool(network.features(torch.stack([centre(x) for x in inputs]))).flatten(1)
        )
        weight = fc7[::2] - fc7.mean(0)
        weight /= weight.norm(dim=1, keepdim=True)
        network.classifier[6].weight.copy_(weight)
        network.classifier[6].bias.copy_(-(weight @ fc7.mean(0)))
    path = tmp_path_factory.mktemp("published") / "alexnet.pth"
    torch.save(network.state_dict(), path)
    weights = load_weights(path)
    path.unlink()
    return network, inputs, weights


@pytest.mark.slow
@pytest.mark.parametrize("crops", ["center", "ten"])
def test_as_torchvision_classifies_photographs(
    photographs: Path,
    published: tuple[torch.nn.Module, list[torch.Tensor], Weights],
    crops: str,
) -> None:
    network, inputs, weights = published
    cut = v2.TenCrop(224) if crops == "ten" else lambda x: (v2.CenterCrop(224)(x),)
    # Of each class one; the network knows every other of them.
    rows = [0, 3, 4, 7, 8, 11]
    files = [str(file) for file in sorted((photographs / "val").rglob("*.JPEG"))]
    with torch.no_grad():
        pieces = (torch.stack(cut(inputs[row])) for row in rows)
        chances = [network(crop).double().softmax(1).mean(0) for crop in pieces]
    scores = torch.stack(chances).numpy()
    asked = [files[row] for row in rows]
    names = [Path(file).parent.name for file in asked]
    result = run(weights, asked, labels=names, crops=crops, match="order")
    agrees(result, np.arange(6), scores)
    assert 0 < result.top1_error < 70  # by chance 83


@pytest.fixture(scope="module")
def three(make_weights: Callable[..., Weights]) -> list[Weights]:
    """Networks of other seeds, other class orders and one with a class of its own and lacking
    none; the second prepares images in another way."""
    warped = PreprocessSpec("own", "shorter-side", 66, 64, mean=(0.5, 0.4, 0.3))
    return [
        make_weights(1),
        make_weights(2, CLASSES[::-1], preprocess=warped),
        make_weights(3, ("fox", "yak", *CLASSES[:5], "gnu")),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("crops", ["center", "ten"])
def test_an_ensemble_is_the_mean_in_float64(
    three: list[Weights],
    images: list[np.ndarray],
    labels: np.ndarray,
    features: Callable[..., np.ndarray],
    crops: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, labels = images[::2], labels[::2]
    names = [CLASSES[label] for label in labels]
    answers = [*CLASSES, "yak"]
    total = np.zeros((len(images), 8))
    for weights in three:
        logits = features(Backbone(weights), images, "fc8", ten=crops == "ten")
        chances = softmax(logits).mean(1) if crops == "ten" else softmax(logits)
        total[:, [answers.index(name) for name in weights.class_names]] += chances / 3
    monkeypatch.setattr(ensemble, "TURN", 8)  # of 14 images, so that the streams take turns
    seen: dict[int, np.ndarray] = {}
    predict = ensemble.Ensemble.predict

    def spy(*args: object, **rest: object):
        for found in predict(*args, **rest):
            seen.update(zip(range(found.start, found.stop), found.probabilities, strict=True))
            yield found

    monkeypatch.setattr(ensemble.Ensemble, "predict", spy)
    found = run(three, images, labels=names, crops=crops, batch_size=5)
    assert found.answers == tuple(answers)
    probabilities = np.stack([seen[row] for row in range(len(images))])
    np.testing.assert_allclose(probabilities, total, rtol=1e-4, atol=1e-7)
    agrees(found, labels, total)
    assert found.top1_error < 60  # by chance 86


def test_a_network_averaged_with_itself_is_itself(weights: Weights, folder: Path) -> None:
    alone, twice = run(weights, folder), run([weights, weights], folder)
    np.testing.assert_array_equal(alone.confusion, twice.confusion)
    assert alone.top5_error == twice.top5_error


def test_the_report_says_what_was_measured_on_what(weights: Weights, folder: Path) -> None:
    named = dataclasses.replace(weights, class_names=tuple(f"the {name}" for name in CLASSES))
    found = run(named, folder)
    report = json.loads(json.dumps(found.to_dict()))
    assert report["networks"] == [
        {
            "name": "net 0",
            "sha256": weights.sha256,
            "arch": json.loads(json.dumps(weights.spec.to_dict())),
            "preprocess": json.loads(json.dumps(weights.preprocess.to_dict())),
            "classes": 7,
        }
    ]
    assert report["settings"] == {
        "crops": "center",
        "precision": "fp32",
        "match": "identity",
        "device": "cpu",
    }
    assert report["data"]["sources"] == [{"kind": "folders", "path": str(folder), "images": 28}]
    assert report["versions"]["torch"] == torch.__version__
    assert report["per_class"][0]["id"] == "ant"
    assert sum(result["images"] for result in report["per_class"]) == report["images"] == 28
    for result, row, place in zip(found.classes, found.confusion, range(7), strict=True):
        wrong = row.copy()
        wrong[place] = 0
        assert result.confused == wrong.max()
        if wrong.any():
            assert result.confused_with == CLASSES[wrong.argmax()]
            assert result.confused_with_name == f"the {result.confused_with}"
        else:
            assert result.confused_with is result.confused_with_name is None


def test_the_same_however_it_is_computed(weights: Weights, folder: Path, tmp_path: Path) -> None:
    expected = run(weights, folder).to_dict()
    assert run(weights, folder).to_dict() == expected
    assert run(weights, folder, workers=2, batch_size=3).to_dict() == expected
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", folder.parent, folder.name)
    zipped = run(weights, archive).to_dict()
    assert zipped.pop("data")["sha256"] == expected["data"]["sha256"]
    assert zipped == {k: v for k, v in expected.items() if k != "data"}


def test_images_and_labels_of_any_kind(
    weights: Weights, folder: Path, images: list[np.ndarray], labels: np.ndarray, tmp_path: Path
) -> None:
    expected = run(weights, folder).confusion

    class Dataset:
        def __init__(self) -> None:
            self.classes = list(CLASSES)
            self.targets = labels.tolist()

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
            return images[row], self.targets[row]

    names = [CLASSES[label] for label in labels]
    (tmp_path / "labels.txt").write_text("\n".join(names))
    (tmp_path / "numbers.txt").write_text("\n".join(map(str, labels)))
    files = sorted(folder.rglob("*.png"))
    reversed_weights = run(weights, files[::-1], labels=names[::-1])
    for found in (
        run(weights, Dataset()),
        run(weights, images, labels=names),
        run(weights, images, labels=labels, class_ids=CLASSES),
        run(weights, files, labels=labels),
        run(weights, folder, labels=tmp_path / "labels.txt"),
        run(weights, folder, labels=tmp_path / "numbers.txt"),
        run(weights, read_test_set(folder)[0]),
        reversed_weights,
    ):
        np.testing.assert_array_equal(found.confusion, expected)
    assert [result.id for result in reversed_weights.classes] == list(CLASSES)


class Numbered:
    """Images with numbers for labels, and no word of what they number."""

    def __init__(self, images: list[np.ndarray], labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        return self.images[row], int(self.labels[row])


def test_numbers_of_a_dataset_are_not_taken_for_units(
    weights: Weights, images: list[np.ndarray], labels: np.ndarray
) -> None:
    data = Numbered(images, labels)
    with pytest.raises(InputError, match="the Numbered: its labels are numbers, and nothing tells"):
        run(weights, data)
    expected = run(weights, images, labels=labels).confusion
    for settings in ({"class_ids": CLASSES}, {"match": "order"}, {"labels": labels}):
        np.testing.assert_array_equal(run(weights, data, **settings).confusion, expected)


def test_an_open_training_pack(weights: Weights, folder: Path, tmp_path: Path) -> None:
    for name in CLASSES[2:]:
        shutil.copytree(folder / name, tmp_path / "data" / "train" / name)
        shutil.copytree(folder / name, tmp_path / "data" / "val" / name)
        (tmp_path / "data" / "val" / name / "0.png").unlink()
    settings = {"size": 64, "encoding": "raw", "workers": 0, "progress": False}
    with make_pack(tmp_path / "data", tmp_path / "a.pack", **settings) as pack:
        split = pack.splits["val"]
        result = run(weights, pack)
        assert result.data["sources"] == [
            {
                "kind": "pack",
                "path": str(tmp_path / "a.pack"),
                "images": 15,
                "fingerprint": pack.fingerprint,
                "size": 64,
                "resize": "shorter-side",
                "encoding": "raw",
            }
        ]
        assert result.data["split"] == "val"
        pixels = [split.pixels(row) for row in range(len(split))]
        names = [CLASSES[2:][label] for label in split.labels]
        expected = run(weights, pixels, labels=names)
        np.testing.assert_array_equal(result.confusion, expected.confusion)
        # A split alone knows its classes: its label 0 is not the network's unit 0.
        np.testing.assert_array_equal(run(weights, split).confusion, expected.confusion)
        assert run(weights, pack, split="train").images == 20
        with pytest.raises(InputError, match=r"a\.pack: no split 'test'; it has train, val"):
            run(weights, pack, split="test")
        with pytest.raises(
            SettingError, match=r"a\.pack: a pack has its own labels; leave `labels` out"
        ):
            run(weights, pack, labels=names)


def test_fewer_classes_than_the_network_knows(
    weights: Weights, folder: Path, tmp_path: Path
) -> None:
    for name in ("bee", "gnu"):
        shutil.copytree(folder / name, tmp_path / name)
    (tmp_path / "ant").mkdir()
    every, some = run(weights, folder), run(weights, tmp_path)
    np.testing.assert_array_equal(some.confusion[1:], every.confusion[[1, 6]])
    assert some.answers == CLASSES
    assert [result.images for result in some.classes] == [0, 4, 4]
    right = [every.classes[1].top1 / 4, every.classes[6].top1 / 4]
    assert some.mean_per_class_accuracy == pytest.approx(100 * np.mean(right))


def test_classes_that_a_network_does_not_know(
    make_weights: Callable[..., Weights], folder: Path, images: list[np.ndarray]
) -> None:
    knows = make_weights(4, ("gnu", "cat", "ant", "x", "y", "z"))
    with pytest.raises(InputError, match=r"4 of 7 classes are not known to net 4 \(bee, dog, elk,"):
        run(knows, folder)
    found = run(knows, folder, ignore_unknown=True)
    assert (found.images, found.ignored) == (12, 16)
    assert found.unknown == ("bee", "dog", "elk", "fox")
    assert [result.id for result in found.classes] == ["ant", "cat", "gnu"]
    names = np.repeat(CLASSES, 4).tolist()
    in_memory = run(knows, images, labels=names, ignore_unknown=True)
    np.testing.assert_array_equal(in_memory.confusion, found.confusion)


def test_five_classes_have_no_top5_error(
    make_weights: Callable[..., Weights], folder: Path
) -> None:
    five = make_weights(5, CLASSES[:5])
    found = run(five, folder, ignore_unknown=True)
    assert found.top5_error is None
    assert found.to_dict()["top5_error"] is None
    assert {result.top5 for result in found.classes} == {None}


def test_bad_images_are_recorded_and_not_counted(
    three: list[Weights], folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    (data / "bee" / "0.png").write_bytes(b"<html>not found</html>")
    (data / "bee" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match=r"(?s)bee.*`on_error='record'` leaves it out, writes it"):
        run(three, data)
    result = run(three, data, on_error="record")
    without = tmp_path / "without"
    shutil.copytree(folder, without)
    (without / "bee" / "0.png").unlink()
    np.testing.assert_array_equal(result.confusion, run(three, without).confusion)
    assert [(Path(image.name).name, image.status) for image in result.bad] == [
        ("0.png", "unsupported"),
        ("a.jpg", "corrupt"),
    ]
    assert result.images == 27
    assert result.classes[1].images == 3
    assert np.flatnonzero(result.ranks < 0).tolist() == [4, 8]  # behind four of ant
    np.testing.assert_array_equal(result.ranks[result.ranks >= 0], run(three, without).ranks)
    assert result.to_dict()["bad"][0]["path"] == str(data / "bee" / "0.png")


@pytest.mark.slow
def test_an_image_that_is_too_large_for_one_preparation_is_bad(
    make_weights: Callable[..., Weights], folder: Path, tmp_path: Path
) -> None:
    """A line of one pixel can be warped; keeping its ratio it would become enormous."""
    shutil.copytree(folder, tmp_path / "data")
    Image.new("L", (30000, 1)).save(tmp_path / "data" / "cat" / "line.png")
    ratio = PreprocessSpec("own", "shorter-side", 2048, 64)
    keeping, warping = make_weights(1, preprocess=ratio), make_weights(2)
    for order in ((keeping, warping), (warping, keeping)):
        result = run(list(order), tmp_path / "data", on_error="record")
        assert [image.status for image in result.bad] == ["too_large"]
        assert result.images == 28


def test_images_without_a_label_are_left_out(
    weights: Weights, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = sorted(folder.rglob("*.png"))
    names = [path.parent.name if number % 4 else "" for number, path in enumerate(paths)]
    table = tmp_path / "table.csv"
    lines = [f"{path},{name}" for path, name in zip(paths, names, strict=True)]
    table.write_text("\n".join(["path,class", *lines]))
    result = run(weights, folder, labels=table)
    assert result.images == 21
    assert "7 of 28 images have no label" in caplog.text
    assert run(weights, list(map(str, paths)), labels=names).images == 21
    shutil.copytree(folder, tmp_path / "data" / "Test")
    assert run(weights, tmp_path / "data").data["split"] == "test"
    with pytest.raises(InputError, match=r"all 28 images are of one class \('Test'\)"):
        run(weights, tmp_path / "data", layout="classes")


def test_nothing_but_bad_images(weights: Weights, tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"none of 2 images can be read; the first is .*ant/1.png"):
        run(weights, tmp_path, on_error="record")


def test_mistakes_are_told_in_a_line(
    weights: Weights, folder: Path, images: list[np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    shutil.copytree(folder / "ant", tmp_path / "one" / "ant")
    (tmp_path / "train" / "ant").mkdir(parents=True)
    for given, settings, error, message in (
        (folder, {"crops": "five", "match": "x"}, SettingError, "'five' is .*; `match` 'x' is not"),
        (folder, {"batch_size": 0}, SettingError, "`batch_size` 0: must be a whole number from 1"),
        (folder, {"split": "val"}, InputError, "no split 'val'; it is not divided"),
        (images, {"split": "val"}, SettingError, "only a data set's folder or archive, or a p"),
        (images, {}, InputError, "28 of 28 images have no label"),
        (images, {"labels": [0] * 28}, InputError, r"all 28 images are of one class \('0'\)"),
        (images, {"labels": [7] + [0] * 27}, InputError, "has the label 7, the classes of net 0"),
        (
            images,
            {"labels": [7] + [0] * 27, "class_ids": CLASSES},
            InputError,
            "has the label 7, and 7 classes",
        ),
        (tmp_path / "one", {}, InputError, r"all 4 images are of one class \('ant'\)"),
        (tmp_path / "train", {}, InputError, "no images in .*train"),
        (tmp_path / "absent", {}, InputError, "No such file"),
    ):
        with pytest.raises(error, match=message) as caught:
            run(weights, given, **settings)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingError, match="`weights`: none were given"):
        run([], folder)
    with pytest.raises(WeightsError, match="no weights 'nothing'"):
        run([weights, "nothing"], folder)


def test_training_images_are_asked_for_by_name(
    weights: Weights, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "train")
    with pytest.raises(InputError, match="has no val and no test images; `split='train'`"):
        run(weights, tmp_path)
    result = run(weights, tmp_path, split="train")
    assert result.data["split"] == "train"
    shutil.copytree(folder, tmp_path / "test")
    assert run(weights, tmp_path).data["split"] == "test"


def test_weights_that_have_diverged(make_weights: Callable[..., Weights], folder: Path) -> None:
    large = make_weights(6)
    large.state["fc8.weight"].mul_(1e37)
    with pytest.raises(WeightsError, match="net 6: gives values that are not finite"):
        run(large, folder)


def test_it_tells_its_progress_and_stops_when_asked(weights: Weights, folder: Path) -> None:
    stop, told = threading.Event(), []

    def tell(done: int, total: int) -> None:
        told.append((done, total))
        if done:
            stop.set()

    with pytest.raises(Stopped, match=r"stopped after \d+ of 28 images"):
        run(weights, folder, batch_size=2, progress=tell, stop=stop)
    assert told[0] == (0, 28)
    assert 0 < told[-1][0] < 28


def test_whoever_watches_and_fails_leaves_no_thread_behind(weights: Weights, folder: Path) -> None:
    def fail(done: int, total: int) -> None:
        if done:
            raise ZeroDivisionError

    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError) as caught:
        run(weights, folder, batch_size=2, progress=fail)
    assert set(threading.enumerate()) == before, caught


def test_images_are_prepared_as_asked(weights: Weights, folder: Path) -> None:
    asked = {"resize": "shorter-side", "resize_to": 66}
    result = run(weights, folder, preprocess=asked)
    own = dataclasses.replace(
        weights, preprocess=dataclasses.replace(weights.preprocess, name="shorter-side", **asked)
    )
    assert result.networks == run(own, folder).networks
    np.testing.assert_array_equal(result.confusion, run(own, folder).confusion)
    assert result.networks[0]["preprocess"]["resize"] == "shorter-side"
