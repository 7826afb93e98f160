"""The images that a feature file was made of, where they are now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from decaf.errors import FeatureFileError, InputError
from decaf.features.store.feature_file import FeatureFile
from decaf.images import ImageList, ImageRef, collect
from decaf.images.listing.image_ref import CONTAINER_KINDS
from decaf.images.listing.sources import MEMORY_KINDS
from decaf.runtime.names import SYSTEM, name_text, slashed

__all__ = ["ImageFinder", "reading_the_record"]


@contextmanager
def reading_the_record(file: FeatureFile) -> Iterator[None]:
    """Refuse a record that decaf did not write, whatever it is that does not fit.

    Parameters
    ----------
    file : FeatureFile

    Raises
    ------
    FeatureFileError
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FeatureFileError(
            f"{file.path}: how it was made is not recorded as decaf records it "
            f"({type(error).__name__}: {error})"
        ) from error


class ImageFinder:
    """Finds the images of rows by the names in the file, and the sources that it lists.

    Names are relative to the current folder, or else to the folder in which the file was made.

    Parameters
    ----------
    file : FeatureFile

    Raises
    ------
    FeatureFileError
        Where the sources are not recorded as decaf records them.
    """

    def __init__(self, file: FeatureFile) -> None:
        # Windows takes slashes as well.
        self._system = SYSTEM if SYSTEM == "windows" else file.path_system
        self._directory = str(file.environment.get("directory", ""))
        self._spans: list[tuple[int, int, str, str]] = []
        self._archives: dict[str, ImageList | None] = {}
        self._crops = file.crops
        self._places: dict[str, dict[bytes, int]] = {}
        sources = file.environment.get("sources")
        first = 0
        with reading_the_record(file):
            for source in sources if isinstance(sources, list) else []:
                stop = first + int(source.get("images", 0))
                self._spans.append((first, stop, str(source["kind"]), str(source["path"])))
                first = stop

    def find(self, row: int, name: bytes) -> ImageRef | None:
        """Return where the image of a row should be now; it may be gone, or have changed.

        Parameters
        ----------
        row : int
        name : bytes
            Its name in the file.

        Returns
        -------
        ImageRef or None
            None where it was in memory, or what held it is gone.
        """
        crop = None if self._crops is None else self._crops[row]
        for first, stop, kind, path in self._spans:
            if first <= row < stop and kind in CONTAINER_KINDS:
                archive = self._archive(path)
                if archive is None or archive.refs is None:
                    return None
                place = self._place(path, archive, row - first, name)
                return None if place is None else replace(archive.refs[place], box=crop)
            if first <= row < stop and kind in MEMORY_KINDS:
                return None
        return ImageRef(os.fsencode(self._now(name_text(slashed(name, self._system)))), box=crop)

    def _place(self, path: str, archive: ImageList, place: int, name: bytes) -> int | None:
        """Find an image of an archive or array: by its name, where boxes are cut out of some."""
        if self._crops is None:
            return place if place < len(archive) else None
        if path not in self._places:
            places = {key: at for at, key in enumerate(archive.names)}
            # The file of an array may have moved, which its images are named after.
            places |= {key: at for at, key in enumerate(archive.relative or ()) if key.isdigit()}
            self._places[path] = places
        number = name[name.rfind(b"[") + 1 : -1]
        return self._places[path].get(name, self._places[path].get(number))

    def _archive(self, path: str) -> ImageList | None:
        if path not in self._archives:
            self._archives[path] = None
            now = self._now(path)
            # A stranger's file may call a folder, or standard input, an archive.
            if os.path.isfile(now) or os.path.isfile(now.rpartition(":")[0]):
                with suppress(InputError):
                    self._archives[path] = collect(now, labels="none")
        return self._archives[path]

    def _now(self, path: str) -> str:
        if os.path.lexists(path) or os.path.isabs(path):
            return path
        return os.path.join(self._directory, path)
