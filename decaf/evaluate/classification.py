"""Top-1 and top-5 error of networks on labelled images, as papers report them for ImageNet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError, InputError, SettingError, Stopped
from decaf.evaluate.class_names import Alignment, ClassList, MatchSettings, align, class_list
from decaf.evaluate.localisation import Localisation, LocalisationSettings, measure_boxes
from decaf.evaluate.localisation_rule import GUESSES
from decaf.evaluate.report import ClassResult, Evaluation, save_report
from decaf.evaluate.test_set import opened_pack, read_test_set
from decaf.features.settings import NetworkSettings
from decaf.heads.metrics import mean_per_class_accuracy, ranks
from decaf.images import ListingSettings
from decaf.images.status import STATUS_NAMES, BadImage
from decaf.images.workers.decoders import warm_decoders
from decaf.runtime.names import name_text
from decaf.runtime.progress import progress_for
from decaf.runtime.settings import ComputeSettings, Part, one_of, refuse, settings_from
from decaf.runtime.wording import counted
from decaf.storage import TEXT_KINDS, check_output
from decaf.version import __version__

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.backbone.weights.state import Weights
    from decaf.evaluate.ensemble import Ensemble, Predictions
    from decaf.images import ImageList

__all__ = ["CROPS", "evaluate_network"]

CROPS = ("center", "ten")

# Fields of `ListingSettings` for images that are divided, or trained on.
NOT_OF_A_TEST = ("groups", "min_images", "val_labels", "val_fraction")


def evaluate_network(
    weights: str | os.PathLike[str] | Weights | Backbone | Sequence[Any],
    data: Any,
    *,
    split: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    listing: ListingSettings | None = None,
    matching: MatchSettings | None = None,
    network: NetworkSettings | None = None,
    compute: ComputeSettings | None = None,
    localisation: LocalisationSettings | None = None,
    **named: Any,
) -> Evaluation:
    """Measure the error of a network, or of the mean prediction of several.

    Every network prepares the images in its own way. Its answer is any of the classes that it
    knows, also where the data set has fewer. Classes are matched by WordNet id or name, never by
    number. Equal probabilities are ordered by class number.

    Parameters
    ----------
    weights : str, path, Weights or Backbone, or a sequence of these
        As `decaf.load_backbone` takes them.
    data : path, Pack, ImageList, torch Dataset, or whatever `decaf.extract` takes
        A data set in folders or an archive, as `decaf.make_pack` takes it, a training pack (its
        path, or open), or images with labels.
    split : {"train", "val", "test"}, optional
        By default "val" where there are splits.
    out : path, optional
        File to which the report is written, as JSON.
    overwrite : bool
        Replace `out` if it is there.
    listing : ListingSettings, optional
        How the images are listed; or its fields by their names, as of the objects below:

        - labels, layout : as in `decaf.extract`; images without a label are left out, with a word.
        - splits : ``"FILE:COLUMN"`` of a table; as for `decaf.collect`.
        - crops_from, margin, min_confidence, categories : boxes as images of their own, as
          `decaf.collect` takes them.
        - on_error : at an image that cannot be read, "raise" `ImageError` (default; on the command
          line "record" is), or leave it out and "record" it.
    matching : MatchSettings, optional
        How the classes of the data and of the networks are matched:

        - class_ids, class_names : sequences of the classes that integer labels number, where `data`
          does not tell.
        - match : "identity" (default) or "order", which takes the classes of the data, sorted, for
          the units of each network in turn: for weights that do not say what their classes are.
        - ignore_unknown : leave out images of classes that a network does not know, instead of
          refusing them.
    network : NetworkSettings, optional
        How the networks are run:

        - crops : "center" (default), the centre crop, or "ten", the mean softmax over the ten crops
          of Krizhevsky et al. 2012, sec. 4.1.
        - preprocess : as in `decaf.extract`, for every network.
        - precision, batch_size : as in `decaf.extract`.
    compute : ComputeSettings, optional
        How the work is done: device, workers and progress, as in `decaf.extract`, and stop, a
        `threading.Event`; set it to end early, by `Stopped`.
    localisation : LocalisationSettings, optional
        Measure boxes besides, as ILSVRC's classification with localisation does: boxes, the true
        ones; localiser, as `decaf.localise` makes it; box_crops, "center" or "ten"; submission, a
        file to which the guesses are written; devkit, ILSVRC's development kit, to number their
        classes by.
    **named
        Fields of `listing`, `matching`, `network`, `compute` and `localisation` by their names:
        ``crops="ten", match="order", device="cuda"``.

    Returns
    -------
    Evaluation

    Raises
    ------
    SettingError, InputError, WeightsError
        For what cannot be asked for, images without labels, and classes that do not match.
    ImageError
        For a bad image, with ``on_error="raise"``.
    OutputError
        If `out` is there already, or cannot be written.
    Stopped
        After `stop` was set.

    References
    ----------
    Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
    Networks", NIPS 2012, sections 4.1 and 6.
    """
    made = settings_from(
        evaluate_network,
        named,
        Part("listing", ListingSettings, listing, NOT_OF_A_TEST),
        Part("network", NetworkSettings, network, ("weights",), _network),
        Part("matching", MatchSettings, matching),
        Part("compute", ComputeSettings, compute),
        Part("localisation", LocalisationSettings, localisation),
    )
    listing, network, matching, compute, boxes = made
    all_weights = list(weights) if isinstance(weights, (list, tuple)) else [weights]
    if not all_weights:
        raise SettingError("`weights`: none were given")
    read = (*all_weights, data, listing.labels, boxes.boxes, boxes.localiser)
    if out is not None:
        check_output(Path(out), *TEXT_KINDS, inputs=read, overwrite=overwrite)
    if boxes.submission is not None:
        check_output(Path(boxes.submission), *TEXT_KINDS, inputs=read)
    with ExitStack() as opened:
        listed, classes = read_test_set(
            opened_pack(data, listing.labels, opened), split, listing, matching
        )
        warm_decoders(listed, compute.workers)
        from decaf.evaluate.ensemble import Ensemble
        from decaf.runtime.device import choose_device

        torch_device = choose_device(compute.device)
        ensemble = Ensemble(network, torch_device)
        networks, lists = _load(all_weights, network.preprocess, ensemble)
        alignment = align(lists, classes, match=matching.match)
        images, ignored = _known(listed, classes, alignment, lists, matching.ignore_unknown)
        tally = _Tally(images, classes, alignment, raise_bad=listing.on_error == "raise")
        predictions = ensemble.predict(images, alignment, compute)
        # Closed by hand, so that its threads have ended when an error leaves here.
        with closing(predictions), progress_for(compute.progress, len(images), 0) as shown:
            try:
                for each in predictions:
                    tally.add(each)
                    shown.advance(each.stop - each.start)
            except Stopped:
                raise Stopped(
                    f"stopped after {shown.done} of {counted(len(images), 'image')}; nothing of an "
                    "evaluation is kept"
                ) from None
        located = None
        if boxes.localiser is not None:
            located = measure_boxes(boxes, images, tally.guesses, alignment, all_weights, compute)
        evaluation = tally.evaluation(
            networks=networks,
            ignored=ignored,
            localisation=located,
            settings={
                "crops": network.crops or "center",
                "precision": network.precision or "fp32",
                "match": matching.match,
                "device": torch_device.type,
            },
        )
    if out is not None:
        save_report(evaluation, out, overwrite=overwrite)
    return evaluation


def _network(given: NetworkSettings | None, changes: dict[str, Any]) -> NetworkSettings:
    """Return how the networks are run: of ten crops the predictions have a mean, and no maximum."""
    network = replace(given or NetworkSettings(), **changes)
    refuse(one_of("crops", network.crops, CROPS, optional=True))
    return network


def _load(
    weights: Sequence[Any], preprocess: Any, ensemble: Ensemble
) -> tuple[tuple[dict[str, Any], ...], list[ClassList]]:
    """Load the networks one after the other, so that they are never all there twice."""
    from decaf.backbone.model import load_backbone

    records, lists = [], []
    for each in weights:
        backbone = load_backbone(each).with_preprocess(preprocess)
        name, count = backbone.weights_name, backbone.spec.classes
        lists.append(class_list(name, count, backbone.class_names, backbone.provenance))
        records.append(
            {
                "name": name,
                "sha256": backbone.sha256,
                "arch": backbone.spec.to_dict(),
                "preprocess": backbone.preprocess.to_dict(),
                "classes": count,
            }
        )
        ensemble.add(backbone)
    return tuple(records), lists


def _known(
    images: ImageList,
    classes: ClassList,
    alignment: Alignment,
    lists: Sequence[ClassList],
    ignore_unknown: bool,
) -> tuple[ImageList, int]:
    """Leave out the images of classes that a network does not know, where that is allowed."""
    places = alignment.labels[images.labels]
    rows = np.flatnonzero(places >= 0)
    left_out = len(places) - len(rows)
    if not left_out:
        return images, 0
    if not ignore_unknown:
        ids = classes.ids
        unknown = sorted({ids[label] for label in images.labels[places < 0].tolist()})
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" * (len(unknown) > 5))
        owners = " and ".join(dict.fromkeys(each.owner for each in lists))
        raise InputError(
            f"{classes.owner}: {len(unknown)} of {len(ids)} classes are not known to "
            f"{owners} ({shown}); `ignore_unknown=True` leaves their "
            f"{counted(left_out, 'image')} out"
        )
    if not len(rows):
        raise InputError(f"{classes.owner}: no images of classes that the networks know")
    return images.take(rows), left_out


class _Tally:
    """Counts the answers as they come, in whatever order."""

    def __init__(
        self, images: ImageList, classes: ClassList, alignment: Alignment, *, raise_bad: bool
    ) -> None:
        self._listed, self._classes, self._raise_bad = images, classes, raise_bad
        self._alignment = alignment
        self._known = np.flatnonzero(alignment.labels >= 0)
        self._images = np.zeros(classes.count, np.int64)
        self._top1, self._top5 = self._images.copy(), self._images.copy()
        self._confusion = np.zeros((classes.count, len(alignment.classes)), np.int64)
        self._digests = np.zeros((len(images), 32), np.uint8)
        self._bad: dict[int, BadImage] = {}
        self._ranks = np.full(len(images), -1, np.int64)
        self.guesses = np.full((len(images), GUESSES), -1, np.int64)

    def add(self, predictions: Predictions) -> None:
        self._digests[predictions.start : predictions.stop] = predictions.content_sha256
        for place in np.flatnonzero(predictions.status).tolist():
            row, status = predictions.start + place, STATUS_NAMES[predictions.status[place]]
            name, message = name_text(self._listed.names[row]), predictions.messages[place]
            if self._raise_bad:
                remedy = "`on_error='record'` leaves it out, writes it down and goes on"
                raise ImageError(status, message, name, row, remedy)
            self._bad[row] = BadImage(name, status, message)
        good = predictions.status == 0
        if not good.any():
            return
        labels = self._listed.labels[predictions.start : predictions.stop][good]
        scores = predictions.probabilities[good]
        places = ranks(scores, self._alignment.labels[labels])
        self._ranks[predictions.start + np.flatnonzero(good)] = places
        np.add.at(self._images, labels, 1)
        np.add.at(self._top1, labels, places < 1)
        np.add.at(self._top5, labels, places < 5)
        first = np.argsort(-scores, axis=1, kind="stable")[:, :GUESSES]
        self.guesses[predictions.start + np.flatnonzero(good), : first.shape[1]] = first
        # The first of equals, as in `ranks`.
        np.add.at(self._confusion, (labels, scores.argmax(axis=1)), 1)

    def evaluation(
        self,
        *,
        networks: tuple[dict[str, Any], ...],
        ignored: int,
        localisation: Localisation | None,
        settings: dict[str, Any],
    ) -> Evaluation:
        from decaf.images.decoding.jpeg import decoder_versions

        listed, answers = self._listed, self._alignment.classes
        bad = tuple(self._bad[row] for row in sorted(self._bad))
        count = int(self._images.sum())
        if not count:
            raise InputError(
                f"{self._classes.owner}: none of {counted(len(listed), 'image')} can be read; "
                "the first "
                f"is {bad[0].name!r}: {bad[0].message} ({bad[0].status})"
            )
        import torch

        splits = set(listed.splits or ())
        return Evaluation(
            top1_error=_percent(count - int(self._top1.sum()), count),
            top5_error=(_percent(count - int(self._top5.sum()), count) if self._has_five else None),
            mean_per_class_accuracy=100 * mean_per_class_accuracy(self._top1, self._images),
            images=count,
            bad=bad,
            ignored=ignored,
            unknown=self._alignment.unknown,
            classes=tuple(self._result(label) for label in self._known.tolist()),
            answers=answers,
            confusion=self._confusion[self._known],
            ranks=self._ranks,
            networks=networks,
            data={
                "sources": list(listed.sources),
                "split": splits.pop() if len(splits) == 1 else None,
                "classes": self._classes.count,
                "sha256": self._digest(),
            },
            settings=settings,
            versions={
                "decaf": __version__,
                "torch": torch.__version__,
                **decoder_versions(),
            },
            localisation=localisation,
        )

    @property
    def _has_five(self) -> bool:
        """Whether the first five are not all answers that there are."""
        return len(self._alignment.classes) > 5

    def _result(self, label: int) -> ClassResult:
        classes, answers = self._classes, self._alignment.classes
        right = int(self._alignment.labels[label])
        wrong = self._confusion[label].copy()
        wrong[right] = 0
        most = int(wrong.argmax())
        class_id = classes.ids[label] if classes.ids else answers[right]
        return ClassResult(
            id=class_id,
            name=self._alignment.names[right],
            images=int(self._images[label]),
            top1=int(self._top1[label]),
            top5=int(self._top5[label]) if self._has_five else None,
            confused_with=answers[most] if wrong[most] else None,
            confused_with_name=self._alignment.names[most] if wrong[most] else None,
            confused=int(wrong[most]),
        )

    def _digest(self) -> str:
        # Sorted, so that a folder and an archive of it are the same images.
        classes = self._classes
        entries = sorted(
            digest.tobytes()
            + (classes.ids[label] if classes.ids else str(label)).encode("utf-8", "surrogateescape")
            + b"\n"
            for digest, label in zip(self._digests, self._listed.labels.tolist(), strict=True)
        )
        return hashlib.sha256(b"".join(entries)).hexdigest()


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole
