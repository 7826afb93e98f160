"""What determines a Fisher vector, and the libraries that it needs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from decaf.errors import DecafError, SettingError

__all__ = ["SPATIAL", "FisherVectorSettings", "require"]

SPATIAL = ("none", "pyramid", "coordinates")

# Module → what pip calls it.
_PACKAGES = {
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "skimage.feature": "scikit-image",
}


@dataclass(frozen=True)
class FisherVectorSettings:
    """All that determines a Fisher vector besides the images and the seed.

    The defaults are those of Sánchez et al. 2013 where they name them (patches of 24 pixels, 64
    dimensions, 256 Gaussians), with places in the image in place of a pyramid.

    Parameters
    ----------
    side : int
        Longer side, in pixels, that larger images are reduced to. Smaller ones stay as they are,
        unless no patch fits in; they are then enlarged until one does.
    step : int
        Distance of neighbouring patches in pixels, at every scale.
    bin_size : int
        Side of one of SIFT's 4 x 4 spatial bins in pixels; a patch is four times as large.
    scales : tuple of float
        The image is taken at each of these sizes, in (0, 1], as a part of its reduced size.
    contrast : float
        Patches whose mean gradient is smaller, in grey levels a pixel, are left out: SIFT takes no
        notice of contrast, and would describe the noise of an even background as it does an object.
    components : int
        Dimensions of a descriptor that PCA keeps, at most 128.
    modes : int
        Gaussians of the mixture: the size of the vocabulary.
    spatial : {"none", "pyramid", "coordinates"}
        "pyramid": one vector for the whole image and one for each of three horizontal bands
        (Lazebnik et al. 2006; Perronnin et al. 2010, section 3.3). "coordinates": a
        descriptor ends with its place in the image (Sánchez et al. 2012).
    power : float
        Exponent of the power normalisation, in (0, 1]; 1 leaves it out.
    vocabulary_images : int
        The vocabulary is learned from at most this many images.
    vocabulary_descriptors : int
        It is learned from about this many descriptors in all.
    iterations : int
        Steps of expectation maximisation, at most.

    Raises
    ------
    SettingError
        Naming everything that is out of range.

    Examples
    --------
    >>> FisherVectorSettings(modes=64, spatial="none").width
    8256
    """

    side: int = 320
    step: int = 5
    bin_size: int = 6
    scales: tuple[float, ...] = (1.0, 2**-0.5, 0.5, 2**-1.5)
    contrast: float = 2.0
    components: int = 64
    modes: int = 256
    spatial: str = "coordinates"
    power: float = 0.5
    vocabulary_images: int = 1500
    vocabulary_descriptors: int = 100_000
    iterations: int = 15

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise SettingError("Fisher vectors: " + "; ".join(problems))

    @property
    def width(self) -> int:
        """Length of an image's vector: 2 K D + K for each of its regions."""
        dimensions = self.components + 2 * (self.spatial == "coordinates")
        return (4 if self.spatial == "pyramid" else 1) * self.modes * (2 * dimensions + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dictionary that `json` can write."""
        return {**asdict(self), "scales": list(self.scales)}


def _problems(settings: FisherVectorSettings) -> Iterator[str]:
    counts = {
        "side": 16,
        "step": 1,
        "bin_size": 2,
        "components": 1,
        "modes": 1,
        "vocabulary_images": 1,
        "vocabulary_descriptors": 1,
        "iterations": 1,
    }
    for name, least in counts.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            yield f"{name} is {value!r}, expected an integer of at least {least}"
    if isinstance(settings.components, int) and settings.components > 128:
        yield f"components is {settings.components}, of 128 that a descriptor has"
    scales = settings.scales
    if not isinstance(scales, tuple) or not scales or not all(0 < s <= 1 for s in scales):
        yield f"scales is {scales!r}, expected a tuple of numbers in (0, 1]"
    if settings.spatial not in SPATIAL:
        yield f"spatial is {settings.spatial!r}, expected one of {', '.join(SPATIAL)}"
    if not 0 <= settings.contrast < 256:
        yield f"contrast is {settings.contrast!r}, expected grey levels a pixel, 0 for no limit"
    if not 0 < settings.power <= 1:
        yield f"power is {settings.power!r}, expected a number in (0, 1]"


def require(module: str) -> Any:
    """Import a library of the extra `baselines`.

    Parameters
    ----------
    module : str
        ``"cv2"``, ``"skimage"`` or ``"skimage.feature"``.

    Raises
    ------
    DecafError
        Where it is missing, with what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DecafError(
            f"Fisher vectors need {_PACKAGES[module]} ({error}); "
            "install it with: pip install 'decaf[baselines]'"
        ) from error
