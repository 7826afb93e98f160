"""What does it cost to hand shards to Ray or torchrun, and what do two workers bring?

    python benchmarks/speed/scale.py PHOTOGRAPHS

PHOTOGRAPHS is a folder of JPEG files, which are put into shards of ``--images`` each, again and
again where there are too few. A worker has one core: it decodes in its own process and computes in
one thread, so that two of them are twice the machine of one. The runs take turns; what counts is
the best of each, since whatever else the machine does makes a run slower and never faster.

- ``span``: from the beginning of the first part to the end of the last, start-up left out. Ray's
  overhead is that of one actor over that of the plain loop.
- ``whole``: the whole command, with interpreter, imports and Ray's own start.
- The parts of all runs are compared, as bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe, described, jpeg_files, parser_of, say, table_row, tell

from decaf.features.store.part_folder import PartFolder

CONTENDERS = {
    "loop, 1 worker": ("local", 1),
    "torchrun, 2 workers": ("torchrun", 2),
    "Ray, 1 worker": ("ray", 1),
    "Ray, 2 workers": ("ray", 2),
}


def main() -> None:
    args = _arguments()
    names = [n for n in CONTENDERS if "Ray" not in n or importlib.util.find_spec("ray")]
    with tempfile.TemporaryDirectory(prefix="decaf-speed-") as scratch:
        work = Path(scratch)
        pattern = _make_shards(work, args)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        parts: dict[str, dict[str, str]] = {}
        for number in range(args.rounds):
            for name in names:
                say(f"round {number + 1} of {args.rounds}: {name}")
                measured, parts[name] = _run(work, pattern, name, args)
                runs[name].append(measured)
    count = args.images * args.shards
    best = {
        name: {key: min(run[key] for run in each) for key in ("span", "whole")}
        for name, each in runs.items()
    }
    report: dict[str, Any] = {
        "machine": describe(),
        "command": f"python benchmarks/speed/scale.py PHOTOGRAPHS --images {args.images} "
        f"--shards {args.shards} --rounds {args.rounds} --weights {args.weights}",
        "images": count,
        "runs": runs,
        "best": best,
        "same_bytes": all(each == parts[names[0]] for each in parts.values()),
    }
    tell(report, "Shards: engines and workers", _table(report), args)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "scale")
    parser.add_argument("photographs", type=Path, help="folder of JPEG files")
    parser.add_argument("--images", type=int, default=1000, help="of a shard (default: 1000)")
    parser.add_argument("--shards", type=int, default=8, help="how many (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--weights", default="random:0:alexnet", help="(default: random:0:alexnet)")
    return parser.parse_args()


def _make_shards(work: Path, args: argparse.Namespace) -> str:
    photographs = jpeg_files(args.photographs, "**/*")
    place = 0
    for shard in range(args.shards):
        with tarfile.open(work / f"{shard:03d}.tar", "w") as archive:
            for number in range(args.images):
                data = photographs[place % len(photographs)].read_bytes()
                info = tarfile.TarInfo(f"{number:06d}.jpg")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
                place += 1
    return f"{work}/{{000..{args.shards - 1:03d}}}.tar"


def _run(
    work: Path, pattern: str, name: str, args: argparse.Namespace
) -> tuple[dict[str, float], dict[str, str]]:
    """Run a contender; return its times, and the hashes of its parts."""
    engine, workers = CONTENDERS[name]
    out = work / "parts"
    record = work / "run.json"
    out.mkdir()
    if record.exists():  # begun at the same time as the others, so that the bytes are theirs
        shutil.copy(record, out / "run.json")
    command = [sys.executable, "-m", "decaf"]
    if engine == "torchrun":
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
        command = [sys.executable, *launcher, "-m", "decaf"]
    command += ["extract", pattern, "-o", f"{out}/", "-w", args.weights, "-l", "fc7", "-q"]
    command += ["--dtype", "float16", "--device", "cpu", "-j", "0", "--engine", engine]
    if engine == "ray":
        command += ["--actors", str(workers), "--actor-cores", "1"]
    # Ray's workers stand back behind all else on the machine by default; the others do not.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    began = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    whole = time.perf_counter() - began
    if done.returncode not in (0, 1):
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    folder = PartFolder(out)
    records = folder.records(folder.stems()).values()
    if len(records) != args.shards:
        sys.exit(f"{name}: {len(records)} parts of {args.shards}:\n{done.stdout[-3000:]}")
    span = max(r.ended for r in records) - min(r.ended - r.seconds for r in records)
    parts = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*.parquet")
    }
    shutil.copy(out / "run.json", record)
    shutil.rmtree(out)
    return {"span": round(span, 3), "whole": round(whole, 3)}, parts


def _table(report: dict[str, Any]) -> str:
    best, count = report["best"], report["images"]
    loop = best["loop, 1 worker"]["span"]
    lines = [described(report["machine"]), ""]
    lines.append(table_row(f"{count} images", "span s", "images/s", "efficiency", "whole s"))
    for name, times in best.items():
        workers = CONTENDERS[name][1]
        efficiency = loop / (workers * times["span"])
        lines.append(
            table_row(
                name,
                f"{times['span']:.2f}",
                f"{count / times['span']:.1f}",
                f"{efficiency:.1%}",
                f"{times['whole']:.2f}",
            )
        )
    if "Ray, 1 worker" in best:
        overhead = best["Ray, 1 worker"]["span"] / loop - 1
        lines.append(f"Ray's overhead over the plain loop, one worker each: {overhead:.1%}")
    lines.append(f"parts of all runs the same bytes: {'yes' if report['same_bytes'] else 'NO'}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
