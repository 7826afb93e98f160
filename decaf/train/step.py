"""The state of a run, and the step that moves it."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from decaf.backbone.spec import ArchSpec
from decaf.errors import ResumeError
from decaf.runtime.agreement import check_network
from decaf.runtime.device import float64_device
from decaf.runtime.processes import World
from decaf.train.feed import Batch
from decaf.train.randomness import dropout_mask
from decaf.train.recipe import LEARNED, TrainSettings
from decaf.train.schedule import Schedule
from decaf.train.trainable_network import TrainedAlexNet

__all__ = ["Trainer", "guessing_loss"]

Loss = Callable[[Tensor, Batch], Tensor]
# Classes below which the loss of a guess says little: a single batch of two classes may do worse.
FEW = 10
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def guessing_loss(classes: int) -> float:
    """Return about the cross-entropy of a network that takes all classes for equally likely.

    Parameters
    ----------
    classes : int
    """
    return math.log(max(classes, FEW))


class Trainer:
    """Network, optimiser, schedule and all else that determines the steps to come.

    Parameters
    ----------
    spec : ArchSpec
    state : mapping of str to Tensor
        Parameters to start from.
    settings : TrainSettings
    world : World
    steps_per_epoch : int
    class_weight : Tensor of float32, shape (classes,), optional
        Factors of the losses of each class.
    loss : callable, optional
        From logits and batch to what is minimised, in place of the cross-entropy with the labels.

    Attributes
    ----------
    step : int
        Steps done.
    steps : int
        Steps of the whole run.
    sums : Tensor of float64, shape (3,)
        Images, summed loss and wrong first guesses since they were last taken.
    best : dict of str to Tensor, or None
        The parameters of the plain network with which validation went best, where they are kept.
    """

    def __init__(
        self,
        spec: ArchSpec,
        state: Mapping[str, Tensor],
        settings: TrainSettings,
        world: World,
        steps_per_epoch: int,
        class_weight: Tensor | None = None,
        loss: Loss | None = None,
    ) -> None:
        self.settings = settings
        self._other_loss = loss
        self.world = world
        self.steps_per_epoch = steps_per_epoch
        self.steps = max(1, round(settings.epochs * steps_per_epoch))
        self.step = 0
        self.schedule = Schedule(settings, self.steps, steps_per_epoch)
        self.best: dict[str, Tensor] | None = None
        self.class_weight = None if class_weight is None else class_weight.to(world.device)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network = TrainedAlexNet(
            spec, state, batch_norm=settings.batch_norm, synchronised=world.size > 1
        )
        self.network = network.to(world.device).to(memory_format=layout)
        self.average = copy.deepcopy(self.network).eval() if settings.average else None
        # It knows all parameters; those without a gradient it passes over.
        self.optimizer = _optimizer(self.network, settings)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=settings.precision == "fp16")
        place = float64_device(world.device)
        self.sums = torch.zeros(3, dtype=torch.float64, device=place)
        side = spec.input_size
        check_network(world.device, self.network, (3, side, side), slopes=True)
        self.run_network = self._prepared()

    def _prepared(self) -> Callable[..., Tensor]:
        """Return what runs the network in a step, with the layers that are trained now."""
        settings, world = self.settings, self.world
        if not settings.batch_norm:
            self.network.leave(self._left())
        run: Callable[..., Tensor] = self.network
        if world.size > 1:
            gpu = [world.device.index] if world.device.type == "cuda" else None
            wrap = nn.parallel.DistributedDataParallel
            # The buffers are statistics that all processes have computed alike. torch has changed
            # the name of the switch.
            names = inspect.signature(wrap.__init__).parameters
            old, new = "broadcast_buffers", "forward_sync_buffers"
            switch: dict[str, Any] = {new if new in names else old: False}
            run = wrap(
                self.network,
                device_ids=gpu,
                gradient_as_bucket_view=True,
                **switch,
            )
        wanted = settings.compile == "yes"
        if wanted or (settings.compile == "auto" and world.device.type == "cuda"):
            run = torch.compile(run)
        return run

    def _left(self) -> tuple[str, ...]:
        """Name the layers that the next step leaves as they are."""
        return LEARNED[:-1] if self.step < self.schedule.head_steps else self.settings.frozen()

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.step / self.steps_per_epoch

    @property
    def ended(self) -> bool:
        """Whether there is no step left to do."""
        return self.step >= self.steps or self.schedule.finished

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        return self.schedule.rate(self.step)

    def lengthened(self, epochs: float) -> str:
        """Describe how the learning rate changes, now that the run has more epochs than before.

        Parameters
        ----------
        epochs : float
            Epochs that it had before.
        """
        text = f"has {self.settings.epochs:g} epochs now, it had {epochs:g}"
        if self.schedule.finished:
            return f"{text}; but it has ended early, by its schedule, and stays so"
        steps = max(1, round(epochs * self.steps_per_epoch))
        before = Schedule(self.settings, steps, self.steps_per_epoch)
        before.restore(self.schedule.state())
        old, new = before.rate(max(0, self.step - 1)), self.rate()
        return (
            f"{text}: the schedule {self.settings.schedule!r} is now that of "
            f"{self.settings.epochs:g} epochs, so from step {self.step} (epoch {self.epoch:.2f}) "
            f"the learning rate is {new:.3g}, and it was {old:.3g}"
        )

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute in the precision of the settings."""
        kind = self.world.device.type
        dtype = DTYPES[self.settings.precision]
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            yield

    def take(self, batch: Batch) -> Tensor:
        """Do one step.

        Parameters
        ----------
        batch : Batch

        Returns
        -------
        Tensor, scalar
            The loss of this process's images, before the step. Where it is not finite on a CPU,
            nothing has been changed.

        Raises
        ------
        DecafError
            Where another process of the run has ended.
        """
        with self.world.peer_errors():
            return self._take(batch)

    def _take(self, batch: Batch) -> Tensor:
        settings = self.settings
        if self.network.left != self._left() and not settings.batch_norm:
            self.run_network = self._prepared()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate() * group["factor"]
        self.network.train()
        with self.arithmetic():
            logits = self.run_network(batch.images, self._masks(len(batch.labels)))
            loss = self._loss(logits.float(), batch)
        self.optimizer.zero_grad(set_to_none=True)
        on_cpu = self.world.device.type == "cpu"
        if on_cpu and self.world.size == 1 and not math.isfinite(loss.item()):
            return loss.detach()
        self.scaler.scale(loss).backward()
        if settings.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self._move_average()
        with torch.no_grad():
            count = len(batch.labels)
            wrong = (logits.argmax(1) != batch.labels).sum()
            done = torch.stack([wrong.new_full((), count), loss * count, wrong])
            self.sums += done.to(self.sums.device)
        return loss.detach()

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        if self._other_loss is not None:
            return self._other_loss(logits, batch)
        labels = batch.labels
        smoothing = self.settings.label_smoothing
        if self.class_weight is None:
            return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        # Not torch's own weights: these divide by the sum of a batch's weights, which would make
        # a step depend on how many processes share it.
        each = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        return (each * self.class_weight[labels]).mean()

    def _masks(self, count: int) -> list[Tensor]:
        settings, world = self.settings, self.world
        keep = 1 - self.network.plain.spec.dropout
        rows = slice(world.rank * count, (world.rank + 1) * count)
        return [
            dropout_mask(
                (settings.batch_size, width), keep, settings.seed, (self.step, number), world.device
            )[rows]
            for number, width in enumerate(self.network.dropped_widths())
        ]

    @torch.no_grad()
    def _move_average(self) -> None:
        if self.average is None:
            return
        # A young average follows closely, or it would hold the random start for thousands of steps.
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        mine = [t for t in _values(self.average) if t.is_floating_point()]
        new = [t for t in _values(self.network) if t.is_floating_point()]
        torch._foreach_lerp_(mine, new, 1 - decay)

    def calibrated(self, norms: Mapping[str, Tensor]) -> None:
        """Adopt the normalisations that a process has calibrated.

        Parameters
        ----------
        norms : mapping of str to Tensor
        """
        self.network.norms.load_state_dict(dict(norms))
        if self.average is not None:
            self.average.load_state_dict(self.network.state_dict())

    def result(self) -> TrainedAlexNet:
        """Return the network that is evaluated: the average, where there is one."""
        return self.average if self.average is not None else self.network

    def validated(self, error: float, loss: float) -> bool:
        """Record a validation, and keep the weights where it was the best; return whether it was.

        Parameters
        ----------
        error, loss : float
            Top-1 error in percent, and mean cross-entropy.
        """
        best = self.schedule.validated(error, loss, before=self.step == 0)
        if best and self.settings.keep_best:
            self.best = {key: tensor.clone() for key, tensor in self.result().folded().items()}
        return best

    def outcome(self) -> dict[str, Tensor]:
        """Return the parameters of the plain network that are kept: the best, or the last."""
        return self.best if self.best is not None else self.result().folded()

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        """Compute the logits of the network that is evaluated.

        Parameters
        ----------
        images : Tensor, shape (n, 3, crop, crop)
            Normalised.
        """
        network = self.result()
        network.eval()
        with self.arithmetic():
            logits: Tensor = network(images)
        return logits

    def is_finite(self) -> bool:
        """Tell whether all numbers of the network, and of its average, are finite."""
        values = _values(self.network)
        if self.average is not None:
            values += _values(self.average)
        return all(bool(torch.isfinite(each).all()) for each in values)

    def bytes(self) -> int:
        """Return about how large `tensors` is, in bytes."""
        parameters = sum(p.numel() * p.element_size() for p in self.network.parameters())
        copies = 2 + (self.settings.optimizer == "adamw") + (self.average is not None)
        copies += self.settings.keep_best
        return parameters * copies

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of the state, for a checkpoint."""
        tensors = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average/{k}": v for k, v in self.average.state_dict().items()}
        names = {id(p): name for name, p in self.network.named_parameters()}
        for parameter, values in self.optimizer.state.items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{key}/{names[id(parameter)]}"] = value
        if self.best is not None:
            tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors["sums"] = self.sums
        return tensors

    def state(self) -> dict[str, Any]:
        """Return the rest of the state, as JSON values."""
        return {
            "step": self.step,
            "schedule": self.schedule.state(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go back to where `state` and `tensors` were taken.

        Parameters
        ----------
        state : dict
        tensors : mapping of str to Tensor

        Raises
        ------
        ResumeError
            Where they are of another network.
        """
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = tensor
        try:
            self.network.load_state_dict(groups["network"])
            if self.average is not None:
                self.average.load_state_dict(groups["average"])
            parameters = dict(self.network.named_parameters())
            self.optimizer.state.clear()
            for key, tensor in groups.get("optimizer", {}).items():
                kind, _, name = key.partition("/")
                parameter = parameters[name]
                value = tensor.to(parameter.device, copy=True)
                if tensor.shape == parameter.shape:
                    value = torch.empty_like(parameter).copy_(tensor)
                self.optimizer.state[parameter][kind] = value
            self.best = groups.get("best")
            # They are of all processes, and are going to be summed over them again.
            self.sums.copy_(groups["sums"][""]).mul_(self.world.chief)
            self.step = int(state["step"])
            self.run_network = self._prepared()
            self.schedule.restore(state["schedule"])
            self.scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError) as error:
            raise ResumeError(f"the checkpoint is of another network: {error}") from error


def _values(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    # One group for each factor on the rate, with decay and without. Where the last layer is trained
    # alone first, it has groups of its own: torch's fused SGD wants the parameters of a group to
    # have had their first step together.
    factors = settings.rate_factors()
    members: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = next(part for part in name.split(".") if part in factors)
        decay = settings.weight_decay if parameter.dim() > 1 or settings.decay_all else 0.0
        first = layer == LEARNED[-1] and settings.head_epochs > 0
        members.setdefault((factors[layer], decay, first), []).append(parameter)
    groups = [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (factor, decay, _), parameters in members.items()
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=settings.lr, betas=(settings.momentum, 0.999), fused=True
        )
    return torch.optim.SGD(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        fused=True,
    )
