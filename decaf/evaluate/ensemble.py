"""The averaged predictions of one network or several, image after image.

Networks that prepare images alike share one stream of them, so that an image is decoded once; each
other way of preparing them has a stream of its own, and the streams advance in turns of a few
thousand images. So memory does not grow with the number of images.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from decaf.backbone.engine import Engine
from decaf.errors import WeightsError
from decaf.features.extraction import Extraction
from decaf.features.settings import NetworkSettings, RunSettings

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.evaluate.class_names import Alignment
    from decaf.images import ImageList
    from decaf.runtime.settings import ComputeSettings

__all__ = ["Ensemble", "Predictions"]

# Images that one stream runs ahead of another; 32 MiB of probabilities of 1000 classes.
TURN = 4096

PROBABILITIES = "probabilities"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of the networks for consecutive images.

    Attributes
    ----------
    start, stop : int
        Which images.
    probabilities : array of float64, shape (stop - start, C)
        The mean over networks, of the classes that any of them knows; NaN where the image is bad.
    status : array of uint8, shape (stop - start,)
        Codes of `decaf.images.status.STATUS_NAMES`.
    messages : list of str
    content_sha256 : array of uint8, shape (stop - start, 32)
    """

    start: int
    stop: int
    probabilities: npt.NDArray[np.float64]
    status: npt.NDArray[np.uint8]
    messages: list[str]
    content_sha256: npt.NDArray[np.uint8]


class Ensemble:
    """Networks whose predictions are averaged (Krizhevsky et al. 2012, sec. 6.1).

    Parameters
    ----------
    network : NetworkSettings
        With the ten crops a network's prediction is the mean of its softmax over them (sec. 4.1).
        Softmax and means are computed in float64, whatever the precision.
    device : torch.device
    """

    def __init__(self, network: NetworkSettings, device: torch.device) -> None:
        crops = "ten-stack" if network.crops == "ten" else "center"
        self._settings = RunSettings(("fc8",), crops, network.precision or "fp32")
        self._batch_size = network.batch_size
        self._device = device
        self._groups: dict[object, _Group] = {}
        self._count = 0

    def add(self, backbone: Backbone) -> None:
        """Add the next network; of the backbone only what the pass needs is kept.

        Parameters
        ----------
        backbone : Backbone
        """
        engine = Engine(
            backbone,
            self._settings.layers,
            crops=self._settings.crops,
            precision=self._settings.precision,
            device=self._device,
        )
        # Not by the whole spec: networks trained on different data differ in mean and std, which
        # are taken off after decoding.
        spec = backbone.preprocess
        geometry = (spec.resize, spec.resize_to, spec.crop, spec.background)
        group = self._groups.setdefault(geometry, _Group(backbone))
        group.members.append(_Member(backbone.weights_name, engine, self._count))
        self._count += 1

    def predict(
        self,
        images: ImageList,
        alignment: Alignment,
        compute: ComputeSettings,
    ) -> Generator[Predictions, None, None]:
        """Predict the classes of images.

        Parameters
        ----------
        images : ImageList
        alignment : Alignment
            Alignment of the networks, in the order in which they were added. A class that a network
            does not know gets the probability 0 from it.
        compute : ComputeSettings
            Its `stop` ends this early.

        Yields
        ------
        Predictions
            Each image once, in the order in which they are finished.

        Raises
        ------
        Stopped
            After `stop` was set.
        WeightsError
            If a network gives values that are not finite.
        """
        with ExitStack() as stack:
            extractions = [
                stack.enter_context(
                    Extraction(
                        images,
                        group.backbone,
                        self._settings,
                        device=self._device,
                        workers=compute.workers,
                        batch_size=self._batch_size,
                        in_one_go=False,
                        engine=functools.partial(group.sum, alignment),
                    )
                )
                for group in self._groups.values()
            ]
            turn = len(images) if len(extractions) == 1 else TURN
            for start in range(0, len(images), turn):
                end = min(start + turn, len(images))
                yield from self._turn(extractions, start, end, compute.stop)

    def _turn(
        self,
        extractions: Sequence[Extraction],
        start: int,
        end: int,
        stop: threading.Event | None,
    ) -> Iterator[Predictions]:
        *before, last = extractions
        sums: npt.NDArray[np.float64] | None = None
        bad: dict[int, tuple[int, str]] = {}  # an image may be too large for one preparation alone
        for extraction in before:
            for block in self._rows(extraction, start, end, stop):
                if sums is None:
                    sums = np.zeros((end - start, block.probabilities.shape[1]))
                sums[block.start - start : block.stop - start] += block.probabilities
                for place in np.flatnonzero(block.status).tolist():
                    problem = int(block.status[place]), block.messages[place]
                    bad.setdefault(block.start + place, problem)
        for block in self._rows(last, start, end, stop):
            if sums is not None:
                block.probabilities[...] += sums[block.start - start : block.stop - start]
            for row in range(block.start, block.stop):
                if row in bad:
                    place = row - block.start
                    block.status[place], block.messages[place] = bad[row]
            yield block

    def _rows(
        self, extraction: Extraction, start: int, end: int, stop: threading.Event | None
    ) -> Iterator[Predictions]:
        """Yield what one stream adds to the mean."""
        ranges = extraction.ranges(start, end)
        for rows in extraction.rows(ranges, stop=stop, dtype="float64"):
            yield Predictions(
                rows.start,
                rows.stop,
                rows.features[PROBABILITIES] / self._count,
                rows.status,
                rows.messages,
                rows.content_sha256,
            )


@dataclass(frozen=True)
class _Member:
    name: str
    engine: Engine
    number: int  # among all networks


@dataclass(eq=False)
class _Group:
    """Networks that see the same crops."""

    backbone: Backbone
    members: list[_Member] = field(default_factory=list)

    def sum(self, alignment: Alignment, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Sum the predictions of the networks for a batch."""
        total = np.zeros((len(crops), len(alignment.classes)))
        for member in self.members:
            logits = torch.from_numpy(member.engine(crops)["fc8"]).double()
            if not bool(torch.isfinite(logits).all()):
                raise WeightsError(
                    f"{member.name}: gives values that are not finite; use other weights"
                )
            chances = logits.softmax(-1)
            if chances.dim() == 3:
                chances = chances.mean(1)
            total[:, alignment.units[member.number]] += chances.numpy()
        return {PROBABILITIES: total}
