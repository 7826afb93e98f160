"""The settings that determine a Fisher vector, and the libraries that it needs."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from decaf.errors import DecafError

__all__ = ["FisherVectorSettings", "require"]

# Module → what pip calls it.
_PACKAGES = {
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "skimage.feature": "scikit-image",
}


@dataclass(frozen=True)
class FisherVectorSettings:
    """All that determines a Fisher vector besides the images.

    The defaults are those of Sánchez et al. 2013 where they name them (patches of 24 pixels, 64
    dimensions, 256 Gaussians); a descriptor ends with its place in the image (Sánchez et al. 2012)
    instead of a pyramid.

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
    vocabulary_images : int
        The vocabulary is learned from at most this many images.
    vocabulary_descriptors : int
        It is learned from about this many descriptors in all.
    iterations : int
        Steps of expectation maximisation, at most.

    Examples
    --------
    >>> FisherVectorSettings(modes=64).width
    8512
    """

    side: int = 320
    step: int = 5
    bin_size: int = 6
    scales: tuple[float, ...] = (1.0, 2**-0.5, 0.5, 2**-1.5)
    contrast: float = 2.0
    components: int = 64
    modes: int = 256
    vocabulary_images: int = 1500
    vocabulary_descriptors: int = 100_000
    iterations: int = 15

    @property
    def width(self) -> int:
        """Length of an image's vector: 2 K D + K, of D dimensions two are the place."""
        return self.modes * (2 * (self.components + 2) + 1)


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
            "install it with: pip install 'decaf-features[baselines]'"
        ) from error
