"""The benchmark from domains to its report: features, splits, methods on all pairs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.domains import DomainSet
from datasets.feature_folder import ReadyFeatures
from decaf.errors import SettingError
from harness.adaptation.measure import FeatureColumn, measure_column
from harness.adaptation.methods import PAIR
from harness.adaptation.picture import domains_picture
from harness.adaptation.report import Measured, make_report
from harness.adaptation.sections import Results
from harness.adaptation.settings import AdaptationSettings
from harness.adaptation.splits import (
    DomainSplit,
    domain_manifest,
    draw_domain_splits,
    read_domain_splits,
)
from harness.protocol.feature_cache import CachedFeatures
from harness.protocol.run import BenchmarkRun
from harness.protocol.splits import write_splits
from report import BenchmarkReport, Section, SplitRecord

__all__ = ["run_adaptation"]


def run_adaptation(
    data: DomainSet | Sequence[ReadyFeatures],
    settings: AdaptationSettings,
    out: str | os.PathLike[str],
    *,
    tell: Callable[[str], Any] | None = None,
    progress: bool | Callable[[int, int], Any] | None = None,
    stop: threading.Event | None = None,
) -> BenchmarkReport:
    """Run the benchmark, write the manifest of its splits, and give its report.

    Parameters
    ----------
    data : DomainSet or sequence of ReadyFeatures
        Images, whose features are extracted, or features as they are.
    settings : AdaptationSettings
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
        For what cannot be done; see `cached_features`, `draw_domain_splits`,
        `read_domain_splits`, `measure_column`.
    """
    run = _Run(settings, out, tell=tell, progress=progress, stop=stop)
    return make_report(run.measure(data), run)


class _Run(BenchmarkRun[AdaptationSettings]):
    made_by = ""

    def measure(self, data: DomainSet | Sequence[ReadyFeatures]) -> Measured:
        began = time.perf_counter()
        settings = self.settings
        self.records: list[SplitRecord] = []
        columns = self._of_images(data) if isinstance(data, DomainSet) else self._of_files(data)
        domains = columns[0].domains
        pairs = settings.pairs_of(domains)
        with _half_the_threads():
            results = self._results(columns, pairs)
            pictures = self._pictures(results)
        self.timing["whole run"] = time.perf_counter() - began
        return Measured(
            results=results,
            splits=self.records,
            made_by=self.made_by,
            source_count=settings.source_count(domains),
            pictures=pictures,
        )

    def _results(
        self, columns: Sequence[FeatureColumn], pairs: Sequence[tuple[str, str]]
    ) -> Results:
        settings = self.settings
        fits = []
        for column in columns:
            with self.timed(f"methods on {column.title}"):
                fits += measure_column(
                    column,
                    settings.methods_in,
                    pairs,
                    settings.settings,
                    C=settings.C,
                    seed=settings.seed,
                    store=self.store,
                    recompute=settings.recompute,
                    tell=self.tell,
                    stopped=self.stopped,
                )
        methods = {setting: settings.methods_in(setting) for setting in settings.settings}
        return Results(tuple(fits), tuple(columns), tuple(pairs), methods)

    def _pictures(self, results: Results) -> list[Section]:
        """Draw the paper's pair, or else the first, with the first features."""
        pair = PAIR if PAIR in results.pairs else results.pairs[0]
        column, settings = results.columns[0], self.settings
        with self.timed("picture"):
            drawn = domains_picture(column, pair, settings.methods, seed=settings.seed)
        return [] if drawn is None else [drawn]

    def _of_images(self, domains: DomainSet) -> list[FeatureColumn]:
        """Extract features, leave out what could not be read, and draw splits."""
        settings = self.settings
        settings.pairs_of(domains)
        self._draw(domains)  # too few images are told before anything is extracted
        features, kept = self.features(domains, settings.weights)
        domains = domains.take(kept) if len(kept) < len(domains) else domains
        digests = next(iter(features.values())).digests
        splits = self._splits(domains, digests, "")
        self._count_copies(domains, splits, digests)
        several = len(settings.weights) > 1
        return [
            FeatureColumn(
                name=layer,
                group=self.names[name] if several else "",
                domains=domains,
                splits=splits,
                fingerprint=cached.fingerprint,
                read=_reader(cached, layer, kept),
            )
            for name, cached in features.items()
            for layer in settings.layers
        ]

    def _of_files(self, kinds: Sequence[ReadyFeatures]) -> list[FeatureColumn]:
        settings = self.settings
        there = [each.kind for each in kinds]
        wrong = [layer for layer in settings.layers if layer not in there]
        if wrong:
            raise SettingError(f"features {', '.join(wrong)}: there are {', '.join(there)}")
        chosen = [each for each in kinds if not settings.layers or each.kind in settings.layers]
        if len({each.domains.domains for each in chosen}) > 1:
            told = "; ".join(f"{k.kind}: {', '.join(k.domains.domains)}" for k in chosen)
            raise SettingError(f"the features are of different domains ({told}); choose some")
        if len(chosen) > 1 and not isinstance(settings.splits, int):
            raise SettingError(
                f"a manifest of splits is of one kind of features, and there are {', '.join(there)}"
                "; choose one by --layers"
            )
        columns = []
        for each in chosen:
            self.fingerprints[f"features {each.kind}"] = each.fingerprint
            suffix = f"-{each.kind}" if len(chosen) > 1 else ""
            splits = self._splits(each.domains, {}, suffix)
            columns.append(
                FeatureColumn(
                    each.kind, "", each.domains, splits, each.fingerprint, _kept(each.rows)
                )
            )
        return columns

    def _draw(self, domains: DomainSet) -> tuple[DomainSplit, ...]:
        settings = self.settings
        return draw_domain_splits(
            domains,
            source_per_class=settings.source_count(domains),
            target_per_class=settings.target_per_class,
            n_splits=settings.splits if isinstance(settings.splits, int) else 1,
            seed=settings.seed,
            take_fewer=settings.take_fewer or domains.takes_fewer,
        )

    def _splits(
        self, domains: DomainSet, digests: Mapping[bytes, str], suffix: str
    ) -> tuple[DomainSplit, ...]:
        settings = self.settings
        if isinstance(settings.splits, int):
            splits = self._draw(domains)
            self.made_by = f"drawn, seed {settings.seed}"
            self._note_short_classes(domains)
        else:
            splits = read_domain_splits(settings.splits, domains, digests=digests)
            self.made_by = f"read from {Path(settings.splits).name}"
        content = domain_manifest(domains, splits, digests=digests, made_by=self.made_by)
        path = self.out / f"{settings.name}-splits{suffix}.json"
        write_splits(path, content)
        self.records += [
            SplitRecord(
                f"{split.name}{suffix}, {domain}",
                len(split.source[domain]),
                len(split.test[domain]),
                manifest=path.name,
                sha256=str(content["sha256"]),
            )
            for split in splits
            for domain in domains.domains
        ]
        return splits

    def _note_short_classes(self, domains: DomainSet) -> None:
        """Note the classes of a source that give all they have, which is less than is taken."""
        names = domains.class_names
        short = [
            f"{domain}: {names[label]} ({count})"
            for domain, wanted in self.settings.source_count(domains).items()
            for label, count in enumerate(domains.counts_of(domain).tolist())
            if count < wanted
        ]
        if short:
            more = f" and {len(short) - 3} more" if len(short) > 3 else ""
            self.notes.append(
                "classes with fewer images than are taken of a source give all they have: "
                f"{'; '.join(short[:3])}{more}"
            )

    def _count_copies(
        self, domains: DomainSet, splits: Sequence[DomainSplit], digests: Mapping[bytes, str]
    ) -> None:
        """Note how many test images are labelled images too, by their bytes."""
        known = np.array([digests[name] for name in domains.names])
        copies = 0
        for split in splits:
            for source, target in self.settings.pairs_of(domains):
                rows = split.of_pair(source, target)
                labelled = np.concatenate([rows.source, rows.labelled])
                copies = max(copies, int(np.isin(known[rows.test], known[labelled]).sum()))
        if copies:
            self.notes.append(
                f"up to {copies} test images of a split are copies, byte for byte, of labelled "
                "ones: the data set holds them twice"
            )


@contextmanager
def _half_the_threads() -> Iterator[None]:
    """Let numpy and scipy compute in half of their threads, and put the number back.

    Where others use the cores too, threads that share a product wait until all are scheduled: of
    two cores a geodesic flow kernel took seven times as long with both as with one, and without
    others the second thread gains little. The searches for C share out their folds instead.
    """
    from threadpoolctl import threadpool_info, threadpool_limits

    most = max((p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"), default=1)
    with threadpool_limits(max(1, most // 2), "blas"):
        yield


def _reader(
    features: CachedFeatures, layer: str, rows: npt.NDArray[np.int64]
) -> Callable[[], npt.NDArray[np.float32]]:
    return lambda: features.matrix(layer, rows)


def _kept(rows: npt.NDArray[np.float32]) -> Callable[[], npt.NDArray[np.float32]]:
    return lambda: rows
