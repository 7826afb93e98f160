"""The features that a head belongs to."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import decaf
from decaf.errors import HeadError
from decaf.heads.feature_identity import FeatureIdentity

RUN: dict[str, Any] = {
    "weights": {"name": "pets", "sha256": "ab" * 32},
    "arch": {"name": "alexnet", "input_size": 224, "convs": [{"kernel": 11}]},
    "preprocess": {"name": "decaf", "crop": 227, "mean": [0.1, 0.2, 0.3]},
    "crops": "center",
    "layers": ["fc6", "fc7"],
    "precision": "fp32",
    "dtype": "float32",
    "versions": {"torch": "2.11.0", "pillow": "11.3"},
}
IDENTITY = FeatureIdentity.of(RUN, "fc6")


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(RUN), **parts}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            changed(weights={"name": "pets", "sha256": "cd" * 32}),
            "weights sha256: abababababab… in the head, cdcdcdcdcdcd… now",
        ),
        (changed(crops="ten"), "crops: center in the head, ten now"),
        (changed(precision="bf16"), "precision: fp32 in the head, bf16 now"),
        (
            changed(preprocess={**RUN["preprocess"], "crop": 224}),
            "preprocess crop: 227 in the head, 224 now",
        ),
        (
            changed(arch={**RUN["arch"], "input_size": 64}),
            "arch input_size: 224 in the head, 64 now",
        ),
    ],
)
def test_other_features_are_refused_with_both_values(run: dict[str, Any], message: str) -> None:
    other = FeatureIdentity.of(run, "fc6")
    assert other != IDENTITY
    assert other.fingerprint != IDENTITY.fingerprint
    with pytest.raises(HeadError) as caught:
        IDENTITY.check(other, "pets.h5")
    assert str(caught.value).startswith("pets.h5: not the features this head was fitted to: ")
    assert message in str(caught.value)


def test_another_layer_is_refused() -> None:
    with pytest.raises(HeadError, match="layer: fc6 in the head, fc7 now"):
        IDENTITY.check(FeatureIdentity.of(RUN, "fc7"))
    with pytest.raises(HeadError, match="have no layer 'pool5'; they have fc6, fc7"):
        FeatureIdentity.of(RUN, "pool5")


def test_names_versions_storage_and_other_layers_do_not_count() -> None:
    for run in (
        changed(weights={"name": "copy-of-pets", "sha256": "ab" * 32}),
        changed(versions={"torch": "3.0", "pillow": "12"}),
        changed(dtype="float16"),
        changed(layers=["fc6"]),
    ):
        other = FeatureIdentity.of(run, "fc6")
        assert other == IDENTITY
        assert other.fingerprint == IDENTITY.fingerprint
        IDENTITY.check(other)


def test_json_keeps_all_of_it() -> None:
    again = FeatureIdentity.from_dict(json.loads(json.dumps(IDENTITY.to_dict())))
    assert again == IDENTITY
    assert vars(again) == vars(IDENTITY)
    assert again.versions["torch"] == "2.11.0"


@pytest.mark.parametrize("part", ["weights", "arch", "preprocess", "crops", "precision", "layer"])
@pytest.mark.parametrize("value", [None, 3])
def test_records_that_are_none_are_refused(part: str, value: Any) -> None:
    record = IDENTITY.to_dict()
    record[part] = value
    with pytest.raises(HeadError, match="not the identity of features"):
        FeatureIdentity.from_dict(record)
    del record[part]
    with pytest.raises(HeadError, match="not the identity of features: it lacks"):
        FeatureIdentity.from_dict(record)


def test_it_is_that_of_a_feature_file(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    decaf.extract(
        images, ["fc6", "fc7"], out=tmp_path / "a.h5", weights="random:0:alexnet-64", workers=0
    ).close()
    with decaf.open_features(tmp_path / "a.h5") as features:
        found = FeatureIdentity.of(features, "fc7")
        assert found == FeatureIdentity.of(features.run, "fc7")
        assert found.weights_sha256 == features.run["weights"]["sha256"]
        assert (found.layer, found.crops, found.precision) == ("fc7", "center", "fp32")
