"""Images like an image: ``python examples/search_similar.py [FOLDER [IMAGE]]``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import decaf

PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/pacs-mini/photo"


def unit_rows(paths: list[Path]) -> np.ndarray:
    """Return fc6 of images as rows of length 1: their products are cosines."""
    X = decaf.extract(paths, "fc6", progress=False)
    rows: np.ndarray = X / np.linalg.norm(X, axis=1, keepdims=True)
    return rows


def main(folder: Path, query: Path | None = None) -> None:
    """Print the five images that are nearest to a query.

    Parameters
    ----------
    folder : Path
        Images, in a folder for each class.
    query : Path, optional
        The folder's first image by default.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = unit_rows(paths)
    if query is None:
        query, row = paths[0], rows[0]
    else:
        row = unit_rows([query])[0]
    print(f"nearest to {query.parent.name}/{query.name} among {len(paths)} images:")
    similarity = rows @ row
    others = [place for place in np.argsort(-similarity) if paths[place] != query]
    for place in others[:5]:
        path = paths[place]
        print(f"  {similarity[place]:.3f}  {path.parent.name}/{path.name}")

    # How often are neighbours of one class? Each image is asked in turn, itself left out.
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    nearest = np.argsort(-cosines, axis=1)[:, :5]
    classes = np.array([path.parent.name for path in paths])
    same = (classes[nearest] == classes[:, None]).mean()
    by_chance = ((classes[:, None] == classes).sum(1) - 1).mean() / (len(classes) - 1)
    print(f"{same:.0%} of all images' five nearest are of their class (by chance {by_chance:.0%})")


if __name__ == "__main__":
    arguments = [Path(each) for each in sys.argv[1:3]] or [PHOTOS]
    main(*arguments)
