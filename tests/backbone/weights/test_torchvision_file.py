"""``.pth`` files: state dicts in their usual wrappings are read, and nothing in them is run."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch

from decaf.backbone.weights.torchvision_file import read_torchvision_file
from decaf.errors import WeightsError
from decaf.images.spec import named_preprocess


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.pth"


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_torchvision_file_is_read_as_alexnet(path, torchvision_state, zipped):
    state = torchvision_state(7)
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    weights = read_torchvision_file(path)
    assert (weights.name, weights.spec.name, weights.spec.classes) == ("w.pth", "alexnet", 7)
    assert weights.preprocess == named_preprocess("shorter-side", 224)
    assert weights.class_names == ()
    assert torch.equal(weights.state["fc6.weight"], state["classifier.1.weight"])
    assert torch.equal(weights.state["conv5.bias"], state["features.10.bias"])
    path.write_bytes(b"")  # the tensors do not lie in the file
    assert torch.equal(weights.state["fc8.bias"], state["classifier.6.bias"])


@pytest.mark.slow
def test_the_usual_wrappings_are_the_same_weights(path, torchvision_state):
    plain = torchvision_state(7)
    torch.save(plain, path)
    expected = read_torchvision_file(path).sha256
    parallel = {f"module.{key}": value for key, value in plain.items()}
    half = {"fc8.bias" if key == "classifier.6.bias" else key: v for key, v in plain.items()}
    for wrapped in ({"state_dict": parallel, "epoch": 3}, {"model": plain}, OrderedDict(half)):
        torch.save(wrapped, path)
        assert read_torchvision_file(path).sha256 == expected


def test_a_pickle_is_never_run(path, tmp_path):
    witness = tmp_path / "witness"

    class Evil:
        def __reduce__(self):
            return open, (str(witness), "w")

    torch.save({"features.0.weight": Evil()}, path)
    with pytest.raises(WeightsError, match="not a state dict that can be loaded safely") as caught:
        read_torchvision_file(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match="which decaf never runs"):
        read_torchvision_file(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([torch.zeros(1)], "holds a list, not a state dict"),
        (torch.zeros(3), "holds a Tensor, not a state dict"),
        ({}, "holds a dict, not a state dict"),
        ({"epoch": 3}, "'epoch' is not a named tensor of floats"),
        ({3: torch.zeros(1)}, "3 is not a named tensor of floats"),
        ({"x": torch.zeros(1, device="meta")}, "'x' is not a named tensor of floats"),
        ({"x": torch.zeros(1, dtype=torch.int64)}, "'x' is not a named tensor of floats"),
        pytest.param(
            {"x": torch.eye(2).to_sparse()},
            "'x' is not a named tensor of floats",
            # Torch warns of reading any sparse tensor.
            marks=pytest.mark.filterwarnings("ignore::UserWarning"),
        ),
        ({"x": torch.zeros(1)}, "no classifier.6.bias among x"),
        ({"classifier.6.bias": torch.zeros(2, 2)}, "no classifier.6.bias"),
        (
            {"classifier.6.bias": torch.zeros(5)},
            r"not the weights of alexnet: missing conv1\.weight",
        ),
    ],
)
def test_what_is_no_state_dict_of_alexnet(path, content, text):
    torch.save(content, path)
    with pytest.raises(WeightsError, match=text):
        read_torchvision_file(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "tensor", "text"),
    [
        ("classifier.4.bias", torch.full((4096,), torch.inf), r"fc7\.bias holds NaN or infinite"),
        ("classifier.4.bias", torch.zeros(5), r"fc7\.bias has shape \(5,\), expected \(4096,\)"),
        # A terabyte that is one number in the file, repeated by a stride of 0.
        (
            "classifier.4.bias",
            torch.zeros(1).expand(2**38),
            r"fc7\.bias has shape \(274877906944,\)",
        ),
        ("features.9.bias", torch.zeros(1), r"unexpected features\.9\.bias"),
    ],
)
def test_wrong_tensors_are_refused(path, torchvision_state, key, tensor, text):
    torch.save({**torchvision_state(7), key: tensor}, path)
    with pytest.raises(WeightsError, match=text):
        read_torchvision_file(path)


def test_compressed_entries_are_refused(path):
    """torch.save stores; a compressed entry may be a thousand times larger than its file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    with pytest.raises(WeightsError, match="entries are compressed, which torch"):
        read_torchvision_file(path)


def test_files_over_the_limit_are_refused_unread(path):
    with open(path, "wb") as file:
        file.truncate(4 * 2**30 + 1)  # a hole: takes no space
    with pytest.raises(WeightsError, match="4,294,967,297 bytes, at most 4,294,967,296 are read"):
        read_torchvision_file(path)


def test_damaged_files_are_refused(path, torchvision_state):
    torch.save({"classifier.6.bias": torch.zeros(5)}, path)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        at = int(torch.randint(len(whole), (1,), generator=generator))
        value = int(torch.randint(1, 256, (1,), generator=generator))
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ value]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(WeightsError) as caught:
                read_torchvision_file(path)
            assert str(caught.value).startswith(str(path))
