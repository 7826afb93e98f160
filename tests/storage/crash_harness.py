"""Breaks commands at each of their writes: ``crash_harness.py [NAME…] [--mode M] [--tries N]``.

Every call that changes something on the disk is a boundary, whoever makes it (Python, HDF5, torch):
``crash_shim.c`` is compiled and loaded under the process. In turn each is broken:

========  ==========================================================================
kill      SIGKILL in place of the call
torn      SIGKILL in the middle of a write, or after any other call
EIO       the call fails, be it a write, a sync, a renaming or the making of a folder
ENOSPC    likewise
full      from this call on nothing can be written any more
short     the write takes half of what it is given, which is no failure
========  ==========================================================================

With ``--tries`` it is about so many boundaries of each; ``numbers``, which stands for all files
that are made of shards, is quick, and is broken at every one by the first four all the same.

After each: a command that lives has ended with 0, 1 or 2, with one line where it is 2, and with 2
where a sync failed; no file was renamed before it was synced, as a power failure would show; what
is there under a final name is what it should be; nothing that was finished is lost. Then the same
command runs undisturbed, and its output must be the one that there is when nothing ever happened,
with nothing beside it. Prints a line of JSON for each command and mode, and the count of all.

Each try is a fork of a process that has loaded torch; the files lie in memory (``/dev/shm``) where
there is such a place.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import errno
import gc
import io
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODES = ("kill", "torn", "EIO", "ENOSPC", "full", "short")
SHIM = {"kill": 1, "torn": 2, "EIO": 3, "ENOSPC": 3, "full": 4, "short": 5}
NUMBERS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
# The ways in which the smallest file is broken at all of its writes, whatever is asked.
THOROUGH = ("kill", "torn", "EIO", "ENOSPC")
# What the shim notes.
RENAMED_UNSYNCED, SYNC_FAILED = 1, 2
# What a command says that finds its own finished output, and does not replace it.
REFUSALS = ("exists", "is there already")
# Where TensorBoard is installed a run writes its events too.
EVENTS = "/tensorboard/events.out.tfevents."


@dataclass(frozen=True)
class Case:
    """A command, and how to look at what it leaves.

    Attributes
    ----------
    arguments : list of str
        With ``OUT`` for the folder that it writes to. Of ``numbers`` the rest is the folder of
        images: no command of decaf, but the smallest file that is made of shards.
    content : callable
        Folder → all that does not depend on when and where it was made.
    final : list of str
        Files in the folder that are complete whenever they are there.
    progress : callable
        Folder → how much is finished, a number that never falls from one boundary to the next.
    """

    arguments: list[str]
    content: Callable[[Path], Any]
    final: list[str]
    progress: Callable[[Path], float] = field(default=lambda folder: 0)


def feature_content(path: Path) -> Any:
    """Read all columns of a feature file."""
    import numpy as np

    import decaf

    with decaf.open_features(path) as file:
        names = ("paths", "labels", "status", "messages", "source_size", "content_sha256")
        columns = {name: np.asarray(getattr(file, name)).tolist() for name in names}
        layers = {name: file[name][:].tobytes() for name in file.layers}
        return {**columns, **layers, "run": file.run, "content": file.content}


def pack_content(path: Path) -> Any:
    """Check a pack, and read what identifies all of it."""
    from decaf.train.pack.reader import Pack

    with Pack.open(path) as pack:
        pack.verify()
        return pack.fingerprint, pack.mean_image.tobytes(), pack.bad


def head_content(path: Path) -> Any:
    """Read a head; `load_head` compares its checksum."""
    from decaf.heads.saved import load_head

    head = load_head(path)
    arrays = [head.estimator.coef_, head.estimator.intercept_]
    return [each.tobytes() for each in arrays], head.class_names, head.identity.to_dict()


def weights_content(path: Path) -> Any:
    """Read weights, which compares their checksums."""
    from decaf.backbone.weights.load import load_weights

    weights = load_weights(path)
    return weights.sha256, weights.metrics


def training_content(folder: Path) -> Any:
    """Read what a training run leaves."""
    with open(folder / "log.csv", encoding="utf-8", newline="") as file:
        timed = ("images_per_second", "seconds")
        rows = [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(file)]
    return weights_content(folder / "weights.safetensors"), rows


def model_content(path: Path) -> Any:
    """Read an exported model."""
    if path.suffix == ".onnx":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return sorted((each.filename.partition("/")[2], each.file_size)
                      for each in archive.infolist())  # fmt: skip


def shards_finished(folder: Path) -> float:
    """Count the shards of which a manifest knows; all, where none is needed any more."""
    manifests = list(folder.rglob("manifest-*.txt"))
    if manifests:
        return float(sum(path.read_bytes().count(b"\n") for path in manifests))
    done = [
        path
        for path in folder.rglob("*")
        if path.suffix in (".h5", ".pack", ".head") or path.name == "numbers"
    ]
    return float("inf") if done else 0


def steps_finished(folder: Path) -> float:
    """Find the step of the newest checkpoint."""
    if list(folder.glob("*/weights.safetensors")) or list(folder.glob("*.safetensors")):
        return float("inf")
    steps = [path.stem for path in folder.rglob("checkpoints/step-*.safetensors")]
    return float(max(steps)[5:]) if steps else 0


def numbers_content(path: Path) -> Any:
    """Read the smallest file that is made of shards."""
    return json.loads(path.read_bytes())


def make_numbers(out: str, images: str) -> int:
    """Make that file as a command would."""
    from decaf.errors import DecafError
    from numbers_file import NumbersFile, make

    try:
        make(NumbersFile(Path(out) / "numbers", Path(images)))
    except DecafError as error:
        print(f"decaf: {error}", file=sys.stderr)
        return 2
    return 0


def make_inputs(folder: Path) -> dict[str, Case]:
    """Make small inputs of every kind, and say which commands are tried on them."""
    import numpy as np
    import torch
    from PIL import Image

    import tiny_network
    from decaf.backbone.weights.load import Weights, save_weights
    from decaf.backbone.weights.random_weights import random_state
    from decaf.cli.main import main
    from decaf.images.spec import PreprocessSpec

    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for number, name in enumerate(("ants", "bees", "cats", "dogs")):
            place = folder / "photographs" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 160, (40, 44, 3), dtype=np.uint8)
                pixels[:, :, number % 3] //= 1 + number
                Image.fromarray(pixels).save(place / f"{i:02d}.png")
    few = folder / "few"
    for split, count in (("train", 3), ("val", 2)):
        for name in ("ants", "bees"):
            (few / split / name).mkdir(parents=True)
            for i in range(count):
                shutil.copy(
                    folder / "photographs" / split / name / f"{i:02d}.png", few / split / name
                )
    images = folder / "photographs" / "val"
    broken = folder / "broken"
    shutil.copytree(images, broken)
    (broken / "bees" / "00.png").write_bytes(b"")
    weights = folder / "tiny.safetensors"
    preprocess = PreprocessSpec("decaf", "warp", resize_to=36, crop=32)
    state = random_state(tiny_network.TINY, 3)
    save_weights(weights, Weights.of("tiny", tiny_network.TINY, preprocess, state))
    teacher = folder / "teacher.safetensors"
    classes = [f"class {number}" for number in range(tiny_network.TINY.classes)]
    state = random_state(tiny_network.TINY, 4)
    save_weights(
        teacher, Weights.of("t", tiny_network.TINY, preprocess, state, class_names=classes)
    )
    w, how = str(weights), ["-j", "0", "--device", "cpu", "-q"]
    features, head, pack = folder / "f.h5", folder / "h.head", folder / "train.pack"
    small = folder / "few.pack"
    photographs = str(folder / "photographs")
    extraction = ["-w", w, "-l", "pool5", "-l", "fc6", "-b", "2", *how]
    fitting = ["-w", w, "--layer", "fc6", "-C", "1", "--held-out", "0", "-b", "2", *how]
    tuning = ["--epochs", "1", "--lr", "1e-3", "--batch-size", "3", "--precision", "fp32"]
    for command in (
        ["extract", str(images), "-o", str(features), *extraction],
        ["fit", str(images), "-o", str(head), *fitting],
        ["pack", photographs, "-o", str(pack), "--size", "40", "--encoding", "raw", "-j", "0"],
        ["pack", str(few), "-o", str(small), "--size", "40", "--encoding", "raw", "-j", "0"],
    ):
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(command) == 0
    torch.manual_seed(0)
    step = ["--checkpoint-steps", "2", "--resume"]
    cases = {
        "numbers": Case(
            ["numbers", "OUT", str(images / "ants")],
            lambda out: numbers_content(out / "numbers"), ["numbers"], shards_finished),
        "extract": Case(
            ["extract", str(broken), "-o", "OUT/f.h5", "--on-error", "record", *extraction],
            lambda out: feature_content(out / "f.h5"), ["f.h5"], shards_finished),
        "fit": Case(
            ["fit", str(images), "-o", "OUT/h.head", *fitting],
            lambda out: head_content(out / "h.head"), ["h.head"], shards_finished),
        "pack": Case(
            ["pack", photographs, "-o", "OUT/p.pack", "--size", "8", "-j", "0", "-q"],
            lambda out: pack_content(out / "p.pack"), ["p.pack"], shards_finished),
        "train": Case(
            ["train", str(pack), "-o", "OUT/run", "--arch", "tiny", "--epochs", "2", "--batch-size",
             "16", "--precision", "fp32", "--keep", "2", *step, *how, "-j", "1"],
            lambda out: training_content(out / "run"), [], steps_finished),
        "finetune": Case(
            ["finetune", str(few), "-o", "OUT/m.safetensors", "-w", w, *tuning, *step, *how],
            lambda out: weights_content(out / "m.safetensors"), ["m.safetensors"]),
        "distil": Case(
            ["distil", str(small), "--teacher", str(teacher), "-o", "OUT/run", "--arch", "tiny",
             "--views", "2", "--epochs", "1", "--batch-size", "3", "--precision", "fp32", *step,
             *how, "-j", "1"],
            lambda out: training_content(out / "run"), [], steps_finished),
    }  # fmt: skip
    for ending in ("csv", "json"):
        cases[f"predict-{ending}"] = Case(
            ["predict", str(head), str(images), "-o", f"OUT/a.{ending}", *how],
            lambda out, ending=ending: (out / f"a.{ending}").read_bytes(),  # type: ignore[misc]
            [f"a.{ending}"],
        )
    for ending in ("npy", "csv", "mat"):
        # The first 128 bytes of a .mat tell when it was made.
        cases[f"export-{ending}"] = Case(
            ["export", str(features), "-l", "fc6", "-o", f"OUT/x.{ending}"],
            lambda out, ending=ending: [  # type: ignore[misc]
                path.read_bytes()[128 * (ending == "mat") :] for path in sorted(out.glob("x.*"))
            ],
            [],
        )
    for ending in ("onnx", "pt2"):
        cases[f"export-{ending}"] = Case(
            ["export", w, "-l", "fc6", "-o", f"OUT/m.{ending}"],
            lambda out, ending=ending: model_content(out / f"m.{ending}"),  # type: ignore[misc]
            [f"m.{ending}"],
        )
    return cases


class Harness:
    """Runs commands in forks of this process, and breaks them.

    Parameters
    ----------
    folder : Path
        Where outputs lie meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self._said = folder / "said"
        self._shared = mmap.mmap(-1, 16)
        self._undisturbed: dict[str, tuple[int, int, Any, list[str]]] = {}
        self._shim = ctypes.CDLL(None)
        self._shim.crash_calls.restype = ctypes.c_long

    def run(self, case: Case, mode: str = "", at: int = 0) -> tuple[int, int, str, int]:
        """Run a command.

        Returns
        -------
        code : int
            Its exit code, or minus its signal.
        calls : int
        said : str
            Its complaint.
        noted : int
            Flags: `RENAMED_UNSYNCED`, `SYNC_FAILED`.
        """
        arguments = [each.replace("OUT", str(self.out)) for each in case.arguments]
        self._shared[:] = bytes(16)
        child = os.fork()
        if child == 0:
            self._in_child(arguments, mode, at)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        calls = int.from_bytes(self._shared[:8], "little")
        return status, calls, self._said.read_text(encoding="utf-8"), self._shared[8]

    def _in_child(self, arguments: list[str], mode: str, at: int) -> None:
        from decaf.cli.main import main

        code = 99
        try:
            stream = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            how = SHIM.get(mode, 5)  # without a mode the calls are only counted
            self._shim.crash_arm(
                f"{self.out}/".encode(), ctypes.c_long(at), how, NUMBERS.get(mode, 0)
            )
            of_noun = arguments[0] == "numbers"
            code = make_numbers(*arguments[1:]) if of_noun else main(arguments)
        finally:
            calls = self._shim.crash_calls()
            self._shared[8] = self._shim.crash_noted()
            self._shim.crash_arm(b"?", ctypes.c_long(0), 0, 0)
            self._shared[:8] = calls.to_bytes(8, "little")
            sys.stderr.flush()
            os._exit(code)

    def warm(self, case: Case) -> None:
        """Run a command in this process, for forks to find loaded what it loads."""
        from decaf.cli.main import main

        self.clear()
        arguments = [each.replace("OUT", str(self.out)) for each in case.arguments]
        if arguments[0] != "numbers":
            with contextlib.redirect_stdout(io.StringIO()):
                assert main(arguments) in (0, 1)

    def clear(self) -> None:
        """Make the folder of outputs empty."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def names(self) -> list[str]:
        """List all that lies in the folder of outputs, but TensorBoard's events.

        Each session of a run has a file of those, whose name says when it began.
        """
        names = (str(path.relative_to(self.out)) for path in self.out.rglob("*"))
        return sorted(name for name in names if EVENTS not in name)

    def undisturbed(self, case: Case) -> tuple[int, int, Any, list[str]]:
        """Run a command as it should, once; return its exit code, calls, content and files."""
        command = " ".join(case.arguments)
        if command not in self._undisturbed:
            self.clear()
            code, calls, said, noted = self.run(case)
            assert code in (0, 1), said
            assert noted == 0, "a file was renamed before it was synced"
            self._undisturbed[command] = code, calls, case.content(self.out), self.names()
        return self._undisturbed[command]

    def break_everywhere(self, case: Case, mode: str, tries: int | None) -> dict[str, Any]:
        """Break the calls of a command, or about so many of them, and see what becomes of it.

        Returns
        -------
        dict
            ``tried``: boundaries; ``codes``: how often the broken command ended how; ``wrong``:
            what was not as it should be.
        """
        usual, calls, expected, names = self.undisturbed(case)
        every = 1 if tries is None else max(1, calls // tries)
        first = 1 + MODES.index(mode) * every // len(MODES)
        codes: dict[int, int] = {}
        wrong: list[str] = []
        finished, tried, at = 0.0, 0, first
        while tries is None or at <= calls:
            self.clear()
            code, made, said, noted = self.run(case, mode, at)
            if code >= 0 and made < at:
                break
            tried += 1
            codes[code] = codes.get(code, 0) + 1

            def complain(text: str, at: int = at) -> None:
                wrong.append(f"call {at} of {calls}: {text}")

            killed = code == -signal.SIGKILL and mode in ("kill", "torn")
            if mode == "short" and code != usual:
                complain(f"a short write ended it with {code}: {said[-300:]}")
            if not killed and code not in (usual, 2):
                complain(f"ended with {code}: {said[-300:]}")
            if noted & SYNC_FAILED and code != 2:
                complain(f"a failed sync was passed over: it ended with {code}")
            if noted & RENAMED_UNSYNCED:
                complain("a file was renamed before it was synced")
            if code == 2 and (said.count("\n") != 1 or not said.startswith("decaf: ")):
                complain(f"did not complain in one line: {said[:600]}")
            if all((self.out / name).exists() for name in case.final) and case.final:
                self._compare(case, expected, complain, "after it")
            progress = case.progress(self.out)
            if mode in ("kill", "torn"):
                if progress < finished:
                    complain(f"{finished:g} were finished before, {progress:g} now")
                finished = max(finished, progress)
            code, _, said, _ = self.run(case)
            refused = code == 2 and any(text in said for text in REFUSALS)
            if code != usual and not refused:
                complain(f"the same command ended with {code}: {said[-300:]}")
            self._compare(case, expected, complain, "the same command")
            if self.names() != names:
                complain(f"beside it lie {sorted(set(self.names()) ^ set(names))}: {said[-200:]}")
            at += every
        return {"tried": tried, "calls": calls, "codes": codes, "wrong": wrong}

    def _compare(
        self, case: Case, expected: Any, complain: Callable[[str], None], when: str
    ) -> None:
        try:
            same = case.content(self.out) == expected
        except Exception as error:
            complain(f"{when}: {type(error).__name__}: {error}")
        else:
            if not same:
                complain(f"{when}: other content")


def start() -> None:
    """Begin this program anew with the shim under it, where it is not."""
    if "DECAF_CRASH_SHIM" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="decaf-shim-")
    library = f"{folder}/shim.so"
    source = str(HERE / "crash_shim.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    env = {**os.environ, "LD_PRELOAD": library, "DECAF_CRASH_SHIM": folder, "OMP_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, *sys.argv], env)


def main() -> int:
    """Break what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="commands; all of them by default")
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--tries", type=int, help="of each command and mode; all by default")
    args = parser.parse_args()
    start()
    shutil.rmtree(os.environ["DECAF_CRASH_SHIM"])
    sys.path.insert(0, str(HERE.parent / "support"))
    import torch

    import tiny_network
    from decaf.train import train_network
    from decaf.train.distillation import answer_cache
    from decaf.train.pack import build

    torch.set_num_threads(1)
    # Loads what torch takes long for at its first step, and forks are to find loaded.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)]).step()
    tiny_network.install()
    train_network.draw_curves = lambda *_: None  # matplotlib takes longer than such a run
    build.SHARD_ROWS = (8, 8)
    answer_cache.SHARD_IMAGES = 4
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else None
    total, failed = 0, 0
    with tempfile.TemporaryDirectory(prefix="decaf-crash-", dir=place) as folder:
        cases = make_inputs(Path(folder))
        harness = Harness(Path(folder))
        for name in args.names or cases:
            harness.warm(cases[name])
        gc.collect()
        gc.freeze()  # a fork does not copy what it never touches
        for name in args.names or cases:
            for mode in args.mode or MODES:
                began = time.monotonic()
                tries = None if name == "numbers" and mode in THOROUGH else args.tries
                found = harness.break_everywhere(cases[name], mode, tries)
                total += found["tried"]
                failed += len(found["wrong"])
                seconds = round(time.monotonic() - began, 1)
                print(json.dumps({"command": name, "mode": mode, **found, "seconds": seconds}),
                      flush=True)  # fmt: skip
    print(json.dumps({"tried": total, "wrong": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
