"""DataFrames as sources: those of pandas and polars, and one that has just what these have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.errors import InputError, SettingError
from decaf.images import collect

Columns = dict[Any, list[Any]]


def stand_in(columns: Columns) -> Any:
    """Make what is a DataFrame as far as decaf looks, where pandas is not installed."""

    def rows(self: Any) -> int:
        return max(map(len, columns.values()), default=0)

    return type(
        "DataFrame",
        (),
        {
            "__module__": "pandas",
            "columns": list(columns),
            "__getitem__": lambda self, name: columns[name],
            "__len__": rows,
        },
    )()


@pytest.fixture(params=["stand-in", "pandas", "polars"])
def frame(request: pytest.FixtureRequest) -> Callable[[Columns], Any]:
    if request.param == "stand-in":
        return stand_in
    made: Callable[[Columns], Any] = pytest.importorskip(request.param).DataFrame
    return made


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    names = [f"photos/{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(name)
    return names


def test_columns_are_found_by_their_usual_names(
    frame: Callable[[Columns], Any], files: list[str]
) -> None:
    images = collect(
        frame(
            {
                "weight": [1.5, 2.0, 3.0, 4.0],
                "thumbnail": files[::-1],
                "Path": files,
                "label": ["owl", "fox", None, "owl"],
                "group": ["a", "a", "b", None],
                "split": ["train", "Test", "val", ""],
            }
        )
    )
    assert images.paths == files
    assert (images.class_names, images.labels.tolist()) == (("fox", "owl"), [1, 0, -1, 1])
    assert images.groups == ("a", "a", "b", "")
    assert images.splits == ("train", "test", "val", "")
    assert images.sources[0]["kind"] == "table"
    assert not images.in_memory


@pytest.mark.parametrize("columns", [("art", "animal"), ("art", "species"), ("animal",)])
def test_a_label_column_that_is_a_guess_is_told(
    columns: tuple[str, ...],
    frame: Callable[[Columns], Any],
    files: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = frame({"file": files, **{each: ["a", "b", "a", "b"] for each in columns}})
    assert collect(made).labels.tolist() == [0, 1, 0, 1]
    guess = "takes the last column, 'animal', for the label; `labels` names another, or 'none'"
    assert (guess in caplog.text) == (columns == ("art", "animal"))
    caplog.clear()
    for labels in ("none", columns[-1], [0, 1, 0, 1], f"file,{columns[-1]}"):
        collect(made, labels=labels)
    assert "takes the last column" not in caplog.text


def test_columns_are_named(frame: Callable[[Columns], Any], files: list[str]) -> None:
    many = frame(
        {
            "id": [7, 8, 9, 10],
            "photo": files,
            "cropped": files[::-1],
            "species": ["owl", "fox", "fox", "owl"],
            "animal": [1, 1, 2, 3],
            "part": ["train"] * 3 + ["test"],
        }
    )
    images = collect(many, labels="photo,species", groups="animal", splits="part")
    assert images.paths == files
    assert images.class_names == ("fox", "owl")
    assert images.groups == ("1", "1", "2", "3")
    assert images.splits == ("train", "train", "train", "test")
    assert collect(many, labels="cropped,animal").labels.tolist() == [1, 1, 2, 3]
    assert collect(many, labels="cropped,animal").paths == files[::-1]
    assert collect(many, labels="none").class_names == ()
    assert collect(many, labels=["a", "b", "a", "b"]).labels.tolist() == [0, 1, 0, 1]
    for name in ("labels", "groups", "splits"):
        with pytest.raises(InputError, match=rf"`{name}` 'specis': the DataFrame has no such col"):
            collect(many, **{name: "specis"})


def test_numbers_stay_numbers(frame: Callable[[Columns], Any], files: list[str]) -> None:
    images = collect(frame({"file": files, "label": [0, 10, 2, 10]}))
    assert (images.labels.tolist(), images.class_names) == ([0, 10, 2, 10], ())


def test_a_frame_of_paths_alone(frame: Callable[[Columns], Any], files: list[str]) -> None:
    images = collect(frame({"anything": files}))
    assert (images.paths, images.labels.tolist()) == (files, [-1] * 4)
    missing = collect(frame({"path": [*files[:2], "photos/gone.png"]}))
    assert missing.paths == [*files[:2], "photos/gone.png"]


def test_what_is_wrong_with_a_frame_is_told(
    frame: Callable[[Columns], Any], files: list[str]
) -> None:
    with pytest.raises(
        InputError,
        match=r"no column names images .* columns are 'path', 'label'; .*photos/0.jpg' is not "
        r"there, the nearest there is .*photos/0.png",
    ):
        collect(frame({"path": ["photos/0.jpg", "photos/1.jpg"], "label": ["a", "b"]}))
    with pytest.raises(InputError, match="no images: the DataFrame of 0 rows is empty"):
        collect(frame({"path": []}))
    with pytest.raises(InputError, match=r"1 of its rows have no 'path' \(the first is row 1\)"):
        collect(frame({"path": [files[0], None], "label": ["a", "b"]}))


@pytest.mark.slow
def test_a_frame_is_a_source_of_every_function(
    frame: Callable[[Columns], Any], files: list[str], tmp_path: Path
) -> None:
    table = frame({"path": files, "species": ["owl", "fox"] * 2})
    net = "random:0:alexnet-64"
    rows = decaf.extract(table, weights=net, workers=0)
    np.testing.assert_array_equal(rows, decaf.extract(files, weights=net, workers=0))
    with decaf.extract(table, out="f.h5", weights=net, workers=0) as features:
        assert features.class_names == ("fox", "owl")
    assert decaf.verify("f.h5").compared == 4
    with decaf.extract(table, out="f.h5", weights=net, workers=0) as features:
        assert len(features) == 4  # it is there
    extractor = decaf.FeatureExtractor("fc6", weights=net, workers=0)
    np.testing.assert_array_equal(extractor.fit(table).transform(table), rows)
    with pytest.raises(SettingError, match="has no argument `label`"):
        collect(table, label="species")


def test_nothing_is_imported_for_a_frame(files: list[str], child_env: dict[str, str]) -> None:
    code = (
        "import sys; from decaf.images import collect; frame = type('DataFrame', (), {'__module__':"
        " 'pandas', 'columns': ['path'], '__len__': lambda self: 4, '__getitem__': lambda self, "
        f"name: {files}}})(); assert len(collect(frame)) == 4; "
        "print([name for name in ('pandas', 'polars', 'datasets', 'torch') if name in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], env=child_env, capture_output=True)
    assert (child.stdout.strip(), child.stderr) == (b"[]", b"")
