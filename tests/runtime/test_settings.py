"""Settings are made of objects and of keywords, and what is wrong with them is told at once."""

from __future__ import annotations

import importlib
import inspect
import re
import threading
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

from decaf.errors import SettingError
from decaf.runtime.settings import (
    ComputeSettings,
    Part,
    one_of,
    refuse,
    settings_from,
    whole_number,
)


@dataclass(frozen=True)
class Search:
    seed: int = 0
    layer: Any = "fc6"
    folds: int = 5

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise SettingError(f"`seed` must be 0 or more, got {self.seed}")


@dataclass(frozen=True)
class Page:
    title: str = ""


def call(
    source: str,
    *,
    overwrite: bool = False,
    settings: Any = None,
    page: Any = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> tuple[Search, Page, ComputeSettings]:
    return settings_from(
        call,
        named,
        Part("settings", Search, settings, without=("folds",)),
        Part("page", Page, page),
        Part("compute", ComputeSettings, compute),
    )


def test_objects_and_names_say_the_same() -> None:
    stop = threading.Event()
    by_name = call("x", seed=3, title="bees", device="cpu", stop=stop)
    objects = call("x", settings=Search(3), page=Page("bees"), compute=ComputeSettings("cpu"))
    assert by_name[:2] == objects[:2] == (Search(3), Page("bees"))
    assert by_name[2].device == objects[2].device == "cpu"
    assert by_name[2].stop is stop
    assert call("x")[:2] == (Search(), Page())
    # A name says what the object leaves as it is by default.
    assert call("x", settings=Search(seed=3), layer="fc7")[0] == Search(3, "fc7")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sed": 1}, "call has no argument `sed` (did you mean `seed`?)"),
        ({"overwrit": True}, "call has no argument `overwrit` (did you mean `overwrite`?)"),
        ({"zzz": 1}, "call has no argument `zzz`"),
        ({"folds": 3}, "call has no argument `folds`"),
        (
            {"settings": Search(folds=3)},
            "call has no use for `folds` of Search: leave it out of `settings`",
        ),
        (
            {"settings": Search(seed=1), "seed": 1},
            "`seed` is given by name, and in `settings` besides: give it in one of the two",
        ),
        (
            {"settings": Search(layer=np.zeros(3)), "layer": "fc7"},
            "`layer` is given by name, and in `settings` besides: give it in one of the two",
        ),
        ({"settings": {"seed": 1}}, "`settings` must be Search, got dict"),
        ({"seed": -1}, "`seed` must be 0 or more, got -1"),
        ({"workers": -1}, "`workers` -1: must be a whole number from 0 on"),
        ({"workers": 1.5}, "`workers` 1.5: must be a whole number from 0 on"),
        (
            {"sede": 1, "settings": Page(), "workers": -1, "title": "bees", "page": Page("ants")},
            (
                "call has no argument `sede` (did you mean `seed`?); `settings` must be Search, "
                "got Page; `title` is given by name, and in `page` besides: give it in one of the "
                "two; `workers` -1: must be a whole number from 0 on"
            ),
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_message(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        call("x", **given)
    assert str(caught.value) == message


def test_a_part_may_make_its_settings_itself() -> None:
    def doubled(given: Search | None, changes: dict[str, Any]) -> Search:
        return Search(2 * changes.get("seed", 1 if given is None else given.seed))

    for settings, named, seed in ((None, {}, 2), (Search(2), {}, 4), (None, {"seed": 3}, 6)):
        part = Part("settings", Search, settings, make=doubled)
        assert part.made(named) == Search(seed)


def test_a_call_is_asked_to_end() -> None:
    stop = threading.Event()
    compute = ComputeSettings(stop=stop)
    assert not compute.stopped
    assert not ComputeSettings().stopped
    stop.set()
    assert compute.stopped


def test_values_out_of_their_bounds_are_told() -> None:
    assert one_of("crops", "ten", ("center", "ten")) == []
    assert one_of("crops", None, ("center", "ten"), optional=True) == []
    assert one_of("crops", None, ("a", "b")) == ["`crops` None is not one of a, b"]
    assert whole_number("seed", 0) == whole_number("seed", None, optional=True) == []
    assert whole_number("quality", 100, 1, 100) == []
    for value in (-1, 1.0, True, "1", None):
        assert whole_number("seed", value) == [
            f"`seed` {value!r}: must be a whole number from 0 on"
        ]
    assert whole_number("q", 101, 1, 100) == ["`q` 101: must be a whole number from 1 to 100"]
    refuse([])
    with pytest.raises(SettingError, match=r"^a; b$"):
        refuse(["a", "b"])


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("decaf.classify.fit", "fit"),
        ("decaf.classify.predictions", "write_predictions"),
        ("decaf.evaluate.classification", "evaluate_network"),
        ("decaf.finetuning.fine_tune", "finetune"),
        ("decaf.train.distillation.distil", "distil"),
        ("decaf.train.localise", "localise"),
        ("decaf.train.pack.build", "make_pack"),
        ("decaf.train.train_network", "train_network"),
    ],
)
def test_help_tells_of_every_keyword(
    module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[Part[Any]] = []

    def taken(_function: object, _named: object, *some: Part[Any]) -> None:
        parts.extend(some)
        raise SettingError("enough")

    monkeypatch.setattr(f"{module}.settings_from", taken)
    function = getattr(importlib.import_module(module), name)
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is parameter.empty
    ]
    with pytest.raises(SettingError, match="enough"):
        function(*required)
    told = set(re.findall(r"\w+", inspect.getdoc(function) or ""))
    # Of these there are too many to be told twice.
    own = {"TrainSettings", "FinetuneSettings", "DistilSettings", "LocaliserSettings"}
    missing = [
        field.name
        for part in parts
        for field in fields(part.kind)
        if field.name not in (*part.without, *told) and part.kind.__name__ not in own
    ]
    assert not missing
    assert {part.kind.__name__ for part in parts} <= told
