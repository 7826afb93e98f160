"""The stages of a fine-tuning: packing, the frozen head, training, and the result."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decaf.backbone.network import AlexNet
from decaf.backbone.weights.load import Weights, load_weights, save_weights
from decaf.errors import InputError, SettingError, WeightsError
from decaf.finetuning.accuracy import Trial, best_step, sign_test
from decaf.finetuning.card import write_card
from decaf.finetuning.data import (
    Packed,
    divided,
    groups_by_name,
    groups_record,
    seen_in_training,
)
from decaf.finetuning.frozen_head import FrozenHead, fit_frozen_head, layer_values, save_frozen
from decaf.finetuning.result import Finetuned
from decaf.finetuning.settings import FinetuneSettings, with_half_the_batch
from decaf.finetuning.work_folder import WorkFolder
from decaf.images.decoding.formats import is_hdf5
from decaf.images.spec import PreprocessSpec
from decaf.runtime.cores import cores_of_process
from decaf.runtime.device import bf16_is_native, is_out_of_memory
from decaf.runtime.memory import available_memory
from decaf.runtime.processes import World
from decaf.train.initial_weights import preprocess_of, start_state
from decaf.train.log import read_log
from decaf.train.loop import Diverged
from decaf.train.pack.build import make_pack
from decaf.train.pack.readable import NoneReadable
from decaf.train.pack.reader import Pack
from decaf.train.pack.sources import PackSource
from decaf.train.recipe import TrainSettings
from decaf.train.session import Rhythm, TrainingRun
from decaf.train.trainer import MEMORY_SHARE, step_memory

__all__ = ["Job", "Trained"]

# Packs up to this size hold the pixels as they are; beyond, JPEGs of them.
RAW_BYTES = 4 << 30

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trained:
    """What training leaves.

    Attributes
    ----------
    weights : Weights
        With which validation went best.
    settings : TrainSettings
        That were used.
    seconds, epochs : float
        Spent, and done.
    steps : int
        Done.
    """

    weights: Weights
    settings: TrainSettings
    seconds: float
    epochs: float
    steps: int


@dataclass(frozen=True, eq=False)
class Job:
    """One call of `decaf.finetune`, and its stages.

    Parameters
    ----------
    begun : Weights to start from
    settings : FinetuneSettings
    val_fraction : float
    groups : as `decaf.finetune` takes them
    world : World
    rhythm : Rhythm
    workers : int or None
    progress : bool, callable or None
    stop : threading.Event
    """

    begun: Weights
    settings: FinetuneSettings
    val_fraction: float
    groups: Any
    world: World
    rhythm: Rhythm
    workers: int | None
    progress: bool | Callable[[int, int], Any] | None
    stop: threading.Event

    @property
    def threads(self) -> int:
        """Threads that decode."""
        return self.workers or cores_of_process()

    @property
    def precision(self) -> str:
        """Of the steps."""
        if self.settings.precision != "auto":
            return self.settings.precision
        return "bf16" if bf16_is_native(self.world.device) else "fp32"

    def record(self) -> dict[str, Any]:
        """Return all that was asked for, for the work folder."""
        return {
            "weights": self.begun.sha256,
            "preprocess": self.begun.preprocess.to_dict(),
            "settings": self.settings.to_dict(),
            "precision": self.precision,
            "val_fraction": self.val_fraction,
            **({} if self.groups is None else {"groups": groups_record(self.groups)}),
        }

    def open_data(
        self,
        stack: ExitStack,
        work: WorkFolder,
        source: PackSource | None,
        train: Any,
        val: Any,
        on_error: str,
        overwrite: bool,
    ) -> Packed:
        """Pack the images where they are not, and divide them."""
        first, second = work.pack, None
        if is_hdf5(train):
            first, second = Path(os.fsdecode(train)), None if val is None else os.fsdecode(val)
        else:
            self.world.on_chief(lambda: self._pack(source, work, on_error, overwrite))
        pack = stack.enter_context(Pack.open(first))
        val_pack = None if second is None else stack.enter_context(Pack.open(second))
        found = self.world.on_chief(lambda: groups_by_name(pack, source, self.groups))
        groups: Any = self.world.share(found)
        data = divided(pack, val_pack, self.val_fraction, self.settings.seed, groups)
        if self.world.chief and (twice := seen_in_training(data)):
            _logger.warning(
                "%d of %d validation images are training images too: what is measured on them "
                "says little",
                twice,
                len(data.val),
            )
        return data

    def _pack(
        self, source: PackSource | None, work: WorkFolder, on_error: str, overwrite: bool
    ) -> None:
        assert source is not None
        side = self.begun.preprocess.resize_to
        size = len(source.images) * side**2 * 3
        try:
            make_pack(
                source,
                work.pack,
                size=side,
                resize=self.begun.preprocess.resize,
                # As they are, so that the network sees what `decaf.extract` would show it.
                encoding="raw" if size <= RAW_BYTES else "jpeg",
                workers=self.workers,
                on_error=on_error,
                overwrite=overwrite,
                progress=self.progress,
                stop=self.stop,
            ).close()
        except NoneReadable as error:
            # Without the way on that `decaf pack` has: the pack is not kept.
            raise InputError(error.text) from error

    def _preprocess(self, data: Packed) -> tuple[PreprocessSpec, Tensor | None]:
        settings = self.settings.training(len(data.train), self.precision, self.world.size)
        return preprocess_of(data.pack, settings, self.begun.spec.input_size, self.begun)

    def frozen_head(self, work: WorkFolder, data: Packed) -> tuple[FrozenHead, Any]:
        """Fit the head to the frozen features (rank 0), or take the one that was kept."""
        fitted = None

        def fit() -> dict[str, Tensor]:
            nonlocal fitted
            kept = work.head()
            if kept is not None and kept[0].get("pack") == data.pack.fingerprint:
                return kept[1]
            head, fitted = self._fit_head(data)
            tensors = head.tensors()
            work.keep_head({"pack": data.pack.fingerprint}, tensors)
            return tensors

        head = FrozenHead.from_tensors(self.world.share_tensors(self.world.on_chief(fit)))
        if self.world.chief:
            accuracy = head.trial.accuracy
            _logger.info(
                "frozen fc7 + logistic regression: %s of %d validation images",
                accuracy,
                accuracy.images,
            )
        return head, fitted

    def write_head(self, path: Path, fitted: Any, data: Packed, report: dict[str, Any]) -> None:
        """Write the frozen head as a file of its own."""
        if fitted is None:
            _, fitted = self._fit_head(data)
        spec, _ = self._preprocess(data)
        save_frozen(path, fitted, self.begun, spec, data.pack.class_names, report, overwrite=True)

    def _fit_head(self, data: Packed) -> tuple[FrozenHead, Any]:
        return fit_frozen_head(
            self.begun,
            data.train,
            data.val,
            *self._preprocess(data),
            balanced="balanced" in (self.settings.class_weights, self.settings.sampling),
            groups=data.groups,
            seed=self.settings.seed,
            device=self.world.device,
            workers=self.threads,
        )

    def train(self, work: WorkFolder, data: Packed, head: FrozenHead) -> Trained:
        """Train, with a smaller batch where memory does not suffice."""
        settings = self._fitting(work, data)
        while True:
            finished = self._finished(work, data, settings)
            if finished is not None:
                return finished
            try:
                return self._train_once(work, data, head, settings)
            except Exception as error:
                if not is_out_of_memory(error) or self.world.size > 1:
                    raise
                smaller = with_half_the_batch(settings)
                if smaller is None:
                    raise SettingError(
                        f"a batch of {settings.batch_size} image does not fit into memory; use a "
                        "smaller network, or a machine with more"
                    ) from error
            self._tell_smaller(settings, smaller)
            settings = smaller
            work.adjust(settings.to_dict())
            if self.world.device.type == "cuda":
                torch.cuda.empty_cache()

    def _fitting(self, work: WorkFolder, data: Packed) -> TrainSettings:
        """Return settings whose batch fits into the memory that there is."""
        found = None

        def choose() -> None:
            nonlocal found
            adjusted = work.adjusted()
            if adjusted is not None:
                found = TrainSettings.from_dict(adjusted)
                return
            asked = self.settings.training(len(data.train), self.precision, self.world.size)
            settings = asked
            available = available_memory() if self.world.device.type == "cpu" else None
            spec = settings.spec(len(data.pack.wnids), self.begun.spec)
            while available is not None and step_memory(spec, settings) > MEMORY_SHARE * available:
                smaller = with_half_the_batch(settings, self.world.size)
                if smaller is None:
                    raise SettingError(
                        f"fine-tuning {self.begun.name} takes about "
                        f"{step_memory(spec, settings) / 2**30:.2g} GiB of memory with a batch of "
                        f"{settings.batch_size}, and {available / 2**30:.2g} GiB are free; close "
                        "other programs, or freeze layers of a smaller network"
                    )
                settings = smaller
            if settings != asked:
                self._tell_smaller(asked, settings)
                work.adjust(settings.to_dict())
            found = settings

        self.world.on_chief(choose)
        shared = self.world.share(found)
        assert isinstance(shared, TrainSettings)
        return shared

    def _tell_smaller(self, before: TrainSettings, now: TrainSettings) -> None:
        if self.world.chief:
            _logger.warning(
                "a batch of %d does not fit into memory: going on with %d, and a rate of %.3g "
                "instead of %.3g",
                before.batch_size,
                now.batch_size,
                now.lr,
                before.lr,
            )

    def _train_once(
        self, work: WorkFolder, data: Packed, head: FrozenHead, settings: TrainSettings
    ) -> Trained:
        start = (head.coef, head.intercept) if self.settings.start == "head" else None
        run = TrainingRun(
            data.pack,
            data.val,
            work.run,
            settings,
            self.world,
            rhythm=self.rhythm,
            init_from=self.begun,
            workers=self.workers,
            validation_pack=None if data.val_pack is data.pack else data.val_pack.fingerprint,
            split=data.train,
            head=start,
            origin={"start": self.settings.start, "val_fraction": self.val_fraction},
        )
        try:
            run.begin(resume=True)
            found = run.go(tensorboard=False, progress=self.progress, stop=self.stop)
        finally:
            run.close()
        # Others than rank 0 may see the file later than it was written.
        read = self.world.on_chief(lambda: load_weights(found.weights))
        weights = self.world.share(read)
        assert isinstance(weights, Weights)
        return Trained(weights, settings, found.seconds, found.epochs, run.trainer.step)

    def _finished(self, work: WorkFolder, data: Packed, settings: TrainSettings) -> Trained | None:
        """Return what was trained to the end before, if it was."""
        found = None
        if self.world.chief:
            with contextlib.suppress(WeightsError):
                weights = load_weights(work.run / "weights.safetensors")
                known = weights.provenance
                same = known.get("settings") == settings.to_dict()
                if known.get("finished") is True and same and (
                    known.get("pack") == data.pack.fingerprint
                ):  # fmt: skip
                    found = weights
        shared = self.world.share(found)
        if not isinstance(shared, Weights):
            return None
        known = shared.provenance
        return Trained(
            shared, settings, float(known["seconds"]), float(known["epochs"]), int(known["steps"])
        )

    def finish(
        self,
        work: WorkFolder,
        data: Packed,
        head: FrozenHead,
        done: Trained,
        target: Path | None,
    ) -> Finetuned:
        """Measure what was trained as it will be used, and write it with its card."""
        history = read_log(work.run / "log.csv")
        best, from_head = best_step(history), self.settings.start == "head"
        trained, trial = done.weights, self._tried(done.weights, data)
        passed_over = None
        if from_head and best > 0 and not trial.beats(head.trial):
            # What named more images between the steps makes way for what it began as: it does not
            # in full precision, or its advantage is none to be believed.
            if trial.right.sum() > head.trial.right.sum():
                passed_over = trial.accuracy
            best, trained = 0, self._begun_with(head, data, done)
            trial = self._tried(trained, data)
        tuned, frozen = trial.accuracy, head.trial.accuracy
        provenance = {
            "source": "decaf finetune",
            **{k: v for k, v in trained.provenance.items() if k != "source"},
            "from": {"name": self.begun.name, "sha256": self.begun.sha256},
            "start": self.settings.start,
            "val_fraction": self.val_fraction,
            "val_images": len(data.val),
            "classes": [
                {"name": name, "train": train, "val": val} for name, train, val in data.counts()
            ],
        }
        metrics = {
            "validation": {**tuned.to_dict(), "top1_error": 100 - tuned.percent},
            "frozen_head": {**frozen.to_dict(), "C": head.C, "layer": "fc7"},
        }
        name = trained.name if target is None else target.name
        weights = replace(trained, name=name, provenance=provenance, metrics=metrics)
        result = Finetuned(
            path=target,
            card=None if target is None else target.with_suffix(".md"),
            folder=None if target is None else work.path,
            weights=weights,
            tuned=tuned,
            frozen=frozen,
            better=trial.beats(head.trial),
            p_value=sign_test(trial.right, head.trial.right),
            passed_over=passed_over,
            is_start=best == 0 and from_head,
            best_epoch=best / max(1, done.steps) * done.epochs,
            epochs=done.epochs,
            seconds=done.seconds,
            batch_size=done.settings.batch_size,
            classes=data.counts(),
            bad=[(s, os.fsdecode(name), why, more) for s, name, why, more in data.pack.bad],
            history=history,
        )

        def write() -> None:
            assert target is not None
            save_weights(target, weights, overwrite=True)
            write_card(result, done.settings)

        if target is not None:
            # First: a run that is killed from here on is one whose command may be given again.
            self.world.on_chief(lambda: work.keep_result(result.to_dict()))
            self.world.on_chief(write)
        return result

    def _tried(self, weights: Weights, data: Packed) -> Trial:
        """Try a network on the validation images, computed as it will be used."""
        network = AlexNet(weights.spec)
        network.load_state_dict(weights.state)
        logits = layer_values(
            network.to(self.world.device),
            "fc8",
            data.val,
            weights.preprocess,
            weights.mean_image,
            self.world.device,
            self.threads,
        )
        if not np.isfinite(logits).all():
            raise Diverged("the trained network gives logits that are not finite; lower the rate")
        return Trial.of(logits, data.val.labels)

    def _begun_with(self, head: FrozenHead, data: Packed, done: Trained) -> Weights:
        """Return the network that training began with: the frozen layers, and the head."""
        last = (head.coef, head.intercept)
        known = done.weights
        return Weights.of(
            known.name,
            known.spec,
            known.preprocess,
            start_state(known.spec, data.pack, done.settings, self.begun, last),
            class_names=known.class_names,
            mean_image=known.mean_image,
            provenance=known.provenance,
        )

    def told_before(self, work: WorkFolder) -> Finetuned | None:
        """Return the result of a run that was finished before; None where it was not."""
        found = None
        if self.world.chief and work.model.exists() and (values := work.result()) is not None:
            with contextlib.suppress(WeightsError):
                weights = load_weights(work.model)
                if weights.sha256 == values["sha256"] and work.model.with_suffix(".md").exists():
                    log = read_log(work.run / "log.csv")
                    found = Finetuned.from_dict(values, weights, log)
        shared = self.world.share(found)
        return shared if isinstance(shared, Finetuned) else None
