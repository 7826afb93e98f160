"""Top patches, against brute force over activations, and receptive fields, against NaN.

NaN shows what depends on what without any tolerance: sums, maxima and ReLUs pass it on whenever
they see it. So a position that stays the same when all pixels outside its box are NaN sees none of
them, and one that becomes NaN when a corner of the box does sees that corner.
"""

from __future__ import annotations

import dataclasses
import os
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

import decaf
from decaf.backbone.model import Backbone
from decaf.backbone.network import AlexNet, evaluating
from decaf.backbone.spec import architecture
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.state import Weights
from decaf.errors import ImageError, InputError, SettingError
from decaf.exploration.cut_patches import cut_patches
from decaf.exploration.strongest import PLACE, Strongest
from decaf.exploration.top_patches import field_boxes, top_patches
from decaf.features.rows import Rows
from decaf.images.spec import named_preprocess
from network_fixtures import make_image, small_network

MAPS = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")


def thin(name, **changes):
    """The same kernels, strides, pads, groups and normalisation, with few channels."""
    spec = architecture(name)
    convs = tuple(dataclasses.replace(conv, channels=4) for conv in spec.convs)
    return dataclasses.replace(spec, convs=convs, hidden=(2, 2), classes=2, **changes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("alexnet", {}),
        ("alexnet-2012", {}),
        ("alexnet-64", {"activation": "tanh"}),
    ],
)
def test_a_position_sees_the_pixels_of_its_box_and_no_others(name, changes):
    spec = thin(name, **changes)
    side = spec.input_size
    network = AlexNet(spec)
    network.load_state_dict(random_state(spec, 0, "he"))
    network.double()
    place = SimpleNamespace(spec=spec, preprocess=named_preprocess("as-is", side))
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, side, side, generator=generator, dtype=torch.float64)
    with evaluating(network):
        plain = network.tap(image[None], MAPS)
        for layer in MAPS:
            last = plain[layer].shape[-1] - 1
            positions = np.array([(0, 0), (last, 0), (last // 2, last), (last // 2, last // 2)])
            for (y, x), box in zip(positions, field_boxes(place, layer, positions), strict=True):
                left, top, right, bottom = box.tolist()
                assert 0 <= left < right <= side
                assert 0 <= top < bottom <= side
                outside = torch.full_like(image, float("nan"))
                outside[:, top:bottom, left:right] = image[:, top:bottom, left:right]
                changed = [outside]
                for row in (top, bottom - 1):
                    for column in (left, right - 1):
                        corner = image.clone()
                        corner[0, row, column] = float("nan")
                        changed.append(corner)
                values = network.tap(torch.stack(changed), layer)[layer][:, :, y, x]
                torch.testing.assert_close(values[0], plain[layer][0, :, y, x])
                assert values[1:].isnan().any(dim=1).all(), (layer, y, x)


def test_vectors_see_the_whole_image():
    place = SimpleNamespace(
        spec=architecture("alexnet"), preprocess=named_preprocess("shorter-side", 224)
    )
    assert field_boxes(place, "fc6", np.zeros((2, 2), int)).tolist() == [[0, 0, 224, 224]] * 2


@pytest.fixture(scope="module")
def torchvision_network():
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        return torchvision.models.alexnet(weights=None, num_classes=5).eval()


@pytest.fixture(scope="module")
def photographs():
    """Images of several sizes."""
    generator = np.random.default_rng(1)
    images = []
    for number in range(14):
        shape = generator.integers(230, 320, 2)
        small = generator.integers(0, 256, (9, 7, 3), np.uint8)
        image = Image.fromarray(small).resize((int(shape[1]), int(shape[0])), number % 4)
        images.append(np.array(image))
    return images


@pytest.mark.parametrize(
    # Module and its number behind which the layer's value is, in torchvision's network.
    ("layer", "modules"),
    [("conv1", 2), ("conv3", 8), ("pool5", 13), ("fc6", None)],
)
def test_patches_are_those_of_torchvisions_activations(
    layer, modules, torchvision_network, photographs
):
    backbone = Backbone(
        Weights.of(
            "theirs",
            dataclasses.replace(architecture("alexnet"), classes=5),
            named_preprocess("shorter-side", 224),
            {decaf_name(name): value for name, value in torchvision_network.state_dict().items()},
        )
    )
    found = top_patches(photographs, layer, weights=backbone, top=9, batch_size=4)
    transform = v2.Compose(
        [
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    batch = torch.stack(
        [transform(torch.from_numpy(image).permute(2, 0, 1)) for image in photographs]
    )
    with torch.no_grad():
        if modules is None:
            maps = torchvision_network.avgpool(torchvision_network.features(batch)).flatten(1)
            values = torchvision_network.classifier[:3](maps)[:, :, None]
        else:
            maps = torchvision_network.features[:modules](batch)
            values = maps.flatten(2)
        peaks, places = values.max(dim=2)
    assert found.units.tolist() == list(range(values.shape[1]))
    strongest = peaks.T.sort(dim=1, descending=True, stable=True)
    expected = strongest.values[:, :9].numpy()
    scale = float(peaks.max())
    # A unit that is silent in an image has no patch of it.
    np.testing.assert_allclose(np.nan_to_num(found.activations), expected, atol=1e-5 * scale)
    # Two images may be equally strong but for rounding.
    sure = np.diff(strongest.values.numpy()[:, :10], axis=1) < -1e-4 * scale
    sure = sure.cumprod(axis=1).astype(bool)[:, :9] & (expected > 1e-4 * scale)
    assert sure.mean() > 0.5
    rows = strongest.indices[:, :9].numpy()
    assert np.array_equal(found.rows[sure], rows[sure])
    if modules is not None:
        width = maps.shape[-1]
        positions = np.take_along_axis(places.T.numpy(), rows, axis=1)
        flat = found.positions[..., 0] * width + found.positions[..., 1]
        assert (flat == positions)[sure].mean() > 0.99  # as for images, of positions in a map
    pixels = v2.CenterCrop(224)(
        v2.Resize(256, antialias=True)(
            torch.from_numpy(photographs[found.rows[0, 0]]).permute(2, 0, 1)
        )
    ).permute(1, 2, 0)
    left, top, right, bottom = found.boxes[0, 0]
    patch = cut_patches(found)[0][0]
    assert np.array_equal(patch.pixels, pixels[top:bottom, left:right])


def decaf_name(name):
    modules = {"0": 1, "3": 2, "6": 3, "8": 4, "10": 5}
    part, number, parameter = name.split(".")
    if part == "features":
        return f"conv{modules[number]}.{parameter}"
    return f"fc{ {'1': 6, '4': 7, '6': 8}[number] }.{parameter}"


@pytest.mark.parametrize("layer", ["conv1", "conv3_pre", "pool5", "fc7", "prob"])
def test_streaming_is_brute_force_whatever_the_batch(layer, images, weights):
    """With copies of images, whose ties the smaller row wins."""
    twice = [*images, *images[::-1]]
    values = decaf.extract(twice, layer, weights=weights, progress=False)
    shape = (len(twice), {"conv1": 8, "conv3_pre": 48, "pool5": 32}.get(layer, values.shape[1]), -1)
    peaks = values.reshape(shape).max(axis=2)
    places = values.reshape(shape).argmax(axis=2)
    for batch_size in (1, 7, 64):
        found = top_patches(
            twice, layer, weights=weights, top=5, batch_size=batch_size, progress=False
        )
        for unit in range(peaks.shape[1]):
            order = sorted(range(len(twice)), key=lambda row: (-peaks[row, unit], row))[:5]
            if layer in ("conv1", "pool5", "fc7"):
                order = [row for row in order if peaks[row, unit] > 0]
            count = len(order)
            assert found.rows[unit].tolist() == order + [-1] * (5 - count)
            assert found.activations[unit, :count].tolist() == peaks[order, unit].tolist()
            assert np.isnan(found.activations[unit, count:]).all()
            side = round(values.reshape(shape).shape[2] ** 0.5)
            expected = [divmod(int(places[row, unit]), side) for row in order]
            assert [tuple(each) for each in found.positions[unit, :count].tolist()] == expected


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.5, -2.0]) | FLOATS, min_size=1, max_size=40), st.data()
)
def test_the_strongest_are_kept_in_whatever_order_blocks_come(values, data):
    top = data.draw(st.integers(1, 12))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values)), max_size=5)) | {len(values)})
    blocks = data.draw(st.permutations(list(zip([0, *cuts[:-1]], cuts, strict=True))))
    strongest = Strongest(1, top)
    for start, stop in blocks:
        rows = Rows.empty(start, stop)
        rows.features["fc8"] = np.array(values[start:stop], np.float32)[:, None]
        rows.features[PLACE] = np.arange(start, stop, dtype=np.float32)[:, None]
        strongest.add(rows, "fc8", np.ones(stop - start, bool), silent=False)
    found, numbers, places = strongest.ranked()
    order = sorted(range(len(values)), key=lambda row: (-values[row], row))[:top]
    assert numbers[0, : len(order)].tolist() == order
    assert places[0, : len(order)].tolist() == order
    assert found[0, : len(order)].tolist() == [values[row] for row in order]
    assert (numbers[0, len(order) :] == -1).all()


def with_bias(weights, layer, unit, value):
    state = {name: tensor.clone() for name, tensor in weights.state.items()}
    state[f"{layer}.bias"][unit] = value
    return Backbone(Weights.of("w", weights.spec, weights.preprocess, state))


def test_a_dead_unit_has_no_patches(images, weights):
    found = top_patches(images, "conv2", units=[1, 2], weights=with_bias(weights, "conv2", 2, -1e4))
    assert found.dead == [2]
    assert found.counts.tolist() == [9, 0]
    assert (found.rows[1] == -1).all()
    assert (found.boxes[1] == -1).all()
    assert found.to_dict()["units"][1] == {"unit": 2, "patches": []}
    assert [len(own) for own in cut_patches(found)] == [9, 0]
    before = top_patches(images, "conv2_pre", units=2, weights=with_bias(weights, "conv2", 2, -1e4))
    assert before.counts.tolist() == [9]  # negative numbers have an order as well


def test_tanh_units_have_patches_where_they_are_negative(images):
    spec = dataclasses.replace(small_network(7), activation="tanh")
    state = random_state(spec, 0, "he")
    state["conv1.bias"][:] = -3.0
    preprocess = named_preprocess("decaf", 64)
    backbone = Backbone(Weights.of("tanh", spec, preprocess, state))
    found = top_patches(images, "conv1", weights=backbone)
    assert found.counts.tolist() == [9] * 8
    assert (found.activations < 0).any()


def test_fewer_images_than_patches(images, weights):
    found = top_patches(images[:4], "fc8", weights=weights)
    assert found.rows.shape == (7, 4)
    assert found.counts.tolist() == [4] * 7
    assert found.unit_names == ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def test_some_of_the_units_are_those_asked_for_alone(images, weights):
    found = top_patches(images, "conv3", weights=weights).take([7, 2])
    alone = top_patches(images, "conv3", units=[7, 2], weights=weights)
    assert found.to_dict() == alone.to_dict()
    assert np.array_equal(found.boxes, alone.boxes)
    with pytest.raises(SettingError, match="`units` 3: no patches of conv3 are of it"):
        found.take([2, 3])


def test_bad_images_are_left_out_and_told(tmp_path, weights):
    for number in range(5):
        Image.fromarray(make_image(number, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    found = top_patches(tmp_path, "fc8", weights=weights, on_error="record")
    assert found.counts.tolist() == [4] * 7
    assert 2 not in found.rows
    assert [(bad.name, bad.status) for bad in found.bad] == [(str(tmp_path / "2.png"), "corrupt")]
    with pytest.raises(ImageError, match=r"2\.png"):
        top_patches(tmp_path, "fc8", weights=weights)
    with pytest.raises(InputError, match="none of 1 image can be read"):
        top_patches(tmp_path / "2.png", weights=weights, on_error="record")


def test_an_image_that_has_changed_since_is_refused(tmp_path, weights):
    for number in range(3):
        Image.fromarray(make_image(number, 0)).save(tmp_path / f"{number}.png")
    found = top_patches(tmp_path, "fc8", weights=weights)
    Image.fromarray(make_image(5, 0)).save(tmp_path / "1.png")
    with pytest.raises(InputError, match=r"1\.png': has changed since its activations"):
        cut_patches(found)
    os.remove(tmp_path / "1.png")
    with pytest.raises(ImageError, match=r"1\.png"):
        cut_patches(found)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"units": 8}, "`units` 8: conv1 of alexnet-64 has the units 0 to 7"),
        ({"units": [1, -1, "2"]}, "`units` -1, '2': conv1"),
        ({"units": []}, "`units` none"),
        ({"units": [1, 1]}, "a unit is named twice"),
        ({"top": 0}, "`top` 0: must be a whole number from 1 to 1000"),
        ({"layer": "conv9"}, "`layer` 'conv9' is not one of conv1_pre, conv1"),
        ({"layer": ["conv1"]}, "`layer`"),
        ({"crops": "ten"}, "has no use for `crops`|no argument `crops`"),
    ],
)
def test_what_cannot_be_asked_for_is_told(arguments, text, images, weights):
    with pytest.raises(SettingError, match=text):
        top_patches(images[:2], **{"layer": "conv1", "weights": weights, **arguments})


class ManyImages:
    """A data set that makes each image when it is asked for."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return np.full((64, 64, 3), number % 251, np.uint8)


def test_memory_does_not_grow_with_the_images(weights):
    def peak(count):
        tracemalloc.start()
        found = top_patches(ManyImages(count), "conv1", weights=weights, batch_size=8)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.rows.shape == (8, 9)
        return most

    peak(20)
    few, many = peak(40), peak(240)
    # The crops of 200 more images are 2.4 MB, their values at conv1 6.5 MB.
    assert many - few < 400_000
