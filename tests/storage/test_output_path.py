"""What may be replaced is asked of every file that a command writes, before it computes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decaf.cli.main import main
from decaf.errors import OutputError
from decaf.storage import TEXT_KINDS, check_output, temporary_path


def test_a_file_is_named_in_a_folder(tmp_path: Path) -> None:
    check_output(tmp_path / "new.csv", *TEXT_KINDS)
    with pytest.raises(OutputError, match=r"is a folder; give the name of a file$"):
        check_output(tmp_path, *TEXT_KINDS)
    with pytest.raises(OutputError, match=r"give the name of a file, such as .*/f\.h5$"):
        check_output(tmp_path, "features", example="f.h5")
    with pytest.raises(OutputError, match=r"there is no folder .*absent"):
        check_output(tmp_path / "absent" / "new.csv", *TEXT_KINDS)


def test_a_folder_that_takes_no_file_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 255 - len(temporary_path(Path("x.csv")).name) + len("x.csv")
    check_output(tmp_path / ("x" * longest), *TEXT_KINDS)
    with pytest.raises(OutputError, match="cannot be written: File name too long; give another"):
        check_output(tmp_path / ("x" * (longest + 1)), *TEXT_KINDS)
    (tmp_path / "there.csv").write_text("a,b")
    monkeypatch.setattr(os, "access", lambda folder, _: folder != tmp_path)
    with pytest.raises(OutputError, match=rf"new\.csv: cannot .* the folder {tmp_path} is not wri"):
        check_output(tmp_path / "new.csv", *TEXT_KINDS)
    check_output(tmp_path / "there.csv", *TEXT_KINDS)  # which may be what is wanted already


@pytest.mark.posix("pipes")
def test_devices_pipes_sockets_and_links_to_them_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for path in (Path(os.devnull), *(tmp_path / name for name in ("pipe", "link", "socket"))):
            with pytest.raises(OutputError, match="is neither a file nor a folder, not a te"):
                check_output(path, *TEXT_KINDS)


def test_files_of_the_kind_and_empty_ones_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        for content, kinds in ((b"", ("array",)), (b"{}", TEXT_KINDS)):
            path.write_bytes(content)
            check_output(name, *kinds)
    np.save(tmp_path / "x.npy", np.zeros(2))
    check_output(tmp_path / "x.npy", "array")
    with pytest.raises(OutputError, match="is a NumPy array, not a training pack, so it is not re"):
        check_output(tmp_path / "x.npy", "pack")


def test_an_input_is_not_replaced(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b")
    other = tmp_path / "other"
    other.symlink_to(table)
    for given in (table, str(table), os.fsencode(table), f"@{table}", f"{table}:a,b", [other]):
        with pytest.raises(OutputError, match=r"t.csv: is read by this run, so it is not replaced"):
            check_output(table, *TEXT_KINDS, inputs=(None, 3, given))
    check_output(table, *TEXT_KINDS, inputs=(tmp_path / "x.csv", "a\0b", tmp_path))


@pytest.mark.parametrize(
    "command",
    [
        "extract PHOTO -w random:0:alexnet-64 -o",
        "pack FOLDER -o",
        "predict random:0:alexnet-64 PHOTO -o",
        "evaluate random:0:alexnet-64 FOLDER -o",
        "export random:0:alexnet-64 -o",
        "fit FOLDER -w random:0:alexnet-64 -o",
        "fit FOLDER -w random:0:alexnet-64 -o h.head --keep-features",
        "finetune FOLDER -w random:0:alexnet-64 -o",
    ],
)
def test_no_command_replaces_something_else(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (80, 80)).save(tmp_path / name / "1.png")
    endings = {"export": ".onnx", "finetune": ".safetensors", "predict": ".csv"}
    thesis = tmp_path / f"thesis{endings.get(command.split()[0], '.h5')}"
    thesis.write_bytes(b"PK\x05\x06" + bytes(18))
    link = tmp_path / f"null{thesis.suffix}"
    link.symlink_to(os.devnull)
    places = {"PHOTO": "a/1.png", "FOLDER": "."}
    asked = [places.get(word, word) for word in command.split()]
    for path in (thesis, link):
        assert main([*asked, str(path), "--overwrite"]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert f"{path}: exists and is " in told
        assert "so it is not replaced; give another name, or move it away" in told
    assert thesis.stat().st_size == 22
    assert link.is_symlink()
