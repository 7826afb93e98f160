"""Features as a DataFrame of pandas and a DataArray of xarray."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decaf.errors import SettingError
from decaf.features.store.feature_file import FeatureFile
from decaf.runtime.names import name_bytes
from made_features import made_file


@pytest.fixture
def features(tmp_path: Path) -> FeatureFile:
    rng = np.random.default_rng(0)
    layers = {"conv5": rng.random((4, 2, 3, 5)), "fc6": rng.random((4, 6))}
    path = made_file(
        tmp_path / "f.h5",
        layers,
        labels=[1, 0, -1, 1],
        class_names=["fox", "owl"],
        bad=[1],
        splits=["train", "train", "", "test"],
    )
    return FeatureFile(path)


def test_a_dataframe(features: FeatureFile) -> None:
    pytest.importorskip("pandas")
    frame = features.to_dataframe("fc6")
    own = ["path", "label", "class", "split", "status"]
    assert frame.columns.tolist() == [*own, *(f"fc6_{place}" for place in range(6))]
    assert frame["path"].tolist() == features.paths.tolist()
    assert frame["label"].tolist() == [1, 0, -1, 1]
    assert frame["class"].tolist()[:2] == ["owl", "fox"]
    assert frame["class"].isna().tolist() == [False, False, True, False]
    assert frame["split"].tolist() == ["train", "train", "", "test"]
    assert frame["status"].tolist() == ["ok", "corrupt", "ok", "ok"]
    np.testing.assert_array_equal(frame.iloc[:, 5:].to_numpy(), features["fc6"][:])
    assert frame["fc6_0"].dtype == np.float32
    good = features.to_dataframe("fc6", ok_only=True)
    assert good.index.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(good.iloc[:, 5:].to_numpy(), features["fc6"][[0, 2, 3]])
    assert features.to_dataframe([]).columns.tolist() == own
    every = features.to_dataframe()
    np.testing.assert_array_equal(
        every.filter(like="conv5_").to_numpy(), features["conv5"][:].reshape(4, -1)
    )
    assert every.shape == (4, 5 + 30 + 6)
    with pytest.raises(SettingError, match="no layer 'fc7'"):
        features.to_dataframe("fc7")


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    names = [b"caf\xe9.jpg", "caf\u00e9.jpg".encode()]
    path = made_file(tmp_path / "g.h5", {"fc6": np.ones((2, 3))}, names=names)
    frame = FeatureFile(path).to_dataframe("fc6")
    assert [name_bytes(name) for name in frame["path"]] == names
    assert frame["fc6_2"].tolist() == [1, 1]


def test_a_dataarray(features: FeatureFile) -> None:
    pytest.importorskip("xarray")
    array = features.to_xarray("conv5")
    assert array.dims == ("image", "channel", "y", "x")
    assert (array.name, array.dtype) == ("conv5", np.float32)
    np.testing.assert_array_equal(array.to_numpy(), features["conv5"][:])
    assert array.coords["class"].to_numpy().tolist() == ["owl", "fox", "", "owl"]
    assert array.coords["split"].to_numpy().tolist() == ["train", "train", "", "test"]
    np.testing.assert_array_equal(
        array.sel(image=3, channel=1, y=2).to_numpy(), features["conv5"][3][1, 2]
    )
    assert array.attrs["fingerprint"] == features.fingerprint
    good = features.to_xarray("fc6", ok_only=True)
    assert good.dims == ("image", "unit")
    assert good.coords["image"].to_numpy().tolist() == [0, 2, 3]
    np.testing.assert_array_equal(good.to_numpy(), features["fc6"][[0, 2, 3]])


@pytest.mark.parametrize("method", ["to_dataframe", "to_xarray"])
def test_what_is_not_installed_is_named(
    features: FeatureFile, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name in ("pandas", "xarray"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(SettingError, match=r"pip install 'decaf-features\[tables\]'"):
        getattr(features, method)("fc6")
