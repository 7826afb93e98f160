"""`decaf.duplicates`: planted copies are found, and what is only alike is not taken for one."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.cli.main import main
from decaf.errors import OutputError, SettingError
from decaf.exploration import CopyPair, Duplicates
from made_features import made_file

WEIGHTS = "random:0:alexnet-64"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """Ten photographs of two classes, with five copies among them."""
    root = tmp_path_factory.mktemp("photos")
    for split in ("train", "test"):
        for name in ("dog", "house"):
            (root / split / name).mkdir(parents=True)
    for name in ("dog", "house"):
        paths = sorted((shared_data / "pacs-mini" / "photo" / name).glob("*.jpg"))[:5]
        for number, path in enumerate(paths):
            shutil.copy(path, root / "train" / name / f"{number}.jpg")
    dog, house = root / "train" / "dog", root / "train" / "house"
    shutil.copy(dog / "0.jpg", root / "test" / "dog" / "same.jpg")
    with Image.open(dog / "1.jpg") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(house / "mirrored.jpg")
    with Image.open(house / "2.jpg") as image:
        image.resize((90, 80)).save(root / "test" / "house" / "resized.jpg", quality=60)
        w, h = image.size
        image.crop((w // 20, 0, w - w // 20, h - h // 10)).save(house / "cropped.jpg")
    with Image.open(house / "3.jpg") as image:
        image.save(house / "again.jpg", quality=40)
    (dog / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    return root


@pytest.fixture(scope="module")
def file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "f.h5"
    decaf.extract(folder, "fc6", out=path, weights=WEIGHTS, workers=0, on_error="record").close()
    return path


def short(name: str) -> str:
    return "/".join(Path(name).parts[-2:])


def test_planted_copies_are_found_and_no_others(file: Path) -> None:
    result = decaf.duplicates(file, progress=False)
    found = {
        frozenset((short(result.name(pair.first)), short(result.name(pair.second)))): pair
        for pair in result.pairs
    }
    expected = {
        ("dog/0.jpg", "dog/same.jpg"): ("same bytes", False, True),
        ("dog/1.jpg", "house/mirrored.jpg"): ("same picture, mirrored", True, False),
        ("house/2.jpg", "house/resized.jpg"): ("same picture, resized", False, True),
        ("house/2.jpg", "house/cropped.jpg"): ("same picture, cropped", False, False),
        ("house/resized.jpg", "house/cropped.jpg"): ("same picture, cropped", False, True),
        ("house/3.jpg", "house/again.jpg"): ("same picture", False, False),
    }
    assert found.keys() == set(map(frozenset, expected))
    for names, (kind, classes, splits) in expected.items():
        pair = found[frozenset(names)]
        assert (pair.kind, pair.across_classes, pair.across_splits) == (kind, classes, splits)
        assert pair.first < pair.second
    assert result.refused > 0  # a random network finds everything alike
    assert (result.left_out, result.unseen, result.copies) == (1, (), 5)
    sizes = sorted(np.unique(result.groups, return_counts=True)[1].tolist())
    assert sizes == [1] * 7 + [2, 2, 2, 3]


@pytest.mark.slow
def test_the_groups_are_those_that_fit_takes(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = tmp_path / "groups.csv"
    assert main(["duplicates", str(file), "-o", str(groups), "-q"]) == 0
    text = capsys.readouterr().out
    assert "same picture, mirrored (in two classes): " in text
    assert "6 pairs of copies (1 same bytes, 5 same picture)" in text
    assert "1 row without features left out" in text
    assert "5 images with an earlier copy" in text
    fitted = decaf.fit(file, groups=f"{groups}:group", on_error="record", progress=False)
    assert fitted.report.groups is not None
    assert fitted.report.groups.count == 10  # three of the 13 training images are copies
    assert main(["duplicates", str(file), "-o", str(groups), "-q"]) == 2
    assert f"{groups}: exists; give another --out, or --overwrite" in capsys.readouterr().err
    assert main(["duplicates", str(file), "-o", str(groups), "-q", "--overwrite", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["pairs"]) == 6
    with pytest.raises(OutputError, match="is a feature file"):
        decaf.duplicates(file, out=file)


def test_names_are_found_again_in_the_table_of_groups(tmp_path: Path) -> None:
    names = [b"a/=cmd.jpg", b"-x.jpg", b'a/\xff"q".jpg', b"a/n,m\n.jpg", b"@e.jpg", b"s.jpg"]
    path = made_file(
        tmp_path / "f.h5",
        {"fc6": np.eye(6) + 0.1},
        names=names,
        digests=np.repeat([[1], [2], [3]], 2, axis=0) * np.ones((1, 32), int),
    )
    out = tmp_path / "groups.csv"
    result = decaf.duplicates(path, out=out, images=False, progress=False)
    with decaf.open_features(path) as features:
        images = features.images().in_groups(f"{out}:group")
    assert images.groups == ("0", "0", "2", "2", "4", "4")
    assert [pair.kind for pair in result.pairs] == ["same bytes"] * 3
    lines = list(csv.reader(io.StringIO(result.pairs_table())))
    assert lines[1][-1] == "'-x.jpg"
    assert "\n'" not in out.read_text("latin-1")  # quoted, so that names may hold anything


def test_images_that_are_gone_or_changed_are_told_by_features_alone(
    folder: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "photos"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)  # read-only or not
    path = tmp_path / "f.h5"
    decaf.extract(copy, "fc6", out=path, weights=WEIGHTS, workers=0, on_error="record").close()
    (copy / "train" / "house" / "2.jpg").unlink()
    shutil.copy(copy / "train" / "dog" / "4.jpg", copy / "train" / "house" / "3.jpg")
    result = decaf.duplicates(path, progress=False)
    reasons = {short(result.name(row)): reason for row, reason in result.unseen}
    assert reasons == {
        "house/2.jpg": "no such file (missing)",
        "house/3.jpg": "it has changed since its features were computed",
    }
    for pair in result.pairs:
        seen = not {short(result.name(row)) for row in (pair.first, pair.second)} & set(reasons)
        assert pair.certain == seen
        assert np.isnan(pair.correlation) != seen
    assert main(["duplicates", str(path), "-q"]) == 1
    assert "2 images could not be compared, the first is" in capsys.readouterr().out


def test_likeness_makes_pairs_and_no_chains() -> None:
    def pair(first: int, second: int, cosine: float, kind: str = "alike") -> CopyPair:
        return CopyPair(first, second, kind, cosine, float("nan"), False, False)

    chain = (pair(0, 1, 0.97), pair(1, 2, 0.99), pair(2, 3, 0.98), pair(5, 6, 0.96))
    seen = (pair(4, 5, 0.9, "same picture"), pair(5, 7, 0.8, "same bytes"))
    result = Duplicates("f.h5", "fc6", 0.9, [b""] * 8, np.ones(8, bool), chain + seen, 0, ())
    assert result.groups.tolist() == [0, 1, 1, 3, 4, 4, 6, 4]


def test_few_images_and_one_class(tmp_path: Path) -> None:
    values = np.array([[1.0, 0], [0.9999, 0.001], [0, 1]])
    for count in (1, 2, 3):
        path = made_file(tmp_path / f"{count}.h5", {"fc6": values[:count]}, labels=[0] * count)
        result = decaf.duplicates(path, images=False, progress=False)
        assert len(result.pairs) == (count > 1)
    path = made_file(tmp_path / "bad.h5", {"fc6": values}, bad=[0, 1, 2])
    assert decaf.duplicates(path, progress=False).pairs == ()
    path = made_file(tmp_path / "other.h5", {"fc8": values})
    with pytest.raises(SettingError, match="holds fc8; name the `layer`, and the `cosine`"):
        decaf.duplicates(path)
    with pytest.raises(SettingError, match="fc8: it is not known which cosine copies have"):
        decaf.duplicates(path, layer="fc8")
    with pytest.raises(SettingError, match="`cosine` 2: must be a number above 0, up to 1"):
        decaf.duplicates(path, layer="fc8", cosine=2)
    assert len(decaf.duplicates(path, layer="fc8", cosine=0.9, images=False).pairs) == 1
