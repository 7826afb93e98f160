"""Data sets of published protocols, read in place, and any folder of classes."""

from __future__ import annotations

from decaf.evaluate.datasets.caltech101 import read_caltech101
from decaf.evaluate.datasets.class_folders import read_class_folders
from decaf.evaluate.datasets.dataset import Dataset, OfficialSplit
from decaf.evaluate.datasets.scene15 import read_scene15
from decaf.evaluate.datasets.sun397 import read_sun397

__all__ = [
    "Dataset",
    "OfficialSplit",
    "read_caltech101",
    "read_class_folders",
    "read_scene15",
    "read_sun397",
]
