"""``decaf summary``, through the command line's own entry point."""

from __future__ import annotations

import json

import pytest

from decaf.backbone.spec import architecture
from decaf.backbone.summary import summarise, summary_markdown, summary_text
from decaf.cli.main import main


def test_default_is_the_2012_network(capsys):
    assert main(["summary"]) == 0
    assert capsys.readouterr().out == summary_text(summarise(architecture("alexnet-2012"))) + "\n"


def test_markdown_at_another_input_size(capsys):
    assert main(["summary", "alexnet", "--input-size", "227", "--markdown"]) == 0
    expected = summary_markdown(summarise(architecture("alexnet"), 227))
    assert capsys.readouterr().out == expected + "\n"


def test_json_has_the_rows_and_the_spec(capsys):
    assert main(["summary", "alexnet-64", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["parameters"] == 29_493_256
    assert result["spec"] == architecture("alexnet-64").to_dict()
    assert result["weights"] is None
    assert result["rows"][0]["layer"] == "conv1"


def test_the_summary_of_weights_names_them(capsys):
    assert main(["summary", "random:3:alexnet-64", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["architecture"] == "alexnet-64"
    assert result["weights"]["name"] == "random:3:alexnet-64"
    assert result["weights"]["provenance"]["seed"] == 3
    assert main(["summary", "random:3:alexnet-64"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"weights random:3:alexnet-64, SHA-256 {result['weights']['sha256']}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["alexnet-2021"],
            "alexnet-127, alexnet-143, alexnet-2012-64, alexnet-2012-64-one-tower.",
        ),
        (["alexnet-2012", "--input-size", "300"], "fc6 needs inputs of 227 pixels, got 300"),
        (["alexnet", "--input-size", "-5"], "--input-size must be a whole number from 1 to 4096"),
        (["no/such.safetensors"], "no/such.safetensors: no such file"),
        (["--input-size", "big"], "argument --input-size: invalid int value"),
        (["--json", "--markdown"], "not allowed with argument"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, text, capsys):
    assert main(["summary", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error.splitlines()[-1]
    assert "Traceback" not in error
