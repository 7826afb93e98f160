"""How fast is looking at features? Each section is a question of its own.

    python benchmarks/speed/explore.py --json benchmarks/results/explore.json

``search``: 100,000 made-up rows of 4,096 dimensions in a feature file. How long does loading take
with a first query, and then the nine nearest rows of one query, beside a flat index of FAISS and
scikit-learn's NearestNeighbors on the same rows, one query each in turns? All three answer exactly;
the run fails where they do not agree. Also: a query of a file that is read through and not held.

The figures are medians and minima over the rounds; the ratios are those of the minima.

``top-patches``: the nine strongest patches of all units of a layer, beside the extraction of that
layer, in turns over the same photographs (``--photographs DIR``, without which the section is left
out); see ``benchmarks/speed/top_patches.py``. The target is the ratio.

``page``: how long `decaf explore` takes for a page of the same folder's photographs, how large the
page is, and how fast its maps move; see ``benchmarks/speed/explore_page.py``.

``--only`` takes some of the sections, and ``--rows`` fewer rows. The result goes to ``--json`` (and
as Markdown beside it), and as a table to the terminal.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from explore_page import evenly_spaced, measure_page, page_table
from machine import describe, described, parser_of, say, table_row, tell
from top_patches import find_photographs, measure_top_patches, top_patches_table

import decaf
from decaf.exploration import NearestRows
from decaf.features.rows import Rows
from decaf.features.store.assemble import FileHead, write_feature_file

K = 9
TARGET_MS = 50.0
TARGET_RATIO = 1.5
BLOCK = 4096
# Of the rows that are made up: further from few axes than fc6 and fc7 of photographs are, of whose
# length 0.24 and 0.19 lie outside 256 axes (15-Scene); of these 0.34.
HIDDEN, NOISE = 64, 0.5

_row = partial(table_row, width=42)


@dataclass(frozen=True)
class Section:
    """A question that is measured.

    Attributes
    ----------
    measure : callable
        Returns the figures, of the arguments of the script.
    table : callable
        Returns lines of the table, of the figures.
    """

    measure: Callable[[argparse.Namespace], dict[str, Any]]
    table: Callable[[dict[str, Any]], list[str]]


def main() -> None:
    args = _arguments()
    report: dict[str, Any] = {"machine": describe(), "command": _command(args), "sections": {}}
    lines = [described(report["machine"])]
    for name in _sections(args):
        say(name)
        figures = SECTIONS[name].measure(args)
        report["sections"][name] = figures
        lines += ["", *SECTIONS[name].table(figures)]
    tell(report, "Speed of looking at features", "\n".join(lines), args)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "explore", needs=("photographs",))
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(SECTIONS),
        help="(default: all that have what they need)",
    )
    parser.add_argument("--rows", type=int, default=100_000, help="of search (default: 100000)")
    parser.add_argument("--dimensions", type=int, default=4096, help="(default: 4096)")
    parser.add_argument("--rounds", type=int, default=20, help="queries of each (default: 20)")
    parser.add_argument(
        "--photographs", type=Path, metavar="DIR", help="of top-patches and of page"
    )
    parser.add_argument("--images", type=int, default=300, help="of top-patches (default: 300)")
    parser.add_argument("--passes", type=int, default=3, help="of top-patches (default: 3)")
    parser.add_argument("--page-images", type=int, default=5000, help="of page (default: 5000)")
    parser.add_argument(
        "--points", type=int, default=50_000, help="of page, made up (default: 50000)"
    )
    args = parser.parse_args()
    for name in NEED_PHOTOGRAPHS & set(args.only or ()):
        if args.photographs is None:
            parser.error(f"{name} needs --photographs DIR")
    return args


def _sections(args: argparse.Namespace) -> list[str]:
    if args.only is not None:
        return list(args.only)
    left_out = NEED_PHOTOGRAPHS if args.photographs is None else set()
    return [name for name in SECTIONS if name not in left_out]


def _command(args: argparse.Namespace) -> str:
    words = ["python benchmarks/speed/explore.py", "--only", *_sections(args)]
    words += [f"--rows {args.rows}", f"--dimensions {args.dimensions}", f"--rounds {args.rounds}"]
    if args.photographs is not None:
        words += [f"--photographs PHOTOGRAPHS --images {args.images} --passes {args.passes}"]
        words += [f"--page-images {args.page_images} --points {args.points}"]
    return " ".join(words)


def search(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the latency of a query.

    Parameters
    ----------
    args : Namespace
    """
    import faiss
    from sklearn.neighbors import NearestNeighbors

    with tempfile.TemporaryDirectory(prefix="decaf-explore-") as scratch:
        path = Path(scratch) / "rows.h5"
        _write_rows(path, args.rows, args.dimensions)
        with decaf.open_features(path) as file:
            began = time.perf_counter()
            nearest = NearestRows(file, "fc6", max_bytes=2**63)
            nearest.of_rows([0], k=K)  # the first one makes a sketch of the rows
            loading = time.perf_counter() - began
            units = next(block for _, block in nearest.unit_blocks())
            index = faiss.IndexFlatIP(args.dimensions)
            for start in range(0, len(units), BLOCK):
                index.add(units[start : start + BLOCK])
            theirs = NearestNeighbors(n_neighbors=K, metric="cosine", algorithm="brute").fit(units)
            queries = _made_up(args.rounds, args.dimensions, args.rows)
            queries /= np.linalg.norm(queries, axis=1, keepdims=True)
            ways: dict[str, Callable[[Any], Any]] = {
                "decaf": lambda query: nearest.of_queries(query, K)[0],
                "FAISS flat": lambda query: index.search(query, K)[1],
                "scikit-learn": lambda query: theirs.kneighbors(query, return_distance=False),
            }
            times: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(-1, args.rounds):  # one round warms up
                query = queries[number : number + 1] if number >= 0 else queries[:1]
                answers = {}
                for name, way in ways.items():
                    began = time.perf_counter()
                    answers[name] = way(query)
                    if number >= 0:
                        times[name].append(1000 * (time.perf_counter() - began))
                _agree(answers, units, query[0])
            streamed = NearestRows(file, "fc6", max_bytes=0)
            began = time.perf_counter()
            streamed.of_queries(queries[:1], K)
            streaming = time.perf_counter() - began
    fastest = {name: min(each) for name, each in times.items()}
    return {
        "rows": args.rows,
        "dimensions": args.dimensions,
        "loading_s": loading,
        "streamed_query_s": streaming,
        "target_ms": TARGET_MS,
        "query_ms": {
            name: {"median": statistics.median(each), "fastest": fastest[name]}
            for name, each in times.items()
        },
        "ratio": {name: fastest[name] / fastest["decaf"] for name in ways},
    }


def _write_rows(path: Path, count: int, dimensions: int) -> None:
    def blocks() -> Any:
        for start in range(0, count, BLOCK):
            rows = Rows.empty(start, min(start + BLOCK, count))
            rows.features["fc6"] = _made_up(rows.stop - rows.start, dimensions, start)
            yield rows

    head = FileHead(
        names=[b"%d" % row for row in range(count)],
        labels=np.full(count, -1, np.int64),
        class_names=(),
        run={"layers": ["fc6"], "dtype": "float32"},
        environment={},
        decaf_version=decaf.__version__,
        created="",
    )
    write_feature_file(path, head, {"fc6": (dimensions,)}, blocks())


def _made_up(count: int, dimensions: int, seed: int) -> Any:
    """Return rows as a network has them: not negative, half of them zeros, of falling variances."""
    mixing = np.random.default_rng(0).standard_normal((HIDDEN, dimensions), np.float32)
    random = np.random.default_rng(seed + 1)
    falling = 1 / np.sqrt(1 + np.arange(HIDDEN, dtype=np.float32))
    hidden = random.standard_normal((count, HIDDEN), np.float32) * falling
    noise = random.standard_normal((count, dimensions), np.float32)
    return np.maximum(hidden @ mixing + NOISE * noise, 0)


def _agree(answers: dict[str, Any], units: Any, query: Any) -> None:
    """Fail where two answers are not equally near: rounding may swap rows of equal cosines."""
    cosines = {name: units[rows[0]] @ query for name, rows in answers.items()}
    for name, values in cosines.items():
        if not np.allclose(values, cosines["decaf"], atol=1e-5):
            raise SystemExit(f"{name} answers otherwise: {values} and {cosines['decaf']}")


def _search_table(figures: dict[str, Any]) -> list[str]:
    size = f"{figures['rows']:,} rows of {figures['dimensions']:,}"
    lines = [_row(f"nearest {K} of {size}", "median ms", "fastest ms", "ratio")]
    for name, times in figures["query_ms"].items():
        cells = [f"{times['median']:.1f}", f"{times['fastest']:.1f}"]
        lines.append(_row(name, *cells, f"{figures['ratio'][name]:.2f}"))
    streamed = f"a query of a file that is not held takes {figures['streamed_query_s']:.1f} s"
    lines.append(f"decaf loads the rows in {figures['loading_s']:.1f} s; {streamed}")
    return [*lines, f"target: {figures['target_ms']:.0f} ms a query after loading"]


def top_patches(args: argparse.Namespace) -> dict[str, Any]:
    """Measure the pass over photographs that finds the top patches, beside their extraction.

    Parameters
    ----------
    args : Namespace
    """
    photographs = find_photographs(args.photographs)[: args.images]
    args.images = len(photographs)
    layers = measure_top_patches(photographs, args.passes)
    return {"images": len(photographs), "target_ratio": TARGET_RATIO, "layers": layers}


def _top_patches_lines(figures: dict[str, Any]) -> list[str]:
    target = f"target: a ratio of {figures['target_ratio']}; {figures['images']} photographs"
    return [*top_patches_table(figures["layers"]).splitlines(), target]


def page(args: argparse.Namespace) -> dict[str, Any]:
    """Measure how pages are made and move.

    Parameters
    ----------
    args : Namespace
    """
    photographs = evenly_spaced(find_photographs(args.photographs), args.page_images)
    args.page_images = len(photographs)
    return measure_page(photographs, args.points)


SECTIONS = {
    "search": Section(search, _search_table),
    "top-patches": Section(top_patches, _top_patches_lines),
    "page": Section(page, lambda figures: page_table(figures).splitlines()),
}
NEED_PHOTOGRAPHS = {"top-patches", "page"}


if __name__ == "__main__":
    main()
