from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from decaf.errors import ImageError, SettingError
from decaf.images.crops import crop_corners
from decaf.images.decoding.decode import decode
from decaf.images.listing.image_ref import ImageRef
from decaf.images.normalise import normalise
from decaf.images.preprocess import prepare, resized_crops
from decaf.images.spec import IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec, named_preprocess

SPECS = [named_preprocess(n, c) for n in ("decaf", "shorter-side") for c in (64, 224, 227)]


def reference(pixels: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """Do the same with torchvision's transforms."""
    from torchvision.transforms import v2

    side = [spec.resize_to] * (2 if spec.resize == "warp" else 1)
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    crop = v2.Compose([v2.Resize(side, antialias=True), v2.CenterCrop(spec.crop)])(image)
    result: np.ndarray = crop.permute(1, 2, 0).numpy()
    return result


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.name}-{s.crop}")
def test_equal_to_torchvision_on_photographs(shared_data: Path, spec: PreprocessSpec) -> None:
    files = sorted(shared_data.glob("imagenet-sample/*.JPEG"))[:8]
    files += sorted(shared_data.glob("tiny-imagenet-mini/train/*/images/*.JPEG"))[:2]
    assert len(files) == 10
    for file in files:
        pixels = decode(file.read_bytes()).pixels
        result = resized_crops(pixels, spec)
        assert result.flags.c_contiguous
        assert np.array_equal(result[0], reference(pixels, spec)), file.name


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(SPECS[::3]), st.booleans())
def test_equal_to_torchvision_at_any_size(
    height: int, width: int, spec: PreprocessSpec, planar: bool
) -> None:
    """The long side's rounding and the odd pixel of a centre crop among it."""
    rng = np.random.default_rng(height * 91 + width)
    pixels = rng.integers(0, 256, (3, height, width), dtype=np.uint8).transpose(1, 2, 0)
    pixels = pixels if planar else np.ascontiguousarray(pixels)
    np.testing.assert_array_equal(resized_crops(pixels, spec)[0], reference(pixels, spec))


def test_within_one_level_of_pillow(shared_data: Path) -> None:
    spec = named_preprocess("decaf", 227)
    for file in sorted(shared_data.glob("imagenet-sample/*.JPEG"))[:6]:
        with Image.open(file) as image:
            resized = image.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
        expected = np.asarray(resized)[14:241, 14:241].astype(int)
        result = resized_crops(decode(file.read_bytes()).pixels, spec)[0]
        assert np.abs(result - expected).max() <= 1


def test_ten_crop_order_and_content() -> None:
    y, x = np.mgrid[:72, :72]
    pixels = np.stack([y, x, y + x], axis=2).astype(np.uint8)  # already of the size resized to
    spec = named_preprocess("decaf", 64)
    crops = resized_crops(pixels, spec, ten=True)
    assert crops.shape == (5, 64, 64, 3)
    corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    assert [tuple(crop[0, 0, :2].tolist()) for crop in crops] == corners
    assert [tuple(crop[-1, -1, :2].tolist()) for crop in crops] == [
        (top + 63, left + 63) for top, left in corners
    ]
    np.testing.assert_array_equal(crops[4:], resized_crops(pixels, spec))


def test_ten_crop_of_an_oblong_reaches_its_corners() -> None:
    assert crop_corners(256, 341, 224, ten=True) == [
        (0, 0),
        (0, 117),
        (32, 0),
        (32, 117),
        (16, 58),
    ]


@pytest.mark.parametrize("shape", [(1, 5000, 3), (5000, 1, 3)])
def test_strips_are_warped_and_too_large_for_the_shorter_side(shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, 77, np.uint8)
    warped = resized_crops(pixels, named_preprocess("decaf", 227))
    assert np.unique(warped).tolist() == [77]
    with pytest.raises(ImageError, match="the shorter side is 256") as caught:
        resized_crops(pixels, named_preprocess("shorter-side", 224))
    assert caught.value.status == "too_large"


def test_the_input_is_left_as_it_was(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (72, 72, 3), dtype=np.uint8)
    before = pixels.copy()
    crops = resized_crops(pixels, named_preprocess("decaf", 64))
    crops[...] = 0
    np.testing.assert_array_equal(pixels, before)


def test_normalise_equals_torchvisions(rng: np.random.Generator) -> None:
    from torchvision.transforms import v2

    batch = torch.from_numpy(rng.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8))
    result = normalise(batch, named_preprocess("decaf", 64))
    scaled = batch.permute(0, 3, 1, 2).double() / 255
    expected = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)(scaled)
    torch.testing.assert_close(result.double(), expected, rtol=1e-6, atol=1e-6)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalise_in_other_units(rng: np.random.Generator) -> None:
    """Caffe's way: 0-255 pixels less a mean, not divided."""
    spec = PreprocessSpec("caffe", "warp", 72, 64, (104.0, 117.0, 123.0), (1.0, 1.0, 1.0), 1.0)
    batch = torch.from_numpy(rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    expected = batch.permute(0, 3, 1, 2) - torch.tensor([104.0, 117, 123]).view(3, 1, 1)
    torch.testing.assert_close(normalise(batch, spec), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("ten", [False, True])
def test_each_crop_takes_its_part_of_the_mean_image(rng: np.random.Generator, ten: bool) -> None:
    spec = PreprocessSpec("m", "warp", 72, 64, std=(1.0, 2.0, 4.0), mean_image_sha256="0" * 64)
    mean = torch.from_numpy(rng.random((3, 72, 72), dtype=np.float32))
    images = rng.integers(0, 256, (2, 72, 72, 3), dtype=np.uint8)
    batch = np.concatenate([resized_crops(image, spec, ten) for image in images])
    result = normalise(torch.from_numpy(batch), spec, mean_image=mean, ten=ten)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    whole = (planes.double() / 255 - mean) / torch.tensor([1.0, 2, 4]).view(3, 1, 1)
    expected = [
        image[:, top : top + 64, left : left + 64]
        for image in whole
        for top, left in crop_corners(72, 72, 64, ten)
    ]
    torch.testing.assert_close(result.double(), torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_mean_image_that_does_not_fit() -> None:
    plain = named_preprocess("decaf", 64)
    spec = PreprocessSpec("m", "warp", 72, 64, mean_image_sha256="0" * 64)
    batch = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with pytest.raises(SettingError, match="if and only if"):
        normalise(batch, spec)
    with pytest.raises(SettingError, match="if and only if"):
        normalise(batch, plain, mean_image=torch.zeros(3, 72, 72))
    with pytest.raises(SettingError, match=r"shape \(3, 64, 64\), expected \(3, 72, 72\)"):
        normalise(batch, spec, mean_image=torch.zeros(3, 64, 64))


def test_a_box_is_cut_out_of_the_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    file = tmp_path / "a.png"
    Image.fromarray(pixels).save(file)
    spec = named_preprocess("decaf", 64)
    out = np.empty((1, 64, 64, 3), np.uint8)
    outcome = prepare(ImageRef(bytes(file), box=(20, 5, 90, 45)), spec, ten=False, out=out)
    assert (outcome.status, outcome.width, outcome.height) == ("ok", 90, 60)
    np.testing.assert_array_equal(out, resized_crops(pixels[5:45, 20:90], spec))
    for box in ((20, 5, 91, 45), (20, 5, 20, 45), (-1, 5, 20, 45)):
        outcome = prepare(ImageRef(bytes(file), box=box), spec, ten=False, out=out)
        assert outcome.status == "wrong_size"
        assert "is empty or not within the 90 x 60 pixels of the image" in outcome.message
        assert not out.any()
