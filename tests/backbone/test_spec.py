"""Architectures as data: what they say, what they refuse, and what their layers are called."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decaf.backbone.spec import (
    ARCHITECTURES,
    ArchSpec,
    ConvSpec,
    LRNSpec,
    PoolSpec,
    architecture,
    map_sizes,
    parameter_shapes,
)
from decaf.backbone.steps import LAYERS, forward_steps, layer_shape, resolve_layers
from decaf.errors import SettingError


def count(spec):
    return sum(math.prod(shape) for shape in parameter_shapes(spec).values())


@pytest.mark.parametrize(
    ("name", "parameters"), [("alexnet-2012", 60_965_224), ("alexnet", 61_100_840)]
)
def test_parameter_counts_of_the_papers(name, parameters):
    assert count(architecture(name)) == parameters


def test_the_64_pixel_member():
    spec = architecture("alexnet-64")
    sizes = {"conv1": 32, "pool1": 15, "conv2": 15, "pool2": 7}
    sizes |= {"conv3": 7, "conv4": 7, "conv5": 7, "pool5": 3}
    assert map_sizes(spec) == sizes
    assert (spec.hidden, spec.classes, spec.lrn) == ((4096, 4096), 200, None)
    assert {conv.groups for conv in spec.convs} == {1}


def test_the_2012_network_has_the_papers_constants():
    spec = architecture("alexnet-2012")
    assert spec.lrn == LRNSpec(size=5, k=2.0, alpha=1e-4, beta=0.75)
    assert [conv.groups for conv in spec.convs] == [1, 2, 1, 2, 2]
    assert [conv.channels for conv in spec.convs] == [96, 256, 384, 384, 256]
    assert (spec.pool, spec.dropout, spec.dropout_at) == (PoolSpec(3, 2), 0.5, "output")


def test_the_2012_network_for_64_pixels_has_maps_of_odd_sizes():
    spec = architecture("alexnet-2012-64")
    sizes = map_sizes(spec)
    assert [sizes[layer] for layer in ("conv1", "pool1", "pool2", "pool5")] == [31, 15, 7, 3]
    # "Equivalent dimensions" with pooling that does not overlap (section 3.4).
    assert map_sizes(dataclasses.replace(spec, pool=PoolSpec(2, 2))) == sizes
    paper = architecture("alexnet-2012")
    assert (spec.convs[1:], spec.lrn) == (paper.convs[1:], paper.lrn)


def test_one_tower_has_half_the_kernels_but_for_conv5():
    two, one = architecture("alexnet-2012-64"), architecture("alexnet-2012-64-one-tower")
    channels = [(a.channels, b.channels) for a, b in zip(two.convs, one.convs, strict=True)]
    assert channels == [(96, 48), (256, 128), (384, 192), (384, 192), (256, 256)]
    assert {conv.groups for conv in one.convs} == {1}
    assert map_sizes(one) == map_sizes(two)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_spec_survives_json(name):
    spec = ARCHITECTURES[name]
    assert spec.name == name
    assert ArchSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_layer_names_are_in_the_order_of_the_forward_pass():
    for spec in ARCHITECTURES.values():
        taps = [tap for step in forward_steps(spec) for tap in step.taps]
        assert tuple(taps) == LAYERS


def test_normalisation_lies_between_conv1_and_pool1():
    kinds = [(step.kind, step.taps) for step in forward_steps(architecture("alexnet-2012"))]
    assert kinds[1:4] == [("act", ("conv1",)), ("lrn", ()), ("pool", ("pool1",))]


def test_normalisation_may_follow_the_pooling():
    spec = dataclasses.replace(architecture("alexnet-2012"), lrn=LRNSpec(after="pool"))
    kinds = [step.kind for step in forward_steps(spec)]
    assert kinds[:8] == ["conv", "act", "pool", "lrn"] * 2
    assert kinds.count("lrn") == 2
    plain = spec.to_dict()
    assert plain["lrn"]["after"] == "pool"
    assert ArchSpec.from_dict(json.loads(json.dumps(plain))) == spec
    with pytest.raises(SettingError, match="after must be one of activation, pool, got 'conv'"):
        LRNSpec(after="conv")


def test_the_dict_of_the_papers_network_is_what_it_was_before_there_was_a_choice():
    lrn = architecture("alexnet-2012").to_dict()["lrn"]
    assert lrn == {"size": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75}


def test_layers_are_put_into_forward_order_without_repeats():
    spec = architecture("alexnet")
    assert resolve_layers(spec, ["fc7", "conv1_pre", "fc7"]) == ("conv1_pre", "fc7")
    assert resolve_layers(spec, "prob") == ("prob",)


def test_a_wrong_layer_name_lists_the_right_ones():
    with pytest.raises(SettingError, match="'fc9' is no layer of alexnet; choose from conv1_pre, "):
        resolve_layers(architecture("alexnet"), ["fc6", "fc9"])
    with pytest.raises(SettingError, match="'pool3', 'fc8_pre' are no layers"):
        resolve_layers(architecture("alexnet"), ["pool3", "fc8_pre"])
    with pytest.raises(SettingError, match=r"no layer asked for; choose from .*prob"):
        resolve_layers(architecture("alexnet"), [])


def test_a_wrong_architecture_lists_the_right_ones():
    with pytest.raises(SettingError, match=r"alexnet-2012, alexnet, .*Did you mean alexnet-2012"):
        architecture("alexnet-2021")


def test_layer_shapes():
    spec = architecture("alexnet")
    assert layer_shape(spec, "conv1_pre") == (64, 55, 55)
    assert layer_shape(spec, "conv1", 227) == (64, 56, 56)
    assert layer_shape(spec, "pool5") == (256, 6, 6)
    # Averaged to 6x6 whatever the input, so the vectors exist at any size.
    assert layer_shape(spec, "fc6_pre", 512) == layer_shape(spec, "fc7") == (4096,)
    assert layer_shape(spec, "prob") == (1000,)


def test_layer_shapes_that_cannot_be():
    spec = architecture("alexnet-2012")
    assert layer_shape(spec, "pool5", 300) == (256, 8, 8)
    with pytest.raises(SettingError, match="fc6 needs inputs of 227 pixels, got 300"):
        layer_shape(spec, "fc6", 300)
    with pytest.raises(SettingError, match="a 16-pixel input is too small for pool1"):
        layer_shape(spec, "pool1", 16)
    assert layer_shape(spec, "conv1", 16) == (96, 2, 2)
    with pytest.raises(SettingError, match="`input_size` must be a whole number from 1 to 4096"):
        layer_shape(spec, "conv1", 10**9)


def test_the_switches_for_ablation_make_networks():
    spec = architecture("alexnet-2012")
    changes = [{"activation": "tanh"}, {"lrn": None}, {"pool": PoolSpec(2, 2)}, {"dropout": 0.0}]
    for change in changes:
        assert count(dataclasses.replace(spec, **change)) == 60_965_224
    assert map_sizes(dataclasses.replace(spec, pool=PoolSpec(2, 2)))["pool5"] == 6


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "a b\n"}, "name must be a short name"),
        ({"input_size": 2}, "2-pixel input leaves nothing at conv1"),
        ({"input_size": True}, "input_size must be a whole number from 1 to 4096, got True"),
        ({"classes": 10**7}, "classes must be a whole number from 1 to 1000000, got 10000000"),
        ({"activation": "gelu"}, "activation must be one of relu, tanh, got 'gelu'"),
        ({"dropout": float("nan")}, "dropout must be a number from 0 to 0.999, got nan"),
        ({"hidden": (4096,)}, "hidden must be a tuple of 2"),
        ({"hidden": (65_536, 65_536), "classes": 10**6}, "parameters, at most 1,000,000,000"),
        ({"convs": ()}, "convs must be a tuple of 5 ConvSpec"),
        ({"pool": None}, "pool must be of type PoolSpec"),
        ({"lrn": 5}, "lrn must be of type LRNSpec"),
    ],
)
def test_what_is_no_architecture_is_refused(change, text):
    with pytest.raises(SettingError, match=text):
        dataclasses.replace(architecture("alexnet-2012"), **change)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(SettingError, match=r"channels must .*; kernel must .*; groups must "):
        ConvSpec(channels=0, kernel=99, groups=-1)
    with pytest.raises(SettingError, match="size must be odd"):
        LRNSpec(size=4)


def test_groups_must_divide_the_channels():
    convs = list(architecture("alexnet").convs)
    convs[1] = dataclasses.replace(convs[1], groups=5)
    with pytest.raises(
        SettingError, match="conv2: 64 channels in and 192 out cannot be cut into 5"
    ):
        dataclasses.replace(architecture("alexnet"), convs=tuple(convs))


def test_unknown_and_missing_fields_are_named():
    plain = architecture("alexnet").to_dict()
    del plain["lrn"]
    with pytest.raises(SettingError, match=r"missing fields \['lrn'\], unknown fields \[\"'x'\"\]"):
        ArchSpec.from_dict({**plain, "x": 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.slow
@given(junk=JSON)
def test_junk_is_refused_as_a_setting(junk):
    with pytest.raises(SettingError):
        ArchSpec.from_dict(junk)


@given(data=st.data(), junk=JSON)
def test_a_spec_with_one_field_replaced_by_junk_is_refused_or_sound(data, junk):
    plain = architecture("alexnet-2012").to_dict()
    part = data.draw(st.sampled_from([plain, plain["convs"][0], plain["lrn"], plain["pool"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = junk
    try:
        spec = ArchSpec.from_dict(plain)
    except SettingError:
        return
    assert ArchSpec.from_dict(spec.to_dict()) == spec
    assert count(spec) <= 10**9
    assert min(map_sizes(spec).values()) >= 1
