"""Records of a run: JSON values in one form, the hash that stands for them, their differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["canonical_json", "differences", "differing_fields", "fingerprint"]


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
    return [
        f"{name}: {there} there, {here} now"
        for name, there, here in differing_fields(before, now, prefix)
    ]


def differing_fields(
    a: dict[str, Any], b: dict[str, Any], prefix: str = ""
) -> list[tuple[str, str, str]]:
    """List the fields that differ between two records, each with both of its values in short.

    Parameters
    ----------
    a, b : dict
        JSON values.
    prefix : str
        What each field's name begins with.

    Returns
    -------
    list of (str, str, str)

    Examples
    --------
    >>> differing_fields({"arch": {"lrn": None}}, {"arch": {"lrn": 5}})
    [('arch lrn', 'none', '5')]
    """
    differing = []
    for key in [*a, *(key for key in b if key not in a)]:
        one, other = a.get(key), b.get(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            differing += differing_fields(one, other, f"{prefix}{key} ")
        else:
            differing.append((f"{prefix}{key}", _brief(one), _brief(other)))
    return differing


def _brief(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(str(part) for part in value)
    text = "none" if value is None else str(value)
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text[:12] + "…"
    return text if len(text) <= 60 else text[:57] + "…"
