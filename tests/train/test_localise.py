"""Boxes that are learnt: on squares whose boxes are known, and as files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import decaf
from decaf.errors import HeadError, ImageError, InputError, OutputError, SettingError
from decaf.images.box_overlap import best_overlaps, from_window, to_window
from decaf.train.localise import _loss, localise
from decaf.train.localiser import load_localiser
from decaf.train.localiser_settings import LocaliserSettings

WEIGHTS = "random:0:alexnet-64"
COUNT = 240


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of one bright rectangle each, in two classes, and the table of their boxes."""
    folder = tmp_path_factory.mktemp("squares")
    random = np.random.default_rng(0)
    rows = ["path,x0,y0,x1,y1,width,height"]
    for number in range(COUNT):
        name = f"{'ant' if number % 2 else 'bee'}/{number:03d}.png"
        width, height = 80, 60
        pixels = random.integers(0, 40, (height, width, 3), dtype=np.uint8)
        w, h = int(random.integers(24, 60)), int(random.integers(18, 45))
        x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
        pixels[y : y + h, x : x + w] = 230
        (folder / "photographs" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "photographs" / name)
        rows.append(f"{name},{x},{y},{x + w - 1},{y + h - 1},{width},{height}")
    (folder / "boxes.csv").write_text("\n".join(rows))
    return folder


SETTINGS = LocaliserSettings(
    layer="pool2", hidden=256, epochs=40, batch_size=32, lr=3e-3, dropout=0.0, held_out=0.2
)


@pytest.fixture(scope="module")
def localiser(squares: Path) -> Path:
    out = squares / "boxes.safetensors"
    localise(squares / "photographs", squares / "boxes.csv", out=out, weights=WEIGHTS,
             settings=SETTINGS, workers=0, progress=False)  # fmt: skip
    return out


@pytest.mark.slow
def test_rectangles_are_found_on_images_held_out(localiser: Path) -> None:
    report = load_localiser(localiser).report
    assert report["held_out"] == 48
    assert report["error"] <= 2
    assert min(report["mean_box"], report["centre_box"], report["whole_image"]) > 30


def test_predictions_are_boxes_in_pixels_of_the_images(localiser: Path, squares: Path) -> None:
    from decaf.images.listing.annotated_boxes import read_boxes

    paths = sorted((squares / "photographs").rglob("*.png"))
    found = load_localiser(localiser).predict(paths, weights=WEIGHTS, workers=0, progress=False)
    annotated = read_boxes(squares / "boxes.csv")
    true = [boxes.boxes for path in paths if (boxes := annotated.find(str(path)))]
    assert found.pixels.shape == (COUNT, 1, 4)
    assert np.median(best_overlaps(found.pixels[:, 0], true)) > 0.9


def test_ten_crops_are_merged_to_about_the_same_boxes(localiser: Path, squares: Path) -> None:
    paths = sorted((squares / "photographs").rglob("*.png"))[:12]
    loaded = load_localiser(localiser)
    one = loaded.predict(paths, weights=WEIGHTS, workers=0, progress=False)
    ten = loaded.predict(paths, weights=WEIGHTS, crops="ten", workers=0, progress=False)
    assert ten.relative.shape == one.relative.shape
    # The network saw whole images only; ten crops of the whole are the whole and its mirror image.
    overlaps = best_overlaps(ten.relative[:, 0], list(one.relative))
    assert np.median(overlaps) > 0.7


def test_a_localiser_of_other_weights_is_refused(localiser: Path, squares: Path) -> None:
    with pytest.raises(HeadError, match="weights"):
        load_localiser(localiser).predict(squares / "photographs", weights="random:1:alexnet-64")


@pytest.mark.slow
def test_each_class_may_have_boxes_of_its_own(squares: Path) -> None:
    settings = LocaliserSettings(layer="fc6", hidden=0, epochs=1, per_class=True, held_out=0)
    made = localise(squares / "photographs", squares / "boxes.csv", weights=WEIGHTS,
                    settings=settings, workers=0, progress=False)  # fmt: skip
    found = made.predict(squares / "photographs" / "ant", weights=WEIGHTS, workers=0,
                         progress=False)  # fmt: skip
    assert found.class_names == ("ant", "bee")
    assert found.relative.shape == (COUNT // 2, 2, 4)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_boxes(squares: Path) -> None:
    settings = LocaliserSettings(layer="fc6", hidden=16, epochs=2, held_out=0, seed=3)

    def layers() -> list[torch.Tensor]:
        made = localise(squares / "photographs" / "ant", squares / "boxes.csv", weights=WEIGHTS,
                        settings=settings, workers=0, progress=False)  # fmt: skip
        return [tensor for pair in made.layers for tensor in pair]

    for one, other in zip(layers(), layers(), strict=True):
        assert torch.equal(one, other)


def test_edges_in_a_crop_and_in_the_image_are_one_another() -> None:
    random = np.random.default_rng(0)
    corners = random.random((50, 2, 2)).cumsum(1)
    boxes = corners.reshape(50, 4)
    for window in ([0.1, 0.2, 0.9, 0.7], [0.9, 0.2, 0.1, 0.7]):
        there = np.broadcast_to(np.array(window), boxes.shape)
        assert from_window(to_window(boxes, there), there) == pytest.approx(boxes)
    mirrored = to_window(np.array([[0.1, 0.0, 0.3, 1.0]]), np.array([[1.0, 0.0, 0.0, 1.0]]))
    assert mirrored == pytest.approx(np.array([[0.7, 0.0, 0.9, 1.0]]))


def test_the_loss_is_that_of_the_nearest_box_and_torchvisions_overlap() -> None:
    from torchvision.ops import generalized_box_iou_loss

    random = np.random.default_rng(1)
    predicted = torch.from_numpy(random.random((20, 2, 2)).cumsum(1).reshape(20, 4))
    true = torch.from_numpy(random.random((20, 3, 2, 2)).cumsum(2).reshape(20, 3, 4))
    true[5, 1:] = torch.nan
    each = []
    for row in range(20):
        losses = [
            float(generalized_box_iou_loss(predicted[row], box, eps=0))
            + 2 * float((predicted[row] - box).abs().mean())
            for box in true[row]
            if not box.isnan().any()
        ]
        each.append(min(losses))
    assert float(_loss(predicted, true)) == pytest.approx(np.mean(each), rel=1e-6)


def test_a_damaged_file_is_refused(localiser: Path, tmp_path: Path) -> None:
    content = bytearray(localiser.read_bytes())
    content[-1] ^= 1
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(bytes(content))
    with pytest.raises(HeadError, match="SHA-256"):
        load_localiser(broken)
    with pytest.raises(HeadError):
        load_localiser(tmp_path / "absent.safetensors")


def test_layers_that_do_not_fit_are_refused_whatever_the_hash_says(
    localiser: Path, tmp_path: Path
) -> None:
    loaded = load_localiser(localiser)
    (first, bias), second = loaded.layers
    for number, layers in enumerate(
        (
            [(first[:-1], bias[:-1]), second],
            [(first, bias)],
            [],
            [(first * torch.nan, bias), second],
        )
    ):
        loaded.layers = layers
        loaded.save(tmp_path / f"{number}.safetensors")
        with pytest.raises(HeadError, match="its layers do not fit each other, or its classes"):
            load_localiser(tmp_path / f"{number}.safetensors")


def test_images_that_cannot_be_read_have_no_boxes(
    localiser: Path, squares: Path, tmp_path: Path
) -> None:
    shutil.copy(next((squares / "photographs").rglob("*.png")), tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    # Its sides are known, and too unlike to be resized.
    Image.new("RGB", (60_000, 1)).save(tmp_path / "c.png")
    located = load_localiser(localiser).predict(
        tmp_path, weights=WEIGHTS, workers=0, progress=False
    )
    assert located.ok[0]
    assert not located.ok[1]
    assert np.isfinite(located.relative[0]).all()
    assert np.isnan(located.relative[~located.ok]).all()
    table = tmp_path / "boxes.csv"
    rows = [f"{name}.png,0,0,1,1" for name in "ab"]
    table.write_text("\n".join(["path,x0,y0,x1,y1", *rows]))
    with pytest.raises(ImageError, match=r"b\.png"):
        localise(tmp_path, table, weights=WEIGHTS, settings=SETTINGS, workers=0, progress=False)
    with pytest.raises(InputError, match="1 of the images have a box"):
        localise(tmp_path, table, weights=WEIGHTS, settings=SETTINGS, on_error="record",
                 workers=0, progress=False)  # fmt: skip


def test_what_cannot_be_asked_for_is_refused(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"`epochs` 0: .*; `dropout` 1"):
        LocaliserSettings(epochs=0, dropout=1)
    with pytest.raises(OutputError, match=r"must end in \.safetensors"):
        localise(squares / "photographs", squares / "boxes.csv", out=tmp_path / "boxes.h5")
    other = tmp_path / "other.csv"
    other.write_text("path,x0,y0,x1,y1\nno.jpg,0,0,1,1\n")
    with pytest.raises(InputError, match="none of its 1 names is that of an image"):
        localise(squares / "photographs", other)
    assert decaf.DecafError
