"""decaf's weights file: what is written is read again, and what was tampered with is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.safetensors_file import read_weights, save_weights
from decaf.backbone.weights.state import Weights, tensor_sha256
from decaf.errors import OutputError, SettingError, WeightsError
from decaf.images.spec import named_preprocess


@pytest.fixture(scope="module")
def weights(narrow):
    spec = narrow("alexnet-64", hidden=(16, 12))
    image = torch.rand(3, 72, 72, generator=torch.Generator().manual_seed(0))
    preprocess = named_preprocess("decaf", 64)
    preprocess = dataclasses.replace(preprocess, mean_image_sha256=tensor_sha256(image))
    return Weights.of(
        "made here",
        spec,
        preprocess,
        random_state(spec, 0),
        class_names=[f"class {number} é" for number in range(10)],
        metrics={"top1": 0.25},
        provenance={"source": "a test"},
        mean_image=image,
    )


@pytest.fixture
def path(tmp_path, weights):
    save_weights(tmp_path / "w.safetensors", weights)
    return tmp_path / "w.safetensors"


def rewritten(path, *, header=None, tensors=None, sealed=True):
    """Write the file again with parts replaced, its stated hash of the tensors left as it is.

    Its header is given a hash that fits, unless it is not `sealed`.
    """
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), **(header or {})}
    kept = {key: value for key, value in metadata.items() if value is not None}
    if sealed and "header_sha256" in kept:
        del kept["header_sha256"]
        text = json.dumps(dict(sorted(kept.items())))
        kept["header_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    whole = {**load_file(path), **(tensors or {})}
    whole = {key: value for key, value in whole.items() if value is not None}
    save_file(whole, path, metadata=kept)
    return path


def test_what_is_saved_is_loaded(path, weights):
    loaded = read_weights(path)
    assert loaded.name == "w.safetensors"
    for field in dataclasses.fields(Weights):
        if field.name not in ("name", "state", "mean_image"):
            assert getattr(loaded, field.name) == getattr(weights, field.name), field.name
    assert list(loaded.state) == list(weights.state)
    assert all(torch.equal(loaded.state[key], weights.state[key]) for key in weights.state)
    assert torch.equal(loaded.mean_image, weights.mean_image)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_its_hash_through_load_and_save(tmp_path, weights, dtype):
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    digest = save_weights(first, weights, dtype=dtype)
    assert digest != weights.sha256
    loaded = read_weights(first)
    assert loaded.sha256 == digest
    assert {tensor.dtype for tensor in loaded.state.values()} == {torch.float32}
    assert torch.equal(loaded.mean_image, weights.mean_image)
    assert loaded.metrics == {"before_rounding": {**weights.metrics, "sha256": weights.sha256}}
    errors = loaded.provenance["rounded"][0]["relative_errors"]
    assert {*errors} == {key for key in weights.state if key.endswith("weight")}
    assert max(errors.values()) < {"float16": 2**-11, "bfloat16": 2**-8}[dtype]
    assert save_weights(second, loaded) == read_weights(second).sha256 == digest
    parameters = sum(tensor.numel() for tensor in weights.state.values())
    saved = os.path.getsize(second) - os.path.getsize(first)
    assert abs(saved - 2 * parameters) < 200  # the header's hash and names aside


def test_the_tensors_do_not_lie_in_the_file(path, weights):
    loaded = read_weights(path)
    path.write_bytes(b"")
    assert torch.equal(loaded.state["fc6.weight"], weights.state["fc6.weight"])


def test_a_file_is_not_replaced_unasked(path, weights):
    with pytest.raises(OutputError, match="exists already; give another name, or `overwrite=True`"):
        save_weights(path, weights)
    save_weights(path, weights, overwrite=True)
    assert os.listdir(path.parent) == ["w.safetensors"]


def test_only_weights_are_replaced(path, weights):
    of_others = save({"x": torch.zeros(3)}, metadata={"format": "pt"})
    for content in (b"\x89PNG a photograph", b"notes", of_others):
        path.write_bytes(content)
        with pytest.raises(OutputError, match=r"exists and is an? .*, not a weights file, so"):
            save_weights(path, weights, overwrite=True)
        assert path.read_bytes() == content
    path.write_bytes(b"")
    save_weights(path, weights, overwrite=True)
    assert read_weights(path).sha256 == weights.sha256


def test_a_failed_save_leaves_what_was_there(path, weights, monkeypatch):
    before = path.read_bytes()

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("decaf.backbone.weights.safetensors_file.write_tensors", full)
    with pytest.raises(OutputError, match=r"w\.safetensors: cannot be written: the disk is full"):
        save_weights(path, weights, overwrite=True)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["w.safetensors"]


def test_saving_where_it_cannot_be(tmp_path, weights):
    with pytest.raises(OutputError, match="there is no folder"):
        save_weights(tmp_path / "no" / "folder.safetensors", weights)
    with pytest.raises(SettingError, match=r"ends in \.safetensors"):
        save_weights(tmp_path / "w.pth", weights)
    with pytest.raises(SettingError, match="`dtype` must be one of"):
        save_weights(tmp_path / "w.safetensors", weights, dtype="int4")
    for value in (float("nan"), tmp_path):
        odd = dataclasses.replace(weights, metrics={"top1": value})
        with pytest.raises(WeightsError, match="metrics must hold JSON values only"):
            save_weights(tmp_path / "w.safetensors", odd)
    large = dataclasses.replace(weights, state={**weights.state})
    large.state["fc8.bias"] = torch.full((10,), 1e6)
    with pytest.raises(WeightsError, match=r"fc8\.bias holds NaN or infinite values"):
        save_weights(tmp_path / "w.safetensors", large, dtype="float16")
    assert os.listdir(tmp_path) == []


def test_an_altered_number_is_found(path):
    tensor = load_file(path)["fc7.weight"]
    tensor[3, 4] += 1e-6
    with pytest.raises(
        WeightsError, match=r"its tensors have SHA-256 [0-9a-f]{64}, its header names"
    ):
        read_weights(rewritten(path, tensors={"fc7.weight": tensor}))


def test_an_altered_byte_anywhere_is_found(path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="SHA-256"):
        read_weights(path)


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"fc7.bias": None, "x": torch.zeros(1)}, r"missing fc7\.bias; unexpected x"),
        ({"fc7.bias": torch.zeros(13)}, r"fc7\.bias has shape \(13,\), expected \(12,\)"),
        ({"fc7.bias": torch.full((12,), torch.nan)}, r"fc7\.bias holds NaN or infinite"),
        ({"fc7.bias": torch.zeros(12, dtype=torch.float64)}, r"fc7\.bias is not stored as F32"),
        ({"fc7.bias": torch.zeros(12, dtype=torch.int32)}, r"fc7\.bias is not stored as F32"),
        ({"mean_image": None}, "missing mean_image"),
        ({"mean_image": torch.zeros(3, 72, 72)}, "the mean image has SHA-256"),
    ],
)
def test_wrong_tensors_are_refused(path, tensors, text):
    with pytest.raises(WeightsError, match=text) as caught:
        read_weights(rewritten(path, tensors=tensors))
    assert str(path) in str(caught.value)


def arch(weights, **changes):
    return json.dumps({**weights.spec.to_dict(), **changes})


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("format", None, "another program, not a weights file.*format None"),
        ("format", "pt", "another program, not a weights file.*format 'pt'"),
        ("schema", "4", "written in schema '4' by decaf .*; this version reads schemas 1, 2 and 3"),
        ("schema", "2", "no JSON dict under 'storage'"),
        ("sha256", None, "its header names None"),
        ("arch", None, "no JSON dict under 'arch'"),
        ("arch", "{", "no JSON dict under 'arch'"),
        ("arch", "[" * 100_000, "no JSON dict under 'arch'"),
        ("arch", "{}", "missing fields"),
        ("preprocess", "{}", "missing fields"),
        ("class_names", '{"a": 1}', "no JSON list under 'class_names'"),
        ("class_names", "[1, 2]", "class_names must be texts"),
        ("class_names", '["a"]', "1 class names for 10 classes"),
        ("metrics", "NaN", "no JSON dict under 'metrics'"),
    ],
)
def test_wrong_headers_are_refused(path, key, value, text):
    with pytest.raises(WeightsError, match=text):
        read_weights(rewritten(path, header={key: value}))


@pytest.mark.parametrize("key", ["preprocess", "class_names", "schema", "arch", "header_sha256"])
def test_an_altered_header_is_refused(path, key):
    """Such as a mean of 0.985 for 0.485, which changes every feature and no weight."""
    with safe_open(path, framework="pt") as file:
        before = file.metadata()[key]
    altered = {
        "preprocess": before.replace("0.485", "0.985"),
        "class_names": before.replace("class 3", "class 4"),
        "schema": "1",
        "arch": before.replace('"dropout": 0.5', '"dropout": 0.4'),
        "header_sha256": before[:-1] + ("0" if before[-1] != "0" else "1"),
    }[key]
    assert altered != before
    with pytest.raises(WeightsError, match="damaged or altered: its header has SHA-256"):
        read_weights(rewritten(path, header={key: altered}, sealed=False))
    with pytest.raises(WeightsError, match="damaged or altered: its header has SHA-256"):
        read_weights(rewritten(path, header={"schema": "3", "header_sha256": None}, sealed=False))


def test_oversized_specs_are_refused_before_any_tensor_is_read(path, weights, monkeypatch):
    """The header alone decides: nothing of the size that it announces is ever made."""

    def read(*_args):
        raise AssertionError("a tensor was read")

    monkeypatch.setattr("decaf.backbone.weights.safetensors_file._own", read)
    for changes, text in [
        ({"hidden": [65_536, 65_536], "classes": 10**6}, "parameters, at most 1,000,000,000"),
        ({"hidden": [10**12, 1]}, "hidden must be a whole number from 1 to 65536"),
        ({"classes": 10**9}, "classes must be a whole number from 1 to 1000000"),
        ({"hidden": [17, 12]}, r"fc6\.weight has shape \(16, 144\), expected \(17, 144\)"),
    ]:
        with pytest.raises(WeightsError, match=text):
            read_weights(rewritten(path, header={"arch": arch(weights, **changes)}))


def test_a_header_that_lies_about_the_data(tmp_path):
    """A few bytes that announce a tensor of a terabyte."""
    entry = {"dtype": "F32", "shape": [2**19, 2**19], "data_offsets": [0, 2**40]}
    head = json.dumps({"__metadata__": {"format": "decaf-weights"}, "fc6.weight": entry}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + b"\0" * 64)
    with pytest.raises(WeightsError, match="damaged: "):
        read_weights(tmp_path / "w.safetensors")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_files_raise_weights_errors_only(path, data):
    whole = path.read_bytes()
    kind = data.draw(st.sampled_from(["cut", "flip", "junk"]))
    if kind == "cut":
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "flip":
        damaged = bytearray(whole)
        # Most of the interest lies in the header.
        at = data.draw(st.integers(0, 3000) | st.integers(0, len(whole) - 1))
        damaged[at] ^= data.draw(st.integers(1, 255))
    else:
        damaged = data.draw(st.binary(max_size=200))
    other = path.with_name("damaged.safetensors")
    other.write_bytes(damaged)
    with contextlib.suppress(WeightsError):
        loaded = read_weights(other)
        # Such as a blank at the end of the header: nothing that is read of it has changed.
        assert kind == "flip"
        whole = read_weights(path)
        for field in dataclasses.fields(Weights):
            if field.name not in ("name", "state", "mean_image"):
                assert getattr(loaded, field.name) == getattr(whole, field.name), field.name
