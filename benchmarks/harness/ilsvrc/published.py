"""The numbers of Krizhevsky et al. 2012 and of the challenge that they won."""

from __future__ import annotations

from decaf.train import Pack

__all__ = [
    "CHALLENGE",
    "CHALLENGE_TABLE",
    "CLASSES",
    "PAPER",
    "TABLE_1",
    "TABLE_2",
    "TEST_IMAGES",
    "TRAIN_IMAGES",
    "departures",
]

PAPER = "Krizhevsky et al. 2012"

CLASSES = 1000
TRAIN_IMAGES, TEST_IMAGES = 1_281_167, 50_000  # of ILSVRC-2012, for training and validation

# Errors in percent. ILSVRC-2010, on its test images: top-1, top-5; the last row is from the
# footnote of section 6.1.
TABLE_1: dict[str, tuple[float, float]] = {
    "Sparse coding": (47.1, 28.2),
    "SIFT + FVs": (45.7, 25.7),
    "CNN": (37.5, 17.0),
    "CNN, centre crop alone": (39.0, 18.3),
}

# ILSVRC-2012: validation top-1, validation top-5, test top-5.
TABLE_2: dict[str, tuple[float | None, float | None, float | None]] = {
    "SIFT + FVs": (None, None, 26.2),
    "1 CNN": (40.7, 18.2, None),
    "5 CNNs": (38.1, 16.4, 16.4),
    "1 CNN*": (39.0, 16.6, None),
    "7 CNNs*": (36.7, 15.4, 15.3),
}

# Top-5 error on the test images, and the row of ours that stands beside.
CHALLENGE_TABLE: tuple[tuple[str, float, str], ...] = (
    ("SuperVision, with Fall 2011's images", 15.315, "7 CNNs*"),
    ("SuperVision", 16.422, "5 CNNs"),
    ("ISI", 26.172, ""),
    ("XRCE/INRIA", 27.058, ""),
    ("OXFORD_VGG, baseline", 27.302, ""),
)
CHALLENGE = "ILSVRC-2012, results of task 1: best entry of a team, or as said"


def departures(pack: Pack, split: str) -> list[str]:
    """Tell in what a pack is not ILSVRC-2012.

    Parameters
    ----------
    pack : Pack
    split : str
        The split that is measured on.

    Returns
    -------
    list of str
        A clause for each; empty where it has as many classes and images.
    """
    counts = (
        (len(pack.wnids), CLASSES, "classes"),
        (len(pack.splits["train"]), TRAIN_IMAGES, "training images"),
        (len(pack.splits[split]), TEST_IMAGES, "test images"),
    )
    return [f"{have:,} {what}, not {paper:,}" for have, paper, what in counts if have != paper]
