"""A report with every kind of section, and images for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decaf.exploration.page import (
    Bar,
    Bars,
    Cell,
    Column,
    Confusion,
    ConfusionMatrix,
    Confusions,
    HeatMap,
    Lines,
    Row,
    Series,
    Table,
    Text,
)
from report import BenchmarkReport, SplitRecord

PAPER = "Donahue et al. 2014, table 1"


@pytest.fixture
def table() -> Table:
    columns = (Column("fc6"), Column("fc7"), Column("fc6", PAPER), Column("fc7", PAPER))
    rows = (
        Row(
            "LogReg",
            (Cell(51.25, 0.64, 5), Cell(50.0, 0.5, 5), Cell(84.3, 1.6), Cell(84.87, 0.6)),
        ),
        Row(
            "SVM",
            (Cell(54.6, 0.7, 5, "1 of 5 fits did not converge"), Cell(), Cell(84.77, 1.2), Cell()),
        ),
    )
    return Table("Mean accuracy", columns, rows, row_header="Head", caption="30 images a class.")


@pytest.fixture
def report(table: Table) -> BenchmarkReport:
    curves = (
        Series("SVM", (1, 5, 30), (20.0, 40.5, 60.0), (2.0, 1.0, 0.5)),
        Series("Yang", (5, 30), (50.0, None), (), "Yang et al. 2009"),
    )
    pair = Confusion("cup", "lamp", 3, 9, ("cup/1.jpg", "cup/gone.jpg"), ("lamp/1.png",))
    return BenchmarkReport(
        name="caltech101",
        title="Caltech-101",
        what="Linear heads on frozen features.",
        headline="SVM on fc6: 54.6 ± 0.7 %",
        sections=(
            table,
            Lines("Training images", curves, "images per class", "accuracy", caption="5 splits."),
            ConfusionMatrix("Confusions", ("cup", "lamp"), ((6, 3), (0, 9))),
            Confusions("Hardest", (pair,), "All splits."),
            Bars("By class", (Bar("lamp", 100.0, 0.0, 9), Bar("cup", 66.7, 2.0, 9)), "images"),
            HeatMap("Shift", ("a", "b"), ("a", "b"), ((None, 61.2), (40.1, None)), "From", "To"),
            Text("Remark", "One.\n\nTwo."),
        ),
        command="python benchmarks/caltech101.py --data DIR",
        date="2025-06-01T12:00:00+00:00",
        machine="2 cores",
        versions={"torch": "2.11.0"},
        fingerprints={"weights": "3f2a" * 16},
        splits=(SplitRecord("split 0", 3060, 6084, "splits/0.csv", "ab12" * 16),),
        settings={"Seed": "0"},
        timing={"extraction": 192, "fits": 30.2},
        peak_memory=3 * 2**30,
        peak_device_memory=2**29,
        notes=("2 images could not be read.",),
        appendix=(
            Table("Chosen C", (Column("fc6"),), (Row("SVM", ("1, 3",)),), best="none", unit=""),
        ),
    )


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with the images of the report, but for one."""
    folder = tmp_path / "images"
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    for name in ("cup/1.jpg", "lamp/1.png"):
        (folder / name).parent.mkdir(parents=True)
        Image.fromarray(noise).save(folder / name)
    return folder
