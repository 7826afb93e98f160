"""The settings of distillation: of how a student is taught, and of its teacher."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from decaf.errors import SettingError
from decaf.runtime.settings import wrong_types

if TYPE_CHECKING:
    from decaf.train.distillation.teacher import TeacherCard

__all__ = ["DistilSettings", "TeacherSettings"]


@dataclass(frozen=True)
class DistilSettings:
    """All that determines how a student is taught, besides `TrainSettings` and the images.

    Parameters
    ----------
    loss : {"cross-entropy", "logits"}
        "cross-entropy" compares the probabilities of student and teacher, both softened by
        `temperature` (Hinton et al. 2015, section 2); "logits" is the squared difference of the
        logits, each less their mean over the classes (Ba & Caruana 2014).
    temperature : float
        Divisor of the logits before their softmax; "cross-entropy" only.
    label_weight : float
        Weight of the cross-entropy with an image's own class, beside a weight of 1 of the teacher,
        for images whose class is one of the teacher's by WordNet id or by name; 0 to leave labels
        out.
    views : int
        Views of an image whose answers are computed once and kept: each pass over the image shows
        one of them. 0 shows a new view in every pass, which the teacher answers then.
    mixing : {"none", "mixup", "cutmix", "both"}
        Mix images of a batch in pairs: "mixup" adds them up (Zhang et al. 2018), "cutmix" pastes a
        box of one into the other (Yun et al. 2019). With ``views=0`` the teacher answers what is
        seen (Beyer et al. 2022, "function matching"); else the answers are mixed likewise.
    mixed_share : float
        Share of the pairs that are mixed.
    mixing_alpha : float
        Parts are drawn from the distribution Beta(alpha, alpha).
    held_out : float
        Share of the images that are kept to compare student and teacher on, drawn by their
        contents; where a source has validation images these are taken instead.
    held_out_limit : int
        The most images that they are compared on.

    Raises
    ------
    SettingError
        Naming every value out of its bounds.
    """

    loss: Literal["cross-entropy", "logits"] = "cross-entropy"
    temperature: float = 1.0
    label_weight: float = 0.1
    views: int = 4
    mixing: Literal["none", "mixup", "cutmix", "both"] = "none"
    mixed_share: float = 0.5
    mixing_alpha: float = 1.0
    held_out: float = 0.02
    held_out_limit: int = 5000

    def __post_init__(self) -> None:
        problems = wrong_types(self)
        if problems:
            raise SettingError(f"distillation: {'; '.join(problems)}")
        rules = [
            (not 0 < self.temperature <= 1000, "`temperature` must be above 0 and at most 1000"),
            (not 0 <= self.label_weight <= 1000, "`label_weight` must be from 0 to 1000"),
            (not 0 <= self.views <= 10_000, "`views` must be a whole number from 0 to 10000"),
            (not 0 <= self.mixed_share <= 1, "`mixed_share` must be from 0 to 1"),
            (not 0 < self.mixing_alpha <= 1000, "`mixing_alpha` must be above 0"),
            (not 0 < self.held_out < 1, "`held_out` must be between 0 and 1"),
            (not self.held_out_limit >= 1, "`held_out_limit` must be 1 or more"),
        ]
        problems = [text for wrong, text in rules if wrong]
        if problems:
            raise SettingError(f"distillation: {'; '.join(problems)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class TeacherSettings:
    """The settings by which a teacher is loaded and run; see `load_teacher`.

    Parameters
    ----------
    card : path or TeacherCard, optional
        Facts that the teacher's file does not hold.
    engine : {"auto", "openvino", "onnxruntime"}
        Program that runs an ONNX file.
    teacher_precision : {"fp32", "bf16"}, optional
        Its arithmetic.
    """

    card: str | os.PathLike[str] | TeacherCard | None = None
    engine: str = "auto"
    teacher_precision: str | None = None
