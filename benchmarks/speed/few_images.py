"""How fast are few images? A prediction about one and about ten, and cross-validation over paths.

    python benchmarks/speed/few_images.py FOLDER --before CHECKOUT --json results/few_images.json

FOLDER has a folder of photographs for each class. Three things are timed, each in a process of its
own: `Classifier.predict` of one path and of ten (after a first call, which loads the network), and
scikit-learn's `cross_val_score` of a `FeatureExtractor` and a `LogisticRegression` over the paths
of `--images` photographs in three folds. With ``--before``, the folder of an older version of
decaf, both versions take turns, and the ratios of a round hold when the machine's speed drifts. The
versions have to give the same answers and scores. The result goes to ``--json`` (and as Markdown
beside it), and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from command_line import say_full_run

CONTENDERS = ("predict 1", "predict 10", "cross_val_score")
CALLS = 3
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    args = _arguments()
    paths = [path for path in sorted(args.folder.glob("*/*")) if path.is_file()]
    # Spread evenly over the classes.
    paths = [paths[number * len(paths) // args.images] for number in range(args.images)]
    if args.one:
        print(json.dumps(_measure(args.one, [str(path) for path in paths])))
        return
    from machine import describe, tell

    versions = {"after": ROOT} | ({"before": args.before.resolve()} if args.before else {})
    runs: dict[str, dict[str, list[float]]] = {
        name: {version: [] for version in versions} for name in CONTENDERS
    }
    for number in range(args.rounds):
        for name in CONTENDERS:
            answers = {}
            for version, root in versions.items():
                print(f"round {number + 1}: {name}, {version}", file=sys.stderr, flush=True)
                measured = _in_process(args, name, root)
                runs[name][version].append(measured["seconds"])
                answers[version] = measured["answer"]
            if len({json.dumps(answer) for answer in answers.values()}) > 1:
                sys.exit(f"{name}: other answers than before: {answers}")
    report = {
        "command": "python benchmarks/speed/few_images.py FOLDER "
        + ("--before CHECKOUT " if args.before else "")
        + f"--images {args.images} --rounds {args.rounds}",
        "machine": describe(),
        "images": len(paths),
        "seconds": runs,
    }
    tell(report, "Speed of few images", _table(report), args)


def _arguments() -> argparse.Namespace:
    head = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=head[0], epilog=head[2])
    parser.add_argument("folder", type=Path, help="photographs, a folder for each class")
    parser.add_argument("--before", type=Path, help="a checkout of an older version of decaf")
    parser.add_argument("--images", type=int, default=175, help="to validate on (default: 175)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--json", type=Path, help="where to write the result, and a table as .md")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    say_full_run(parser, "few_images", needs=("before",))
    return parser.parse_args()


def _in_process(args: argparse.Namespace, name: str, root: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, str(args.folder)]
    command += ["--one", name, "--images", str(args.images)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(name: str, paths: list[str]) -> dict[str, Any]:
    import decaf

    if name == "cross_val_score":
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_score
        from sklearn.pipeline import make_pipeline

        pipeline = make_pipeline(decaf.FeatureExtractor(), LogisticRegression(max_iter=1000))
        labels = [Path(path).parent.name for path in paths]
        began = time.perf_counter()
        scores = cross_val_score(pipeline, paths, labels, cv=3)
        return {"seconds": time.perf_counter() - began, "answer": scores.round(3).tolist()}
    asked = paths[: int(name.split()[1])]
    classifier = decaf.load_classifier()
    classifier.predict(asked, progress=False)
    seconds = []
    for _ in range(CALLS):
        began = time.perf_counter()
        predictions = classifier.predict(asked, progress=False)
        seconds.append(time.perf_counter() - began)
    return {"seconds": statistics.median(seconds), "answer": [p.classes[0][0] for p in predictions]}


def _table(report: dict[str, Any]) -> str:
    machine = report["machine"]
    lines = [
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores",
        f"torch {machine['versions']['torch']}, {report['images']} photographs",
        "",
        f"{'seconds (median of rounds)':32}{'before':>10}{'after':>10}{'ratio':>10}",
    ]
    for name, versions in report["seconds"].items():
        after = versions["after"]
        cells = ["", f"{statistics.median(after):.2f}", ""]
        if "before" in versions:
            ratios = [b / a for b, a in zip(versions["before"], after, strict=True)]
            cells[0] = f"{statistics.median(versions['before']):.2f}"
            cells[2] = f"{statistics.median(ratios):.1f}"
        lines.append(f"{name:32}" + "".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
