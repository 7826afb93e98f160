"""The images of a Parquet file, as img2dataset and Hugging Face's datasets write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from decaf.errors import InputError
from decaf.features.store.parquet_part import load_parquet
from decaf.images import ImageRef
from decaf.images.decoding.limits import MAX_FILE_BYTES, unpacked_limit
from decaf.images.listing.archives import Member
from decaf.scale.samples import MAX_TEXT_BYTES, Samples, json_text

__all__ = ["ImageSpool", "parquet_samples"]

# Names that a column of images has, the first that is there being taken.
IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img", "bytes", "image_bytes", "content")
KEYS = ("key", "__key__", "id")
LABELS = ("label", "cls", "class_label")
TEXTS = ("txt", "caption", "text")
BATCH_ROWS = 64


class ImageSpool:
    """Encoded images of any origin, in one scratch file, read in place like members of a tar.

    Parameters
    ----------
    path : Path
        The scratch file.
    limit : int
        Most bytes that it takes.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115  (closed on leaving)
        self._path = os.fsencode(path)
        self._limit = limit
        self._size = 0

    def __enter__(self) -> ImageSpool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: bytes, data: bytes) -> ImageRef:
        """Write an image, and return where it lies.

        Parameters
        ----------
        name, data : bytes

        Raises
        ------
        InputError
            Beyond the limit.
        """
        if self._size + len(data) > self._limit:
            raise InputError(f"its images take more than {self._limit} bytes, as no images do")
        self._file.write(data)
        member = Member(name, self._size, len(data), len(data), 0, 0)
        self._size += len(data)
        return ImageRef(name, self._path, "tar", member)


def parquet_samples(path: str, spool_path: Path) -> Samples:
    """List the images of a Parquet file, whose bytes go to a scratch file.

    Parameters
    ----------
    path : str
        On this machine.
    spool_path : Path
        The scratch file to be.

    Returns
    -------
    Samples
        The key is that of a column (``key``, ``__key__``, ``id``), or the number of the row; the
        label and the text likewise; all other columns of texts and numbers are the JSON.

    Raises
    ------
    InputError
        Where it is damaged, or has not one column of images.
    """
    import pyarrow

    samples = Samples()
    try:
        with load_parquet().ParquetFile(path) as file:
            columns = _Columns(file.schema_arrow)
            # A page may stand for far more bytes than it has; each is bounded by its group.
            limit = unpacked_limit(os.path.getsize(path))
            for number in range(file.num_row_groups):
                claimed = file.metadata.row_group(number).total_byte_size
                if claimed > limit:
                    raise InputError(f"a group of rows takes {claimed} bytes, as no images do")
            with ImageSpool(spool_path, limit) as spool:
                for batch in file.iter_batches(BATCH_ROWS, columns=columns.names):
                    for row in batch.to_pylist():
                        _add_row(samples, spool, columns, row)
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"it cannot be read as a Parquet file: {reason}") from error
    if not len(samples):
        raise InputError("there are no images in it")
    return samples


class _Columns:
    """Which column is what."""

    def __init__(self, schema: Any) -> None:
        from pyarrow import types

        simple = (
            types.is_integer,
            types.is_floating,
            types.is_boolean,
            types.is_string,
            types.is_large_string,
        )
        images, plain = {}, {}
        for column in schema:
            kind = column.type
            if types.is_struct(kind):
                if any(kind.field(i).name == "bytes" for i in range(kind.num_fields)):
                    images[column.name] = True
            elif types.is_binary(kind) or types.is_large_binary(kind):
                images[column.name] = True
            elif any(test(kind) for test in simple):
                plain[column.name] = kind
        named = [name for name in IMAGES if name in images]
        if not named and len(images) != 1:
            told = f"{', '.join(images)} hold bytes" if images else "no column holds bytes"
            raise InputError(f"there is not one column of images in it: {told}")
        self.image = named[0] if named else next(iter(images))
        self.key = next((name for name in KEYS if name in plain), None)
        self.label = next(
            (name for name in LABELS if name in plain and types.is_integer(plain[name])), None
        )
        self.text = next((name for name in TEXTS if name in plain), None)
        special = (self.image, self.key, self.label, self.text)
        self.others = [name for name in plain if name not in special]
        self.names = [name for name in (*special, *self.others) if name is not None]


def _add_row(samples: Samples, spool: ImageSpool, columns: _Columns, row: dict[str, Any]) -> None:
    image, path = row[columns.image], None
    if isinstance(image, dict):
        path, image = image.get("path"), image.get("bytes")
    key = f"{len(samples):09d}" if columns.key is None else str(row[columns.key])
    name = os.fsencode(path.replace("\0", "")) if isinstance(path, str) and path else key.encode()
    data = image if isinstance(image, bytes) else b""
    note = ""
    if len(data) > MAX_FILE_BYTES:
        data, note = b"", f"{len(data)} bytes; {MAX_FILE_BYTES} bytes is the limit"
    label = row[columns.label] if columns.label is not None else None
    text = row[columns.text] if columns.text is not None else None
    others = {name: row[name] for name in columns.others if row[name] is not None}
    wrong, known = "", ""
    text = "" if text is None else str(text)
    if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        wrong, text = f"its text was not taken: over {MAX_TEXT_BYTES} bytes", ""
    try:
        known = json_text({n: v for n, v in others.items() if not _is_nan(v)}) if others else ""
    except ValueError as error:
        wrong = f"the other columns were not taken: {error}"
    number = samples.add(
        name,
        spool.add(name, data),
        key,
        label if isinstance(label, int) and label >= 0 else -1,
        text,
        known,
    )
    if wrong:
        samples.notes[number] = wrong
    if note:
        samples.problems[number] = ("too_large", note)
    elif image is None:
        samples.problems[number] = ("missing", "the row has no image")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and not np.isfinite(value)
