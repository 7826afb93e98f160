"""The training pack's schema: the names, types and attributes of version 1.

A pack is HDF5, with a group for each split and what belongs to all of them at the root.

=========================  ===============  ====================================================
dataset                    type             content
=========================  ===============  ====================================================
``<split>/data``           (N, s, s, 3) u1  raw: the pixels, RGB; contiguous
                           (B,) u1          jpeg: the files, one after the other; contiguous
``<split>/offset``         (N + 1,) i8      jpeg: image i is bytes offset[i] to offset[i + 1]
``<split>/kept``           (N,) u1          jpeg: 1 where the file is the source's own, untouched
``<split>/label``          (N,) i8          place of the image's class in ``wnid``
``<split>/name``           (N,) S           path below the data set, bytes, padded with NUL
``<split>/content_sha256`` (N, 32) u1       SHA-256 of the file that the image was made from
``<split>/data_sha256``    (…, 32) u1       SHA-256 of each `BLOCK_BYTES` of ``data``
``wnid``                   (K,) str         identity of the classes: names of folders, sorted
``class_name``             (K,) str         what people call them
``mean``, ``std``          (3,) f8          of all pixels of the split train, in [0, 1], RGB
``mean_image``             (3, s, s) f4     mean of the images of train, in [0, 1]
``pca_values``             (3,) f8          eigenvalues of the covariance of RGB over the pixels of
                                            train, in [0, 1], falling
``pca_vectors``            (3, 3) f8        its eigenvectors, in the columns
``bad/row``                (M,) i8          place of an image that could not be read, in its split
``bad/split``              (M,) str         and the split
``bad/name``               (M,) S           its name, as above
``bad/label``              (M,) i8          its class
``bad/status``             (M,) str         what became of it, one of decaf's statuses
``bad/message``            (M,) str         what was wrong, in a line
``bad/content_sha256``     (M, 32) u1       as above, zero where it could not be read
=========================  ===============  ====================================================

``data`` is neither chunked nor filtered, so that it can be mapped into memory as it lies in the
file. All text is UTF-8 of fixed length, padded with NUL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from decaf.errors import PackError
from decaf.storage import canonical_json
from decaf.storage.hdf5_checks import FileKind

__all__ = [
    "BAD",
    "BLOCK_BYTES",
    "ENCODINGS",
    "FORMAT",
    "PACK_FILE",
    "RESIZES",
    "SCHEMA",
    "SPLITS",
    "STATISTICS",
    "content_fingerprint",
]

FORMAT = "decaf-pack"
SCHEMA = 1

ENCODINGS = ("jpeg", "raw")
RESIZES = ("shorter-side", "warp", "none")

# In this order in the file; a pack without "train" is none.
SPLITS = ("train", "val", "test")
BAD = "bad"

# Of the data, under one checksum.
BLOCK_BYTES = 16 << 20

# numpy type and number of axes; "mean_image" has the pack's size in two of its three.
STATISTICS: Mapping[str, tuple[str, int]] = {
    "mean": ("<f8", 1),
    "std": ("<f8", 1),
    "mean_image": ("<f4", 3),
    "pca_values": ("<f8", 1),
    "pca_vectors": ("<f8", 2),
}

# ``run`` is JSON of the settings, ``content`` JSON of counts and checksums of everything else in
# the file, ``fingerprint`` the hash of both, ``environment`` JSON of what determines nothing.
PACK_FILE = FileKind(
    name="pack",
    noun="training pack",
    plural="training packs",
    error=PackError,
    format=FORMAT,
    schema=SCHEMA,
    attributes=(
        "format",
        "schema",
        "decaf_version",
        "created",
        "run",
        "content",
        "fingerprint",
        "environment",
    ),
    json=("run", "content", "environment"),
)


def content_fingerprint(run: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """Hash what a pack holds and how it was made.

    Parameters
    ----------
    run, content : mapping
        The attributes of that name.

    Returns
    -------
    str
        SHA-256 of their canonical JSON, 64 hexadecimal digits.
    """
    whole = canonical_json({"run": dict(run), "content": dict(content)})
    return hashlib.sha256(whole.encode("ascii")).hexdigest()
