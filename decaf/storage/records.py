"""Records of a run: JSON values in one form, the hash that stands for them, their differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["canonical_json", "differences", "fingerprint"]


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


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """List what differs between two records of a run, one readable phrase a setting.

    Parameters
    ----------
    before, now : dict
        JSON values.
    prefix : str
        What each phrase begins with.

    Returns
    -------
    list of str

    Examples
    --------
    >>> differences({"crops": "center", "a": {"b": 1}}, {"crops": "ten", "a": {"b": 1}})
    ['crops: center there, ten now']
    """
    differing = []
    for key in [*before, *(key for key in now if key not in before)]:
        there, here = before.get(key), now.get(key)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            differing += differences(there, here, f"{prefix}{key} ")
        else:
            differing.append(f"{prefix}{key}: {_brief(there)} there, {_brief(here)} now")
    return differing


def _brief(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(str(part) for part in value)
    text = "none" if value is None else str(value)
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text[:12] + "…"
    return text if len(text) <= 60 else text[:57] + "…"
