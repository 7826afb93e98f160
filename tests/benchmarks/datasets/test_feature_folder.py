"""Folders of ready features: Office-Caltech-10 as it is given out, and what can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from datasets.feature_folder import read_feature_folder
from decaf.errors import InputError


def write(file: Path, n: int = 8, d: int = 5, classes: int = 2, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).integers(0, 9, (n, d)).astype(float) + 1
    savemat(file, {"fts": rows, "labels": 1 + np.arange(n)[:, None] % classes})
    return rows


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
def test_office_caltech(tmp_path: Path) -> None:
    kept = {}
    for seed, name in enumerate(("amazon", "Caltech10", "dslr", "webcam")):
        kept[name] = write(tmp_path / f"{name}_SURF_L10.mat", seed=seed)
        write(tmp_path / f"{name.lower().removesuffix('10')}_decaf.mat", d=7, seed=seed)
        savemat(tmp_path / f"{name}_SURF_L10_imgs.mat", {"imgNames": ["a.jpg", "b.jpg"]})
    (tmp_path / "README.txt").touch()
    surf, decaf = read_feature_folder(tmp_path)
    assert (surf.kind, decaf.kind) == ("SURF_L10", "decaf")
    assert surf.dataset.name == "Office-Caltech-10"
    assert surf.dataset.domains == ("amazon", "caltech", "dslr", "webcam")
    assert surf.dataset.source_per_class["dslr"] == 8
    assert "32 images; Office-Caltech-10 has 2,533" in surf.dataset.notes[0]
    # Histograms are divided by their sum, other features are left as they are.
    place = surf.dataset.names.index(b"caltech/class 02/00003")
    own = kept["Caltech10"][3]
    np.testing.assert_allclose(surf.rows[place], own / own.sum(), rtol=1e-6)
    assert surf.dataset.labels[place] == 1
    assert decaf.rows.max() > 1
    assert decaf.rows.shape == (32, 7)


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
def test_any_features_and_what_changes_the_fingerprint(tmp_path: Path) -> None:
    for seed, name in enumerate(("photo", "art_painting")):
        write(tmp_path / f"{name}_fc6.mat", seed=seed)
    (first,) = read_feature_folder(tmp_path)
    assert first.dataset.domains == ("art_painting", "photo")
    assert first.kind == "fc6"
    assert first.dataset.name == tmp_path.name
    (again,) = read_feature_folder(tmp_path)
    assert again.fingerprint == first.fingerprint
    write(tmp_path / "photo_fc6.mat", seed=5)
    assert read_feature_folder(tmp_path)[0].fingerprint != first.fingerprint


@pytest.mark.usefixtures("matlab_here")
@pytest.mark.slow
def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_feature_folder(tmp_path / "none")
    with pytest.raises(InputError, match=r"no MATLAB files here: .*Office-Caltech-10 are at http"):
        read_feature_folder(tmp_path)
    write(tmp_path / "amazon_SURF_L10.mat")
    with pytest.raises(InputError, match="one domain alone"):
        read_feature_folder(tmp_path)
    write(tmp_path / "webcam_SURF_L10.mat", d=6)
    with pytest.raises(InputError, match="different dimensions in its domains: amazon 5, webcam 6"):
        read_feature_folder(tmp_path)
    write(tmp_path / "webcam_SURF_L10.mat", classes=3)
    with pytest.raises(InputError, match="amazon has no image of class 03"):
        read_feature_folder(tmp_path)
    write(tmp_path / "Webcam_SURF_L10.mat")
    with pytest.raises(InputError, match="a second file of webcam and SURF_L10"):
        read_feature_folder(tmp_path)


@pytest.mark.slow
def test_rows_that_are_no_histograms(tmp_path: Path) -> None:
    rows = np.ones((4, 3))
    rows[2] = 0
    for name in ("amazon", "webcam"):
        savemat(tmp_path / f"{name}_SURF_L10.mat", {"fts": rows, "labels": [[1], [2], [1], [2]]})
    with pytest.raises(InputError, match=r"1 of 4 rows are no histograms .*the first is row 2"):
        read_feature_folder(tmp_path)


def test_a_name_that_tells_no_domain(tmp_path: Path) -> None:
    write(tmp_path / "features.mat")
    with pytest.raises(InputError, match=r"expected a name such as amazon_SURF_L10\.mat"):
        read_feature_folder(tmp_path)
