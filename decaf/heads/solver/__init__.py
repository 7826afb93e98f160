"""Linear classifiers with all classes, folds and Cs solved together, in torch."""

from __future__ import annotations

from decaf.heads.solver.problem import LOSSES, FoldScores, Problem, Solution
from decaf.heads.solver.solve import cross_decisions, solve, solve_path

__all__ = [
    "LOSSES",
    "FoldScores",
    "Problem",
    "Solution",
    "cross_decisions",
    "solve",
    "solve_path",
]
