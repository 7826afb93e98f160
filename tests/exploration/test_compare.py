"""`decaf.compare`: what differs between two files is told, and by how much."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import decaf
from decaf.cli.main import main
from decaf.errors import SettingError
from decaf.exploration import linear_cka
from made_features import made_file

COUNT = 30


def digests(*contents: int) -> np.ndarray:
    return np.array(contents)[:, None] * np.ones((1, 32), int)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(COUNT, 8)).astype(np.float32)


def test_the_same_images_in_another_order(
    tmp_path: Path, values: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(1)
    order = random.permutation(COUNT)
    noisy = values + 0.5 * random.normal(size=values.shape)
    contents, names = np.arange(1, COUNT + 1), [b"x/%02d.jpg" % n for n in range(COUNT)]
    a = made_file(
        tmp_path / "a.h5", {"fc6": values, "fc7": values}, names=names, digests=digests(*contents)
    )
    b = made_file(
        tmp_path / "b.h5",
        {"fc6": noisy[order], "fc8": values},
        names=[b"other/" + names[n][2:] for n in order],
        digests=digests(*contents[order]),
        run={"crops": "ten", "weights": {"name": "random:1", "sha256": "cd" * 32}},
        bad=[5],
    )
    result = decaf.compare(a, b, k=4)
    assert {name: (x, y) for name, x, y in result.settings} == {
        "weights name": ("random:0:alexnet-64", "random:1"),
        "weights sha256": ("abababababab…", "cdcdcdcdcdcd…"),
        "crops": ("center", "ten"),
        "layers": ("fc6, fc7", "fc6, fc8"),
    }
    matched = result.matched
    assert (matched.same, matched.renamed, matched.bad) == (COUNT - 1, 0, 1)
    assert (matched.changed, matched.only_a, matched.only_b) == (0, 0, 0)
    assert (result.only_a, result.only_b) == (("fc7",), ("fc8",))
    (layer,) = result.layers
    kept = np.setdiff1d(np.arange(COUNT), order[5])
    X, Y = values[kept].astype(np.float64), noisy[kept].astype(np.float32).astype(np.float64)
    cosines = (X * Y).sum(1) / np.linalg.norm(X, axis=1) / np.linalg.norm(Y, axis=1)
    assert layer.cosine == pytest.approx(
        {"mean": cosines.mean(), "median": np.median(cosines), "smallest": cosines.min()}, abs=1e-9
    )
    assert layer.cka == pytest.approx(linear_cka(X, Y), abs=1e-9)
    near = [
        NearestNeighbors(n_neighbors=4, metric="cosine").fit(each).kneighbors()[1]
        for each in (X, Y)
    ]
    shared = np.mean([len(set(p) & set(q)) / 4 for p, q in zip(*near, strict=True)])
    assert layer.neighbours == pytest.approx(shared, abs=1e-9)
    lowest = names[kept[cosines.argmin()]].decode()
    assert layer.moved[0] == (lowest, pytest.approx(cosines.min(), abs=1e-6))
    assert main(["compare", str(a), str(b), "-k", "4"]) == 0
    text = capsys.readouterr().out
    assert "  crops: center in A, ten in B\n" in text
    assert "29 images in both, 1 without features\n" in text
    assert f"{100 * shared:.1f} % of the 4 nearest are the same" in text
    assert main(["compare", str(a), str(b), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["matched"]["same"] == COUNT - 1


def test_what_does_not_match_is_counted(tmp_path: Path, values: np.ndarray) -> None:
    names = [b"x/a", b"x/b", b"x/c", b"x/d", b"x/e"]
    a = made_file(
        tmp_path / "a.h5", {"fc6": values[:5]}, names=names, digests=digests(1, 2, 3, 4, 4)
    )
    b = made_file(
        tmp_path / "b.h5",
        {"fc6": values[[0, 2, 3, 4, 7, 1]]},
        # c is there as z, d and e, which hold the same, the other way round; b has changed.
        names=[b"x/a", b"x/z", b"x/e", b"x/d", b"x/new", b"x/b"],
        digests=digests(1, 3, 4, 4, 9, 8),
    )
    result = decaf.compare(a, b)
    matched = result.matched
    assert (matched.same, matched.renamed, matched.changed) == (4, 1, 1)
    assert (matched.only_a, matched.only_b) == (0, 1)
    assert result.layers[0].k == 3
    swapped = {name for name, cosine in result.layers[0].moved if cosine < 0.99}
    assert swapped == {"x/d", "x/e"}


def test_features_of_other_sizes_are_compared_by_their_geometry(
    tmp_path: Path, values: np.ndarray
) -> None:
    a = made_file(tmp_path / "a.h5", {"fc6": values})
    b = made_file(tmp_path / "b.h5", {"fc6": np.hstack([values, values])})
    (layer,) = decaf.compare(a, b).layers
    assert layer.cosine is None
    assert layer.cka == pytest.approx(1)
    assert layer.neighbours == 1
    (layer,) = decaf.compare(a, b, rows=10).layers
    assert layer.rows == 10


def test_files_with_little_in_common(
    tmp_path: Path, values: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    a = made_file(tmp_path / "a.h5", {"fc6": values[:3]}, digests=digests(1, 2, 3))
    b = made_file(tmp_path / "b.h5", {"fc6": values[:3]}, digests=digests(4, 5, 6))
    c = made_file(tmp_path / "c.h5", {"fc7": values[:1]}, digests=digests(1))
    d = made_file(tmp_path / "d.h5", {"fc6": values[:1] * 0}, digests=digests(1))
    assert main(["compare", str(a), str(b)]) == 0
    text = capsys.readouterr().out
    assert "0 images in both, 3 changed" in text
    assert "fc6: nothing to compare" in text
    for other in (d, a):
        assert main(["compare", str(a), str(other), "--json"]) == 0
        json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # no NaN
    with pytest.raises(SettingError, match="they have no layer in common"):
        decaf.compare(a, c)
    with pytest.raises(SettingError, match=r"c\.h5: has no layer 'fc6'"):
        decaf.compare(a, c, layer="fc6")
