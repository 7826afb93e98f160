"""`distil`: photographs and a teacher in, a trained student out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from decaf.backbone.weights.load import Weights, load_weights
from decaf.errors import SettingError
from decaf.images.preprocess import resized_crops
from decaf.runtime.device import strict_float32
from decaf.runtime.processes import World, world_of_run
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.train.augment import cut, fixed_views
from decaf.train.distillation.answer_cache import Asked, answer, need_room_for_answers
from decaf.train.distillation.photographs import Photographs, PhotographSplit, open_sources
from decaf.train.distillation.settings import DistilSettings, TeacherSettings
from decaf.train.distillation.soft_targets import SoftTargets
from decaf.train.distillation.teacher import ModuleTeacher, Teacher, TeacherCard, load_teacher
from decaf.train.presets import with_changes
from decaf.train.recipe import ARCH_OF_WEIGHTS, TrainSettings
from decaf.train.train_network import train_to_end
from decaf.train.training_run import (
    SavingSettings,
    TrainingData,
    TrainingRun,
    TrainResult,
    check_threads,
)

__all__ = ["distil"]


def distil(
    photographs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    teacher: str | os.PathLike[str] | Teacher | nn.Module,
    out: str | os.PathLike[str],
    settings: TrainSettings | None = None,
    distillation: DistilSettings | None = None,
    *,
    shares: Sequence[float] | None = None,
    cache: str | os.PathLike[str] | None = None,
    init_from: str | os.PathLike[str] | None = None,
    loading: TeacherSettings | None = None,
    saving: SavingSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> TrainResult:
    """Train a network to answer as another does, on photographs that need no labels.

    Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network"; that teacher and
    student look at the same crop, for long, is from Beyer et al. 2022, "Knowledge distillation: a
    good teacher is patient and consistent". The student has the teacher's classes.

    The folder `out` gets what `decaf.train_network` writes; the errors in its log are disagreements
    with the teacher. Under ``torchrun`` the processes share every batch.

    Parameters
    ----------
    photographs : path or sequence of path
        Training packs, folders, archives, in any mix. Of folders packs are made in `cache`.
    teacher : path, Teacher or torch.nn.Module
        An ONNX file, or weights as for `decaf.load_backbone`; or a module from float32
        (N, 3, crop, crop) to logits (N, classes), with a card.
    out : path
        Folder of the run.
    settings : TrainSettings, optional
        How the student is trained: the preset "distil" by default. Or its fields by their names, as
        of the objects below.
    distillation : DistilSettings, optional
        How it is taught.
    shares : sequence of float, optional
        For each of `photographs` how often an image of it is shown, in proportion to the others;
        all alike by default.
    cache : path, optional
        Folder for packs and the teacher's answers, which several runs may share; beside `out` by
        default, with ".cache" added to its name. May be removed once the run is done.
    init_from : str or path, optional
        Weights to start from, all layers or the first ones (`TrainSettings.init_layers`).
    loading : TeacherSettings, optional
        How the teacher is loaded and run, see `load_teacher`:

        - card : path or `TeacherCard` with facts that the teacher's file does not hold.
        - engine : "auto", "openvino" or "onnxruntime", the program that runs an ONNX file.
        - teacher_precision : "fp32" or "bf16", its arithmetic.
    saving : SavingSettings, optional
        How the run is saved: resume, checkpoint_minutes, checkpoint_steps, keep, log_every,
        at_validation and tensorboard, as for `decaf.train_network`.
    compute : ComputeSettings, optional
        How the work is done: device, workers, progress and stop, as for `decaf.train_network`.
    **named
        Fields of `settings`, `distillation`, `loading`, `saving` and `compute` by their names:
        ``epochs=30, temperature=2.0, card="resnet.json", resume=True``.

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
    made = settings_from(
        distil,
        named,
        Part("settings", TrainSettings, settings, make=partial(with_changes, default="distil")),
        Part("distillation", DistilSettings, distillation),
        Part("loading", TeacherSettings, loading),
        Part("saving", SavingSettings, saving),
        Part("compute", ComputeSettings, compute),
    )
    settings, distillation, loading, saving, compute = made
    check_threads(compute)
    sources = [photographs] if isinstance(photographs, (str, os.PathLike)) else [*photographs]
    folder = Path(os.path.abspath(out))
    place = folder.with_name(f"{folder.name}.cache") if cache is None else Path(cache)
    with ExitStack() as stack:
        world = stack.enter_context(world_of_run(compute.device))
        stack.enter_context(strict_float32(world.device))
        begun = None if init_from is None else load_weights(init_from)
        network = _teacher(teacher, loading, world)
        network.check()
        packs = open_sources(sources, place, stack, world, compute)
        images = Photographs(
            packs,
            [1.0] * len(packs) if shares is None else [float(share) for share in shares],
            network.card,
            distillation,
            _resized(settings, begun),
        )
        train, val = images.splits["train"], images.splits["val"]
        targets = SoftTargets(train, images, distillation, settings, network, world.size)
        run = TrainingRun(
            TrainingData(images, train, val),
            Path(out),
            settings,
            world,
            saving=saving,
            compute=compute,
            begun=begun,
            origin={"teacher": network.identity(), "distillation": distillation.to_dict()},
            targets=targets,
        )
        need_room_for_answers(place, len(train), distillation.views, len(network.card.class_names))
        stack.callback(run.close)
        run.begin()

        # What a run cannot be begun with has been told by now: this may take hours.
        targets.answers = [
            answer(
                network, _kept_view(train, network.side, settings, number), place, world, compute
            )
            for number in range(distillation.views)
        ]
        whole = answer(network, _whole_images(val, network.card), place, world, compute)
        run.validation_split = val.with_labels(whole.classes())
        return train_to_end(run)


def _teacher(
    teacher: str | os.PathLike[str] | Teacher | nn.Module,
    loading: TeacherSettings,
    world: World,
) -> Teacher:
    if isinstance(teacher, Teacher):
        return teacher
    card, precision = loading.card, loading.teacher_precision
    if isinstance(teacher, nn.Module):
        if card is None:
            raise SettingError("a module that teaches needs a card: its preprocessing and classes")
        known = card if isinstance(card, TeacherCard) else TeacherCard.read(card)
        return ModuleTeacher(teacher, known, device=world.device, precision=precision or "fp32")
    return load_teacher(
        teacher, card=card, engine=loading.engine, precision=precision, device=world.device
    )


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
        crop: np.ndarray = resized_crops(split.pixels(index), card.preprocess)[0]
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
