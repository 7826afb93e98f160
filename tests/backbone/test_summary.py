"""The layer table: the numbers of the papers, and that it agrees with the built network."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import pytest
import torch

from decaf.backbone.spec import ARCHITECTURES, LRNSpec, PoolSpec, architecture
from decaf.backbone.summary import summarise, summary_markdown, summary_text
from decaf.errors import SettingError

MAPS = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")


def column(summary, name, layers=None):
    rows = {row.layer: getattr(row, name) for row in summary.rows}
    return [rows[layer] for layer in layers or rows]


def test_multiply_adds_of_the_2012_network():
    summary = summarise(architecture("alexnet-2012"))
    counts = [row.multiply_adds for row in summary.rows if row.multiply_adds]
    convs = [105_415_200, 223_948_800, 149_520_384, 112_140_288, 74_760_192]
    vectors = [37_748_736, 16_777_216, 4_096_000]
    assert counts == convs + vectors
    assert [group.multiply_adds for group in summary.groups] == [sum(convs), sum(vectors)]
    assert summary.multiply_adds == 724_406_816


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("alexnet-2012", 60_965_224), ("alexnet", 61_100_840), ("alexnet-64", 29_493_256)],
)
def test_the_number_of_parameters(name, parameters):
    assert summarise(architecture(name)).parameters == parameters


def test_the_published_table_of_the_modified_network():
    summary = summarise(architecture("alexnet"), 227)
    assert [shape[1] for shape in column(summary, "output", MAPS)] == [56, 27, 27, *[13] * 4, 6]
    sizes = [11, 19, 51, 67, 99, 131, 163, 195]
    assert column(summary, "receptive_field", MAPS) == sizes
    assert column(summary, "effective_stride", MAPS) == [4, 8, 8, 16, 16, 16, 16, 32]
    # Derived; the published 2, 2, 18, 34, 50, 66, 66, 66 contradict the table's own pads.
    assert column(summary, "effective_padding", MAPS) == [2, 2, 18, 18, 34, 50, 66, 66]


def test_rows_of_the_2012_network():
    rows = {row.layer: row for row in summarise(architecture("alexnet-2012")).rows}
    order = ["conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4", "conv5"]
    assert [*rows] == [*order, "pool5", "fc6", "fc7", "fc8", "prob"]
    conv2 = rows["conv2"]
    assert (conv2.input, conv2.output) == ((96, 27, 27), (256, 27, 27))
    numbers = (conv2.filters, conv2.kernel, conv2.stride, conv2.padding, conv2.groups)
    assert numbers == (256, 5, 1, 2, 2)
    assert conv2.parameters == 256 * 48 * 25 + 256
    assert conv2.activation_bytes == 256 * 27 * 27 * 4
    assert (rows["fc6"].input, rows["fc6"].receptive_field) == ((9216,), None)
    assert (rows["pool1"].filters, rows["pool1"].padding, rows["pool1"].groups) == (None, 0, None)


def test_averaging_to_another_size_has_no_single_field():
    def averaged(size):
        rows = {row.layer: row for row in summarise(architecture("alexnet"), size).rows}
        return rows["avgpool"]

    assert averaged(224).receptive_field == 195
    assert (averaged(400).input, averaged(400).output) == ((256, 11, 11), (256, 6, 6))
    assert averaged(400).receptive_field is None


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    "change", [{}, {"pool": PoolSpec(2, 2), "lrn": None}, {"lrn": LRNSpec(after="pool")}]
)
def test_agrees_with_the_built_network(narrow, built, name, change):
    network = built(narrow(name, **change))
    summary = summarise(network.spec)
    layers = [row.layer for row in summary.rows if row.kind not in ("lrn", "adaptive_pool")]
    size = network.spec.input_size
    values = network.tap(torch.zeros(1, 3, size, size), layers)
    assert [tuple(value.shape[1:]) for value in values.values()] == column(
        summary, "output", layers
    )
    assert summary.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_shares_make_a_whole():
    summary = summarise(architecture("alexnet"))
    assert [group.name for group in summary.groups] == ["convolutions", "fully connected"]
    for name in ("parameters", "multiply_adds", "activation_bytes"):
        parts = [getattr(group, name) for group in summary.groups]
        assert sum(parts) == getattr(summary, name)
        shares = [getattr(group, f"{name}_share") for group in summary.groups]
        assert shares == [part / sum(parts) for part in parts]
    # "96% of the parameters" and "about 5-10% of the computation" (Krizhevsky 2014, section 2).
    assert summary.groups[1].parameters_share > 0.95
    assert 0.05 < summary.groups[1].multiply_adds_share < 0.10


def test_an_input_size_the_network_does_not_take():
    with pytest.raises(SettingError, match="fc6 needs inputs of 227 pixels, got 300"):
        summarise(architecture("alexnet-2012"), 300)
    with pytest.raises(SettingError, match="too small for"):
        summarise(architecture("alexnet"), 8)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_text_fits_a_terminal_of_120_columns(name):
    text = summary_text(summarise(architecture(name)))
    assert max(map(len, text.splitlines())) <= 120
    table = text.splitlines()[2:]
    assert table[0].split()[:4] == ["layer", "kind", "input", "output"]
    lengths = {len(line) for line in table if re.match(r"(conv|pool|fc|norm)\d", line)}
    assert len(lengths) == 1  # the columns stand under one another


def test_text_and_markdown_hold_the_same_numbers():
    summary = summarise(architecture("alexnet-2012"))
    row = ["conv2", "conv", "96×27×27", "256×27×27", "256", "5", "1", "2", "2", "307,456"]
    row += ["223,948,800", "729.0", "51", "8", "16"]
    lines = summary_text(summary).splitlines()
    assert row in [line.split() for line in lines]
    markdown = summary_markdown(summary).splitlines()
    assert f"| {' | '.join(row)} |" in markdown
    assert len({line.count("|") for line in markdown if re.match(r"\| conv\d", line)}) == 1
    assert any(line.startswith("total") and "60,965,224" in line for line in lines)
    assert any(line.split()[0] == "convolutions" and "91.9%" in line for line in lines if line)


def test_to_dict_is_json():
    summary = summarise(architecture("alexnet-64"))
    plain = json.loads(json.dumps(summary.to_dict()))
    assert plain["rows"][0]["output"] == [64, 32, 32]
    assert plain["parameters"] == summary.parameters
    assert set(plain["rows"][0]) == {field.name for field in dataclasses.fields(summary.rows[0])}


def test_needs_neither_torch_nor_numpy():
    program = (
        "import sys; from decaf.backbone.spec import architecture; "
        "from decaf.backbone.summary import summary_text; "
        "from decaf.backbone.summary import summarise; "
        "summary_text(summarise(architecture('alexnet'))); "
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
