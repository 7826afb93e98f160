"""A folder of ready-made features of several domains, such as those of Office-Caltech-10.

Office-Caltech-10 (Gong et al. 2012) is given out as histograms of SURF (``amazon_SURF_L10.mat``,
``Caltech10_SURF_L10.mat``, …) and later as DeCAF features (``amazon_decaf.mat``, …). The names of
the images lie beside them (``amazon_SURF_L10_imgs.mat``), of no use here.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.dataset import Origin
from datasets.domains import DomainSet, make_domain_set
from datasets.ready_features import ReadyFeatures
from decaf.errors import InputError
from decaf.features.matrix import as_matrix, matrix_fingerprint, refuse_not_finite
from decaf.storage.matlab import MatlabValue, read_matlab

__all__ = ["OFFICE_CALTECH", "read_feature_folder", "read_matlab_features"]

OFFICE_CALTECH = Origin(
    name="Office-Caltech-10",
    reference="B. Gong, Y. Shi, F. Sha, K. Grauman: Geodesic flow kernel for unsupervised domain "
    "adaptation, CVPR 2012",
    home="https://github.com/jindongwang/transferlearning (data, Office-Caltech)",
    layout="a file for each domain and kind of features, such as amazon_SURF_L10.mat with fts "
    "(rows, dimensions) and labels",
)
FEATURES = ("fts", "feas", "features")
LABELS = ("labels", "label")

# Office-31's largest domain at pool5 in float64 is 208 MB.
MAX_BYTES = 2 << 30

_OFFICE_CALTECH_DOMAINS = {"amazon", "caltech", "dslr", "webcam"}
_OFFICE_CALTECH_IMAGES = 2533
_IMAGE_NAMES = "_imgs.mat"
_NAME = re.compile(r"([A-Za-z][A-Za-z0-9]*?(?:_painting)?)_(.+)\.mat", re.IGNORECASE)


def read_feature_folder(root: str | os.PathLike[str]) -> tuple[ReadyFeatures[DomainSet], ...]:
    """Read all MATLAB files of features in a folder.

    Rows of histograms (a kind whose name begins with ``SURF``) are divided by their sum, as Gong et
    al. do; what follows, such as bringing each feature to mean 0 and variance 1 in each domain, is
    the methods' own.

    Parameters
    ----------
    root : path
        With files ``DOMAIN_KIND.mat``; ``Caltech10`` is taken for ``caltech``, and files
        ``…_imgs.mat`` are left out.

    Returns
    -------
    tuple of ReadyFeatures
        By kind, in the order of their names. Their images are called ``domain/class 01/00017``, by
        their row in the file.

    Raises
    ------
    InputError
        If there are no such files, one cannot be read, domains have features of different
        dimensions, there is one domain alone, or the domains differ in their classes.
    """
    folder = Path(root)
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error
    of_kind: dict[str, dict[str, Path]] = defaultdict(dict)
    for name in names:
        if not name.lower().endswith(".mat") or name.lower().endswith(_IMAGE_NAMES):
            continue
        file, match = folder / name, _NAME.fullmatch(name)
        if match is None:
            raise InputError(f"{file}: expected a name such as amazon_SURF_L10.mat")
        domain = match[1].lower()
        domain = "caltech" if domain == "caltech10" else domain
        if domain in of_kind[match[2]]:
            raise InputError(f"{file}: a second file of {domain} and {match[2]}; remove one")
        of_kind[match[2]][domain] = file
    if not of_kind:
        raise InputError(
            f"{folder}: no MATLAB files here: expected {OFFICE_CALTECH.layout}; those of "
            f"Office-Caltech-10 are at {OFFICE_CALTECH.home}"
        )
    return tuple(_read(folder, kind, of_kind[kind]) for kind in sorted(of_kind))


def _read(folder: Path, kind: str, files: dict[str, Path]) -> ReadyFeatures[DomainSet]:
    blocks: dict[bytes, npt.NDArray[np.float32]] = {}
    images = []
    widths: dict[str, int] = {}
    for domain, file in files.items():
        rows, labels = read_matlab_features(file)
        widths[domain] = rows.shape[1]
        if kind.upper().startswith("SURF"):
            rows = _shares(rows, file)
        for number, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
            class_name = f"class {label:02}"
            name = f"{domain}/{class_name}/{number:05}".encode()
            images.append((name, os.fsencode(file), class_name))
            blocks[name] = row
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{domain} {width}" for domain, width in widths.items())
        raise InputError(f"{folder}: {kind} has different dimensions in its domains: {told}")
    caltech = set(files) == _OFFICE_CALTECH_DOMAINS
    count = len(images)
    notes = []
    if caltech and count != _OFFICE_CALTECH_IMAGES:
        notes = [f"{kind}: {count:,} images; Office-Caltech-10 has {_OFFICE_CALTECH_IMAGES:,}"]
    domains = make_domain_set(
        OFFICE_CALTECH.name if caltech else folder.name,
        os.fsencode(folder),
        images,
        notes=notes,
        origin=OFFICE_CALTECH if caltech else None,
        # As of Office-31, 20 of amazon and 8 of the cameras; of caltech 20 as well.
        source_per_class={"amazon": 20, "caltech": 20, "dslr": 8, "webcam": 8} if caltech else {},
        takes_fewer=caltech,
    )
    rows = np.stack([blocks[name] for name in domains.names])
    return ReadyFeatures(kind, domains, rows, matrix_fingerprint(domains.names, rows))


def _shares(rows: npt.NDArray[np.float32], file: Path) -> npt.NDArray[np.float32]:
    sums = rows.sum(axis=1, dtype=np.float64, keepdims=True)
    wrong = (rows < 0).any(axis=1) | (sums[:, 0] <= 0)
    if wrong.any():
        raise InputError(
            f"{file}: {int(wrong.sum())} of {len(rows)} rows are no histograms (negative, or all "
            f"0), the first is row {int(wrong.argmax())}"
        )
    shares: npt.NDArray[np.float32] = (rows / sums).astype(np.float32)
    return shares


def read_matlab_features(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read the features and classes of a MATLAB file of version 5 (``save -v6`` or ``-v7``).

    Parameters
    ----------
    path : path
        With ``fts`` (n, d), also called ``feas`` or ``features``, and ``labels`` (n, 1) or (1, n),
        whole numbers.

    Returns
    -------
    fts : array of float32, shape (n, d)
    labels : array of int64, shape (n,)

    Raises
    ------
    InputError
        If it cannot be read, is damaged, unpacks to more than 2 GiB, has no such variables, or
        holds NaN or infinity; names the row.
    """
    shown = os.fspath(path)
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise InputError(f"has {size:,} bytes, more than {MAX_BYTES:,}")
        variables = read_matlab(Path(path).read_bytes(), FEATURES + LABELS, max_bytes=MAX_BYTES)
        fts, labels = _chosen(variables, FEATURES), _chosen(variables, LABELS)
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror or error}") from error
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None
    rows = as_matrix(fts, shown)
    if labels.size != len(rows):
        raise InputError(f"{shown}: {len(rows)} rows of features, and {labels.size} labels")
    refuse_not_finite(rows, shown)
    numbers = labels.astype(np.float64).ravel()
    if not (np.isfinite(numbers) & (numbers == np.round(numbers)) & (abs(numbers) < 2**31)).all():
        raise InputError(f"{shown}: labels that are no whole numbers")
    return rows, numbers.astype(np.int64)


def _chosen(variables: dict[str, MatlabValue], names: tuple[str, ...]) -> npt.NDArray[Any]:
    """Choose the variable with one of some names; it has to hold plain numbers."""
    own = [name for name in names if name in variables]
    if len(own) != 1:
        raise InputError(f"{len(own) or 'no'} variables called {' or '.join(names)}; expected one")
    value = variables[own[0]]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise InputError(f"{own[0]} does not hold plain real numbers")
    return value
