"""Checkpoints as files; `test_faults` breaks them while they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decaf.errors import OutputError, ResumeError
from decaf.train.checkpoint import Checkpoints, read_checkpoint, write_checkpoint

STATE = {"step": 7, "text": 'naïve "quoted"', "none": None, "nan": float("inf")}


def tensors() -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    return {
        "network/conv": torch.randn(4, 3, 5, 5, generator=source).to(
            memory_format=torch.channels_last
        ),
        "sums": torch.rand(3, generator=source).double(),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "half": torch.randn(3, generator=source).bfloat16(),
        "step": torch.tensor(5.0),
        "empty": torch.zeros(0, 3),
    }


def test_what_is_written_is_read_here_and_by_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, STATE, tensors())
    state, found = read_checkpoint(path)
    assert state == STATE
    theirs = safetensors.torch.load_file(path)
    assert set(found) == set(theirs) == set(tensors())
    for key, tensor in tensors().items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor)
        assert torch.equal(theirs[key], tensor)
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / "c.safetensors"
    write_checkpoint(path, STATE, tensors())
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:place])
    else:
        bit = 1 << data.draw(st.integers(0, 7))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
    told = ""
    try:
        state, found = read_checkpoint(path)
    except ResumeError as error:
        told = str(error)
    else:  # a bit of what nothing depends on: the version, blanks behind the header
        assert state == STATE
        assert all(torch.equal(found[key], tensor) for key, tensor in tensors().items())
        return
    assert told.startswith(f"{path}: ")
    assert "\n" not in told


def test_the_newest_are_kept_by_number(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    assert checkpoints.newest() is None
    for step in (1, 5, 999_999_999, 1_000_000_000):
        checkpoints.write(step, {"step": step}, tensors())
    (tmp_path / "c/step-x.safetensors").write_bytes(b"")  # somebody else's
    kept = [int(path.stem[5:]) for path in checkpoints.paths()]
    assert kept == [999_999_999, 1_000_000_000]
    assert checkpoints.newest()[0] == {"step": 1_000_000_000}


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    for header, told in (
        ({"format": "pt"}, "it is no checkpoint of decaf"),
        (
            {"format": "decaf-checkpoint", "schema": "2", "decaf_version": "9.9"},
            "written in schema '2' by decaf 9.9, this version reads 1",
        ),
        ({"format": "decaf-checkpoint", "schema": "1"}, "is damaged, or no checkpoint"),
    ):
        safetensors.torch.save_file({"x": torch.zeros(2)}, path, metadata=header)
        with pytest.raises(ResumeError, match=told):
            read_checkpoint(path)
    with pytest.raises(ResumeError, match="is damaged, or no checkpoint"):
        read_checkpoint(tmp_path / "nothing")


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"")
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    with pytest.raises(
        OutputError, match="earlier checkpoints are kept, for `resume=True`; mend that"
    ):
        checkpoints.write(1, {}, tensors())
