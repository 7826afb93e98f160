"""Small networks with weights, and pixels for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decaf.backbone.weights.state import Weights, tensor_sha256
from decaf.images.spec import PreprocessSpec


@pytest.fixture(scope="session")
def small_weights(narrow, built):
    """Make weights of a narrow network of a named architecture, on request with a mean image."""

    def make(name, *, mean_image=False, **changes):
        spec = narrow(name, **changes)
        generator = torch.Generator().manual_seed(7)
        image = None
        if mean_image:
            side = spec.input_size + 9
            image = torch.rand(3, side, side, generator=generator) * 255
        preprocess = PreprocessSpec(
            name="test",
            resize="warp",
            resize_to=spec.input_size + 9,
            crop=spec.input_size,
            mean=(0.5, 0.4, 0.3) if image is None else (127.0, 102.0, 76.0),
            std=(0.2, 0.25, 0.3) if image is None else (50.0, 60.0, 70.0),
            scale=1 / 255 if image is None else 1.0,
            mean_image_sha256=None if image is None else tensor_sha256(image),
        )
        state = built(spec).state_dict()
        # Inputs of some size, so that normalisation has something to divide by.
        state["conv1.weight"] *= 3
        return Weights.of(
            "small",
            spec,
            preprocess,
            state,
            class_names=[f"class {number}" for number in range(spec.classes - 1)] + ["Käfer"],
            metrics={"top1_error": 50.0},
            provenance={"source": "a test"},
            mean_image=image,
        )

    return make


@pytest.fixture(scope="session")
def pixels():
    """Make uint8 images (N, side, side, 3) with structure of several sizes."""

    def make(count, side, seed=0):
        generator = np.random.default_rng(seed)
        waves = generator.uniform(0.02, 0.6, (count, 1, 1, 3, 2))
        place = np.arange(side)
        values = np.sin(waves[..., 0] * place[None, :, None, None]) + np.cos(
            waves[..., 1] * place[None, None, :, None]
        )
        return np.round((values + 2) / 4 * 255).astype(np.uint8)

    return make
