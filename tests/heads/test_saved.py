"""The file of a head: it keeps everything, and nothing that was done to it goes unseen."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from decaf.errors import HeadError, OutputError, SettingError
from decaf.heads import (
    Calibration,
    CSearchWarning,
    LinearSVM,
    LogisticRegression,
    SavedHead,
    load_head,
    save_head,
)
from decaf.heads import saved as saved_module
from decaf.heads.feature_identity import FeatureIdentity
from decaf.heads.saved import is_head_file

IDENTITY = FeatureIdentity(
    weights_name="pets",
    weights_sha256="ab" * 32,
    arch={"name": "alexnet", "convs": [{"kernel": 11}]},
    preprocess={"name": "decaf", "mean": [0.1, 0.2]},
    crops="center",
    layer="fc6",
    precision="fp32",
    versions={"torch": "2.11"},
)
RANDOM = np.random.default_rng(0)
Y = np.arange(45) % 3
X = (RANDOM.exponential(size=(45, 12)) + 2 * (RANDOM.random((3, 12)) < 0.4)[Y]).astype(np.float32)


def svm(**settings: Any) -> LinearSVM:
    head: LinearSVM = LinearSVM(solver="sklearn", tol=1e-3, **settings).fit(X, Y)
    return head


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a small head."""
    target = tmp_path / "pets.head"
    save_head(target, svm(scale="standard"), identity=IDENTITY, class_names=["a", "b", "c"])
    return target


def parts(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(os.fspath(path), framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 (no mapping)


@pytest.mark.parametrize(
    ("labels", "scale"),
    [
        (Y, "none"),
        (Y - 7, "mean-norm"),
        (Y > 0, "unit-norm"),
        (Y * 2.0, "standard"),
        (np.array(["né", "b", "a"])[Y], "mean-norm"),
        (np.array(["x", "y", "z"], object)[Y], "standard"),
    ],
)
def test_a_head_comes_back_as_it_was(tmp_path: Path, labels: np.ndarray, scale: str) -> None:
    for kind in (LinearSVM, LogisticRegression):
        C = 0.01 if scale == "none" else 2.0
        head = kind(C, solver="sklearn", tol=1e-3, scale=scale).fit(X, labels)
        names = [f"class {number}" for number in range(len(head.classes_))]
        report = {"accuracy": 0.75, "confusion": [[1, 2], [3, 4]], "note": "né\udcff"}
        target = tmp_path / f"{kind.__name__}.head"
        save_head(
            target,
            head,
            identity=IDENTITY,
            class_names=names,
            report=report,
            calibration=Calibration(2.5),
        )
        found = load_head(target)
        assert isinstance(found, SavedHead)
        assert type(found.estimator) is kind
        assert found.estimator.get_params() == head.get_params()
        np.testing.assert_array_equal(
            found.estimator.decision_function(X), head.decision_function(X)
        )
        predicted = found.estimator.predict(X)
        np.testing.assert_array_equal(predicted, head.predict(X))
        assert predicted.dtype.kind in (labels.dtype.kind, "U")
        assert found.estimator.to_sklearn().predict(X).tolist() == predicted.tolist()
        for name in ("C_", "converged_", "n_iter_", "objective_", "search_", "n_features_in_"):
            assert getattr(found.estimator, name) == getattr(head, name)
        assert found.estimator.scaling_.factor == head.scaling_.factor
        assert vars(found.identity) == vars(IDENTITY)
        assert found.class_names == tuple(names)
        assert found.report == report
        assert found.calibration == Calibration(2.5)


def test_two_classes_a_search_and_settings_come_back(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CSearchWarning)
        head = LinearSVM(
            "cv",
            solver="sklearn",
            tol=1e-2,
            Cs=np.array([0.1, 1.0]),  # type: ignore[arg-type]
            cv=[(np.arange(0, 40), np.arange(40, 45)), (np.arange(10, 45), np.arange(10))],
            class_weight={np.int64(0): 2, 1: 0.5},
            random_state=np.random.RandomState(0),
        ).fit(X, Y > 0)
    save_head(tmp_path / "h", head, identity=IDENTITY, class_names=["no", "yes"])
    found = load_head(tmp_path / "h")
    assert found.calibration is None
    assert found.report == {}
    params = found.estimator.get_params()
    assert (params["Cs"], params["cv"], params["random_state"]) == ([0.1, 1.0], 2, None)
    assert params["class_weight"] == {0: 2, 1: 0.5}
    search, before = found.estimator.search_, head.search_
    assert before is not None
    for name in ("Cs", "accuracy", "std", "converged"):
        np.testing.assert_array_equal(getattr(search, name), getattr(before, name))
    assert (search.chosen, search.at_border) == (before.chosen, before.at_border)
    assert search.decisions is None
    np.testing.assert_array_equal(found.estimator.decision_function(X), head.decision_function(X))


def test_what_is_there_is_not_replaced_unasked(path: Path) -> None:
    before = path.read_bytes()
    rest: dict[str, Any] = {"identity": IDENTITY, "class_names": ["x", "y", "z"]}
    with pytest.raises(OutputError, match=r"pets.head: exists already; give another name, or"):
        save_head(path, svm(), **rest)
    assert path.read_bytes() == before
    save_head(path, svm(), overwrite=True, **rest)
    assert load_head(path).class_names == ("x", "y", "z")
    with pytest.raises(OutputError, match="there is no folder"):
        save_head(path / "no" / "h", svm(), **rest)
    assert sorted(path.parent.iterdir()) == [path]


def test_what_is_no_head_is_not_written(tmp_path: Path) -> None:
    rest: dict[str, Any] = {"identity": IDENTITY, "class_names": ["x", "y", "z"]}
    with pytest.raises(SettingError, match="fitted LinearSVM or LogisticRegression, got LinearSVM"):
        save_head(tmp_path / "h", LinearSVM(), **rest)
    with pytest.raises(SettingError, match="got LinearSVC"):
        save_head(tmp_path / "h", svm().to_sklearn(), **rest)
    with pytest.raises(SettingError, match="`class_names` has 2 names, the head 3 classes"):
        save_head(tmp_path / "h", svm(), identity=IDENTITY, class_names=["x", "y"])
    for value in (float("nan"), np.zeros(2)):
        with pytest.raises(SettingError, match="cannot be written as JSON"):
            save_head(tmp_path / "h", svm(), report={"accuracy": value}, **rest)
    head = svm()
    head.coef_[0, 0] = np.inf
    with pytest.raises(SettingError, match="not finite"):
        save_head(tmp_path / "h", head, **rest)
    assert not list(tmp_path.iterdir())


def test_every_cut_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 37), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(HeadError, match=r"pets\.head: "):
            load_head(path)


def test_every_changed_byte_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    count = int(os.environ.get("DECAF_FUZZ", "150"))
    for place in np.random.default_rng(0).integers(0, len(whole), count):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place) % 8
        path.write_bytes(damaged)
        with pytest.raises(HeadError, match=r"pets\.head: "):
            load_head(path)


def set_json(key: str, change: Callable[[Any], Any]) -> Callable[..., None]:
    def apply(tensors: dict[str, np.ndarray], header: dict[str, str]) -> None:
        header[key] = json.dumps(change(json.loads(header[key])))

    return apply


def at(*path: str, value: Any) -> Callable[[Any], Any]:
    def apply(record: Any) -> Any:
        inner = record
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return record

    return apply


def set_text(key: str, value: str) -> Callable[..., None]:
    return lambda tensors, header: header.__setitem__(key, value)


def set_tensor(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., None]:
    return lambda tensors, header: tensors.__setitem__(
        name, np.ascontiguousarray(change(tensors[name]))
    )


HOSTILE: list[tuple[Callable[..., Any], str]] = [
    (set_text("format", "pt"), "another program, not a head.*format 'pt'"),
    (set_text("schema", "2"), "written in schema '2' by decaf .*; this version reads schema 1"),
    (set_text("estimator", "[" * 100000), "no JSON dict under 'estimator'"),
    (set_text("report", '{"a": NaN}'), "no JSON dict under 'report'"),
    (set_json("estimator", at("class", value="Popen")), "a head of class 'Popen'"),
    (set_json("estimator", at("class", value=["LinearSVM"])), "not consistent"),
    (set_json("estimator", at("settings", "shell", value=1)), "settings of a LinearSVM are others"),
    (set_json("estimator", at("settings", "tol", value=-1)), "`tol` must be a number above 0"),
    (set_json("estimator", at("settings", "scale", value="none")), "a scaling named 'standard'"),
    (set_json("estimator", at("fitted", value=None)), "not consistent"),
    (set_json("estimator", at("fitted", "C", value=0)), "finite number above 0 was expected"),
    (set_json("estimator", at("fitted", "C", value=True)), "a number was expected, got True"),
    (set_json("estimator", at("fitted", "search", value={"Cs": [1]})), "not consistent"),
    (set_json("classes", at("values", value=[0, 1])), "class_names must be 2 texts"),
    (set_json("classes", at("values", value=[0, 2, 1])), "in order, each once"),
    (set_json("classes", at("values", value=[0, 1, "x"])), "not of type int"),
    (set_json("classes", at("values", value=[0, 1, 2**70])), "not of type int"),
    (set_json("classes", at("kind", value="object")), "not consistent"),
    (set_json("class_names", lambda names: [*names[:2], 3]), "class_names must be 3 texts"),
    (set_json("calibration", lambda _: {"a": -1}), "finite number above 0"),
    (set_json("calibration", lambda _: {"b": 1}), "not consistent"),
    (set_json("identity", lambda _: {}), "not the identity of features"),
    (set_tensor("coef", lambda coef: coef[:2]), r"coef is of shape \(2, 12\) for 3 classes"),
    (set_tensor("coef", lambda coef: coef[:, :0]), r"coef is of shape \(3, 0\)"),
    (set_tensor("coef", lambda coef: coef[:, :5]), "tensors are not coef, intercept, scaling.mean"),
    (set_tensor("coef", lambda coef: coef[0]), r"coef is of shape \(12,\)"),
    (set_tensor("coef", lambda coef: coef * np.nan), "a coefficient is not finite"),
    (set_tensor("coef", lambda coef: coef.astype(np.float32)), "'coef' is not float64"),
    (set_tensor("scaling.std", lambda std: -std), "scaling.std must be above 0"),
    (lambda tensors, header: tensors.pop("intercept"), "tensors are not"),
    (lambda tensors, header: header.pop("identity"), "no JSON dict under 'identity'"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE)
def test_a_file_that_contradicts_itself_is_refused(
    path: Path, change: Callable[..., Any], message: str
) -> None:
    """Made by someone who also puts the right hash in."""
    tensors, header = parts(path)
    change(tensors, header)
    header["sha256"] = saved_module.content_sha256(tensors, header)
    path.write_bytes(save(tensors, metadata=header))
    with pytest.raises(HeadError, match=message) as caught:
        load_head(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="cannot be read: there is no such file"):
        load_head(tmp_path / "none")
    with pytest.raises(HeadError, match="is a folder, not a head"):
        load_head(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(HeadError, match="is a text file, not a head"):
        load_head(tmp_path / "text")


@pytest.mark.posix("pipes")
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HeadError, match="is neither a file nor a folder, not a head"):
        load_head(tmp_path / "pipe")


def test_heads_are_told_from_other_files(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(save({"x": np.zeros(3)}, metadata={"format": "decaf-weights"}))
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(save({"x": np.zeros(3)}))
    (tmp_path / "text").write_text("hello")
    assert is_head_file(path)
    for no in (other, bare, tmp_path / "text", tmp_path, tmp_path / "none"):
        assert not is_head_file(no)
