"""The forward pass as data: the list of elementary steps from image to ``prob``.

The network, the summary and any faster engine walk the same list, so they cannot disagree on what
comes after what, or on which value a layer's name stands for. No torch in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from decaf.backbone.spec import POOLED, ArchSpec

__all__ = ["Step", "StepKind", "forward_steps"]

StepKind = Literal[
    "conv", "act", "lrn", "pool", "adaptive_pool", "flatten", "linear", "dropout", "softmax"
]


@dataclass(frozen=True)
class Step:
    """One elementary operation of the forward pass.

    Parameters
    ----------
    kind : str
        What is done; the numbers it needs are in the spec.
    name : str
        Of a conv or linear step, the module with its parameters; of the others, a name unique in
        the network (``"norm1"`` for the normalisation behind ``conv1``), or ``""``.
    taps : tuple of str
        Layers whose value is this step's output.
    """

    kind: StepKind
    name: str = ""
    taps: tuple[str, ...] = ()


def forward_steps(spec: ArchSpec) -> tuple[Step, ...]:
    """Return the steps of `spec` in the order in which they run.

    Examples
    --------
    >>> from decaf.backbone.spec import architecture
    >>> [step.kind for step in forward_steps(architecture("alexnet-2012"))[:4]]
    ['conv', 'act', 'lrn', 'pool']
    """
    steps: list[Step] = []
    for number in range(1, 6):
        steps.append(Step("conv", f"conv{number}", (f"conv{number}_pre",)))
        steps.append(Step("act", "", (f"conv{number}",)))
        lrn_after = spec.lrn.after if spec.lrn is not None and number in (1, 2) else None
        if lrn_after == "activation":
            steps.append(Step("lrn", f"norm{number}"))
        if number in POOLED:
            steps.append(Step("pool", f"pool{number}", (f"pool{number}",)))
        if lrn_after == "pool":
            steps.append(Step("lrn", f"norm{number}"))
    if spec.adaptive_pool is not None:
        steps.append(Step("adaptive_pool", "avgpool"))
    steps.append(Step("flatten"))
    for number in (6, 7):
        if spec.dropout_at == "input":
            steps.append(Step("dropout", f"drop{number}"))
        steps.append(Step("linear", f"fc{number}", (f"fc{number}_pre",)))
        steps.append(Step("act", "", (f"fc{number}",)))
        if spec.dropout_at == "output":
            steps.append(Step("dropout", f"drop{number}"))
    steps.append(Step("linear", "fc8", ("fc8",)))
    steps.append(Step("softmax", "", ("prob",)))
    return tuple(steps)
