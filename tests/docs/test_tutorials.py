"""The tutorials as a reader follows them: marked blocks in order, on excerpts of the data named.

``<!-- ci: run -->`` stands before a block that is run, in the folder that the blocks before it have
left; ``<!-- ci: run, may fail -->`` before one that need not end with 0. ``<!-- ci: prints -->``
stands before what the last one prints: each line shown has to be printed, in order, but for its
numbers. ``<!-- ci: file NAME -->`` stands before a file that the reader is asked to save.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

import forked
from decaf.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for path in (ROOT / "docs" / "tutorials").glob("*.md") if path.name != "index.md"
)
BLOCK = re.compile(
    r"(?:^<!-- ci: (?P<marker>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# What other readers' machines and excerpts change.
NUMBER = re.compile(r"-?\d+(?:[.,:]\d+)*(?:e[+-]?\d+)?(?: [KMG]iB)?")
GAP = re.compile(r"[\s·]+|-{3,}")
# Programs that not everyone has: their blocks are left out without them.
ELSEWHERE = {"matlab": ["octave", "--eval"], "r": ["Rscript", "-e"]}


class Block(NamedTuple):
    line: int
    marker: str
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            text.count("\n", 0, each.start("language")) + 1,
            each["marker"] or "",
            each["language"],
            each["text"],
        )
        for each in BLOCK.finditer(text)
    ]


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a shell script."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if not set(word) <= set("();<>|&"):
                command.append(word)
            elif command:
                yield command
                command = []


def without_shell(text: str) -> list[list[str]] | None:
    """Return arguments for Python where all that a script does is to call decaf or Python."""
    if re.search(r"[|&;<>$*?()~]", re.sub(r"'[^']*'", "", text)):
        return None
    commands = list(commands_in(text))
    if any(command[0] not in {"decaf", "python"} for command in commands):
        return None
    return [["-m", *command] if command[0] == "decaf" else command[1:] for command in commands]


def run_block(block: Block, env: Mapping[str, str]) -> tuple[int, str]:
    """Run a block in this folder; return its exit code, and what it printed."""
    calls = [["-c", block.text]] if block.language == "python" else None
    if block.language == "bash":
        calls = without_shell(block.text)
    if calls is None:
        program = ELSEWHERE.get(block.language, ["bash", "-euo", "pipefail", "-c"])
        if shutil.which(program[0]) is None:
            return 0, ""
        done = subprocess.run(
            [*program, block.text],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=forked.PATIENCE,
        )
        return done.returncode, done.stdout
    printed = ""
    for arguments in calls:
        code, said, complained = forked.run(env, *arguments)
        printed += said + complained
        if code:
            return code, printed
    return 0, printed


def alike(text: str) -> list[str]:
    """Return the lines of a text without what another machine, or excerpt, has otherwise."""
    lines = [GAP.sub(" ", NUMBER.sub("#", line)).strip() for line in text.splitlines()]
    return [line for line in lines if line]


def check_printed(block: Block, printed: str) -> None:
    """Fail where a line that a page shows is not printed."""
    rest = iter(alike(printed))
    for line in alike(block.text):
        assert line == "…" or line in rest, f"line {block.line}: not printed: {line}\n{printed}"


def some_of(source: Path, target: Path, most: int) -> None:
    """Copy the first images of a folder."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:most]:
        shutil.copy(path, target)


def some_annotated(source: Path, target: Path, annotations: str, most: int) -> None:
    """Copy the first images of a folder of Tiny-ImageNet, with their lines of a file."""
    some_of(source / "images", target / "images", most)
    names = {path.name for path in (target / "images").iterdir()}
    lines = (source / annotations).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.split("\t")[0] in names]
    assert len(kept) == most
    (target / annotations).write_text("".join(kept))


def photographs(data: Path, here: Path) -> None:
    for species in ("dog", "elephant", "giraffe", "horse"):
        some_of(data / "pacs-mini/photo" / species, here / "pacs/photo" / species, 5)
    # CUB-200-2011 in its layout: the list of images, and the box of each.
    birds = here / "CUB_200_2011"
    names = []
    for number, species in enumerate(("giraffe", "house", "person")):
        folder = f"{number + 1:03}.{species}"
        some_of(data / "pacs-mini/photo" / species, birds / "images" / folder, 6)
        names += [f"{folder}/{path.name}" for path in sorted((birds / "images" / folder).iterdir())]
    boxes = [f"{1 + at} {20 + at}.0 30.0 150.0 120.0\n" for at in range(len(names))]
    (birds / "images.txt").write_text("".join(f"{1 + at} {x}\n" for at, x in enumerate(names)))
    (birds / "bounding_boxes.txt").write_text("".join(boxes))


def stimuli(data: Path, here: Path) -> None:
    """Photographs of the size of the stimuli, named as these are: shape, then texture."""
    folder = here / "texture-vs-shape/stimuli/style-transfer-preprocessed-512"
    shapes = ("airplane", "bear", "bicycle")
    sources = sorted((data / "imagenette-mini/train").iterdir())[: len(shapes)]
    for shape, source in zip(shapes, sources, strict=True):
        (folder / shape).mkdir(parents=True)
        for number, path in enumerate(sorted(source.iterdir())[:6]):
            name = f"{shape}{number + 1}-{shapes[number % 3]}1.png"
            Image.open(path).convert("RGB").save(folder / shape / name)


def objects(data: Path, here: Path) -> None:
    (here / "benchmarks").symlink_to(ROOT / "benchmarks")
    for source in sorted((data / "caltech101-mini/101_ObjectCategories").iterdir())[:5]:
        some_of(source, here / "caltech-101/101_ObjectCategories" / source.name, 34)


def training_images(data: Path, here: Path) -> None:
    for split, most in (("train", 8), ("val", 2)):
        for source in sorted((data / "imagenette-mini" / split).iterdir()):
            some_of(source, here / "imagenette" / split / source.name, most)
    source, target = data / "tiny-imagenet-mini", here / "tiny-imagenet-200"
    some_annotated(source / "val", target / "val", "val_annotations.txt", 40)
    for folder in sorted((source / "train").iterdir()):
        some_annotated(folder, target / "train" / folder.name, f"{folder.name}_boxes.txt", 4)
    for name in ("wnids.txt", "words.txt"):
        shutil.copy(source / name, target)


DATA: dict[str, Callable[[Path, Path], None]] = {
    "1-labelled-photographs": photographs,
    "2-stimuli": stimuli,
    "3-baselines": objects,
    "4-cluster": training_images,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(
    page: Path,
    shared_data: Path,
    tmp_path: Path,
    child_env: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    DATA[page.stem](shared_data, tmp_path)
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    env = {**child_env, "PATH": path, "DECAF_CACHE": str(tmp_path / "cache"), "COLUMNS": "120"}
    printed = ""
    for block in blocks_of(page):
        what, _, name = block.marker.partition(" ")
        if what == "prints":
            check_printed(block, printed)
        elif what == "file":
            Path(name).write_text(block.text, encoding="utf-8")
        elif what:
            code, printed = run_block(block, env)
            told = f"{page.name}, line {block.line}: exit code {code}\n{printed}"
            assert code == 0 or block.marker == "run, may fail", told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_are_not_run_are_right_too(page: Path) -> None:
    blocks = blocks_of(page)
    markers = {block.marker.partition(" ")[0] for block in blocks}
    assert markers <= {"", "run", "run,", "prints", "file"}, markers
    assert "run" in markers
    for block in blocks:
        if block.language == "python":
            compile(block.text, f"{page.name}, line {block.line}", "exec")
        if block.language == "bash":
            for command in commands_in(block.text):
                if "decaf" in command:
                    arguments = command[command.index("decaf") + 1 :]
                    args, extra = build_parser(arguments).parse_known_args(arguments)
                    assert args.command, f"{page.name}, line {block.line}: {command}"
                    assert not extra, f"{page.name}, line {block.line}: {extra}"


@pytest.mark.posix("signals")
@pytest.mark.parametrize(
    ("ends_with", "stopped", "queued"), [(0, False, False), (2, False, False), (143, True, True)]
)
def test_the_job_of_slurm_is_queued_again_only_where_its_time_was_over(
    ends_with: int, stopped: bool, queued: bool, tmp_path: Path
) -> None:
    (script,) = (
        block.text
        for block in blocks_of(ROOT / "docs/tutorials/4-cluster.md")
        if block.marker == "file train.sbatch"
    )
    (tmp_path / "decaf-env/bin").mkdir(parents=True)
    (tmp_path / "decaf-env/bin/activate").touch()
    # Slurm's programs: the one runs until it is told to end, or ends at once; the other tells.
    wait = f"trap 'exit {ends_with}' TERM; kill -TERM $PPID; while :; do sleep 0.05; done"
    programs = {
        "srun": wait if stopped else f"exit {ends_with}",
        "scontrol": 'echo "$@" > queued',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    env = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "42"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, timeout=60)
    assert done.returncode == (0 if queued else ends_with)
    told = tmp_path / "queued"
    assert (told.read_text(encoding="utf-8") if told.exists() else "") == (
        "requeue 42\n" if queued else ""
    )
