"""The network that is imitated: its card, what it takes and answers, and what runs it."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from decaf.backbone.network import AlexNet, evaluating
from decaf.backbone.weights.load import load_weights
from decaf.backbone.weights.state import state_sha256
from decaf.errors import SettingError
from decaf.images.spec import PreprocessSpec
from decaf.runtime.agreement import check_network
from decaf.runtime.device import bf16_is_native
from decaf.runtime.wording import counted
from decaf.train.distillation.onnx_engines import (
    choose_engine,
    load_onnx,
    onnx_metadata,
    onnx_sha256,
)

__all__ = ["ModuleTeacher", "OnnxTeacher", "Teacher", "TeacherCard", "load_teacher"]

# Logarithms of probabilities serve as logits; a probability of 0 has none.
SMALLEST = 1e-8


@dataclass(frozen=True)
class TeacherCard:
    """Facts of a teacher that its file does not hold.

    Parameters
    ----------
    name : str
    preprocess : PreprocessSpec
        How an image becomes its input. A view is cut at ``crop`` pixels; ``resize`` and
        ``resize_to`` are for whole images.
    class_names : tuple of str
        One for each of its answers.
    wnids : tuple of str
        WordNet ids of the classes in the same order, or empty.
    output : {"logits", "probabilities"}
        Kind of its answers.
    pixels : {"normalised", "bytes"}
        Its input: float32 (N, 3, crop, crop) normalised as `preprocess` says, or uint8
        (N, crop, crop, 3), which it normalises itself.
    source : str
        Where it comes from, in words, for the record.

    Raises
    ------
    SettingError
        If there are no class names, or one does not fit.
    """

    name: str
    preprocess: PreprocessSpec
    class_names: tuple[str, ...]
    wnids: tuple[str, ...] = ()
    output: str = "logits"
    pixels: str = "normalised"
    source: str = ""

    def __post_init__(self) -> None:
        problems = []
        if len(self.class_names) < 2:
            problems.append(f"class_names has {len(self.class_names)} entries, 2 or more expected")
        if self.wnids and len(self.wnids) != len(self.class_names):
            problems.append(f"{len(self.wnids)} wnids for {len(self.class_names)} class_names")
        if self.wnids and len(set(self.wnids)) != len(self.wnids):
            problems.append("a wnid is there twice")
        if self.output not in ("logits", "probabilities"):
            problems.append(f"output must be logits or probabilities, got {self.output!r:.40}")
        if self.pixels not in ("normalised", "bytes"):
            problems.append(f"pixels must be normalised or bytes, got {self.pixels!r:.40}")
        if self.preprocess.mean_image_sha256 is not None:
            problems.append("a mean image is not supported")
        if problems:
            raise SettingError(f"teacher {self.name}: {'; '.join(problems)}")

    @property
    def class_ids(self) -> tuple[str, ...]:
        """Identity of the classes: their WordNet ids, or where there are none their names."""
        return self.wnids or self.class_names

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON values, as `read` takes them from a file."""
        return {
            "name": self.name,
            "preprocess": self.preprocess.to_dict(),
            "class_names": list(self.class_names),
            "wnids": list(self.wnids),
            "output": self.output,
            "pixels": self.pixels,
            "source": self.source,
        }

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TeacherCard:
        """Read a card from a JSON file; only ``preprocess`` and ``class_names`` are required.

        Parameters
        ----------
        path : path

        Raises
        ------
        SettingError
            If the file is missing, is no JSON, or lacks one of these.
        """
        try:
            values = json.loads(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingError(f"{os.fspath(path)}: cannot be read: {reason}") from error
        if not isinstance(values, dict):
            raise SettingError(f"{os.fspath(path)}: expected a JSON object")
        return cls._of(values, os.fspath(path))

    @classmethod
    def _of(cls, values: dict[str, Any], shown: str) -> TeacherCard:
        missing = [key for key in ("preprocess", "class_names") if key not in values]
        if missing:
            raise SettingError(
                f"{shown}: does not say {' and '.join(missing)}: both have to be known of a "
                'teacher (such as {"preprocess": {"name": "shorter-side", "resize": '
                '"shorter-side", "resize_to": 256, "crop": 224, "mean": [...], "std": [...]}, '
                '"class_names": [...]})'
            )
        texts = {}
        for key in ("class_names", "wnids"):
            listed = values.get(key, [])
            if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
                raise SettingError(f"{shown}: {key} must be a list of texts")
            texts[key] = tuple(listed)
        try:
            return cls(
                name=str(values.get("name", Path(shown).stem)),
                preprocess=PreprocessSpec.from_dict(values["preprocess"]),
                class_names=texts["class_names"],
                wnids=texts["wnids"],
                output=str(values.get("output", "logits")),
                pixels=str(values.get("pixels", "normalised")),
                source=str(values.get("source", "")),
            )
        except SettingError as error:
            raise SettingError(f"{shown}: {error}") from error


@dataclass(eq=False)
class Teacher(ABC):
    """A classifier that answers pixels with one logit for each class.

    Attributes
    ----------
    card : TeacherCard
    sha256 : str
        SHA-256 of the network and its numbers, whatever runs it.
    engine : str
        Program that runs it, with its version and arithmetic: answers of another differ in their
        last digits.
    """

    card: TeacherCard
    sha256: str
    engine: str = field(init=False, default="")

    @property
    def side(self) -> int:
        """Side in pixels of what it looks at."""
        return self.card.preprocess.crop

    def identity(self) -> dict[str, Any]:
        """Return what determines its answers: JSON values."""
        return {
            "sha256": self.sha256,
            "engine": self.engine,
            "preprocess": self.card.preprocess.to_dict(),
            "output": self.card.output,
            "pixels": self.card.pixels,
            "classes": len(self.card.class_names),
        }

    def described(self) -> dict[str, Any]:
        """Return its identity with its name and where it comes from, for the record."""
        return {"name": self.card.name, "source": self.card.source, **self.identity()}

    def answers(self, pixels: Tensor) -> Tensor:
        """Return the logits of images.

        Parameters
        ----------
        pixels : Tensor of uint8 or float, shape (N, side, side, 3)
            RGB from 0 to 255, resized and cut, not normalised.

        Returns
        -------
        Tensor of float32, shape (N, classes)
            On the CPU.

        Raises
        ------
        SettingError
            If they are not one finite number for each class.
        """
        count = len(pixels)
        if self.card.pixels == "bytes":
            inputs = pixels.round().to(torch.uint8) if pixels.is_floating_point() else pixels
        else:
            spec = self.card.preprocess
            mean, std = (torch.tensor(values) for values in (spec.mean, spec.std))
            # A whole line of pixels is the inner loop, not 3 channels alone.
            width = pixels.shape[2]
            shift, factor = (-mean / std).repeat(width), (spec.scale / std).repeat(width)
            scaled = torch.addcmul(shift, pixels.float().flatten(2), factor)
            inputs = scaled.view(pixels.shape).permute(0, 3, 1, 2)
        out = self._run(inputs)
        expected = (count, len(self.card.class_names))
        if tuple(out.shape) != expected:
            raise SettingError(
                f"teacher {self.card.name}: its answers to {counted(count, 'image')} have shape "
                f"{tuple(out.shape)}, one vector of {expected[1]} classes for each image expected"
            )
        if not bool(torch.isfinite(out).all()):
            raise SettingError(
                f"teacher {self.card.name}: its answers are not finite; check its preprocessing, "
                "or run it in fp32"
            )
        if self.card.output == "probabilities":
            if float(out.min()) < -1e-3 or float(out.max()) > 1.001:
                raise SettingError(
                    f"teacher {self.card.name}: its answers reach from {float(out.min()):.3g} to "
                    f"{float(out.max()):.3g}, which are no probabilities: output is 'logits'"
                )
            out = out.clamp(min=SMALLEST).log()
        return out

    def check(self) -> None:
        """Check that it answers: with one finite vector of classes to a grey image."""
        self.answers(torch.full((2, self.side, self.side, 3), 127, dtype=torch.uint8))

    @abstractmethod
    def _run(self, inputs: Tensor) -> Tensor:
        """Compute what the network gives for its inputs, float32 on the CPU."""


class ModuleTeacher(Teacher):
    """A torch module that teaches.

    Parameters
    ----------
    module : torch.nn.Module
        From float32 (N, 3, crop, crop) to logits (N, classes). It is put in evaluation mode while
        it answers. It is known by its parameters, its class and what its ``repr`` shows: where
        others of these give other answers, say so in `about`.
    card : TeacherCard
    device : torch.device or str
    precision : {"fp32", "bf16"}
    about : str
        Text of other things that determine its answers.
    """

    def __init__(
        self,
        module: nn.Module,
        card: TeacherCard,
        *,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        about: str = "",
    ) -> None:
        state = {key: value.cpu() for key, value in module.state_dict().items()}
        # The same numbers may belong to several networks.
        kind = f"{type(module).__module__}.{type(module).__qualname__}\n{module!r}\n{about}"
        digest = hashlib.sha256(f"{kind}\n{state_sha256(state)}".encode()).hexdigest()
        super().__init__(card, digest)
        self._device = torch.device(device)
        side = card.preprocess.crop
        shape = (side, side, 3) if card.pixels == "bytes" else (3, side, side)
        check_network(self._device, module, shape)
        self._module = module.to(self._device)
        self._half = precision == "bf16"
        self.engine = f"torch {torch.__version__} {self._device.type} {precision}"

    def _run(self, inputs: Tensor) -> Tensor:
        with (
            evaluating(self._module) as module,
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._half),
        ):
            out = module(inputs.to(self._device))
        if not isinstance(out, Tensor):
            raise SettingError(
                f"teacher {self.card.name}: it answers with a {type(out).__name__}, "
                "a tensor (N, classes) expected"
            )
        return out.float().cpu()


class OnnxTeacher(Teacher):
    """A network in an ONNX file that teaches, run by OpenVINO or ONNX Runtime on CPUs.

    Parameters
    ----------
    path : path
    card : TeacherCard
    engine : str
        One of `ENGINES`; "auto" takes OpenVINO where it is installed.
    precision : {"fp32", "bf16"}
        Arithmetic; ONNX Runtime has fp32 alone.

    Raises
    ------
    SettingError
        If the engine is not installed, or refuses the file.
    """

    def __init__(
        self,
        path: Path,
        card: TeacherCard,
        *,
        engine: str = "auto",
        precision: str = "fp32",
    ) -> None:
        super().__init__(card, onnx_sha256(path))
        self.engine, self._infer = load_onnx(path, engine, precision)

    def _run(self, inputs: Tensor) -> Tensor:
        try:
            return torch.from_numpy(self._infer(np.ascontiguousarray(inputs.numpy())))
        except SettingError:
            raise
        except Exception as error:
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise SettingError(
                f"teacher {self.card.name}: cannot be run on input of shape "
                f"{tuple(inputs.shape)}: {text[0][:300]}"
            ) from error


def load_teacher(
    teacher: str | os.PathLike[str],
    *,
    card: str | os.PathLike[str] | TeacherCard | None = None,
    engine: str = "auto",
    precision: str | None = None,
    device: torch.device | str = "cpu",
) -> Teacher:
    """Load a teacher.

    Parameters
    ----------
    teacher : str or path
        An ONNX file; or weights as `decaf.load_backbone` takes them.
    card : path or TeacherCard, optional
        Facts that an ONNX file does not hold: JSON with ``preprocess`` and ``class_names``, and
        perhaps ``wnids``, ``output``, ``pixels``, ``name`` and ``source`` (see `TeacherCard`). By
        default the file beside it that has its name with the ending ``.json``. A model that
        ``decaf export`` has written carries all of it.
    engine : str
        One of `ENGINES`, for an ONNX file.
    precision : {"fp32", "bf16"}, optional
        Its arithmetic. By default bf16 where OpenVINO runs it on a processor with bf16, which
        answers about twice as fast, else fp32.
    device : torch.device or str
        Where weights are run; ONNX files are run on CPUs.

    Returns
    -------
    Teacher

    Raises
    ------
    SettingError, WeightsError
        If it cannot be loaded, or its input or classes are not known.
    """
    if precision not in (None, "fp32", "bf16"):
        raise SettingError(f"the teacher's precision must be fp32 or bf16, got {precision!r:.40}")
    path = Path(os.fspath(teacher))
    if path.suffix != ".onnx":
        if card is not None or engine != "auto":
            raise SettingError(
                f"{path}: `card` and `engine` are for ONNX files; weights carry what has to be "
                "known"
            )
        return _weights_teacher(os.fspath(teacher), precision or "fp32", device)
    if not path.is_file():
        raise SettingError(f"{path}: no such file")
    beside = path.with_suffix(".json")
    if isinstance(card, TeacherCard):
        known: TeacherCard | None = card
    elif card is not None or beside.exists():
        known = TeacherCard.read(card or beside)
    else:
        known = _own_card(path)
    if known is None:
        raise SettingError(
            f"{path}: neither it nor {beside} says how images become its input and what its "
            "classes are; give `card`, a JSON file with `preprocess` and `class_names`"
        )
    if precision is None:
        fast = choose_engine(engine) == "openvino" and bf16_is_native(torch.device("cpu"))
        precision = "bf16" if fast else "fp32"
    return OnnxTeacher(path, known, engine=engine, precision=precision)


def _weights_teacher(name: str, precision: str, device: torch.device | str) -> Teacher:
    weights = load_weights(name)
    wnids = weights.provenance.get("wnids")
    card = TeacherCard(
        name=weights.name,
        preprocess=weights.preprocess,
        class_names=weights.class_names or tuple(map(str, range(weights.spec.classes))),
        wnids=tuple(wnids) if isinstance(wnids, list) else (),
        source=str(weights.provenance.get("source", "")),
    )
    network = AlexNet(weights.spec)
    network.load_state_dict(weights.state)
    about = json.dumps(weights.spec.to_dict())
    module = _Logits(network)
    return ModuleTeacher(module, card, device=device, precision=precision, about=about)


class _Logits(nn.Module):
    """An AlexNet up to its logits."""

    def __init__(self, network: AlexNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        for step in self.network.steps():
            if step.kind not in ("softmax", "dropout"):
                x = self.network.run_step(step, x)
        return x


def _own_card(path: Path) -> TeacherCard | None:
    """Make the card of a model that decaf has exported, of what is in it; None for others."""
    from decaf.backbone.export.models import FORMAT

    known = onnx_metadata(path)
    if known.get("format") != FORMAT:
        return None
    layers = json.loads(known["layers"])
    if len(layers) != 1 or not set(layers) <= {"fc8", "prob"}:
        raise SettingError(
            f"{path}: was exported with {', '.join(layers)}; a teacher has one layer, fc8 or prob"
        )
    provenance = json.loads(known["provenance"])
    return TeacherCard(
        name=known["weights"],
        preprocess=PreprocessSpec.from_dict(json.loads(known["preprocess"])),
        class_names=tuple(json.loads(known["class_names"])),
        wnids=tuple(provenance.get("wnids") or ()),
        output="logits" if "fc8" in layers else "probabilities",
        pixels="bytes",
        source=f"decaf export of {known['weights']} ({known['weights_sha256']})",
    )
