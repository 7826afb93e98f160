"""How fast is extraction? decaf beside a plain loop and, where installed, thingsvision.

    python benchmarks/speed/extraction.py PHOTOGRAPHS

PHOTOGRAPHS is a folder of JPEG files, best 1,000 full-size ones of ImageNet. Everything runs on the
CPU, in processes of their own that take turns, with the same (seeded) weights of torchvision's
AlexNet, and the rows are compared. Three questions are answered:

- the whole command, from its start to its end: interpreter, imports, decoding, forward pass and
  writing;
- the work alone, from after the imports on, and the speed once it runs: how much that is of what
  decoding and forward pass, each measured alone, allow together;
- the forward pass alone, beside ONNX Runtime and OpenVINO where they are installed.

``--peer-python`` names the interpreter of an environment with thingsvision, which wants older
versions of torch and numpy than decaf. ``--memory`` adds the peak memory at 2,000 and 20,000
images. Ratios are what to look at: they are taken round by round, so that they hold when the
machine's speed drifts. The result goes to ``--json`` (and as Markdown beside it), and as a
table to the terminal.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from forward import measure_forward
from machine import describe, described, jpeg_files, parser_of, say, table_row, tell

HERE = Path(__file__).parent
CONTENDERS = HERE / "contenders.py"


def main() -> None:
    args = _arguments()
    photographs = jpeg_files(args.photographs)[: args.images]
    args.images = len(photographs)
    with tempfile.TemporaryDirectory(prefix="decaf-speed-") as scratch:
        work = Path(scratch)
        # A folder in a folder of its own: thingsvision takes the classes from its folders.
        folder = work / "data" / "all"
        folder.mkdir(parents=True)
        for path in photographs:
            (folder / path.name).symlink_to(path.resolve())
        weights = _make_weights(work)
        report: dict[str, Any] = {"machine": describe(), "images": len(photographs)}
        report["command"] = _command(args)
        report["forward"] = measure_forward(weights, args.forward_rounds)
        report["decoding"] = _measure_decoding(photographs)
        report["runs"] = _measure_runs(work, folder, weights, args)
        report["agreement"] = _compare_rows(work, photographs)
        report["ratios"] = _ratios(report)
        if args.memory:
            report["memory"] = _measure_memory(work, photographs[:20])
    tell(report, "Speed of extraction", _table(report), args)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "extraction", needs=("peer_python", "memory"))
    parser.add_argument("photographs", type=Path, help="folder of JPEG files")
    parser.add_argument("--images", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument(
        "--forward-rounds", type=int, default=15, help="passes of each network (default: 15)"
    )
    parser.add_argument("--peer-python", help="interpreter of an environment with thingsvision")
    parser.add_argument("--memory", action="store_true", help="measure memory too (minutes)")
    return parser.parse_args()


def _command(args: argparse.Namespace) -> str:
    """Spell the command without the paths of this machine."""
    words = ["python benchmarks/speed/extraction.py PHOTOGRAPHS", f"--images {args.images}"]
    words += [f"--rounds {args.rounds}", f"--forward-rounds {args.forward_rounds}"]
    words += ["--peer-python PYTHON"] if args.peer_python else []
    words += ["--memory"] if args.memory else []
    return " ".join(words)


def _make_weights(work: Path) -> Path:
    """Write torchvision's AlexNet with seeded numbers of a trained network's size."""
    import torch

    import decaf

    backbone = decaf.load_backbone("random:0:alexnet")
    from decaf.backbone.network import TORCHVISION_MODULES

    theirs = {ours: name for name, ours in TORCHVISION_MODULES.items()}
    state = {}
    for name, tensor in backbone.network.state_dict().items():
        module, _, kind = name.rpartition(".")
        state[f"{theirs[module]}.{kind}"] = tensor.contiguous()
    torch.save(state, work / "alexnet.pth")
    return work / "alexnet.pth"


def _measure_decoding(photographs: list[Path]) -> dict[str, float]:
    """Decode, resize and crop on one core: decaf's way and Pillow's."""
    from PIL import Image

    from decaf.images import ImageRef
    from decaf.images.preprocess import prepare
    from decaf.images.spec import named_preprocess
    from decaf.runtime.cores import one_thread

    sample = photographs[:300]
    spec = named_preprocess("shorter-side", 224)
    crop = np.empty((1, 224, 224, 3), np.uint8)
    speeds = {}
    with one_thread(True):
        for name in ("decaf", "Pillow"):
            began = time.perf_counter()
            for path in sample:
                if name == "decaf":
                    prepare(ImageRef(os.fsencode(path)), spec, ten=False, out=crop)
                else:
                    image = Image.open(path).convert("RGB")
                    scale = 256 / min(image.size)
                    size = (round(image.width * scale), round(image.height * scale))
                    np.asarray(image.resize(size, Image.Resampling.BILINEAR))
            speeds[name] = round(len(sample) / (time.perf_counter() - began), 1)
    return speeds


def _measure_runs(
    work: Path, folder: Path, weights: Path, args: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    names = ["plain_loop", "decaf_fp32", "decaf_bf16", "decaf_memory"]
    if not _bf16():
        names.remove("decaf_bf16")
    peer = args.peer_python or (
        sys.executable if importlib.util.find_spec("thingsvision") else None
    )
    if peer:
        names.insert(1, "thingsvision")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in [*names, "command_fp32"]}
    if _bf16():
        runs["command_bf16"] = []
    for number in range(args.rounds):
        for name in runs:
            say(f"round {number + 1} of {args.rounds}: {name}")
            python = peer if name == "thingsvision" else sys.executable
            runs[name].append(_run(str(python), name, work, folder, weights))
    return runs


def _bf16() -> bool:
    import torch

    from decaf.runtime.device import bf16_is_native

    return bf16_is_native(torch.device("cpu"))


def _run(python: str, name: str, work: Path, folder: Path, weights: Path) -> dict[str, float]:
    """Run one contender, and time its process from outside."""
    out = work / f"{name}{'.npy' if name in ('plain_loop', 'thingsvision') else '.h5'}"
    out.unlink(missing_ok=True)
    command = [python, "-W", "ignore", str(CONTENDERS), name, str(folder), str(weights), str(out)]
    if name.startswith("command"):
        precision = name.removeprefix("command_")
        command = [python, "-m", "decaf", "extract", str(folder), "-o", str(out), "-q"]
        command += ["-w", str(weights), "--precision", precision]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    whole = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    measured = {"whole": whole}
    if not name.startswith("command"):
        measured |= json.loads(done.stdout.strip().splitlines()[-1])
    return {key: round(value, 3) for key, value in measured.items()}


def _compare_rows(work: Path, photographs: list[Path]) -> dict[str, Any]:
    """Compare the rows of all that ran with those of the plain loop.

    The plain loop resizes with Pillow, decaf with torchvision's uint8 resampling, which rounds some
    pixels to the neighbouring grey level: hence a cosine here, and 1e-5 only in the tests, where
    both get the same pixels. Photographs with an EXIF orientation are left out and counted: decaf
    turns them upright, the others do not.
    """
    from PIL import Image

    import decaf

    upright = np.array([Image.open(p).getexif().get(0x0112, 1) == 1 for p in photographs])
    expected = np.load(work / "plain_loop.npy")[upright]
    agreement: dict[str, Any] = {"left_out_for_their_orientation": int((~upright).sum())}
    for path in sorted(work.glob("*.npy")) + sorted(work.glob("*.h5")):
        if path.suffix == ".npy":
            rows = np.load(path)[upright]
        else:
            with decaf.open_features(path) as file:
                rows = file["fc6"][:][upright]
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
        cosine = (rows * expected).sum(1) / norms
        if cosine.min() < 0.999:
            sys.exit(
                f"{path.stem}: its rows differ from the plain loop's, cosine {cosine.min():.5f}"
            )
        agreement[path.stem] = {"smallest_cosine_with_plain_loop": round(float(cosine.min()), 6)}
    with (
        decaf.open_features(work / "command_fp32.h5") as one,
        decaf.open_features(work / "decaf_fp32.h5") as other,
    ):
        if not np.array_equal(one["fc6"][:], other["fc6"][:]):
            sys.exit("two runs of decaf gave different rows")
    return agreement


def _ratios(report: dict[str, Any]) -> dict[str, float]:
    """Ratios of speed, round by round, and their median."""
    runs, forward = report["runs"], report["forward"]
    ratios = {}

    def ratio(label: str, a: str, b: str, key: str) -> None:
        if a in runs and b in runs:
            pairs = [slow[key] / fast[key] for fast, slow in zip(runs[a], runs[b], strict=True)]
            ratios[label] = round(statistics.median(pairs), 3)

    for peer in ("thingsvision", "plain_loop"):
        for precision in ("fp32", "bf16"):
            name = peer.replace("_", " ")
            ratio(f"whole command {precision} / {name}", f"command_{precision}", peer, "whole")
            ratio(f"work {precision} / {name}", f"decaf_{precision}", peer, "work")
    ratio("work fp32 in memory / written to a file", "decaf_memory", "decaf_fp32", "work")
    for precision in ("fp32", "bf16"):
        if f"decaf_{precision}" not in runs:
            continue
        running = statistics.median(run["running"] for run in runs[f"decaf_{precision}"])
        ratios[f"running {precision} / what decoding and pass allow"] = round(
            running / _allowed(report, precision), 3
        )
        for peer in ("thingsvision", "plain_loop"):
            if peer in runs:
                work = report["images"] / statistics.median(run["work"] for run in runs[peer])
                ratios[f"running {precision} / work of {peer.replace('_', ' ')}"] = round(
                    running / work, 3
                )
        for peer in (f"ONNX Runtime {precision}", f"OpenVINO {precision}"):
            if peer in forward:
                ours = forward[f"decaf {precision}"]["images_per_s"]
                ratios[f"forward {precision} / {peer}"] = round(
                    ours / forward[peer]["images_per_s"], 3
                )
    return ratios


def _allowed(report: dict[str, Any], precision: str) -> float:
    """Return the images/s that all cores would reach if nothing but decoding and pass took time."""
    decoding = 1 / report["decoding"]["decaf"] / report["machine"]["cores"]
    return 1 / (1 / report["forward"][f"decaf {precision}"]["images_per_s"] + decoding)


def _measure_memory(work: Path, photographs: list[Path]) -> dict[str, float]:
    """Peak memory of the command at 2,000 and at 20,000 images (a few, named again and again)."""
    peaks = {}
    for count in (2_000, 20_000):
        say(f"memory at {count} images")
        listing = work / f"{count}.txt"
        names = [str(photographs[i % len(photographs)].resolve()) for i in range(count)]
        listing.write_text("\n".join(names) + "\n", encoding="utf-8")
        out = work / f"memory-{count}.h5"
        code = (
            f"import sys; sys.path.insert(0, {str(HERE)!r}); "
            "from contenders import peak_megabytes; from decaf.cli.main import main; "
            f"code = main(['extract', {str(listing)!r}, '-o', {str(out)!r}, '-q', "
            "'-w', 'random:0:alexnet-64', '--labels', 'none']); "
            "print(peak_megabytes()); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        peaks[f"{count} images, peak MB"] = round(float(done.stdout.split()[-1]), 1)
        out.unlink()
    return peaks


def _table(report: dict[str, Any]) -> str:
    lines = [
        described(report["machine"]),
        "",
        table_row("forward pass alone", "images/s", "slowest", "fastest", "rel. error"),
    ]
    for name, run in report["forward"].items():
        speeds = [f"{run[key]:.1f}" for key in ("images_per_s", "slowest", "fastest")]
        lines.append(table_row(name, *speeds, f"{run['relative_error']:.1e}"))
    lines += ["", table_row("decoding, one core", "images/s")]
    lines += [table_row(name, f"{speed:.1f}") for name, speed in report["decoding"].items()]
    count = report["images"]
    lines += [
        "",
        table_row(f"{count} photographs to fc6", "whole s", "images/s", "work s", "images/s"),
    ]
    lines[-1] += f"{'running':>11}{'peak MB':>11}"
    for name, runs in report["runs"].items():
        cells = []
        for key in ("whole", "work"):
            if key in runs[0]:
                seconds = statistics.median(run[key] for run in runs)
                cells += [f"{seconds:.2f}", f"{count / seconds:.1f}"]
        if "peak_mb" in runs[0]:
            running = [run["running"] for run in runs if "running" in run]
            cells.append(f"{statistics.median(running):.1f}" if running else "")
            cells.append(f"{max(run['peak_mb'] for run in runs):.0f}")
        lines.append(table_row(name, *cells))
    lines += ["", "ratios of speed (median over rounds)"]
    lines += [f"{name:56}{value:6.2f}" for name, value in report["ratios"].items()]
    lines += [f"{name:56}{value:6.1f}" for name, value in report.get("memory", {}).items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
