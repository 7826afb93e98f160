"""A benchmark from a data set to its report: features, splits, heads, baselines, curves."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from harness.frozen_features.baselines import (
    CHOSEN_ON,
    FISHER_VECTORS,
    UnreadImages,
    VectorsOfSplits,
    random_weights,
)
from harness.frozen_features.report import Measured, make_report
from harness.frozen_features.settings import BenchmarkSettings
from harness.protocol.feature_cache import CachedFeatures
from harness.protocol.measure import HeadSettings, Task, measure
from harness.protocol.run import BenchmarkRun, short_names
from harness.protocol.splits import (
    Split,
    draw_splits,
    manifest,
    official_splits,
    read_splits,
    write_splits,
)
from report import BenchmarkReport, SplitRecord

__all__ = ["run_benchmark"]

# For one training image a class there is nothing to validate a C on.
_FIXED_C = 1.0


def run_benchmark(
    dataset: Dataset,
    settings: BenchmarkSettings,
    out: str | os.PathLike[str],
    *,
    tell: Callable[[str], Any] | None = None,
    progress: bool | Callable[[int, int], Any] | None = None,
    stop: threading.Event | None = None,
) -> BenchmarkReport:
    """Run a benchmark, write the manifest of its splits, and give its report.

    Parameters
    ----------
    dataset : Dataset
    settings : BenchmarkSettings
    out : path
        Folder for ``NAME-splits.json``; made if it is not there.
    tell : callable, optional
        Called with a line for each thing done.
    progress : bool, callable or None
        Progress of the extraction, as `decaf.extract` takes it.
    stop : threading.Event, optional
        Set it to end the run early, with what is finished kept.

    Returns
    -------
    BenchmarkReport

    Raises
    ------
    DecafError
        For what cannot be done; see `cached_features`, `draw_splits`, `read_splits`, `measure`.
    """
    run = _Run(settings, out, tell=tell, progress=progress, stop=stop)
    return make_report(run.measure(dataset), run)


class _Run(BenchmarkRun[BenchmarkSettings]):
    dataset: Dataset

    def measure(self, dataset: Dataset) -> Measured:
        began = time.perf_counter()
        settings = self.settings
        if settings.official and isinstance(settings.splits, int):
            dataset = _used(dataset, official_splits(dataset, settings.splits))
        if not isinstance(settings.splits, int):
            read_splits(settings.splits, dataset)  # tells what is wrong before hours of work
        random: tuple[str, ...] = ()
        if "random" in settings.baselines:
            # Where they have a table already, that is the baseline.
            name = random_weights(settings.weights[0])
            random = () if name in settings.weights else (name,)
        names = (*settings.weights, *random)
        self.names = short_names(names)
        features, self.rows = self.features(dataset, names)
        unread = len(dataset) - len(self.rows)
        self.dataset = dataset.take(self.rows) if unread else dataset
        digests = next(iter(features.values())).digests
        self.splits, record, made_by = self._splits(digests)
        self._count_copies(digests)
        tasks = {name: self._heads(name, features[name], name in random) for name in names}
        baselines = [task for name in random for task in tasks.pop(name)]
        if "fisher-vectors" in settings.baselines:
            baselines += self._fisher_vectors(digests)
        points = self._curve(features[settings.weights[0]])
        self.timing["whole run"] = time.perf_counter() - began
        return Measured(
            dataset=self.dataset,
            tasks=tasks,
            baselines=baselines,
            points=points,
            splits=record,
            made_by=made_by,
            cached=[each.path.name for each in features.values()],
            fixed_C=_FIXED_C,
            unread=unread,
        )

    def _splits(
        self, digests: dict[bytes, str]
    ) -> tuple[tuple[Split, ...], list[SplitRecord], str]:
        settings = self.settings
        if not isinstance(settings.splits, int):
            splits = read_splits(settings.splits, self.dataset, digests=digests)
            made_by = f"read from {Path(settings.splits).name}"
        elif settings.official:
            splits = official_splits(self.dataset, settings.splits)
            made_by = f"the data set's own: {', '.join(each.name for each in splits)}"
        else:
            splits = draw_splits(
                self.dataset,
                settings.train_per_class,
                test_per_class=settings.test_per_class,
                n_splits=settings.splits,
                seed=settings.seed,
            )
            made_by = (
                f"drawn: {settings.train_per_class} training images a class, seed {settings.seed}"
            )
        content = manifest(self.dataset, splits, digests=digests, made_by=made_by)
        path = self.out / f"{settings.name}-splits.json"
        write_splits(path, content)
        record = [
            SplitRecord(
                each.name,
                len(each.train),
                len(each.test),
                manifest=path.name,
                sha256=str(content["sha256"]),
            )
            for each in splits
        ]
        return splits, record, made_by

    def _count_copies(self, digests: dict[bytes, str]) -> None:
        """Note how many test images are training images too, by their bytes."""
        known = np.array([digests[name] for name in self.dataset.names])
        copies = [int(np.isin(known[s.test], known[s.train]).sum()) for s in self.splits]
        if max(copies):
            low, high = min(copies), max(copies)
            self.notes.append(
                f"{low if low == high else f'{low} to {high}'} test images of a split are copies, "
                "byte for byte, of training images: the data set holds them twice"
            )

    def _heads(self, weights: str, features: CachedFeatures, is_baseline: bool) -> list[Task]:
        heads = self.settings.heads
        if is_baseline:  # of the baseline the plain heads are enough
            heads = tuple(head for head in heads if not head.dropout) or heads
        rows, name = _Rows(features, self.rows), self.names[weights]
        with self.timed(f"heads on {name}"):
            return self._run(
                rows, self.splits, self.settings.layers, lambda layer: _heads_of(layer, heads), name
            )

    def _fisher_vectors(self, digests: dict[bytes, str]) -> list[Task]:
        vectors = VectorsOfSplits(
            self.dataset,
            self.splits,
            digests=digests,
            workers=self.settings.workers,
            progress=self.progress,
            cache=self.cache / "fisher-vectors",
            stop=self.stop,
        )
        self.tell(f"{FISHER_VECTORS}: {len(self.dataset):,} images")
        heads = [h for h in self.settings.heads if h.kind == "svm" and not h.dropout]
        heads = heads or [HeadSettings("SVM", "svm")]
        with self.timed(f"{FISHER_VECTORS} and heads on them"):
            by_split = [
                self._vectors_of(vectors, number, split, heads)
                for number, split in enumerate(self.splits)
            ]
        self.fingerprints["Fisher vectors of the first split"] = vectors.fingerprint(0)
        self.notes += filter(None, (CHOSEN_ON.get(self.dataset.name),))
        return [
            replace(
                tasks[0],
                splits=tuple(t.splits[0] for t in tasks),
                outcomes=tuple(t.outcomes[0] for t in tasks),
            )
            for tasks in zip(*by_split, strict=True)
        ]

    def _vectors_of(
        self, vectors: VectorsOfSplits, number: int, split: Split, heads: Sequence[HeadSettings]
    ) -> list[Task]:
        rows, layers = vectors.of_split(number), (vectors.layer,)
        try:
            return self._run(rows, (split,), layers, heads, FISHER_VECTORS)
        except UnreadImages as error:
            if str(error) not in self.notes:
                self.notes.append(str(error))
            left = split.without(error.rows)
            return self._run(rows, (left,), layers, heads, FISHER_VECTORS)

    def _curve(self, features: CachedFeatures) -> list[tuple[int, list[Task]]]:
        settings = self.settings
        if not settings.curve_layers:
            return []
        fewest = min(
            int(np.bincount(self.dataset.labels[each.train]).min()) for each in self.splits
        )
        sizes = [size for size in settings.curve_sizes if size <= fewest]
        points = []
        with self.timed("curves"):
            for size in sizes:
                splits = [each.first(size, self.dataset.labels) for each in self.splits]
                heads = settings.curve_heads
                if size == 1:
                    heads = tuple(replace(head, C=_FIXED_C) for head in heads)
                layers, rows = settings.curve_layers, _Rows(features, self.rows)
                tasks = self._run(rows, splits, layers, heads, f"{size} a class")
                names = zip(tasks, [h for _ in layers for h in settings.curve_heads], strict=True)
                points.append((size, [replace(task, head=head) for task, head in names]))
        return points

    def _run(
        self,
        features: Any,
        splits: Sequence[Split],
        layers: Sequence[str],
        heads: Sequence[HeadSettings] | Callable[[str], Sequence[HeadSettings]],
        group: str,
    ) -> list[Task]:
        return measure(
            self.dataset,
            features,
            splits,
            layers,
            heads,
            group=group,
            store=self.store,
            recompute=self.settings.recompute,
            device=self.settings.device,
            tell=self.tell,
            stopped=self.stopped,
        )


def _used(dataset: Dataset, splits: Sequence[Split]) -> Dataset:
    """Leave out what no split uses, so that it need not be extracted."""
    rows = np.concatenate([part for each in splits for part in (each.train, each.test)])
    return dataset.take(rows) if len(np.unique(rows)) < len(dataset) else dataset


def _heads_of(layer: str, heads: Sequence[HeadSettings]) -> Sequence[HeadSettings]:
    """Leave dropout to vectors of units: the paper has no number for it on the maps of pool5."""
    if layer.startswith("fc"):
        return heads
    return [head for head in heads if not head.dropout] or heads


class _Rows:
    """Features of a part of a data set, by the part's own row numbers."""

    def __init__(self, features: CachedFeatures, rows: npt.NDArray[np.int64]) -> None:
        self._features, self._rows = features, rows

    @property
    def fingerprint(self) -> str:
        """What changes with any row."""
        return self._features.fingerprint

    def matrix(self, layer: str, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Return rows of a layer."""
        return self._features.matrix(layer, self._rows[rows])
