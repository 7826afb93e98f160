"""The page of right and wrong boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from decaf.cli.main import main
from decaf.errors import OutputError, SettingError
from decaf.evaluate import BoxExample, Localisation
from decaf.exploration.boxes_page import boxes_page, write_boxes_page

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def evaluation(tmp_path: Path) -> Any:
    """Return what an evaluation has of which the page speaks, with a right and two wrong boxes."""
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.png")
    right = BoxExample(
        str(tmp_path / "a.png"), "Ant", (0.25, 0, 0.75, 1), ((0.25, 0, 0.5, 1),), 0.5
    )
    wrong = replace(right, class_name=HOSTILE, overlap=0.49)
    gone = replace(wrong, path=str(tmp_path / f"{HOSTILE}.png"), box=(-0.5, 0, 2, 1))
    settings = {"boxes": HOSTILE, "box_crops": "center"}
    blind = {"whole_image": 60.5}
    boxes = Localisation(3, 0, 10, 20, 30, 40, 0.5, blind, settings, (right, wrong, gone))
    network = {"name": "net", "sha256": "0" * 64}
    return SimpleNamespace(
        localisation=boxes, networks=(network,), data={"sources": [{"path": HOSTILE}]}
    )


def test_boxes_lie_where_they_were_predicted(evaluation: Any, tmp_path: Path) -> None:
    write_boxes_page(evaluation, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    right, wrong = text.split("<h2>Right</h2>")[1].split("<h2>Wrong</h2>")
    guess = '<i class="guess" style="left:25.00%;top:0.00%;width:50.00%;height:100.00%"></i>'
    true = '<i style="left:25.00%;top:0.00%;width:25.00%;height:100.00%"></i>'
    assert (right.count(guess), right.count(true), right.count("<figure>")) == (1, 1, 1)
    assert wrong.count("<figure>") == 2
    assert 'style="left:0.00%;top:0.00%;width:100.00%;height:100.00%"' in wrong  # cut at the border
    assert text.count("data:image/jpeg;base64,") == 2
    assert "1 of the images shown" in text
    assert "60.50 %" in text
    assert HOSTILE not in text


def test_without_boxes_there_is_no_page(
    evaluation: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation.localisation = None
    with pytest.raises(SettingError, match="give `boxes` and `localiser`"):
        boxes_page(evaluation)
    assert main(["evaluate", "random:0", str(tmp_path), "--report", str(tmp_path / "p.html")]) == 2
    assert "--report shows boxes: give --boxes and --localiser" in capsys.readouterr().err


def test_nothing_else_is_replaced(evaluation: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_boxes_page(evaluation, tmp_path / "a.png")
