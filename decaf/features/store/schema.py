"""The feature file's schema: the names, types and attributes of version 1.

Writer and reader both take them from here, and nothing else in decaf spells them out. A file is
HDF5 with the datasets below at its root and one dataset a layer in the group ``features``; row i
of every one of them belongs to image i.

====================  ==============  =========================================================
dataset               type            content
====================  ==============  =========================================================
``features/<layer>``  (N, …) f4, f2   the layer in its natural shape; NaN where status is not ok
``path``              (N,) S          name as given, bytes, padded with NUL
``label``             (N,) i8         class index, -1 where there is none
``status``            (N,) u1         0 ok, else a place in ``status_names``
``message``           (N,) str        what was wrong with the image, empty where ok
``source_size``       (N, 2) i4       width and height as displayed, -1 where unknown
``content_sha256``    (N, 32) u1      SHA-256 of the image's bytes, zero where unknown
``class_names``       (K,) str        names of the classes; none where labels are bare numbers
``status_names``      (S,) str        names of the status codes
``split``             (N,) str        train, val or test, empty where in none; may be missing
``group``             (N,) str        what the image belongs to, empty where to nothing; likewise
====================  ==============  =========================================================

All text is UTF-8 of fixed length, padded with NUL (`decaf.storage.hdf5` says why).
"""

from __future__ import annotations

from collections.abc import Mapping

from decaf.errors import FeatureFileError
from decaf.storage.hdf5_checks import FileKind

__all__ = [
    "CLASS_NAMES",
    "COLUMNS",
    "CONTENT_SHA256",
    "FEATURES",
    "FEATURE_FILE",
    "FORMAT",
    "GROUP",
    "LABEL",
    "LAYER_DTYPES",
    "MESSAGE",
    "MESSAGE_BYTES",
    "NO_LABEL",
    "OPTIONAL",
    "PATH",
    "SCHEMA",
    "SOURCE_SIZE",
    "SPLIT",
    "STATUS",
    "STATUS_NAMES_DATASET",
]

FORMAT = "decaf-features"
SCHEMA = 1

FEATURES = "features"
PATH = "path"
LABEL = "label"
STATUS = "status"
MESSAGE = "message"
SOURCE_SIZE = "source_size"
CONTENT_SHA256 = "content_sha256"
CLASS_NAMES = "class_names"
STATUS_NAMES_DATASET = "status_names"
SPLIT = "split"
GROUP = "group"
# Columns of text that are there only where the images came divided, or in groups.
OPTIONAL = (SPLIT, GROUP)

NO_LABEL = -1

# numpy type and shape of a row, for the columns whose rows have a fixed size.
COLUMNS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    LABEL: ("<i8", ()),
    STATUS: ("|u1", ()),
    SOURCE_SIZE: ("<i4", (2,)),
    CONTENT_SHA256: ("|u1", (32,)),
}
LAYER_DTYPES: tuple[str, ...] = ("<f4", "<f2")

# Width of the message column.
MESSAGE_BYTES = 512

# Attributes of the root: ``schema`` is an integer, the others are UTF-8 strings. ``run`` is JSON of
# all that determines a row, ``environment`` JSON of what does not (device, versions, command).
# Files written since it was added have ``content`` too: JSON of the SHA-256 of each dataset
# (`decaf.features.store.content`).
FEATURE_FILE = FileKind(
    name="features",
    noun="feature file",
    plural="feature files",
    error=FeatureFileError,
    format=FORMAT,
    schema=SCHEMA,
    attributes=(
        "format",
        "schema",
        "decaf_version",
        "created",
        "run",
        "fingerprint",
        "environment",
    ),
    json=("run", "environment", "content"),
    optional=("content",),
)
