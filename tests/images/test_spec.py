from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.errors import SettingError
from decaf.images.spec import PreprocessSpec, named_preprocess, override_preprocess


@pytest.mark.parametrize(("crop", "resize_to"), [(224, 256), (227, 256), (64, 72)])
@pytest.mark.parametrize(("name", "resize"), [("decaf", "warp"), ("shorter-side", "shorter-side")])
def test_named_specs_and_their_json(name: str, resize: str, crop: int, resize_to: int) -> None:
    spec = named_preprocess(name, crop)
    assert (spec.resize, spec.resize_to, spec.crop) == (resize, resize_to, crop)
    assert PreprocessSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_unknown_names_list_those_there_are() -> None:
    with pytest.raises(SettingError, match=r"there are \['as-is', 'decaf', 'shorter-side'\]"):
        named_preprocess("caffe", 227)


def test_sizes_without_a_convention_are_resized_to_nine_eighths() -> None:
    assert named_preprocess("decaf", 160).resize_to == 180
    assert named_preprocess("as-is", 160).resize_to == 160


OWN = PreprocessSpec("mine", "warp", 300, 227, mean=(0.1, 0.2, 0.3), mean_image_sha256="0" * 64)


def test_a_name_stands_for_resize_and_crop_and_keeps_the_numbers_of_the_weights() -> None:
    own = PreprocessSpec("mine", "warp", 300, 227, mean=(0.1, 0.2, 0.3), scale=1.0)
    assert override_preprocess(own, None) is own
    result = override_preprocess(own, "as-is")
    assert result == PreprocessSpec("as-is", "none", 227, 227, mean=(0.1, 0.2, 0.3), scale=1.0)
    assert override_preprocess(own, result) == result
    assert override_preprocess(own, {"resize": "none"}) == result
    assert override_preprocess(own, {"name": "as-is", "crop": 64}).resize_to == 64
    assert override_preprocess(own, {"name": "decaf"}).resize_to == 256
    wider = override_preprocess(own, {"resize": "none", "resize_to": 256})
    assert (wider.resize_to, wider.crop) == (256, 227)


@pytest.mark.parametrize("same", [{}, {"resize": "warp"}, {"crop": 227, "resize_to": 300}])
def test_asking_for_what_is_there_changes_nothing(same: dict[str, object]) -> None:
    assert override_preprocess(OWN, same) == OWN


def test_a_mean_takes_the_place_of_a_mean_image_which_fits_one_size_alone() -> None:
    assert override_preprocess(OWN, {"mean": [0.5, 0.5, 0.5]}).mean_image_sha256 is None
    assert override_preprocess(OWN, {"crop": 200}).mean_image_sha256 == "0" * 64
    with pytest.raises(SettingError, match="'warp' to 300 pixels alone; give `mean` too"):
        override_preprocess(OWN, "as-is")
    with pytest.raises(SettingError, match=r"the mean image 0{12}…, the weights have none"):
        override_preprocess(named_preprocess("decaf", 227), OWN)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("asis", "no preprocessing is called 'asis'"),
        ({"resize": "squash"}, "`resize` must be one of"),
        ({"size": 3}, r"unknown fields \['size'\]"),
        ({"crop": 400}, "`crop` 400 is larger than `resize_to` 300"),
        (
            {"mean": [124, 117, 104]},
            "`mean` 124, 117, 104 is no mean of pixels, which are 0 to 1 where",
        ),
        ({"mean": [0.5, -0.1, 0.5]}, "is no mean of pixels"),
        (7, "`preprocess` must be a name .*, got int"),
    ],
)
def test_what_is_no_preprocessing_is_told(given: object, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        override_preprocess(OWN, given)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("crop", 257, "larger than `resize_to`"),
        ("crop", 0, "`crop` must be an integer"),
        ("crop", True, "`crop` must be an integer"),
        ("crop", 227.0, "`crop` must be an integer"),
        ("resize_to", 5000, "1 to 4096"),
        ("resize", "squash", "`resize` must be"),
        ("name", "", "`name` must be"),
        ("name", 5, "`name` must be"),
        ("mean", [0.1, 0.2], "`mean` must be"),
        ("mean", [0.1, 0.2, float("nan")], "`mean` must be"),
        ("mean", [0.1, 0.2, 10**400], "`mean` must be"),
        ("std", [0.1, 0.0, 0.1], "`std` must be"),
        ("std", [0.1, 1e-40, 0.1], "`std` must be"),
        ("scale", float("inf"), "`scale` must be"),
        ("scale", "1", "`scale` must be"),
        ("background", [0, 0, 256], "`background` must be"),
        ("mean_image_sha256", "xyz", "64 hex digits"),
        ("interpolation", "nearest", "`interpolation` can only be"),
        ("color", "BGR", "`color` can only be"),
        ("orientation", "ignored", "`orientation` can only be"),
        ("surprise", 1, r"unknown fields \['surprise'\]"),
    ],
)
def test_bad_fields_are_named(field: str, value: object, message: str) -> None:
    values = named_preprocess("decaf", 227).to_dict() | {field: value}
    with pytest.raises(SettingError, match=message):
        PreprocessSpec.from_dict(values)


def test_all_bad_fields_are_told_at_once() -> None:
    values = named_preprocess("decaf", 227).to_dict() | {"crop": -1, "scale": 0}
    with pytest.raises(SettingError, match=r"`crop` must be.*`scale` must be"):
        PreprocessSpec.from_dict(values)


def test_missing_fields_and_wrong_containers() -> None:
    with pytest.raises(SettingError, match="missing fields"):
        PreprocessSpec.from_dict({"name": "x"})
    with pytest.raises(SettingError, match="expected a mapping"):
        PreprocessSpec.from_dict([1])  # type: ignore[arg-type]


def test_mean_image_needs_a_warp() -> None:
    values = named_preprocess("shorter-side", 224).to_dict() | {"mean_image_sha256": "0" * 64}
    with pytest.raises(SettingError, match="needs `resize='warp'`"):
        PreprocessSpec.from_dict(values)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.sampled_from(sorted(named_preprocess("decaf", 64).to_dict())), JSON)
def test_any_json_makes_a_spec_or_a_setting_error(field: str, value: object) -> None:
    values = named_preprocess("decaf", 64).to_dict() | {field: value}
    try:
        spec = PreprocessSpec.from_dict(values)
    except SettingError:
        return
    assert PreprocessSpec.from_dict(spec.to_dict()) == spec
