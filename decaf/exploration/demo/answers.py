"""What the demo says about a photograph: its classes, its nearest images, units, and places.

Each answer is one question about the bytes of one photograph, from which it is decoded anew:
nothing of a photograph is kept, in memory or on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decaf.classify import Classifier
from decaf.errors import ImageError
from decaf.exploration.demo.photograph import Photograph, Question, crop_of, decode_photograph
from decaf.exploration.demo.settings import DemoSettings
from decaf.exploration.page import picture_uri
from decaf.images.status import STATUS_NAMES
from decaf.runtime.settings import ComputeSettings
from decaf.runtime.wording import counted, printable

__all__ = ["Answers"]


class Answers:
    """A classifier and what else is asked about a photograph.

    Parameters
    ----------
    classifier : Classifier
        Its network is loaded here, and is the only one.
    others : mapping of str to Question, optional
        What is asked besides the classes: the page knows ``nearest``, ``units`` and ``places``.
    settings : DemoSettings
    compute : ComputeSettings
        How one photograph is computed.

    Attributes
    ----------
    questions : dict of str to Question
        What can be asked, in the order in which the page asks it.
    about : str
        The network in a line.
    given : int
        How many answers were given.

    Raises
    ------
    WeightsError, HeadError
        If the classifier has no network, or it cannot be found.
    """

    def __init__(
        self,
        classifier: Classifier,
        others: Mapping[str, Question] | None = None,
        *,
        settings: DemoSettings,
        compute: ComputeSettings,
    ) -> None:
        self._classifier = classifier
        self._backbone = classifier.backbone
        self._settings = settings
        self._compute = compute
        self.questions: dict[str, Question] = {"classes": self.classes, **(others or {})}
        self.about = self._describe()
        self.given = 0

    def answer(self, question: str, data: bytes) -> dict[str, Any]:
        """Answer one question about a photograph.

        Parameters
        ----------
        question : str
            One of `questions`.
        data : bytes
            The file of the photograph.

        Returns
        -------
        dict
            JSON values; names in it are as `decaf.runtime.wording.printable` makes them.

        Raises
        ------
        ImageError
            For what is no image, cannot be read, or costs too much to decode.
        """
        photograph = decode_photograph(
            data, max_pixels=self._settings.max_pixels, spec=self._backbone.preprocess
        )
        values = self.questions[question](photograph)
        self.given += 1
        return values

    def classes(self, photograph: Photograph) -> dict[str, Any]:
        """Name the most probable classes.

        Parameters
        ----------
        photograph : Photograph

        Returns
        -------
        dict
            ``classes``, pairs of a name and a number, of the kind that ``gives`` says; ``seen``,
            the crop that the network saw, as a ``data:`` address; ``width``, ``height`` and
            ``format`` of the photograph.

        Raises
        ------
        ImageError
            If it does not have a size that the network takes.
        """
        pixels = photograph.pixels
        (prediction,) = self._classifier.predict(
            pixels[None], top=self._settings.top, compute=self._compute
        )
        if prediction.status != STATUS_NAMES[0]:
            raise ImageError(prediction.status, prediction.message)
        return {
            "classes": [[printable(name), number] for name, number in prediction.classes],
            "gives": self._classifier.gives,
            "seen": picture_uri(
                crop_of(photograph, self._backbone), height=self._backbone.preprocess.crop
            ),
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "format": photograph.format,
        }

    def _describe(self) -> str:
        network = f"{self._backbone.weights_name} ({self._backbone.spec.name})"
        count = len(self._classifier.class_names)
        head = self._classifier.head
        if head is None:
            return f"{network}, {counted(count, 'class')}"
        kind = type(head.estimator).__name__
        return f"{kind} on {head.identity.layer} of {network}, {counted(count, 'class')}"
