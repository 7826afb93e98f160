"""The ablations of Krizhevsky et al. 2012: ReLU beside tanh, and what each part of it is worth."""

from __future__ import annotations

from harness.ablation.activation import ActivationSettings, compare_activations
from harness.ablation.report import make_report
from harness.ablation.step_time import StepTime, step_times
from harness.ablation.switches import SwitchSettings, train_switches

__all__ = [
    "ActivationSettings",
    "StepTime",
    "SwitchSettings",
    "compare_activations",
    "make_report",
    "step_times",
    "train_switches",
]
