"""Pages with every setting of every preset, of all other settings, and of the networks' layers."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, get_args, get_type_hints

from command_pages import in_markdown

import decaf
from decaf.backbone import ARCHITECTURES, summarise, summary_markdown
from decaf.cli.arguments import field_texts
from decaf.train import PRESETS

__all__ = ["settings_pages"]


def settings_pages() -> dict[str, str]:
    """Return the pages in Markdown, by their names."""
    return {"presets": _presets(), "others": _others(), "networks": _networks()}


def _shown(value: Any) -> str:
    """Return a value as it is written on a command line."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return in_markdown(f"{value:g}" if isinstance(value, float) else str(value))


def _about(settings: type, name: str) -> str:
    """Return what a setting is: its text, that of training's of this name, or its values."""
    for each in (settings, decaf.TrainSettings):
        if text := field_texts(each.__doc__ or "").get(name):
            return in_markdown(text)
    values = get_args(get_type_hints(settings)[name])
    return f"One of {', '.join(map(_shown, values))}." if values else "As its name says."


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _presets() -> str:
    named = [field.name for field in fields(decaf.TrainSettings) if field.name != "preset"]
    lines = [
        "# Presets of training",
        "",
        "`decaf train --preset NAME` and `decaf.train_network(…, preset=NAME)` begin with one of",
        "these; `distil` is that of [`decaf distil`](../commands/distil.md). Each setting is a",
        "flag, `lr_factor` is `--lr-factor`, and a keyword of the function. A dash is none: what",
        "the architecture has, or nothing. In bold: what is not as in `modern`. What each setting",
        "is stands [below the table](#what-the-settings-are). `decaf finetune` has settings of its",
        "own, [FinetuneSettings](others.md#finetunesettings).",
        "",
        _row("setting", *(f"`{name}`" for name in PRESETS)),
        "|:--|" + ":-:|" * len(PRESETS),
    ]
    for name in named:
        usual = _shown(getattr(PRESETS["modern"], name))
        shown = [_shown(getattr(settings, name)) for settings in PRESETS.values()]
        cells = [value if value == usual else f"**{value}**" for value in shown]
        lines.append(_row(f"`{name}`", *cells))
    lines += ["", "## What the settings are", ""]
    for name in named:
        lines += [f"`{name}`", f": {_about(decaf.TrainSettings, name)}", ""]
    return "\n".join(lines)


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return _shown(field.default)
    return "must be given" if field.default_factory is MISSING else "none"


def _others() -> str:
    lines = [
        "# All other settings",
        "",
        "Functions take settings as an object, or their fields by name. These two are the same:",
        "",
        "```python",
        'decaf.fit("photos/", out="photos.head", head="svm")',
        'decaf.fit("photos/", out="photos.head", settings=decaf.FitSettings(head="svm"))',
        "```",
        "",
    ]
    for name in decaf.__all__:
        if not name.endswith("Settings") or name == "TrainSettings":
            continue
        settings = getattr(decaf, name)
        about = (settings.__doc__ or "").partition("\n")[0]
        lines += [f"## {name}", "", f"{in_markdown(about)} See {{py:obj}}`decaf.{name}`.", ""]
        lines += [_row("setting", "default", "what it is"), "|:--|:--|:--|"]
        for field in fields(settings):
            lines.append(_row(f"`{field.name}`", _default(field), _about(settings, field.name)))
        lines.append("")
    return "\n".join(lines)


def _networks() -> str:
    lines = ["# The networks, layer by layer", "", "What `decaf summary NAME` prints.", ""]
    for name in ARCHITECTURES:
        first, _, table = summary_markdown(summarise(name)).partition("\n")
        size = first.partition(", input ")[2]
        lines += [f"## {name}", "", f"The input is {size}.", table, ""]
    return "\n".join(lines)
