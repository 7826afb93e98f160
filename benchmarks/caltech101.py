"""Caltech-101 in the protocol of the DeCAF paper: linear classifiers on frozen features.

    python benchmarks/caltech101.py --data DIR
    python benchmarks/caltech101.py --data DIR --baselines all
    python benchmarks/caltech101.py --data DIR --features clip=clip.npy --paths paths.txt

The protocol of Donahue et al. 2014, section 4.1: 30 training images of each of the 102 classes, the
background among them, all others for the test; mean per-class accuracy over five random splits; C
chosen by cross-validation in the training images of each split. DIR holds 101_ObjectCategories.
Features and finished results are kept, so that a run that was stopped goes on, and a second run
repeats the tables at once.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from arguments import make_parser, run_on_dataset, settings_of
from datasets import Dataset, read_caltech101
from harness.frozen_features import BenchmarkSettings

LAYERS = ("pool5", "fc6", "fc7")
SIZES = (1, 3, 5, 10, 15, 20, 25, 30)


def main() -> int:
    parser = make_parser(__doc__, train=30, splits="how many random splits")
    parser.add_argument(
        "--curve-layer",
        action="append",
        metavar="L",
        help="layers of the curve over training images (default: fc6, without it the last column,\n"
        "and what --features gives; none: no curve)",
    )
    args = parser.parse_args()

    def settings(_dataset: Dataset) -> BenchmarkSettings:
        chosen = settings_of(parser, args, "caltech101", LAYERS)
        usual = "fc6" if "fc6" in chosen.layers else chosen.layers[-1]
        curves = args.curve_layer or [usual, *chosen.given]
        if curves == ["none"]:
            return chosen
        return replace(
            chosen,
            curve_sizes=SIZES,
            curve_layers=tuple(curves),
            curve_heads=tuple(each for each in chosen.heads if not each.dropout),
        )

    return run_on_dataset(args, read_caltech101, settings)


if __name__ == "__main__":
    sys.exit(main())
