"""How long does adaptation take, and how much memory? Every method of decaf.adapt, one by one.

    python benchmarks/speed/adaptation.py

Two made-up domains stand for a layer of a network: 3,000 source rows with classes and 1,000 target
rows of 4,096 dimensions, not negative, of falling variances, 31 classes. Three target rows of each
class are labelled; MMDT, feature augmentation and the baselines learn from those. Each method is
fitted in a process of its own, with its default settings and a linear SVM on top, and reports

- the seconds of the fit, by the clock and of all processors together, and those of predicting all
  target rows. Loading libraries does not count;
- the peak memory of the process, and what of it was there before the fit (libraries and rows);
- its accuracy on the target rows without labels: of made-up rows it says only that the fit was one.

The target is 30 seconds and 2 GB for each. ``--growth`` fits again with half and a quarter of the
rows, which shows how the cost grows with them, and ``--sizes`` sets others than these: pairs of
source and target rows. The result goes to ``--json`` (and as Markdown beside it), and as a table to
the terminal. The run fails where a fit did not end well, or an accuracy is no better than chance.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import Any

import numpy as np
from machine import describe, described, parser_of, table_row, tell

import decaf.adapt
from decaf.runtime.memory import peak_memory

METHODS = (
    "SourceOnly",
    "TargetOnly",
    "SourceAndTarget",
    "FeatureAugmentation",
    "MMDT",
    "GFK",
    "DLID",
    "CORAL",
    "SubspaceAlignment",
    "TCA",
    "JDA",
    "OptimalTransport",
)
SECONDS, MEGABYTES = 30.0, 2048.0
CLASSES, DIMENSIONS, LABELLED = 31, 4096, 3

_row = partial(table_row, width=20)


def main() -> None:
    args = _arguments()
    if args.measure:
        n_s, n_t = args.sizes[0]
        print(json.dumps(_measure(args.measure, n_s, n_t, args.dimensions)))
        return
    report: dict[str, Any] = {
        "machine": describe(),
        "command": _command(args),
        "dimensions": args.dimensions,
        "classes": CLASSES,
        "fits": [],
    }
    for n_s, n_t in args.sizes:
        for name in args.methods:
            runs = [_run(name, n_s, n_t, args.dimensions) for _ in range(args.rounds)]
            report["fits"].append({"method": name, "source": n_s, "target": n_t, "runs": runs})
            print(f"{name}, {n_s} + {n_t} rows: {runs[-1]}", file=sys.stderr, flush=True)
    tell(report, "Speed of adaptation", _table(report), args)
    wrong = [f"{fit['method']}: {problem}" for fit in report["fits"] for problem in _wrong(fit)]
    if wrong:
        sys.exit("; ".join(wrong))


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "adaptation")
    parser.add_argument(
        "--sizes",
        type=_pair,
        nargs="+",
        metavar="S,T",
        default=[(3000, 1000)],
        help="source and target rows (default: 3000,1000)",
    )
    parser.add_argument("--growth", action="store_true", help="half and a quarter of the rows, too")
    parser.add_argument("--dimensions", type=int, default=DIMENSIONS, help="(default: 4096)")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=METHODS, help="(default: all)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="fits of each (default: 1)")
    parser.add_argument("--measure", choices=METHODS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.growth:
        n_s, n_t = args.sizes[0]
        args.sizes += [(n_s // 2, n_t // 2), (n_s // 4, n_t // 4)]
    if any(n_s < 2 * CLASSES or n_t < (LABELLED + 1) * CLASSES for n_s, n_t in args.sizes):
        parser.error(f"at least {2 * CLASSES} source and {(LABELLED + 1) * CLASSES} target rows")
    return args


def _pair(text: str) -> tuple[int, int]:
    n_s, n_t = (int(part) for part in text.split(","))
    return n_s, n_t


def _command(args: argparse.Namespace) -> str:
    words = ["python benchmarks/speed/adaptation.py --sizes"]
    words += [f"{n_s},{n_t}" for n_s, n_t in args.sizes]
    words += [f"--rounds {args.rounds}"]
    if args.dimensions != DIMENSIONS:
        words.append(f"--dimensions {args.dimensions}")
    if tuple(args.methods) != METHODS:
        words += ["--methods", *args.methods]
    return " ".join(words)


def _run(name: str, n_s: int, n_t: int, dimensions: int) -> dict[str, Any]:
    """Measure one fit in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, "--sizes", f"{n_s},{n_t}"]
    command += ["--dimensions", str(dimensions)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]}
    measured: dict[str, Any] = json.loads(done.stdout)
    measured["warnings"] = sum("Warning" in line for line in done.stderr.splitlines())
    return measured


def _measure(name: str, n_s: int, n_t: int, dimensions: int) -> dict[str, Any]:
    Xs, ys, Xt, truth = _domains(n_s, n_t, dimensions)
    known = np.arange(n_t) < LABELLED * CLASSES
    yt = np.where(known, truth, -1)
    # The libraries and what they set up are there before the clock starts.
    warm = getattr(decaf.adapt, name)()
    warm.fit(Xs[:124, :50], ys[:124], Xt[:124, :50], yt[:124]).predict(Xt[:10, :50])
    before = peak_memory() / 2**20
    method = getattr(decaf.adapt, name)()
    began, worked = time.perf_counter(), time.process_time()
    method.fit(Xs, ys, Xt, yt)
    fitted, worked = time.perf_counter(), time.process_time() - worked
    predictions = method.predict(Xt)
    ended = time.perf_counter()
    return {
        "fit_s": round(fitted - began, 3),
        "fit_cpu_s": round(worked, 3),
        "predict_s": round(ended - fitted, 3),
        "peak_mb": round(peak_memory() / 2**20, 1),
        "before_mb": round(before, 1),
        "accuracy": round(float((predictions == truth)[~known].mean()), 4),
        "dim": getattr(method, "dim_", None),
    }


def _domains(
    n_s: int, n_t: int, dimensions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make up two domains in float32: hidden values of falling variances, mixed, cut at 0."""
    random = np.random.default_rng(0)
    hidden = min(512, dimensions)
    mixing = random.normal(size=(hidden, dimensions)).astype(np.float32)
    mixing *= np.arange(1, hidden + 1, dtype=np.float32)[:, None] ** -0.5
    centres = random.normal(size=(CLASSES, hidden)).astype(np.float32)
    shift = 0.5 * random.normal(size=hidden).astype(np.float32)
    domains = []
    for n, moved in ((n_s, 0.0), (n_t, 1.0)):
        y = np.arange(n) % CLASSES
        values = centres[y] + 1.5 * random.standard_normal((n, hidden), np.float32)
        X = (values + np.float32(moved) * shift) @ mixing - 1
        X += 0.2 * random.standard_normal(X.shape, np.float32)
        domains += [np.maximum(X, 0, out=X), y]
    Xs, ys, Xt, yt = domains
    return Xs, ys, Xt, yt


def _wrong(fit: dict[str, Any]) -> list[str]:
    wrong = []
    for run in fit["runs"]:
        if "failed" in run:
            wrong.append(f"failed: {run['failed']}")
        elif run["accuracy"] < 2 / CLASSES:
            wrong.append(f"accuracy {run['accuracy']:.3f} is chance")
    return wrong


def _table(report: dict[str, Any]) -> str:
    lines = [
        described(report["machine"]),
        f"{report['dimensions']} dimensions, {report['classes']} classes",
        "",
        _row(
            "method", "source", "target", "fit s", "CPU s", "predict s", "peak MB", "before", "dim"
        ),
    ]
    for fit in report["fits"]:
        runs = [run for run in fit["runs"] if "failed" not in run]
        cells = [str(fit["source"]), str(fit["target"])]
        if not runs:
            lines.append(_row(fit["method"], *cells, "failed"))
            continue
        seconds = statistics.median(run["fit_s"] for run in runs)
        peak = max(run["peak_mb"] for run in runs)
        over = "*" if seconds > SECONDS or peak > MEGABYTES else ""
        cells += [
            f"{seconds:.2f}{over}",
            f"{statistics.median(run['fit_cpu_s'] for run in runs):.2f}",
            f"{statistics.median(run['predict_s'] for run in runs):.2f}",
            f"{peak:.0f}",
            f"{max(run['before_mb'] for run in runs):.0f}",
            str(runs[0]["dim"] or ""),
        ]
        lines.append(_row(fit["method"], *cells))
    lines += [
        "before: of the peak, what was there before the fit: libraries, rows, a small fit;",
        f"target of each: {SECONDS:.0f} s and {MEGABYTES:.0f} MB; * missed",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
