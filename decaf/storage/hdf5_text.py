"""Text in the feature file: UTF-8 of fixed length, padded with NUL.

HDF5 keeps text of variable length in a heap of its own, which has no checksums, and in which a
damaged length of zero makes the library (2.0 and before) search for ever. Text of fixed length
lies where the numbers lie, with their checksums.
"""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

__all__ = ["decode_text", "text_array", "write_text_attribute"]


def text_array(texts: Sequence[str], width: int | None = None) -> np.ndarray:
    """Encode texts for a dataset.

    Parameters
    ----------
    texts : sequence of str
        Signs that UTF-8 cannot hold are escaped; a NUL would end the text and is left out.
    width : int, optional
        Bytes of each; longer texts are cut between two signs. By default the longest's.

    Returns
    -------
    ndarray, shape (len(texts),)
        Of the fixed-length type that h5py writes as UTF-8.

    Examples
    --------
    >>> text_array(["née", "a"]).tolist()
    [b'n\\xc3\\xa9e', b'a']
    >>> text_array(["née"], width=2).tolist()
    [b'n']
    """
    encoded = [text.replace("\0", "").encode("utf-8", "backslashreplace") for text in texts]
    if width is None:
        width = max([1, *(len(text) for text in encoded)])
    cut = [
        text if len(text) <= width else text[:width].decode("utf-8", "ignore").encode("utf-8")
        for text in encoded
    ]
    return np.array(cut, h5py.string_dtype("utf-8", width))


def write_text_attribute(file: h5py.File, name: str, text: str) -> None:
    """Write a root attribute as text of fixed length.

    Parameters
    ----------
    file : h5py.File
    name, text : str
    """
    (value,) = values = text_array([text])
    file.attrs.create(name, value, dtype=values.dtype)


def decode_text(value: str | bytes) -> str:
    """Read one text as h5py gives it.

    Raises
    ------
    UnicodeError
        Where it is not UTF-8.
    """
    text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
    # h5py lets bytes that are not UTF-8 through as surrogates.
    text.encode("utf-8")
    return text
