"""Data sets of published protocols, read in place, and any folder of classes."""

from __future__ import annotations

from datasets.caltech101 import read_caltech101
from datasets.cub200 import BirdSet, read_cub200
from datasets.dataset import Dataset, Split, read_class_folders
from datasets.scene15 import read_scene15
from datasets.sun397 import read_sun397

__all__ = [
    "BirdSet",
    "Dataset",
    "Split",
    "read_caltech101",
    "read_class_folders",
    "read_cub200",
    "read_scene15",
    "read_sun397",
]
