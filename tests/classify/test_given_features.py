"""Heads on features of other networks: fitted to a folder's images by the paths of the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import decaf
from decaf.backbone.weights.state import Weights
from decaf.cli.main import main
from decaf.errors import HeadError, InputError, SettingError
from decaf.heads.saved import load_head

QUICK: dict[str, Any] = {"workers": 0, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def net(make_weights: Callable[..., Weights]) -> decaf.Backbone:
    return decaf.Backbone(make_weights(0))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, folder: Path, net: decaf.Backbone) -> Path:
    """Layer fc6 of the images, as a matrix of which decaf knows nothing, in another order."""
    place = tmp_path_factory.mktemp("given")
    decaf.extract(folder, "fc6", out=place / "fc6.h5", weights=net, **QUICK).close()
    decaf.export_features(place / "fc6.h5", place / "own.npy")
    np.save(place / "clip.npy", np.load(place / "own.npy")[::-1])
    header, *lines = (place / "own.rows.csv").read_text(encoding="utf-8").splitlines()
    (place / "paths.csv").write_text("\n".join([header, *lines[::-1]]))
    return place


@pytest.fixture(scope="module")
def head(given: Path, folder: Path) -> Path:
    out = given / "clip.head"
    decaf.fit(folder, features=given / "clip.npy", paths=given / "paths.csv", out=out, C=4.0)
    return out


@pytest.mark.slow
def test_given_features_are_fitted_to_as_decafs_own(
    folder: Path, given: Path, net: decaf.Backbone
) -> None:
    """The same rows: the same draws, choices, estimate and answers, to the digit."""
    own = decaf.fit(folder, layer="fc6", weights=net, **QUICK)
    sources: list[dict[str, Any]] = [
        {"features": given / "clip.npy", "paths": given / "paths.csv"},
        {"features": f"{given / 'fc6.h5'}:fc6"},  # with paths of its own
        {"features": np.load(given / "own.npy"), "paths": sorted(map(str, folder.rglob("*.png")))},
    ]
    for source in sources:
        fitted = decaf.fit(folder, **source, progress=False)
        expected, result = own.report.to_dict(), fitted.report.to_dict()
        for record in (expected, result):
            for each in (record["choice"], *record["estimate"]["choices"]):
                assert each.pop("layer") in ("fc6", "features")
                assert {one.pop("layer") for one in each["candidates"]} <= {"fc6", "features"}
        for name in ("images", "classes", "choice", "estimate", "copies"):
            assert result[name] == expected[name]
        answers = fitted.classifier.predict(np.load(given / "own.npy"), top=None)
        for answer, reference in zip(
            answers, own.classifier.predict(folder, top=None), strict=True
        ):
            assert dict(answer.classes) == pytest.approx(dict(reference.classes), abs=1e-4)


def test_a_head_on_given_features_says_so_and_takes_no_images(
    head: Path, given: Path, folder: Path
) -> None:
    told = "features such as those of clip.npy, 96 numbers an image"
    assert decaf.describe(head)["takes"] == told
    assert load_head(head).takes == told
    classifier = decaf.load_classifier(head)
    image = folder / "ant" / "0.png"
    pixels = np.zeros((1, 70, 90, 3), np.uint8)
    for images in (image, folder, [image], "no such file.npy"):
        with pytest.raises(HeadError, match=rf"clip\.head: takes {told}, not images: compute the"):
            classifier.predict(images)
    with pytest.raises(InputError, match=r"features of shape \(1, 70, 90, 3\)"):
        classifier.predict(pixels)
    with pytest.raises(HeadError, match=rf"clip\.head: takes {told}, and has no network"):
        classifier.backbone  # noqa: B018
    for asked in ({"weights": "imagenet"}, {"preprocess": "decaf"}):
        with pytest.raises(HeadError, match=rf"takes {told}, and has no network of its own"):
            decaf.load_classifier(head, **asked)
    with pytest.raises(HeadError, match=rf"features: has 95 numbers an image; .*takes {told}"):
        classifier.predict(np.zeros((2, 95)))
    with pytest.raises(InputError, match=r"1 of 2 rows of features hold NaN.*first is row 1"):
        classifier.predict(np.full((2, 96), [[0.0], [np.nan]]))
    names = [each.path for each in classifier.predict(given / "clip.npy")]
    assert names[1] == f"{given / 'clip.npy'}[1]"
    by_path = [each.path for each in classifier.predict(given / "fc6.h5")]
    assert by_path[0] == str(image)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layer": "fc6"}, "`features` are given, and nothing is extracted: leave out `layer`"),
        (
            {"weights": "imagenet", "crops": "ten", "keep_features": "f.h5"},
            "leave out `weights`, `crops`, `keep_features`",
        ),
        ({"features": None}, "`paths` are of the rows of `features`, which were not given"),
        ({"source": "fc6.h5"}, r"fc6\.h5: holds features, and others are given by `features`"),
        ({"paths": None}, r"clip\.npy: does not say which image a row is of: give `paths`"),
        ({"features": "absent.npy"}, r"absent\.npy: is not there, not a matrix of features"),
        ({"source": np.zeros((4, 9, 9, 3), np.uint8)}, "images in memory have not: decaf.heads"),
    ],
)
def test_what_cannot_be_asked_for(
    folder: Path, given: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(given)
    usual = {"source": folder, "features": "clip.npy", "paths": "paths.csv"}
    if isinstance(asked.get("source"), np.ndarray):
        usual["labels"] = ["a", "a", "b", "b"]
    with pytest.raises((SettingError, InputError), match=message):
        decaf.fit(**{**usual, **asked})


def test_commands(
    folder: Path, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, matrix = str(tmp_path / "clip.head"), str(given / "clip.npy")
    asked = ["fit", str(folder), "-o", out, "--features", matrix, "-C", "4", "-q"]
    assert main(asked) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"decaf: {matrix}: does not say which image a row is of: give --paths")
    assert told.count("\n") == 1
    assert main([*asked, "--paths", str(given / "paths.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(f"{out}: logistic regression on features of clip.npy (C = 4)")
    assert lines[-1] == f"next: decaf predict {out} FEATURES, of other images made as these were"
    assert main(["info", out]) == 0
    assert "features such as those of clip.npy, 96 numbers an image" in capsys.readouterr().out
    assert main(["predict", out, matrix, "--format", "csv", "-q"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{matrix}[0],ok,,gnu,")
    assert main(["predict", out, str(folder / "ant" / "0.png"), "-q"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"decaf: {out}: takes features such as those of clip.npy, 96 numbers")
    assert told.count("\n") == 1
