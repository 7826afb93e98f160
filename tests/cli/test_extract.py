"""``decaf extract`` as a command: exit codes, signals, the lines it prints, names of any kind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import decaf
import forked
import systems
from decaf.cli.main import main

WEIGHTS = ["-w", "random:0:alexnet-64", "-l", "pool5", "--device", "cpu", "-q"]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(4)
    for row in range(40):
        pixels = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(root / f"{row:02d}.jpg")
    return root


def start_cold(env: dict[str, str], *args: str) -> subprocess.Popen[str]:
    """Start a process that has yet to load all that it takes, which gives time for a signal."""
    return subprocess.Popen(
        [sys.executable, "-m", "decaf", "extract", *args, *WEIGHTS],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def manifest(out: Path) -> bytes:
    try:
        return (out.with_name(out.name + ".parts") / "manifest-00000.txt").read_bytes()
    except FileNotFoundError:
        return b""


def catches(process: subprocess.Popen[str], number: int) -> bool:
    """Whether a process has a handler for a signal yet."""
    for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize(
    ("number", "whole_group"),
    [
        (signal.SIGTERM, False),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.posix("signals")),
        pytest.param(signal.SIGINT, False, marks=pytest.mark.posix("signals")),
    ],
    ids=str,
)
def test_a_signal_ends_the_run_and_keeps_what_is_finished(
    photographs: Path,
    tmp_path: Path,
    child_env: dict[str, str],
    number: int,
    whole_group: bool,
) -> None:
    """Also where it goes to the decoders as well, as from --timeout or the terminal."""
    out = tmp_path / "f.h5"
    command = ["-m", "decaf", "extract", photographs, "-o", out, "-b", 1, "-j", 1, *WEIGHTS]
    process = forked.start(child_env, *command)
    forked.until(lambda: manifest(out), process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number) if whole_group else process.send_signal(number)
    said, complained = process.communicate()
    assert process.returncode == 128 + number, complained
    assert said == ""
    lines = complained.splitlines()
    assert lines[-2] == "decaf: stopping after the rows in work; once more to stop at once"
    assert lines[-1].startswith(f"decaf: {out}: stopped after ")
    assert lines[-1].endswith("run the same command again to go on")
    assert len(lines) == 3  # the first is empty, since a ^C may stand on it
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    kept = manifest(out)
    assert f"stopped after {2 * kept.count(10)} of 40 images" in lines[-1]
    # In this process, which is quicker.
    seen: list[int] = []
    again = decaf.extract(
        str(photographs),
        ["pool5"],
        out=out,
        weights="random:0:alexnet-64",
        device="cpu",
        batch_size=1,
        workers=0,
        progress=lambda done, total: seen.append(done),
    )
    again.close()  # type: ignore[union-attr]
    assert seen[0] == 2 * kept.count(10)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.posix("proc")
def test_a_signal_before_the_first_batch_and_a_second_one_end_at_once(
    photographs: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    early, twice = tmp_path / "early.h5", tmp_path / "twice.h5"
    processes = [
        start_cold(child_env, str(photographs), "-o", str(out), "-b", "1") for out in (early, twice)
    ]
    # The first while the command is read, or soon after; the second in the run, in good order.
    forked.until(lambda: catches(processes[0], signal.SIGTERM), processes[0])
    processes[0].send_signal(signal.SIGTERM)
    forked.until(twice.with_name("twice.h5.parts").exists, processes[1])
    processes[1].send_signal(signal.SIGTERM)
    assert processes[1].stderr is not None
    while "once more to stop at once" not in processes[1].stderr.readline():
        assert processes[1].poll() is None
    family = psutil.Process(processes[1].pid).children(recursive=True)
    processes[1].send_signal(signal.SIGTERM)
    said, complained = processes[0].communicate(timeout=PATIENCE)
    assert processes[0].returncode == 143, complained
    # While the command was read, or in the run before its first batch.
    before = "stopped by SIGTERM; no file is left half written"
    assert f"{early}: stopped after 0 of 40 images" in complained or before in complained
    assert said == ""
    processes[1].communicate(timeout=PATIENCE)
    assert processes[1].returncode == -signal.SIGTERM
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    assert not early.exists()
    assert not twice.exists()


@pytest.mark.slow
def test_exit_codes_and_summary(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for row in range(3):
        (some / f"{row}.jpg").symlink_to(photographs / f"{row:02d}.jpg")
    out = str(tmp_path / "f.h5")
    command = ["extract", str(some), "-o", out, *WEIGHTS, "-j", "0"]
    assert main(command) == 0
    first = capsys.readouterr()
    assert first.out.startswith(f"{out}: 3 rows of pool5 ")
    assert first.err == ""
    assert main(command) == 0
    assert capsys.readouterr().out == first.out
    (some / "1b.jpg").write_bytes(b"")
    assert main(command) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert "3 images there, 4 now" in complaint
    assert main([*command, "--overwrite", "--on-error", "raise"]) == 2
    assert "1b.jpg' (image 2)" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--json"]) == 1
    info = json.loads(capsys.readouterr().out)
    assert info["rows"] == 4
    assert main(command) == 1  # finished, and as before some images are bad
    assert "1 image could not be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "text"),
    [("empty", "empty"), ("missing", "missing"), ("no*thing.jpg", "thing")],
)
def test_no_images_at_all_is_a_mistake_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, text: str
) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "f.h5"
    assert main(["extract", str(tmp_path / source), "-o", str(out), *WEIGHTS]) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert text in complaint
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users can come to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if not all(parent.stat().st_mode & 0o001 for parent in folder.parents):
            pytest.skip(f"{folder.parent} is closed to other users")
        yield folder


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.posix("modes")
def test_what_a_user_may_not_read_or_write_is_told_in_a_line(
    photographs: Path, public: Path, child_env: dict[str, str]
) -> None:
    """As a user without privileges, in a process that gives its own up."""
    if os.geteuid() != 0:
        pytest.skip("takes root to become somebody else")
    locked, closed, there = (public / name for name in ("locked", "closed", "there"))
    for folder in (locked, closed, there):
        folder.mkdir()
        (folder / "a.jpg").write_bytes((photographs / "00.jpg").read_bytes())
    (there / "b.jpg").write_bytes((photographs / "01.jpg").read_bytes())
    (there / "a.jpg").chmod(0o000)
    locked.chmod(0o000)
    closed.chmod(0o555)
    open_to_all = public / "open"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    # The first command, still as root, loads all modules: their folder may be closed to others.
    code = (
        "import os, sys, json, decaf.cli.main as m\n"
        "first, *rest = json.loads(sys.argv[1])\n"
        "assert m.main(first) == 0\n"
        "os.setegid(65534); os.seteuid(65534)\n"
        "print(json.dumps([m.main(c) for c in rest]), file=sys.stderr)\n"
    )
    rest = [*WEIGHTS, "-j", "0"]
    commands = [
        ["extract", str(photographs / "00.jpg"), "-o", str(public / "f.h5"), *rest],
        ["extract", str(locked), "-o", str(open_to_all / "f.h5"), *rest],
        ["extract", str(there), "-o", str(closed / "f.h5"), *rest],
        ["extract", str(there), "-o", str(open_to_all / "g.h5"), *rest],
    ]
    _, _, complained = forked.run(child_env, "-c", code, json.dumps(commands))
    unreadable, unwritable, codes = complained.splitlines()
    assert f"folder '{locked}' cannot be read: Permission denied" in unreadable
    text = f"decaf: {closed}/f.h5.parts: cannot be written: Permission denied; nothing was begun; "
    assert unwritable.startswith(text)
    assert json.loads(codes) == [2, 2, 1]
    with decaf.open_features(open_to_all / "g.h5") as file:
        assert [file.status_names[code] for code in file.status] == ["unreadable", "ok"]


@pytest.mark.slow
def test_names_that_are_no_text_go_through_to_the_file_and_back(
    photographs: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    names = [b"caf\xe9.jpg", b"line\nbreak.jpg", b"tab\t'quote\".jpg", "ünï.jpg".encode()]
    bad = b"bad\xff\n.jpg"
    if systems.WINDOWS:  # has none of these but the last
        names = ["日.jpg".encode(), b"#a.jpg", b"it's %.jpg", "ünï.jpg".encode()]
        bad = b"bad %s.jpg"
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    for name in names:
        with open(folder + b"/" + name, "wb") as file:
            file.write((photographs / "00.jpg").read_bytes())
    with open(folder + b"/" + bad, "wb") as file:
        file.write(b"")
    out = str(tmp_path / "f.h5")
    command = ["extract", os.fsdecode(folder), "-o", out, *WEIGHTS, "-j", "1"]
    assert main(command) == 1
    assert main(command) == 1
    with decaf.open_features(out) as features:
        expected = sorted([*names, bad])
        assert [os.path.basename(name) for name in features.path_bytes] == expected
        assert features.ok.tolist() == [name != bad for name in expected]
    capsysbinary.readouterr()
    assert main(["info", out, "--json"]) == 0
    info = json.loads(capsysbinary.readouterr().out)
    assert info["rows"] == 5
    assert main([*command, "--overwrite", "--on-error", "raise"]) == 2
    complaint = capsysbinary.readouterr().err
    assert complaint.count(b"\n") == 1
    told = b"bad %s.jpg' (image 1)" if systems.WINDOWS else b"bad\\udcff\\n.jpg' (image 0)"
    assert told in complaint


@pytest.mark.slow
def test_splits_groups_and_missing_labels_are_said(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    for number, path in enumerate(sorted(photographs.iterdir())[:12]):
        folder = root / ("train" if number < 8 else "Test") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).symlink_to(path)
    asked = ["extract", str(root), *WEIGHTS, "-j", "0"]
    out = tmp_path / "f.h5"
    assert main([*asked, "-o", str(out), "--groups", r"path:(\d)\d\.jpg"]) == 0
    output = capsys.readouterr().out
    assert "splits, by their folders: test 4, train 8 (--layout classes takes" in output
    assert "groups: 2" in output
    with decaf.open_features(out) as file:
        assert file.class_names == ("a", "b")
        assert file.splits == ("test",) * 4 + ("train",) * 8
        assert file.groups == ("0", "1", "0", "1") + ("0",) * 8
    # The same again has nothing to do; other groups are other contents.
    assert main([*asked, "-o", str(out), "--groups", r"path:(\d)\d\.jpg"]) == 0
    assert main([*asked, "-o", str(out), "--groups", "folder"]) == 2
    assert "exists and differs from this run (a file with other groups)" in capsys.readouterr().err
    assert main(["verify", str(out)]) == 0
    assert main(["info", str(out)]) == 0
    assert "test 4, train 8" in capsys.readouterr().out
    classes = tmp_path / "c.h5"
    assert main([*asked, "-o", str(classes), "--layout", "classes"]) == 0
    table = tmp_path / "t.csv"
    table.write_text("00.jpg,owl\n01.jpg,\n02.jpg,fox\n")
    assert main([*asked, "-o", str(tmp_path / "t.h5"), "--labels", str(table)]) == 0
    assert "10 images have no label" in capsys.readouterr().out
    with decaf.open_features(classes) as file:
        assert (file.class_names, file.splits) == (("Test", "train"), None)
    assert main([*asked, "-o", str(tmp_path / "x.h5"), "--groups", "animal"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("decaf: --groups 'animal': there is no such file, and it is none of")


@pytest.mark.slow
def test_images_of_the_networks_own_size_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stimuli, out = tmp_path / "s.npy", str(tmp_path / "s.h5")
    np.save(stimuli, np.zeros((2, 64, 64), np.uint8))
    for flags, told in (([], True), (["--resize", "none", "--overwrite"], False)):
        assert main(["extract", str(stimuli), "-o", out, *WEIGHTS, "-j", "0", *flags]) == 0
        text = "all images have the network's own 64×64 pixels, and were resized to 72 and cropped;"
        assert (text in capsys.readouterr().out) == told
    with decaf.open_features(out) as file:
        assert file.info()["size"] == [64, 64]
