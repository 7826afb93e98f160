"""The run of the benchmark: train, evaluate, find the nearest images, and report."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from decaf.errors import InputError
from decaf.train import Pack
from harness.ilsvrc.cost import on_imagenet
from harness.ilsvrc.errors import measure, rows_of
from harness.ilsvrc.nearest import nearest_images
from harness.ilsvrc.networks import ImageNetSettings, images_per_second, plan, train
from harness.ilsvrc.published import departures
from harness.ilsvrc.report import (
    challenge_table,
    difference_table,
    headline,
    interval_table,
    table_of_2010,
    table_of_2012,
)
from harness.protocol.run import BenchmarkRun
from report import BenchmarkReport, SplitRecord

__all__ = ["run_imagenet"]


def run_imagenet(
    run: BenchmarkRun[ImageNetSettings],
) -> tuple[BenchmarkReport, dict[str, npt.NDArray[np.uint8]]]:
    """Train the networks that are not there yet, and measure and report all.

    Parameters
    ----------
    run : BenchmarkRun

    Returns
    -------
    report : BenchmarkReport
    pictures : dict of str to array of uint8, shape (H, W, 3)
        The images that it shows, by their names.

    Raises
    ------
    DecafError
        For packs that cannot be trained or measured on, and a folder with networks of other
        settings.
    Stopped
        Where the run is to end early.
    """
    settings = run.settings
    with ExitStack() as stack:
        pack = stack.enter_context(Pack.open(settings.pack))
        split = next((name for name in ("val", "test") if name in pack.splits), None)
        if split is None:
            raise InputError(f"{pack.path}: has no val and no test images to measure errors on")
        larger = None
        if settings.larger is not None:
            larger = stack.enter_context(Pack.open(settings.larger))
        notes = _notes(settings, pack, split, larger)
        trained = train(plan(settings), run)
        rows = rows_of(list(trained))
        with run.timed("evaluations"):
            errors = measure(rows, trained, split, pack.fingerprint, run)
        first = next(iter(trained.values()))
        nearest, pictures = nearest_images(first.weights, first.name, split, pack, run)
        run.fingerprints["the pack"] = pack.fingerprint
        if larger is not None:
            run.fingerprints["the larger pack"] = larger.fingerprint
        bad = sum(rank < 0 for rank in next(iter(errors.values())).ranks)
        if bad:
            images = len(pack.splits[split])
            notes.append(f"{bad} of {images} images could not be read and were left out")
        recipe, count = settings.recipe, len(pack.splits[split])
        report = run.report(
            f"ILSVRC's result tables on {Path(pack.path).name}",
            f"Networks of one recipe ({recipe.preset}) that differ in their seeds, alone and with "
            "their predictions averaged, and such as were trained on a larger label set first and "
            f"then continued (*): errors on the {count:,} {split} images, with the centre crop and "
            "with the mean prediction over ten crops, as Krizhevsky, Sutskever and Hinton 2012 "
            "have them. The schedule may have looked at the same images, as the paper's did.",
            headline(rows, errors),
            [
                table_of_2012(rows, errors, split),
                table_of_2010(rows, errors, split),
                challenge_table(rows, errors, split),
                difference_table(rows, errors),
                interval_table(rows, errors),
                nearest,
                on_imagenet(settings, len(pack.wnids), images_per_second(list(trained.values()))),
            ],
            splits=[SplitRecord(split, len(pack.splits["train"]), count)],
            settings=_shown_settings(settings, pack, larger),
            notes=notes,
        )
    return report, pictures


def _notes(settings: ImageNetSettings, pack: Pack, split: str, larger: Pack | None) -> list[str]:
    notes = []
    if clauses := departures(pack, split):
        notes.append(
            "the published numbers are of ILSVRC, and this pack is not: it has "
            f"{'; '.join(clauses)}; they stand beside to show where each belongs, and cannot be "
            "compared"
        )
    if settings.networks != 5 or (larger is not None and settings.pretrained != 2):
        notes.append(
            f"{settings.networks} networks are averaged, and with a star {settings.pretrained} "
            "more; the paper has 5, and 2 more"
        )
    if larger is None:
        notes.append("no rows with a star: they need a larger label set (--pretrain)")
        return notes
    notes.append(
        f"1 CNN*: begun on {len(larger.splits['train']):,} images of {len(larger.wnids):,} "
        "classes; the paper's on ImageNet's Fall 2011 release, 15 million images of 22,000 "
        "classes, with a sixth convolutional layer, which is not made here. The paper gives no "
        "recipe for going on; here it is the recipe of all networks"
    )
    if twice := _copies(pack.splits[split].content_sha256, larger.splits["train"].content_sha256):
        notes.append(
            f"{twice:,} of {len(pack.splits[split]):,} {split} images are training images of the "
            "larger set: the rows with a star have seen them"
        )
    return notes


def _copies(test: npt.NDArray[np.uint8], training: npt.NDArray[np.uint8]) -> int:
    """Count the test images that are training images, by their files' contents."""
    known = {row.tobytes() for row in test} - {bytes(32)}  # of images in memory
    # Of the training images, which may be many millions, those alone are kept.
    seen = {content for row in training if (content := row.tobytes()) in known}
    return sum(row.tobytes() in seen for row in test)


def _shown_settings(
    settings: ImageNetSettings, pack: Pack, larger: Pack | None
) -> Mapping[str, str]:
    recipe = settings.recipe

    def packed(of: Pack) -> str:
        counts = ", ".join(f"{len(each):,} {name}" for name, each in of.splits.items())
        return f"{Path(of.path).name}: {counts}, {len(of.wnids):,} classes, {of.size} pixels"

    shown = {
        "Pack": packed(pack),
        "Larger pack": "none" if larger is None else packed(larger),
        "Network": recipe.spec(len(pack.wnids)).name,
        "Recipe": f"{recipe.preset}, {recipe.epochs:g} epochs at most, batches of "
        f"{recipe.batch_size}, {recipe.optimizer}, learning rate {recipe.lr:g}, "
        f"{recipe.schedule}, {recipe.precision}",
        "Seeds": f"{recipe.seed} and those after it",
    }
    if larger is not None and settings.pretrain_epochs is not None:
        shown["Epochs on the larger pack"] = f"{settings.pretrain_epochs:g}"
    return shown
