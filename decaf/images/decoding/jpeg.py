"""JPEG to pixels: by simplejpeg, and by torchvision's decoder where that one objects to a file.

Both give the pixels of libjpeg-turbo. simplejpeg needs neither torch nor torchvision, whose imports
take seconds of each decoding process; it refuses whatever libjpeg warns of, such as bytes between
two segments, and it is torchvision's decoder that says which of these files can be read.
"""

from __future__ import annotations

import functools
import importlib.metadata

import numpy as np
import numpy.typing as npt
import simplejpeg

from decaf.images.decoding import torchvision_jpeg

__all__ = ["decode_jpeg", "decoder_versions"]

# torchvision.io.ImageReadMode
_RGB = 3


def decode_jpeg(data: bytes | bytearray | memoryview) -> npt.NDArray[np.uint8] | None:
    """Decode a JPEG file of one or three components that is coded by Huffman's codes.

    Parameters
    ----------
    data : bytes-like
        The whole file.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3), or None
        RGB, as stored, whatever EXIF says of its orientation. None where simplejpeg has refused the
        file and torchvision's decoder is not to be had.

    Raises
    ------
    Exception
        Whatever torchvision's decoder raises of a damaged file.
    """
    try:
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=False, fastupsample=False
        )
    except ValueError:
        decoder = torchvision_jpeg.jpeg_decoder()
        if decoder is None:
            return None
        import torch

        # A bytes object is read-only, and torch warns of it; a copy takes microseconds.
        tensor = decoder(torch.frombuffer(bytearray(data), dtype=torch.uint8), _RGB, False)
        pixels = tensor.permute(1, 2, 0).numpy()
    return pixels


def decoder_versions() -> dict[str, str]:
    """Tell which decoders are in use, for the record of a run.

    Returns
    -------
    dict of str to str
        Version of Pillow and of simplejpeg, and of torchvision where its decoder can be used.
    """
    names = ["pillow", "simplejpeg"]
    if torchvision_jpeg.jpeg_decoder() is not None:
        names.append("torchvision")
    return {name: _installed_version(name) for name in names}


@functools.cache
def _installed_version(name: str) -> str:
    # Once a process: what is installed under it may be replaced while it runs, or out of its reach.
    return importlib.metadata.version(name)
