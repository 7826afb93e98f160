"""Heads of more rows than memory holds: how long does a certified one take, and beside others?

    python benchmarks/speed/streaming_heads.py --photographs DIR

100,000 rows of 4,096 numbers in 1,000 classes are made from real features (fc6 of the photographs
in DIR, a folder with a folder for each class; ``--synthetic`` makes those up as well) and written
in half precision. For each class a few photographs of one real class are drawn. A row is a random
mixture of three of them (0.6) and any photograph at all (0.4), each number times a lognormal one of
sigma 0.4, so that the rows are of full rank and the classes overlap; a tenth more rows are for
test. Each contender works in a process of its own, on ``--limit`` seconds, evaluation not counted:

- decaf streams the rows from the file: logistic regression of all ``--C`` in the same passes, and
  SVMs of a 64th of each, as in decaf's grids; seconds a pass, passes and seconds to certified gaps
  of 1e-2 and 1e-3 for all of them, peak memory; and from that, with as many passes, the time for
  the 1,281,167 rows of ImageNet;
- scikit-learn with all rows in memory, at the one C that is best for decaf: LogisticRegression by
  saga (up to ten epochs at a time, going on from there) and by newton-cholesky, where its Hessian
  fits into the memory at hand, and SGDClassifier (logistic loss, each class against the rest);
- a probe as DINOv2 evaluates by one: SGD with momentum, batches of 128, the learning rate falling
  by a cosine over ten epochs, 13 learning rates at once, the best by accuracy (Oquab et al. 2023).

What counts is the time to the accuracy on the test rows that decaf's certified logistic regression
has at its best C, less 0.1 points; and, of the same objective, how far above decaf's bound it ends.
The result goes to ``--json`` (and as Markdown beside it), and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, described, parser_of, say, table_row, tell

from decaf.runtime.memory import available_memory, peak_memory
from decaf.runtime.wording import byte_size

IMAGENET = 1_281_167
PEERS = ("saga", "newton-cholesky", "sgd", "probe")
CONTENDERS = ("logreg", "svm", *PEERS)
GAPS = (1e-2, 1e-3)
SLACK = 0.001  # of the accuracy
OF_SVM = 64  # times smaller are the C of an SVM, as in decaf's grids
ANCHORS, SIGMA, SHARE = 6, 0.4, 0.6
RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
BATCH, EPOCHS = 128, 10
BLOCK = 2048

_row = partial(table_row, width=28)
_Checkpoint = dict[str, Any]


def main() -> None:
    args = _arguments()
    if args.measure:
        for checkpoint in _measure(args.measure, args.rows_in, args):
            print(json.dumps(checkpoint), flush=True)
        return
    report: dict[str, Any] = {
        "machine": describe(),
        "command": _command(args),
        "rows": args.rows,
        "dimensions": args.dim,
        "classes": args.classes,
        "C": args.C,
        "limit": args.limit,
        "runs": {},
    }
    with tempfile.TemporaryDirectory(prefix="decaf-streaming-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        _write_rows(folder, *_real_features(args, folder), args)
        for name in CONTENDERS:
            if name in args.contenders:
                say(name)
                report["runs"][name] = _run(name, folder, _best_C(report["runs"], args.C), args)
    _compare(report)
    tell(report, "Speed of streamed heads", _table(report), args)


def _arguments() -> argparse.Namespace:
    parser = parser_of(
        __doc__, "streaming_heads", needs=("photographs",), alike=("scratch", "limit")
    )
    parser.add_argument("--photographs", type=Path, metavar="DIR", help="a folder for each class")
    parser.add_argument("--synthetic", action="store_true", help="make the features up, too")
    parser.add_argument("--rows", type=int, default=100_000, help="(default: 100000)")
    parser.add_argument("--classes", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--dim", type=int, default=4096, help="numbers a row (default: 4096)")
    parser.add_argument(
        "--C", type=float, nargs="+", default=[1.0, 4.0, 16.0], help="(default: 1 4 16)"
    )
    parser.add_argument(
        "--limit", type=float, default=3600, metavar="SECONDS", help="of each (default: 3600)"
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS, help="(default: all)"
    )
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where the rows are written")
    parser.add_argument("--measure", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--rows-in", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.measure and (args.photographs is None) != args.synthetic:
        parser.error("give either --photographs or --synthetic")
    if args.rows < 2 * args.classes or args.classes < 3:
        parser.error("at least three classes, and two rows of each")
    return args


def _command(args: argparse.Namespace) -> str:
    """Spell the command without the paths of this machine."""
    words = ["python benchmarks/speed/streaming_heads.py"]
    words += ["--synthetic" if args.synthetic else "--photographs DIR"]
    words += [f"--rows {args.rows} --classes {args.classes} --dim {args.dim}"]
    words += ["--C", *(f"{C:g}" for C in args.C)]
    words += [f"--limit {args.limit:g}"]
    if tuple(args.contenders) != CONTENDERS:
        words += ["--contenders", *args.contenders]
    return " ".join(words)


def _real_features(args: argparse.Namespace, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return features of photographs in float32, and their classes."""
    random = np.random.default_rng(0)
    if args.synthetic:
        labels = np.arange(1000) % 50
        hidden = random.normal(size=(50, 64))[labels] + 1.5 * random.normal(size=(1000, 64))
        features = np.maximum(hidden @ random.normal(size=(64, args.dim)) / 4 - 1, 0)
        return features.astype(np.float32), labels
    import decaf

    out = scratch / "photographs.h5"
    with decaf.extract(args.photographs, "fc6", out=out, on_error="record", progress=True) as file:
        features, labels = file.to_xy("fc6")
    there = labels >= 0
    if args.dim > features.shape[1]:
        sys.exit(f"--dim {args.dim}: fc6 has {features.shape[1]}")
    units = np.sort(random.permutation(features.shape[1])[: args.dim])
    return features[there][:, units], labels[there]


def _write_rows(
    folder: Path, features: np.ndarray, labels: np.ndarray, args: argparse.Namespace
) -> None:
    """Write rows and classes of training and test, as the script's docstring says."""
    random = np.random.default_rng(1)
    of_class = [rows for label in np.unique(labels) if len(rows := np.flatnonzero(labels == label))]
    anchors = np.empty((args.classes, ANCHORS), np.int64)
    for made in range(args.classes):
        anchors[made] = random.choice(of_class[made % len(of_class)], ANCHORS)
    for part, count in (("train", args.rows), ("test", max(args.rows // 10, args.classes))):
        codes = random.permutation(np.arange(count) % args.classes)
        rows = np.lib.format.open_memmap(
            folder / f"{part}.npy", "w+", np.float16, (count, args.dim)
        )
        for start in range(0, count, BLOCK):
            block = codes[start : start + BLOCK]
            chosen = np.take_along_axis(
                anchors[block], random.integers(0, ANCHORS, (len(block), 3)), axis=1
            )
            shares = random.dirichlet(np.ones(3), len(block)).astype(np.float32)
            mixed = np.einsum("rs,rsd->rd", SHARE * shares, features[chosen])
            mixed += (1 - SHARE) * features[random.integers(0, len(features), len(block))]
            mixed *= np.exp(SIGMA * random.standard_normal(mixed.shape, np.float32))
            rows[start : start + BLOCK] = mixed
        rows.flush()
        np.save(folder / f"{part}-codes.npy", codes)


def _best_C(runs: dict[str, Any], Cs: list[float]) -> float:
    """Return the C at which decaf's logistic regression is best; without one the first."""
    last = (runs.get("logreg", {}).get("checkpoints") or [{}])[-1]
    return float(Cs[int(np.argmax(last.get("accuracies", [0])))])


def _run(name: str, folder: Path, best: float, args: argparse.Namespace) -> dict[str, Any]:
    """Run a contender in a process of its own; it is stopped a while after its limit."""
    hessian = 4 * (args.classes * (args.dim + 1)) ** 2
    at_hand = available_memory()
    if name == "newton-cholesky" and at_hand is not None and 3 * hessian > at_hand:
        return {"checkpoints": [], "ended": f"not tried: a Hessian of {byte_size(hessian)}"}
    command = [sys.executable, __file__, "--measure", name, "--rows-in", os.fspath(folder)]
    command += ["--rows", str(args.rows), "--classes", str(args.classes), "--dim", str(args.dim)]
    command += ["--C", *map(str, [best] if name in PEERS else args.C)]
    command += ["--limit", str(args.limit)]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    ended = "by itself"
    try:
        out, errors = child.communicate(timeout=1.5 * args.limit + 60)
    except subprocess.TimeoutExpired:
        child.kill()
        out, errors = child.communicate()
        ended = "stopped: no step ended within the limit"
    else:
        if child.returncode:
            last = (errors.strip().splitlines() or [f"exit {child.returncode}"])[-1]
            ended = f"failed: {last:.100}"
    lines = [json.loads(line) for line in out.splitlines()]
    return {"checkpoints": lines, "ended": ended}


def _measure(name: str, folder: Path, args: argparse.Namespace) -> Iterator[_Checkpoint]:
    warnings.simplefilter("ignore")
    codes = np.load(folder / "train-codes.npy")
    rows = np.load(folder / "train.npy", mmap_mode="r")
    test = np.load(folder / "test.npy").astype(np.float32), np.load(folder / "test-codes.npy")
    if name in ("logreg", "svm"):
        yield from _decaf(name, rows, codes, test, args)
        return
    X = rows.astype(np.float32)
    X *= np.float32(1 / np.sqrt(np.square(X, dtype=np.float64).sum(1).mean()))
    factor = float(np.linalg.norm(X[0]) / np.linalg.norm(rows[0].astype(np.float64)))
    test = (test[0] * np.float32(factor), test[1])
    contender = {"sgd": _sgd, "probe": _probe}.get(name, partial(_regression, name))
    yield from contender(X, codes, test, args)


def _decaf(
    name: str, rows: np.ndarray, codes: np.ndarray, test: Any, args: argparse.Namespace
) -> Iterator[_Checkpoint]:
    from decaf.heads import LinearSVM, LogisticRegression, fit_streaming

    kind = LogisticRegression if name == "logreg" else LinearSVM
    Cs = args.C if name == "logreg" else [C / OF_SVM for C in args.C]
    passes: list[_Checkpoint] = []
    began = time.perf_counter()

    class LimitReached(Exception):
        pass

    def progress(now: Any) -> None:
        seconds = time.perf_counter() - began
        each = {"passes": now.number, "seconds": seconds, "gap": max(now.gaps)}
        passes.append({**each, "gaps": now.gaps, "objectives": now.objectives})
        if seconds > args.limit:
            raise LimitReached

    try:
        fitted = fit_streaming(
            rows, labels=codes, head=kind(tol=min(GAPS)), Cs=Cs, progress=progress
        )
    except LimitReached:
        yield from passes
        return
    yield from passes
    peak = peak_memory() / 2**20
    accuracies = [float((head.predict(test[0]) == test[1]).mean()) for head in fitted.heads]
    best = int(np.argmax(accuracies))
    yield {
        "seconds": passes[-1]["seconds"],
        "accuracies": accuracies,
        "accuracy": accuracies[best],
        "best_C": Cs[best],
        "bound": fitted.heads[best].objective_ * (1 - float(fitted.gaps[best])),
        "peak_mb": peak,
    }


def _regression(
    solver: str, X: np.ndarray, codes: np.ndarray, test: Any, args: argparse.Namespace
) -> Iterator[_Checkpoint]:
    """scikit-learn's LogisticRegression, going on from where it was."""
    from sklearn.linear_model import LogisticRegression

    epochs = 1
    model = LogisticRegression(
        C=args.C[0], solver=solver, tol=1e-6, warm_start=True, random_state=0
    )
    seconds, done = 0.0, 0
    while seconds < args.limit and done < 1000:
        began = time.perf_counter()
        model.set_params(max_iter=epochs).fit(X, codes)
        seconds += time.perf_counter() - began
        done += int(np.max(model.n_iter_))
        yield {
            "epochs": done,
            "seconds": seconds,
            "accuracy": float((model.predict(test[0]) == test[1]).mean()),
            "objective": _objective(X, codes, args.C[0], model.coef_, model.intercept_),
            **_peak(),
        }
        if np.max(model.n_iter_) < epochs:
            return
        if solver == "saga":
            # As many as a quarter of the limit holds: saga forgets its gradients between them.
            epochs = int(np.clip(args.limit / 4 / (seconds / done), 1, 10))


def _sgd(X: np.ndarray, codes: np.ndarray, test: Any, args: argparse.Namespace) -> Any:
    """scikit-learn's SGDClassifier, averaged."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(
        loss="log_loss", alpha=1 / (args.C[0] * len(X)), average=True, random_state=0
    )
    order, seconds = np.random.default_rng(0).permutation(len(X)), 0.0
    for epoch in range(1, 101):
        began = time.perf_counter()
        model.partial_fit(X[order], codes[order], classes=np.arange(args.classes))
        seconds += time.perf_counter() - began
        accuracy = float((model.predict(test[0]) == test[1]).mean())
        yield {"epochs": epoch, "seconds": seconds, "accuracy": accuracy, **_peak()}
        if seconds > args.limit:
            return


def _probe(X: np.ndarray, codes: np.ndarray, test: Any, args: argparse.Namespace) -> Any:
    """Linear layers of many learning rates on the same batches, as DINOv2 evaluates by them."""
    import torch

    random = torch.Generator().manual_seed(0)
    rows, labels, tested = torch.from_numpy(X), torch.from_numpy(codes), torch.from_numpy(test[0])
    k, size = args.classes, float(np.sqrt(X.shape[1]))
    # Rows of DINOv2 have a norm of about the root of their length, for which the rates are meant.
    rates = torch.tensor(RATES)[:, None, None] * BATCH / 256 * 8
    weights = 0.01 * torch.randn(len(RATES), X.shape[1], k, generator=random)
    bias, moved, moved_b = torch.zeros(len(RATES), 1, k), torch.zeros_like(weights), 0.0
    steps, seconds, began = max(1, len(X) // BATCH), 0.0, time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(len(X), generator=random)
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            x = rows[batch] * size
            slope = torch.softmax(torch.matmul(x, weights) + bias, 2)
            slope[:, torch.arange(len(batch)), labels[batch]] -= 1
            slope /= len(batch)
            rate = rates * 0.5 * (1 + np.cos(np.pi * ((epoch - 1) * steps + step) / EPOCHS / steps))
            moved = moved.mul_(0.9).add_(torch.matmul(x.T, slope))
            moved_b = 0.9 * moved_b + slope.sum(1, keepdim=True)
            weights -= rate * moved
            bias -= rate * moved_b
            done = (epoch - 1) + (step + 1) / steps
            late = seconds + time.perf_counter() - began > args.limit
            if step + 1 == steps or late:
                seconds += time.perf_counter() - began
                right = [
                    float(((tested * size @ w + b).argmax(1).numpy() == test[1]).mean())
                    for w, b in zip(weights, bias, strict=True)
                ]
                yield {"epochs": done, "seconds": seconds, "accuracy": max(right), **_peak()}
                began = time.perf_counter()
            if late:
                return


def _peak() -> dict[str, float]:
    return {"peak_mb": peak_memory() / 2**20}


def _objective(
    X: np.ndarray, codes: np.ndarray, C: float, coef: np.ndarray, intercept: np.ndarray
) -> float:
    """½‖w‖² + C Σ loss of a softmax."""
    value = 0.5 * float(np.square(coef, dtype=np.float64).sum())
    weights = coef.T.astype(np.float32)
    for start in range(0, len(X), BLOCK):
        scores = X[start : start + BLOCK] @ weights + intercept
        own = scores[np.arange(len(scores)), codes[start : start + BLOCK]]
        top = scores.max(1)
        losses = np.log(np.exp(scores - top[:, None]).sum(1)) + top - own
        value += C * float(losses.sum(dtype=np.float64))
    return value


def _compare(report: dict[str, Any]) -> None:
    """Add what follows from the checkpoints of all contenders together."""
    runs = report["runs"]
    bound, aim = None, None
    for name in ("logreg", "svm"):
        if name not in runs or not runs[name]["checkpoints"]:
            continue
        run = runs[name]
        passes = [each for each in run["checkpoints"] if "passes" in each]
        first, last = passes[0], passes[-1]
        count = max(1, len(passes) - 1)
        run["seconds_a_pass"] = (last["seconds"] - first["seconds"]) / count
        run["before"] = max(0.0, first["seconds"] - run["seconds_a_pass"])
        for gap in GAPS:
            reached = next((each for each in passes if each["gap"] <= gap), None)
            run[f"to_{gap:g}"] = reached
            if reached:
                more = IMAGENET / report["rows"]
                run[f"imagenet_{gap:g}_hours"] = reached["seconds"] * more / 3600
        if name == "logreg" and "accuracy" in run["checkpoints"][-1]:
            final = run["checkpoints"][-1]
            aim = final["accuracy"] - SLACK
            bound = final["bound"]
            run["to_accuracy"] = final["seconds"]
    for name in PEERS:
        if name not in runs or aim is None:
            continue
        steps = runs[name]["checkpoints"]
        runs[name]["to_accuracy"] = next(
            (each["seconds"] for each in steps if each["accuracy"] >= aim), None
        )
        if steps and bound and "objective" in steps[-1]:
            runs[name]["above"] = steps[-1]["objective"] / bound - 1


def _table(report: dict[str, Any]) -> str:
    lines = [
        described(report["machine"]),
        f"{report['rows']} rows of {report['dimensions']}, {report['classes']} classes",
        f"C = {', '.join(f'{C:g}' for C in report['C'])}; {report['limit']:g} s each",
        "",
        _row("decaf, streamed", "s a pass", "gap", "passes", "seconds", "peak MB", "ImageNet h"),
    ]
    runs = report["runs"]
    for name in [name for name in ("logreg", "svm") if name in runs]:
        run = runs[name]
        peak = run["checkpoints"][-1].get("peak_mb") if run["checkpoints"] else None
        for gap in GAPS:
            reached = run.get(f"to_{gap:g}")
            cells = [f"{run.get('seconds_a_pass', float('nan')):.2f}", f"{gap:g}"]
            if reached:
                cells += [str(reached["passes"]), f"{reached['seconds']:.1f}"]
                cells += [f"{peak:.0f}" if peak else "", f"{run[f'imagenet_{gap:g}_hours']:.2f}"]
            else:
                cells += ["-", "not"]
            lines.append(_row(name, *cells))
    lines += [
        "",
        _row("", "accuracy", "epochs", "seconds", "to equal", "ratio", "above", "peak MB"),
    ]
    ours = runs.get("logreg", {}).get("to_accuracy")
    for name, run in runs.items():
        if name == "svm" or not run["checkpoints"]:
            lines += [] if name == "svm" else [f"{name}: {run['ended']}"]
            continue
        last, equal = run["checkpoints"][-1], run.get("to_accuracy")
        within = f"{equal:.1f}" if equal else "not"
        ratio = f"{equal / ours:.2f}" if equal and ours else ""
        if ours and not equal:
            ratio = f"> {last['seconds'] / ours:.2f}"
        lines.append(
            _row(
                name,
                f"{100 * last['accuracy']:.2f} %" if "accuracy" in last else "",
                f"{last['epochs']:.1f}" if "epochs" in last else "",
                f"{last['seconds']:.1f}",
                within,
                ratio,
                f"{run['above']:.1e}" if "above" in run else "",
                f"{last['peak_mb']:.0f}" if "peak_mb" in last else "",
            )
        )
    lines += [
        "to equal: seconds to logreg's accuracy less 0.1 points; above: decaf's bound, by a share;",
        f"ImageNet h: {IMAGENET} rows, as many passes, all time in proportion to the rows",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
