"""Fine-grained recognition: features of an object's box, and of its parts wherever they are."""

from __future__ import annotations

from harness.birds.run import run_fine_grained

__all__ = ["run_fine_grained"]
