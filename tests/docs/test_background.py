"""The pages of background say what the code says, and cite figures that were measured."""

from __future__ import annotations

import io
import json
import re
import runpy
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

import decaf
from decaf.backbone import LAYERS, architecture, load_weights
from decaf.backbone.steps import layer_shape, receptive_fields, seen_pixels

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "background"


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of all tables of a page, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    ruled = {number for number, row in enumerate(rows) if set("".join(row)) <= set("-: ")}
    heads = ruled | {number - 1 for number in ruled}
    return [row for number, row in enumerate(rows) if number not in heads]


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def plain(text: str) -> str:
    """Return the text with a blank for each break of a line."""
    return " ".join(text.split())


@pytest.fixture(scope="module")
def random_alexnet():
    """torchvision's AlexNet, its ReLUs in place as it is delivered, with weights of decaf."""
    network = torchvision.models.alexnet(weights=None).eval()
    weights = load_weights("random:0:alexnet")
    own = network.state_dict()
    assert len(own) == len(weights.state)
    network.load_state_dict(dict(zip(own, weights.state.values(), strict=True)))
    return network, decaf.load_backbone(weights)


def test_the_table_of_layers_has_every_layer_with_its_shape():
    rows = rows_of(page("layers"))
    assert [row[0].strip("`") for row in rows] == list(LAYERS)
    for row in rows:
        for cell, name in ((row[2], "alexnet"), (row[3], "alexnet-2012")):
            shape = layer_shape(architecture(name), row[0].strip("`"))
            assert cell == "×".join(map(str, shape))


def test_torchvision_calls_the_layers_as_the_table_says(random_alexnet):
    network, backbone = random_alexnet
    batch = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    names = {row[0].strip("`"): row[5].strip("`") for row in rows_of(page("layers")) if row[5]}
    assert set(LAYERS) - set(names) == {"prob"}
    values = backbone.features(batch, list(names))
    taken = {}

    def keep(name):
        # What a hook returns takes the place of the output: this one returns nothing.
        def hook(_module, _input, output):
            taken[name] = output.clone()

        return hook

    modules = [each for each in network.named_modules() if each[0] in names.values()]
    handles = [module.register_forward_hook(keep(name)) for name, module in modules]
    with torch.no_grad():
        network(batch)
    for handle in handles:
        handle.remove()
    for layer, name in names.items():
        torch.testing.assert_close(values[layer], taken[name], rtol=1e-3, atol=1e-4)


def test_a_node_of_torchvision_is_rectified_when_a_later_one_is_asked_for(random_alexnet):
    """Said on two pages; where torchvision has mended it they are to be changed."""
    network, _ = random_alexnet
    batch = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = create_feature_extractor(network, ["features.0"])(batch)
        both = create_feature_extractor(network, ["features.0", "classifier.4"])(batch)
    assert alone["features.0"].min() < 0
    assert both["features.0"].min() == 0


def test_the_table_of_receptive_fields_is_the_code_s():
    rows = rows_of(page("receptive-fields"))
    specs = [architecture(name) for name in ("alexnet", "alexnet-2012")]
    fields = [receptive_fields(spec) for spec in specs]
    assert [row[0].strip("`") for row in rows] == list(fields[0])
    for row in rows:
        layer = row[0].strip("`")
        for spec, field, begins in zip(specs, fields, row[4:6], strict=True):
            own = field[layer]
            side = layer_shape(spec, layer)[1]
            assert row[1:4] == [f"{side}×{side}", f"{own.size}×{own.size}", str(own.stride)]
            assert int(begins.replace("−", "-")) == -own.padding


def test_what_the_page_of_receptive_fields_says_beside():
    text = plain(page("receptive-fields"))
    own = receptive_fields(architecture("alexnet"))["conv5"]
    begin = 7 * own.stride - own.padding
    assert f"7 · {own.stride} − {own.padding} = {begin}" in text
    assert f"{begin} + {own.size} = {begin + own.size}" in text
    seen = seen_pixels(architecture("alexnet"), "pool5")
    whole = receptive_fields(architecture("alexnet"))["pool5"].size
    assert not [field for field in seen if field[1] - field[0] == whole]
    assert "of pool5's 36 positions in `alexnet` not one has its whole field" in text


@pytest.fixture
def example(monkeypatch):
    """Run an example of the gallery, and return its names and what it prints."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))

    def run(name):
        with redirect_stdout(io.StringIO()) as text:
            names = runpy.run_path(str(ROOT / "docs" / "gallery" / f"{name}.py"))
        return names, text.getvalue()

    return run


@pytest.mark.slow
def test_the_cosines_of_preprocessing_are_those_of_the_example(example):
    table = example("features/plot_preprocessing")[0]["table"]
    rows = [row for row in rows_of(page("preprocessing")) if re.fullmatch(r"[\d.]+", row[-1])]
    assert [row[0] for row in rows] == list(table)
    for row in rows:
        np.testing.assert_allclose([float(cell) for cell in row[1:]], table[row[0]], atol=0.011)


@pytest.mark.slow
def test_the_shares_of_zeros_are_those_of_the_example(example):
    text = plain(page("relu"))
    zeros = dict(re.findall(r"^(fc\d)\s+(\d+)%", example("features/plot_relu")[1], re.M))
    assert f"{zeros['fc6']} % of the values of fc6" in text
    assert f"{zeros['fc7']} % of those of fc7" in text


def test_the_table_of_fine_tuning_is_that_of_the_results():
    results = json.loads(
        (ROOT / "benchmarks" / "results" / "fine_tuning.json").read_text(encoding="utf-8")
    )
    tables = {each["title"]: each for each in results["sections"] if each["kind"] == "Table"}
    accuracy = tables["Mean per-class accuracy on the test images"]["rows"]
    costs = tables["What a run costs"]["rows"]
    rows = rows_of(page("fine-tuning").replace("&nbsp;", " "))
    assert len(rows) == len(accuracy)
    for row, measured, cost in zip(rows, accuracy, costs, strict=True):
        frozen, tuned, *_, gain = measured["cells"]
        assert row[1:3] == [f"{each['mean']:.1f} ± {each['std']:.1f}" for each in (frozen, tuned)]
        assert row[3] == f"{gain['mean']:+.1f} ± {gain['std']:.1f}"
        assert row[4] == f"{cost['cells'][3]['mean']:.1f}"
    assert results["date"] in page("fine-tuning")


def test_the_figures_of_the_packaged_weights_are_those_of_their_card():
    folder = ROOT / "decaf" / "backbone" / "weights" / "packaged"
    card, own = (
        plain((folder / "imagenet-distilled.md").read_text(encoding="utf-8")),
        page("packaged-weights"),
    )
    measured = [row[1] for row in rows_of(own) if "%" in row[1] or "±" in row[1]]
    assert len(measured) == 4
    for figure in re.findall(r"\d+\.\d(?: ± \d\.\d)?", " ".join(measured[:3])):
        assert figure in card
    paper = plain((ROOT / "README.md").read_text(encoding="utf-8"))
    for figure in re.findall(r"\d+\.\d ± \d\.\d", measured[3]):
        assert figure in paper
    assert "388,068" in card
    assert "388,068" in own


def test_the_seconds_of_the_comparison_are_those_of_the_results():
    results = (ROOT / "benchmarks" / "results" / "extraction.md").read_text(encoding="utf-8")
    seconds = {
        name: float(value) for name, value in re.findall(r"^(\w+) +(\d+\.\d+) ", results, re.M)
    }
    text = plain((ROOT / "docs" / "comparison.md").read_text(encoding="utf-8"))
    assert f"{seconds['thingsvision']:.1f} s, decaf {seconds['command_fp32']:.1f} s" in text
    assert f"{seconds['command_bf16']:.1f} s in bfloat16" in text
