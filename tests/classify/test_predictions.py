"""Predictions as they are written, in one call; `tests/cli/test_fit.py` has them as a command."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import decaf
from decaf.errors import OutputError, SettingError

NETWORK = "random:0:alexnet-64"
QUICK: dict[str, Any] = {"workers": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def classifier() -> decaf.Classifier:
    return decaf.load_classifier(NETWORK)


def test_what_is_written_is_counted(
    classifier: decaf.Classifier, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.json"
    written = decaf.write_predictions(folder, NETWORK, out=out, top=2, **QUICK)
    records = json.loads(out.read_bytes())
    first = [record["classes"][0]["class"] for record in records if record["status"] == "ok"]
    assert (written.format, written.images) == ("json", len(records))
    assert written.bad == len(records) - len(first)
    assert written.classes == Counter(first)
    with pytest.raises(OutputError, match=r"exists; give another `out`, or `overwrite=True`"):
        decaf.write_predictions(folder, NETWORK, out=out)
    before = out.read_bytes()
    decaf.write_predictions(folder, classifier, out=out, top=2, overwrite=True, **QUICK)
    assert out.read_bytes() == before


def test_standard_output_is_the_default(
    classifier: decaf.Classifier, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decaf.write_predictions(folder, classifier, top=1, **QUICK).format == "csv"
    assert capsys.readouterr().out.startswith("path,status,message,class_1,probability_1\n")


def test_wrong_settings_are_told_by_their_names(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="`format` 'xml' is not one of text, csv, json"):
        decaf.write_predictions(folder, NETWORK, format="xml")
    with pytest.raises(SettingError, match="has no argument `crops`"):
        decaf.write_predictions(folder, NETWORK, crops="ten")
    with pytest.raises(SettingError, match=r"not written as \.xlsx; .*give `format`"):
        decaf.write_predictions(folder, NETWORK, out=tmp_path / "a.xlsx")
