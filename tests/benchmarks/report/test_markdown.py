"""Markdown tables have as many cells in each row, and no name breaks them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.exploration.page import (
    Cell,
    Column,
    ConfusionMatrix,
    NearestImages,
    Neighbour,
    Neighbours,
    Row,
    Table,
    Text,
)
from report import BenchmarkReport
from report.rendering import report_markdown


def cells_of(line: str) -> int:
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


def table_markdown(table: Table) -> str:
    text = report_markdown(BenchmarkReport("r", "t", "w", (table,)))
    section = text.partition("\n## ")[2].partition("\n\n")[2]
    return section.partition("\n\n## How it was made")[0]


def test_ours_and_published_stand_in_columns_of_their_own(table: Table) -> None:
    assert table_markdown(table) == (
        "| Head (%) | fc6 | fc7 | fc6, published [1] | fc7, published [1] |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| LogReg | 51.2 ± 0.6 | 50.0 ± 0.5 | 84.3 ± 1.6 | 84.9 ± 0.6 |\n"
        "| SVM | **54.6 ± 0.7** (1) | – | **84.8 ± 1.2** | – |\n"
        "\n"
        "Mean ± standard deviation over 5 runs. Bold: best of its column.  \n"
        "[1] Donahue et al. 2014, table 1  \n"
        "(1) 1 of 5 fits did not converge  \n"
        "30 images a class."
    )


def test_all_of_a_report_is_there(report: BenchmarkReport) -> None:
    text = report_markdown(report, {1: "caltech101-curve.svg"})
    assert text.startswith("# Caltech-101\n\n**SVM on fc6: 54.6 ± 0.7 %**\n\nLinear heads on")
    for line in (
        "![Training images](caltech101-curve.svg)",
        "| 5 | 40.5 ± 1.0 | 50.0 |",
        "| cup | lamp | 3 | 9 |",
        "| cup | 6 | 3 |",
        "| cup | 66.7 ± 2.0 | 9 |",
        "| b | 40.1 | – |",
        "- 2 images could not be read.",
        "```bash\npython benchmarks/caltech101.py --data DIR\n```",
        "- Time: extraction 3 min 12 s, fits 30.2 s",
        "- Peak memory: 3.0 GiB",
        "- Versions: torch 2.11.0",
        "| split 0 | 3060 | 6084 | splits/0.csv | ab12ab12ab12ab12 |",
        "| SVM | 1, 3 |",
    ):
        assert f"{line}\n" in text, line
    assert not re.search(r"\n\n\n", text)


def test_a_large_matrix_is_told_row_by_row() -> None:
    names = tuple(f"c{k}" for k in range(25))
    counts = [[9 if i == j else int(j == i + 1) for j in range(25)] for i in range(25)]
    matrix = ConfusionMatrix("m", names, counts)  # type: ignore[arg-type]
    text = report_markdown(BenchmarkReport("r", "t", "w", (matrix,)))
    assert "| c3 | 9 of 10 | c4 1 |\n" in text
    assert "<details><summary>" in text


def test_nearest_images_are_a_row_each_and_commands_a_block() -> None:
    near = (Neighbour("train/b|.jpg", "cup", 1.25), Neighbour("train/c.jpg", "lamp", 2.0))
    parts = (
        NearestImages("Near", (Neighbours("val/a.jpg", "cup", near),)),
        Text("How", "So:", "a --b \\\n  `c`\nd"),
    )
    text = report_markdown(BenchmarkReport("r", "t", "w", parts))
    row = r"| val/a.jpg | cup | train/b\|.jpg (cup, 1.2), train/c.jpg (lamp, 2.0) |"
    assert f"\n{row}\n" in text
    assert "So:\n\n````bash\na --b \\\n  `c`\nd\n````\n" in text


@given(st.lists(st.text(st.characters(codec=None)), min_size=3, max_size=3))
def test_no_name_breaks_a_table(names: list[str]) -> None:
    a, b, c = names
    table = Table("t", (Column(a), Column(b, c)), (Row(a, (Cell(1.0, note=b), c)),), b, caption="")
    lines = table_markdown(table).splitlines()
    assert [cells_of(line) for line in lines[:3]] == [3, 3, 3]
    assert "<" not in re.sub(r"\\.", "", "".join(lines))


@pytest.mark.parametrize("name", ["# a", "1. a", "- a", "+ a", "`a`", "[a](b)", "&amp;", "~~a~~"])
def test_marks_in_a_text_are_escaped(report: BenchmarkReport, name: str) -> None:
    text = report_markdown(replace(report, what=name, sections=(), appendix=()))
    assert f"\n{name}\n" not in text
    assert "\\" in text.splitlines()[4]


def test_a_command_with_a_fence_stays_in_its_own(report: BenchmarkReport) -> None:
    text = report_markdown(replace(report, command="a ``` b\nc"))
    assert "``````bash\na ``` b\nc\n``````\n" in text
