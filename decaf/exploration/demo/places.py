"""The question for the places of a photograph that mattered for its first class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.classify import Classifier
from decaf.exploration.demo.photograph import Photograph, crop_of
from decaf.exploration.importance import OcclusionSettings, Target, find_target, importance_map
from decaf.exploration.page import picture_uri
from decaf.exploration.patches_picture import heat_picture
from decaf.runtime.settings import ComputeSettings

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Places"]

_METHODS = ("occlusion", "gradient-times-input")
# By what part of the side the square moves: coarser than usual, for an answer in a second or two.
_STEPS = 9


@dataclass(frozen=True)
class _Score(Target):
    """The score of a class that a linear head gives; `unit` is the class."""

    weight: Tensor | None = None
    unit_norm: bool = False

    def of(self, values: Tensor) -> Tensor:
        rows = values.flatten(1)
        if self.unit_norm:
            rows = rows / rows.norm(dim=1, keepdim=True)
        assert self.weight is not None
        return rows @ self.weight.to(rows)


class Places:
    """Answers with pictures of where the network looked for the class that it finds most probable.

    What is explained is the class's value before the softmax, or the score of a linear head.

    Parameters
    ----------
    classifier : Classifier
        Its features are of the centre crop.
    compute : ComputeSettings
    """

    def __init__(self, classifier: Classifier, *, compute: ComputeSettings) -> None:
        self._classifier = classifier
        self._backbone = classifier.backbone
        self._compute = compute

    @staticmethod
    def can_explain(classifier: Classifier) -> bool:
        """Tell whether a classifier's answer is one of a centre crop.

        Parameters
        ----------
        classifier : Classifier
        """
        return classifier.head is None or classifier.head.identity.crops == "center"

    def __call__(self, photograph: Photograph) -> dict[str, Any]:
        """Return the pictures.

        Parameters
        ----------
        photograph : Photograph

        Returns
        -------
        dict
            ``class``, and ``maps``: pairs of a method of `decaf.exploration.importance` and a
            picture.
        """
        crop = crop_of(photograph, self._backbone)
        target = self._target(photograph, crop)
        squares = OcclusionSettings(stride=max(1, len(crop) // _STEPS))
        maps = []
        for method in _METHODS:
            _, heat = importance_map(self._backbone, crop, target, method, squares)
            maps.append([method, picture_uri(heat_picture(crop, heat), height=len(crop))])
        return {"class": self._classifier.class_names[target.unit], "maps": maps}

    def _target(self, photograph: Photograph, crop: np.ndarray) -> Target:
        import torch

        head = self._classifier.head
        if head is None:
            return find_target(self._backbone, crop, "fc8")
        (prediction,) = self._classifier.predict(
            photograph.pixels[None], top=1, compute=self._compute
        )
        place = self._classifier.class_names.index(prediction.classes[0][0])
        coefficients = head.estimator.coef_
        # Of two classes there is one score, which is that of the second.
        weight = coefficients[place] if len(coefficients) > 1 else coefficients[0] * (2 * place - 1)
        return _Score(
            head.identity.layer,
            place,
            weight=torch.from_numpy(np.ascontiguousarray(weight)).float(),
            unit_norm=head.estimator.scaling_.name == "unit-norm",
        )
