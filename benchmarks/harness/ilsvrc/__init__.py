"""ILSVRC's result tables: networks trained on a pack, alone and averaged, and their errors."""

from __future__ import annotations

from harness.ilsvrc.networks import ImageNetSettings
from harness.ilsvrc.quick import excerpt, made_up
from harness.ilsvrc.run import run_imagenet

__all__ = ["ImageNetSettings", "excerpt", "made_up", "run_imagenet"]
