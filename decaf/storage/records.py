"""JSON values in one form, and the hash that stands for them in files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["canonical_json", "fingerprint"]


def canonical_json(value: object) -> str:
    """Write a JSON value in the one form that is hashed.

    Keys sorted, no spaces, ASCII only; NaN and infinity, which JSON lacks, are refused.

    Parameters
    ----------
    value : object
        Made of dicts with string keys, lists, strings, numbers, booleans and None.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        For NaN and infinity.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [True, None]})
    '{"a":[true,null],"b":1}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def fingerprint(run: Mapping[str, Any]) -> str:
    """Hash what determines the rows of a file.

    Parameters
    ----------
    run : mapping
        The settings of the run, JSON values throughout.

    Returns
    -------
    str
        SHA-256 of `canonical_json` of them, 64 hexadecimal digits.

    Examples
    --------
    >>> fingerprint({"crops": "center"})[:8]
    'b4e68f12'
    """
    return hashlib.sha256(canonical_json(dict(run)).encode("ascii")).hexdigest()
