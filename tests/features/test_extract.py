"""`decaf.extract` as a user calls it, on images that the tests make."""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import decaf
from decaf.errors import ImageError, InputError, OutputError, SettingError, WeightsError

WEIGHTS = "random:0:alexnet-64"


@pytest.fixture(scope="module")
def arrays() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 80, 100, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(arrays: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images in two classes and beside them, lossless so that they equal `arrays`."""
    root = tmp_path_factory.mktemp("images")
    names = ["ant/0.png", "ant/1.png", "ant/2.png", "bee/3.png", "bee/4.png", "bee/5.png", "z.png"]
    for name, pixels in zip(names, arrays, strict=True):
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    return root


@pytest.fixture(scope="module")
def fc6(arrays: np.ndarray) -> np.ndarray:
    """Return what the network's own pass computes, without the pipeline."""
    from decaf.images.normalise import normalise
    from decaf.images.preprocess import resized_crops

    spec = backbone().preprocess
    crops = torch.from_numpy(np.concatenate([resized_crops(a, spec) for a in arrays]))
    return backbone().features(normalise(crops, spec), "fc6")["fc6"].numpy()


@functools.cache
def backbone() -> decaf.Backbone:
    return decaf.load_backbone(WEIGHTS)


def extract(images: object, layer: object = "fc6", **rest: object) -> object:
    return decaf.extract(images, layer, **{"weights": backbone(), "workers": 0, **rest})


@pytest.mark.slow
def test_every_kind_of_source_gives_the_same_rows(
    arrays: np.ndarray, folder: Path, fc6: np.ndarray
) -> None:
    paths = sorted(folder.rglob("*.png"))

    class Photographs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(arrays)

        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            return arrays[index], 1

    sources = [
        folder,
        str(folder),
        paths,
        str(folder / "**/*.png"),
        arrays,
        list(arrays),
        [Image.fromarray(pixels) for pixels in arrays],
        Photographs(),
    ]
    for source in sources:
        rows = extract(source)
        assert isinstance(rows, np.ndarray)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, fc6, rtol=1e-5, atol=1e-5 * np.abs(fc6).max())


def test_processes_give_the_rows_that_this_process_gives(folder: Path, fc6: np.ndarray) -> None:
    np.testing.assert_array_equal(extract(folder, workers=2), extract(folder, workers=0))


def test_one_layer_is_an_array_and_a_list_of_layers_a_dict(arrays: np.ndarray) -> None:
    result = extract(arrays, ["pool5", "fc6_pre", "fc6"])
    assert isinstance(result, dict)
    assert {name: rows.shape for name, rows in result.items()} == {
        "pool5": (7, 2304),
        "fc6_pre": (7, 4096),
        "fc6": (7, 4096),
    }
    np.testing.assert_array_equal(result["fc6"], np.maximum(result["fc6_pre"], 0))
    alone = extract(arrays, ["fc6"])
    assert isinstance(alone, dict)
    np.testing.assert_allclose(alone["fc6"], result["fc6"], rtol=1e-4, atol=1e-5)


def test_maps_keep_their_shape_in_the_file_and_are_flat_in_memory(
    arrays: np.ndarray, tmp_path: Path
) -> None:
    flat = extract(arrays, "pool5")
    with extract(arrays, "pool5", out=tmp_path / "f.h5") as file:
        assert file["pool5"].shape == (7, 256, 3, 3)
        np.testing.assert_allclose(file["pool5"][:].reshape(7, -1), flat, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_ten_crop_shapes(arrays: np.ndarray, tmp_path: Path) -> None:
    stack = extract(arrays, crops="ten-stack")
    assert isinstance(stack, np.ndarray)
    assert stack.shape == (7, 10, 4096)
    for crops, expected in (("ten", stack.mean(axis=1)), ("ten-max", stack.max(axis=1))):
        np.testing.assert_allclose(extract(arrays, crops=crops), expected, rtol=1e-4, atol=1e-5)
    with extract(arrays, crops="ten-stack", out=tmp_path / "f.h5") as file:
        assert file["fc6"].shape == (7, 10, 4096)


def test_a_feature_file_describes_itself(folder: Path, fc6: np.ndarray, tmp_path: Path) -> None:
    import hashlib

    out = tmp_path / "f.h5"
    with extract(folder, ["fc7", "fc6"], out=out) as file:
        assert isinstance(file, decaf.FeatureFile)
        assert file.layers == ("fc7", "fc6")
        np.testing.assert_allclose(file["fc6"][:], fc6, rtol=1e-4, atol=1e-5)
        paths = sorted(folder.rglob("*.png"))
        assert [Path(name) for name in file.paths] == paths
        assert file.class_names == ("ant", "bee")
        assert file.labels.tolist() == [0, 0, 0, 1, 1, 1, -1]
        assert file.ok.all()
        assert file.source_size.tolist() == [[100, 80]] * 7
        for path, digest in zip(paths, file.content_sha256, strict=True):
            assert hashlib.sha256(path.read_bytes()).digest() == digest.tobytes()
        assert file.run["weights"]["name"] == WEIGHTS
        assert file.run["crops"] == "center"
        assert file.run["preprocess"]["name"] == "decaf"
        assert file.run["versions"]["torch"] == torch.__version__
        assert file.environment["device"] == "cpu"
        X, y = file.to_xy("fc6")
        assert X.shape == (7, 4096)
        assert y.tolist() == [0, 0, 0, 1, 1, 1, -1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.h5"]


def test_rows_can_be_stored_as_float16(arrays: np.ndarray, tmp_path: Path) -> None:
    exact = extract(arrays)
    with extract(arrays, out=tmp_path / "f.h5", dtype="float16") as file:
        assert file["fc6"].dtype == np.float16
        np.testing.assert_allclose(file["fc6"][:], exact, rtol=1e-3, atol=1e-3)


def test_values_that_float16_cannot_hold_are_an_error(arrays: np.ndarray) -> None:
    from dataclasses import replace

    from decaf.backbone.weights.load import load_weights

    weights = load_weights(WEIGHTS)
    state = {**weights.state, "fc6.bias": torch.full((4096,), 1e5)}
    loud = decaf.Backbone(replace(weights, state=state))
    with pytest.raises(SettingError, match=r"row \d: fc6 has values .* 1e\+05\); use float32"):
        extract(arrays, weights=loud, dtype="float16")
    assert np.asarray(extract(arrays, weights=loud)).max() > 65_504


def test_a_bad_image_keeps_its_row(folder: Path, tmp_path: Path) -> None:
    paths: list[object] = sorted(folder.rglob("*.png"))
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"<html>not found</html>")
    mixed = [*paths[:3], bad, tmp_path / "gone.png", *paths[3:]]
    good = extract(paths)
    with pytest.warns(UserWarning, match=r"2 of 9 images could not be read \(the first is row 3"):
        rows = extract(mixed, on_error="record")
    assert isinstance(rows, np.ndarray)
    assert np.isnan(rows[3:5]).all()
    np.testing.assert_allclose(np.delete(rows, [3, 4], axis=0), good, rtol=1e-5, atol=1e-5)
    with extract(mixed, out=tmp_path / "f.h5", on_error="record") as file:
        assert [file.status_names[code] for code in file.status[3:5]] == ["unsupported", "missing"]
        assert file.ok.sum() == 7
        assert len(file.to_xy("fc6")[0]) == 7
        assert file.messages[4] == "no such file"
        assert np.isnan(file["fc6"][3:5]).all()
    with pytest.raises(ImageError, match=r"bad\.png' \(image 3\).*on_error='record'"):
        extract(mixed)


def test_a_dataset_that_fails_at_one_item_fails_there_alone(arrays: np.ndarray) -> None:
    class Photographs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> np.ndarray:
            if index == 1:
                raise RuntimeError("the camera was off")
            return arrays[index]

    with pytest.warns(UserWarning, match="row 1, decoder_failed"):
        rows = extract(Photographs(), on_error="record")
    assert np.isnan(np.asarray(rows)).any(axis=1).tolist() == [False, True, False]


def test_batch_size_and_neighbours_change_nothing(arrays: np.ndarray) -> None:
    whole = np.asarray(extract(arrays))
    for size in (1, 3, 64):
        np.testing.assert_allclose(
            extract(arrays, batch_size=size), whole, rtol=1e-5, atol=1e-5 * whole.max()
        )
    np.testing.assert_allclose(
        extract(arrays[[6, 2]]), whole[[6, 2]], rtol=1e-5, atol=1e-5 * whole.max()
    )


def test_thread_settings_are_put_back(arrays: np.ndarray) -> None:
    before = torch.get_num_threads()
    extract(arrays[:2])
    assert torch.get_num_threads() == before


def test_a_loaded_backbone_may_be_given(arrays: np.ndarray) -> None:
    np.testing.assert_array_equal(extract(arrays, weights=WEIGHTS), extract(arrays))


def test_progress_is_told_to_a_function(arrays: np.ndarray, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    extract(arrays, progress=lambda done, total: told.append((done, total)), batch_size=2)
    assert told[0] == (0, 7)
    assert told[-1] == (7, 7)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_the_finished_file_is_returned_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "f.h5"
    extract(folder, out=out).close()
    before = out.stat().st_mtime_ns

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("decaf.features.extraction.Extraction.rows", never)
    extract(folder, out=out).close()
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"layer": "fc9"}, "fc9"),
        ({"layer": []}, "no layer asked for"),
        ({"layer": ["fc6", "fc6"]}, "named twice"),
        ({"crops": "eleven"}, "`crops` 'eleven' is not one of center, ten, ten-max, ten-stack"),
        ({"precision": "fp8"}, "`precision` 'fp8' is not one of fp32, bf16"),
        ({"dtype": "int8"}, "`dtype` 'int8' is not one of float32, float16"),
        ({"on_error": "ignore"}, "`on_error` 'ignore' is not one of raise, record"),
        ({"batch_size": 0}, "`batch_size` 0: must be a whole number from 1 on"),
        ({"batch_size": 1.5}, "`batch_size` 1.5: must be a whole number from 1 on"),
        ({"layer": None}, "`layer` None: must be the name of a layer, or a list of names"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    arrays: np.ndarray, settings: dict[str, object], text: str
) -> None:
    with pytest.raises(SettingError, match=text):
        extract(arrays, **settings)


def test_several_wrong_settings_are_told_at_once(arrays: np.ndarray) -> None:
    with pytest.raises(SettingError, match=r"`crops` 'x'.*; `precision` 'y'"):
        extract(arrays, crops="x", precision="y")


def test_a_negative_number_of_workers_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match="`workers` -1: must be a whole number from 0 on"):
        extract(folder, workers=-1)


def test_unknown_weights_and_missing_images_are_named(arrays: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="imagenat"):
        extract(arrays, weights="imagenat")
    with pytest.raises(InputError, match="no-such-folder"):
        extract(tmp_path / "no-such-folder")


def test_outputs_that_cannot_be_written_are_refused_before_any_work(
    arrays: np.ndarray, tmp_path: Path
) -> None:
    for folder in (tmp_path, ""):
        with pytest.raises(OutputError, match="is a folder"):
            extract(arrays, out=folder)
    with pytest.raises(OutputError, match="there is no folder"):
        extract(arrays, out=tmp_path / "missing" / "f.h5")
    other = tmp_path / "notes.h5"
    other.write_text("my notes")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"notes.h5: exists and is a text file, not a fe"):
            extract(arrays, out=other, overwrite=overwrite)
    assert other.read_text(encoding="utf-8") == "my notes"


def test_overwrite_leaves_a_file_that_is_right(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.h5"
    extract(folder, out=out, workers=0).close()
    began = out.stat()
    extract(folder, out=out, workers=0, overwrite=True).close()
    assert (out.stat().st_mtime_ns, out.stat().st_ino) == (began.st_mtime_ns, began.st_ino)
    out.write_bytes(out.read_bytes()[:-100])
    with pytest.raises(OutputError, match=r"is no feature file that can be read.*`overwrite=True`"):
        extract(folder, out=out, workers=0)
    for content in (out.read_bytes(), b""):
        out.write_bytes(content)
        extract(folder, out=out, workers=0, overwrite=True).close()


@pytest.mark.slow
def test_nothing_is_said_where_nothing_is_wrong(folder: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extract(folder, out=tmp_path / "f.h5", workers=1).close()


def test_a_file_is_written_where_no_room_can_be_reserved(
    arrays: np.ndarray, fc6: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    with extract(arrays, out=tmp_path / "f.h5") as file:
        np.testing.assert_allclose(file["fc6"], fc6, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("weights", [WEIGHTS, "random:0"])
def test_as_is_stimuli_of_the_networks_size_go_in_pixel_for_pixel(
    weights: str, tmp_path: Path
) -> None:
    network = decaf.load_backbone(weights)
    side = network.spec.input_size
    stimulus = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(stimulus).save(tmp_path / "stimulus.png")
    result = extract([str(tmp_path / "stimulus.png")], "conv5", weights=network, preprocess="as-is")
    spec = network.preprocess
    pixels = (stimulus / 255 - np.array(spec.mean)) / np.array(spec.std)
    with torch.no_grad():
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        expected = network.network.tap(x, ["conv5"])["conv5"].flatten().numpy()
    assert isinstance(result, np.ndarray)
    assert np.linalg.norm(result[0] - expected) < 1e-5 * np.linalg.norm(expected)
    enlarged = extract([str(tmp_path / "stimulus.png")], "conv5", weights=network)
    assert isinstance(enlarged, np.ndarray)
    assert np.linalg.norm(enlarged[0] - expected) > 0.1 * np.linalg.norm(expected)


def test_as_is_refuses_other_sizes_with_both(folder: Path, tmp_path: Path) -> None:
    told = r"100 x 80 pixels; taken as they are \(resize 'none'\), images must have 64 x 64"
    with pytest.raises(ImageError, match=told):
        extract(folder, preprocess="as-is")
    with extract(folder, preprocess="as-is", out=tmp_path / "f.h5", on_error="record") as file:
        assert {file.status_names[code] for code in file.status} == {"wrong_size"}


def test_preprocessing_is_recorded_and_makes_another_run(folder: Path, tmp_path: Path) -> None:
    asked = {"resize": "shorter-side", "crop": 60, "mean": [0.5, 0.4, 0.3]}
    with extract(folder, "pool5", preprocess=asked, out=tmp_path / "f.h5") as file:
        recorded, fingerprint = file.run["preprocess"], file.fingerprint
        assert file["pool5"].shape == (7, 256, 2, 2)
    own = backbone().preprocess.to_dict()
    assert recorded == {**own, **asked, "name": "shorter-side"}
    with extract(folder, "pool5", out=tmp_path / "own.h5") as file:
        assert file.run["preprocess"] == own
        assert file.fingerprint != fingerprint
    with pytest.raises(OutputError, match="preprocess crop: 60 there, 64 now"):
        extract(folder, "pool5", out=tmp_path / "f.h5")


@pytest.mark.slow
def test_other_crops_serve_what_can_be_computed_from_them(folder: Path) -> None:
    with pytest.raises(SettingError, match="alexnet-64: fc6 needs inputs of 64 pixels, got 96"):
        extract(folder, preprocess={"resize_to": 100, "crop": 96})
    assert np.shape(extract(folder, "conv5", preprocess={"resize_to": 100, "crop": 96}))[0] == 7
    adaptive = decaf.load_backbone("random:0:alexnet")
    rows = extract(folder, weights=adaptive, preprocess={"resize_to": 180, "crop": 160})
    assert np.shape(rows) == (7, 4096)
    with pytest.raises(SettingError, match="too small for"):
        extract(folder, weights=adaptive, preprocess={"resize": "none", "crop": 20})
