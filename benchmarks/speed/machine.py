"""What a measurement was taken on, and how it is told."""

from __future__ import annotations

import datetime
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from decaf.runtime.cores import available_cores

__all__ = ["describe", "described", "tell"]


def describe(gpu: str | None = None) -> dict[str, Any]:
    """Return date, processor, cores, GPU and versions; `gpu` is the one that is measured."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (ln.split(":")[1].strip() for ln in lines if ln.startswith("model name")), model
        )
    there = "not used" if torch.cuda.is_available() else "none was at hand"
    return {
        "date": datetime.date.today().isoformat(),
        "processor": model,
        "cores": available_cores(),
        "gpu": gpu or there,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "versions": {n: version(n) for n in ("torch", "torchvision", "pillow", "numpy", "h5py")},
    }


def described(machine: dict[str, Any]) -> str:
    """Say in a line what `describe` has returned."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['capability']}, GPU: {machine['gpu']}; {versions}"
    )


def tell(report: dict[str, Any], title: str, table: str, file: Path | None) -> None:
    """Print a table of what was measured; write the report to a file, and the table beside it."""
    print(table)
    if file:
        file.write_text(json.dumps(report, indent=1) + "\n")
        text = f"# {title}\n\n`{report['command']}`\n\n```\n{table}\n```\n"
        file.with_suffix(".md").write_text(text)
