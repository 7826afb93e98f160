"""Quantised weight matrices: exact on every machine, as near as theory allows, refused if odd."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from decaf.backbone.weights.quantised import (
    ENCODINGS,
    compact,
    part_layout,
    quantise,
    relative_errors,
)
from decaf.backbone.weights.random_weights import random_state
from decaf.backbone.weights.safetensors_file import read_weights, save_weights
from decaf.backbone.weights.state import Weights, tensor_sha256
from decaf.errors import SettingError, WeightsError
from decaf.images.spec import named_preprocess

GOLDEN = Path(__file__).parent / "golden"
MIXED = {"conv1.weight": "int8", "fc6.weight": "codebook4", "fc7.weight": "codebook5"}


@pytest.fixture(scope="module")
def weights(narrow):
    spec = narrow("alexnet-64", hidden=(20, 11))
    image = torch.rand(3, 72, 72, generator=torch.Generator().manual_seed(0))
    preprocess = named_preprocess("decaf", 64)
    preprocess = dataclasses.replace(preprocess, mean_image_sha256=tensor_sha256(image))
    state = random_state(spec, 0)
    return Weights.of(
        "made here", spec, preprocess, state, metrics={"top1": 0.25}, mean_image=image
    )


@pytest.fixture
def path(tmp_path, weights):
    save_weights(tmp_path / "w.safetensors", weights, dtype=MIXED)
    return tmp_path / "w.safetensors"


def header_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def by_formula(quantised):
    """Dequantise one number at a time, the product in float64, which holds it exactly."""
    rows, columns = quantised.shape[0], math.prod(quantised.shape[1:])
    codes = quantised.codes.reshape(rows, -1)
    values = np.empty((rows, columns))
    for row in range(rows):
        scale = float(quantised.scale[row])
        if quantised.encoding == "int8":
            values[row] = [int(code) * scale for code in codes[row]]
            continue
        bits = int(quantised.encoding[-1])
        stream = int.from_bytes(bytes(codes[row].tolist()), "little")
        for column in range(columns):
            code = (stream >> (bits * column)) % 2**bits
            values[row, column] = float(quantised.codebook[code]) * scale
    return values.astype(np.float32).reshape(quantised.shape)


shapes = st.tuples(st.integers(1, 70), st.integers(1, 5), st.integers(1, 5))


@settings(max_examples=60, deadline=None)
@given(
    encoding=st.sampled_from(ENCODINGS),
    shape=shapes,
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.0, 1e-30, 1e-3, 1e30]),
)
def test_the_values_are_the_formulas_to_the_bit(encoding, shape, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(shape, generator=generator) * spread
    tensor *= torch.rand(shape[0], 1, 1, generator=generator) < 0.8  # some rows are zero
    quantised = quantise(tensor, encoding)
    result = quantised.dequantise()
    assert result.dtype == torch.float32
    assert np.array_equal(result.numpy(), by_formula(quantised))
    assert not result[tensor.flatten(1).abs().amax(1) == 0].any()
    kinds = {"I8": torch.int8, "U8": torch.uint8, "F32": torch.float32}
    layout = part_layout("x", shape, encoding)
    parts = quantised.parts("x")
    assert {key: (kinds[kind], size) for key, (kind, size) in layout.items()} == {
        key: (part.dtype, tuple(part.shape)) for key, part in parts.items()
    }
    assert list(layout) == list(parts)
    if encoding == "int8":
        half = tensor.abs().amax((1, 2), keepdim=True) / 127 / 2
        kept = quantised.scale > 0  # a row of vanishing numbers is zero
        assert (half[~kept] < 2.0**-100).all()
        assert ((result - tensor).abs() <= half * 1.0001)[kept].all()


# Mean squared error of the best quantisers of a normal distribution of variance 1, from
# Max 1960, "Quantizing for minimum distortion", table 1 (64 levels: Panter and Dite's limit,
# π√3/2 / 64², which is approached from below).
@pytest.mark.parametrize(
    ("encoding", "error"),
    [
        ("codebook3", 0.03454),
        ("codebook4", 0.009497),
        ("codebook5", 0.002499),
        ("codebook6", math.pi * math.sqrt(3) / 2 / 64**2),
    ],
)
def test_codebooks_are_as_good_as_they_can_be(encoding, error):
    tensor = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    tensor *= torch.logspace(-3, 3, 64)[:, None]
    lost = (quantise(tensor, encoding).dequantise() - tensor).square().sum(1)
    relative = lost / tensor.square().sum(1)
    assert relative.mean().item() == pytest.approx(error, rel=0.04)
    assert relative.max().item() < 1.3 * error


def test_few_distinct_numbers_are_kept_nearly_exactly():
    tensor = torch.tensor([-3.0, -1.0, 0.0, 2.0]).repeat(5, 6)
    for encoding in ENCODINGS[1:]:
        result = quantise(tensor, encoding).dequantise()
        assert torch.allclose(result, tensor, rtol=1e-5, atol=1e-6), encoding


def test_what_cannot_be_quantised():
    with pytest.raises(SettingError, match=r"int8 is for weight matrices, got shape \(4,\)"):
        quantise(torch.zeros(4), "int8")
    with pytest.raises(SettingError, match=r"`encoding` must be one of int8.*got 'int4'"):
        quantise(torch.zeros(4, 4), "int4")


def test_compact_gives_what_a_file_gives_back(path, weights):
    rounded = compact(weights, MIXED)
    loaded = read_weights(path)
    assert loaded.sha256 == rounded.sha256 != weights.sha256
    assert all(torch.equal(loaded.state[key], rounded.state[key]) for key in weights.state)
    assert torch.equal(loaded.mean_image, weights.mean_image)
    assert (loaded.metrics, loaded.provenance) == (rounded.metrics, rounded.provenance)
    assert {key for key in weights.state if loaded.state[key].equal(weights.state[key])} == {
        *weights.state
    } - {*MIXED}


def test_what_was_measured_before_rounding_is_not_claimed_after_it(path, tmp_path, weights):
    loaded = read_weights(path)
    assert loaded.metrics == {"before_rounding": {"top1": 0.25, "sha256": weights.sha256}}
    errors = {key: e for key, e in relative_errors(weights, loaded).items() if e}
    first = {"sha256_before": weights.sha256, "relative_errors": errors}
    assert loaded.provenance == {"rounded": [first]}
    # Once more, and now with what was measured.
    more = {"fc8.weight": "codebook3"}
    save_weights(tmp_path / "2.safetensors", loaded, dtype=more, metrics={"top1": 0.2})
    again = read_weights(tmp_path / "2.safetensors")
    before = {**loaded.metrics, "sha256": loaded.sha256}
    assert again.metrics == {"top1": 0.2, "before_rounding": before}
    assert again.provenance["rounded"][0] == first
    assert again.provenance["rounded"][1]["sha256_before"] == loaded.sha256
    assert list(again.provenance["rounded"][1]["relative_errors"]) == ["fc8.weight"]
    # Where nothing is rounded, what is known stays, or is replaced.
    assert save_weights(tmp_path / "3.safetensors", again) == again.sha256
    third = read_weights(tmp_path / "3.safetensors")
    assert (third.metrics, third.provenance) == (again.metrics, again.provenance)
    save_weights(tmp_path / "4.safetensors", again, metrics={"top5": 0.5})
    assert read_weights(tmp_path / "4.safetensors").metrics == {"top5": 0.5}


def test_weights_of_which_nothing_was_measured(weights):
    rounded = compact(dataclasses.replace(weights, metrics={}), "int8")
    assert rounded.metrics == {}
    assert rounded.provenance["rounded"][0]["sha256_before"] == weights.sha256


def test_the_hash_stays_when_saved_in_full(path, tmp_path):
    loaded = read_weights(path)
    assert save_weights(tmp_path / "full.safetensors", loaded) == loaded.sha256
    assert read_weights(tmp_path / "full.safetensors").sha256 == loaded.sha256


def test_one_name_is_for_all_matrices(tmp_path, weights):
    target = tmp_path / "w.safetensors"
    save_weights(target, weights, dtype="int8")
    stored = load_file(target)
    for key, tensor in weights.state.items():
        assert stored[key].dtype == (torch.int8 if tensor.dim() > 1 else torch.float32), key
    assert (
        os.path.getsize(target)
        < 72 * 72 * 3 * 4 + 1.2 * sum(tensor.numel() for tensor in weights.state.values()) + 8_000
    )  # the header


def test_the_header_tells_what_is_quantised(path, tmp_path, weights):
    save_weights(tmp_path / "plain.safetensors", weights, dtype="float16")
    assert "storage" not in header_of(tmp_path / "plain.safetensors")
    assert json.loads(header_of(path)["storage"]) == MIXED


def test_relative_errors(weights):
    errors = relative_errors(weights, compact(weights, MIXED))
    assert list(errors) == list(weights.state)
    assert {key for key, error in errors.items() if error} == {*MIXED}
    exact = weights.state["fc6.weight"].double().numpy()
    lost = exact - quantise(weights.state["fc6.weight"], "codebook4").dequantise().double().numpy()
    expected = math.sqrt((lost**2).sum() / (exact**2).sum())
    assert errors["fc6.weight"] == pytest.approx(expected, rel=1e-5)
    assert errors["conv1.weight"] < errors["fc7.weight"] < errors["fc6.weight"]
    large = {**weights.state, "fc6.weight": weights.state["fc6.weight"] * 1e30}
    large = dataclasses.replace(weights, state=large)
    result = relative_errors(large, compact(large, {"fc6.weight": "codebook4"}))
    assert result["fc6.weight"] == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ({"fc6.bias": "int8"}, r"'fc6\.bias' is no weight matrix of alexnet-64; there are conv1"),
        ({"fc9.weight": "int8"}, r"'fc9\.weight' is no weight matrix"),
        ({"fc6.weight": "int4"}, r"fc6\.weight: encoding must be one of int8.*got 'int4'"),
        ("codebook9", "`dtype` must be one of float32, .*codebook6, got 'codebook9'"),
    ],
)
def test_wrong_choices_are_refused(tmp_path, weights, dtype, text):
    with pytest.raises(SettingError, match=text):
        save_weights(tmp_path / "w.safetensors", weights, dtype=dtype)
    assert os.listdir(tmp_path) == []


def rewritten(path, *, header=None, tensors=None):
    """Write the file again with parts replaced, its stated hash left as it is."""
    metadata = {**header_of(path), **(header or {})}
    whole = {**load_file(path), **(tensors or {})}
    whole = {key: value for key, value in whole.items() if value is not None}
    del metadata["header_sha256"]
    text = json.dumps(dict(sorted(metadata.items())))
    metadata["header_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    save_file(whole, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"fc6.weight.scale": None}, r"fc6\.weight\.scale must be .* it is missing"),
        (
            {"fc6.weight.scale": torch.zeros(21)},
            r"F32 of shape \(20,\) for codebook4, got F32 of shape \(21,\)",
        ),
        ({"fc6.weight.scale": torch.zeros(20).half()}, "got F16 of shape"),
        ({"fc6.weight.codebook": torch.zeros(15)}, r"F32 of shape \(16,\) for codebook4"),
        ({"fc6.weight": torch.zeros(20, 144)}, r"fc6\.weight must be stored as U8 of shape"),
        ({"fc6.weight": torch.zeros(20, 71, dtype=torch.uint8)}, r"U8 of shape \(20, 72\)"),
        ({"conv1.weight": torch.zeros(4, 3, 5, 5, dtype=torch.uint8)}, "must be stored as I8"),
        ({"fc8.weight": torch.zeros(10, 11, dtype=torch.int8)}, r"fc8\.weight is not stored as"),
        ({"fc8.weight.scale": torch.zeros(10)}, r"unexpected fc8\.weight\.scale"),
        ({"fc6.weight.scale": torch.full((20,), torch.nan)}, "fc6.weight holds NaN or infinite"),
        ({"fc6.weight.codebook": torch.full((16,), 3e38)}, "SHA-256|holds NaN or infinite"),
        ({"fc6.weight.codebook": torch.full((16,), torch.inf)}, "fc6.weight holds NaN or infinite"),
        ({"fc6.weight": torch.zeros(20, 72, dtype=torch.uint8)}, "its tensors have SHA-256"),
    ],
)
def test_wrong_parts_are_refused(path, tensors, text):
    with pytest.raises(WeightsError, match=text) as caught:
        read_weights(rewritten(path, tensors=tensors))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ("[]", "no JSON dict under 'storage'"),
        ("{", "no JSON dict under 'storage'"),
        ('{"fc6.weight": "codebook9"}', "its storage: fc6.weight: encoding must be one of"),
        ('{"fc6.weight": ["int8"]}', "its storage: fc6.weight: encoding must be one of"),
        ('{"fc6.bias": "int8"}', "its storage: 'fc6.bias' is no weight matrix"),
        ('{"mean_image": "int8"}', "its storage: 'mean_image' is no weight matrix"),
        ('{"fc6.weight": "codebook4"}', "conv1.weight is not stored as F32"),
        ('{"fc6.weight": "codebook5"}', r"fc6\.weight must be stored as U8 of shape \(20, 90\)"),
    ],
)
def test_wrong_storage_is_refused_before_anything_is_read(path, storage, text, monkeypatch):
    def read(*_args):
        raise AssertionError("a tensor was read")

    monkeypatch.setattr("decaf.backbone.weights.safetensors_file._own", read)
    monkeypatch.setattr("decaf.backbone.weights.safetensors_file._dequantised", read)
    with pytest.raises(WeightsError, match=text):
        read_weights(rewritten(path, header={"storage": storage}))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_files_raise_weights_errors_only(path, data):
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        damaged = bytearray(whole)
        at = data.draw(st.integers(0, 4000) | st.integers(0, len(whole) - 1))
        damaged[at] ^= data.draw(st.integers(1, 255))
    other = path.with_name("damaged.safetensors")
    other.write_bytes(damaged)
    with contextlib.suppress(WeightsError):
        # A flip in the free text of the header, or in bits that fill a row up, is not the numbers'.
        assert read_weights(other).sha256 == read_weights(path).sha256
        assert len(damaged) == len(whole)


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("weights-1", "16cb3f9bf16c249eda9a32e00522507bf5f10b7fa2c34307f7c568841f644a7d"),
        ("weights-2", "88196ef4338b182c168bdf951252c4fddce8115167125409f696911762c0bee4"),
        ("weights-3", "d79db9c410910c01dd7bc309239d233aee2cc93753cd32746292dd541f374dba"),
    ],
)
def test_files_written_once_are_read_for_ever(name, sha256):
    loaded = read_weights(GOLDEN / f"{name}.safetensors")
    assert loaded.sha256 == sha256
    assert loaded.class_names == ("a", "b", "ç")
    assert loaded.spec.lrn is not None
    assert loaded.metrics == {"top1": 0.5}
