"""Proving a feature file: the whole of it is read, and sampled rows are computed anew."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decaf.errors import ImageError, SettingError
from decaf.features.extraction import Extraction
from decaf.features.image_finder import ImageFinder
from decaf.features.recorded_run import recorded_backbone, recorded_settings
from decaf.features.settings import RunSettings
from decaf.features.store.checksums import read_attributes, read_content
from decaf.features.store.feature_file import FeatureFile
from decaf.features.store.opening import open_features
from decaf.images import ImageList, ImageRef, collect
from decaf.runtime.agreement import difference, tolerance
from decaf.runtime.wording import counted
from decaf.storage import changed_names, differences

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone

__all__ = ["Verification", "verify"]


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    Attributes
    ----------
    rows : int
        Rows of the file, all of which were read back and agreed with HDF5's checksums.
    changed : list of str
        Columns and attributes that are not what was written, such as ``label``, ``run/crops`` or
        ``label, attribute unit``: changed since, by another program or by hand. Files of earlier
        versions of decaf do not know what was written.
    compared : int
        Rows that were computed anew.
    measure : {"relative error", "1 - cosine"}
        ``‖a - b‖ / ‖b‖`` for float32 arithmetic, one minus the cosine for bfloat16.
    tolerance : dict of str to float
        For each layer, the largest difference that is still agreement.
    worst : dict of str to float
        For each layer, the largest difference found.
    failed : list of (row, layer, difference)
        Rows that do not agree.
    unavailable : list of (row, reason)
        Sampled rows whose image is gone or has changed.
    notes : list of str
        Differences between the file's settings and this machine's, such as torch's version.
    """

    rows: int
    changed: list[str]
    compared: int
    measure: str
    tolerance: dict[str, float]
    worst: dict[str, float]
    failed: list[tuple[int, str, float]]
    unavailable: list[tuple[int, str]]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing disagrees (which says little where nothing could be compared)."""
        return not self.failed and not self.changed


def verify(
    path: str | os.PathLike[str],
    *,
    rows: int = 32,
    seed: int = 0,
    weights: str | os.PathLike[str] | Backbone | None = None,
    images: Any = None,
    device: str = "auto",
    batch_size: int | None = None,
) -> Verification:
    """Check a feature file against its checksums, its weights and its images.

    Parameters
    ----------
    path : path
        The feature file.
    rows : int
        How many rows, drawn at random, to compute anew; 0 for none, more than there are for all.
    seed : int
        Seed of the draw.
    weights : str, path or Backbone, optional
        Where the weights are now; by default the name that the file gives. They must be the same
        ones, by SHA-256.
    images : anything `decaf.extract` takes, optional
        Where the images are now, in the order of the rows; by default the names in the file,
        relative to the current folder, or else to the folder in which it was made.
    device : str
        Where to compute.
    batch_size : int, optional
        Images a forward pass.

    Returns
    -------
    Verification

    Raises
    ------
    FeatureFileError
        Where the file is damaged.
    WeightsError
        Where the weights are not those of the file.
    SettingError
        For a negative number of rows or seed, or images of another number than the file has rows.
    """
    for name, number in (("rows", rows), ("seed", seed)):
        if number < 0:
            raise SettingError(f"`{name}` {number}: must be 0 or more")
    with open_features(path) as file:
        changed = _changed(file)
        notes: list[str] = []
        if rows and any(name.startswith(("run/", "environment/")) for name in changed):
            notes.append("no row was computed anew: how is not what was written")
            rows = 0
        chosen = np.random.default_rng(seed).permutation(np.flatnonzero(file.ok))[:rows]
        sample = _Sample(file, sorted(chosen.tolist()), images)
        if file.content is None:
            notes.append(
                "the file has no checksums of its columns, as decaf writes them: whether labels, "
                "class names and paths are as they were written cannot be told"
            )
        elif file.attribute_digests is None:
            notes.append(
                "the file has no checksums of its attributes, as decaf writes them: whether its "
                "settings are as they were written cannot be told"
            )
        fresh: dict[int, dict[str, np.ndarray]] = {}
        if sample.rows:
            settings = recorded_settings(file)
            backbone = recorded_backbone(file, weights)
            notes += differences(file.run, settings.record(backbone))
            fresh = sample.compute(backbone, settings, device, batch_size)
        return _compare(file, changed, fresh, sample.unavailable, notes)


def _changed(file: FeatureFile) -> list[str]:
    """Read all of it, and name what is not as it was written, where the file knows it."""
    read = read_content(file)
    changed = [] if file.content is None else changed_names(file.content, read)
    if file.attribute_digests is not None:
        changed += changed_names(file.attribute_digests, read_attributes(file))
    return changed + file.foreign_attributes()


class _Sample:
    """The rows that are to be computed anew, and where their images are now."""

    def __init__(self, file: FeatureFile, rows: list[int], images: Any) -> None:
        self.rows: list[int] = []
        self.unavailable: list[tuple[int, str]] = []
        self._digests = file.content_sha256
        self._names = file.path_bytes
        self._sources: list[Any] = []
        if images is not None:
            given = collect(images, labels="none")
            if len(given) != len(file):
                raise SettingError(
                    f"{file.path}: has {counted(len(file), 'row')}, but "
                    f"{counted(len(given), 'image', 'were')} given; they "
                    "must be the same, in the order of the rows"
                )
            for row in rows:
                if given.refs is None:
                    self._take(row, given.get(row))
                else:
                    self._take_ref(row, given.refs[row])
            return
        if not rows:
            return
        finder = ImageFinder(file)
        for row in rows:
            ref = finder.find(row, file.path_bytes[row])
            if ref is None:
                reason = "its image was in memory, or the archive or array that held it is gone"
                self.unavailable.append((row, reason))
            else:
                self._take_ref(row, ref)

    def _take_ref(self, row: int, ref: ImageRef) -> None:
        try:
            digest = ref.digest(ref.load())
        except ImageError as error:
            self.unavailable.append((row, f"{error.message} ({error.status})"))
            return
        if digest != self._digests[row].tobytes():
            self.unavailable.append((row, "the image has changed since"))
            return
        self._take(row, ref)

    def _take(self, row: int, source: Any) -> None:
        self.rows.append(row)
        self._sources.append(source)

    def compute(
        self, backbone: Backbone, settings: RunSettings, device: str, batch_size: int | None
    ) -> dict[int, dict[str, np.ndarray]]:
        """Compute the rows anew; those whose image turns out to be another one drop out."""
        from decaf.runtime.device import choose_device

        in_memory = not isinstance(self._sources[0], ImageRef)
        listed = ImageList(
            names=[self._names[row] for row in self.rows],
            labels=np.full(len(self.rows), -1, np.int64),
            class_names=(),
            sources=(),
            refs=None if in_memory else self._sources,
            objects=self._sources if in_memory else None,
        )
        fresh = {}
        with Extraction(
            listed, backbone, settings, device=choose_device(device), batch_size=batch_size
        ) as extraction:
            for block in extraction.rows():
                for place in range(block.start, block.stop):
                    row = self.rows[place]
                    at = place - block.start
                    if block.content_sha256[at].tobytes() != self._digests[row].tobytes():
                        self.unavailable.append((row, "the image has changed since"))
                    elif block.status[at]:
                        self.unavailable.append((row, f"now: {block.messages[at]}"))
                    else:
                        fresh[row] = {name: v[at] for name, v in block.features.items()}
        return fresh


def _compare(
    file: FeatureFile,
    changed: list[str],
    fresh: dict[int, dict[str, np.ndarray]],
    unavailable: list[tuple[int, str]],
    notes: list[str],
) -> Verification:
    kinds = file.run.get("precision", "fp32"), file.run.get("dtype", "")
    allowed = {layer: tolerance(*kinds, layer) for layer in file.layers}
    worst = dict.fromkeys(file.layers, 0.0)
    failed = []
    for row, values in fresh.items():
        for layer, value in values.items():
            measure, limit = allowed[layer]
            far = difference(measure, value, file[layer][row])
            worst[layer] = max(worst[layer], far)
            if not far <= limit:
                failed.append((row, layer, far))
    return Verification(
        rows=len(file),
        changed=changed,
        compared=len(fresh),
        measure=next(iter(allowed.values()))[0],
        tolerance={layer: limit for layer, (_, limit) in allowed.items()},
        worst=worst,
        failed=failed,
        unavailable=sorted(unavailable),
        notes=notes,
    )
