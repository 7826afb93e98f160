"""Members of the family small enough for quick tests, and real photographs for them."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from PIL import Image

from decaf.backbone.network import TORCHVISION_MODULES, AlexNet
from decaf.backbone.spec import architecture
from decaf.backbone.weights.random_weights import random_state


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Threads that wait for one another's tiny pieces are slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def narrow():
    """Make a network's spec with the kernels of a named one and a sixteenth of its channels."""

    def make(name, **changes):
        spec = architecture(name)
        convs = tuple(dataclasses.replace(c, channels=c.channels // 16) for c in spec.convs)
        sizes = {} if name == "alexnet-64" else {"input_size": 99}
        small = {"convs": convs, "hidden": (32, 24), "classes": 10, **sizes, **changes}
        return dataclasses.replace(spec, **small)

    return make


@pytest.fixture(scope="session")
def built():
    """Build a network with seeded parameters, ready for inference, in a given precision."""

    def build(spec, *, seed=0, dtype=torch.float32):
        network = AlexNet(spec)
        network.load_state_dict(random_state(spec, seed))
        # Biases that are not zero, so that forgetting one is seen.
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(0, 0.1, generator=generator)
        return network.eval().to(dtype)

    return build


@pytest.fixture(scope="session")
def photographs(shared_data):
    """Four real photographs as the network's input, prepared by Pillow and numpy alone."""

    def load(size):
        paths = sorted((shared_data / "imagenet-sample").glob("*.*"))[:4]
        batch = []
        for path in paths:
            with Image.open(path) as image:
                small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            batch.append(np.asarray(small, dtype=np.float32) / 255)
        assert len(batch) == 4
        pixels = (np.stack(batch) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32).copy())

    return load


@pytest.fixture(scope="module")
def torchvision_state():
    """Make a state dict with torchvision's names and shapes, for a number of classes."""
    names = {ours: theirs for theirs, ours in TORCHVISION_MODULES.items()}

    @functools.cache
    def make(classes):
        spec = dataclasses.replace(architecture("alexnet"), classes=classes)
        state = {}
        for name, tensor in random_state(spec, 0).items():
            module, _, parameter = name.rpartition(".")
            state[f"{names[module]}.{parameter}"] = tensor
        return state

    return make
