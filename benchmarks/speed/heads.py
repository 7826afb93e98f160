"""How fast are the heads? decaf's batched solver beside scikit-learn, on one training matrix.

    python benchmarks/speed/heads.py FEATURES

FEATURES is a feature file of labelled images, or a folder with a folder of images for each class,
from which the layer is extracted first (best Caltech-101). ``--synthetic`` makes up 102 classes of
4,096 dimensions instead. Four questions are answered:

- one fit of all classes, on the features as they are and on features of mean norm 1, the same
  problem given to both: scikit-learn's LinearSVC (squared hinge) and LogisticRegression
  (multinomial, L-BFGS) beside decaf, from the matrix to the coefficients, Gram matrix and all. They
  take turns; the ratio is that of the medians;
- is it the same optimum: the objective of both, in float64, by the same formula, and how many rows
  (of training and of test) get the same class. scikit-learn's default tolerance leaves it short of
  the optimum for some problems, so LogisticRegression is also timed with the largest of a few
  tolerances that brings it within 1e-4 of decaf's objective; where none does, with the last. decaf
  must not lie above scikit-learn by more than 1e-4, and where scikit-learn has come to the optimum,
  99.9 % of the training rows must agree. The run fails where they do not. Where
  scikit-learn-intelex is installed, its LogisticRegression (oneDAL's L-BFGS) is fitted with every
  tolerance too; LinearSVC it leaves as it is;
- one fold of a search: the eight Cs of decaf's grid, each fitted by LinearSVC and all together by
  decaf, on four fifths of the training rows of mean norm 1, with a tolerance of 1e-3; how many of
  the rows held out get the same class from both (over all Cs), and at how many Cs scikit-learn
  stopped at max_iter. A search needs five such folds and a fit;
- a whole column of the table: LinearSVM (and with ``--all`` the other heads) with C chosen by a
  five-fold search over eight values, then fitted, on five splits.

The result goes to ``--json`` (and as Markdown beside it), and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, described, parser_of, say, table_row, tell
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

import decaf
from decaf.heads import LinearSVM
from decaf.heads import LogisticRegression as BatchedRegression
from decaf.heads.solver import Problem, cross_decisions, solve
from decaf.images.listing.draws import draw_order

try:
    from sklearnex.linear_model import LogisticRegression as IntelRegression
except ImportError:
    IntelRegression = None

NEAR = 1e-4  # of the objective, relative
ALIKE = 0.999  # of the predictions
SPEEDUP = {"squared_hinge": 30.0, "multinomial": 4.0}
NAMES = {"squared_hinge": "SVM (squared hinge)", "multinomial": "logistic (multinomial)"}
COLUMN_SECONDS = 300.0

_row = partial(table_row, width=42)


def main() -> None:
    args = _arguments()
    X, codes = _features(args)
    classes = int(codes.max()) + 1
    splits = [_split(codes, args.per_class, seed) for seed in range(args.splits)]
    train, test = splits[0]
    report: dict[str, Any] = {
        "machine": describe(),
        "command": _command(args),
        "rows": len(train),
        "dimensions": X.shape[1],
        "classes": classes,
        "fits": [],
        "columns": [],
    }
    solve(Problem(X[train[:200]], codes[train[:200]] % 2, 2), "squared_hinge", 1.0)  # warm up
    norm = float(np.sqrt(np.square(X[train], dtype=np.float64).sum(1).mean()))
    for label, factor, C in (("as they are", 1.0, 1.0), ("mean norm 1", 1 / norm, args.C)):
        scaled = X * np.float32(factor)
        for loss in SPEEDUP:
            say(f"{NAMES[loss]}, features {label}, C = {C:g}")
            fit = _compare(scaled, codes, train, test, loss, C, args.rounds)
            report["fits"].append({"features": label, "C": C, "loss": loss, **fit})
    say("SVM, one fold of a search")
    report["fold"] = _fold(X[train] / np.float32(norm), codes[train])
    for name, head in _heads(args.all).items():
        say(f"{name}, C by search, {len(splits)} splits")
        report["columns"].append({"head": name, **_column(X, codes, splits, head)})
    tell(report, "Speed of the heads", _table(report), args)
    wrong = [problem for fit in report["fits"] for problem in fit["wrong"]]
    if wrong:
        sys.exit("; ".join(wrong))


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "heads")
    parser.add_argument("features", type=Path, nargs="?", help="feature file, or folder of images")
    parser.add_argument("--synthetic", action="store_true", help="make features up")
    parser.add_argument("--layer", default="fc6", help="of the network (default: fc6)")
    parser.add_argument("--per-class", type=int, default=30, help="training rows (default: 30)")
    parser.add_argument("--splits", type=int, default=5, help="of the column (default: 5)")
    parser.add_argument("--rounds", type=int, default=1, help="fits of each (default: 1)")
    parser.add_argument(
        "--C", type=float, default=10.0, help="for features of mean norm 1 (default: 10)"
    )
    parser.add_argument("--all", action="store_true", help="columns of all heads, with dropout too")
    args = parser.parse_args()
    if (args.features is None) != args.synthetic:
        parser.error("give either FEATURES or --synthetic")
    return args


def _command(args: argparse.Namespace) -> str:
    """Spell the command without the paths of this machine."""
    words = ["python benchmarks/speed/heads.py"]
    words += ["--synthetic"] if args.synthetic else ["FEATURES", f"--layer {args.layer}"]
    words += [f"--per-class {args.per_class}", f"--splits {args.splits}"]
    words += [f"--rounds {args.rounds}", f"--C {args.C:g}"] + (["--all"] if args.all else [])
    return " ".join(words)


def _features(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows that have a label, in float32, and their classes numbered from 0."""
    if args.synthetic:
        rng = np.random.default_rng(0)
        codes = np.repeat(np.arange(102), args.per_class + 20)
        hidden = rng.normal(size=(102, 64)).astype(np.float32)[codes]
        hidden += 1.5 * rng.normal(size=hidden.shape).astype(np.float32)
        mixing = rng.normal(size=(64, 4096)).astype(np.float32)
        return np.maximum(hidden @ mixing / 4 - 1, 0), codes
    if args.features.is_dir():
        with tempfile.TemporaryDirectory(prefix="decaf-heads-") as scratch:
            out = Path(scratch) / "features.h5"
            decaf.extract(
                args.features, args.layer, out=out, on_error="record", progress=True
            ).close()
            return _rows(out, args.layer)
    return _rows(args.features, args.layer)


def _rows(path: Path, layer: str) -> tuple[np.ndarray, np.ndarray]:
    with decaf.open_features(path) as file:
        X, labels = file.to_xy(layer)
    X, labels = X[labels >= 0], labels[labels >= 0]
    _, codes = np.unique(labels, return_inverse=True)
    return X.astype(np.float32, copy=False), codes.astype(np.int64)


def _split(codes: np.ndarray, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the training rows of each class; the others are for test."""
    keys = [b"%d" % row for row in range(len(codes))]
    orders = draw_order(codes, keys, salt=b"%d/" % seed)
    train = np.concatenate([np.sort(order[:per_class]) for order in orders])
    return train, np.setdiff1d(np.arange(len(codes)), train)


def _compare(
    X: np.ndarray,
    codes: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    loss: str,
    C: float,
    rounds: int,
) -> dict[str, Any]:
    rows, labels = X[train], codes[train]
    classes = int(codes.max()) + 1
    ours, theirs = [], []
    intel: dict[str, Any] = {}
    for _ in range(rounds):
        began = time.perf_counter()
        solution = solve(Problem(rows, labels, classes), loss, C)
        ours.append(time.perf_counter() - began)
        model, seconds, gave_up = _fit_theirs(rows, labels, loss, C, 1e-4)
        theirs.append(seconds)
    mine = _objective(rows, labels, loss, C, solution.coef, solution.intercept)
    best = _objective(rows, labels, loss, C, model.coef_, model.intercept_)
    by_default = best / mine - 1
    tol, pressed = 1e-4, statistics.median(theirs)
    while loss == "multinomial" and best / mine - 1 > NEAR / 100 and tol > 1e-7:
        tol /= 10
        model, pressed, gave_up = _fit_theirs(rows, labels, loss, C, tol)
        best = _objective(rows, labels, loss, C, model.coef_, model.intercept_)
    if loss == "multinomial" and IntelRegression is not None:
        tol_of_intel, above = 1e-3, math.inf
        while above > NEAR / 100 and tol_of_intel > 1e-7:
            tol_of_intel /= 10
            other, seconds, stopped = _fit_theirs(
                rows, labels, loss, C, tol_of_intel, IntelRegression
            )
            above = _objective(rows, labels, loss, C, other.coef_, other.intercept_) / mine - 1
            intel.setdefault("s", []).append(round(seconds, 3))
            intel.setdefault("above", []).append(above)
        intel["gave_up"] = stopped
    alike = {}
    for part, chosen in (("training", train), ("test", test)):
        one = (X[chosen] @ solution.coef.T + solution.intercept).argmax(1)
        other = (X[chosen] @ model.coef_.T + model.intercept_).argmax(1)
        alike[part] = float((one == other).mean())
    excess = mine / best - 1
    wrong = []
    if not solution.converged:
        wrong.append(f"{loss}, C = {C:g}: decaf did not converge, gap {solution.gap:.1e}")
    if excess > NEAR:
        wrong.append(f"{loss}, C = {C:g}: decaf lies {excess:.1e} above scikit-learn")
    if abs(excess) <= NEAR and alike["training"] < ALIKE:
        wrong.append(f"{loss}, C = {C:g}: predictions agree on {alike['training']:.4f} only")
    return {
        "decaf_s": [round(s, 3) for s in ours],
        "sklearn_s": [round(s, 3) for s in theirs],
        "ratio": round(statistics.median(theirs) / statistics.median(ours), 2),
        "sklearn_above_by_default": by_default,
        "sklearn_pressed_s": round(pressed, 3),
        "sklearn_pressed_tol": tol,
        "ratio_pressed": round(pressed / statistics.median(ours), 2),
        "target": SPEEDUP[loss],
        "decaf_objective": mine,
        "decaf_gap": solution.gap,
        "sklearn_objective": best,
        "excess": excess,
        "sklearn_gave_up": gave_up,
        "alike": alike,
        "intelex": intel,
        "wrong": wrong,
    }


def _fold(X: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
    """Fit all Cs of the grid on one fold, by decaf and one by one by scikit-learn."""
    Cs, classes = LinearSVM.default_Cs, int(codes.max()) + 1
    kept, held = next(StratifiedKFold(5, shuffle=True, random_state=0).split(X, codes))
    began = time.perf_counter()
    problem = Problem(X, codes, classes)
    (scores,) = cross_decisions(problem, "squared_hinge", Cs, [(kept, held)])
    ours = time.perf_counter() - began
    theirs, gave_up, alike = [], 0, []
    for C, decisions in zip(Cs, scores.decisions, strict=True):
        model, seconds, stopped = _fit_theirs(X[kept], codes[kept], "squared_hinge", C, 1e-3)
        theirs.append(round(seconds, 2))
        gave_up += stopped
        alike.append(float((model.predict(X[held]) == decisions.argmax(1)).mean()))
    return {
        "C": list(Cs),
        "decaf_s": round(ours, 3),
        "sklearn_s": theirs,
        "ratio": round(sum(theirs) / ours, 1),
        "sklearn_gave_up": gave_up,
        "alike": alike,
    }


def _fit_theirs(
    X: np.ndarray,
    codes: np.ndarray,
    loss: str,
    C: float,
    tol: float,
    regression: Any = LogisticRegression,
) -> tuple[Any, float, bool]:
    """Fit scikit-learn's estimator; give it, the seconds, and whether it gave up."""
    if loss == "multinomial":
        model = regression(C=C, tol=tol, max_iter=10_000 if tol < 1e-4 else 1000)
    else:
        model = LinearSVC(C=C, loss=loss, tol=tol)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        began = time.perf_counter()
        model.fit(X, codes)
        seconds = time.perf_counter() - began
    return model, seconds, any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _objective(
    X: np.ndarray, codes: np.ndarray, loss: str, C: float, coef: np.ndarray, b: np.ndarray
) -> float:
    """½‖w‖² + C Σ loss in float64, with ½b² for the SVM, as LIBLINEAR minimises it."""
    decisions = X.astype(np.float64) @ coef.T.astype(np.float64) + b
    rows = np.arange(len(codes))
    norm = 0.5 * float(np.square(coef, dtype=np.float64).sum())
    if loss == "multinomial":
        return norm + C * float((logsumexp(decisions, 1) - decisions[rows, codes]).sum())
    signs = np.full(decisions.shape, -1.0)
    signs[rows, codes] = 1.0
    hinge = np.maximum(0, 1 - signs * decisions)
    return norm + 0.5 * float(np.square(b, dtype=np.float64).sum()) + C * float((hinge**2).sum())


def _heads(everything: bool) -> dict[str, Callable[[], Any]]:
    heads: dict[str, Callable[[], Any]] = {"SVM": lambda: LinearSVM("cv")}
    if everything:
        heads["LogReg"] = lambda: BatchedRegression("cv")
        heads["SVM with dropout"] = lambda: LinearSVM("cv", dropout=0.5)
        heads["LogReg with dropout"] = lambda: BatchedRegression("cv", dropout=0.5)
    return heads


def _column(
    X: np.ndarray,
    codes: np.ndarray,
    splits: list[tuple[np.ndarray, np.ndarray]],
    make: Callable[[], Any],
) -> dict[str, Any]:
    """Fit with a search on every split; accuracy is the mean over the classes of the test rows."""
    seconds, scores, chosen, noted = [], [], [], []
    for train, test in splits:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            began = time.perf_counter()
            head = make().fit(X[train], codes[train])
            seconds.append(round(time.perf_counter() - began, 2))
        right = head.predict(X[test]) == codes[test]
        scores.append(
            float(np.mean([right[codes[test] == k].mean() for k in np.unique(codes[test])]))
        )
        chosen.append(float(head.C_))
        noted += sorted({str(w.message) for w in caught})
    return {
        "seconds": seconds,
        "total_s": round(sum(seconds), 2),
        "C": chosen,
        "accuracy": [round(score, 4) for score in scores],
        "warnings": noted,
    }


def _table(report: dict[str, Any]) -> str:
    lines = [
        described(report["machine"]),
        f"{report['rows']} rows, {report['dimensions']} dimensions, {report['classes']} classes",
        "",
        _row("one fit", "C", "decaf s", "sklearn s", "ratio", "above", "optimum s", "ratio"),
    ]
    for fit in report["fits"]:
        star = "*" if fit["sklearn_gave_up"] else ""
        lines.append(
            _row(
                f"{NAMES[fit['loss']]}, {fit['features']}",
                f"{fit['C']:g}",
                f"{statistics.median(fit['decaf_s']):.2f}",
                f"{statistics.median(fit['sklearn_s']):.2f}{star}",
                f"{fit['ratio']:.1f}",
                f"{fit['sklearn_above_by_default']:+.0e}",
                f"{fit['sklearn_pressed_s']:.2f}",
                f"{fit['ratio_pressed']:.1f}",
            )
        )
    targets = ", ".join(f"{NAMES[loss]} {ratio:.0f}" for loss, ratio in SPEEDUP.items())
    lines += [
        "above: scikit-learn's objective above decaf's at its default tolerance, relative;",
        "optimum s: with the tolerance that brings it there; targets of the ratio: " + targets,
        "",
        _row("the same optimum", "C", "gap", "excess", "training", "test"),
    ]
    lines += [
        _row(
            f"{NAMES[fit['loss']]}, {fit['features']}",
            f"{fit['C']:g}",
            f"{fit['decaf_gap']:.0e}",
            f"{fit['excess']:+.0e}",
            f"{fit['alike']['training']:.4f}",
            f"{fit['alike']['test']:.4f}",
        )
        for fit in report["fits"]
    ]
    lines += [
        "gap: decaf's certified bound; excess: decaf's objective above scikit-learn's, relative;",
        "training, test: share of the rows that get the same class from both",
    ]
    if any(fit["sklearn_gave_up"] for fit in report["fits"]):
        lines.append("* scikit-learn stopped at max_iter, before its own tolerance")
    if any(fit["intelex"] for fit in report["fits"]):
        lines += [
            "",
            _row("scikit-learn-intelex", "C", "s", "ratio", "above", "optimum s", "ratio"),
        ]
    for fit in report["fits"]:
        if intel := fit["intelex"]:
            ours = statistics.median(fit["decaf_s"])
            lines.append(
                _row(
                    f"{NAMES[fit['loss']]}, {fit['features']}",
                    f"{fit['C']:g}",
                    f"{intel['s'][0]:.2f}",
                    f"{intel['s'][0] / ours:.1f}",
                    f"{intel['above'][0]:+.0e}",
                    f"{intel['s'][-1]:.2f}" + ("*" if intel["gave_up"] else ""),
                    f"{intel['s'][-1] / ours:.1f}",
                )
            )
    fold = report["fold"]
    lines += [
        "",
        _row("one fold of a search", "Cs", "decaf s", "sklearn s", "ratio", "alike"),
        _row(
            "SVM (squared hinge), mean norm 1",
            str(len(fold["C"])),
            f"{fold['decaf_s']:.2f}",
            f"{sum(fold['sklearn_s']):.2f}" + ("*" if fold["sklearn_gave_up"] else ""),
            f"{fold['ratio']:.1f}",
            f"{statistics.mean(fold['alike']):.4f}",
        ),
    ]
    if fold["sklearn_gave_up"]:
        lines.append(f"* of which {fold['sklearn_gave_up']} fits stopped at max_iter")
    lines += ["", _row("C by search, then fitted", "splits", "total s", "a split", "accuracy")]
    for column in report["columns"]:
        lines.append(
            _row(
                column["head"],
                str(len(column["seconds"])),
                f"{column['total_s']:.1f}",
                f"{statistics.median(column['seconds']):.1f}",
                f"{100 * statistics.mean(column['accuracy']):.2f}",
            )
        )
    lines.append(f"target for the SVM column of five splits: {COLUMN_SECONDS:.0f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
