"""Batches against a plain loop, and threads that end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from decaf.errors import ImageError
from decaf.images.normalise import normalise
from decaf.images.spec import PreprocessSpec
from decaf.train.augment import Normaliser, cut, draw_views, lighting_shift
from decaf.train.feed import Feed
from decaf.train.randomness import epoch_order
from decaf.train.recipe import TrainSettings

pytestmark = pytest.mark.usefixtures("tiny")
Make = Callable[..., TrainSettings]
CPU = torch.device("cpu")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
PCA = (np.array([0.2, 0.05, 0.01]), np.linalg.qr(np.random.default_rng(0).random((3, 3)))[0])


class FakeSplit:
    """70 images of noise, of which some may fail to load."""

    def __init__(self, side: int = 40, bad: int | None = None) -> None:
        random = np.random.default_rng(1)
        self.labels = random.integers(0, 4, 70)
        self.images = random.integers(0, 256, (70, side, side, 3), dtype=np.uint8)
        self.bad = bad

    def __len__(self) -> int:
        return 70

    def pixels(self, index: int) -> np.ndarray:
        if index == self.bad:
            raise ImageError("corrupt", f"image {index} is damaged")
        return self.images[index]


def spec_of(scale: float = 1 / 255, **changes: object) -> PreprocessSpec:
    fields = {"name": "x", "resize": "warp", "resize_to": 40, "crop": 32, "mean": MEAN, "std": STD}
    return PreprocessSpec(**{**fields, "scale": scale, **changes})


def feed_of(split: FakeSplit, settings: TrainSettings, **changes: object) -> Feed:
    normaliser = changes.pop("normaliser", None) or Normaliser(spec_of(), None, torch.float32, CPU)
    options = {"side": 40, "pca": PCA, "crop": 32, "device": CPU, **changes}
    return Feed(split, settings, normaliser=normaliser, **options)


@pytest.mark.parametrize("crop", ["resized", "random"])
@pytest.mark.parametrize("lighting", [0.0, 0.5])
def test_batches_are_those_of_a_plain_loop(settings_of: Make, crop: str, lighting: float) -> None:
    split, settings = FakeSplit(), settings_of(crop=crop, lighting=lighting)
    feed = feed_of(split, settings)
    assert feed.steps_per_epoch == 4
    with feed.batches(2, 7) as batches:
        result = list(batches)
    assert [batch.step for batch in result] == [2, 3, 4, 5, 6]
    for batch in result:
        epoch, place = divmod(batch.step, 4)
        rows = epoch_order(0, epoch, 70)[place * 16 : (place + 1) * 16]
        np.testing.assert_array_equal(batch.labels, split.labels[rows])
        views = draw_views(settings, batch.step, 40, 32)
        shift = lighting_shift(views.alpha, *PCA).astype(np.float64)
        for row, index in enumerate(rows):
            out = np.empty((32, 32, 3), np.uint8)
            cut(split.images[index], views, row, out)
            expected = (out / 255 + shift[row] * bool(lighting) - MEAN) / STD
            np.testing.assert_allclose(
                batch.images[row].permute(1, 2, 0), expected, rtol=1e-5, atol=2e-6
            )
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("on_device", [False, True])
def test_views_grow_over_the_run(
    settings_of: Make, monkeypatch: pytest.MonkeyPatch, on_device: bool
) -> None:
    split, settings = FakeSplit(), settings_of(train_size=96, grow_from=32)
    feed = feed_of(split, settings)
    monkeypatch.setattr(feed, "_cut_early", not on_device)
    with feed.batches(0, 6) as batches:
        result = list(batches)
    assert [batch.images.shape[-1] for batch in result] == [32, 32, 64, 64, 96, 96]
    for batch in result:
        side = batch.images.shape[-1]
        epoch, place = divmod(batch.step, 4)
        rows = epoch_order(0, epoch, 70)[place * 16 : (place + 1) * 16]
        views = draw_views(settings, batch.step, 40, side)
        for row, index in enumerate(rows):
            out = np.empty((side, side, 3), np.uint8)
            cut(split.images[index], views, row, out)
            expected = ((out / 255 - MEAN) / STD).transpose(2, 0, 1)
            # On a device the filter's two passes are not rounded to 8 bits.
            np.testing.assert_allclose(
                batch.images[row], expected, atol=2.5 / 255 / min(STD) if on_device else 1e-5
            )


def test_an_epoch_shows_each_image_once(settings_of: Make) -> None:
    settings = settings_of(batch_size=10)
    with feed_of(FakeSplit(), settings).batches(7, 14) as batches:
        labels = torch.cat([batch.labels for batch in batches])
    expected = np.bincount(FakeSplit().labels)
    np.testing.assert_array_equal(np.bincount(labels), expected)


def test_shares_make_up_the_batch_and_threads_do_not_matter(settings_of: Make) -> None:
    split, settings = FakeSplit(), settings_of(lighting=0.1)
    with feed_of(split, settings, workers=1).batches(0, 6) as batches:
        whole = list(batches)
    for workers in (1, 5):
        parts = []
        for rank in range(4):
            feed = feed_of(split, settings, rank=rank, world=4, workers=workers)
            with feed.batches(0, 6) as batches:
                parts.append(list(batches))
        for step, batch in enumerate(whole):
            joined = torch.cat([part[step].images for part in parts])
            assert torch.equal(joined, batch.images)
            assert torch.equal(torch.cat([part[step].labels for part in parts]), batch.labels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_image", [False, True])
def test_normalising_is_that_of_extraction(dtype: torch.dtype, with_image: bool) -> None:
    from decaf.backbone.weights.state import tensor_sha256

    random = np.random.default_rng(2)
    pixels = torch.from_numpy(random.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))
    image = torch.from_numpy(random.random((3, 40, 40), np.float32)) if with_image else None
    sha256 = None if image is None else tensor_sha256(image)
    spec = spec_of(mean_image_sha256=sha256)
    expected = normalise(pixels, spec, mean_image=image)
    result = Normaliser(spec, image, dtype, CPU)(pixels)
    assert result.dtype == dtype
    torch.testing.assert_close(
        result,
        expected.to(dtype),
        rtol=1e-6 if dtype.itemsize > 2 else 1e-2,
        atol=2e-6 if dtype.itemsize > 2 else 1e-2,
    )
    out = torch.empty(5, 32, 32, 3, dtype=dtype)
    for row in range(5):
        Normaliser(spec, image, dtype, CPU)(pixels[row : row + 1], out=out[row : row + 1])
    assert torch.equal(out.permute(0, 3, 1, 2), result)


def test_the_mean_image_lies_under_its_crop() -> None:
    random = np.random.default_rng(3)
    image = random.random((3, 40, 40))
    pixels = random.integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    corners = np.array([[0, 0, 0], [8, 3, 1], [5, 8, 0], [1, 0, 1]])
    normaliser = Normaliser(
        spec_of(1.0, std=(1.0, 1.0, 1.0)), torch.from_numpy(image).float(), torch.float32, CPU
    )
    whole = pixels - image.transpose(1, 2, 0)  # of the stored image, then cut and mirrored
    cuts, expected = np.empty((4, 32, 32, 3), np.uint8), np.empty((4, 32, 32, 3))
    for row, (top, left, mirrored) in enumerate(corners):
        box = slice(top, top + 32), slice(left, left + 32)
        cuts[row] = pixels[row][box][:, :: -1 if mirrored else 1]
        expected[row] = whole[row][box][:, :: -1 if mirrored else 1]
    result = normaliser(torch.from_numpy(cuts), None, corners)
    np.testing.assert_allclose(result.permute(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-4)
    for row in range(4):
        one = normaliser(torch.from_numpy(cuts[row : row + 1]), None, corners[row : row + 1])
        assert torch.equal(one[0], result[row])


def feeding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "decaf-feed" in thread.name]


def test_what_goes_wrong_in_a_thread_is_raised_and_threads_end(settings_of: Make) -> None:
    settings = settings_of(batch_size=10)
    bad = int(epoch_order(0, 0, 70)[33])  # in the fourth batch
    with (
        pytest.raises(ImageError, match="is damaged"),
        feed_of(FakeSplit(bad=bad), settings, workers=3).batches(0, 7) as batches,
    ):
        seen = []
        for batch in batches:
            seen.append(batch.step)
            assert feeding()
    assert seen == [0, 1, 2]
    assert not feeding()


def test_threads_end_with_the_context_and_leave_torch_as_it_was(settings_of: Make) -> None:
    torch.set_num_threads(2)
    with feed_of(FakeSplit(), settings_of()).batches(0, 1000) as batches:
        next(batches)
    assert not feeding()
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [2]


@pytest.mark.parametrize(("crop", "close"), [("random", 1e-5), ("resized", 1.1)])
def test_a_device_that_cuts_by_itself_gets_the_same(
    settings_of: Make, crop: str, close: float
) -> None:
    """The way of GPUs, with CPU tensors: within the roundings of `cut`, none where it is plain."""
    settings = settings_of(crop=crop, lighting=0.2)
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    normaliser = Normaliser(spec_of(), image if crop == "random" else None, torch.float32, CPU)
    feeds = [feed_of(FakeSplit(), settings, normaliser=normaliser) for _ in range(2)]
    feeds[1]._cut_early = False
    result = []
    for feed in feeds:
        with feed.batches(0, 5) as batches:
            result.append(list(batches))
    for one, other in zip(*result, strict=True):
        assert torch.equal(one.labels, other.labels)
        assert other.images.is_contiguous(memory_format=torch.channels_last)
        apart = (one.images - other.images).abs() * torch.tensor(STD).view(3, 1, 1) * 255
        assert apart.max() < close
