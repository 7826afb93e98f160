"""`decaf.features.verify` finds what is wrong with a file, and only that."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

import decaf
import systems
from decaf.backbone.weights.load import load_weights, save_weights
from decaf.cli.main import main
from decaf.errors import FeatureFileError, OutputError, SettingError, WeightsError
from decaf.features.verify import verify
from decaf.runtime.agreement import tolerance
from decaf.runtime.names import SYSTEMS
from decaf.storage.hdf5 import write_text_attribute
from decaf.storage.records import field_digests, fingerprint

WEIGHTS = "random:0:alexnet-64"


@functools.cache
def backbone() -> decaf.Backbone:
    return decaf.load_backbone(WEIGHTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 256, (70, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return root


def made(source: object, out: Path, **rest: object) -> Path:
    settings = {"weights": backbone(), "workers": 0, "on_error": "record", **rest}
    decaf.extract(source, ["pool5", "fc6"], out=out, **settings).close()
    return out


@pytest.mark.slow
def test_a_good_file_is_verified(folder: Path, tmp_path: Path) -> None:
    (folder / "3.png").write_bytes(b"")
    result = verify(made(folder, tmp_path / "f.h5"), rows=100)
    assert result.ok
    assert result.rows == 6
    assert result.compared == 5
    assert result.worst.keys() == {"pool5", "fc6"}
    assert max(result.worst.values()) <= 1e-5
    assert result.failed == result.unavailable == result.notes == []


def test_a_row_that_was_tampered_with_is_found(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    with h5py.File(path, "r+") as file:
        file["features/fc6"][2] *= 1.001
    result = verify(path, rows=6)
    assert not result.ok
    assert [(row, layer) for row, layer, _ in result.failed] == [(2, "fc6")]
    assert result.changed == ["features/fc6"]
    assert result.failed[0][2] == pytest.approx(1e-3, rel=0.01)


def test_rows_that_changed_places_are_found(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    with h5py.File(path, "r+") as file:
        file["features/fc6"][[0, 1]] = file["features/fc6"][[0, 1]][::-1]
    assert {row for row, _, _ in verify(path, rows=6).failed} == {0, 1}


def test_a_row_of_nan_under_status_ok_is_found(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    with h5py.File(path, "r+") as file:
        file["features/fc6"][4] = np.nan
    with pytest.raises(FeatureFileError, match="fc6, row 4 holds NaN, but its status is ok"):
        verify(path, rows=0)


def test_a_single_nan_in_a_good_row_is_found(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    with h5py.File(path, "r+") as file:
        file["features/fc6"][4, 17] = np.nan
    with pytest.raises(FeatureFileError, match="fc6, row 4 holds NaN, but its status is ok"):
        verify(path, rows=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "place", "value"),
    [
        ("label", 0, 1),
        ("source_size", (2, 0), 71),
        ("class_names", 0, b"axt"),
        ("path", 1, b"other.png"),
        ("content_sha256", (5, 31), 0),
        ("message", 0, b"never mind"),
        ("features/pool5", (0, 0, 0, 0), 0.25),
    ],
)
def test_any_column_that_was_changed_is_named(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    column: str,
    place: object,
    value: object,
) -> None:
    for number in range(6):
        (folder / f"{number % 2}").mkdir(exist_ok=True)
        (folder / f"{number}.png").rename(folder / f"{number % 2}" / f"{number}.png")
    path = made(folder, tmp_path / "f.h5")
    intact = verify(path, rows=0)
    assert (intact.ok, intact.notes) == (True, [])
    with h5py.File(path, "r+") as file:
        assert file[column][place] != value
        file[column][place] = value
    result = verify(path, rows=0)
    assert (result.ok, result.changed) == (False, [column])
    assert main(["verify", str(path), "--rows", "0"]) == 2
    output = capsys.readouterr().out
    assert f"6 rows read, not what was written: {column}" in output
    assert "NOT VERIFIED: the file has been changed since it was written" in output
    with h5py.File(path, "r+") as file:
        del file.attrs["content"]
    (note,) = verify(path, rows=0).notes
    assert "no checksums of its columns" in note


def other_value(value: object) -> object:
    """Return a value of the same kind that is another one."""
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, list):
        return [*value, "x"]
    return "x" if value is None else not value if isinstance(value, bool) else value + 1


def fields_of(record: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """Name each field of a record, and of the records in it."""
    for key, value in record.items():
        if isinstance(value, dict) and value:
            yield from fields_of(value, *above, key)
        else:
            yield (*above, key)


def with_other(record: dict[str, Any], field: tuple[str, ...], how: str) -> dict[str, Any]:
    """Return a record of which a field has another value, or is gone, or has one beside it."""
    copy = json.loads(json.dumps(record))
    inner = copy
    for key in field[:-1]:
        inner = inner[key]
    if how == "changed":
        inner[field[-1]] = other_value(inner[field[-1]])
    elif how == "removed":
        del inner[field[-1]]
    else:
        inner[f"{field[-1]}2"] = 0
    return copy


def test_any_field_of_the_settings_that_was_changed_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its fingerprint is left alone, or is made to agree."""
    path = made(folder, tmp_path / "f.h5")
    original = path.read_bytes()
    with decaf.open_features(path) as file:
        records = {"run": file.run, "environment": file.environment}
    tried = 0
    for attribute, record in records.items():
        for number, field in enumerate(fields_of(record)):
            for how in ("changed", "removed", "added")[: 1 if number else 3]:
                name = "/".join((attribute, *field)) + "2" * (how == "added")
                other = with_other(record, field, how)
                path.write_bytes(original)
                with h5py.File(path, "r+") as file:
                    write_text_attribute(file, attribute, json.dumps(other))
                if attribute == "run":
                    with pytest.raises(FeatureFileError, match=f"not what was written: {name}$"):
                        verify(path)
                    with h5py.File(path, "r+") as file:
                        write_text_attribute(file, "fingerprint", fingerprint(other))
                if field == ("layers",):  # which the columns themselves contradict
                    with pytest.raises(FeatureFileError, match="its settings say"):
                        verify(path)
                    continue
                assert verify(path).changed == [name]
                tried += 1
    assert tried > 30
    assert main(["verify", str(path)]) == 2
    output = capsys.readouterr().out
    assert f"not what was written: {name}" in output
    assert "no row was computed anew" in output


def test_attributes_that_came_went_or_changed_are_named(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    original = path.read_bytes()
    for place in ("/", "label", "features", "features/fc6", "class_names"):
        with h5py.File(path, "r+") as file:
            file[place].attrs["unit"] = "pixels"
        name = "unit" if place == "/" else f"{place}, attribute unit"
        assert verify(path, rows=0).changed == [name]
        path.write_bytes(original)
    with h5py.File(path, "r") as file:
        attributes = dict(file.attrs)
    for name, value in attributes.items():
        with h5py.File(path, "r+") as file:
            del file.attrs[name]
        if name == "content":
            (note,) = verify(path).notes
            assert "no checksums of its columns" in note
        elif name == "attributes":
            (note,) = verify(path).notes
            assert "no checksums of its attributes" in note
        elif name == "path_system":
            # As a file of before, which is not of Windows.
            assert verify(path).changed == ([name] if systems.WINDOWS else [])
        else:
            with pytest.raises(FeatureFileError, match=name):
                verify(path)
        path.write_bytes(original)
        if name in ("created", "decaf_version"):
            with h5py.File(path, "r+") as file:
                write_text_attribute(file, name, f"{value}1")
            assert verify(path).changed == [name]
            path.write_bytes(original)
    with h5py.File(path, "r+") as file:
        write_text_attribute(file, "path_system", SYSTEMS[not systems.WINDOWS])
    assert verify(path, rows=0).changed == ["path_system"]
    with h5py.File(path, "r+") as file:  # as an earlier version wrote its checksums
        digests = json.loads(file.attrs["attributes"])
        del digests["path_system"]
        write_text_attribute(file, "attributes", json.dumps(digests))
    assert not verify(path, rows=0).changed
    path.write_bytes(original)
    for attribute in ("content", "attributes"):
        digests = json.loads(attributes[attribute])
        for name in digests:
            with h5py.File(path, "r+") as file:
                write_text_attribute(file, attribute, json.dumps({**digests, name: "0"}))
            assert verify(path, rows=0).changed == [name]
        path.write_bytes(original)


def test_a_column_that_was_taken_away_is_named(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5", groups="path:(.)")
    with h5py.File(path, "r+") as file:
        del file["group"]
    assert verify(path, rows=0).changed == ["group"]


@pytest.mark.slow
def test_what_was_not_written_as_it_should_be_is_no_feature_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that is lost without a word, as HDF5 loses those of a full disk."""
    out, write = tmp_path / "f.h5", h5py.Dataset.__setitem__
    for lost in ("path", "label", "content_sha256", "fc6", "source_size"):

        def forget(self: h5py.Dataset, place: object, values: object, lost: str = lost) -> None:
            if not self.name.endswith(f"/{lost}"):
                write(self, place, values)

        monkeypatch.setattr(h5py.Dataset, "__setitem__", forget)
        with pytest.raises(OutputError, match="finished rows are kept: run the same command again"):
            made(folder, out)
        assert not out.exists()
    monkeypatch.setattr(h5py.Dataset, "__setitem__", write)
    assert verify(made(folder, out), rows=100).compared == 6


def test_images_that_are_gone_or_changed_are_told_apart(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    (folder / "1.png").unlink()
    Image.new("RGB", (70, 70)).save(folder / "2.png")
    result = verify(path, rows=6)
    assert result.ok
    assert result.compared == 4
    assert result.unavailable == [(1, "no such file (missing)"), (2, "the image has changed since")]


@pytest.mark.slow
def test_images_that_moved_may_be_named(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(folder, elsewhere)
    assert verify(path).compared == 0
    assert verify(path, images=elsewhere).compared == 6
    (elsewhere / "5.png").unlink()
    with pytest.raises(SettingError, match="has 6 rows, but 5 images were given"):
        verify(path, images=elsewhere)


def test_relative_names_are_found_from_another_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made("images", Path("f.h5"))
    monkeypatch.chdir("/")
    assert verify(tmp_path / "f.h5").compared == 6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_members_of_archives_are_found(folder: Path, tmp_path: Path, kind: str) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "images"), kind, folder))
    path = made([folder, archive], tmp_path / "f.h5")
    assert verify(path, rows=100).compared == 12
    archive.unlink()
    result = verify(path, rows=100)
    assert result.compared == 6
    assert [row for row, _ in result.unavailable] == list(range(6, 12))


def test_a_single_image_in_memory_is_told_from_a_file(tmp_path: Path) -> None:
    path = made(Image.new("RGB", (70, 70)), tmp_path / "f.h5")
    told = "its image was in memory, or the archive or array that held it is gone"
    assert verify(path).unavailable == [(0, told)]


def record(path: Path, **changed: object) -> None:
    """Write another record of how a file was made, as a stranger might, with its checksums."""
    with h5py.File(path, "r+") as file:
        run = {**json.loads(file.attrs["run"]), **changed.pop("run", {})}
        environment = {**json.loads(file.attrs["environment"]), **changed}
        write_text_attribute(file, "run", json.dumps(run))
        write_text_attribute(file, "environment", json.dumps(environment))
        write_text_attribute(file, "fingerprint", fingerprint(run))
        digests = json.loads(file.attrs["attributes"])
        kept = {n: s for n, s in digests.items() if not n.startswith(("run/", "environment/"))}
        about = field_digests({"run": run, "environment": environment})
        write_text_attribute(file, "attributes", json.dumps({**kept, **about}))


@pytest.mark.parametrize(
    "changed",
    [
        {"run": {"weights": "none"}},
        {"run": {"weights": {"name": "random:0"}}},
        {"run": {"precision": ["fp32"]}},
        {"sources": [3]},
        {"sources": [{"kind": "folder", "path": ".", "images": "many"}]},
    ],
)
def test_a_record_that_decaf_did_not_write_is_refused(
    folder: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    path = made(folder, tmp_path / "f.h5")
    record(path, **changed)
    with pytest.raises(FeatureFileError, match="not recorded as decaf records it"):
        verify(path)


def test_a_folder_that_is_called_an_archive_is_not_searched(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    record(path, sources=[{"kind": "tar", "path": str(folder), "images": 6}])
    assert len(verify(path).unavailable) == 6


@pytest.mark.slow
def test_images_in_memory_have_to_be_given_again(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (4, 70, 70, 3), dtype=np.uint8)
    path = made(arrays, tmp_path / "f.h5")
    assert len(verify(path).unavailable) == 4
    assert verify(path, images=arrays).compared == 4
    others = arrays.copy()
    others[2] += 1
    assert verify(path, images=others).unavailable == [(2, "the image has changed since")]


@pytest.mark.slow
def test_weights_that_were_moved_are_found_or_asked_for(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / "nets" / "small.safetensors"
    weights.parent.mkdir()
    save_weights(weights, load_weights(WEIGHTS))
    path = made(folder, tmp_path / "f.h5", weights=weights)
    monkeypatch.chdir(folder)
    with pytest.raises(
        WeightsError, match=r"f\.h5: was made with weights small\.safetensors \(SHA"
    ):
        verify(path)
    assert main(["verify", str(path)]) == 2
    assert "say where they are with --weights" in capsys.readouterr().err
    assert verify(path, weights=weights).compared == 6
    shutil.copy(weights, tmp_path)  # beside the file
    assert verify(path).compared == 6


def test_other_weights_are_refused_with_both_hashes(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    there = decaf.load_backbone(WEIGHTS).sha256
    here = decaf.load_backbone("random:1:alexnet-64").sha256
    with pytest.raises(WeightsError, match=f"{there}.*{here}"):
        verify(path, weights="random:1:alexnet-64")


def test_another_version_is_noted(folder: Path, tmp_path: Path) -> None:
    path = made(folder, tmp_path / "f.h5")
    with decaf.open_features(path) as file:
        versions = {**file.run["versions"], "torch": "1.0"}
    record(path, run={"versions": versions})
    (note,) = verify(path).notes
    assert note.startswith("versions torch: 1.0 there, ")


def test_tolerances_are_those_stated() -> None:
    assert tolerance("fp32", "float32", "prob") == ("relative error", 1e-5)
    assert tolerance("fp32", "float16", "fc6") == ("relative error", 1e-3)
    assert tolerance("bf16", "float32", "fc8") == ("1 - cosine", 5e-4)
    assert tolerance("bf16", "float32", "prob") == ("1 - cosine", 5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"dtype": "float16"}, {"crops": "ten-max"}])
def test_other_settings_are_verified_too(
    folder: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    assert verify(made(folder, tmp_path / "f.h5", **settings)).compared == 6


@pytest.mark.slow
def test_the_command_tells_what_it_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(made(folder, tmp_path / "f.h5"))
    assert main(["verify", path]) == 0
    out = capsys.readouterr().out
    assert "6 rows read, checksums agree" in out
    assert "verified: the features of 6 rows agree" in out
    (folder / "0.png").unlink()
    assert main(["verify", path, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["unavailable"] == [[0, "no such file (missing)"]]
    with h5py.File(path, "r+") as file:
        file["features/fc6"][1] += 1
    assert main(["verify", path]) == 2
    assert "row 1 differs in fc6" in capsys.readouterr().out
    assert main(["verify", path, "--rows", "-1"]) == 2
    assert "--rows -1: must be 0 or more" in capsys.readouterr().err


def test_a_file_of_other_preprocessing_is_computed_anew_as_it_was(
    folder: Path, tmp_path: Path
) -> None:
    asked = {"resize": "shorter-side", "resize_to": 66, "mean": [0.1, 0.2, 0.3]}
    result = verify(made(folder, tmp_path / "f.h5", preprocess=asked), rows=100)
    assert result.ok
    assert result.compared == 6
    assert result.notes == []
