"""Sections of the report that are the fine-grained benchmark's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from decaf.exploration.page import Cell, Column, Row, Table, Text
from decaf.images.box_overlap import box_overlaps
from harness.birds.regions import BIRD_PARTS, ENLARGED, MARGIN, PartRegions
from harness.frozen_features.published import PUBLISHED, departures
from harness.protocol.splits import Split

__all__ = ["explained", "fallen_back", "located_table", "other_protocol"]

Floats = npt.NDArray[np.float64]

NEAR = 0.1
"""A keypoint is right within this share of the longer side of the box."""


def explained(*, boxes: bool, parts: bool) -> Text:
    """Say what the columns of the main table are of.

    Parameters
    ----------
    boxes, parts : bool
        Whether the data set has them.
    """
    text = "The images as they are, which are taken for cut to the birds already."
    if boxes:
        text = (
            f"The box: that of the annotation, enlarged {ENLARGED:g} times around its centre and "
            "cut off at the edges of the image, at training and at test time."
        )
    if parts:
        text += (
            f"\n\nDPD: the features of the box and of {' and '.join(BIRD_PARTS)}, one after the "
            "other. The region of a part is the rectangle around its visible keypoints, wider on "
            f"each side by {MARGIN:g} of the root of the area of the annotated box. Where no "
            "keypoint of a part is visible, the annotated box stands for it."
            "\n\nParts annotated: at training and at test time, which no real use has. Parts "
            "localised: those of the test images by ridge regression on pool5 of the box, learned "
            "from the visible keypoints of the training images; the classifier is the same. In the "
            "published result a part detector finds the parts, within the box."
        )
    return Text("What the columns are of", text)


def fallen_back(regions: PartRegions, of: str) -> list[str]:
    """Tell of how many images the box stands for a part.

    Parameters
    ----------
    regions : PartRegions
    of : str
        Who says so, as the end of a clause: "in the annotation".
    """
    counts = dict(zip(BIRD_PARTS, regions.fallen_back.sum(0).tolist(), strict=True))
    return [
        f"in {count} of {len(regions.boxes)} images no keypoint of the {part} is visible {of}: the "
        "box stands for it"
        for part, count in counts.items()
        if count
    ]


def located_table(
    name: str,
    part_names: Sequence[str],
    points: Sequence[Floats],
    regions: Sequence[PartRegions],
    boxes: Floats,
) -> Table:
    """Make the table of how near the located keypoints are to those annotated.

    Parameters
    ----------
    name : str
        Name of the network.
    part_names : sequence of str
    points : (annotated, located, mean place), arrays of shape (n, P, 2)
        Keypoints of the test images, NaN where they are not visible.
    regions : (annotated, located) PartRegions
    boxes : array, shape (n, 4)
    """
    truth, located, mean_place = points
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1)[:, None]
    visible = ~np.isnan(truth).any(2)
    counts = visible.sum(0)
    columns = []
    for guess in (located, mean_place):
        # A keypoint that was not located is NaN, and not near.
        near = (np.linalg.norm(guess - truth, axis=2) <= NEAR * longer) & visible
        columns.append([*near.sum(0).tolist(), int(near.sum())])
    named = zip((*part_names, "all"), (*counts.tolist(), int(counts.sum())), strict=True)
    rows = [
        Row(part, tuple(Cell(100 * hits[row] / n, n=n) if n else Cell() for hits in columns))
        for row, (part, n) in enumerate(named)
    ]
    return Table(
        f"Keypoints located in test images, {name}",
        (Column("located"), Column("the mean place")),
        tuple(rows),
        row_header="Keypoint",
        best="none",
        caption="Share of the visible keypoints that are told within "
        f"{NEAR:g} of the longer side of the box. The mean place is that of the training images in "
        "their boxes, and looks at no image. "
        f"Mean intersection over union with the annotated region: {_overlaps(*regions)}.",
        collapsed=True,
    )


def _overlaps(one: PartRegions, other: PartRegions) -> str:
    """Tell the mean overlap of the regions of each part, where neither is the box in its place."""
    told = []
    for column, part in enumerate(BIRD_PARTS):
        rows = ~(one.fallen_back | other.fallen_back)[:, column]
        if rows.any():
            pairs = box_overlaps(one.boxes[rows, column, None], other.boxes[rows, column, None])
            told.append(f"{part} {100 * pairs.mean():.1f} %")
    return ", ".join(told) or "no region in both"


def other_protocol(dataset: Dataset, splits: Iterable[Split], *, unread: int) -> list[Table]:
    """Make the table of the published results, where they cannot stand beside ours.

    Parameters
    ----------
    dataset : Dataset
    splits : iterable of Split
    unread : int
        How many images could not be read.
    """
    published = PUBLISHED[dataset.name]
    if not departures(published.protocol, dataset, tuple(splits), unread=unread):
        return []
    own = [
        (column, mean, published.source) for (column, _, _), (mean, _) in published.scores.items()
    ]
    rows = [
        Row(f"{method} ({source})", (Cell(mean),))
        for method, mean, source in (*own, *published.others)
    ]
    return [
        Table(
            f"Published on all {published.protocol.classes} classes: not comparable with the above",
            (Column("Accuracy", source="the paper named in the row"),),
            tuple(rows),
            row_header="Method",
            best="none",
            decimals=2,
            caption=f"The networks were {published.features}.",
        )
    ]
