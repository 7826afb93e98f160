"""The forward pass as extraction runs it: decoded crops in, the rows of the wanted layers out.

On a CPU the convolutions and linear layers go through oneDNN with their weights laid out in advance
and the ReLU done in the same sweep, which takes a third off the time of the module's own forward
pass. The operators for it are the ones that torch.compile emits; where a build of torch lacks them,
or they do not agree with torch's own on a small case, the module itself is run, in channels-last.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from decaf.backbone.spec import map_sizes
from decaf.backbone.steps import layer_shape
from decaf.errors import DecafError, SettingError
from decaf.images.crops import combine_crops, with_mirrors
from decaf.images.normalise import normalise
from decaf.runtime.agreement import ROWS, check_device
from decaf.runtime.device import bf16_is_native, give_back_memory, is_out_of_memory, sent_to

if TYPE_CHECKING:
    from decaf.backbone.model import Backbone
    from decaf.backbone.network import AlexNet

__all__ = ["Engine", "SplittingEngine", "fused_operators_work"]


# Where the fused operators run; the network itself may be elsewhere.
CPU = torch.device("cpu")

# The batch that weights are laid out for, on a CPU.
EXPECTED_BATCH = 32


class Engine:
    """A backbone made ready to turn crops into rows.

    It holds its own copy of the weights it needs, laid out for the device, and may be called from
    several threads at once.

    Parameters
    ----------
    backbone : Backbone
        The network and its preprocessing.
    layers : sequence of str
        The layers wanted. The pass ends at the deepest.
    crops : {"center", "ten", "ten-max", "ten-stack"}
        Centre crop; or ten-crop (four corners and centre, and their mirror images) with the ten
        rows averaged, maximised, or all kept.
    precision : {"fp32", "bf16"}
        Arithmetic of the pass. Rows come out as float32 in both.
    device : torch.device
        Where to run.

    Attributes
    ----------
    forward : callable
        The pass alone: maps normalised pixels (N, 3, crop, crop), of the pass's own type, to a dict
        of tensors.

    Raises
    ------
    SettingError
        For a precision that the device has not natively, for layers that cannot be computed from
        crops of the size that the preprocessing makes, and for an Apple GPU whose rows are not
        the CPU's.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[str],
        *,
        crops: str = "center",
        precision: str = "fp32",
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        if precision == "bf16" and not bf16_is_native(self.device):
            raise SettingError(
                f"precision bf16: this {self.device.type.upper()} has no native bfloat16 "
                "arithmetic, so it would be slow and inexact; use fp32"
            )
        for layer in layers:
            layer_shape(backbone.spec, layer, backbone.preprocess.crop)
        self.layers = tuple(layers)
        self.ten = crops != "center"
        self.crops = crops
        self.precision = precision
        self._spec = backbone.preprocess
        self._mean_image = backbone.mean_image
        if self._mean_image is not None:
            self._mean_image = self._mean_image.to(self.device)
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        self._dtype = dtype
        if self.device.type == "cpu" and fused_operators_work(dtype):
            self.forward = _fused(backbone.network, self.layers, dtype)
        else:
            self.forward = _plain(backbone.network, self.layers, dtype, self.device)
        images = _some_images(backbone.preprocess.crop, 5 if self.ten else 1)
        check_device(
            self.device,
            lambda: self(images),
            lambda: Engine(backbone, layers, crops=crops, precision=precision)(images),
            precision,
        )

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the rows of a batch.

        Parameters
        ----------
        crops : ndarray of uint8, shape (N, 1 or 5, crop, crop, 3)
            As `decaf.images.preprocess.prepare` makes them.

        Returns
        -------
        dict of str to ndarray of float32
            For each layer an array (N, …): (N, C, H, W) for maps, (N, D) for vectors, with a second
            axis of 10 for ``"ten-stack"``.
        """
        return {
            layer: np.ascontiguousarray(value.cpu().numpy())
            for layer, value in self.tensors(crops).items()
        }

    @torch.inference_mode()
    def tensors(self, crops: np.ndarray) -> dict[str, Tensor]:
        """Compute the rows of a batch, and leave them on the device.

        Parameters
        ----------
        crops : ndarray of uint8, shape (N, 1 or 5, crop, crop, 3)
            As for a call.

        Returns
        -------
        dict of str to Tensor of float32
            Shapes as of a call, in whatever strides the pass has left.
        """
        batch = torch.from_numpy(crops).view(-1, *crops.shape[2:])
        batch = sent_to(self.device, batch)
        pixels = normalise(batch, self._spec, mean_image=self._mean_image, ten=self.ten)
        if self.ten:
            pixels = with_mirrors(pixels)
        rows = len(pixels)
        if rows == 1 and self.device.type == "cpu":
            # A product with one row alone takes another way, and rounds otherwise: an image is to
            # have the same bits whether it is alone or not.
            pixels = torch.cat([pixels, pixels])
        outputs = self.forward(pixels.to(self._dtype))
        features = {}
        for layer in self.layers:
            value = outputs[layer][:rows].float()
            features[layer] = combine_crops(value, self.crops) if self.ten else value
        return features


def _some_images(crop: int, views: int) -> np.ndarray:
    """Return crops to compare devices by: waves of all lengths, as edges and grain have them."""
    y, x = np.mgrid[:crop, :crop] / crop
    steps = np.arange(1, 3 * ROWS * views + 1).reshape(ROWS, views, 1, 1, 3)
    waves = np.sin(7.0 * steps * x[..., None] + 3.0 * (steps % 5) * y[..., None] ** 2)
    images: np.ndarray = np.rint(127.5 + 127.5 * waves).astype(np.uint8)
    return images


Forward = Callable[[Tensor], dict[str, Tensor]]


def _plain(
    network: AlexNet, layers: Sequence[str], dtype: torch.dtype, device: torch.device
) -> Forward:
    copy = type(network)(network.spec)
    copy.load_state_dict(network.state_dict())
    copy.to(device, dtype).to(memory_format=torch.channels_last)
    copy.requires_grad_(False).eval()

    def forward(pixels: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = copy.tap(pixels, layers)
        return values

    return forward


@dataclass(frozen=True)
class _Op:
    """One call of the fused pass, and the layers whose value it yields."""

    run: Callable[[Tensor], Tensor]
    taps: tuple[str, ...]


def _fused(network: AlexNet, layers: Sequence[str], dtype: torch.dtype) -> Forward:
    with torch.inference_mode():
        ops = list(_fused_ops(network, set(layers), dtype))

    def forward(pixels: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        value = pixels
        for op in ops:
            value = op.run(value)
            for layer in op.taps:
                values[layer] = value
        return values

    return forward


def _fused_ops(network: AlexNet, wanted: set[str], dtype: torch.dtype) -> Iterator[_Op]:
    """Turn the network's steps into fused calls, ending with the last layer wanted."""
    missing = set(wanted)
    steps = list(network.steps())
    sizes = map_sizes(network.spec)
    size = network.spec.input_size
    overwrite = False  # whether nobody but the next step needs the value
    while missing:
        step = steps.pop(0)
        if step.kind in ("conv", "linear"):
            fuse = (
                steps[0].kind == "act"
                and network.spec.activation == "relu"
                and not missing.intersection(step.taps)
            )
            module = network.get_submodule(step.name)
            if isinstance(module, nn.Conv2d):
                op = _convolution(module, size, dtype, relu=fuse)
            else:
                op = _linear(module, dtype, relu=fuse)
            if fuse:
                step = steps.pop(0)
        else:
            op = functools.partial(network.run_step, step, overwrite=overwrite)
        size = next((sizes[name] for name in step.taps if name in sizes), size)
        taps = tuple(name for name in step.taps if name in missing)
        missing.difference_update(taps)
        overwrite = not taps and step.kind != "flatten"
        yield _Op(op, taps)


def _convolution(
    module: Any, size: int, dtype: torch.dtype, *, relu: bool
) -> Callable[[Tensor], Tensor]:
    stride, padding, dilation = list(module.stride), list(module.padding), list(module.dilation)
    weight = module.weight.detach().to(CPU, dtype).contiguous(memory_format=torch.channels_last)
    # oneDNN lays weights out for a size of input; inputs of other sizes are computed right as well.
    expected = [EXPECTED_BATCH, module.in_channels, size, size]
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        weight, padding, stride, dilation, module.groups, expected
    )
    bias = module.bias.detach().to(CPU, dtype)
    attr = "relu" if relu else "none"
    rest: tuple[Any, ...] = (padding, stride, dilation, module.groups, attr, [], "")
    call = torch.ops.mkldnn._convolution_pointwise
    return lambda x: call(x, packed, bias, *rest)


def _linear(module: Any, dtype: torch.dtype, *, relu: bool) -> Callable[[Tensor], Tensor]:
    weight = module.weight.detach().to(CPU, dtype)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, EXPECTED_BATCH)
    bias = module.bias.detach().to(CPU, dtype)
    rest: tuple[Any, ...] = ("relu" if relu else "none", [], "")
    call = torch.ops.mkldnn._linear_pointwise
    return lambda x: call(x, packed, bias, *rest)


@functools.cache
def fused_operators_work(dtype: torch.dtype) -> bool:
    """Tell whether torch's fused oneDNN operators are there and agree with its plain ones.

    Parameters
    ----------
    dtype : torch.dtype
        Arithmetic of the pass.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        # Not by torch.manual_seed, which seeds the GPUs too.
        torch.default_generator.manual_seed(0)
        convolution = nn.Conv2d(8, 16, 3, padding=1, groups=2)
        linear = nn.Linear(16 * 36, 8)
        example = torch.randn(4, 8, 6, 6)
        expected = functional.relu(linear(functional.relu(convolution(example)).flatten(1)))
        value = example.to(dtype).contiguous(memory_format=torch.channels_last)
        try:
            middle = _convolution(convolution, 6, dtype, relu=True)(value).flatten(1)
            computed = _linear(linear, dtype, relu=True)(middle).float()
        except (RuntimeError, AttributeError, TypeError):
            return False
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    scale = float(expected.abs().max()) or 1.0
    return math.isfinite(scale) and bool((computed - expected).abs().max() <= tolerance * scale)


class SplittingEngine:
    """An engine that runs batches in halves where they do not fit into memory.

    Parameters
    ----------
    engine : callable
        An `Engine`, or anything that maps crops to rows.

    Attributes
    ----------
    largest : int or None
        The size that batches had to be cut down to; None while none had.
    """

    def __init__(self, engine: Callable[[np.ndarray], dict[str, np.ndarray]]) -> None:
        self._engine = engine
        self.largest: int | None = None

    def __call__(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the rows of a batch, the same ones whatever size it is run in.

        Raises
        ------
        DecafError
            Where not even a single image fits.
        """
        size = min(len(crops), self.largest or len(crops))
        pieces: list[dict[str, np.ndarray]] = []
        start = 0
        while start < len(crops):
            try:
                pieces.append(self._engine(crops[start : start + size]))
                start += size
                continue
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise DecafError(
                        "not even one image fits into the memory of the device; "
                        "use `device='cpu'`, or fewer layers"
                    ) from error
            # Outside of the handler: the traceback holds what the failed pass had allocated.
            size = self.largest = (size + 1) // 2
            give_back_memory()
        if len(pieces) == 1:
            return pieces[0]
        return {layer: np.concatenate([piece[layer] for piece in pieces]) for layer in pieces[0]}
