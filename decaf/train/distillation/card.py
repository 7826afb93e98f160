"""Facts of a teacher that its file does not hold: preprocessing, classes, the kind of output."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decaf.errors import SettingError
from decaf.images.spec import PreprocessSpec

__all__ = ["TeacherCard"]


@dataclass(frozen=True)
class TeacherCard:
    """Facts of a teacher that its file does not hold.

    Parameters
    ----------
    name : str
    preprocess : PreprocessSpec
        How an image becomes its input. A view is cut at ``crop`` pixels; ``resize`` and
        ``resize_to`` are for whole images.
    class_names : tuple of str
        One for each of its answers.
    wnids : tuple of str
        WordNet ids of the classes in the same order, or empty.
    output : {"logits", "probabilities"}
        Kind of its answers.
    pixels : {"normalised", "bytes"}
        Its input: float32 (N, 3, crop, crop) normalised as `preprocess` says, or uint8
        (N, crop, crop, 3), which it normalises itself.
    source : str
        Where it comes from, in words, for the record.

    Raises
    ------
    SettingError
        If there are no class names, or one does not fit.
    """

    name: str
    preprocess: PreprocessSpec
    class_names: tuple[str, ...]
    wnids: tuple[str, ...] = ()
    output: str = "logits"
    pixels: str = "normalised"
    source: str = ""

    def __post_init__(self) -> None:
        problems = []
        if len(self.class_names) < 2:
            problems.append(f"class_names has {len(self.class_names)} entries, 2 or more expected")
        if self.wnids and len(self.wnids) != len(self.class_names):
            problems.append(f"{len(self.wnids)} wnids for {len(self.class_names)} class_names")
        if self.wnids and len(set(self.wnids)) != len(self.wnids):
            problems.append("a wnid is there twice")
        if self.output not in ("logits", "probabilities"):
            problems.append(f"output must be logits or probabilities, got {self.output!r:.40}")
        if self.pixels not in ("normalised", "bytes"):
            problems.append(f"pixels must be normalised or bytes, got {self.pixels!r:.40}")
        if self.preprocess.mean_image_sha256 is not None:
            problems.append("a mean image is not supported")
        if problems:
            raise SettingError(f"teacher {self.name}: {'; '.join(problems)}")

    @property
    def class_ids(self) -> tuple[str, ...]:
        """Identity of the classes: their WordNet ids, or where there are none their names."""
        return self.wnids or self.class_names

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON values, as `read` takes them from a file."""
        return {
            "name": self.name,
            "preprocess": self.preprocess.to_dict(),
            "class_names": list(self.class_names),
            "wnids": list(self.wnids),
            "output": self.output,
            "pixels": self.pixels,
            "source": self.source,
        }

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TeacherCard:
        """Read a card from a JSON file; only ``preprocess`` and ``class_names`` are required.

        Parameters
        ----------
        path : path

        Raises
        ------
        SettingError
            If the file is missing, is no JSON, or lacks one of these.
        """
        try:
            values = json.loads(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            raise SettingError(f"{os.fspath(path)}: cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise SettingError(f"{os.fspath(path)}: expected a JSON object")
        return cls._of(values, os.fspath(path))

    @classmethod
    def _of(cls, values: dict[str, Any], shown: str) -> TeacherCard:
        missing = [key for key in ("preprocess", "class_names") if key not in values]
        if missing:
            raise SettingError(
                f"{shown}: does not say {' and '.join(missing)}: both have to be known of a "
                'teacher (such as {"preprocess": {"name": "shorter-side", "resize": '
                '"shorter-side", "resize_to": 256, "crop": 224, "mean": [...], "std": [...]}, '
                '"class_names": [...]})'
            )
        texts = {}
        for key in ("class_names", "wnids"):
            listed = values.get(key, [])
            if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
                raise SettingError(f"{shown}: {key} must be a list of texts")
            texts[key] = tuple(listed)
        try:
            return cls(
                name=str(values.get("name", Path(shown).stem)),
                preprocess=PreprocessSpec.from_dict(values["preprocess"]),
                class_names=texts["class_names"],
                wnids=texts["wnids"],
                output=str(values.get("output", "logits")),
                pixels=str(values.get("pixels", "normalised")),
                source=str(values.get("source", "")),
            )
        except SettingError as error:
            raise SettingError(f"{shown}: {error}") from error
