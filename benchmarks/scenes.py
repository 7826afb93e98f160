"""Scene recognition: linear classifiers on frozen features of SUN-397 and 15-Scene.

    python benchmarks/scenes.py --data DIR --dataset sun397
    python benchmarks/scenes.py --data DIR --dataset scene15

SUN-397 (Donahue et al. 2014, section 4.4): 50 training and 50 test images of each of 397 classes,
over its official partitions, of which the first five are taken. 15-Scene (Lazebnik et al. 2006):
100 training images of each class, all others for the test, over five random splits. C is chosen by
cross-validation in the training images of each split. Features and finished results are kept, so
that a run that was stopped goes on, and a second run repeats the tables at once.
"""

from __future__ import annotations

import sys

from arguments import make_parser, run_on_dataset, settings_of
from datasets import Dataset, read_scene15, read_sun397
from harness.frozen_features import BenchmarkSettings

READERS = {"sun397": read_sun397, "scene15": read_scene15}
LAYERS = {"sun397": ("fc6", "fc7"), "scene15": ("pool5", "fc6", "fc7")}
QUICK_TRAIN = 8


def main() -> int:
    parser = make_parser(__doc__, train=100, splits="how many splits")
    parser.add_argument(
        "--dataset", choices=tuple(READERS), default="sun397", help="(default: %(default)s)"
    )
    args = parser.parse_args()

    def settings(dataset: Dataset) -> BenchmarkSettings:
        if args.quick and args.dataset == "scene15":
            args.train = min(args.train, int(dataset.counts.min()) // 2, QUICK_TRAIN)
        official = args.dataset == "sun397"
        return settings_of(parser, args, args.dataset, LAYERS[args.dataset], official=official)

    return run_on_dataset(args, READERS[args.dataset], settings)


if __name__ == "__main__":
    sys.exit(main())
