"""A benchmark from a data set to its report: features, splits, heads, baselines, curves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from datasets.ready_features import ReadyFeatures
from decaf.backbone.model import load_backbone
from decaf.errors import SettingError
from harness.fisher_vectors import fisher_vectors
from harness.frozen_features.heads import HeadSettings, Task, measure
from harness.frozen_features.report import FIXED_C, Measured, make_report
from harness.protocol.feature_cache import CachedFeatures
from harness.protocol.run import (
    BenchmarkRun,
    ProtocolSettings,
    same_names,
    same_weights,
    short_names,
)
from harness.protocol.splits import Split, draw_splits, manifest, official_splits, read_splits
from report import BenchmarkReport

__all__ = ["BASELINES", "BenchmarkSettings", "run_benchmark"]

BASELINES = ("fisher-vectors", "random")
FISHER_VECTORS = "Fisher vectors of dense SIFT"

# What a reader must know of the baseline on a data set that its settings were chosen on.
CHOSEN_ON = {
    "Caltech-101": "the settings of the Fisher vectors were chosen on images of 24 classes of "
    "Caltech-101, test images among them: their result here is an optimistic one",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(ProtocolSettings):
    """The settings of a benchmark; more in `ProtocolSettings`.

    The curves and the baseline are those of the first of `weights`; each has a table, in all of
    which the features that were given have their column.

    Attributes
    ----------
    heads : tuple of HeadSettings
        Rows of the tables.
    train_per_class : int
        Training images of each class in splits that are drawn.
    official : bool
        Take the splits that come with the data set, not drawn ones.
    baselines : tuple of str
        Some of `BASELINES`.
    curve_sizes : tuple of int
        Training images a class of the curves; those above a split's are left out.
    curve_layers : tuple of str
        Some of `layers` and `given`.
    curve_heads : tuple of HeadSettings
    """

    heads: tuple[HeadSettings, ...]
    layers: tuple[str, ...] = ("pool5", "fc6", "fc7")
    train_per_class: int = 30
    official: bool = False
    baselines: tuple[str, ...] = ()
    curve_sizes: tuple[int, ...] = ()
    curve_layers: tuple[str, ...] = ()
    curve_heads: tuple[HeadSettings, ...] = ()

    def __post_init__(self) -> None:
        wrong = [
            f"baseline {name!r} is not one of {', '.join(BASELINES)}"
            for name in self.baselines
            if name not in BASELINES
        ]
        for what in ("heads", "layers", "weights"):
            if not getattr(self, what):
                wrong.append(f"no {what} asked for")
        columns = (*self.layers, *self.given)
        wrong += [
            f"curve layer {name!r} is not one of {', '.join(columns)}"
            for name in self.curve_layers
            if name not in columns
        ]
        wrong += same_names(self)
        wrong += [f"weights {name} are named twice" for name in same_weights(self.weights)]
        if wrong:
            raise SettingError("; ".join(wrong))


Run = BenchmarkRun[BenchmarkSettings]
Features = CachedFeatures | ReadyFeatures[Dataset]


def run_benchmark(
    dataset: Dataset, run: Run, given: Sequence[ReadyFeatures[Dataset]] = ()
) -> BenchmarkReport:
    """Run a benchmark, write the manifest of its splits, and return its report.

    Parameters
    ----------
    dataset : Dataset
    run : BenchmarkRun
    given : sequence of ReadyFeatures
        Features that are measured beside those of the network: of these images, and perhaps more.

    Raises
    ------
    DecafError
        For what cannot be done; see `cached_features`, `draw_splits`, `read_splits`, `measure`.
    """
    settings = run.settings
    with run.timed("whole run"):
        if not isinstance(settings.splits, int):
            read_splits(settings.splits, dataset)  # tells what is wrong before hours of work
        elif settings.official:
            dataset = _used(dataset, official_splits(dataset, settings.splits))
        random = _random_weights(settings)
        names = short_names((*settings.weights, *random))
        images = len(dataset)
        dataset, features = run.features(dataset, names)
        given = run.given(dataset, given)
        digests = next(iter(features.values())).digests
        splits, made_by = _splits(dataset, settings, digests)
        content = manifest(dataset, splits, digests=digests, made_by=made_by)
        counts = {each.name: (len(each.train), len(each.test)) for each in splits}
        records = run.write_manifest(content, counts)
        run.notes += _copies(dataset, splits, digests)
        tasks = {
            weights: _heads(run, dataset, splits, features[weights], name, weights in random)
            for weights, name in names.items()
        }
        baselines = [task for weights in random for task in tasks.pop(weights)]
        theirs = [task for each in given for task in _heads_on_given(run, dataset, splits, each)]
        if "fisher-vectors" in settings.baselines:
            baselines += _fisher_vectors(run, dataset, splits, digests)
        points = _curve(run, dataset, splits, features[settings.weights[0]], given)
    measured = Measured(
        dataset=dataset,
        tasks={names[weights]: [*own, *theirs] for weights, own in tasks.items()},
        baselines=baselines,
        points=points,
        splits=records,
        made_by=made_by,
        cached=[each.path.name for each in features.values()],
        unread=images - len(dataset),
        settings=_listed(settings, given),
    )
    return make_report(measured, run)


def _used(dataset: Dataset, splits: Sequence[Split]) -> Dataset:
    """Leave out what no split uses, so that it need not be extracted."""
    rows = np.concatenate([part for each in splits for part in (each.train, each.test)])
    return dataset.take(rows) if len(np.unique(rows)) < len(dataset) else dataset


def _random_weights(settings: BenchmarkSettings) -> tuple[str, ...]:
    """Name the random weights that are the baseline: of the architecture of the first network.

    Where they have a table already, that is the baseline.
    """
    if "random" not in settings.baselines:
        return ()
    name = f"random:0:{load_backbone(settings.weights[0]).spec.name}"
    return () if name in settings.weights else (name,)


def _splits(
    dataset: Dataset, settings: BenchmarkSettings, digests: Mapping[bytes, str]
) -> tuple[tuple[Split, ...], str]:
    """Return the splits, and how they came about."""
    if not isinstance(settings.splits, int):
        splits = read_splits(settings.splits, dataset, digests=digests)
        return splits, f"read from {Path(settings.splits).name}"
    if settings.official:
        splits = official_splits(dataset, settings.splits)
        return splits, f"the data set's own: {', '.join(each.name for each in splits)}"
    train, seed = settings.train_per_class, settings.seed
    splits = draw_splits(dataset, train, n_splits=settings.splits, seed=seed)
    return splits, f"drawn: {train} training images a class, seed {seed}"


def _copies(dataset: Dataset, splits: Sequence[Split], digests: Mapping[bytes, str]) -> list[str]:
    """Say how many test images are training images too, by their bytes."""
    known = np.array([digests[name] for name in dataset.names])
    copies = [int(np.isin(known[s.test], known[s.train]).sum()) for s in splits]
    low, high = min(copies), max(copies)
    if not high:
        return []
    span = str(low) if low == high else f"{low} to {high}"
    told = f"{span} test images of a split are copies, byte for byte, of training images"
    return [f"{told}: the data set holds them twice"]


def _heads(
    run: Run,
    dataset: Dataset,
    splits: Sequence[Split],
    features: CachedFeatures,
    name: str,
    is_baseline: bool,
) -> list[Task]:
    """Run the heads on all layers of a network; of the baseline the plain heads are enough."""

    def heads_of(layer: str) -> Sequence[HeadSettings]:
        # Dropout is for vectors of units: the paper has no number for it on the maps of pool5.
        if layer.startswith("fc") and not is_baseline:
            return run.settings.heads
        return [h for h in run.settings.heads if not h.dropout] or run.settings.heads

    heads = [(layer, head) for layer in run.settings.layers for head in heads_of(layer)]
    with run.timed(f"heads on {name}"):
        return _on_features(run, dataset, splits, heads, features, name)


def _heads_on_given(
    run: Run, dataset: Dataset, splits: Sequence[Split], given: ReadyFeatures[Dataset]
) -> list[Task]:
    """Run the heads on features that were given."""
    heads = [(given.kind, head) for head in run.settings.heads]
    with run.timed(f"heads on {given.kind}"):
        return _on_features(run, dataset, splits, heads, given, "")


def _on_features(
    run: Run,
    dataset: Dataset,
    splits: Sequence[Split],
    heads: Sequence[tuple[str, HeadSettings]],
    features: Features,
    group: str,
) -> list[Task]:
    def read(layer: str, _split: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return features.matrix(layer, rows)

    return measure(run, dataset, splits, heads, read, fingerprint=features.fingerprint, group=group)


def _fisher_vectors(
    run: Run, dataset: Dataset, splits: Sequence[Split], digests: Mapping[bytes, str]
) -> list[Task]:
    """Run a linear SVM on Fisher vectors, each split's from its own training images."""
    heads = [h for h in run.settings.heads if h.kind == "svm" and not h.dropout]
    run.tell(f"{FISHER_VECTORS}: {len(dataset):,} images")
    with run.timed(f"{FISHER_VECTORS} and heads on them"):
        vectors = fisher_vectors(
            dataset.files,
            [digests[name] for name in dataset.names],
            [split.train for split in splits],
            cache=run.cache / "fisher-vectors",
            workers=run.settings.workers,
            progress=run.progress,
            stop=run.stop,
        )
        if vectors.bad:
            row, (_, message) = next(iter(vectors.bad.items()))
            run.notes.append(
                f"{len(vectors.bad)} of {len(dataset)} images could not be read for the Fisher "
                "vectors and were left out of their results; the first is "
                f"{os.fsdecode(dataset.names[row])}: {message}"
            )
        bad = np.array(list(vectors.bad), np.int64)

        def read(_layer: str, number: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            of_split: npt.NDArray[np.float32] = vectors.splits[number][rows]
            return of_split

        tasks = measure(
            run,
            dataset,
            [split.without(bad) for split in splits],
            [("with coordinates", head) for head in heads or [HeadSettings("SVM", "svm")]],
            read,
            fingerprint=vectors.fingerprint,
            group=FISHER_VECTORS,
        )
    run.fingerprints["Fisher vectors"] = vectors.fingerprint
    run.notes += filter(None, (CHOSEN_ON.get(dataset.name),))
    return tasks


def _curve(
    run: Run,
    dataset: Dataset,
    splits: Sequence[Split],
    features: CachedFeatures,
    given: Sequence[ReadyFeatures[Dataset]],
) -> list[tuple[int, list[Task]]]:
    """Run heads on the first training images of each class, for each size of the curve."""
    settings = run.settings
    if not settings.curve_layers:
        return []
    fewest = min(int(np.bincount(dataset.labels[each.train]).min()) for each in splits)
    sources: list[tuple[Features, tuple[str, ...]]] = [(features, settings.layers)]
    sources += [(each, (each.kind,)) for each in given]
    points = []
    with run.timed("curves"):
        for size in (size for size in settings.curve_sizes if size <= fewest):
            first = [each.first(size, dataset.labels) for each in splits]
            of_size: list[Task] = []
            for source, layers in sources:
                drawn = [layer for layer in settings.curve_layers if layer in layers]
                named = [(layer, head) for layer in drawn for head in settings.curve_heads]
                # With one image a class there is nothing to choose C on.
                heads = named
                if size == 1:
                    heads = [(layer, replace(head, C=FIXED_C)) for layer, head in named]
                tasks = _on_features(run, dataset, first, heads, source, f"{size} a class")
                of_size += [replace(t, head=h) for t, (_, h) in zip(tasks, named, strict=True)]
            points.append((size, of_size))
    return points


def _listed(settings: BenchmarkSettings, given: Sequence[ReadyFeatures[Dataset]]) -> dict[str, str]:
    """Return the settings that a reader of the report asks for first."""
    head = settings.heads[0]
    widths = [f"{each.kind} ({each.rows.shape[1]:,} numbers an image)" for each in given]
    return {
        "layers": ", ".join(settings.layers),
        **({"features given": ", ".join(widths)} if widths else {}),
        "crops": settings.crops,
        "precision": settings.precision,
        "scaling": head.scale,
        "logistic regression": head.multi_class,
        "loss of the SVM": head.loss,
        "solver": head.solver,
        "folds of the search for C": str(head.folds),
    }
