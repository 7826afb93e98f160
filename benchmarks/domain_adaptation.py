"""Domain adaptation on features: Office-31, PACS, any folder of domains, or ready features.

    python benchmarks/domain_adaptation.py --data DIR
    python benchmarks/domain_adaptation.py --data DIR --features clip=clip.npy --paths paths.txt
    python benchmarks/domain_adaptation.py --features DIR

The protocol of Saenko et al. 2010 that Donahue et al. 2014 follow in section 4.2: 20 labelled
images of each class of the source (8 where that is dslr or webcam of Office), 3 of each class of
the target (none in the unsupervised setting), accuracy on the other target images, over five random
splits, for all ordered pairs of domains. DIR holds a folder for each domain, and in it one for each
class; or with --features alone MATLAB files such as amazon_SURF_L10.mat. Nothing is chosen on the
labels of the test images. Features and finished results are kept, so that a run that was stopped
goes on, and a second run repeats the tables at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from arguments import (
    Begin,
    Measured,
    add_features,
    add_run_options,
    few_images,
    protocol_settings,
    run_script,
    script_parser,
)
from datasets.domains import PROTOCOLS, DomainSet, read_domains
from datasets.feature_folder import read_feature_folder
from datasets.ready_features import ReadyFeatures, named_values, read_given_features
from decaf.backbone.weights import DEFAULT_WEIGHTS
from decaf.errors import SettingError
from harness.adaptation import (
    METHODS,
    PAIR,
    SETTINGS,
    AdaptationSettings,
    methods_of,
    run_adaptation,
)

LAYERS = ("fc6", "fc7")
# Arguments that leave out a part of the results.
_LESS = ("quick", "pairs", "splits", "layers", "methods", "setting", "allow_partial")
# What --quick takes: one split, the first layer, so many images of each class at most, and a few
# pairs: the paper's, and another with the same target, which shares what depends on that; of other
# data each domain and the next.
PAPERS = (PAIR, ("dslr", "webcam"))
QUICK_PAIRS, QUICK_IMAGES = 2, 30

Given = tuple[ReadyFeatures[DomainSet], ...]
Data = DomainSet | Given


def main() -> int:
    parser = _parser()
    args = parser.parse_args()

    def measured(begin: Begin) -> Measured:
        data, given = _read(args)
        return run_adaptation(data, begin(_settings(parser, args, data)), given), None

    return run_script(args.out, measured)


def _read(args: argparse.Namespace) -> tuple[Data, Given]:
    """Read the domains, and the features that are given beside their images."""
    if args.data is None:
        if len(args.features or ()) != 1 or args.paths:
            raise SettingError(
                "give --data DIR, with --features NAME=FILE or without; or --features DIR alone, a "
                "folder of MATLAB files"
            )
        return read_feature_folder(args.features[0]), ()
    files = named_values("--features", args.features)
    partial = args.allow_partial or args.quick
    domains = read_domains(args.data, args.protocol, allow_partial=partial)
    given = read_given_features(files, args.paths, domains)
    if not args.quick:
        return domains, given
    groups = [
        rows[domains.labels[rows] == label]
        for rows in map(domains.rows_of, domains.domains)
        for label in range(len(domains.class_names))
    ]
    return few_images(domains, groups, QUICK_IMAGES, "each class and domain"), given


def _settings(
    parser: argparse.ArgumentParser, args: argparse.Namespace, data: Data
) -> AdaptationSettings:
    is_images = isinstance(data, DomainSet)
    domains = data if isinstance(data, DomainSet) else data[0].dataset
    pairs = tuple(_pair(text) for text in args.pairs or ())
    layers = tuple(args.layers or (LAYERS if is_images else ()))
    target = args.target
    if args.quick:
        names = domains.domains
        ring = zip(names, (*names[1:], names[0]), strict=True)
        known = [pair for pair in PAPERS if pair in domains.pairs]
        pairs = pairs or tuple(dict.fromkeys([*known, *ring]))[:QUICK_PAIRS]
        layers = tuple(args.layers or layers[:1])
        target = max(1, min(target, min(int(domains.counts_of(d).min()) for d in names) - 1))
    stem = {"Office-31": "office31", "PACS": "pacs"}.get(domains.name)
    stem = stem or "".join(c if c.isascii() and c.isalnum() else "_" for c in domains.name)
    common = protocol_settings(
        parser,
        args,
        f"domain_adaptation-{stem.lower()[:30]}",
        layers,
        less=_LESS,
        alike=("paths", "protocol", *(() if is_images else ("features",))),
        given=args.features if is_images else None,
        several=("--weights",),
    )
    return AdaptationSettings(
        **vars(common),
        methods=METHODS if args.methods is None else methods_of(args.methods),
        pairs=pairs,
        settings=SETTINGS if args.setting == "both" else (args.setting,),
        source_per_class=args.source,
        target_per_class=target,
        take_fewer=args.quick,
        C=_C(args.C),
    )


def _pair(text: str) -> tuple[str, str]:
    source, colon, target = text.partition(":")
    if not colon:
        raise SettingError(f"--pairs {text}: expected SOURCE:TARGET, such as amazon:webcam")
    return source, target


def _C(text: str) -> float | str:
    try:
        return text if text == "cv" else float(text)
    except ValueError:
        raise SettingError(f"--C {text}: expected a number above 0, or cv") from None


def _parser() -> argparse.ArgumentParser:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="domains as folders of images")
    add_features(parser, ";\nwithout --data, DIR: domains as MATLAB files")
    add("--quick", action="store_true", help="one split of a few pairs, in under two minutes")
    add("--protocol", choices=PROTOCOLS, default="auto", help="the data set (default: auto)")
    add(
        "--layers",
        nargs="+",
        metavar="L",
        help="a column each (default: fc6 fc7); of --features the kinds (default: all)",
    )
    add("--weights", nargs="+", metavar="W", help=f"columns each (default: {DEFAULT_WEIGHTS})")
    add("--pairs", nargs="+", metavar="S:T", help="such as amazon:webcam (default: all)")
    keys = ", ".join(method.key for method in METHODS)
    add("--methods", nargs="+", metavar="M", help=f"rows (default: all): of\n{keys}")
    add("--setting", choices=(*SETTINGS, "both"), default="both", help="(default: both)")
    add(
        "--splits",
        default="5",
        metavar="N|FILE",
        help="how many random splits, or a manifest of an earlier run (default: 5)",
    )
    add("--source", type=int, metavar="N", help="labelled source images a class")
    add(
        "--target",
        type=int,
        default=3,
        metavar="N",
        help="labelled target images a class (default: 3)",
    )
    add("--C", default="cv", help="of the heads; cv chooses it (default: cv)")
    add("--seed", type=int, default=0, help="of splits and methods (default: 0)")
    add_run_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
