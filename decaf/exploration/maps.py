"""A map of a layer: the images in two dimensions, and how far each place can be trusted."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from decaf.errors import SettingError
from decaf.exploration.neighbours import NearestRows, check_finite
from decaf.features.store.feature_file import FeatureFile
from decaf.runtime.cores import cores_of_process
from decaf.runtime.settings import Part, refuse, settings_from, whole_number, wrong_types

__all__ = ["MOST_EXACT", "LayerMap", "MapSettings", "make_map"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# Up to so many rows neighbours are exact in the layer, and scikit-learn's t-SNE places all. Of more
# the principal components are those of as many, and so are the landmarks of that t-SNE.
MOST_EXACT = 10_000
# Fewer rows are too few for t-SNE and UMAP: their first two principal components are the map.
LEAST_EMBEDDED = 8
# A row that is no landmark lies amid the nearest of them, weighted by their nearness.
_LANDMARKS_A_ROW = 5

_PACKAGES = {"opentsne": "openTSNE", "umap": "umap"}
_NAMES = {
    "opentsne": "t-SNE (openTSNE)",
    "tsne": "t-SNE (scikit-learn)",
    "umap": "UMAP (umap-learn)",
    "pca": "two principal components",
}


@dataclass(frozen=True)
class MapSettings:
    """How a map is made.

    Parameters
    ----------
    method : {"auto", "opentsne", "tsne", "umap", "pca"}
        openTSNE, scikit-learn's t-SNE, UMAP, or the first two principal components; by default
        openTSNE where it is installed, else scikit-learn's.
    perplexity : float
        About how many neighbours count for a row, of t-SNE and UMAP.
    components : int
        Principal components that t-SNE and UMAP are given.
    neighbours : int
        How many nearest neighbours the trust is a share of.
    seed : int
        Seed of all random draws.

    Raises
    ------
    SettingError
        For values that cannot be used, all of them in one message.
    """

    method: Literal["auto", "opentsne", "tsne", "umap", "pca"] = "auto"
    perplexity: float = 30.0
    components: int = 50
    neighbours: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = wrong_types(self)
        if not wrong and not 1 <= self.perplexity <= 1000:
            wrong.append(f"`perplexity` {self.perplexity!r}: must be from 1 to 1000")
        if not wrong:
            wrong += whole_number("components", self.components, 2, 1000)
            wrong += whole_number("neighbours", self.neighbours, 1, 1000)
            wrong += whole_number("seed", self.seed, most=2**32 - 1)
        package = _PACKAGES.get(self.method)
        if package is not None and importlib.util.find_spec(package) is None:
            wrong.append(
                f"`method` {self.method!r} needs {package}: pip install 'decaf-features[maps]'"
            )
        refuse(wrong)

    @property
    def chosen(self) -> str:
        """The method, chosen where none was asked for."""
        if self.method != "auto":
            return self.method
        return "opentsne" if importlib.util.find_spec("openTSNE") is not None else "tsne"


@dataclass(frozen=True, eq=False)
class LayerMap:
    """The map of a layer.

    Attributes
    ----------
    layer : str
    rows : array of int64, shape (n,)
        The rows of the file that are on it.
    xy : array of float32, shape (n, 2)
        The place of each, from 0 to 1; both axes have one scale.
    trust : array of float32, shape (n,)
        Share of a row's nearest neighbours that are among as many nearest on the map, 0 to 1; NaN
        where there is one row alone.
    nearest : array of int64, shape (n, k)
        The nearest neighbours of each row, as rows of the file, the nearest first; -1 where there
        are no more.
    cosines : array of float32, shape (n, k)
        How near they are; NaN where there are no more.
    measure : str
        What neighbours are nearest by, in words.
    method : str
        What placed the rows, in words.
    settings : dict
        All that the map depends on besides the features.
    """

    layer: str
    rows: Rows
    xy: Floats
    trust: Floats
    nearest: Rows
    cosines: Floats
    measure: str
    method: str
    settings: dict[str, Any]

    @property
    def mean_trust(self) -> float:
        """The mean of `trust`; NaN where there is none."""
        known = self.trust[np.isfinite(self.trust)]
        return float(known.mean()) if len(known) else float("nan")


def make_map(
    features: FeatureFile,
    layer: str,
    *,
    rows: npt.ArrayLike | None = None,
    settings: MapSettings | None = None,
    **named: Any,
) -> LayerMap:
    """Place the images of a layer on a plane, those that are alike near each other.

    Rows are scaled to length 1, so that distances go by the cosine, and reduced to their first
    principal components; of these t-SNE or UMAP makes the map. No map of many dimensions on two is
    faithful: `LayerMap.trust` tells, image by image, how far its neighbours there are its own.

    Of more than 10,000 rows the principal components are those of 10,000, the neighbours are the
    nearest in them, and scikit-learn's t-SNE places 10,000, the others amid them.

    Parameters
    ----------
    features : FeatureFile
    layer : str
    rows : array of int, optional
        Rows of the file, none of a bad image; by default all that hold features.
    settings : MapSettings, optional
        How the map is made; or its fields by their names.
    **named
        Fields of `settings` by their names: ``method="pca", seed=1``.

    Returns
    -------
    LayerMap

    Raises
    ------
    SettingError
        For a layer that the file has not, rows without features, none at all, or settings that
        cannot be used.
    FeatureFileError
        For features that are not finite.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008; McInnes et al., "UMAP",
    2018. Venna and Kaski, "Neighborhood preservation in nonlinear projection methods", 2001, for
    the trust.
    """
    (how,) = settings_from(make_map, named, Part("settings", MapSettings, settings))
    view = features[layer]
    wanted = np.flatnonzero(features.ok) if rows is None else np.asarray(rows, np.int64)
    if not len(wanted):
        raise SettingError(f"{features.path}: no row of {layer} holds features; a map needs some")
    if not features.ok[wanted].all():
        raise SettingError(
            f"{features.path}: `rows` of images that could not be read have no place"
        )
    exact = len(wanted) <= MOST_EXACT
    random = np.random.default_rng(how.seed)
    sample = np.arange(len(wanted))
    if not exact:
        sample = np.sort(random.choice(len(wanted), MOST_EXACT, replace=False))
    places = np.full(len(features), -1, np.int64)
    places[wanted] = np.arange(len(wanted))
    reduced = _reduced(features, view, places, sample, how)
    k = min(how.neighbours, len(wanted) - 1)
    nearest, cosines = np.empty((len(wanted), 0), np.int64), np.empty((len(wanted), 0), np.float32)
    if k == 0:
        measure = f"cosine in {layer}"
    elif exact:
        nearest, cosines = NearestRows(features, layer, rows=wanted).of_rows(wanted, k=k)
        measure = f"cosine in {layer}"
    else:
        nearest, cosines = _nearest_in(reduced, wanted, k)
        measure = f"distance in the first {reduced.shape[1]} principal components of {layer}"
    method, xy = _placed(reduced, sample, how)
    return LayerMap(
        layer=layer,
        rows=wanted,
        xy=_on_unit_square(xy),
        trust=_trust(xy, places, nearest),
        nearest=nearest,
        cosines=cosines,
        measure=measure,
        method=method,
        settings={
            **asdict(how),
            "method": how.chosen if len(wanted) >= LEAST_EMBEDDED else "pca",
            "components": reduced.shape[1],
            "rows": len(wanted),
            "landmarks": len(sample),
        },
    )


def _reduced(
    features: FeatureFile, view: Any, places: Rows, sample: Rows, how: MapSettings
) -> Floats:
    """Return the first principal components of rows of length 1, read by blocks."""
    from sklearn.decomposition import PCA

    width, count = int(np.prod(view.shape[1:])), int((places >= 0).sum())
    chosen = np.zeros(count, bool)
    chosen[sample] = True
    some = np.empty((len(sample), width), np.float32)
    slot = np.cumsum(chosen) - 1
    for at, block in _unit_blocks(features, view, places):
        kept = chosen[at]
        some[slot[at[kept]]] = block[kept]
    components = min(how.components, len(sample), width)
    if len(sample) < 2:
        return np.zeros((count, 2), np.float32)
    model = PCA(components, svd_solver="randomized", iterated_power=4, random_state=how.seed)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # rows that are all alike have no variance to explain
        projected = model.fit_transform(some)
    reduced = np.zeros((count, max(components, 2)), np.float32)
    reduced[sample, :components] = projected
    if len(sample) < count:
        del some
        for at, block in _unit_blocks(features, view, places):
            reduced[at, :components] = model.transform(block)
    return reduced


def _unit_blocks(features: FeatureFile, view: Any, places: Rows) -> Iterator[tuple[Rows, Floats]]:
    """Go through a layer: the places of the wanted rows of each block, and these of length 1."""
    for start, values in view.blocks():
        at = places[start : start + len(values)]
        block = values[at >= 0].reshape(int((at >= 0).sum()), -1).astype(np.float32)
        check_finite(features, view.name, start + np.flatnonzero(at >= 0), block)
        norms = np.linalg.norm(block, axis=1, keepdims=True)
        yield at[at >= 0], block / np.where(norms > 0, norms, 1)


def _nearest_in(reduced: Floats, rows: Rows, k: int) -> tuple[Rows, Floats]:
    from sklearn.neighbors import NearestNeighbors

    distances, places = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(reduced).kneighbors()
    # Of rows of length 1: |a - b|² = 2 - 2 cos.
    return rows[places], (1 - distances**2 / 2).astype(np.float32)


def _placed(reduced: Floats, sample: Rows, how: MapSettings) -> tuple[str, Floats]:
    """Return the method in words, and the place of each row."""
    method, some = how.chosen, reduced[sample]
    if method == "pca" or len(reduced) < LEAST_EMBEDDED:
        return _NAMES["pca"], reduced[:, :2]
    perplexity = min(how.perplexity, (len(some) - 1) / 3)
    # The principal components begin the map: it is the same each time, and keeps its large parts.
    spread = float(some[:, 0].std())
    start = some[:, :2] * (1e-4 / spread if spread > 0 else 1.0)
    if method == "opentsne":
        from openTSNE import TSNE as OpenTSNE

        model = OpenTSNE(
            perplexity=min(how.perplexity, (len(reduced) - 1) / 3),
            initialization=reduced[:, :2] * (1e-4 / spread if spread > 0 else 1.0),
            random_state=how.seed,
            n_jobs=cores_of_process(),
        )
        return _NAMES[method], np.asarray(model.fit(reduced), np.float32)
    if method == "umap":
        import umap

        near = max(2, min(round(perplexity), len(reduced) - 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one seed means one thread
            model = umap.UMAP(n_neighbors=near, random_state=how.seed)
            return _NAMES[method], np.asarray(model.fit_transform(reduced), np.float32)
    from sklearn.manifold import TSNE

    # As many steps as openTSNE takes.
    model = TSNE(perplexity=perplexity, init=start, random_state=how.seed, max_iter=750)
    xy = np.empty((len(reduced), 2), np.float32)
    xy[sample] = model.fit_transform(some)
    name = _NAMES[method]
    if len(sample) < len(reduced):
        rest = np.setdiff1d(np.arange(len(reduced)), sample)
        xy[rest] = _amid(reduced[rest], some, xy[sample])
        name += f" of {len(sample):,} images, the others amid their nearest ones"
    return name, xy


def _amid(rows: Floats, landmarks: Floats, places: Floats) -> Floats:
    """Place rows at the weighted mean of the places of their nearest landmarks."""
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=_LANDMARKS_A_ROW, algorithm="brute").fit(landmarks)
    distances, nearest = model.kneighbors(rows)
    weights = 1 / (distances**2 + 1e-6)
    weights /= weights.sum(axis=1, keepdims=True)
    xy: Floats = (places[nearest] * weights[..., None]).sum(axis=1).astype(np.float32)
    return xy


def _trust(xy: Floats, places: Rows, nearest: Rows) -> Floats:
    """Return the share of each row's nearest neighbours that are among as many on the map."""
    from scipy.spatial import cKDTree

    count, k = nearest.shape
    if k == 0:
        return np.full(count, np.nan, np.float32)
    _, found = cKDTree(xy).query(xy, k=k + 1)
    # Itself is left out; where others lie on it, it may not be the first, or not be there.
    own = np.arange(count)[:, None]
    order = np.argsort(found == own, axis=1, kind="stable")[:, :k]
    on_map = np.take_along_axis(found, order, axis=1)
    true = places[nearest]
    kept = (on_map[:, :, None] == true[:, None, :]).any(axis=2)
    shares: Floats = kept.mean(axis=1).astype(np.float32)
    return shares


def _on_unit_square(xy: Floats) -> Floats:
    low = xy.min(axis=0)
    size = float((xy.max(axis=0) - low).max())
    # What is smaller is rounding: the rows are all the same.
    placed: Floats = ((xy - low) / (size if size > 1e-5 else 1.0)).astype(np.float32)
    return placed
