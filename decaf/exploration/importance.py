"""Which pixels of one image mattered for a unit or a class: by occlusion, and by the gradient.

Occlusion asks the network itself: a part of the image is covered, and what the unit loses by that
is what the part was worth (Zeiler and Fergus 2014, section 4.2). The gradient tells by how much the
unit would change for a small change of a pixel (Simonyan et al. 2014, section 3); times the input
it is the first-order estimate of what the unit would lose if the pixel had the mean colour. Both
gradients are those of the network as it is: no ReLU is passed in another way than it passes values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from decaf.backbone.steps import LAYERS, layer_shape
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import ImageError, InputError, SettingError
from decaf.exploration.top_patches import check_units, field_boxes
from decaf.features.settings import NetworkSettings
from decaf.images import collect
from decaf.runtime.names import name_text
from decaf.runtime.settings import Part, one_of, refuse, settings_from, whole_number
from decaf.runtime.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from decaf.backbone.model import Backbone

__all__ = [
    "METHODS",
    "Importance",
    "OcclusionSettings",
    "Target",
    "find_target",
    "importance_map",
    "pixel_importance",
]

METHODS = ("occlusion", "gradient", "gradient-times-input")
BATCH = 32


@dataclass(frozen=True)
class OcclusionSettings:
    """The square that covers a part of the image, in pixels of the image as the network sees it.

    Parameters
    ----------
    square : int, optional
        Its side; by default a quarter of the side of what the unit sees.
    stride : int, optional
        By how much it is moved; by default half of its side.

    Raises
    ------
    SettingError
        For values that cannot be used.
    """

    square: int | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        refuse(
            whole_number("square", self.square, 1, optional=True)
            + whole_number("stride", self.stride, 1, optional=True)
        )


@dataclass(frozen=True)
class Target:
    """The number of the network whose reasons are asked for.

    Parameters
    ----------
    layer : str
    unit : int
        A channel of a map, a place in a vector: of ``fc8`` and ``prob`` a class.
    position : (int, int)
        Row and column in a map; of a vector 0 and 0.
    """

    layer: str
    unit: int
    position: tuple[int, int] = (0, 0)

    def of(self, values: Tensor) -> Tensor:
        """Pick the numbers out of the values of the layer.

        Parameters
        ----------
        values : Tensor, shape (N, C, H, W) or (N, D)

        Returns
        -------
        Tensor, shape (N,)
        """
        own = values[:, self.unit]
        return own if own.dim() == 1 else own[:, self.position[0], self.position[1]]


@dataclass(frozen=True, eq=False)
class Importance:
    """How much each pixel of an image mattered for one number of the network.

    Attributes
    ----------
    method : {"occlusion", "gradient", "gradient-times-input"}
    target : Target
    value : float
        The number itself.
    heat : array of float32, shape (H, W)
        Occlusion: by how much the number falls where the pixel is covered, the mean over all
        squares that cover it; negative where covering it helps. Gradient: the largest magnitude of
        the derivative over the three colours of the normalised pixel. Gradient times input: the sum
        over the colours of derivative times normalised value, which is 0 for the mean colour.
    pixels : array of uint8, shape (H, W, 3)
        The image as the network is shown it.
    """

    method: str
    target: Target
    value: float
    heat: npt.NDArray[np.float32]
    pixels: npt.NDArray[np.uint8]


def pixel_importance(
    image: Any,
    unit: int | None = None,
    layer: str = "prob",
    *,
    method: str = "occlusion",
    position: tuple[int, int] | None = None,
    occlusion: OcclusionSettings | None = None,
    network: NetworkSettings | None = None,
    **named: Any,
) -> Importance:
    """Find which pixels of an image mattered for a unit or a class.

    Parameters
    ----------
    image : path, PIL image, or array of uint8 (H, W, 3)
    unit : int, optional
        A channel of a map, a place in a vector: of ``prob`` and ``fc8`` a class. By default the
        one with the largest value.
    layer : str
        Layer of the unit.
    method : {"occlusion", "gradient", "gradient-times-input"}
        A grey square is moved over the image; or the derivative with respect to each pixel, plain,
        or times the pixel's normalised value.
    position : (int, int), optional
        Row and column in a map; by default those of the unit's largest value.
    occlusion : OcclusionSettings, optional
        The square: its side and stride, in pixels.
    network : NetworkSettings, optional
        How the network is run: weights, preprocess and batch_size, as in `decaf.extract`. It sees
        the centre crop, and is run where it is: ``weights=backbone.to("cuda")``.
    **named
        Fields of `occlusion` and `network` by their names: ``square=32, weights="imagenet"``.

    Returns
    -------
    Importance

    Raises
    ------
    SettingError, WeightsError
        For what cannot be asked for.
    InputError, ImageError
        If there is not just one image, or it cannot be read.

    References
    ----------
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section
    4.2; Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014,
    section 3.

    Examples
    --------
    >>> import numpy as np
    >>> photograph = np.random.default_rng(0).integers(0, 256, (80, 70, 3), np.uint8)
    >>> found = pixel_importance(photograph, 3, "conv2", weights="random:0:alexnet-64")
    >>> found.heat.shape
    (64, 64)
    """
    made = settings_from(
        pixel_importance,
        named,
        Part("occlusion", OcclusionSettings, occlusion),
        Part("network", NetworkSettings, network, ("crops", "precision")),
    )
    occlusion, network = made
    refuse(one_of("method", method, METHODS) + one_of("layer", layer, LAYERS))
    from decaf.backbone.model import load_backbone

    backbone = load_backbone(DEFAULT_WEIGHTS if network.weights is None else network.weights)
    backbone = backbone.with_preprocess(network.preprocess)
    pixels = _one_image(image, backbone)
    target = find_target(backbone, pixels, layer, unit, position)
    value, heat = importance_map(
        backbone, pixels, target, method, occlusion, batch_size=network.batch_size or BATCH
    )
    return Importance(method, target, value, heat, pixels)


def find_target(
    backbone: Backbone,
    pixels: npt.NDArray[np.uint8],
    layer: str,
    unit: int | None = None,
    position: tuple[int, int] | None = None,
) -> Target:
    """Return the number that is meant where a unit or a position is not given: the largest.

    Parameters
    ----------
    backbone : Backbone
    pixels : array of uint8, shape (H, W, 3)
        The image as the network is shown it.
    layer : str
    unit : int, optional
    position : (int, int), optional

    Raises
    ------
    SettingError
        For a unit or a position that there is not.
    """
    shape = layer_shape(backbone.spec, layer, backbone.preprocess.crop)
    rows, columns = shape[1:] or (1, 1)
    if unit is not None:
        check_units(backbone, layer, unit)
    if position is not None and not (0 <= position[0] < rows and 0 <= position[1] < columns):
        raise SettingError(
            f"`position` {position!r}: {layer} of {backbone.spec.name} has {rows} rows and "
            f"{columns} columns, counted from 0"
        )
    if unit is not None and position is not None:
        return Target(layer, unit, position)
    values = backbone.features(_normalised(pixels, backbone), layer)[layer][0]
    values = values.reshape(shape[0], rows, columns)
    if unit is None:
        own = values if position is None else values[:, position[0], position[1]]
        unit = int(own.reshape(shape[0], -1).amax(dim=1).argmax())
    if position is None:
        position = divmod(int(values[unit].flatten().argmax()), columns)
    return Target(layer, unit, position)


def importance_map(
    backbone: Backbone,
    pixels: npt.NDArray[np.uint8],
    target: Target,
    method: str,
    occlusion: OcclusionSettings | None = None,
    *,
    batch_size: int = BATCH,
) -> tuple[float, npt.NDArray[np.float32]]:
    """Compute how much each pixel mattered for a number of the network.

    Parameters
    ----------
    backbone : Backbone
    pixels : array of uint8, shape (H, W, 3)
        The image as the network is shown it.
    target : Target
    method : str
        One of `METHODS`.
    occlusion : OcclusionSettings, optional
    batch_size : int
        Covered images a forward pass.

    Returns
    -------
    value : float
        The number.
    heat : array of float32, shape (H, W)
        As `Importance` has it. Zero for pixels that the position does not see.
    """
    images = _normalised(pixels, backbone)
    if method == "occlusion":
        settings = occlusion or OcclusionSettings()
        return _occlusion(backbone, images, target, settings, batch_size)
    return _gradient(backbone, images, target, times_input=method == "gradient-times-input")


def _occlusion(
    backbone: Backbone,
    image: Tensor,
    target: Target,
    settings: OcclusionSettings,
    batch_size: int,
) -> tuple[float, npt.NDArray[np.float32]]:
    """Cover what the position sees with a grey square, place by place."""
    place = np.array(target.position)
    left, top, right, bottom = field_boxes(backbone, target.layer, place).tolist()
    side = settings.square or max(1, round(min(right - left, bottom - top) / 4))
    stride = settings.stride or max(1, side // 2)
    corners = [
        (y, x)
        for y in _starts(top, bottom, side, stride)
        for x in _starts(left, right, side, stride)
    ]

    def values(batch: Tensor) -> npt.NDArray[np.float64]:
        tapped = backbone.features(batch, target.layer)[target.layer]
        numbers: npt.NDArray[np.float64] = target.of(tapped).double().cpu().numpy()
        return numbers

    # In a batch of two, as the others are computed: one row alone is rounded otherwise.
    value = float(values(image.expand(2, -1, -1, -1))[0])
    lost = np.zeros(image.shape[2:])
    covers = np.zeros(image.shape[2:])
    for first in range(0, len(corners), batch_size):
        part = corners[first : first + batch_size]
        batch = image.repeat(max(len(part), 2), 1, 1, 1)
        for covered, (y, x) in zip(batch, part, strict=False):
            covered[:, y : y + side, x : x + side] = 0  # the mean colour, once normalised
        for (y, x), rest in zip(part, values(batch), strict=False):
            lost[y : y + side, x : x + side] += value - rest
            covers[y : y + side, x : x + side] += 1
    heat = np.divide(lost, covers, out=np.zeros_like(lost), where=covers > 0)
    inside = np.zeros(heat.shape, bool)
    inside[top:bottom, left:right] = True
    return value, np.where(inside, heat, 0).astype(np.float32)


def _starts(start: int, stop: int, side: int, stride: int) -> list[int]:
    """Return where squares begin, so that together they cover everything from start to stop.

    >>> _starts(0, 10, 4, 4)
    [0, 4, 6]
    """
    last = max(start, stop - side)
    return [*range(start, last, stride), last]


def _gradient(
    backbone: Backbone, image: Tensor, target: Target, *, times_input: bool
) -> tuple[float, npt.NDArray[np.float32]]:
    import torch

    from decaf.backbone.network import evaluating
    from decaf.runtime.device import strict_float32

    with evaluating(backbone.network), strict_float32(backbone.device), torch.enable_grad():
        pixels = image.clone().requires_grad_()
        value = target.of(backbone.network.tap(pixels, target.layer)[target.layer]).sum()
        (slope,) = torch.autograd.grad(value, pixels)
    slope = slope[0]
    heat = (slope * image[0]).sum(dim=0) if times_input else slope.abs().amax(dim=0)
    return float(value.detach()), heat.float().cpu().numpy()


def _normalised(pixels: npt.NDArray[np.uint8], backbone: Backbone) -> Tensor:
    import torch

    from decaf.images.normalise import normalise

    mean_image = backbone.mean_image
    batch = normalise(torch.from_numpy(pixels[None]), backbone.preprocess, mean_image=mean_image)
    return batch.to(backbone.device, backbone.network.conv1.weight.dtype)


def _one_image(image: Any, backbone: Backbone) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image as the network is shown it."""
    from decaf.images.preprocess import prepare

    listed = collect([image], labels="none")
    if len(listed) != 1:
        raise InputError(f"{counted(len(listed), 'image')}; give one")
    side = backbone.preprocess.crop
    crop = np.empty((1, side, side, 3), np.uint8)
    outcome = prepare(listed.source_of(0), backbone.preprocess, ten=False, out=crop)
    if outcome.status != "ok":
        raise ImageError(outcome.status, outcome.message, name_text(listed.names[0]))
    pixels: npt.NDArray[np.uint8] = crop[0]
    return pixels
