"""Parameters with all that is known about them, and the checks they pass before use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from decaf.backbone.spec import ArchSpec, parameter_shapes
from decaf.backbone.steps import layer_shape
from decaf.errors import WeightsError
from decaf.images.spec import PreprocessSpec, override_preprocess

__all__ = [
    "MEAN_IMAGE",
    "Weights",
    "check_finite",
    "check_layout",
    "state_sha256",
    "tensor_sha256",
    "with_preprocess",
]

MEAN_IMAGE = "mean_image"
"""Name of the mean image among the tensors of a weights file and in its hash."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's parameters and all that belongs to them; made by `Weights.of`.

    Parameters
    ----------
    name : str
        Name that they were asked for by: a registry name or a file name.
    sha256 : str
        `state_sha256` of the parameters and the mean image: the identity of the numbers, whatever
        file they lie in.
    spec : ArchSpec
        The network they are for.
    preprocess : PreprocessSpec
        How an image becomes that network's input.
    state : dict of str to Tensor
        Float32 on the CPU, in forward order. Shared with whoever loads them: not to be written to.
    class_names : tuple of str
        Names of the units of ``fc8``, or empty where they are not known.
    metrics : dict
        Measurements with them, JSON values.
    provenance : dict
        Where they come from, JSON values.
    mean_image : Tensor or None
        Float32 ``(3, resize_to, resize_to)``, where the preprocessing subtracts one.
    """

    name: str
    sha256: str
    spec: ArchSpec
    preprocess: PreprocessSpec
    state: dict[str, Tensor]
    class_names: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    mean_image: Tensor | None = None

    @classmethod
    def of(
        cls,
        name: str,
        spec: ArchSpec,
        preprocess: PreprocessSpec,
        state: Mapping[str, Tensor],
        *,
        class_names: Sequence[str] = (),
        metrics: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        mean_image: Tensor | None = None,
    ) -> Weights:
        """Check that everything fits together, and compute the hash.

        Parameters
        ----------
        name, spec, preprocess, state, class_names, metrics, provenance, mean_image
            As the attributes. Numbers of any floating type become float32.

        Raises
        ------
        WeightsError
            If names or shapes of `state` are not those of `spec`, a value is not finite, there
            are class names but not one a class, or the mean image is not the one that
            `preprocess` speaks of.
        """
        tensors = {**state, **({MEAN_IMAGE: mean_image} if mean_image is not None else {})}
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        check_layout(name, spec, preprocess, shapes)
        if class_names and len(class_names) != spec.classes:
            raise WeightsError(f"{name}: {len(class_names)} class names for {spec.classes} classes")
        ready = {
            key: tensors[key].detach().to("cpu", torch.float32).contiguous()
            for key in (*parameter_shapes(spec), MEAN_IMAGE)
            if key in tensors
        }
        for key, tensor in ready.items():
            check_finite(name, key, tensor)
        sha256 = state_sha256(ready)
        image = ready.pop(MEAN_IMAGE, None)
        if image is not None and tensor_sha256(image) != preprocess.mean_image_sha256:
            raise WeightsError(
                f"{name}: the mean image has SHA-256 {tensor_sha256(image)}, the preprocessing "
                f"names {preprocess.mean_image_sha256}"
            )
        return cls(
            name=name,
            sha256=sha256,
            spec=spec,
            preprocess=preprocess,
            state=ready,
            class_names=tuple(class_names),
            metrics=dict(metrics or {}),
            provenance=dict(provenance or {}),
            mean_image=image,
        )


def with_preprocess(weights: Weights, preprocess: Any) -> Weights:
    """Return the same parameters for a network whose images are prepared in another way.

    Parameters
    ----------
    weights : Weights
    preprocess : str, mapping, PreprocessSpec or None
        As `decaf.images.override_preprocess` takes it.

    Returns
    -------
    Weights
        With the hash of `weights`: the parameters are the same. Its network takes the crop.

    Raises
    ------
    SettingError
        For what is no preprocessing, and for a crop that the network cannot take.
    """
    made = override_preprocess(weights.preprocess, preprocess)
    layer_shape(weights.spec, "fc6", made.crop)
    return replace(
        weights,
        spec=replace(weights.spec, input_size=made.crop),
        preprocess=made,
        mean_image=None if made.mean_image_sha256 is None else weights.mean_image,
    )


def check_layout(
    name: str,
    spec: ArchSpec,
    preprocess: PreprocessSpec,
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Compare the names and shapes that a file announces with those its network needs.

    Needs no tensor, so that a file can be refused before anything of it is read.

    Parameters
    ----------
    name : str
        Name of the weights, for the error.
    spec : ArchSpec
    preprocess : PreprocessSpec
    shapes : mapping of str to tuple of int
        Shapes of the tensors that the file announces.

    Raises
    ------
    WeightsError
        Naming the tensors that are missing, unexpected or of another shape.
    """
    expected = parameter_shapes(spec)
    if preprocess.mean_image_sha256 is not None:
        expected[MEAN_IMAGE] = (3, preprocess.resize_to, preprocess.resize_to)
    problems = []
    missing = [key for key in expected if key not in shapes]
    unexpected = sorted(key for key in shapes if key not in expected)
    if missing:
        problems.append(f"missing {_some(missing)}")
    if unexpected:
        problems.append(f"unexpected {_some(unexpected)}")
    problems += [
        f"{key} has shape {tuple(shapes[key])}, expected {expected[key]}"
        for key in expected
        if key in shapes and tuple(shapes[key]) != expected[key]
    ]
    if spec.input_size != preprocess.crop:
        problems.append(
            f"the network takes {spec.input_size} pixels, the preprocessing gives {preprocess.crop}"
        )
    if problems:
        raise WeightsError(f"{name}: not the weights of {spec.name}: {'; '.join(problems)}")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def check_finite(name: str, key: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity; `name` is the weights' and `key` the tensor's.

    Parameters
    ----------
    name : str
        Name of the weights, for the error.
    key : str
        Name of the tensor.
    tensor : Tensor

    Raises
    ------
    WeightsError
        Naming the tensor.
    """
    if tensor.numel() == 0:
        return
    # NaN wins in aminmax: one pass, and no mask of the tensor's size.
    low, high = torch.aminmax(tensor)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise WeightsError(f"{name}: {key} holds NaN or infinite values")


def tensor_sha256(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's values: little-endian float32 in row-major order.

    Parameters
    ----------
    tensor : Tensor
    """
    return hashlib.sha256(_bytes(tensor.float())).hexdigest()


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors: names, types, shapes and values.

    For each name in sorted order, the JSON list ``[name, dtype, shape]``, a newline and the
    tensor's bytes (little-endian, row-major) are hashed. `Weights` holds float32 only, and widening
    a half-precision number is exact: so weights stored in half precision keep their hash when they
    are loaded and saved again, in whatever precision holds them.

    Parameters
    ----------
    state : mapping of str to Tensor
        Tensors on the CPU.

    Returns
    -------
    str
        64 hex digits.
    """
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        kind = str(tensor.dtype).removeprefix("torch.")
        total.update(json.dumps([name, kind, list(tensor.shape)]).encode() + b"\n")
        total.update(_bytes(tensor))
    return total.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().contiguous().reshape(-1)
    # Seen as bytes first: numpy has no bfloat16. Machines that torch runs on are little-endian.
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
