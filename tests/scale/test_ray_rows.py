"""`Rows` adds to a batch what `decaf.extract` makes of its images."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.errors import SettingError
from decaf.scale import Rows
from made_shards import photograph


def test_encoded_images(network: str, tmp_path: Path) -> None:
    data = [photograph(1), b"no image", photograph(2), None]
    for number in (0, 2):
        (tmp_path / f"{number}.jpg").write_bytes(data[number] or b"")
    expected = decaf.extract(tmp_path, "fc7", weights=network, workers=0, progress=False)
    rows = Rows("fc7", weights=network, image="jpg")
    made = rows({"jpg": np.array(data, object), "id": np.arange(4)})
    assert list(made) == ["jpg", "id", "fc7", "status", "message"]
    assert made["status"].tolist() == ["ok", "unsupported", "ok", "empty"]
    np.testing.assert_array_equal(made["fc7"][[0, 2]], expected)
    assert np.isnan(made["fc7"][[1, 3]]).all()
    assert made["message"][0] == ""
    assert made["message"][1]
    # As Hugging Face's columns of images have them.
    again = rows({"jpg": np.array([{"bytes": each, "path": "x"} for each in data], object)})
    np.testing.assert_array_equal(again["fc7"], made["fc7"])


def test_arrays_of_one_size_and_of_several(network: str) -> None:
    sizes = [(40, 50), (64, 48)]
    images = [np.full((*size, 3), 80 + n, np.uint8) for n, size in enumerate(sizes)]
    several = np.empty(2, object)
    several[:] = images
    rows = Rows(["fc6", "fc7"], weights=network, dtype="float16")
    made = rows({"image": several})
    pil = [Image.fromarray(image) for image in images]
    expected = decaf.extract(pil, "fc7", weights=network, dtype="float16", progress=False)
    np.testing.assert_array_equal(made["fc7"], expected)
    assert made["fc6"].dtype == np.float16
    np.testing.assert_array_equal(
        rows({"image": np.stack([images[0]] * 3)})["fc7"], np.stack([expected[0]] * 3)
    )


def test_it_travels_without_the_network(network: str) -> None:
    rows = Rows("fc7", weights=network)
    batch = {"image": np.zeros((1, 40, 40, 3), np.uint8)}
    made = rows(batch)
    sent = pickle.dumps(rows)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent)(batch)["fc7"], made["fc7"])
    assert rows({"image": np.zeros((0, 40, 40, 3), np.uint8)})["image"].shape[0] == 0


def test_a_column_that_is_not_there_is_named(network: str) -> None:
    with pytest.raises(SettingError, match="`image` 'image': the batch has no such column; it has"):
        Rows("fc7", weights=network)({"jpg": np.zeros(1)})
