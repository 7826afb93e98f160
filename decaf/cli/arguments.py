"""Arguments that several commands have, and the library's own arguments as flags."""

from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from decaf.cli.exit_codes import Stop
from decaf.cli.terminal import is_chief
from decaf.runtime.settings import ComputeSettings

__all__ = [
    "add_boxes",
    "add_crops",
    "add_device",
    "add_listing",
    "add_network",
    "add_preprocess",
    "add_report",
    "add_settings",
    "add_training",
    "add_workers",
    "allow_words_after_flags",
    "compute_of",
    "field_texts",
    "in_flags",
    "preprocess_of",
    "setting_values",
    "settings_of",
]

S = TypeVar("S")

# An argument as messages of the library name it: `out`, or with a value, `overwrite=True`.
_QUOTES = "'\""
_ARGUMENT = re.compile(r"`(\w+)(?:=([^`]+))?`")


def in_flags(text: str, parser: argparse.ArgumentParser) -> str:
    """Return a message of the library with its arguments as the flags of a command.

    Parameters
    ----------
    text : str
        It names arguments in backticks, with a value or without.
    parser : argparse.ArgumentParser
        The command's; names that are none of its arguments are left as they are.

    Returns
    -------
    str

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("-o", "--out")
    >>> _ = parser.add_argument("--on-error")
    >>> _ = parser.add_argument("--overwrite", action="store_true")
    >>> in_flags("m.head: exists; give another `out`, or `overwrite=True`", parser)
    'm.head: exists; give another --out, or --overwrite'
    >>> in_flags("`on_error='record'` leaves it out; `cv` is no argument here", parser)
    '--on-error record leaves it out; `cv` is no argument here'
    """
    actions = {action.dest: action for action in parser._actions}

    def flag(argument: re.Match[str]) -> str:
        action = actions.get(argument[1])
        if action is None and argument[1] == "preprocess" and "resize_to" in actions:
            return "preprocessing (--resize …)"
        return argument[0] if action is None else _as_flag(action, argument[2])

    return _ARGUMENT.sub(flag, text)


def _as_flag(action: argparse.Action, value: str | None) -> str:
    options = list(action.option_strings)
    if isinstance(action, argparse.BooleanOptionalAction):
        options = [name for name in options if name.startswith("--no-") == (value == "False")]
    name = max(options, key=len, default=str(action.metavar or action.dest))
    return name if value is None or action.nargs == 0 else f"{name} {value.strip(_QUOTES)}"


def add_network(parser: argparse.ArgumentParser, *, precision: str | None = "fp32") -> None:
    """Add how images are prepared and the network is computed: the flags from preprocessing on.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    precision : str, optional
        The default that the parser gives.
    """
    add_preprocess(parser)
    parser.add_argument(
        "--precision",
        default=precision,
        choices=("fp32", "bf16"),
        help="arithmetic of the network: fp32 (default), or bf16, the fast one where the processor "
        "has it",
    )
    parser.add_argument(
        "-b", "--batch-size", type=int, metavar="N", help="images a forward pass (default: auto)"
    )
    add_workers(parser)
    add_device(parser)


def add_crops(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Add ``--crops``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    default : str or None
        Default of the flag.
    """
    parser.add_argument(
        "--crops",
        default=default,
        choices=("center", "ten", "ten-max", "ten-stack"),
        help="centre crop (default), or ten crops: their mean, their maximum, or all ten",
    )


_PREPROCESS = ("resize", "resize_to", "crop", "mean", "std")


def add_preprocess(parser: argparse.ArgumentParser) -> None:
    """Add how images become the network's input; `preprocess_of` reads the flags.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    group = parser.add_argument_group(
        "preprocessing", "the rest is as the weights have it; `decaf info` shows it"
    )
    group.add_argument(
        "--resize",
        choices=("warp", "shorter-side", "none"),
        help="to a square whatever the aspect ratio, or the shorter side; none takes images pixel "
        "for pixel, and refuses those that have not the size of the crop (or of --resize-to)",
    )
    group.add_argument("--resize-to", type=int, metavar="N", help="side after the resize, pixels")
    group.add_argument(
        "--crop",
        type=int,
        metavar="N",
        help="side of the crop that the network sees; its own by default, and for the layers after "
        "the maps any other only where its pooling is adaptive (`decaf summary`)",
    )
    for name, what in (("mean", "subtracted from"), ("std", "then divided into")):
        group.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            help=f"{what} the pixels, once the weights have scaled them (most weights: to 0 to 1)",
        )


def preprocess_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return the fields that the flags of `add_preprocess` name; None where there are none.

    Parameters
    ----------
    args : argparse.Namespace
    """
    fields = {name: getattr(args, name) for name in _PREPROCESS}
    return {name: value for name, value in fields.items() if value is not None} or None


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, the decoding processes.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "-j",
        "--workers",
        type=int,
        metavar="N",
        help="decoding processes (default: one a core, or none for few images; 0: decode in the "
        "main process)",
    )


def allow_words_after_flags(parser: argparse.ArgumentParser) -> None:
    """Let the words of a list stand on both sides of flags, which argparse has a method for.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.parse_known_args = functools.partial(_intermixed, parser)  # type: ignore[method-assign,assignment]


def _intermixed(
    parser: argparse.ArgumentParser, args: list[str], namespace: argparse.Namespace | None = None
) -> tuple[argparse.Namespace, list[str]]:
    intermixed = parser.__dict__.pop("parse_known_args")
    try:
        return parser.parse_known_intermixed_args(args, namespace)
    finally:
        parser.__dict__["parse_known_args"] = intermixed


def add_listing(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    *,
    bad: str,
    groups: str | None = None,
    min_images: bool = False,
    none: str = "",
    val_labels: bool = False,
    boxes: bool = True,
) -> None:
    """Add how images are listed: their labels, splits and groups, and what is done with bad ones.

    Parameters
    ----------
    parser : argparse.ArgumentParser or argument group
    bad : str
        Treatment of a bad image that is recorded, for the help.
    groups : str, optional
        Use of the groups, for the help; by default there is no such flag.
    min_images : bool
        Whether classes with few images can be left out.
    none : str
        End of the help of ``--labels`` where none is a choice, else empty.
    val_labels : bool
        Whether the labels of validation images can be given apart.
    boxes : bool
        Whether boxes can be cut out of the images.
    """
    parser.add_argument(
        "--labels",
        default="folder",
        metavar="folder|none|FILE" if none else "folder|FILE",
        help="classes from the first folder below SRC (default), or of a table its labels; or a "
        "file with a label a line, or a table with path and label (FILE:LABEL names its column, "
        f"FILE:PATH,LABEL both); an empty cell is no label{none}",
    )
    if val_labels:
        parser.add_argument(
            "--val-labels",
            default="folder",
            metavar="FILE",
            help="the same for VAL, where it is a list",
        )
    parser.add_argument(
        "--layout",
        default="auto",
        choices=("auto", "splits", "classes"),
        help="whether folders called train, val or test are splits, with the classes in them, or "
        "classes themselves (default: auto, by what lies in them and beside them)",
    )
    if boxes:
        add_boxes(parser)
    parser.add_argument(
        "--splits",
        metavar="FILE:COLUMN",
        help="which images are for train, val and test, where folders do not say it: by the column "
        "of a table (FILE:PATH,COLUMN names that of the paths too)",
    )
    if groups is not None:
        parser.add_argument(
            "--groups",
            metavar="FILE:COLUMN|path:REGEX|folder|time:60s",
            help=f"images that belong together (an animal, a burst, a site), {groups}: by the "
            "column of a table, by the first group of a regular expression on the path, by the "
            "folder that they lie in (folder:2, the one above), or by capture times that follow "
            "within a span",
        )
    if min_images:
        parser.add_argument(
            "--min-images",
            type=int,
            metavar="N",
            help="leave out classes with fewer training images, and say so (default: those with "
            "fewer than are needed: two where some are held out, else one)",
        )
    parser.add_argument(
        "--on-error",
        default="record",
        choices=("raise", "record"),
        help=f"at an image that cannot be read: stop, or {bad} and go on (default)",
    )


def add_boxes(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add what is cut out of images: the boxes of annotations, or of a detector.

    Parameters
    ----------
    parser : argparse.ArgumentParser or argument group
    """
    parser.add_argument(
        "--crops-from",
        metavar="BOXES",
        help="boxes of the images, each of which is an image: COCO's .json, whose categories are "
        "the classes, MegaDetector's .json, or as for `decaf localise`",
    )
    parser.add_argument(
        "--margin",
        type=float,
        metavar="SHARE",
        help="taken along around a box on each side, as a share of its side (default: 0)",
    )
    parser.add_argument(
        "--min-confidence",
        type=float,
        metavar="X",
        help="leave out boxes of which a detector is less sure (default: 0.2)",
    )
    parser.add_argument(
        "--category",
        dest="categories",
        action="append",
        metavar="NAME",
        help="only boxes of this category, may be given several times (default: all; of "
        "MegaDetector animal)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda, cuda:1, mps"
    )


def add_report(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--json`` and ``--quiet``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    what : str
        Noun for the output that is printed as JSON, for the help.
    """
    parser.add_argument("--json", action="store_true", help=f"print the {what} as JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def add_training(
    parser: argparse.ArgumentParser, *groups: tuple[str, str | None, type, Sequence[str]]
) -> None:
    """Add the flags of a training run that are the same whatever is learnt from.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    *groups : tuple of str, str or None, type and sequence of str
        A group of flags each: its title, a line below that, the settings class that has the
        fields, and fields without a flag.
    """
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint, with the same settings; --epochs may be more",
    )
    add_device(parser)
    parser.add_argument("-j", "--workers", type=int, metavar="N", help="decoding threads")
    for title, about, settings, leave_out in groups:
        add_settings(parser.add_argument_group(title, about), settings, leave_out)
    saving = parser.add_argument_group("saving and telling")
    saving.add_argument("--checkpoint-minutes", type=float, default=10.0, metavar="M")
    saving.add_argument("--checkpoint-steps", type=int, metavar="N")
    saving.add_argument("--keep", type=int, default=3, metavar="N", help="checkpoints to keep")
    saving.add_argument("--log-every", type=int, default=50, metavar="STEPS")
    saving.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        help="write TensorBoard's events (default: where it is installed)",
    )
    add_report(parser, "result")


def add_settings(group: Any, settings: type, leave_out: Sequence[str] = ()) -> None:
    """Add a flag for each field of a settings class, with its text from the class's docstring.

    Parameters
    ----------
    group : argparse.ArgumentParser or argument group
    settings : type
        A dataclass with a numpydoc docstring.
    leave_out : sequence of str
        Fields without a flag.
    """
    texts = field_texts(settings.__doc__ or "")
    for name, kind in get_type_hints(settings).items():
        if name in leave_out:
            continue
        flag = f"--{name.replace('_', '-')}"
        parts = [part for part in get_args(kind) if part is not type(None)] or [kind]
        literal = next((p for p in [kind, *parts] if get_origin(p) is Literal), None)
        about = texts.get(name, "").replace("%", "%%")
        if literal is not None:
            group.add_argument(flag, choices=get_args(literal), help=about)
        elif get_origin(kind) is tuple:
            group.add_argument(flag, nargs=2, type=float, metavar=("MIN", "MAX"), help=about)
        elif bool in parts:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=about)
        elif str in parts:
            group.add_argument(flag, metavar="NAME", help=about)
        else:
            number = float if float in parts else int
            group.add_argument(
                flag, type=number, metavar="X" if number is float else "N", help=about
            )


def setting_values(
    args: argparse.Namespace, settings: type, leave_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the fields of a settings class that a command has flags for, and that were given.

    Parameters
    ----------
    args : argparse.Namespace
    settings : type
        A dataclass.
    leave_out : sequence of str
        Fields whose flags mean something else.
    """
    names = [field.name for field in fields(settings) if field.name not in leave_out]
    values = {name: getattr(args, name, None) for name in names}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def settings_of(
    args: argparse.Namespace, settings: type[S], leave_out: Sequence[str] = (), **others: Any
) -> S:
    """Make the settings that the flags of a command say.

    Parameters
    ----------
    args : argparse.Namespace
    settings : type
        A dataclass.
    leave_out : sequence of str
        Fields whose flags mean something else.
    **others
        Fields that are no flags.
    """
    return settings(**setting_values(args, settings, leave_out), **others)


def compute_of(args: argparse.Namespace, stop: Stop) -> ComputeSettings:
    """Return how the work of a command is done.

    Parameters
    ----------
    args : argparse.Namespace
    stop : Stop
        Ends it.
    """
    progress = not args.quiet and is_chief()
    return settings_of(args, ComputeSettings, progress=progress, stop=stop.event)


def field_texts(docstring: str) -> dict[str, str]:
    """Return the text of each parameter in a numpydoc docstring, as one line.

    Parameters
    ----------
    docstring : str

    Examples
    --------
    >>> lines = ["S.", "", "    Parameters", "    ---", "    width, height : int", "        Sides."]
    >>> field_texts("\\n".join(lines))
    {'width': 'Sides.', 'height': 'Sides.'}
    """
    texts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in docstring.split("Parameters")[-1].split("Raises")[0].splitlines()[2:]:
        if line.startswith("    ") and not line.startswith("     ") and " : " in line:
            lines = []
            texts |= {name.strip(): lines for name in line.split(" : ")[0].split(",")}
        elif texts and line.strip():
            lines.append(line.strip())
    return {name: " ".join(lines) for name, lines in texts.items()}
