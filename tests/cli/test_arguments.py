"""Messages of the library in the flags of a command."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import decaf
from decaf.backbone.spec import architecture
from decaf.backbone.weights.load import save_weights
from decaf.backbone.weights.random_weights import default_preprocess, random_state
from decaf.backbone.weights.state import Weights
from decaf.cli.arguments import in_flags
from decaf.cli.main import COMMANDS, build_parser, main


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="+", metavar="SRC")
    parser.add_argument("-C", type=float)
    parser.add_argument("-l", "--layer")
    parser.add_argument("--on-error")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument_group("more").add_argument(
        "--tensorboard", action=argparse.BooleanOptionalAction
    )
    return parser


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`C` -1: must be above 0", "-C -1: must be above 0"),
        ("one of fc6, fc7 (`layer`)", "one of fc6, fc7 (--layer)"),
        ("no `images`", "no SRC"),
        ("`on_error='record'` goes on", "--on-error record goes on"),
        ("`C=0.5` or `overwrite=True`", "-C 0.5 or --overwrite"),
        ("leave `tensorboard` out", "leave --tensorboard out"),
        ("`tensorboard=False`, `tensorboard=True`", "--no-tensorboard, --tensorboard"),
        ("`decaf fit -C 1`, `cv`, on_error, out", "`decaf fit -C 1`, `cv`, on_error, out"),
    ],
)
def test_arguments_that_a_command_has_are_its_flags(
    message: str, shown: str, parser: argparse.ArgumentParser
) -> None:
    assert in_flags(message, parser) == shown


CAFFE = Path(__file__).parents[1] / "backbone" / "caffe" / "golden" / "small.caffemodel"
ABSENT = "absent/no-such"
# A call of each command that is right; its flags are added to it, each with a wrong value.
CALLS = {
    "extract": ["PHOTOS", "-o", "o.h5", "-w", "NET", "-j", "0"],
    "fit": ["PHOTOS", "-o", "o.head", "-w", "NET", "-j", "0"],
    "predict": ["NET", "PHOTOS", "-j", "0"],
    "verify": ["FEATURES", "-w", "NET"],
    "search": ["FEATURES", "PHOTOS", "-w", "NET", "-j", "0"],
    "duplicates": ["FEATURES"],
    "compare": ["FEATURES", "FEATURES"],
    "export": ["FEATURES", "-o", "o.npy"],
    "summary": ["alexnet-64"],
    "visualize": ["NET", "PHOTOS", "-o", "o.png", "-j", "0"],
    "explore": ["PHOTOS", "-o", "o.html", "-w", "NET", "-j", "0"],
    "demo": ["NET", "--no-browser", "-j", "0", "--features", "FEATURES", "--patches", "PHOTOS"],
    "finetune": ["PHOTOS", "-o", "o.safetensors", "-w", "NET", "--val", "PHOTOS"],
    "pack": ["PHOTOS", "-o", "o.pack", "-j", "0"],
    "train": ["PACK", "-o", "run"],
    "distil": ["PACK", "--teacher", "NET", "-o", "run"],
    "import": [str(CAFFE), "-o", "o.safetensors", "--mean", "1,2,3"],
    "evaluate": ["NET", "PHOTOS", "-j", "0"],
    "localise": ["PHOTOS", "--boxes", "BOXES", "-o", "o.safetensors", "-w", "NET", "-j", "0"],
}
# Flags that take any value, or make what is not there.
ALL_RIGHT = {
    ("fit", "keep_features"),
    ("pack", "seed"),
    ("train", "out"),
    ("distil", "out"),
    ("distil", "cache"),
    ("doctor", "device"),  # what is wrong with it is what was asked for
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("files")
    spec = architecture("alexnet-64")
    convs = tuple(dataclasses.replace(each, channels=each.channels // 16) for each in spec.convs)
    narrow = dataclasses.replace(spec, convs=convs, hidden=(32, 24), classes=2)
    state = random_state(narrow, 0)
    preprocess = default_preprocess("alexnet-64")
    net = Weights.of("net", narrow, preprocess, state, class_names=["ant", "bee"])
    save_weights(folder / "net.safetensors", net)
    generator = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    made = {
        "PHOTOS": str(folder / "photos"),
        "NET": str(folder / "net.safetensors"),
        "PACK": str(folder / "a.pack"),
        "FEATURES": str(folder / "f.h5"),
        "BOXES": str(folder / "boxes.csv"),
    }
    lines = [f"{path},2,3,12,13" for path in sorted((folder / "photos").rglob("*.png"))]
    (folder / "boxes.csv").write_text("\n".join(["path,xmin,ymin,xmax,ymax", *lines]))
    features = decaf.extract(
        made["PHOTOS"], ["fc6"], out=made["FEATURES"], weights=made["NET"], workers=0
    )
    assert isinstance(features, decaf.FeatureFile)
    features.close()
    decaf.make_pack(made["PHOTOS"], made["PACK"], size=72, split_val=0.5, workers=0).close()
    return made


def actions_of(command: str) -> list[argparse.Action]:
    """Return the actions of a command's parser."""
    commands = next(
        action
        for action in build_parser([command])._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    actions: list[argparse.Action] = commands.choices[command]._actions
    return actions


def flags_with_values(command: str) -> list[argparse.Action]:
    """Return the actions of a command's flags whose values the library checks."""
    return [
        action
        for action in actions_of(command)
        if action.option_strings and action.nargs != 0 and not action.choices
        # On and off are all that it takes.
        if not isinstance(action, argparse.BooleanOptionalAction)
        if (command, action.dest) not in ALL_RIGHT
    ]


def test_every_command_that_has_such_flags_is_tried() -> None:
    assert {command for command in COMMANDS if flags_with_values(command)} == set(CALLS)


@pytest.mark.parametrize("command", CALLS)
def test_a_wrong_value_is_told_by_its_flag(
    command: str,
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The flag of a number is named, of other values the flag or the value; never the argument."""
    monkeypatch.chdir(tmp_path)
    call = [files.get(word, word) for word in CALLS[command]]
    wrong = []
    for action in flags_with_values(command):
        flag = max(action.option_strings, key=len)
        is_number = action.type in (int, float)
        value = "-3" if is_number else ABSENT
        count = action.nargs if isinstance(action.nargs, int) else 1
        given = [f"{flag}={value}"] if count == 1 else [flag, *([value] * count)]
        code = main([command, *call, *given])
        error = capsys.readouterr().err.rstrip().rpartition("\n")[2]
        named = flag in error or (not is_number and ABSENT in error)
        argument = f"`{action.dest}" in error or ("_" in action.dest and action.dest in error)
        if code != 2 or not named or argument:
            wrong.append(f"{flag} {value}: {code}, {error}")
    assert not wrong, "\n".join(wrong)


def test_a_bad_image_is_recorded_by_commands_and_raised_in_python() -> None:
    for command in ("extract", "fit", "pack", "finetune", "evaluate", "visualize"):
        action = next(each for each in actions_of(command) if each.dest == "on_error")
        assert action.default == "record"
        assert str(action.help).endswith("and go on (default)")
    assert decaf.ListingSettings().on_error == "raise"
    assert inspect.signature(decaf.extract).parameters["on_error"].default == "raise"
    for function in (decaf.extract, decaf.fit, decaf.make_pack, decaf.finetune):
        assert 'on the command line "record"' in " ".join((function.__doc__ or "").split())
