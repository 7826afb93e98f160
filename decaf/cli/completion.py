"""``decaf completion``: a script that lets a shell complete commands, flags and their values."""

from __future__ import annotations

import argparse

__all__ = ["HELP", "SHELLS", "completion_script", "configure", "run"]

HELP = "print a script that lets your shell complete decaf's commands and flags"

EPILOG = """\
examples:
  bash   decaf completion bash > ~/.local/share/bash-completion/completions/decaf
  zsh    decaf completion zsh > ~/.zfunc/_decaf        with ~/.zfunc in $fpath, before compinit
  fish   decaf completion fish > ~/.config/fish/completions/decaf.fish

It takes effect in the next shell. Make it anew after an update of decaf.
"""

SHELLS = ("bash", "zsh", "fish")

# Arguments whose values are words of a kind of their own; all others that take text take paths.
_NO_PATHS = {
    "arch",
    "crops",
    "device",
    "dtype",
    "freeze",
    "init_layers",
    "layer",
    "lr_by_layer",
    "preset",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``decaf completion``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("shell", choices=SHELLS)


def run(args: argparse.Namespace) -> int:
    """Print the script.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        The exit code, 0.
    """
    print(completion_script(args.shell))
    return 0


def completion_script(shell: str) -> str:
    """Return the script for a shell, made from the parsers of all commands.

    Parameters
    ----------
    shell : {"bash", "zsh", "fish"}
    """
    import shtab

    from decaf.backbone import LAYERS
    from decaf.cli.main import build_parser, commands_of

    parser = build_parser()
    for command in commands_of(parser).values():
        for action in command._actions:
            if action.dest == "layer":
                action.choices = LAYERS
            elif _takes_path(action):
                # shtab looks for this attribute, which argparse does not know.
                vars(action)["complete"] = shtab.FILE
            # zsh's specifications are divided by the colons that some of ours have.
            if action.option_strings and action.metavar is not None:
                action.metavar = action.dest
    return shtab.complete(parser, shell)


def _takes_path(action: argparse.Action) -> bool:
    takes_text = action.nargs != 0 and not action.choices and action.type is None
    return takes_text and action.dest not in _NO_PATHS
