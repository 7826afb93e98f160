"""Small copies of images, as data that a page can carry."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

from decaf.errors import ImageError

__all__ = ["THUMBNAIL_HEIGHT", "thumbnail"]

# Twice what a page shows, for fine screens.
THUMBNAIL_HEIGHT = 160
_WIDEST = 280
_QUALITY = 72


def thumbnail(folder: Path, name: str) -> str | None:
    """Return a small copy of an image as a ``data:`` address.

    Parameters
    ----------
    folder : Path
        Where the images are.
    name : str
        Path of the image below `folder`, as `os.fsdecode` gives it.

    Returns
    -------
    str or None
        JPEG, at most 160 pixels high; None if the image lies elsewhere or cannot be read.
    """
    raw = os.fsencode(name) if _can_encode(name) else b"\0"
    if os.path.isabs(raw) or b".." in raw.split(b"/") or b"\0" in raw:
        return None
    from PIL import Image

    from decaf.images.decoding.decode import decode
    from decaf.images.listing.refs import ImageRef

    try:
        pixels = decode(ImageRef(os.path.join(os.fsencode(folder), raw)).load()).pixels
    except ImageError:
        return None
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((_WIDEST, THUMBNAIL_HEIGHT), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _can_encode(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair that is no byte
        return False
    return True
