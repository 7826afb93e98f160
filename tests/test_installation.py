"""`decaf.check_installation`: it says what is there, and nothing that is broken stops it."""

from __future__ import annotations

import importlib.metadata
import json
import sys

import pytest
import torch

import decaf
from decaf.backbone.weights.load import load_weights
from decaf.backbone.weights.torchvision_file import imagenet_path
from decaf.features.self_test import SelfTest

REQUIRES = [
    "torch>=2",
    "no-such-thing (>=1)",
    'matplotlib>=3; extra == "plots"',
    f'not-here; sys_platform != "{sys.platform}"',
    'nor-here; sys_platform == "plan9"',
    f'but-here; sys_platform == "{sys.platform}"',
    'no-such-library; python_version > "3" and extra == "odd"',
    'pytest; extra == "test"',
]


@pytest.fixture
def no_self_test(monkeypatch) -> None:
    """The self-test has tests of its own."""
    found = SelfTest(error="left out")
    monkeypatch.setattr("decaf.installation.self_test", lambda *, device: found)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder for downloads that is not there yet."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_it_says_what_is_there(hub, no_self_test, monkeypatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", {"decaf-features": REQUIRES}.get)
    found = decaf.check_installation(device="cpu")
    assert found.decaf == decaf.__version__
    assert found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found.versions["torch"] == importlib.metadata.version("torch")
    assert found.machine["threads"] == torch.get_num_threads()
    assert found.versions["no-such-thing"] is None
    assert "but-here" in found.versions
    assert not {"not-here", "nor-here"} & set(found.versions)
    assert list(found.extras) == ["plots", "odd"]
    assert found.extras["odd"] == {"no-such-library": None}
    packaged = load_weights("imagenet-distilled").sha256
    assert found.weights["imagenet-distilled"] == {"sha256": packaged}
    assert found.weights["imagenet"] == {"error": f"not downloaded; would be {imagenet_path()}"}
    assert found.folders["downloaded weights"]["path"] == str(hub / "checkpoints")
    assert all(folder["writable"] and folder["free"] > 0 for folder in found.folders.values())
    assert json.loads(json.dumps(found.to_dict()))["self_test"]["error"] == "left out"
    assert not hub.exists()


def test_what_is_broken_is_told(hub, no_self_test, monkeypatch) -> None:
    def broken() -> None:
        raise OSError("libtorch.so: undefined\nsymbol")

    monkeypatch.setattr("decaf.runtime.machine.describe_machine", broken)
    imagenet_path().parent.mkdir(parents=True)
    imagenet_path().write_bytes(b"not a file of torch")
    found = decaf.check_installation(device="cpu")
    assert found.machine == {"error": "libtorch.so: undefined symbol"}
    assert "not a state dict" in found.weights["imagenet"]["error"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path, no_self_test, monkeypatch) -> None:
    (tmp_path / "file").touch()  # no folder can be made below it, by root neither
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "file"))
    found = decaf.check_installation(device="cpu")
    assert found.folders["downloaded weights"]["writable"] is False
