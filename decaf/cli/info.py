"""``decaf info``: what a file is, what it holds and how it was made."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from decaf.cli.terminal import show
from decaf.runtime.wording import byte_size, counted

__all__ = ["HELP", "configure", "run"]

HELP = "show what a file is, what it holds and how it was made"

SHOWN_CLASSES = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf info``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a feature file, head, weights file, pack, folder of a training run, or any other",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what the file is, and its facts; return the exit code.

    Parameters
    ----------
    args : argparse.Namespace
    """
    import decaf

    info = decaf.describe(args.file)
    if args.json:
        print(json.dumps(info, indent=2))
    else:
        show(*(_lines if info["kind"] in ("features", "part-set") else _other_lines)(info))
    return 0


def _other_lines(info: dict[str, Any]) -> Iterator[str]:
    """Word what is not a feature file: a fact a line."""
    yield f"{info['path']}: {info['noun']}"
    for name, value in info.items():
        if name not in ("path", "kind", "noun", "used") and value not in ({}, [], None):
            shown = byte_size(value) if name == "bytes" else _setting(value)
            yield f"  {name.replace('_', ' '):<18}{shown}"
    if info["used"]:
        yield f"  {'use':<18}{info['used']}"


def _lines(info: dict[str, Any]) -> Iterator[str]:
    yield info["path"]
    for name, value in _facts(info):
        yield f"  {name:<14}{value}"
    yield "  layers"
    for layer, facts in info["layers"].items():
        shape = " × ".join(str(n) for n in facts["shape"])
        yield f"    {layer:<12}{shape:<18}{facts['dtype']:<10}{byte_size(facts['bytes'])}"
    yield from _class_lines(info)
    yield from _bad_lines(info)


def _facts(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what fits on a line each: name and value."""
    bad = info["rows"] - info["ok"]
    yield "rows", f"{info['rows']} ({info['ok']} ok, {bad} bad)"
    yield "size", byte_size(info["bytes"])
    if info["splits"]:
        yield "splits", ", ".join(f"{name or 'none'} {n}" for name, n in info["splits"].items())
    if info["groups"]:
        yield "groups", str(info["groups"])
    if info["boxes"]:
        yield "boxes", f"{counted(info['boxes'], 'row', 'are')} part of an image"
    for name, value in info["run"].items():
        if name != "layers":
            yield name, _setting(value)
    for name, value in info["environment"].items():
        yield name, _setting(value)
    yield "written by", f"decaf {info['decaf_version']}, {info['created']}"
    yield "fingerprint", info["fingerprint"]


def _setting(value: Any) -> str:
    """Show a setting on one line: the name of what has one, with its hash where it has one."""
    if isinstance(value, dict) and "resize" in value:
        return _preprocess(value)
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        digest = value.get("sha256")
        return f"{value['name']} (SHA-256 {digest})" if digest else value["name"]
    if isinstance(value, dict):
        return ", ".join(f"{key} {_setting(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        more = f" and {len(value) - SHOWN_CLASSES} more" if len(value) > SHOWN_CLASSES else ""
        return ", ".join(_setting(inner) for inner in value[:SHOWN_CLASSES]) + more
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def _preprocess(value: dict[str, Any]) -> str:
    """Show what was done to the pixels, as the flags of `decaf extract` have it."""
    shown = [
        f"{name.replace('_', '-')} {_setting(value[name])}"
        for name in ("resize", "resize_to", "crop", "mean", "std", "mean_image_sha256")
        if value.get(name) is not None
    ]
    name = value.get("name")
    return f"{name} ({'; '.join(shown)})" if name else "; ".join(shown)


def _class_lines(info: dict[str, Any]) -> Iterator[str]:
    classes = info["classes"]
    unlabelled = info["rows"] - info["labelled"]
    if not classes:
        yield f"  {'classes':<14}none"
        return
    yield f"  {'classes':<14}{len(classes)}" + (
        f" ({counted(unlabelled, 'row')} of none)" * bool(unlabelled)
    )
    for name, count in list(classes.items())[:SHOWN_CLASSES]:
        yield f"    {count:>8}  {name}"
    if len(classes) > SHOWN_CLASSES:
        yield f"    {'…':>8}  {len(classes) - SHOWN_CLASSES} more; --json lists them all"


def _bad_lines(info: dict[str, Any]) -> Iterator[str]:
    for status, count in info["bad"].items():
        yield f"  {status:<13} {count}"
        shown = [image for image in info["bad_images"] if image["status"] == status]
        for image in shown:
            yield f"    row {image['row']}: {image['path']}: {image['message']}"
        if count > len(shown):
            yield f"    … and {count - len(shown)} more"
