"""The frozen head against decaf's own features and scikit-learn's optimum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from decaf.backbone.model import Backbone
from decaf.backbone.weights.load import Weights
from decaf.features.extract import extract
from decaf.finetuning.data import Packed, divided
from decaf.finetuning.frozen_head import FrozenHead, as_last_layer, fit_frozen_head, layer_values
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    path = tmp_path_factory.mktemp("packs") / "a.pack"
    make_pack(photographs, path, size=36, encoding="raw", resize="warp", workers=0).close()
    return divided(Pack.open(path), None, 0.2, 0)


def test_features_of_a_pack_are_those_of_the_files(
    data: Packed, begun: Weights, photographs: Path
) -> None:
    backbone = Backbone(begun)
    for split, name in ((data.train, "train"), (data.val, "val")):
        expected = extract(photographs / name, "fc7", weights=backbone, workers=0, progress=False)
        result = layer_values(backbone, "fc7", split, 2)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_as_the_last_layer_answers_alike(classes: int) -> None:
    random = np.random.default_rng(0)
    X, y = random.standard_normal((60, 5)), random.integers(0, classes, 60)
    head = LogisticRegression().fit(X, y)
    weight, bias = as_last_layer(head.coef_, head.intercept_)
    assert weight.shape == (classes, 5)
    result = torch.softmax(torch.from_numpy(X) @ weight.T + bias, dim=1)
    np.testing.assert_allclose(result, head.predict_proba(X), atol=1e-12)


@pytest.mark.slow
def test_the_head_is_the_logistic_regression_of_its_C(data: Packed, begun: Weights) -> None:
    head, fitted = fit_frozen_head(
        begun,
        data.train,
        data.val,
        balanced=False,
        seed=0,
        device=CPU,
        workers=2,
    )
    backbone = Backbone(begun)
    train, held = (
        layer_values(backbone, "fc7", split, 2).astype(np.float64)
        for split in (data.train, data.val)
    )
    # scikit-learn's optimum on the same scale: one factor, so that rows have norm 1 on average.
    factor = 1 / np.sqrt((train**2).sum(axis=1).mean())
    optimum = LogisticRegression(C=head.C, tol=1e-10, max_iter=20_000)
    optimum.fit(train * factor, data.train.labels)
    scores = held @ head.coef.numpy().T + head.intercept.numpy()
    expected = optimum.decision_function(held * factor)
    centred = [each - each.mean(axis=1, keepdims=True) for each in (scores, expected)]
    np.testing.assert_allclose(*centred, atol=0.02 * np.abs(expected).max())
    result = head.trial.right.tolist()
    assert result == (fitted.predict(held) == data.val.labels).tolist()
    assert result == (scores.argmax(axis=1) == data.val.labels).tolist()
    again = FrozenHead.from_tensors(head.tensors())
    assert again.C == head.C
    for name, tensor in head.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)
