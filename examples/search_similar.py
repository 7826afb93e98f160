"""Images like an image: ``python examples/search_similar.py [FOLDER [IMAGE]]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import decaf

PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/pacs-mini/photo"


def main(folder: Path, query: Path | None = None) -> None:
    """Print the five images that are nearest to a query, and how good neighbours are.

    Parameters
    ----------
    folder : Path
        Images, in a folder for each class.
    query : Path, optional
        The folder's first image by default.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = decaf.extract(folder, "fc6", out=f"{scratch}/photos.h5", progress=False)
        (answer,) = decaf.search(file, query or 0, k=5).answers
        print(f"nearest to {short(answer.path)} among {len(file)} images:")
        for match in answer.matches:
            print(f"  {match.cosine:.3f}  {short(match.path)}")

        # How often are neighbours of one class? Each image is asked in turn, itself left out.
        near, own = [], [Path(path).parent.name for path in file.paths]
        answers = decaf.search(file, range(len(file)), k=5).answers
        for name, each in zip(own, answers, strict=True):
            near += [match.class_name == name for match in each.matches]
        same = sum(near) / len(near)
        chance = sum(own.count(name) - 1 for name in own) / len(own) / (len(own) - 1)
        print(f"{same:.0%} of all images' five nearest are of their class (by chance {chance:.0%})")
        file.close()


def short(path: str) -> str:
    """Return the last two parts of a path."""
    return "/".join(Path(path).parts[-2:])


if __name__ == "__main__":
    arguments = [Path(each) for each in sys.argv[1:3]] or [PHOTOS]
    main(*arguments)
