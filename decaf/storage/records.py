"""Records of a run: JSON values in one form, the hash that stands for them, their differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "canonical_json",
    "changed_names",
    "changed_settings",
    "differences",
    "differing_fields",
    "field_digests",
    "fingerprint",
]


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


def field_digests(record: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Hash each field of a record by itself, so that one that is changed can be named.

    Parameters
    ----------
    record : mapping
        JSON values; the fields of a record in a record are fields too.
    prefix : str
        What each field's name begins with.

    Returns
    -------
    dict of str to str
        SHA-256 of the field's JSON, by its name.

    Examples
    --------
    >>> list(field_digests({"run": {"crops": "center", "layers": ["fc6"]}, "created": "now"}))
    ['run/crops', 'run/layers', 'created']
    """
    digests: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, dict) and value:
            digests |= field_digests(value, f"{prefix}{key}/")
        else:
            # Not the canonical form: what a stranger has put there may be NaN.
            text = json.dumps(value, sort_keys=True)
            digests[f"{prefix}{key}"] = hashlib.sha256(text.encode("ascii")).hexdigest()
    return digests


def changed_names(written: Mapping[str, Any], read: Mapping[str, Any]) -> list[str]:
    """Return the names under which two sets of digests differ, or that only one of them has.

    Parameters
    ----------
    written, read : mapping of str to str

    Examples
    --------
    >>> changed_names({"a": "0", "b": "1"}, {"a": "0", "b": "2", "c": "3"})
    ['b', 'c']
    """
    return [name for name in {**written, **read} if written.get(name) != read.get(name)]


def changed_settings(
    run: Mapping[str, Any], written: object, content: Mapping[str, Any] | None
) -> str:
    """Tell what is wrong with the record of a run that its fingerprint is not of; empty if nothing.

    Parameters
    ----------
    run : mapping
    written : str
        The fingerprint beside it.
    content : mapping or None
        SHA-256 of what was written, its fields among it (``run/…``) but in files of early versions.
    """
    computed = fingerprint(run)
    if computed == written:
        return ""
    digests = {name: sha for name, sha in (content or {}).items() if name.startswith("run/")}
    changed = changed_names(digests, field_digests(run, "run/")) if digests else []
    if changed:
        return f"its settings are not what was written: {', '.join(changed)}"
    return f"its fingerprint {written!r:.80} is not that of its settings, {computed!r}"


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
