"""Are wrong labels found? Confident learning and self-confidence beside cleanlab, on 15-Scene.

    python benchmarks/label_errors.py SCENE15 --json benchmarks/results/label_errors.json

SCENE15 is the folder of 15-Scene. 5 % of its labels are changed, each to another class at random.
Heads that have not seen an image say what it is (logistic regression, five folds), and
`decaf.exploration.rank_label_errors` ranks the labels; cleanlab (pip install cleanlab) does so from
the same probabilities. Of the first 50 and 100 it is counted how many were changed: other wrong
labels that the set has count against all of them. The features are kept in ``--work``, and the
table goes to the terminal, and beside ``--json`` as Markdown.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import decaf
from datasets import read_scene15
from decaf.exploration import held_out_probabilities, rank_label_errors
from decaf.heads import LogisticRegression
from speed.machine import describe, described, parser_of, say, table_row, tell

FIRST = (50, 100)

Labels = npt.NDArray[np.int64]


def main() -> None:
    args = _arguments()
    images = read_scene15(args.data, allow_partial=args.allow_partial)
    file = args.work / "label-errors.h5"
    decaf.extract(images, [args.layer], out=file, on_error="record", progress=True)
    with decaf.open_features(file) as features:
        X, labels = features.to_xy(args.layer)
    changed = change_labels(labels, args.share, args.seed)
    say("heads that have not seen an image")
    head = LogisticRegression(args.C)
    chances = held_out_probabilities(X, changed, like=head, seed=args.seed)
    report = {
        "command": f"python benchmarks/label_errors.py SCENE15 --layer {args.layer} -C {args.C:g} "
        f"--share {args.share:g} --seed {args.seed}",
        "machine": describe(),
        "images": len(labels),
        "changed": int((changed != labels).sum()),
        "accuracy": float((chances.argmax(axis=1) == labels).mean()),
        "precision": precision(rankings(chances, changed), changed != labels),
    }
    tell(report, "Wrong labels found", _table(report), args)


def change_labels(labels: Labels, share: float, seed: int) -> Labels:
    """Change a share of the labels, each to another class at random.

    Parameters
    ----------
    labels : array of int64, shape (n,)
    share : float
    seed : int
    """
    random = np.random.default_rng(seed)
    classes = int(labels.max()) + 1
    places = random.choice(len(labels), round(share * len(labels)), replace=False)
    changed = labels.copy()
    changed[places] = (labels[places] + random.integers(1, classes, len(places))) % classes
    return changed


def rankings(chances: npt.NDArray[np.float64], given: Labels) -> dict[str, Labels]:
    """Rank labels by each method, the likeliest wrong first.

    Parameters
    ----------
    chances : array of float64, shape (n, K)
    given : array of int64, shape (n,)
    """
    orders = {
        f"decaf, {found.method}": found.order
        for found in (
            rank_label_errors(chances, given),
            rank_label_errors(chances, given, method="self-confidence"),
        )
    }
    if importlib.util.find_spec("cleanlab") is not None:
        from cleanlab.filter import find_label_issues

        for ranked_by in ("self_confidence", "normalized_margin"):
            issues = find_label_issues(given, chances, return_indices_ranked_by=ranked_by)
            orders[f"cleanlab, {ranked_by}"] = issues
    return orders


def precision(
    orders: dict[str, Labels], wrong: npt.NDArray[np.bool_]
) -> dict[str, dict[str, float]]:
    """Return for each method which share of its first 50 and 100 is wrong.

    Parameters
    ----------
    orders : dict of str to array
        From `rankings`.
    wrong : array of bool, shape (n,)
    """
    return {
        name: {str(first): float(wrong[order[:first]].mean()) for first in FIRST}
        for name, order in orders.items()
    }


def _table(report: dict[str, Any]) -> str:
    lines = [table_row("ranked by", *(f"first {first}" for first in FIRST))]
    lines += [
        table_row(name, *(f"{100 * shares[str(first)]:.0f} %" for first in FIRST))
        for name, shares in report["precision"].items()
    ]
    head = (
        f"{report['changed']} of {report['images']} labels changed; heads are right of "
        f"{100 * report['accuracy']:.1f} % of the images"
    )
    return "\n".join([described(report["machine"]), head, "", *lines])


def _arguments() -> Any:
    parser = parser_of(__doc__, "label_errors", alike=("work",))
    parser.add_argument("data", type=Path, metavar="SCENE15")
    parser.add_argument("--allow-partial", action="store_true", help="go on with an excerpt of it")
    parser.add_argument("--work", type=Path, default=Path(), help="folder for the features")
    parser.add_argument("--layer", default="fc6", help="default: fc6")
    parser.add_argument("--share", type=float, default=0.05, help="of the labels (default: 0.05)")
    parser.add_argument("-C", type=float, default=4.0, help="of the heads (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    return parser.parse_args()


if __name__ == "__main__":
    main()
