"""Any folder of classes: one folder a class, its images in it or below it."""

from __future__ import annotations

import os

from datasets.dataset import Dataset, make_dataset
from decaf.errors import InputError
from decaf.images.listing.folders import list_folder
from decaf.images.listing.labels import class_of

__all__ = ["read_class_folders"]


def read_class_folders(root: str | bytes | os.PathLike[str], *, name: str = "") -> Dataset:
    """List the images of a folder of class folders in their place.

    Parameters
    ----------
    root : path
    name : str
        What to call the data set; the folder's name when not given.

    Returns
    -------
    Dataset
        All images below the class folders, as `decaf.extract` lists them.

    Raises
    ------
    InputError
        If there are no images, images that lie in no class folder, or fewer than two classes.
    """
    top = os.fsencode(root)
    prefix = len(os.path.join(top, b""))
    images = []
    loose = []
    for path in list_folder(top):
        relative = path[prefix:]
        folder = class_of(relative)
        if folder is None:
            loose.append(os.fsdecode(relative))
        else:
            images.append((relative, path, folder.decode("utf-8", "backslashreplace")))
    if loose:
        raise InputError(
            f"{os.fsdecode(top)}: {len(loose)} images lie in no class folder (such as "
            f"{loose[0]!r}); expected a folder for each class, with its images"
        )
    return make_dataset(name or os.path.basename(os.path.abspath(os.fsdecode(top))), top, images)
