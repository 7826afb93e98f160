"""`finetune`: a folder of images in, a network adapted to it out."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.backbone.weights.load import Weights, load_weights
from decaf.backbone.weights.safetensors_file import check_weights_path
from decaf.backbone.weights.state import with_preprocess
from decaf.errors import ImageError, InputError, OutputError, SettingError, Stopped
from decaf.finetuning.card import check_card_path
from decaf.finetuning.data import VAL_FRACTION, find_images, identity_of, images_of
from decaf.finetuning.job import Job
from decaf.finetuning.result import Finetuned
from decaf.finetuning.settings import FinetuneSettings
from decaf.finetuning.work_folder import WorkFolder
from decaf.heads.saved import is_head_file
from decaf.images.decoding.formats import is_hdf5
from decaf.runtime.device import strict_float32
from decaf.runtime.processes import world_of_run
from decaf.train.pack.sources import PackSource
from decaf.train.session import Rhythm

if TYPE_CHECKING:
    from decaf.images.spec import PreprocessSpec

__all__ = ["finetune"]


def finetune(
    train: Any,
    val: Any = None,
    *,
    out: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | Weights = DEFAULT_WEIGHTS,
    preprocess: str | Mapping[str, Any] | PreprocessSpec | None = None,
    settings: FinetuneSettings | None = None,
    labels: Any = "folder",
    val_labels: Any = "folder",
    val_fraction: float | None = None,
    layout: str = "auto",
    groups: Any = None,
    min_images: int | None = None,
    save_head: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    keep: bool = False,
    on_error: str = "raise",
    device: str = "auto",
    workers: int | None = None,
    checkpoint_minutes: float = 2.0,
    checkpoint_steps: int | None = None,
    progress: bool | Callable[[int, int], Any] | None = None,
    stop: threading.Event | None = None,
    **given: Any,
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
    train : path, list of paths, or PackSource
        A folder or archive with a folder for each class; the same below ``train``; a list file or
        a list of paths with `labels`; or a training pack.
    val : likewise, optional
        Validation images, of classes of `train`; a pack where `train` is one. By default those that
        `train` has beside it (``val``), else a share of the training images.
    out : path, optional
        The weights file to write, ending in ``.safetensors``; its card is written beside it
        (``.md``), and work is done in the folder ``NAME.finetune`` beside it, where the log, the
        curves and the settings stay. By default nothing is written.
    weights : str, path or Weights
        To start from, as for `decaf.load_backbone`.
    preprocess : str, mapping or PreprocessSpec, optional
        As in `decaf.extract`; the network that comes of it keeps it.
    settings : FinetuneSettings, optional
        How; or as `given`.
    labels, val_labels : "folder", path, or sequence
        As in `decaf.extract`.
    val_fraction : float, optional
        The share drawn of each class where there are no validation images, by default 0.2;
        refused where there are.
    layout : {"auto", "splits", "classes"}
        As in `decaf.extract`.
    groups : str, path or sequence, optional
        As in `decaf.extract`, of the training images, or of a pack by the names in it: none is both
        in training and among the images drawn for validation, by which training is ended, nor on
        both sides of a fold of the frozen head's search for C.
    min_images : int, optional
        Leave out classes with fewer training images, with a word; by default those with none, or a
        single one where some are drawn for validation. Not of a pack.
    save_head : path, optional
        Write the frozen head there too, as a file that `decaf predict` takes.
    resume : bool
        Go on with the work in the folder beside `out`, or begin where there is none. Of a finished
        run the result is given again, and the head of `save_head` is written.
    overwrite : bool
        Replace `out` and the work beside it, once the new network is there.
    keep : bool
        Keep the pack and the checkpoints in the work folder.
    on_error : {"raise", "record"}
        At an image that cannot be read: raise `ImageError` (default; on the command line "record"
        is), or leave it out.
    device : str
        "auto", "cpu", "cuda" or "cuda:N".
    workers : int, optional
        Processes, and threads, that decode; one a core by default. 0 decodes in this process.
    checkpoint_minutes : float
        Time between two checkpoints.
    checkpoint_steps : int, optional
        Steps between two checkpoints, besides.
    progress : bool, callable or None
        As for `decaf.extract`; of packing, then of training.
    stop : threading.Event, optional
        When set, the run keeps what is finished and ends with `Stopped`.
    **given
        Fields of `FinetuneSettings`, in place of `settings`: ``epochs=10, freeze="conv3"``.

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
    chosen = _chosen(settings, given)
    if on_error not in ("raise", "record"):
        raise SettingError(f"`on_error` {on_error!r} is not one of raise, record")
    if workers is not None and workers < 0:
        raise SettingError(f"`workers` must be 0 or more, got {workers}")
    if val is not None and val_fraction is not None:
        raise SettingError("`val_fraction` is for a run without `val`: give one of the two")
    share = VAL_FRACTION if val_fraction is None else val_fraction
    head_path = None if save_head is None else Path(os.fsdecode(save_head))
    rhythm = Rhythm(checkpoint_minutes, checkpoint_steps, keep=2, log_every=10, at_validation=False)
    with ExitStack() as stack:
        world = stack.enter_context(world_of_run(device))
        stack.enter_context(strict_float32(world.device))
        if out is None:
            if world.size > 1:
                raise SettingError("several processes need a place to share: give `out`")
            if resume:
                raise SettingError("`resume` needs `out`: without it nothing is kept")
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="decaf-finetune-"))
            target = Path(made) / "model.safetensors"
        else:
            check_weights_path(os.fsdecode(out), overwrite=True)
            target = Path(os.fsdecode(out))
            check_card_path(target.with_suffix(".md"))
        if head_path is not None:
            _check_head_path(head_path, target, resume or overwrite)
        begun = with_preprocess(
            weights if isinstance(weights, Weights) else load_weights(weights), preprocess
        )
        job = Job(
            begun=begun,
            settings=chosen,
            val_fraction=share,
            groups=groups,
            world=world,
            rhythm=rhythm,
            workers=workers,
            progress=progress,
            stop=stop or threading.Event(),
        )
        source: PackSource | None = None
        packs = is_hdf5(train), val is not None and is_hdf5(val)
        if val is not None and packs[0] != packs[1]:
            raise SettingError("`train` and `val` must both be packs, or neither: pack both alike")
        if isinstance(train, PackSource):
            source = train
        elif not packs[0]:
            source = world.on_chief(
                lambda: find_images(
                    train,
                    val,
                    labels=labels,
                    val_labels=val_labels,
                    val_fraction=val_fraction,
                    seed=chosen.seed,
                    layout=layout,
                    groups=groups,
                    min_images=min_images,
                ),
            )
        work = WorkFolder(target, job.record())
        stack.callback(work.close)

        def take() -> bool:
            work.images = images_of(train, val, val_fraction) if packs[0] else identity_of(source)
            return work.open(resume=resume, overwrite=overwrite)

        resumed = world.on_chief(take)
        before = job.told_before(work)
        if before is None or head_path is not None:
            try:
                data = job.open_data(stack, work, source, train, val, on_error, overwrite)
                if before is not None:
                    work.check_content(before.weights.provenance["pack"], data.pack.fingerprint)
                head, fitted = job.frozen_head(work, data)
                if head_path is not None and world.chief:
                    report: dict[str, Any] = {"frozen": head.trial.accuracy.to_dict()}
                    if not isinstance(weights, Weights) and os.path.exists(weights):
                        where = os.path.abspath(os.fspath(weights))
                        report["features"] = {"weights_file": where}
                    job.write_head(head_path, fitted, data, report)
                trained = None if before is not None else job.train(work, data, head)
            except (InputError, ImageError, SettingError):
                if world.chief and not resumed:
                    work.discard()  # nothing half-made is left of what cannot be done
                raise
            except Stopped as error:
                raise work.stopped(str(error)) from error
            if trained is not None:
                before = job.finish(work, data, head, trained, None if out is None else target)
        assert before is not None
        if world.chief and out is not None:
            work.tidy(keep=keep)
        return before


def _chosen(settings: FinetuneSettings | None, given: dict[str, Any]) -> FinetuneSettings:
    known = [field.name for field in fields(FinetuneSettings)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise SettingError(
            f"finetune has no argument {', '.join(map(repr, unknown))}; fields of its settings are "
            f"{', '.join(known)}"
        )
    if settings is not None and given:
        raise SettingError(
            f"settings, and {', '.join(sorted(given))} besides: give all in one of the two"
        )
    return settings or FinetuneSettings(**given)


def _check_head_path(path: Path, target: Path, replace_it: bool) -> None:
    if path in (target, target.with_suffix(".md")):
        raise SettingError(
            f"{path}: is to be the network or its card, and the head; give two names"
        )
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.exists() and path.stat().st_size and not is_head_file(path):
        raise OutputError(
            f"{path}: exists and is no head of decaf, so it is not replaced; give another name, or "
            "move it away"
        )
    if path.exists() and not replace_it:
        raise OutputError(f"{path}: exists already; give another name, or `overwrite=True`")
