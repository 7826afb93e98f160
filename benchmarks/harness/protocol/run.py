"""What all benchmarks have: settings, a cache, features of their images, and what is told."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from decaf.backbone.weights import DEFAULT_WEIGHTS, is_registry_name
from decaf.storage import disk_errors
from harness.protocol.feature_cache import CachedFeatures, cache_folder, cached_features
from harness.protocol.result_store import ResultStore
from report import (
    BenchmarkReport,
    Section,
    SplitRecord,
    machine,
    now,
    peak_memory,
    versions,
)

__all__ = ["BenchmarkRun", "ProtocolSettings", "same_weights", "short_names"]


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings:
    """Settings that all benchmarks have.

    Attributes
    ----------
    name : str
        Stem of the report's files.
    layers : tuple of str
        Columns of the tables.
    weights : tuple of str
        Networks.
    splits : int or path
        How many, or a manifest that an earlier run wrote.
    seed : int
        Seed of the splits that are drawn.
    crops, precision, device, batch_size, workers
        As `decaf.extract` takes them.
    cache : path, optional
        See `harness.protocol.feature_cache.cache_folder`.
    recompute : bool
        Fit all again, whatever an earlier run has stored.
    command : str
        The command line, for the report.
    title : str
        What the report's title ends in: what sets a partial run apart.
    """

    name: str
    layers: tuple[str, ...]
    weights: tuple[str, ...] = (DEFAULT_WEIGHTS,)
    splits: int | str | os.PathLike[str] = 5
    seed: int = 0
    crops: str = "center"
    precision: str = "fp32"
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    cache: str | os.PathLike[str] | None = None
    recompute: bool = False
    command: str = ""
    title: str = ""


Settings = TypeVar("Settings", bound=ProtocolSettings)


class BenchmarkRun(Generic[Settings]):
    """A benchmark while it runs.

    Parameters
    ----------
    settings : ProtocolSettings
    out : path
        Folder for the manifest of the splits; made if it is not there.
    tell : callable, optional
        Called with a line for each thing done.
    progress : bool, callable or None
        Progress of the extraction, as `decaf.extract` takes it.
    stop : threading.Event, optional
        Set it to end the run early, with what is finished kept.

    Attributes
    ----------
    cache : Path
    store : ResultStore
    names : dict of weights to str
        What they are called in tables.
    timing : dict of stage to seconds
    notes : list of str
        What a reader of the report must know.
    fingerprints : dict of str to str
    """

    def __init__(
        self,
        settings: Settings,
        out: str | os.PathLike[str],
        *,
        tell: Callable[[str], Any] | None = None,
        progress: bool | Callable[[int, int], Any] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.settings, self.out = settings, Path(out)
        self.tell: Callable[[str], Any] = tell or (lambda _line: None)
        self.progress, self.stop = progress, stop
        self.cache = cache_folder(settings.cache)
        self.store = ResultStore(self.cache / "results")
        self.names = short_names(settings.weights)
        self.timing: dict[str, float] = {}
        self.notes: list[str] = []
        self.fingerprints: dict[str, str] = {}
        self.tell(f"cache: {self.cache}")
        with disk_errors(self.out, "nothing was computed"):
            self.out.mkdir(parents=True, exist_ok=True)

    def stopped(self) -> bool:
        """Return whether the run is to end early."""
        return self.stop is not None and self.stop.is_set()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long a stage takes.

        Parameters
        ----------
        stage : str
        """
        began = time.perf_counter()
        yield
        self.timing[stage] = time.perf_counter() - began

    def report(
        self,
        title: str,
        what: str,
        headline: str,
        sections: Sequence[Section],
        *,
        splits: Sequence[SplitRecord],
        settings: Mapping[str, str],
        notes: Sequence[str] = (),
        appendix: Sequence[Section] = (),
    ) -> BenchmarkReport:
        """Return the report, with when, where, by what and in what time it was made.

        Parameters
        ----------
        title, what, headline, sections, splits, settings, notes, appendix
            As `BenchmarkReport` takes them.
        """
        return BenchmarkReport(
            name=self.settings.name,
            title=f"{title}{self.settings.title}",
            what=what,
            headline=headline,
            sections=tuple(sections),
            command=self.settings.command,
            date=now(),
            machine=machine(),
            versions=versions(),
            fingerprints=self.fingerprints,
            splits=tuple(splits),
            settings=settings,
            timing=self.timing,
            peak_memory=peak_memory(),
            notes=tuple(notes),
            appendix=tuple(appendix),
        )

    def features(
        self, dataset: Dataset, weights: Sequence[str]
    ) -> tuple[dict[str, CachedFeatures], npt.NDArray[np.int64]]:
        """Return the features of all images, and the rows of those that all networks could read.

        Parameters
        ----------
        dataset : Dataset
        weights : sequence of str
            Some of `names`.
        """
        features = {each: self._features(dataset, each) for each in weights}
        ok = np.logical_and.reduce([each.ok for each in features.values()])
        if not ok.all():
            bad = int(np.argmin(ok))
            message = next(iter(features.values())).messages[bad]
            self.notes.append(
                f"{np.sum(~ok)} of {len(dataset)} images could not be read and were left out; the "
                f"first is {os.fsdecode(dataset.names[bad])}: {message}"
            )
        return features, np.flatnonzero(ok)

    def _features(self, dataset: Dataset, weights: str) -> CachedFeatures:
        settings, name = self.settings, self.names[weights]
        self.tell(f"features of {name}: {len(dataset):,} images")
        with self.timed(f"features of {name}"):
            features = cached_features(
                dataset,
                settings.layers,
                weights=weights,
                crops=settings.crops,
                precision=settings.precision,
                cache=self.cache,
                device=settings.device,
                batch_size=settings.batch_size,
                workers=settings.workers,
                progress=self.progress,
                stop=self.stop,
            )
        how = "extracted to" if features.computed else "in the cache,"
        self.tell(f"features of {name}: {how} {features.path.name}")
        self.fingerprints[f"weights {name}"] = features.weights["sha256"]
        self.fingerprints[f"features of {name}"] = features.fingerprint
        return features


def short_names(weights: Sequence[str]) -> dict[str, str]:
    """Return each network's name for tables: of a path the file's, with as many folders as tell.

    Parameters
    ----------
    weights : sequence of str
        Names and paths, as `decaf.load_backbone` takes them.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> short_names(["random:0", "/home/ann/runs/first/weights.safetensors"])
    {'random:0': 'random:0', '/home/ann/runs/first/weights.safetensors': 'weights.safetensors'}
    >>> list(short_names(["/runs/first/w.safetensors", "/runs/second/w.safetensors"]).values())
    ['first/w.safetensors', 'second/w.safetensors']
    """
    parts = {
        name: (name,) if is_registry_name(name) else Path(os.path.abspath(name)).parts
        for name in weights
    }
    names = {}
    for name, own in parts.items():
        length = 1
        others = {each for each in parts.values() if each != own}
        while any(each[-length:] == own[-length:] for each in others):
            length += 1
        names[name] = "/".join(own[-length:])
    return names


def same_weights(weights: Sequence[str]) -> list[str]:
    """Return the weights that are named more than once, be it by different paths.

    Parameters
    ----------
    weights : sequence of str
    """
    places = [name if is_registry_name(name) else os.path.realpath(name) for name in weights]
    return [
        name
        for number, (name, place) in enumerate(zip(weights, places, strict=True))
        if place in places[:number]
    ]
