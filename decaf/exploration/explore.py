"""`decaf.explore`: one page on which to look at the images of a feature file."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.classify.near_copies import COSINES
from decaf.errors import DiskError, ImageError, InputError, SettingError, Stopped, WeightsError
from decaf.exploration.copies import CopyPair
from decaf.exploration.duplicates import duplicates
from decaf.exploration.explore_page import Seen, page_values
from decaf.exploration.head_findings import HeadFindings, check_head, head_findings
from decaf.exploration.maps import MOST_EXACT, MapSettings, make_map
from decaf.exploration.outliers import find_outliers
from decaf.exploration.page import check_page, render_page, sprite_sheets, write_page
from decaf.exploration.unit_patches import MOST_UNITS, unit_patches
from decaf.features.extract import extract
from decaf.features.settings import NetworkSettings
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import holds_features, opened_features
from decaf.heads import load_head
from decaf.images import ListingSettings, collect, path_text
from decaf.runtime.names import name_text
from decaf.runtime.progress import tell_line
from decaf.runtime.settings import ComputeSettings, Part, refuse, settings_from, whole_number
from decaf.runtime.wording import counted
from decaf.storage import output_called

__all__ = ["ExploreSettings", "Explored", "explore"]

LAYERS = ("pool5", "fc6", "fc7")
"""The layers that are mapped where none are named, as far as the file holds them."""

Rows = npt.NDArray[np.int64]

# Pairs are compared from a cosine that far below the one that nearly all copies have. `duplicates`
# looks further by itself, which finds more mirrored and cropped ones in many minutes.
_WITHIN = 0.05


@dataclass(frozen=True)
class ExploreSettings:
    """What a page shows.

    Parameters
    ----------
    layers : tuple of str, optional
        The layers that are mapped; by default pool5, fc6 and fc7, as far as the file holds them.
    method : {"auto", "opentsne", "tsne", "umap", "pca"}
        As `MapSettings` has it.
    perplexity : float
        As `MapSettings` has it.
    seed : int
        Seed of all random draws.
    most_points : int
        Of more images so many, drawn at random, are shown.
    most_thumbnails : int
        Of more images those that are listed have thumbnails.
    thumbnail_side : int
        Pixels of a thumbnail, 16 to 255.

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    layers: tuple[str, ...] | None = None
    method: Literal["auto", "opentsne", "tsne", "umap", "pca"] = "auto"
    perplexity: float = 30.0
    seed: int = 0
    most_points: int = 50_000
    most_thumbnails: int = 5_000
    thumbnail_side: int = 96

    def __post_init__(self) -> None:
        wrong = whole_number("most_points", self.most_points, 1, 200_000)
        wrong += whole_number("most_thumbnails", self.most_thumbnails)
        wrong += whole_number("thumbnail_side", self.thumbnail_side, 16, 255)
        layers = self.layers
        if layers is not None and not (layers and all(isinstance(each, str) for each in layers)):
            wrong.append(f"`layers` {layers!r}: must be names of layers, at least one")
        elif layers is not None and len(set(layers)) < len(layers):
            wrong.append(f"`layers` {', '.join(layers)}: a layer is named twice")
        try:
            self.maps  # noqa: B018  (checks its values)
        except SettingError as error:
            wrong.append(str(error))
        refuse(wrong)

    @property
    def maps(self) -> MapSettings:
        """How the maps are made."""
        return MapSettings(method=self.method, perplexity=self.perplexity, seed=self.seed)


@dataclass(frozen=True, eq=False)
class Explored:
    """The page that `explore` has written.

    Attributes
    ----------
    path : Path
    bytes : int
    images : int
        Rows of the feature file.
    shown : int
        Images on the maps.
    thumbnails : int
        How many of them have a picture.
    bad : int
        Images that could not be read.
    trust : dict of str to float
        For each layer the mean share of an image's neighbours that are its neighbours on the map.
    accuracy : float or None
        Of the head on images held out, where there is one.
    notes : tuple of str
        What was left out.
    seconds : float
        Without the extraction.
    """

    path: Path
    bytes: int
    images: int
    shown: int
    thumbnails: int
    bad: int
    trust: dict[str, float]
    accuracy: float | None
    notes: tuple[str, ...]
    seconds: float

    def to_record(self) -> dict[str, Any]:
        """Return the result as JSON values; where a map has no trust, it is None."""
        trust = {layer: None if math.isnan(each) else each for layer, each in self.trust.items()}
        return {**asdict(self), "path": str(self.path), "trust": trust}


def explore(
    source: Any,
    out: str | os.PathLike[str],
    *,
    head: str | os.PathLike[str] | None = None,
    images: bool = True,
    keep_features: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    settings: ExploreSettings | None = None,
    listing: ListingSettings | None = None,
    network: NetworkSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> Explored:
    """Make a page on which to look at images as the layers of the network see them.

    It has a map of each layer, with how far each point can be trusted, thumbnails, the nearest
    images of any, a search by name, near copies, outliers, and what could not be read. With a head
    it has its mistakes on images held out, the surest and least sure answers, likely wrong labels,
    and the units that tell one class from another. Chosen images can be saved as a CSV of paths.
    The page is one file, which opens from disk and asks nothing of a network.

    Parameters
    ----------
    source : path, sequence, array, torch Dataset or FeatureFile
        Features, or the path of their file; or images as `decaf.extract` takes them.
    out : path
        The page to write; a page that is there is replaced.
    head : path, optional
        A head that `decaf.fit` has written for such features.
    images : bool
        Whether to show thumbnails, of the images where they were when features were made.
    keep_features : path, optional
        Keep the features of images in this file; by default they are in a temporary one.
    overwrite : bool
        Replace `keep_features`, a feature file, where it differs.
    settings : ExploreSettings, optional
        What the page shows; or its fields by their names, as of the objects below: layers, method,
        perplexity, seed, most_points, most_thumbnails, thumbnail_side.
    listing : ListingSettings, optional
        How images are listed, as in `decaf.collect`; and on_error, as in `decaf.extract`.
    network : NetworkSettings, optional
        How features are computed: weights, preprocess, crops, precision and batch_size, as in
        `decaf.extract`.
    compute : ComputeSettings, optional
        How the work is done: device, workers, progress and stop, as in `decaf.extract`.
    **named
        Fields of `settings`, `listing`, `network` and `compute` by their names.

    Returns
    -------
    Explored

    Raises
    ------
    SettingError, InputError, HeadError, WeightsError
        For what cannot be asked for; an image that has changed since, unless `images` is False.
    FeatureFileError
        For features that are damaged, or not finite.
    OutputError
        If the page cannot be written.
    Stopped
        After `stop` was set.

    Examples
    --------
    >>> import decaf
    >>> decaf.explore("photos.h5", "photos.html", head="photos.head")  # doctest: +SKIP
    """
    what, listed, run, work = settings_from(
        explore,
        named,
        Part("settings", ExploreSettings, settings),
        Part("listing", ListingSettings, listing, ("min_images", "val_labels", "val_fraction")),
        Part("network", NetworkSettings, network),
        Part("compute", ComputeSettings, compute),
    )
    target = check_page(out, keep_features)
    if head is not None:
        load_head(head)  # what is no head is refused before features are computed
    with _opened(source, keep_features, overwrite, what, listed, run, work) as file:
        began = time.perf_counter()
        groups = _groups(source, file, listed, head)
        seen = _look(file, what, work, head, groups, images=images)
        html = render_page("explore.html", page_values(seen, title=_title(source)))
    write_page(target, html)
    findings = seen.findings
    return Explored(
        path=target,
        bytes=len(html.encode()),
        images=len(file),
        shown=len(seen.rows),
        thumbnails=seen.pictures,
        bad=int((~file.ok).sum()),
        trust={each.layer: each.mean_trust for each in seen.maps},
        accuracy=findings.accuracy[0] if findings is not None and findings.accuracy else None,
        notes=seen.notes,
        seconds=time.perf_counter() - began,
    )


def _title(source: Any) -> str:
    if isinstance(source, FeatureFile):
        source = source.path
    if isinstance(source, (str, bytes, os.PathLike)):
        return Path(name_text(source)).name or name_text(source)
    return "Images"


@contextmanager
def _opened(
    source: Any,
    kept: str | os.PathLike[str] | None,
    overwrite: bool,
    settings: ExploreSettings,
    listing: ListingSettings,
    network: NetworkSettings,
    compute: ComputeSettings,
) -> Iterator[FeatureFile]:
    """Open features, which are computed first where images were given."""
    if holds_features(source):
        if kept is not None:
            raise SettingError(
                "features are given, and are kept as they are: leave out `keep_features`"
            )
        of_images = ("splits", "crops_from")
        asked = {**vars(network), **{name: getattr(listing, name) for name in of_images}}
        idle = [f"`{name}`" for name, value in asked.items() if value is not None]
        idle += ["`labels`"] if listing.labels != "folder" else []
        if idle:
            raise SettingError(
                f"features are given, as they were computed: leave out {', '.join(idle)}, or name "
                "the images"
            )
        with opened_features(source) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="decaf-explore-") as folder:
        with _for_the_page_alone() if kept is None else output_called("keep_features"):
            computed = extract(
                collect(source, listing),
                list(settings.layers or LAYERS),
                out=Path(folder) / "features.h5" if kept is None else kept,
                weights=DEFAULT_WEIGHTS if network.weights is None else network.weights,
                preprocess=network.preprocess,
                crops=network.crops or "center",
                precision=network.precision or "fp32",
                device=compute.device,
                batch_size=network.batch_size,
                workers=compute.workers,
                on_error=listing.on_error,
                progress=compute.progress,
                overwrite=overwrite,
                stop=compute.stop,
            )
        assert isinstance(computed, FeatureFile)
        with computed as file:
            yield file


@contextmanager
def _for_the_page_alone() -> Iterator[None]:
    """Say that features are not kept, of which errors name a folder that is then gone."""
    try:
        yield
    except Stopped:
        raise Stopped("stopped; the features are not kept without `keep_features`") from None
    except DiskError as error:
        raise DiskError(
            f"{tempfile.gettempdir()}: the features cannot be written there meanwhile: "
            f"{getattr(error.__cause__, 'strerror', None) or error}; keep them in another place, "
            "with `keep_features`"
        ) from error


def _groups(
    source: Any, file: FeatureFile, listing: ListingSettings, head: str | os.PathLike[str] | None
) -> tuple[str, ...] | None:
    """Return the groups of the images: those asked for, or else those of the file."""
    if listing.groups is None or not holds_features(source):
        return file.groups
    if head is None:
        raise SettingError(
            "features are given, of which `groups` keep together what is held out to try a `head`: "
            "give that too, or leave them out"
        )
    return file.images().in_groups(listing.groups).groups


def _look(
    file: FeatureFile,
    settings: ExploreSettings,
    compute: ComputeSettings,
    head: str | os.PathLike[str] | None,
    groups: tuple[str, ...] | None,
    *,
    images: bool,
) -> Seen:
    """Find out all that the page shows."""
    saved = None if head is None else check_head(head, file)
    notes: list[str] = []
    rows = _shown_rows(file, settings, notes)
    if file.splits is not None:
        counts = Counter(name or "in none" for name in file.splits)
        listed = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
        held = "; images of all are held out in turn" if head is not None else ""
        notes.append(f"splits: {listed}; the maps show all of them{held}")
    maps = []
    for layer in _mapped_layers(file, settings):
        _go_on(compute, f"map of {layer}")
        maps.append(make_map(file, layer, rows=rows, settings=settings.maps))
    findings = None
    if saved is not None:
        _go_on(compute, f"what the head makes of {saved.identity.layer}")
        findings = head_findings(file, saved, rows, groups=groups, seed=settings.seed)
        notes += findings.notes
    _go_on(compute, "copies")
    seen = Seen(
        file=file,
        rows=rows,
        maps=tuple(maps),
        outliers=tuple(find_outliers(file, maps[-1])),
        copies=_copies(file, rows, compute, notes, images=images),
        findings=findings,
        notes=tuple(notes),
    )
    if not images:
        return seen
    _go_on(compute, "thumbnails")
    wanted = rows
    if len(rows) > settings.most_thumbnails:
        wanted = seen.listed[: settings.most_thumbnails]
        notes.append(
            f"thumbnails are shown of {len(wanted):,} images, those that are listed below the "
            f"maps: of {len(rows):,} they would be too many for a page"
        )
    sheets = sprite_sheets(file, wanted.tolist(), side=settings.thumbnail_side, compute=compute)
    if sheets.gone:
        notes.append(
            f"{counted(sheets.gone, 'image')} of {len(wanted):,} without thumbnail: not where the "
            "features say, or not readable any more"
        )
    patches = _patches(file, findings, compute, notes)
    return replace(
        seen, patches=patches, pictured=tuple(wanted.tolist()), sheets=sheets, notes=tuple(notes)
    )


def _patches(
    file: FeatureFile, findings: HeadFindings | None, compute: ComputeSettings, notes: list[str]
) -> dict[int, tuple[str, ...]]:
    """Return the patches of units that tell classes apart; of a vector they are whole images."""
    if findings is None or len(file[findings.layer].shape) != 4:
        return {}
    if file.run["crops"] != "center" or len(findings.examples) > MOST_UNITS:
        notes.append("units are shown by whole images: of several crops, or of many units")
        return {}
    _go_on(compute, "patches of units")
    try:
        return unit_patches(file, findings.layer, findings.examples, compute=compute)
    except (ImageError, InputError, WeightsError) as error:
        notes.append(f"units are shown by whole images, not by patches: {error}")
        return {}


def _shown_rows(file: FeatureFile, settings: ExploreSettings, notes: list[str]) -> Rows:
    rows = np.flatnonzero(file.ok)
    if not len(rows):
        # The file may be a temporary one, which tells the user nothing.
        first = f"{path_text(file.path_bytes[0])!r}: {file.messages[0]}"
        raise InputError(
            f"none of {counted(len(file), 'image')} could be read; the first is {first} "
            f"({file.status_names[file.status[0]]})"
        )
    if len(rows) > settings.most_points:
        random = np.random.default_rng(settings.seed)
        notes.append(
            f"{settings.most_points:,} of {len(rows):,} images are shown, drawn at random; "
            f"{len(rows) - settings.most_points:,} are left out (`most_points`)"
        )
        rows = np.sort(random.choice(rows, settings.most_points, replace=False))
    return rows


def _mapped_layers(file: FeatureFile, settings: ExploreSettings) -> tuple[str, ...]:
    if settings.layers is not None:
        for layer in settings.layers:
            file[layer]  # tells what is there
        return settings.layers
    return tuple(layer for layer in LAYERS if layer in file) or file.layers[:3]


def _copies(
    file: FeatureFile, rows: Rows, compute: ComputeSettings, notes: list[str], *, images: bool
) -> tuple[CopyPair, ...]:
    """Return the copies among the images that are shown."""
    if len(file) > MOST_EXACT:
        notes.append(f"copies are not looked for among more than {MOST_EXACT:,} images")
        return ()
    layer = next((name for name in ("fc6", "fc7", "pool5") if name in file), None)
    if layer is None:
        notes.append("copies are not looked for: none of the layers tells them by a known cosine")
        return ()
    least = round(COSINES[layer] - _WITHIN, 3)
    found = duplicates(
        file, layer=layer, cosine=least, images=images, progress=False, stop=compute.stop
    )
    pairs = found.pairs
    shown = set(rows.tolist())
    return tuple(
        sorted(
            (each for each in pairs if each.first in shown and each.second in shown),
            key=lambda each: (not each.certain, -each.cosine, each.first, each.second),
        )
    )


def _go_on(compute: ComputeSettings, what: str) -> None:
    """Tell what comes next, unless the call is to end."""
    if compute.stopped:
        raise Stopped(f"stopped before the {what}; no page was written")
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if compute.progress is True or (compute.progress is None and terminal):
        tell_line(f"decaf: {what}")
