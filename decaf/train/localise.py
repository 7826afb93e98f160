"""`decaf.localise`: boxes of objects by regression on the features of a network.

As SuperVision had it in ILSVRC2012 (regression on x, y, width and height) and OverFeat described it
(Sermanet et al. 2014, section 4.2): linear layers on pool5, one box for all classes or one a class.
The network stays as it is, so that its features are computed once.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError, SettingError, Stopped
from decaf.features.settings import NetworkSettings, RunSettings
from decaf.heads.feature_identity import FeatureIdentity
from decaf.images import ImageList, ListingSettings, collect
from decaf.images.box_overlap import (
    OVERLAP,
    best_overlaps,
    centre_box,
    from_window,
    mean_box,
    to_window,
)
from decaf.images.listing.annotated_boxes import BoxAnnotations, read_boxes
from decaf.images.workers.decoders import warm_decoders
from decaf.runtime.memory import available_memory
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.runtime.wording import counted
from decaf.train.localiser import (
    BLIND_BOXES,
    Localiser,
    backbone_for,
    boxes_in_crops,
    check_out,
    crop_features,
    edges,
    image_windows,
)
from decaf.train.localiser_settings import LocaliserSettings

if TYPE_CHECKING:
    import torch


__all__ = ["localise"]

# Fields of `ListingSettings` for images that are divided.
NOT_OF_BOXES = (
    *("groups", "min_images", "val_labels", "val_fraction", "splits"),
    *("crops_from", "margin", "min_confidence", "categories"),
)

_logger = logging.getLogger(__name__)


def localise(
    images: Any,
    boxes: str | os.PathLike[str] | BoxAnnotations,
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    settings: LocaliserSettings | None = None,
    listing: ListingSettings | None = None,
    network: NetworkSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> Localiser:
    """Learn to predict the box of the object in an image.

    Of an image with several boxes the one that is nearest to the prediction counts, as it does in
    the challenge's rule.

    Parameters
    ----------
    images : as for `decaf.extract`
        With a folder for each class, where each is to have boxes of its own.
    boxes : path or BoxAnnotations
        Their true boxes: ILSVRC's or PASCAL VOC's folder of ``.xml``; Tiny-ImageNet's
        ``WNID_boxes.txt`` or ``val_annotations.txt``; ``localization.txt`` with
        ``image_sizes.txt``; a table with the columns path, xmin, ymin, xmax and ymax; ``.json`` of
        COCO or MegaDetector; a folder of these. Images without a box are left out.
    out : path, optional
        The file to write, ending in ``.safetensors``.
    overwrite : bool
        Replace `out` if it is there.
    settings : LocaliserSettings, optional
        How boxes are learnt; or its fields by their names, as of the objects below.
    listing : ListingSettings, optional
        How the images are listed: labels and layout, as in `decaf.extract`, and on_error: at an
        image that cannot be read, "raise" `ImageError` (default; on the command line "record" is),
        or leave it out.
    network : NetworkSettings, optional
        How the network is run: weights, precision and preprocess, as in `decaf.extract`. By default
        the whole image is seen: it is warped to the size of a crop, or for ten crops to the size
        that they are cut from.
    compute : ComputeSettings, optional
        How the work is done: device, workers, progress (of the features) and stop, as in
        `decaf.extract`.
    **named
        Fields of `settings`, `listing`, `network` and `compute` by their names:
        ``per_class=True, weights="imagenet", workers=4``.

    Returns
    -------
    Localiser
        Its `report` has the loss of each epoch, and on the images held out the percentage of boxes
        that overlap by less than half: ``error``, beside that of three answers that do not look at
        the image, ``whole_image``, ``mean_box`` and ``centre_box``, whose edges are under
        ``blind_boxes``.

    Raises
    ------
    InputError
        If fewer than two images have a box.
    ImageError
        For a bad image, with ``on_error="raise"``.
    Stopped
        After `stop` was set; nothing is written.
    """
    made = settings_from(
        localise,
        named,
        Part("settings", LocaliserSettings, settings),
        Part("listing", ListingSettings, listing, NOT_OF_BOXES),
        Part("network", NetworkSettings, network, ("crops", "batch_size")),
        Part("compute", ComputeSettings, compute),
    )
    settings, listing, network, compute = made
    if out is not None:
        check_out(out, overwrite)
    annotations = boxes if isinstance(boxes, BoxAnnotations) else read_boxes(boxes)
    listed = collect(images, listing)
    listed, true = _annotated(listed, annotations, settings.per_class)
    warm_decoders(listed, compute.workers)
    backbone = backbone_for(network.weights, settings.layer)
    whole = {"resize": "warp", "resize_to": backbone.preprocess.crop}
    default: Any = whole if settings.crops == "center" else "decaf"
    backbone = backbone.with_preprocess(
        default if network.preprocess is None else network.preprocess
    )
    run = RunSettings((settings.layer,), precision=network.precision or "fp32")
    raise_bad = listing.on_error == "raise"
    rows_of = crop_features(
        listed, backbone, run, settings.crops, None, compute, raise_bad=raise_bad
    )
    values, sizes, good = _all_features(listed, rows_of)
    relative = [
        own.relative(tuple(size)) if ok else np.zeros((0, 4))
        for own, size, ok in zip(true, sizes.tolist(), good, strict=True)
    ]
    good &= np.array([len(own) > 0 for own in relative])
    if good.sum() < 2:
        raise InputError(f"{annotations.source}: {int(good.sum())} of the images have a box")
    rows = np.flatnonzero(good)
    relative = [relative[row] for row in rows]
    labels = listed.labels[rows] if settings.per_class else np.zeros(len(rows), np.int64)
    windows = np.stack(
        [image_windows(backbone.preprocess, size, settings.crops) for size in sizes[rows]]
    )
    learner = _Learner(settings, len(listed.class_names) if settings.per_class else 1)
    # All rows are not copied: they may be most of the memory.
    layers, report = learner.fit(
        values if good.all() else values[rows], windows, relative, labels, compute
    )
    localiser = Localiser(
        layers,
        identity=FeatureIdentity.of(run.record(backbone), settings.layer),
        settings=settings,
        class_names=listed.class_names if settings.per_class else (),
        report={**report, "boxes": annotations.source, "images": len(rows)},
    )
    if out is not None:
        localiser.save(out, overwrite=overwrite)
    return localiser


def _annotated(
    listed: ImageList, annotations: BoxAnnotations, per_class: bool
) -> tuple[ImageList, list[Any]]:
    """Leave out the images without a box, or where classes count without one."""
    own = [annotations.find(path) for path in listed.paths]
    there = np.array([boxes is not None for boxes in own], bool)
    if not there.any():
        first = os.fspath(listed.paths[0])
        known = next(iter(annotations))
        raise InputError(
            f"{annotations.source}: none of its {len(annotations)} names is that of an image; it "
            f"has {known!r}, an image is {first!r}"
        )
    if not there.all():
        first = os.fspath(listed.paths[int(np.flatnonzero(~there)[0])])
        _logger.warning(
            "%s: %d of %d images have no box and are left out (the first is %r)",
            annotations.source, int((~there).sum()), len(there), first,
        )  # fmt: skip
    if per_class:
        if not listed.class_names:
            raise SettingError("`per_class`: the images have no classes; give a folder for each")
        there &= listed.labels >= 0
    rows = np.flatnonzero(there)
    return listed.take(rows), [own[row] for row in rows]


def _all_features(
    listed: ImageList, rows_of: Iterator[Any]
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Keep the features of all images in memory, in half the bytes."""
    kept: npt.NDArray[np.float16] | None = None
    sizes, good = np.full((len(listed), 2), -1, np.int64), np.zeros(len(listed), bool)
    for rows, values, size, ok in rows_of:
        if kept is None:
            shape = (len(listed), *values.shape[1:])
            needed, left = 2 * int(np.prod(shape)), available_memory()
            if left is not None and needed > 0.8 * left:
                raise SettingError(
                    f"{counted(len(listed), 'image')} of {counted(shape[1], 'crop')} need "
                    f"{needed / 1e9:.1f} GB of "
                    f"memory, {left / 1e9:.1f} are free: give fewer images, `crops` 'center', or a "
                    "`layer` with fewer values"
                )
            kept = np.empty(shape, np.float16)
        with np.errstate(over="ignore"):
            kept[rows] = values
        sizes[rows], good[rows] = size, ok
    assert kept is not None  # there is no empty list of images
    finite = np.array([np.isfinite(row).all() for row in kept])
    if (good & ~finite).any():
        raise SettingError("a feature is beyond the range of float16; choose another `layer`")
    return kept, sizes, good


class _Learner:
    """Linear layers that learn boxes by AdamW."""

    def __init__(self, settings: LocaliserSettings, classes: int) -> None:
        self._settings = settings
        self._classes = classes

    def fit(
        self,
        values: npt.NDArray[np.float16],
        windows: npt.NDArray[np.float64],
        true: Sequence[npt.NDArray[np.float64]],
        labels: npt.NDArray[np.int64],
        compute: ComputeSettings,
    ) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], dict[str, Any]]:
        """Learn from features (N, views, D) of crops that show `windows` (N, views, 4)."""
        import torch

        from decaf.runtime.device import choose_device

        settings = self._settings
        count, views, width = values.shape
        random = np.random.default_rng(settings.seed)
        order = random.permutation(count)
        held = order[: round(settings.held_out * count)]
        rows = order[len(held) :]
        if len(rows) == 0:
            raise SettingError(f"`held_out` {settings.held_out}: nothing is left to learn from")
        targets = _padded(true, windows)
        sample = values[rows[:2000]].astype(np.float32)
        scale = float(1 / max(np.sqrt(np.mean(np.square(sample))), 1e-8))
        device = choose_device(compute.device)
        network = self._network(width, device)
        generator = torch.Generator(device).manual_seed(settings.seed)
        optimizer = torch.optim.AdamW(
            [parameter for layer in network for parameter in layer.parameters()],
            lr=settings.lr,
            weight_decay=settings.weight_decay,
        )
        per_epoch = -(-len(rows) * views // settings.batch_size)
        steps = settings.epochs * per_epoch
        history, began = [], time.monotonic()
        step = 0
        for epoch in range(settings.epochs):
            picks = random.permutation(len(rows) * views)
            total = 0.0
            for start in range(0, len(picks), settings.batch_size):
                if compute.stopped:
                    raise Stopped("stopped before the boxes were learnt; nothing was written")
                pick = picks[start : start + settings.batch_size]
                row, view = rows[pick // views], pick % views
                inputs = torch.from_numpy(values[row, view].astype(np.float32)).to(device) * scale
                for group in optimizer.param_groups:
                    group["lr"] = settings.lr * _share_of_rate(step, steps)
                predicted = self._boxes_of(network, inputs, labels[row], generator)
                loss = _loss(predicted, torch.from_numpy(targets[row, view]).to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(pick)
                step += 1
            history.append(total / len(picks))
            _logger.info("epoch %d of %d: loss %.4f", epoch + 1, settings.epochs, history[-1])
        layers = [(each.weight.detach().cpu(), each.bias.detach().cpu()) for each in network]
        layers[0] = (layers[0][0] * scale, layers[0][1])
        learnt = [true[row] for row in rows]
        boxes = ([0.0, 0.0, 1.0, 1.0], mean_box(learnt).tolist(), centre_box(learnt).tolist())
        blind = dict(zip(BLIND_BOXES, boxes, strict=True))
        report = {
            "loss": history,
            "seconds": round(time.monotonic() - began, 1),
            "blind_boxes": blind,
        }
        if len(held):
            report |= self._measured(layers, values[held], windows[held],
                                     [true[row] for row in held], labels[held],
                                     blind)  # fmt: skip
        return layers, report

    def _network(self, width: int, device: torch.device) -> list[torch.nn.Linear]:
        import torch

        # Drawn on the CPU, so that it is the same on every device.
        generator = torch.Generator().manual_seed(self._settings.seed)
        sizes = [width, *([self._settings.hidden] if self._settings.hidden else [])]
        sizes.append(4 * self._classes)
        layers = []
        for number, (one, other) in enumerate(pairwise(sizes)):
            layer = torch.nn.Linear(one, other)
            last = number == len(sizes) - 2
            with torch.no_grad():
                deviation = 1e-3 if last else (2 / one) ** 0.5
                layer.weight.normal_(0, deviation, generator=generator)
                layer.bias.zero_()
            layers.append(layer.to(device))
        return layers

    def _boxes_of(
        self,
        network: Sequence[torch.nn.Linear],
        inputs: torch.Tensor,
        labels: npt.NDArray[np.int64],
        generator: torch.Generator,
    ) -> torch.Tensor:
        import torch

        dropout = self._settings.dropout
        for number, layer in enumerate(network):
            inputs = layer(inputs)
            if number < len(network) - 1:
                inputs = inputs.relu()
                if dropout:
                    drawn = torch.rand(inputs.shape, generator=generator, device=inputs.device)
                    kept = drawn >= dropout
                    inputs = inputs * kept / (1 - dropout)
        boxes = inputs.unflatten(1, (-1, 4))
        return edges(boxes[torch.arange(len(boxes)), torch.from_numpy(labels)])

    def _measured(
        self,
        layers: Sequence[tuple[torch.Tensor, torch.Tensor]],
        values: npt.NDArray[np.float16],
        windows: npt.NDArray[np.float64],
        true: Sequence[npt.NDArray[np.float64]],
        labels: npt.NDArray[np.int64],
        blind: Mapping[str, Sequence[float]],
    ) -> dict[str, Any]:
        """Measure boxes of the centre crop of images held out, beside answers that look at none."""
        view = 0 if values.shape[1] == 1 else 4  # the centre of the ten
        in_crop = boxes_in_crops(layers, values[:, view])[np.arange(len(values)), labels]
        predicted = np.clip(from_window(in_crop, windows[:, view]), 0, 1)

        def error(boxes: npt.NDArray[np.float64]) -> float:
            every = np.broadcast_to(boxes, (len(true), 4))
            return 100 * float(np.mean(best_overlaps(every, true) < OVERLAP))

        return {
            "held_out": len(true),
            "error": error(predicted),
            **{name: error(np.array(box)) for name, box in blind.items()},
        }


def _padded(
    true: Sequence[npt.NDArray[np.float64]], windows: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Put the true boxes of crops into one array (N, views, most, 4), NaN where there are fewer."""
    most = max(len(own) for own in true)
    padded = np.full((*windows.shape[:2], most, 4), np.nan, np.float32)
    for row, own in enumerate(true):
        padded[row, :, : len(own)] = to_window(own[None], windows[row][:, None])
    return padded


def _loss(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of predictions (M, 4) against the nearest of true boxes (M, most, 4).

    It is the mean distance of the edges and 1 minus the generalised overlap (Rezatofighi et al.
    2019), which has a slope also where the boxes do not touch.
    """
    import torch

    there = ~true.isnan().any(-1)
    true = true.nan_to_num()
    own = predicted[:, None].to(true.dtype)
    distance = (own - true).abs().mean(-1)
    sides = torch.minimum(own[..., 2:], true[..., 2:]) - torch.maximum(own[..., :2], true[..., :2])
    shared = sides.clamp(min=0).prod(-1)
    areas = [(each[..., 2:] - each[..., :2]).clamp(min=0).prod(-1) for each in (own, true)]
    union = areas[0] + areas[1] - shared
    around = torch.maximum(own[..., 2:], true[..., 2:]) - torch.minimum(own[..., :2], true[..., :2])
    hull = around.prod(-1).clamp(min=1e-6)
    overlap = shared / union.clamp(min=1e-6) - (hull - union) / hull
    losses = (2 * distance + 1 - overlap).masked_fill(~there, torch.inf)
    return losses.min(-1).values.mean()


def _share_of_rate(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return float(0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm))))
