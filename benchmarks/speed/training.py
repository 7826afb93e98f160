"""How fast is training? The feed from a pack, the step, and the loop that joins them.

    python benchmarks/speed/training.py PHOTOGRAPHS

PHOTOGRAPHS is a folder of JPEG files, best 1,000 full-size ones of ImageNet. Three questions are
answered, on a GPU where there is one and else on the CPU:

- the feed (decode, crop, mirror, lighting, normalise) from a pack of the photographs, beside
  torchvision's reference pipeline on the same photographs: ImageFolder, RandomResizedCrop or Resize
  and RandomCrop, mirror, normalise, DataLoader with two workers; always on the CPU;
- the step of decaf's trainer beside the bare forward pass, backward pass and update of the same
  network on a batch that is there already;
- the whole loop, fed from the pack: which share of the bare step's speed it reaches, and from that
  the hours that 90 epochs of ImageNet's 1,281,167 images take.

Freed memory is kept for all of them, as `decaf train` keeps it. What is compared takes turns, and
ratios are taken round by round, so that they hold when the machine's speed drifts. The result goes
to ``--json`` (and as Markdown beside it), and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from machine import describe, described, jpeg_files, parser_of, say, table_row, tell
from steps import BareStep, seconds_of, spread

from decaf.runtime.cores import available_cores
from decaf.runtime.device import choose_device
from decaf.runtime.memory import keep_freed_memory
from decaf.runtime.processes import World
from decaf.train.augment import Normaliser
from decaf.train.feed import Batch, Feed
from decaf.train.initial_weights import preprocess_of, start_state
from decaf.train.pack.build import make_pack
from decaf.train.pack.reader import Pack
from decaf.train.presets import preset
from decaf.train.recipe import TrainSettings
from decaf.train.step import DTYPES, Trainer

IMAGENET = 1_281_167
EPOCHS = 90
CLASSES = 4
CROP = 224
# Times that a round goes through the photographs.
PASSES = 3


def main() -> None:
    args = _arguments()
    keep_freed_memory()
    photographs = jpeg_files(args.photographs)[: args.images]
    args.images = len(photographs)
    if len(photographs) < args.batch_size:
        sys.exit(f"{args.photographs}: {len(photographs)} JPEG files, too few for a batch")
    device = choose_device(args.device)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    with tempfile.TemporaryDirectory(prefix="decaf-training-", dir=args.scratch) as scratch:
        folder = _image_folder(Path(scratch), photographs)
        packs = {}
        report: dict[str, Any] = {
            "machine": describe(gpu),
            "command": _command(args),
            "images": len(photographs),
            "packing": {},
        }
        for encoding in ("jpeg", "raw"):
            began = time.perf_counter()
            packs[encoding] = Path(scratch) / f"{encoding}.pack"
            make_pack(folder, packs[encoding], encoding=encoding).close()
            seconds = time.perf_counter() - began
            report["packing"][encoding] = {
                "images_per_s": round(len(photographs) / seconds, 1),
                "bytes_per_image": round(packs[encoding].stat().st_size / len(photographs)),
            }
        if args.only != "step":
            report["feed"] = _measure_feeds(folder, packs, args)
        if args.only != "feed":
            report["step"] = {
                arch: _measure_steps(arch, packs, device, args)
                for arch in ("alexnet", "alexnet-2012")
            }
    tell(
        report,
        f"Speed of {'the feed' if args.only == 'feed' else 'training'}",
        _table(report),
        args,
    )


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "training", alike=("scratch",))
    parser.add_argument("photographs", type=Path, help="folder of JPEG files")
    parser.add_argument("--only", choices=("feed", "step"), help="measure one of the two")
    parser.add_argument("--images", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--steps", type=int, help="a round (default: 4 on a CPU, 100 on a GPU)")
    parser.add_argument("--batch-size", type=int, default=128, help="images (default: 128)")
    parser.add_argument("--device", default="auto", help="for the steps: auto, cpu, cuda")
    parser.add_argument("--scratch", type=Path, help="folder for the packs (default: a temporary)")
    return parser.parse_args()


def _command(args: argparse.Namespace) -> str:
    """Spell the command without the paths of this machine."""
    words = ["python benchmarks/speed/training.py PHOTOGRAPHS", f"--images {args.images}"]
    words += [f"--rounds {args.rounds}", f"--batch-size {args.batch_size}"]
    words += [f"--steps {args.steps}"] if args.steps else []
    words += [f"--only {args.only}"] if args.only else []
    return " ".join(words)


def _image_folder(scratch: Path, photographs: list[Path]) -> Path:
    """Lay the photographs out as an ImageFolder; which class is whose does not matter here."""
    folder = scratch / "photographs"
    for number, path in enumerate(photographs):
        home = folder / f"class{number % CLASSES}"
        home.mkdir(parents=True, exist_ok=True)
        (home / path.name).symlink_to(path.resolve())
    return folder


def _measure_feeds(folder: Path, packs: dict[str, Path], args: argparse.Namespace) -> Any:
    feeds: dict[str, Any] = {}
    runs: dict[str, list[float]] = {}
    with Pack.open(packs["jpeg"]) as pack:  # both pipelines take off the same mean
        shown = (pack.mean.tolist(), pack.std.tolist())
    for number in range(args.rounds + 1):
        for crop in ("resized", "random"):
            for name in ("torchvision", *packs):
                say(f"feed, round {number} of {args.rounds}: {crop} crops, {name}")
                if name == "torchvision":
                    batches = _torchvision_batches(folder, crop, args.batch_size, shown)
                else:
                    batches = _pack_batches(packs[name], crop, args.batch_size, number)
                speed, mean = _speed_of(batches)
                label = f"{name}, {crop} crops"
                if number:  # the first round warms the file cache
                    runs.setdefault(label, []).append(speed)
                feeds.setdefault(label, {})["mean"] = round(mean, 4)
    for crop in ("resized", "random"):
        means = [feeds[f"{name}, {crop} crops"]["mean"] for name in ("torchvision", *packs)]
        if max(means) - min(means) > 0.15:
            sys.exit(f"{crop} crops: the feeds do not show the same images: means {means}")
    for label, speeds in runs.items():
        feeds[label] |= spread(speeds)
        reference = runs[f"torchvision, {label.split(', ')[1]}"]
        ratios = [ours / theirs for ours, theirs in zip(speeds, reference, strict=True)]
        feeds[label]["ratio"] = round(statistics.median(ratios), 2)
    return feeds


def _speed_of(batches: Iterator[torch.Tensor]) -> tuple[float, float]:
    """Return images/s once it runs, and the mean of all pixels."""
    means, count, began = [], 0, 0.0
    for number, images in enumerate(batches):
        means.append(float(images[:8].float().mean()))
        if number:  # the first batch waits for processes and threads to start
            count += len(images)
        else:
            began = time.perf_counter()
    return count / (time.perf_counter() - began), statistics.fmean(means)


def _torchvision_batches(
    folder: Path, crop: str, batch_size: int, statistics_of: tuple[list[float], list[float]]
) -> Iterator[torch.Tensor]:
    """Yield the batches of torchvision's reference training script."""
    from torch.utils.data import ConcatDataset, DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    if crop == "resized":
        cut = [transforms.RandomResizedCrop(CROP)]
    else:
        cut = [transforms.Resize(256), transforms.RandomCrop(CROP)]
    normalise = [
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(*statistics_of),
    ]
    images = ImageFolder(folder, transforms.Compose([*cut, *normalise]))
    loader = DataLoader(
        ConcatDataset([images] * PASSES),
        batch_size,
        shuffle=True,
        num_workers=2,
        drop_last=True,
    )
    for batch, _labels in loader:
        yield batch


def _pack_batches(path: Path, crop: str, batch_size: int, epoch: int) -> Iterator[torch.Tensor]:
    with Pack.open(path) as pack:
        settings = preset(
            "modern",
            crop=crop,
            # As torchvision's default.
            crop_area=(0.08, 1.0),
            lighting=0.1,
            batch_size=batch_size,
            precision="fp32",
            seed=epoch,
        )
        feed = _feed(pack, settings, torch.device("cpu"), CROP)
        with feed.batches(0, PASSES * feed.steps_per_epoch) as batches:
            for batch in batches:
                yield batch.images


def _feed(pack: Pack, settings: TrainSettings, device: torch.device, crop: int) -> Feed:
    preprocess, mean_image = preprocess_of(pack, settings, crop)
    dtype = DTYPES[settings.precision]
    return Feed(
        pack.splits["train"],
        settings,
        side=pack.size,
        pca=pack.pca,
        normaliser=Normaliser(preprocess, mean_image, dtype, device),
        crop=crop,
        device=device,
        workers=available_cores(),
    )


def _measure_steps(
    arch: str, packs: dict[str, Path], device: torch.device, args: argparse.Namespace
) -> Any:
    """Time the bare step, the trainer's, and the loop from each pack, in turns."""
    on_gpu = device.type == "cuda"
    steps = args.steps or (100 if on_gpu else 4)
    base = preset("alexnet-2012", arch=arch, precision="bf16", batch_size=args.batch_size)
    opened = {name: Pack.open(path) for name, path in packs.items()}
    pack = opened["raw"]
    spec = replace(base.spec(len(pack.wnids)), classes=1000)
    state = start_state(spec, pack, base, None)
    bare = BareStep(spec, base.batch_size, device, state=state, dtype=DTYPES[base.precision])
    batch = Batch(0, bare.images, bare.labels)
    trainer = Trainer(spec, state, base, World(device), 1_000_000)
    runs: dict[str, list[float]] = {}
    for number in range(args.rounds + 1):
        say(f"{arch}, round {number} of {args.rounds}")
        durations = {
            "bare step": seconds_of(bare, repeat(batch, steps), device),
            "trainer's step": seconds_of(trainer, repeat(batch, steps), device),
        }
        for name, each in opened.items():
            feed = _feed(each, base, device, spec.input_size)
            # One batch more than is timed: the first waits for the threads to start.
            with feed.batches(number * (steps + 1), (number + 1) * (steps + 1)) as batches:
                trainer.take(next(batches))
                durations[f"loop, {name} pack"] = seconds_of(trainer, batches, device)
        for name, seconds in durations.items():
            if number:  # the first round compiles, chooses algorithms and fills caches
                runs.setdefault(name, []).append(args.batch_size * steps / seconds)
    for each in opened.values():
        each.close()
    if not (math.isfinite(float(bare.loss)) and trainer.is_finite()):
        sys.exit(f"{arch}: the loss went astray; what was timed was no training")
    report: dict[str, Any] = {}
    for name, speeds in runs.items():
        ratios = [ours / theirs for ours, theirs in zip(speeds, runs["bare step"], strict=True)]
        report[name] = {**spread(speeds), "share_of_bare": round(statistics.median(ratios), 3)}
        hours = IMAGENET * EPOCHS / report[name]["images_per_s"] / 3600
        report[name]["hours_of_90_epochs"] = round(hours, 1)
    return report


def _table(report: dict[str, Any]) -> str:
    lines = [described(report["machine"]), ""]
    lines.append(table_row("packing", "images/s", "KB/image"))
    for name, run in report["packing"].items():
        size = f"{run['bytes_per_image'] / 1000:.1f}"
        lines.append(table_row(f"{name} pack", f"{run['images_per_s']:.1f}", size))
    if "feed" in report:
        lines += ["", table_row("feed on the CPU", "images/s", "slowest", "fastest", "ratio")]
    for name, run in sorted(
        report.get("feed", {}).items(), key=lambda item: item[0].split(", ")[::-1]
    ):
        cells = [f"{run[key]:.1f}" for key in ("images_per_s", "slowest", "fastest")]
        lines.append(table_row(name, *cells, f"{run['ratio']:.2f}"))
    for arch, runs in report.get("step", {}).items():
        head = ("images/s", "slowest", "fastest", "of bare", "hours")
        lines += ["", table_row(f"{arch}, bf16", *head)]
        for name, run in runs.items():
            cells = [f"{run[key]:.1f}" for key in ("images_per_s", "slowest", "fastest")]
            cells += [f"{run['share_of_bare']:.3f}", f"{run['hours_of_90_epochs']:.1f}"]
            lines.append(table_row(name, *cells))
    if "step" in report:
        lines += ["", f"hours: of {EPOCHS} epochs of {IMAGENET:,} images at that speed"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
