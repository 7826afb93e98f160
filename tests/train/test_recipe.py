"""Recipes: the paper's numbers, and mistakes told by name."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.backbone.spec import LRNSpec, PoolSpec, architecture
from decaf.errors import SettingError
from decaf.train.presets import PRESETS, preset, with_changes
from decaf.train.recipe import TrainSettings


def test_the_preset_alexnet_2012_is_the_papers_recipe() -> None:
    """Krizhevsky et al. 2012, each number with the section it stands in."""
    paper = PRESETS["alexnet-2012"]
    spec = paper.spec(1000)
    assert spec == architecture("alexnet-2012")
    assert (spec.input_size, spec.dropout, spec.lrn) == (227, 0.5, LRNSpec(5, 2.0, 1e-4, 0.75))
    assert [conv.groups for conv in spec.convs] == [1, 2, 1, 2, 2]  # 3.2
    assert spec.pool == PoolSpec(3, 2)  # 3.4
    assert (paper.crop, paper.mirror) == ("random", True)  # 4.1
    assert paper.lighting == 0.1  # 4.1
    assert paper.pixels == "0-255"  # 2: the raw RGB values, less the mean activity
    assert paper.optimizer == "sgd"  # 5
    assert (paper.batch_size, paper.momentum, paper.weight_decay) == (128, 0.9, 0.0005)
    assert not paper.nesterov
    assert (paper.lr, paper.lr_factor, paper.schedule) == (0.01, 0.1, "plateau")
    assert paper.max_drops == 3  # "reduced three times prior to termination"
    assert paper.init == "paper"
    assert paper.epochs == 90  # "roughly 90 cycles"
    # What the paper did not have.
    assert (paper.batch_norm, paper.label_smoothing, paper.average) == (False, 0, 0)
    assert (paper.warmup_epochs, paper.clip_norm, paper.precision) == (0, 0, "fp32")


def test_the_preset_modern_is_a_recipe_of_today() -> None:
    modern = PRESETS["modern"]
    assert (modern.schedule, modern.warmup_epochs > 0, modern.label_smoothing) == (
        "cosine",
        True,
        0.1,
    )
    assert (modern.precision, modern.channels_last, modern.compile) == ("bf16", True, "auto")
    assert modern.batch_norm
    assert modern.average > 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_knows_its_name_and_survives_json(name: str) -> None:
    settings = preset(name)
    assert settings.preset == name
    assert TrainSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_switches_change_the_network() -> None:
    spec = preset("alexnet-2012", activation="tanh", lrn=False, overlap=False, dropout=0.2).spec(7)
    assert (spec.activation, spec.lrn, spec.pool, spec.dropout, spec.classes) == (
        "tanh",
        None,
        PoolSpec(2, 2),
        0.2,
        7,
    )
    assert preset("modern", lrn=True).spec(9).lrn == LRNSpec()
    assert preset("alexnet-2012", lrn=True, overlap=True).spec(1000) == architecture("alexnet-2012")


def test_values_that_are_none_are_the_presets() -> None:
    assert preset("alexnet-2012", lr=None, epochs=3).lr == 0.01
    assert preset("distil", epochs=1).warmup_epochs == 0.1
    assert preset("distil", epochs=2).warmup_epochs == preset("distil").warmup_epochs == 1


def test_every_value_can_be_set() -> None:
    others = {str: "x", int: 7, float: 0.25, bool: True}
    for field in fields(TrainSettings):
        was = getattr(TrainSettings(), field.name)
        if (
            type(was) in others
            and field.name not in ("arch", "preset")
            and was != others[type(was)]
        ):
            value = (not was) if isinstance(was, bool) else others[type(was)]
            if isinstance(was, str):
                continue
            extra = {"nesterov": False} if field.name in ("momentum",) else {}
            extra |= {"warmup_epochs": 0.0} if field.name == "epochs" else {}
            extra |= {"batch_norm": False} if field.name == "head_epochs" else {}
            changed = preset("modern", **{field.name: value, **extra})
            assert getattr(changed, field.name) == value


def test_views_have_the_inputs_size_or_grow_to_it() -> None:
    done = [i / 100 for i in range(100)]
    assert {preset("modern").side_at(each, 224) for each in done} == {224}
    assert {preset("modern", train_size=128).side_at(each, 224) for each in done} == {128}
    sides = [preset("modern", train_size=200, grow_from=128).side_at(each, 224) for each in done]
    assert sides == sorted(sides)
    assert sorted(set(sides)) == [128, 160, 192, 200]
    assert sides.count(128) == sides.count(200) == 25
    assert preset("modern", grow_from=224).side_at(0, 224) == 224


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grow_from": 8}, "`train_size` and `grow_from` must be from 32 to 4096"),
        ({"train_size": 128, "crop": "random"}, "are for `crop='resized'`"),
        ({"init_layers": "pool5"}, "`init_layers` must be one of conv1, .* got 'pool5'"),
        ({"lr": -1.0}, "`lr` must be above 0 and at most 100, got -1"),
        ({"lr": "fast"}, "`lr` must be a number, got 'fast'"),
        ({"batch_size": 12.5}, "`batch_size` must be a whole number, got 12.5"),
        ({"batch_size": True}, "`batch_size` must be a whole number, got True"),
        ({"schedule": "linear"}, "`schedule` must be one of plateau, cosine, step, constant, got"),
        ({"activation": "gelu"}, "`activation` must be one of relu, tanh, got 'gelu'"),
        (
            {"epochs": 1, "warmup_epochs": 1},
            r"`warmup_epochs` must be 0 to below `epochs` \(1\), got 1",
        ),
        ({"crop_area": (0.9, 0.2)}, "`crop_area` must be two numbers"),
        ({"crop_area": (0.9,)}, "`crop_area` must be two numbers"),
        ({"dropout": 1.0}, "`dropout` must be from 0 to below 1"),
        ({"momentum": 0.0}, "`nesterov` needs a `momentum` above 0"),
        ({"batch_size": 1}, "`batch_norm` needs a `batch_size` of 2 or more"),
        ({"lr": float("nan")}, "`lr` must be a number, got nan"),
        ({"learning_rate": 1}, "no setting 'learning_rate'"),
        ({"momentun": 0.5}, "Did you mean momentum?"),
        ({"arch": "resnet"}, "no architecture 'resnet'; there are alexnet-2012"),
    ],
)
def test_mistakes_are_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        preset("modern", **changes)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingError, match=r"`lr` must .*; `momentum` must .*; `lighting` must"):
        TrainSettings(lr=0, momentum=2, lighting=-1)


def test_settings_are_changed_by_name() -> None:
    assert with_changes(None, {}, "distil") == preset("distil")
    assert with_changes(None, {"epochs": 0.5}, "modern") == preset("modern", epochs=0.5)
    assert with_changes(None, {"preset": "small", "lr": 0.5}, "modern") == preset("small", lr=0.5)
    assert with_changes(preset("small"), {"lr": 0.5}, "modern") == preset("small", lr=0.5)
    with pytest.raises(SettingError, match="`preset` and `settings` are given: give one of the"):
        with_changes(preset("small"), {"preset": "modern"}, "modern")
    with pytest.raises(SettingError, match="`lr` must be above 0"):
        with_changes(preset("small"), {"lr": -1.0}, "modern")


def test_an_unknown_preset_is_told() -> None:
    with pytest.raises(SettingError, match=r"no preset 'alexnet'; there are alexnet-2012, modern"):
        preset("alexnet")
    with pytest.raises(SettingError, match=r"Did you mean modern\?"):
        preset("modem")


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["lr", "epochs", "average"]))
def test_any_number_is_taken_or_refused(value: float, name: str) -> None:
    top = {"lr": 100, "epochs": 100_000, "average": 0.999_999}[name]
    first = TrainSettings(warmup_epochs=0)
    if 0 < value <= top:
        assert getattr(replace(first, **{name: value}), name) == value
    elif not (name == "average" and 0 <= value < 1):
        with pytest.raises(SettingError, match=name):
            replace(first, **{name: value})
