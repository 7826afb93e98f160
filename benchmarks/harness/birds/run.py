"""The fine-grained benchmark from a data set to its report.

Donahue et al. 2014, section 4.3: DeCAF6 of the bird's box, and of its parts beside it. The parts
are where they are annotated, or, in test images, where a localiser that has learned from the
training images says that they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

import harness.birds
from datasets.cub200 import BirdSet
from datasets.dataset import Dataset
from decaf.errors import InputError, SettingError
from decaf.exploration.page import Table
from decaf.images import ImageRef
from harness.birds.localiser import LAYER, locate_parts
from harness.birds.regions import (
    BIRD_PARTS,
    PartRegions,
    check_part_names,
    enlarged,
    from_region,
    part_regions,
    to_pixels,
    to_region,
)
from harness.birds.report import explained, fallen_back, located_table, other_protocol
from harness.frozen_features.heads import Task, measure
from harness.frozen_features.report import Measured, make_report
from harness.frozen_features.run import BenchmarkSettings
from harness.protocol.feature_cache import CachedFeatures
from harness.protocol.result_store import ResultStore, images_digest, versions
from harness.protocol.run import BenchmarkRun, short_names
from harness.protocol.splits import Split, manifest, official_splits
from report import BenchmarkReport

__all__ = ["BOX", "CUT", "PARTS_ANNOTATED", "PARTS_LOCALISED", "run_fine_grained"]

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Run = BenchmarkRun[BenchmarkSettings]

# Columns of the tables, as the paper calls the layers.
BOX = "{} of the box"
CUT = "{} of the images"
PARTS_LOCALISED = "DPD + {}, parts localised"
PARTS_ANNOTATED = "DPD + {}, parts annotated"
_DECAF = {"pool5": "DeCAF5", "fc6": "DeCAF6", "fc7": "DeCAF7"}

# Each region is resized to a square whatever its shape, so that nothing of the bird is cut off.
_PREPROCESS = "decaf"


@dataclass(frozen=True, eq=False)
class _Birds:
    """Birds with parts, all of whose images can be read.

    Attributes
    ----------
    dataset : BirdSet
    split : Split
    boxes : array of float64, shape (N, 4)
    sizes : array of float64, shape (N, 2)
    parts : array of float64, shape (N, P, 2)
    regions : array of int64, shape (N, 4)
        The enlarged boxes in pixels.
    """

    dataset: BirdSet
    split: Split
    boxes: Floats
    sizes: Floats
    parts: Floats
    regions: Rows


@dataclass(frozen=True)
class _Located:
    """The places that a localiser gives, as they are kept.

    Attributes
    ----------
    shares : tuple of float or None
        Shares of the regions' sides, flattened; None for parts that are not visible.
    """

    shares: tuple[float | None, ...]


def run_fine_grained(dataset: BirdSet, run: Run) -> BenchmarkReport:
    """Run the benchmark, write the manifest of its split, and return its report.

    Parameters
    ----------
    dataset : BirdSet
        Without parts the box alone is measured, and without boxes the images as they are.
    run : BenchmarkRun

    Raises
    ------
    DecafError
        For what cannot be done; see `cached_features` and `measure`.
    """
    settings, images = run.settings, len(dataset)
    layers = settings.layers
    if dataset.parts is not None:
        check_part_names(dataset.part_names)
        layers = tuple(dict.fromkeys((*layers, LAYER)))
        if settings.crops != "center":
            raise SettingError(
                f"crops {settings.crops!r}: parts are located on the maps of one crop; use 'center'"
            )
    with run.timed("whole run"):
        names = short_names(settings.weights)
        if dataset.boxes is not None and dataset.sizes is not None:
            regions = to_pixels(enlarged(dataset.boxes), dataset.sizes)
            dataset = replace(dataset, refs=_references(dataset.files, regions))
        dataset, of_box = run.features(
            dataset, names, layers=layers, preprocess=_PREPROCESS, what="the box"
        )
        splits = official_splits(dataset)
        made_by = f"the data set's own: {splits[0].name}"
        digests = next(iter(of_box.values())).digests
        records = run.write_manifest(
            manifest(dataset, splits, digests=digests, made_by=made_by),
            {each.name: (len(each.train), len(each.test)) for each in splits},
        )
        tasks = {
            weights: _box_tasks(run, dataset, splits, of_box[weights], name)
            for weights, name in names.items()
        }
        cached = [each.path.name for each in of_box.values()]
        tables: list[Table] = []
        if dataset.boxes is not None and dataset.sizes is not None and dataset.parts is not None:
            regions = to_pixels(enlarged(dataset.boxes), dataset.sizes)
            annotations = (dataset.boxes, dataset.sizes, dataset.parts)
            birds = _Birds(dataset, splits[0], *annotations, regions)
            annotated = _annotated_features(run, birds, names)
            for weights, name in names.items():
                located, table = _located(run, birds, of_box[weights], name)
                localised = _part_features(
                    run, birds, splits[0].test, located, {weights: name}, "parts localised"
                )
                features = (of_box[weights], annotated[weights], localised[weights])
                tasks[weights] += _part_tasks(run, birds, name, *features)
                cached += [each.path.name for each in features[1:]]
                tables.append(table)
    head = settings.heads[0]
    measured = Measured(
        dataset=dataset,
        tasks={names[weights]: of_network for weights, of_network in tasks.items()},
        baselines=[],
        points=[],
        splits=records,
        made_by=made_by,
        cached=cached,
        unread=images - len(dataset),
        settings={
            "layers": ", ".join(settings.layers),
            "crops": settings.crops,
            "precision": settings.precision,
            "preprocessing": "each region resized to a square",
            "scaling": head.scale,
            "logistic regression": head.multi_class,
            "solver": head.solver,
            "folds of the search for C": str(head.folds),
        },
        further=(
            explained(boxes=dataset.boxes is not None, parts=dataset.parts is not None),
            *tables,
            *other_protocol(dataset, splits, unread=images - len(dataset)),
        ),
    )
    return make_report(measured, run)


def _references(files: Sequence[bytes], boxes: Rows) -> list[ImageRef]:
    return [
        ImageRef(file, box=(left, top, right, bottom))
        for file, (left, top, right, bottom) in zip(files, boxes.tolist(), strict=True)
    ]


def _box_tasks(
    run: Run, dataset: BirdSet, splits: Sequence[Split], features: CachedFeatures, name: str
) -> list[Task]:
    """Run the heads on the features of the box."""

    def read(layer: str, _split: int, rows: Rows) -> Features:
        return features.matrix(layer, rows)

    column = CUT if dataset.boxes is None else BOX
    return _measured(run, dataset, splits, read, features.fingerprint, name, column)


def _measured(
    run: Run,
    dataset: Dataset,
    splits: Sequence[Split],
    read: Callable[[str, int, Rows], Features],
    fingerprint: str,
    name: str,
    column: str,
) -> list[Task]:
    """Run all heads on all layers of features, each layer a column of the table."""
    heads = [(layer, head) for layer in run.settings.layers for head in run.settings.heads]
    group = f"{name}, {column.format('features')},"
    tasks = measure(run, dataset, splits, heads, read, fingerprint=fingerprint, group=group)
    return [
        replace(task, group=name, layer=column.format(_DECAF.get(task.layer, task.layer)))
        for task in tasks
    ]


def _annotated_features(
    run: Run, birds: _Birds, names: Mapping[str, str]
) -> dict[str, CachedFeatures]:
    """Extract the features of the parts where they are annotated, of all images."""
    regions = part_regions(birds.parts, birds.dataset.part_names, birds.boxes)
    run.notes += fallen_back(regions, "in the annotation")
    every = np.arange(len(birds.dataset))
    return _part_features(run, birds, every, regions, names, "parts annotated")


def _part_features(
    run: Run,
    birds: _Birds,
    rows: Rows,
    regions: PartRegions,
    names: Mapping[str, str],
    what: str,
) -> dict[str, CachedFeatures]:
    """Extract the features of part regions: the parts of an image one after the other.

    Parameters
    ----------
    rows : array of int64, shape (n,)
        The images that `regions` are in.
    """
    dataset, count = birds.dataset, regions.boxes.shape[1]
    of_each = np.repeat(rows, count)
    pixels = to_pixels(regions.boxes.reshape(-1, 4), birds.sizes[of_each])
    files = dataset.files
    parts = Dataset(
        [b"%s#%d" % (dataset.names[row], n % count) for n, row in enumerate(of_each)],
        dataset.labels[of_each],
        dataset.class_names,
        dataset.sources,
        _references([files[row] for row in of_each], pixels),
        name=dataset.name,
        root=dataset.root,
    )
    there, features = run.features(parts, names, preprocess=_PREPROCESS, what=what)
    if len(there) < len(parts):
        raise InputError(
            f"{dataset.root}: images that could be read when the run began cannot be read now; "
            "start it again"
        )
    return features


def _located(
    run: Run, birds: _Birds, features: CachedFeatures, name: str
) -> tuple[PartRegions, Table]:
    """Return the part regions of the test images, as a localiser has them, and how good it is."""
    train, test = birds.split.train, birds.split.test
    part_names, boxes = birds.dataset.part_names, birds.boxes[test]
    places = to_region(birds.parts[train], birds.regions[train])
    with run.timed(f"localiser of {name}"):
        shares = _located_shares(run, birds, features, places)
    points = from_region(shares.clip(0, 1), birds.regions[test])
    regions = part_regions(points, part_names, boxes)
    run.notes += fallen_back(regions, f"to the localiser of {name}")
    seen = ~np.isnan(places)
    mean = np.where(seen, places, 0).sum(0) / np.maximum(seen.sum(0), 1)
    mean_place = from_region(np.broadcast_to(mean, points.shape), birds.regions[test])
    annotated = part_regions(birds.parts[test], part_names, boxes)
    every = (birds.parts[test], points, mean_place)
    return regions, located_table(name, part_names, every, (annotated, regions), boxes)


def _located_shares(run: Run, birds: _Birds, features: CachedFeatures, places: Floats) -> Floats:
    """Return where the parts of the test images are, as shares of the sides of their regions.

    What a localiser says is kept: to fit it to all of CUB-200-2011 takes minutes.
    """
    split = birds.split
    key = {
        "features": features.fingerprint,
        "places": hashlib.sha256(places.tobytes()).hexdigest(),
        "split": [images_digest(birds.dataset, rows) for rows in (split.train, split.test)],
        "versions": versions(("numpy", "scikit-learn"), harness.birds),
    }
    store = ResultStore(run.cache / "localisers")
    kept = None if run.settings.recompute else store.get(key, _Located)
    if kept is None:
        run.tell(f"localiser: {places.shape[1]} parts on {len(places):,} training images")
        train, test = (features.matrix(LAYER, rows) for rows in (split.train, split.test))
        shares = locate_parts(train, places, test)
        flat = (None if np.isnan(share) else float(share) for share in shares.ravel())
        store.put(key, _Located(tuple(flat)))
        return shares
    return np.array(kept.shares, np.float64).reshape(len(split.test), *places.shape[1:])


def _part_tasks(
    run: Run,
    birds: _Birds,
    name: str,
    of_box: CachedFeatures,
    annotated: CachedFeatures,
    localised: CachedFeatures,
) -> list[Task]:
    """Run the heads on box and parts side by side, the parts of test images from either source."""
    place = np.full(len(birds.dataset), -1, np.int64)
    place[birds.split.test] = np.arange(len(birds.split.test))

    def read(layer: str, _split: int, rows: Rows, *, at_test: CachedFeatures | None) -> Features:
        parts = _side_by_side(annotated, layer, rows)
        if at_test is not None:
            tested = np.flatnonzero(place[rows] >= 0)
            parts[tested] = _side_by_side(at_test, layer, place[rows[tested]])
        return np.concatenate([of_box.matrix(layer, rows), parts], axis=1)

    tasks = []
    for column, at_test in ((PARTS_LOCALISED, localised), (PARTS_ANNOTATED, None)):
        used = (of_box, annotated) if at_test is None else (of_box, annotated, at_test)
        fingerprint = hashlib.sha256("".join(each.fingerprint for each in used).encode())
        tasks += _measured(
            run,
            birds.dataset,
            (birds.split,),
            partial(read, at_test=at_test),
            fingerprint.hexdigest(),
            name,
            column,
        )
    return tasks


def _side_by_side(features: CachedFeatures, layer: str, rows: Rows) -> Features:
    """Return the features of the parts of images, those of one image in a row."""
    count = len(BIRD_PARTS)
    places = (rows[:, None] * count + np.arange(count)).ravel()
    return features.matrix(layer, places).reshape(len(rows), -1)
