"""The protocol of a benchmark: splits, features kept, estimators fitted on training rows alone.

A new benchmark has a reader in `datasets` (a `Dataset`, with its official splits), settings derived
from `ProtocolSettings`, and a function of the data and a `BenchmarkRun`. The run keeps features
(`run.features`), makes fits or takes those that are stored (`run.outcomes`, of `Fit`), writes the
manifest of the splits and puts the report together; tables are made of `result_cell`. A script
gives its parser `arguments.add_run_options` and runs by `arguments.run_script`.
"""

from __future__ import annotations

__all__: list[str] = []
