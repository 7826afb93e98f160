"""The run of any benchmark: settings, a cache, features of the images, fits, and notes."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from datasets.dataset import Dataset
from datasets.ready_features import ReadyFeatures
from decaf.backbone.weights import DEFAULT_WEIGHTS, is_registry_name
from decaf.errors import Stopped
from decaf.exploration.page import Section
from decaf.runtime.memory import peak_memory
from decaf.runtime.progress import duration
from decaf.storage import disk_errors
from harness.protocol.feature_cache import CachedFeatures, cache_folder, cached_features
from harness.protocol.outcomes import Fit, Outcome
from harness.protocol.result_store import ResultStore
from harness.protocol.splits import write_splits
from report import BenchmarkReport, SplitRecord, machine, now, versions

__all__ = ["BenchmarkRun", "ProtocolSettings", "same_names", "same_weights", "short_names"]


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings:
    """Settings that all benchmarks have.

    Attributes
    ----------
    name : str
        Stem of the report's files.
    layers : tuple of str
        Columns of the tables.
    given : tuple of str
        Further columns: names of features that are not extracted.
    weights : tuple of str
        Networks.
    splits : int or path
        How many, or a manifest that an earlier run wrote.
    seed : int
        Seed of the splits that are drawn.
    crops, precision, device, workers
        As `decaf.extract` takes them.
    cache : path, optional
        See `harness.protocol.feature_cache.cache_folder`.
    recompute : bool
        Fit all again, whatever an earlier run has stored.
    command : str
        The command line, for the report.
    title : str
        End of the report's title, which sets a partial run apart.
    """

    name: str
    layers: tuple[str, ...]
    given: tuple[str, ...] = ()
    weights: tuple[str, ...] = (DEFAULT_WEIGHTS,)
    splits: int | str | os.PathLike[str] = 5
    seed: int = 0
    crops: str = "center"
    precision: str = "fp32"
    device: str = "auto"
    workers: int | None = None
    cache: str | os.PathLike[str] | None = None
    recompute: bool = False
    command: str = ""
    title: str = ""


Settings = TypeVar("Settings", bound=ProtocolSettings)
D = TypeVar("D", bound=Dataset)
AnyOutcome = TypeVar("AnyOutcome", bound=Outcome)
T = TypeVar("T")


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
    timing : dict of stage to seconds
    notes : list of str
        Remarks for a reader of the report.
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
        self.timing: dict[str, float] = {}
        self.notes: list[str] = []
        self.fingerprints: dict[str, str] = {}
        self._store = ResultStore(self.cache / "results")
        self._manifests: dict[Path, Mapping[str, Any]] = {}
        self.tell(f"cache: {self.cache}")
        with disk_errors(self.out, "nothing was computed"):
            self.out.mkdir(parents=True, exist_ok=True)

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

    def features(
        self,
        dataset: D,
        names: Mapping[str, str],
        *,
        layers: Sequence[str] = (),
        preprocess: str | None = None,
        what: str = "",
    ) -> tuple[D, dict[str, CachedFeatures]]:
        """Extract the features of all images, or take them from the cache.

        Parameters
        ----------
        dataset : Dataset
        names : mapping of weights to str
            Names of networks in messages and tables.
        layers : sequence of str
            Those of the settings when not given.
        preprocess : str, optional
            As `decaf.extract` takes it.
        what : str
            Which part of the images it is, where a run has features of several.

        Returns
        -------
        dataset : Dataset
            Without the images that one of the networks could not read, which are noted.
        features : dict of weights to CachedFeatures
            Of the images that are left.
        """
        features = {
            each: self._features(dataset, each, name, layers, preprocess, what)
            for each, name in names.items()
        }
        ok = np.logical_and.reduce([each.ok for each in features.values()])
        if ok.all():
            return dataset, features
        bad = int(np.argmin(ok))
        message = next(iter(features.values())).messages[bad]
        self.notes.append(
            f"{np.sum(~ok)} of {len(dataset)} images could not be read and were left out; the "
            f"first is {os.fsdecode(dataset.names[bad])}: {message}"
        )
        kept = np.flatnonzero(ok)
        left = {each: replace(of_network, rows=kept) for each, of_network in features.items()}
        return dataset.take(kept), left

    def given(self, dataset: D, given: Sequence[ReadyFeatures[D]]) -> list[ReadyFeatures[D]]:
        """Return features that are not extracted, of the images that are left of the data set.

        Parameters
        ----------
        dataset : Dataset
        given : sequence of ReadyFeatures
        """
        self.fingerprints |= {f"features {each.kind}": each.fingerprint for each in given}
        return [each.of(dataset) for each in given]

    def _features(
        self,
        dataset: Dataset,
        weights: str,
        name: str,
        layers: Sequence[str],
        preprocess: str | None,
        what: str,
    ) -> CachedFeatures:
        settings = self.settings
        title = f"features of {name}, {what}" if what else f"features of {name}"
        self.tell(f"{title}: {len(dataset):,} images")
        with self.timed(title):
            features = cached_features(
                dataset,
                layers or settings.layers,
                weights=weights,
                crops=settings.crops,
                precision=settings.precision,
                preprocess=preprocess,
                cache=self.cache,
                device=settings.device,
                workers=settings.workers,
                progress=self.progress,
                stop=self.stop,
            )
        how = "extracted to" if features.computed else "in the cache,"
        self.tell(f"{title}: {how} {features.path.name}")
        self.fingerprints[f"weights {name}"] = features.weights["sha256"]
        self.fingerprints[title] = features.fingerprint
        return features

    def write_manifest(
        self, content: Mapping[str, Any], counts: Mapping[str, tuple[int, int]], suffix: str = ""
    ) -> list[SplitRecord]:
        """Keep the manifest of splits for the report, and return what that says of them.

        Parameters
        ----------
        content : mapping
            The manifest.
        counts : mapping of str to (int, int)
            Name of each split → its training and test images.
        suffix : str
            End of the file's name, after ``NAME-splits``.
        """
        path = self.out / f"{self.settings.name}-splits{suffix}.json"
        self._manifests[path] = content
        return [
            SplitRecord(name, *numbers, manifest=path.name, sha256=str(content["sha256"]))
            for name, numbers in counts.items()
        ]

    def outcomes(self, fits: Sequence[Fit[AnyOutcome]], kind: type[AnyOutcome]) -> list[AnyOutcome]:
        """Make fits, or take the outcomes that an earlier run has stored.

        Parameters
        ----------
        fits : sequence of Fit
        kind : type
            Type of their outcomes.

        Returns
        -------
        list of Outcome
            In the order of the fits.

        Raises
        ------
        Stopped
            Where the run is to end early; what is finished is in the store.
        """
        names = [json.dumps(fit.key, sort_keys=True) for fit in fits]
        made: dict[str, AnyOutcome] = {}
        if not self.settings.recompute:
            for name, fit in dict(zip(names, fits, strict=True)).items():
                stored = self._store.get(fit.key, kind)
                if stored is not None:
                    made[name] = stored
        left = {n: fit.seconds for n, fit in zip(names, fits, strict=True) if n not in made}
        if left and any(left.values()):
            about = duration(sum(left.values()))
            self.tell(f"{len(left)} fits to be made, about {about} by their sizes")
        pace = _Pace(left)
        for number, (name, fit) in enumerate(zip(names, fits, strict=True), 1):
            self._heed_stop()
            how = "from the cache"
            if name not in made:
                made[name] = fit.make()
                self._store.put(fit.key, made[name])
                how = f"{made[name].seconds:.1f} s{pace.after(name)}"
            outcome = made[name]
            C = "" if outcome.C is None else f"C {outcome.C:g}, "
            stuck = "" if outcome.converged else ", NOT CONVERGED"
            told = f"{number}/{len(fits)} {fit.title}: {outcome.accuracy:.1f} % right"
            self.tell(f"{told}, {C}{how}{stuck}")
        return [made[name] for name in names]

    def result(self, key: Mapping[str, Any], kind: type[T], make: Callable[[], T]) -> T:
        """Return the result that an earlier run has stored; where there is none, make and store it.

        Parameters
        ----------
        key : mapping
            All that determines the result, as JSON can hold it.
        kind : dataclass
            Type of the result.
        make : callable

        Raises
        ------
        Stopped
            Where the run is to end early.
        """
        self._heed_stop()
        stored = None if self.settings.recompute else self._store.get(key, kind)
        if stored is None:
            stored = make()
            self._store.put(key, stored)
        return stored

    def _heed_stop(self) -> None:
        if self.stop is not None and self.stop.is_set():
            raise Stopped("stopped; finished results are kept: the same command goes on")

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

        The manifests of splits are written now: a run that is stopped leaves those of the one
        before, which belong to its report.

        Parameters
        ----------
        title, what, headline, sections, splits, settings, notes, appendix
            As `BenchmarkReport` takes them.
        """
        for path, content in self._manifests.items():
            write_splits(path, content)
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


class _Pace:
    """How long what is left may take, by the sizes of fits and what they took so far."""

    def __init__(self, sizes: Mapping[str, float]) -> None:
        self._sizes = {name: size or 1.0 for name, size in sizes.items()}
        self._done = 0.0
        self._began = time.perf_counter()

    def after(self, name: str) -> str:
        """Return what is told after a fit."""
        self._done += self._sizes.pop(name)
        rate = (time.perf_counter() - self._began) / self._done
        left = rate * sum(self._sizes.values())
        return f", about {duration(left)} left" if self._sizes else ""


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


def same_names(settings: ProtocolSettings) -> list[str]:
    """Say which features that were given have the name of a layer.

    Parameters
    ----------
    settings : ProtocolSettings
    """
    return [
        f"features {name} have the name of a layer; give them another"
        for name in settings.given
        if name in settings.layers
    ]


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
