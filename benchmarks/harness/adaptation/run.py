"""The benchmark from domains to its report: features, splits, methods on all pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from datasets.domains import DomainSet
from datasets.ready_features import ReadyFeatures
from decaf.errors import SettingError
from harness.adaptation.measure import FeatureColumn, measure
from harness.adaptation.methods import PAIR
from harness.adaptation.picture import domains_picture
from harness.adaptation.report import Results, make_report
from harness.adaptation.settings import AdaptationSettings
from harness.adaptation.splits import (
    DomainSplit,
    domain_manifest,
    draw_domain_splits,
    read_domain_splits,
)
from harness.protocol.run import BenchmarkRun, short_names
from report import BenchmarkReport, SplitRecord

__all__ = ["run_adaptation"]

Run = BenchmarkRun[AdaptationSettings]


def run_adaptation(
    data: DomainSet | Sequence[ReadyFeatures[DomainSet]],
    run: Run,
    given: Sequence[ReadyFeatures[DomainSet]] = (),
) -> BenchmarkReport:
    """Run the benchmark, write the manifest of its splits, and return its report.

    Parameters
    ----------
    data : DomainSet or sequence of ReadyFeatures
        Images, whose features are extracted, or features as they are.
    run : BenchmarkRun
    given : sequence of ReadyFeatures
        Features of images, and perhaps of more, that are measured beside those of the network.

    Raises
    ------
    DecafError
        For what cannot be done; see `cached_features`, `draw_domain_splits`,
        `read_domain_splits`, `measure`.
    """
    settings = run.settings
    with run.timed("whole run"):
        if isinstance(data, DomainSet):
            columns, records = _columns_of_images(run, data, given)
        else:
            columns, records = _columns_of_files(run, data)
        domains = columns[0].domains
        pairs = settings.pairs_of(domains)
        with _half_the_threads():
            fits = []
            for column in columns:
                with run.timed(f"methods on {column.title}"):
                    fits += measure(run, column, pairs)
            # The paper's pair, or else the first, with the first features.
            pair = PAIR if PAIR in pairs else pairs[0]
            with run.timed("picture"):
                picture = domains_picture(columns[0], pair, settings.methods, seed=settings.seed)
    methods = {setting: settings.methods_in(setting) for setting in settings.settings}
    results = Results(tuple(fits), tuple(columns), tuple(pairs), methods)
    return make_report(results, run, records, [] if picture is None else [picture])


Columns = tuple[list[FeatureColumn], list[SplitRecord]]


def _columns_of_images(
    run: Run, domains: DomainSet, given: Sequence[ReadyFeatures[DomainSet]]
) -> Columns:
    """Extract features, leave out what could not be read, and draw splits."""
    settings = run.settings
    settings.pairs_of(domains)
    _draw(domains, settings)  # too few images are told before anything is extracted
    names = short_names(settings.weights)
    domains, features = run.features(domains, names)
    digests = next(iter(features.values())).digests
    splits, records = _splits(run, domains, digests)
    run.notes += _copies(domains, splits, digests, settings.pairs_of(domains))
    everything = np.arange(len(domains))
    columns = [
        FeatureColumn(
            name=layer,
            group=names[weights] if len(names) > 1 else "",
            domains=domains,
            splits=splits,
            fingerprint=of_network.fingerprint,
            read=partial(of_network.matrix, layer, everything),
        )
        for weights, of_network in features.items()
        for layer in settings.layers
    ]
    columns += [_column_of(each, splits) for each in run.given(domains, given)]
    return columns, records


def _columns_of_files(run: Run, kinds: Sequence[ReadyFeatures[DomainSet]]) -> Columns:
    """Choose kinds of ready features, and draw splits for each."""
    settings = run.settings
    there = [each.kind for each in kinds]
    wrong = [layer for layer in settings.layers if layer not in there]
    if wrong:
        raise SettingError(f"features {', '.join(wrong)}: there are {', '.join(there)}")
    chosen = [each for each in kinds if not settings.layers or each.kind in settings.layers]
    if len({each.dataset.domains for each in chosen}) > 1:
        told = "; ".join(f"{k.kind}: {', '.join(k.dataset.domains)}" for k in chosen)
        raise SettingError(f"the features are of different domains ({told}); choose some")
    if len(chosen) > 1 and not isinstance(settings.splits, int):
        raise SettingError(
            f"a manifest of splits is of one kind of features, and there are {', '.join(there)}"
            "; choose one by --layers"
        )
    columns, records = [], []
    for each in chosen:
        run.fingerprints[f"features {each.kind}"] = each.fingerprint
        suffix = f"-{each.kind}" if len(chosen) > 1 else ""
        splits, own = _splits(run, each.dataset, {}, suffix)
        records += own
        columns.append(_column_of(each, splits))
    return columns, records


def _column_of(
    features: ReadyFeatures[DomainSet], splits: tuple[DomainSplit, ...]
) -> FeatureColumn:
    return FeatureColumn(
        features.kind, "", features.dataset, splits, features.fingerprint, lambda: features.rows
    )


def _draw(domains: DomainSet, settings: AdaptationSettings) -> tuple[DomainSplit, ...]:
    return draw_domain_splits(
        domains,
        source_per_class=settings.source_count(domains),
        target_per_class=settings.target_per_class,
        n_splits=settings.splits if isinstance(settings.splits, int) else 1,
        seed=settings.seed,
        take_fewer=settings.take_fewer or domains.takes_fewer,
    )


def _splits(
    run: Run, domains: DomainSet, digests: Mapping[bytes, str], suffix: str = ""
) -> tuple[tuple[DomainSplit, ...], list[SplitRecord]]:
    """Draw or read the splits, write their manifest, and return what the report says of them."""
    settings = run.settings
    if isinstance(settings.splits, int):
        splits = _draw(domains, settings)
        run.notes += _short_classes(domains, settings.source_count(domains))
    else:
        splits = read_domain_splits(settings.splits, domains, digests=digests)
    content = domain_manifest(domains, splits, digests=digests, made_by=settings.made_by)
    counts = {
        f"{split.name}{suffix}, {domain}": (len(split.source[domain]), len(split.test[domain]))
        for split in splits
        for domain in domains.domains
    }
    return splits, run.write_manifest(content, counts, suffix)


def _short_classes(domains: DomainSet, source_count: Mapping[str, int]) -> list[str]:
    """Name the classes of a source that give all they have, which is less than is taken."""
    short = [
        f"{domain}: {domains.class_names[label]} ({count})"
        for domain, wanted in source_count.items()
        for label, count in enumerate(domains.counts_of(domain).tolist())
        if count < wanted
    ]
    if not short:
        return []
    more = f" and {len(short) - 3} more" if len(short) > 3 else ""
    what = "classes with fewer images than are taken of a source give all they have"
    return [f"{what}: {'; '.join(short[:3])}{more}"]


def _copies(
    domains: DomainSet,
    splits: Sequence[DomainSplit],
    digests: Mapping[bytes, str],
    pairs: Sequence[tuple[str, str]],
) -> list[str]:
    """Say how many test images are labelled images too, by their bytes."""
    known = np.array([digests[name] for name in domains.names])
    copies = 0
    for split in splits:
        for pair in pairs:
            rows = split.of_pair(*pair)
            labelled = np.concatenate([rows.source, rows.labelled])
            copies = max(copies, int(np.isin(known[rows.test], known[labelled]).sum()))
    if not copies:
        return []
    told = f"up to {copies} test images of a split are copies, byte for byte, of labelled ones"
    return [f"{told}: the data set holds them twice"]


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
