"""``decaf extract`` of shards, and what the commands say of the parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import made_shards
from decaf.cli.main import main
from made_shards import samples_of, tar_bytes


@pytest.fixture(scope="module")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("shards")
    made_shards.write_shards(root, 2)
    return root, str(made_shards.write_network(root / "tiny.safetensors"))


def arguments(set_up: tuple[Path, str], out: Path) -> list[str]:
    root, network = set_up
    shards = [f"{root}/{{000..002}}.tar", "-o", f"{out}/", "-w", network, "-j", "0", "-q"]
    return ["extract", *shards, "-l", "fc7", "--device", "cpu"]


def test_extract_status_info_and_verify(
    set_up: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts"
    assert main(arguments(set_up, out)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{out}/: 2 of 3 parts done, 1 failed, 0 left"
    assert lines[1].startswith("  rows          10, ")
    assert lines[2] == "  unsupported   2"
    assert lines[-1] == f"  failed: {set_up[0]}/002.tar: it is not there"
    assert main(["status", str(out)]) == 1
    assert capsys.readouterr().out.splitlines() == lines
    assert main(["status", str(out), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["shards"], told["done"], told["left"], told["rows"]) == (3, 2, 0, 10)
    (set_up[0] / "002.tar").write_bytes(tar_bytes(samples_of(2, bad=None)))
    assert main([*arguments(set_up, out), "--json"]) == 1  # some images are bad
    assert json.loads(capsys.readouterr().out)["done"] == 3
    assert main(["status", str(out)]) == 0
    capsys.readouterr()
    assert main(["verify", f"{out}/", "--rows", "6", "-w", set_up[1]]) == 0
    said = capsys.readouterr().out
    assert f"{out}/: 3 parts of 15 rows read, checksums agree" in said
    assert "6 rows computed anew: largest relative error fc7" in said
    assert main(["info", str(out)]) == 0
    assert "15 (13 ok, 2 bad)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--groups", "folder", "--on-error", "raise"], "--groups, --on-error: not for shards"),
        (["--actors", "2"], "--actors and --actor-cores are for --engine ray"),
    ],
)
def test_flags_that_shards_have_no_use_for(
    set_up: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert main([*arguments(set_up, tmp_path / "parts"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "parts").exists()


def test_flags_of_shards_are_refused_for_a_file(
    set_up: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, network = set_up
    given = ["extract", str(root), "-o", str(tmp_path / "f.h5"), "-w", network, "--format", "h5"]
    assert main(given) == 2
    assert "--format: only parts have: end the output in a slash" in capsys.readouterr().err


def test_where_there_is_no_part_set_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tmp_path)]) == 2
    assert "there is no part set (no run.json in it)" in capsys.readouterr().err
    assert main(["verify", f"{tmp_path}/"]) == 2
    assert "there is no part set" in capsys.readouterr().err
