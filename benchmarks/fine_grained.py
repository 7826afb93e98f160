"""Fine-grained recognition of birds: DeCAF6 of the box and of the parts on CUB-200-2011.

    python benchmarks/fine_grained.py --data DIR
    python benchmarks/fine_grained.py --data DIR --images DIR --partial

The protocol of Donahue et al. 2014, section 4.3: the official split, features of the annotated box
enlarged 1.5 times, logistic regression; and beside them the features of head and body, the parts of
DPD (Zhang et al. 2013): where they are annotated, and where a localiser that has learned from the
training images finds them in the test images. C is chosen by cross-validation in the training
images. DIR holds CUB_200_2011 in its official layout. Features and finished results are kept, so
that a run that was stopped goes on, and a second run repeats the tables at once.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from arguments import Begin, Measured, few_images, make_parser, run_script, settings_of
from datasets import read_cub200
from harness.birds import run_fine_grained

LAYERS = ("fc6",)
# What --quick takes.
QUICK_CLASSES, QUICK_IMAGES = 10, 10


def main() -> int:
    parser = make_parser(__doc__, train=None, splits="")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="where the images are, if they are not beside the lists",
    )
    parser.add_argument(
        "--training",
        type=int,
        default=1,
        choices=(0, 1),
        help="what train_test_split.txt has for a training image (default: %(default)s)",
    )
    args = parser.parse_args()

    def measured(begin: Begin) -> Measured:
        birds = read_cub200(
            args.data,
            images=args.images,
            training=args.training,
            allow_partial=args.allow_partial or args.quick,
        )
        name = "cub200" if birds.boxes is not None else "cub200_cut"
        settings = settings_of(parser, args, name, LAYERS, official=True)
        logistic = tuple(h for h in settings.heads if h.kind == "logreg" and not h.dropout)
        run = begin(replace(settings, heads=logistic))
        if args.quick:
            labels = range(min(QUICK_CLASSES, len(birds.class_names)))
            sides = (birds.official[0].train, birds.official[0].test)
            groups = [rows[birds.labels[rows] == label] for label in labels for rows in sides]
            what = f"{len(labels)} classes on each side of the split"
            birds = few_images(birds, groups, QUICK_IMAGES, what)
        run.tell(f"{birds.name}: {len(birds):,} images of {len(birds.class_names)} classes")
        return run_fine_grained(birds, run), birds.root

    return run_script(args.out, measured)


if __name__ == "__main__":
    sys.exit(main())
