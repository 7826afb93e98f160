"""What memory a training step takes on a CPU, where the system kills instead of refusing."""

from __future__ import annotations

import math
from pathlib import Path

from decaf.backbone.spec import ArchSpec, layer_shape, parameter_shapes
from decaf.train.recipe import TrainSettings

__all__ = ["available_memory", "step_memory"]

# Of what is free: the rest is left to others, and to what the estimate does not see.
SHARE = 0.8
# What stays of a layer's value until the backward pass and beside it: the value before and after
# the activation, their gradients, and the reordered copies that convolutions make.
COPIES = 6

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes that this process may still take; None where the system does not tell.

    The least of what Linux calls available and of what a container's limit leaves.
    """
    found = []
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    except (OSError, ValueError, IndexError):
        pass
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        found.append(max(0, limit - used))
    except (OSError, ValueError):  # no limit reads "max"
        pass
    return min(found, default=None)


def step_memory(spec: ArchSpec, settings: TrainSettings) -> int:
    """Estimate the bytes of a step: parameters with all that belongs to them, and the batch.

    Parameters
    ----------
    spec : ArchSpec
    settings : TrainSettings
    """
    parameters = sum(math.prod(shape) for shape in parameter_shapes(spec).values())
    # Values and gradients, the optimiser's moments, the average, the best so far.
    copies = 2 + 1 + (settings.optimizer == "adamw") + (settings.average > 0) + settings.keep_best
    width = 4 if settings.precision == "fp32" else 2
    layers = [f"conv{n}" for n in range(1, 6)] + ["pool1", "pool2", "pool5", "fc6", "fc7"]
    values = sum(math.prod(layer_shape(spec, layer)) for layer in layers)
    image = COPIES * width * (values + 3 * spec.input_size**2)
    casts = 0 if width == 4 else parameters * width
    return parameters * 4 * copies + casts + settings.batch_size * image
