"""Small shards and a small network, as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import made_shards
from decaf.scale import ShardStatus, extract_shards


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads that wait for one another's tiny pieces are slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of weights of the smallest network."""
    return str(made_shards.write_network(tmp_path_factory.mktemp("network") / "tiny.safetensors"))


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tars of five samples each, of which one is bad; not to be written to."""
    return made_shards.write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="session")
def extract(network: str) -> Callable[..., ShardStatus]:
    """`extract_shards` with the small network, in this process."""

    def run(shards: Any, out: Any, layer: Any = "fc7", **named: Any) -> ShardStatus:
        usual = {"weights": network, "workers": 0, "progress": False, "device": "cpu"}
        return extract_shards(shards, out, layer, **{**usual, **named})

    return run


@pytest.fixture(scope="session")
def made(
    shards: Path, extract: Callable[..., ShardStatus], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The part set of `shards` in Parquet; not to be written to."""
    out = tmp_path_factory.mktemp("made") / "parts"
    extract(f"{shards}/{{000..002}}.tar", out, ["fc7", "pool5"])
    return out
