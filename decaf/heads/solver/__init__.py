"""Linear classifiers with all classes, folds and Cs solved together, in torch."""

from __future__ import annotations

from decaf.heads.problem import LOSSES, FoldScores, Problem, Solution
from decaf.heads.solver.cross_validation import cross_decisions
from decaf.heads.solver.solve import solve

__all__ = ["LOSSES", "FoldScores", "Problem", "Solution", "cross_decisions", "solve"]
