"""`finetune`: a folder of images in, a network adapted to it out."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from decaf.backbone.model import Backbone
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.backbone.weights.load import Weights, load_weights, save_weights
from decaf.backbone.weights.safetensors_file import check_weights_path
from decaf.backbone.weights.state import with_preprocess
from decaf.errors import (
    DiskError,
    ImageError,
    InputError,
    OutputError,
    SettingError,
    Stopped,
    WeightsError,
)
from decaf.features.settings import NetworkSettings
from decaf.finetuning.card import check_card_path, write_card
from decaf.finetuning.data import Packed, find_images, identity_of, images_of, open_data
from decaf.finetuning.frozen_head import FrozenHead, frozen_head, layer_values, write_head
from decaf.finetuning.job import Job
from decaf.finetuning.keep_rule import Accuracy, Trial, best_step, sign_test
from decaf.finetuning.result import Finetuned
from decaf.finetuning.settings import FinetuneSettings
from decaf.finetuning.training import Trained, train_on_pack
from decaf.finetuning.work_folder import WorkFolder
from decaf.images import ImageList, ListingSettings
from decaf.images.decoding.formats import is_hdf5
from decaf.runtime.device import strict_float32
from decaf.runtime.names import name_text
from decaf.runtime.processes import World, world_of_run
from decaf.runtime.settings import ComputeSettings, Part, settings_from
from decaf.storage import check_output
from decaf.train.initial_weights import start_state
from decaf.train.log import read_log
from decaf.train.recipe import TrainSettings
from decaf.train.train_network import Diverged
from decaf.train.training_run import SavingSettings

__all__ = ["finetune"]

# Fields of `SavingSettings` that a fine-tuning sets itself.
NOT_CHOSEN = ("keep", "log_every", "at_validation", "tensorboard")


def finetune(
    train: Any,
    val: Any = None,
    *,
    out: str | os.PathLike[str] | None = None,
    save_head: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    keep: bool = False,
    settings: FinetuneSettings | None = None,
    listing: ListingSettings | None = None,
    network: NetworkSettings | None = None,
    saving: SavingSettings | None = None,
    compute: ComputeSettings | None = None,
    **named: Any,
) -> Finetuned:
    """Adapt a trained network to images of other classes.

    The network gets a new last layer, and all of it is trained (Girshick et al. 2014, section 2.3).
    First a logistic regression is fitted to fc7 of the network as it is: what fine-tuning has to
    beat on the validation images, and by default what the new last layer begins as. Of the states
    that training goes through, the one that names most validation images rightly is kept; where it
    began as the head, only if it beats the head by what can be believed (`Finetuned.better`), else
    the frozen network with the head as its last layer is what comes of it.

    Parameters
    ----------
    train : path, list of paths, or ImageList
        A folder or archive with a folder for each class; the same below ``train``; a list file or
        a list of paths with labels; or a training pack.
    val : likewise, optional
        Validation images, of classes of `train`; a pack where `train` is one. By default those that
        `train` has beside it (``val``), else a share of the training images.
    out : path, optional
        The weights file to write, ending in ``.safetensors``; its card is written beside it
        (``.md``), and work is done in the folder ``NAME.finetune`` beside it, where the log, the
        curves and the settings stay. By default nothing is written.
    save_head : path, optional
        Write the frozen head there too, as a file that `decaf predict` takes.
    overwrite : bool
        Replace `out` and the work beside it, once the new network is there.
    keep : bool
        Keep the pack and the checkpoints in the work folder.
    settings : FinetuneSettings, optional
        How the network is trained; or its fields by their names, as of the objects below.
    listing : ListingSettings, optional
        How the images are listed:

        - labels, val_labels : of `train` and of `val`, as in `decaf.extract`.
        - val_fraction : the share drawn of each class where there are no validation images, 0.2
          when not given; refused where there are.
        - layout : "auto", "splits" or "classes", as in `decaf.extract`.
        - splits : ``"FILE:COLUMN"`` of a table, or train, val or test for each image, where folders
          do not say it; as for `decaf.collect`.
        - crops_from, margin, min_confidence, categories : boxes as images of their own, as
          `decaf.collect` takes them.
        - groups : as in `decaf.extract`, or of a pack by the names in it (a sequence, of the
          training images): none is both in training and among the images drawn for validation, by
          which training is ended, nor on both sides of a fold of the frozen head's search for C;
          of images that come divided a warning says which are in both.
        - min_images : leave out classes with fewer training images, with a word; by default those
          with none, or a single one where some are drawn for validation. Not of a pack.
        - on_error : at an image that cannot be read, "raise" `ImageError` (default; on the command
          line "record" is), or leave it out and "record" it.
    network : NetworkSettings, optional
        Network to begin with:

        - weights : name, path or `Weights`, as for `decaf.load_backbone`.
        - preprocess : as in `decaf.extract`; the network that comes of it keeps it.
    saving : SavingSettings, optional
        How the work is saved:

        - resume : go on with the work in the folder beside `out`, or begin where there is none. Of
          a finished run the result is given again, and the head of `save_head` is written.
        - checkpoint_minutes : time between two checkpoints, 2 when not given.
        - checkpoint_steps : steps between two checkpoints, besides.
    compute : ComputeSettings, optional
        How the work is done:

        - device : "auto", "cpu", "cuda" or "cuda:N".
        - workers : processes, and threads, that decode; one a core by default. 0 decodes in this
          process.
        - progress : as for `decaf.extract`; of packing, then of training.
        - stop : a `threading.Event`; when set, the run keeps what is finished and ends with
          `Stopped`.
    **named
        Fields of `settings`, `listing`, `network`, `saving` and `compute` by their names:
        ``epochs=10, freeze="conv3", groups="folder", device="cuda"``.

    Returns
    -------
    Finetuned

    Raises
    ------
    SettingError, InputError, WeightsError
        For what cannot be fine-tuned.
    ImageError
        For a bad image, with ``on_error="raise"``.
    OutputError
        If `out` exists, is in use, or cannot be written, or its card would replace a file that is
        none.
    ResumeError
        If the work beside `out` was begun with other settings or images.
    Diverged
        If the loss became NaN, infinite or far worse than guessing.
    Stopped
        If `stop` was set.

    References
    ----------
    Girshick, Donahue, Darrell & Malik 2014, "Rich feature hierarchies for accurate object detection
    and semantic segmentation".
    """
    made = settings_from(
        finetune,
        named,
        Part("settings", FinetuneSettings, settings),
        Part("listing", ListingSettings, listing),
        Part("network", NetworkSettings, network, ("crops", "precision", "batch_size")),
        Part("saving", SavingSettings, saving, NOT_CHOSEN, _saving),
        Part("compute", ComputeSettings, compute),
    )
    settings, listing, network, saving, compute = made
    if val is not None and listing.val_fraction is not None:
        raise SettingError("`val_fraction` is for a run without `val`: give one of the two")
    with ExitStack() as stack:
        world = stack.enter_context(world_of_run(compute.device))
        stack.enter_context(strict_float32(world.device))
        target = _target(out, network.weights, world, stack, resume=saving.resume)
        head_path = _head_path(save_head, target, replace_it=saving.resume or overwrite)
        weights = DEFAULT_WEIGHTS if network.weights is None else network.weights
        begun = weights if isinstance(weights, Weights) else load_weights(weights)
        job = Job(
            begun=with_preprocess(begun, network.preprocess),
            settings=settings,
            listing=listing,
            # What trains goes on from its checkpoints, where there are any in the work folder.
            saving=replace(saving, resume=True),
            compute=compute,
            overwrite=overwrite,
            world=world,
        )
        packs = _packs(train, val)
        if packs is not None and listing.splits is not None:
            raise SettingError(f"{train}: a pack has its own splits; leave `splits` out")
        source: ImageList | None = None
        if isinstance(train, ImageList) and train.for_training:  # a data set for training already
            source = train
        if source is None and packs is None:
            source = world.on_chief(
                lambda: find_images(train, val, listing, seed=settings.seed),
            )
        images = world.on_chief(
            lambda: (
                identity_of(source) if packs is None else images_of(*packs, listing.val_fraction)
            ),
        )
        work = WorkFolder(target, job.record(), images)
        stack.callback(work.close)
        resumed = world.on_chief(lambda: work.open(resume=saving.resume, overwrite=overwrite))
        result = _finished_before(world, work)
        if result is None or head_path is not None:
            # The pack is closed before it is removed: Windows removes no open file.
            with _left_in_order(world, work, resumed=bool(resumed)), ExitStack() as opened:
                data = open_data(opened, job, source, work.pack, packs)
                if result is not None:
                    before = result.weights.provenance["pack"]
                    work.check_content(before, data.pack.fingerprint)
                head, fitted = frozen_head(job, data, work)
                if head_path is not None and world.chief:
                    write_head(head_path, job, data, head, fitted, _file_of(weights))
                trained = None if result is not None else train_on_pack(job, data, head, work)
                if trained is not None:
                    kept = _kept(job, data, head, trained)
                    result = _result(job, data, head, trained, kept, None if out is None else work)
                    if out is not None:
                        world.on_chief(lambda: _write(result, trained.settings, work))
        assert result is not None
        if out is not None:
            world.wait()  # until no process has the pack open
            if world.chief:
                work.tidy(keep=keep)
        return result


def _saving(given: SavingSettings | None, changes: dict[str, Any]) -> SavingSettings:
    """Return how the training run is saved: of most of that there is no choice."""
    chosen = replace(given or SavingSettings(checkpoint_minutes=2.0), **changes)
    return replace(chosen, keep=2, log_every=10, at_validation=False, tensorboard=False)


def _target(
    out: str | os.PathLike[str] | None,
    weights: Any,
    world: World,
    stack: ExitStack,
    *,
    resume: bool,
) -> Path:
    """Return the weights file to be, in a temporary folder where nothing is to be kept."""
    if out is not None:
        check_weights_path(name_text(out), overwrite=True, inputs=(weights,))
        target = Path(name_text(out))
        check_card_path(target.with_suffix(".md"))
        return target
    if world.size > 1:
        raise SettingError("several processes need a place to share: give `out`")
    if resume:
        raise SettingError("`resume` needs `out`: without it nothing is kept")
    made = stack.enter_context(tempfile.TemporaryDirectory(prefix="decaf-finetune-"))
    return Path(made) / "model.safetensors"


def _head_path(
    save_head: str | os.PathLike[str] | None, target: Path, *, replace_it: bool
) -> Path | None:
    """Return where the head is to be written, if that is possible."""
    if save_head is None:
        return None
    path = Path(name_text(save_head))
    if path in (target, target.with_suffix(".md")):
        raise SettingError(
            f"{path}: is to be the network or its card, and the head; give two names"
        )
    check_output(path, "head")
    if path.exists() and not replace_it:
        raise OutputError(f"{path}: exists already; give another name, or `overwrite=True`")
    return path


def _packs(train: Any, val: Any) -> tuple[Any, Any] | None:
    """Return the packs that are given as images for training and validation, if they are packs."""
    if val is not None and is_hdf5(train) != is_hdf5(val):
        raise SettingError("`train` and `val` must both be packs, or neither: pack both alike")
    return (train, val) if is_hdf5(train) else None


def _file_of(weights: str | os.PathLike[str] | Weights) -> str | None:
    """Return where the weights are, if that is a file."""
    if isinstance(weights, Weights) or not os.path.exists(weights):
        return None
    return os.path.abspath(os.fspath(weights))


def _finished_before(world: World, work: WorkFolder) -> Finetuned | None:
    """Return the result of a run that was finished before; None where it was not."""

    def read() -> Finetuned | None:
        values = work.result() if work.model.exists() else None
        if values is None:
            return None
        with contextlib.suppress(WeightsError):
            weights = load_weights(work.model)
            if weights.sha256 == values["sha256"] and work.model.with_suffix(".md").exists():
                return Finetuned.from_dict(values, weights, read_log(work.run / "log.csv"))
        return None

    result = world.share(world.on_chief(read))
    return result if isinstance(result, Finetuned) else None


@contextlib.contextmanager
def _left_in_order(world: World, work: WorkFolder, *, resumed: bool) -> Iterator[None]:
    """Leave nothing half-made of what cannot be done, and say how what was ended goes on."""
    try:
        yield
    except (InputError, ImageError, SettingError):
        if world.chief and not resumed:
            work.discard()
        raise
    except Stopped as error:
        raise work.stopped(str(error)) from error
    except DiskError as error:
        raise work.disk_failed(str(error)) from error


@dataclass(frozen=True, eq=False)
class _Kept:
    """The network that is kept, and what it made of the validation images.

    Attributes
    ----------
    weights : Weights
    trial : Trial
    step : int
        Step of the training run, 0 for the network that it began with.
    passed_over : Accuracy or None
        See `Finetuned`.
    """

    weights: Weights
    trial: Trial
    step: int
    passed_over: Accuracy | None


def _kept(job: Job, data: Packed, head: FrozenHead, trained: Trained) -> _Kept:
    """Measure what was trained as it will be used, and choose between it and what it began as."""
    trial, step = _tried(job, data, trained.weights), best_step(trained.history)
    if job.settings.start != "head" or step == 0 or trial.beats(head.trial):
        return _Kept(trained.weights, trial, step, None)
    # What named more images between the steps makes way for what it began as: it does not in full
    # precision, or its advantage is none to be believed.
    passed_over = trial.accuracy if trial.right.sum() > head.trial.right.sum() else None
    begun = _begun_with(job, data, head, trained)
    return _Kept(begun, _tried(job, data, begun), 0, passed_over)


def _tried(job: Job, data: Packed, weights: Weights) -> Trial:
    """Try a network on the validation images, computed as it will be used."""
    backbone = Backbone(weights).to(job.world.device)
    logits = layer_values(backbone, "fc8", data.val, job.threads)
    if not np.isfinite(logits).all():
        raise Diverged("the trained network gives logits that are not finite; lower the rate")
    return Trial.of(logits, data.val.labels, data.val.groups)


def _begun_with(job: Job, data: Packed, head: FrozenHead, trained: Trained) -> Weights:
    """Return the network that training began with: the frozen layers, and the head."""
    last, known = (head.coef, head.intercept), trained.weights
    return Weights.of(
        known.name,
        known.spec,
        known.preprocess,
        start_state(known.spec, data.pack, trained.settings, job.begun, last),
        class_names=known.class_names,
        mean_image=known.mean_image,
        provenance=known.provenance,
    )


def _result(
    job: Job,
    data: Packed,
    head: FrozenHead,
    trained: Trained,
    kept: _Kept,
    work: WorkFolder | None,
) -> Finetuned:
    """Sum up; without a work folder nothing is to be written."""
    tuned, frozen = kept.trial.accuracy, head.trial.accuracy
    classes = data.counts()
    provenance = {
        "source": "decaf finetune",
        **{k: v for k, v in kept.weights.provenance.items() if k != "source"},
        "from": {"name": job.begun.name, "sha256": job.begun.sha256},
        "start": job.settings.start,
        "val_fraction": job.val_fraction,
        "val_images": len(data.val),
        "classes": [{"name": name, "train": train, "val": val} for name, train, val in classes],
    }
    metrics = {
        "validation": {**tuned.to_dict(), "top1_error": 100 - tuned.percent},
        "frozen_head": {**frozen.to_dict(), "C": head.C, "layer": "fc7"},
    }
    return Finetuned(
        path=None if work is None else work.model,
        card=None if work is None else work.model.with_suffix(".md"),
        folder=None if work is None else work.path,
        weights=replace(
            kept.weights,
            name=kept.weights.name if work is None else work.model.name,
            provenance=provenance,
            metrics=metrics,
        ),
        tuned=tuned,
        frozen=frozen,
        better=kept.trial.beats(head.trial),
        p_value=sign_test(kept.trial.right, head.trial.right, data.val.groups),
        passed_over=kept.passed_over,
        is_start=kept.step == 0 and job.settings.start == "head",
        best_epoch=kept.step / max(1, trained.steps) * trained.epochs,
        epochs=trained.epochs,
        seconds=trained.seconds,
        batch_size=trained.settings.batch_size,
        classes=classes,
        bad=[(s, name_text(name), why, more) for s, name, why, more in data.pack.bad],
        history=trained.history,
    )


def _write(result: Finetuned, settings: TrainSettings, work: WorkFolder) -> None:
    """Write the network and its card."""
    # First: a run that is killed from here on is one whose command may be given again.
    work.keep_result(result.to_dict())
    save_weights(work.model, result.weights, overwrite=True)
    write_card(result, settings)
