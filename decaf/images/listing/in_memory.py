"""Images that are in memory, or that a data set of torch's makes on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from decaf.errors import InputError

__all__ = ["dataset_labels", "is_dataset", "is_image_object", "split_array", "unwrap"]

_IMAGE_TYPES = frozenset(
    (("PIL.Image", "Image"), ("numpy", "ndarray"), ("torch", "Tensor"), ("torch._tensor", "Tensor"))
)


def is_image_object(value: Any) -> bool:
    """Tell whether something is a PIL image, array or tensor, without importing PIL or torch."""
    return any((t.__module__, t.__name__) in _IMAGE_TYPES for t in type(value).__mro__)


def is_dataset(value: Any) -> bool:
    """Tell whether something has a length and gives items, as a map-style torch Dataset does."""
    return (
        hasattr(type(value), "__len__")
        and hasattr(type(value), "__getitem__")
        and not isinstance(value, (str, bytes, bytearray, memoryview, dict))
    )


def split_array(array: np.ndarray) -> Sequence[np.ndarray]:
    """Check that an array is a batch of images, which its rows then are.

    Raises
    ------
    InputError
        If it is not uint8 ``(N, H, W, C)`` or ``(N, H, W)``.
    """
    right = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3, 4))
    if array.ndim == 3 and array.shape[2] in (3, 4):
        raise InputError(
            f"array of shape {array.shape} looks like one image; give a list of it, or (N, H, W, 3)"
        )
    if not right or array.dtype != np.uint8:
        raise InputError(
            f"array of shape {array.shape} and type {array.dtype}; expected (N, H, W, 3) uint8"
        )
    return array  # type: ignore[return-value]  # an array is a sequence of its rows


def unwrap(item: Any) -> Any:
    """Return the image of a data set's item, which may be (image, label, …) or a mapping.

    >>> unwrap(("image", 3))
    'image'
    """
    if isinstance(item, (tuple, list)) and item:
        return item[0]
    if isinstance(item, dict):
        for key in ("image", "img", "pixel_values"):
            if key in item:
                return item[key]
    return item


def dataset_labels(dataset: Any) -> tuple[list[int] | None, tuple[str, ...]]:
    """Return the labels and class names that a data set can tell without making its images.

    Torchvision's data sets keep them in ``targets`` (or ``labels``) and ``classes``; a
    `torch.utils.data.Subset` is looked through.

    Returns
    -------
    labels : list of int or None
        One for each item, or None.
    class_names : tuple of str
    """
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None:
        labels, class_names = dataset_labels(inner)
        return (None if labels is None else [labels[i] for i in indices]), class_names
    class_names = _texts(getattr(dataset, "classes", None))
    for name in ("targets", "labels"):
        labels = _integers(getattr(dataset, name, None))
        if labels is not None and len(labels) == len(dataset):
            inside = all(-1 <= label < len(class_names) for label in labels)
            return labels, class_names if inside else ()
    return None, ()


def _integers(values: Any) -> list[int] | None:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, (list, tuple)):
        return None
    if not all(isinstance(v, (int, np.integer)) and v >= -1 for v in values):
        return None
    return [int(v) for v in values]


def _texts(values: Any) -> tuple[str, ...]:
    right = isinstance(values, (list, tuple)) and all(isinstance(v, str) for v in values)
    return tuple(values) if right else ()
