"""The network against torchvision's and against a float64 reference, and what its taps promise."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from contextlib import suppress

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from decaf.backbone.network import AlexNet, evaluating
from decaf.backbone.spec import LRNSpec, PoolSpec, architecture, parameter_shapes
from decaf.backbone.steps import LAYERS, layer_shape
from decaf.errors import SettingError


def furthest(got, expected):
    """The largest difference, as a share of the largest value expected."""
    return ((got.double() - expected.double()).abs().max() / expected.abs().max()).item()


@pytest.fixture(scope="module")
def torchvisions():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.alexnet(weights=None).eval()


@pytest.fixture(scope="module")
def ours(torchvisions):
    network = AlexNet(architecture("alexnet"))
    network.load_state_dict(torchvisions.state_dict(), strict=True)
    return network.eval()


def reference(spec, state, x):
    """Every layer in float64, step by step as the papers have it."""
    state = {name: tensor.double() for name, tensor in state.items()}
    squash = torch.relu if spec.activation == "relu" else torch.tanh
    values, x = {}, x.double()
    for number, conv in enumerate(spec.convs, start=1):
        weight, bias = state[f"conv{number}.weight"], state[f"conv{number}.bias"]
        x = functional.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)
        values[f"conv{number}_pre"] = x
        values[f"conv{number}"] = x = squash(x)
        if spec.lrn and spec.lrn.after == "activation" and number <= 2:
            x = paper_normalisation(x, spec.lrn)
        if number in (1, 2, 5):
            x = functional.max_pool2d(x, spec.pool.kernel, spec.pool.stride)
            values[f"pool{number}"] = x
        if spec.lrn and spec.lrn.after == "pool" and number <= 2:
            x = paper_normalisation(x, spec.lrn)
    if spec.adaptive_pool:
        x = functional.adaptive_avg_pool2d(x, spec.adaptive_pool)
    x = x.flatten(1)
    for number in (6, 7):
        x = x @ state[f"fc{number}.weight"].T + state[f"fc{number}.bias"]
        values[f"fc{number}_pre"] = x
        values[f"fc{number}"] = x = squash(x)
    values["fc8"] = x @ state["fc8.weight"].T + state["fc8.bias"]
    values["prob"] = values["fc8"].exp() / values["fc8"].exp().sum(dim=1, keepdim=True)
    return values


def paper_normalisation(a, lrn):
    """Krizhevsky et al. 2012, section 3.3, as it is printed there: one channel at a time."""
    b, count = torch.empty_like(a), a.shape[1]
    for i in range(count):
        neighbours = a[:, max(0, i - lrn.size // 2) : min(count - 1, i + lrn.size // 2) + 1]
        b[:, i] = a[:, i] / (lrn.k + lrn.alpha * (neighbours**2).sum(dim=1)) ** lrn.beta
    return b


@pytest.mark.slow
def test_matches_torchvision_on_photographs(ours, torchvisions, photographs):
    x = photographs(224)
    seen = {}
    # Cloned in the hook: torchvision's ReLUs overwrite what their convolutions gave.
    modules = {"conv1_pre": "features.0", "conv3_pre": "features.6", "conv5_pre": "features.10"}
    modules |= {"fc6_pre": "classifier.1", "fc6": "classifier.2", "fc7_pre": "classifier.4"}
    modules |= {"fc7": "classifier.5", "pool5": "features.12", "fc8": "classifier.6"}
    handles = [
        torchvisions.get_submodule(module).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: seen.update({layer: output.clone()})
        )
        for layer, module in modules.items()
    ]
    with torch.no_grad():
        logits = torchvisions(x)
        got = ours.tap(x, list(modules))
        for handle in handles:
            handle.remove()
        assert furthest(ours(x), logits) <= 1e-5
        in_channels_last = ours(x.contiguous(memory_format=torch.channels_last))
    assert furthest(in_channels_last, logits) <= 1e-5
    for layer in modules:
        assert furthest(got[layer], seen[layer]) <= 1e-5, layer


def test_matches_torchvision_where_averaging_is_no_identity(ours, torchvisions):
    x = torch.randn(1, 3, 287, 260, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert furthest(ours(x), torchvisions(x)) <= 1e-5


@pytest.mark.slow
def test_drops_out_where_torchvision_does(ours, torchvisions):
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        expected = copy.deepcopy(torchvisions).train()(x)
        torch.manual_seed(1)
        got = copy.deepcopy(ours).train()(x)
    assert furthest(got, expected) <= 1e-5


@pytest.mark.slow
def test_the_2012_network_matches_the_paper_on_photographs(built, photographs):
    network = built(architecture("alexnet-2012"))
    x = photographs(227)[:2]
    expected = reference(network.spec, network.state_dict(), x)
    with torch.no_grad():
        got = network.tap(x.contiguous(memory_format=torch.channels_last), LAYERS)
    for layer in LAYERS:
        assert furthest(got[layer], expected[layer]) <= 1e-5, layer


@pytest.mark.parametrize("name", ["alexnet-2012", "alexnet", "alexnet-64"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"activation": "tanh"},
        {"lrn": None},
        {"lrn": LRNSpec(k=1.0, alpha=0.5, after="pool")},
        {"pool": PoolSpec(2, 2)},
        {"dropout": 0.0},
    ],
    ids=["as-it-is", "tanh", "no-lrn", "lrn-after-pool", "pool-2/2", "no-dropout"],
)
@pytest.mark.parametrize("grad", [False, True], ids=["no-grad", "grad"])
def test_every_layer_of_every_variant(narrow, built, name, change, grad):
    network = built(narrow(name, **change))
    size = network.spec.input_size
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    expected = reference(network.spec, network.state_dict(), x)
    with torch.set_grad_enabled(grad):
        got = network.tap(x, LAYERS)
        # Alone, a value is computed in place where that is possible; among all others it is not.
        for layer in ("conv1", "pool2", "fc6_pre", "prob"):
            alone = network.tap(x, layer)[layer]
            assert torch.equal(alone, got[layer]), layer
    for layer in LAYERS:
        assert got[layer].shape == (2, *layer_shape(network.spec, layer))
        assert furthest(got[layer], expected[layer]) <= 2e-5, layer
        assert got[layer].requires_grad == grad
    assert torch.equal(x, before)


def test_taps_share_no_memory(narrow, built):
    network = built(narrow("alexnet-2012"))
    x = torch.randn(1, 3, 99, 99, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values = {"input": x, **network.tap(x, LAYERS)}
    for one, other in itertools.combinations(values, 2):
        pointers = [values[each].untyped_storage().data_ptr() for each in (one, other)]
        assert pointers[0] != pointers[1], (one, other)
    assert values["conv1_pre"].min() < 0
    assert values["fc6_pre"].min() < 0
    # Writing to a value cannot reach the next call.
    again = network.tap(x, "pool5")["pool5"].clone()
    values["conv5"].zero_()
    assert torch.equal(network.tap(x, "pool5")["pool5"], again)


def test_values_come_in_the_order_asked_for(narrow, built):
    network = built(narrow("alexnet-64"))
    x = torch.zeros(1, 3, 64, 64)
    assert list(network.tap(x, ["fc7", "conv1", "fc6"])) == ["fc7", "conv1", "fc6"]
    assert list(network.tap(x, "prob")) == ["prob"]


def test_the_pass_ends_at_the_deepest_layer(narrow, built):
    network = built(narrow("alexnet-64"))
    ran = []
    for name, module in network.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    network.tap(torch.zeros(1, 3, 64, 64), ["conv1", "pool2"])
    assert ran == ["conv1", "conv2"]


def test_maps_do_not_need_the_input_size_of_the_vectors(narrow, built):
    network = built(narrow("alexnet-2012"))
    x = torch.zeros(1, 3, 131, 163)
    assert network.tap(x, "conv3")["conv3"].shape == (1, 24, 7, 9)
    with pytest.raises(SettingError, match="fc6 needs inputs of 99 pixels: got 192 numbers"):
        network(x)


def test_gradients_are_the_references(narrow, built):
    network = built(narrow("alexnet-2012"), dtype=torch.float64)
    x = torch.randn(1, 3, 99, 99, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network(x).square().sum().backward()
    leaves = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    reference(network.spec, leaves, x)["fc8"].square().sum().backward()
    for name, parameter in network.named_parameters():
        assert furthest(parameter.grad, leaves[name].grad) <= 1e-9, name


def test_dropout_acts_in_training_behind_the_tap(narrow, built):
    network = built(narrow("alexnet-2012", dropout=0.5))
    x = torch.randn(4, 3, 99, 99, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng():
        calm = network.tap(x, ["fc6", "fc8"])
        torch.manual_seed(0)
        wild = network.train().tap(x, ["fc6", "fc8"])
    torch.testing.assert_close(wild["fc6"], calm["fc6"])
    assert furthest(wild["fc8"], calm["fc8"]) > 0.01


def test_a_new_network_holds_no_numbers_and_says_so():
    network = AlexNet(architecture("alexnet-2012"))
    assert all(parameter.is_meta for parameter in network.parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert shapes == parameter_shapes(network.spec)
    with pytest.raises(SettingError, match="no parameters yet: load a state dict first"):
        network(torch.zeros(1, 3, 227, 227))


def test_building_does_not_move_the_global_generator():
    before = torch.get_rng_state()
    AlexNet(architecture("alexnet-64"))
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_copies(narrow, built):
    source = built(narrow("alexnet-64")).state_dict()
    network = AlexNet(narrow("alexnet-64"))
    network.load_state_dict(source)
    source["fc8.bias"].fill_(7)
    assert not (network.fc8.bias == 7).any()


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_loading_is_strict_and_leaves_no_half_filled_network(torchvisions, change):
    state = dict(torchvisions.state_dict())
    if change == "missing":
        del state["features.3.bias"]
    elif change == "unexpected":
        state["features.99.bias"] = torch.zeros(1)
    else:
        state["classifier.6.bias"] = torch.zeros(7)
    network = AlexNet(architecture("alexnet"))
    with pytest.raises(RuntimeError, match=r"conv2\.bias|features\.99\.bias|fc8\.bias"):
        network.load_state_dict(state)
    assert all(parameter.is_meta for parameter in network.parameters())


def test_torchvisions_names_are_taken_inside_a_larger_module_too(narrow, built):
    inner = built(narrow("alexnet-64"))
    names = {"conv1.weight": "features.0.weight", "fc8.bias": "classifier.6.bias"}
    state = {f"0.{names.get(key, key)}": value for key, value in inner.state_dict().items()}
    outer = torch.nn.Sequential(built(narrow("alexnet-64"), seed=1))
    outer.load_state_dict(state)
    assert torch.equal(outer[0].conv1.weight, inner.conv1.weight)


def test_a_copy_is_a_network_of_its_own(narrow, built):
    network = built(narrow("alexnet-64"))
    twin = copy.deepcopy(network)
    twin.load_state_dict({key: value + 1 for key, value in network.state_dict().items()})
    assert torch.equal(twin.fc8.bias, network.fc8.bias + 1)
    assert twin.steps() == network.steps()


def test_what_is_no_batch_of_images_is_refused(narrow, built):
    network = built(narrow("alexnet-64"))
    for wrong in (torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64)):
        with pytest.raises(SettingError, match=r"a float tensor \(N, 3, H, W\); got torch.float32"):
            network(wrong)
    with pytest.raises(SettingError, match=r"got torch.uint8 of shape \(1, 3, 64, 64\)"):
        network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_an_empty_batch_has_empty_values(narrow, built):
    network = built(dataclasses.replace(narrow("alexnet-2012")))
    with torch.no_grad():
        values = network.tap(torch.zeros(0, 3, 99, 99), ["pool1", "fc6"])
    assert [tuple(value.shape) for value in values.values()] == [(0, 6, 11, 11), (0, 32)]


@pytest.fixture
def mixed():
    """A module in training with one part that its owner has frozen."""
    module = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)))
    module.train()
    module[1][0].eval()
    return module


def modes(module):
    return [part.training for part in module.modules()]


def test_evaluates_without_gradients(mixed):
    with evaluating(mixed) as module:
        assert module is mixed
        assert not any(modes(mixed))
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("error", [None, ValueError("in the body"), KeyboardInterrupt()])
@pytest.mark.parametrize("grad", [False, True])
def test_puts_everything_back(mixed, error, grad):
    before = modes(mixed)
    with torch.set_grad_enabled(grad):
        with suppress(ValueError, KeyboardInterrupt), evaluating(mixed):
            if error is not None:
                raise error
        assert torch.is_grad_enabled() == grad
    assert modes(mixed) == before


def test_lets_the_error_through(mixed):
    with pytest.raises(KeyError, match="in the body"), evaluating(mixed):
        raise KeyError("in the body")


def test_puts_back_what_the_body_changed(mixed):
    before = modes(mixed)
    with evaluating(mixed):
        mixed.train()
        with evaluating(mixed):
            assert not any(modes(mixed))
        assert all(modes(mixed))
    assert modes(mixed) == before
