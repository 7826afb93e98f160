"""Images: sources, decoding, and preprocessing as recorded data.

Decoding is imported from its modules: `decaf.images.decoding.decode` and `decaf.images.preprocess`.
"""

from __future__ import annotations

from decaf.images.listing.image_list import ImageList
from decaf.images.listing.image_ref import ImageRef
from decaf.images.listing.names import path_text
from decaf.images.listing.recognise import is_kind
from decaf.images.listing.settings import ListingSettings
from decaf.images.listing.sources import collect
from decaf.images.spec import PreprocessSpec, named_preprocess, override_preprocess
from decaf.images.status import STATUS_NAMES, status_code

__all__ = [
    "STATUS_NAMES",
    "ImageList",
    "ImageRef",
    "ListingSettings",
    "PreprocessSpec",
    "collect",
    "is_kind",
    "named_preprocess",
    "override_preprocess",
    "path_text",
    "status_code",
]
