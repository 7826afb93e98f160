"""The page of a fit: what it says is what the report says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import decaf
from decaf.classify import Fitted
from decaf.cli.main import main
from decaf.exploration import page, reliability
from decaf.exploration.page import section_templates


@pytest.fixture(scope="module")
def fitted(folder: Path, weights: object, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return decaf.fit(
        folder,
        weights=decaf.Backbone(weights),
        layer="fc7",
        workers=0,
        progress=False,  # type: ignore[arg-type]
    )


def test_reliability_by_hand() -> None:
    found = reliability([0.95, 0.85, 0.81, 0.3], [True, True, False, False], bins=10)
    assert found.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 2, 1]
    np.testing.assert_allclose(found.confidence[[2, 8, 9]], [0.3, 0.83, 0.95])
    np.testing.assert_allclose(found.accuracy[[2, 8, 9]], [0, 0.5, 1])
    assert found.error == pytest.approx((0.3 + 2 * 0.33 + 0.05) / 4)
    assert reliability([1.0, 0.0], [True, False]).counts[[0, 9]].tolist() == [1, 1]


@pytest.mark.slow
def test_the_page_says_what_the_report_says(fitted: Fitted, tmp_path: Path) -> None:
    out = decaf.write_fit_page(fitted, tmp_path / "fit.html")
    html, estimate = out.read_text(encoding="utf-8"), fitted.report.estimate
    assert estimate is not None
    assert f"{100 * estimate.accuracy:.1f} % right on images held out" in html
    assert f"{100 * estimate.interval[0]:.1f} to {100 * estimate.interval[1]:.1f} %" in html
    cells = re.findall(r"([a-z]+) taken for ([a-z]+): (\d+)", html)
    names = fitted.report.class_names
    counts = np.zeros_like(estimate.confusion)
    for true, answer, count in cells:
        counts[names.index(true), names.index(answer)] = int(count)
    np.testing.assert_array_equal(counts, estimate.confusion)
    assert html.count("data:image/jpeg") == len(estimate.mistakes)
    for mistake in estimate.mistakes:
        assert f"{mistake.truth}, taken for <strong>{mistake.answer}</strong>" in html
    assert len(re.findall('<svg class="chart"', html)) == 4  # two charts, wide and narrow
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert "<script" not in html


def test_what_is_told_of_each_image_is_that_of_the_estimate(fitted: Fitted) -> None:
    estimate, tested = fitted.report.estimate, fitted.tested
    assert estimate is not None
    assert tested is not None
    confusion = np.zeros_like(estimate.confusion)
    np.add.at(confusion, (tested.truth, tested.answers), 1)
    np.testing.assert_array_equal(confusion, estimate.confusion)
    assert [tested.paths[at] for at in tested.mistakes.tolist()] == [
        each.path for each in estimate.mistakes
    ]
    for at, ref in tested.refs.items():
        assert ref.name == tested.paths[at].encode()
    (candidate,) = fitted.report.choice.candidates
    assert max(accuracy for _, accuracy, _ in candidate.curve) == candidate.accuracy
    assert candidate.C in [C for C, _, _ in candidate.curve]


def test_without_matplotlib_numbers_stand_in_place_of_charts(
    fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(section_templates.importlib.util, "find_spec", lambda name: None)
    assert not page.charts_are_drawn()
    html = decaf.write_fit_page(fitted, tmp_path / "fit.html").read_text(encoding="utf-8")
    assert '<svg class="chart"' not in html
    assert (
        html.count("pip install &#39;decaf-features[plots]&#39;") == 2
        or html.count("decaf-features[plots]") == 2
    )


def test_the_command_writes_the_page(
    fitted: Fitted, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    argv = ["fit", str(folder), "-o", str(tmp_path / "m.head"), "-q"]
    assert main([*argv, "--report", str(tmp_path / "mine.txt")]) == 2
    assert "not a page of decaf's" in capsys.readouterr().err
    assert main([*argv, "--report", str(tmp_path / "." / "m.head")]) == 2
    assert "m.head: is to be the page and another file of this run" in capsys.readouterr().err
    assert not (tmp_path / "m.head").exists()
