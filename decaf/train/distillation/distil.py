"""`distil`: photographs and a teacher in, a trained student out."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from decaf.backbone.weights.load import Weights, load_weights
from decaf.errors import SettingError
from decaf.images.preprocess import resized_crops
from decaf.runtime.device import strict_float32
from decaf.runtime.processes import World, world_of_run
from decaf.train.augment import cut, fixed_views
from decaf.train.distillation.answers import Answers, Asked, answer, need_room
from decaf.train.distillation.card import TeacherCard
from decaf.train.distillation.photographs import Photographs, PhotographSplit, open_sources
from decaf.train.distillation.settings import DistilSettings
from decaf.train.distillation.soft_targets import SoftTargets
from decaf.train.distillation.teacher import ModuleTeacher, Teacher, load_teacher
from decaf.train.log import wants_tensorboard
from decaf.train.loop import train_to_end
from decaf.train.presets import preset
from decaf.train.recipe import ARCH_OF_WEIGHTS, TrainSettings
from decaf.train.training_run import SavingSettings, TrainingData, TrainingRun, TrainResult

__all__ = ["distil"]


def distil(
    photographs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    teacher: str | os.PathLike[str] | Teacher | nn.Module,
    out: str | os.PathLike[str],
    settings: TrainSettings | None = None,
    distillation: DistilSettings | None = None,
    *,
    shares: Sequence[float] | None = None,
    card: str | os.PathLike[str] | TeacherCard | None = None,
    engine: str = "auto",
    teacher_precision: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    init_from: str | os.PathLike[str] | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int | None = None,
    saving: SavingSettings | None = None,
    tensorboard: bool | None = None,
    progress: bool | Callable[[int, int], Any] | None = None,
    stop: threading.Event | None = None,
) -> TrainResult:
    """Train a network to answer as another does, on photographs that need no labels.

    Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network"; that teacher and
    student look at the same crop, for long, is from Beyer et al. 2022, "Knowledge distillation: a
    good teacher is patient and consistent". The student has the teacher's classes.

    The folder `out` gets what `decaf.train.train` writes; the errors in its log are disagreements
    with the teacher. Under ``torchrun`` the processes share every batch.

    Parameters
    ----------
    photographs : path or sequence of path
        Training packs, folders, archives, in any mix. Of folders packs are made in `cache`.
    teacher : path, Teacher or torch.nn.Module
        An ONNX file, or weights as for `decaf.load_backbone`; or a module from float32
        (N, 3, crop, crop) to logits (N, classes), with `card`.
    out : path
        Folder of the run.
    settings : TrainSettings, optional
        The preset "distil" by default.
    distillation : DistilSettings, optional
    shares : sequence of float, optional
        For each of `photographs` how often an image of it is shown, in proportion to the others;
        all alike by default.
    card : path or TeacherCard, optional
        Facts that the teacher's file does not hold; see `load_teacher`.
    engine : {"auto", "openvino", "onnxruntime"}
        Program that runs an ONNX file.
    teacher_precision : {"fp32", "bf16"}, optional
        Its arithmetic; see `load_teacher`.
    cache : path, optional
        Folder for packs and the teacher's answers, which several runs may share; beside `out` by
        default, with ".cache" added to its name. May be removed once the run is done.
    init_from : str or path, optional
        Weights to start from, all layers or the first ones (`TrainSettings.init_layers`).
    resume, device, workers, tensorboard, progress, stop
        As for `decaf.train.train`.
    saving : SavingSettings, optional
        How often to save and to log.

    Returns
    -------
    TrainResult

    Raises
    ------
    SettingError, InputError, WeightsError
        If what was asked for cannot be trained: a teacher whose preprocessing or classes are not
        known, or whose answers are not one finite vector; photographs that are none.
    OutputError
        If `out` holds a run and `resume` is not given, is in use, or the disk is too small.
    ResumeError
        If the run in `out`, or the cache, is of other settings.
    Diverged
        If the loss became NaN, infinite or far worse than guessing.
    Stopped
        If `stop` was set.

    Notes
    -----
    On CPUs with the same number of threads, the same settings give the same weights to the bit,
    however often the run is stopped and resumed.
    """
    chosen = settings or preset("distil")
    taught = distillation or DistilSettings()
    if workers is not None and workers < 1:
        raise SettingError(f"`workers` must be 1 or more, got {workers}")
    wants_tensorboard(tensorboard)
    stopping = stop or threading.Event()
    sources = [photographs] if isinstance(photographs, (str, os.PathLike)) else [*photographs]
    folder = Path(os.path.abspath(out))
    place = folder.with_name(f"{folder.name}.cache") if cache is None else Path(cache)
    with ExitStack() as stack:
        world = stack.enter_context(world_of_run(device))
        stack.enter_context(strict_float32(world.device))
        begun = None if init_from is None else load_weights(init_from)
        network = _teacher(teacher, card, engine, teacher_precision, world)
        network.check()
        packs = open_sources(
            sources, place, stack, world, workers=workers, progress=progress, stop=stopping
        )
        images = Photographs(
            packs,
            [1.0] * len(packs) if shares is None else [float(share) for share in shares],
            network.card,
            taught,
            _resized(chosen, begun),
        )
        train, val = images.splits["train"], images.splits["val"]
        targets = SoftTargets(train, images, taught, chosen, network, world.size)
        run = TrainingRun(
            TrainingData(images, train, val),
            Path(out),
            chosen,
            world,
            saving=saving or SavingSettings(),
            begun=begun,
            workers=workers,
            origin={"teacher": network.identity(), "distillation": taught.to_dict()},
            targets=targets,
        )
        need_room(place, len(train), taught.views, len(network.card.class_names))
        stack.callback(run.close)
        run.begin(resume)

        def ask(asked: Asked) -> Answers:
            return answer(
                network, asked, place, world, workers=run.workers, progress=progress, stop=stopping
            )

        # What a run cannot be begun with has been told by now: this may take hours.
        targets.answers = [
            ask(_kept_view(train, network.side, chosen, number)) for number in range(taught.views)
        ]
        classes = ask(_whole_images(val, network.card)).classes()
        run.validation_split = val.with_labels(classes)
        return train_to_end(run, tensorboard=tensorboard, progress=progress, stop=stopping)


def _teacher(
    teacher: str | os.PathLike[str] | Teacher | nn.Module,
    card: str | os.PathLike[str] | TeacherCard | None,
    engine: str,
    precision: str | None,
    world: World,
) -> Teacher:
    if isinstance(teacher, Teacher):
        return teacher
    if isinstance(teacher, nn.Module):
        if card is None:
            raise SettingError("a module that teaches needs a card: its preprocessing and classes")
        known = card if isinstance(card, TeacherCard) else TeacherCard.read(card)
        return ModuleTeacher(teacher, known, device=world.device, precision=precision or "fp32")
    return load_teacher(teacher, card=card, engine=engine, precision=precision, device=world.device)


def _resized(settings: TrainSettings, begun: Weights | None) -> int:
    """Return the side that whole images are resized to for the student."""
    if settings.resize_to is not None:
        return settings.resize_to
    if settings.arch == ARCH_OF_WEIGHTS and begun is not None:
        return begun.preprocess.resize_to
    side = settings.spec(classes=2).input_size
    return 256 if side in (224, 227) else round(side * 9 / 8)


def _whole_images(split: PhotographSplit, card: TeacherCard) -> Asked:
    def see(index: int) -> np.ndarray:
        pixels = torch.from_numpy(split.pixels(index)).permute(2, 0, 1)
        crop: np.ndarray = resized_crops(pixels, card.preprocess)[0].numpy()
        return crop

    return Asked(split.digests, see, {"kind": "whole image"})


def _kept_view(split: PhotographSplit, side: int, settings: TrainSettings, number: int) -> Asked:
    record = {
        "kind": "view",
        "view": number,
        "seed": settings.seed,
        "crop_area": list(settings.crop_area),
        "crop_ratio": list(settings.crop_ratio),
        "mirror": settings.mirror,
    }

    def see(index: int) -> np.ndarray:
        row = slice(index, index + 1)
        view = fixed_views(settings, split.contents[row], np.array([number]), split.sides[row])
        out = np.empty((side, side, 3), np.uint8)
        cut(split.pixels(index), view, 0, out)
        return out

    # As JSON has it, so that what is compared is what was written.
    return Asked(split.digests, see, json.loads(json.dumps(record)))
