"""Coordinates of weights in which the second moments of the rows are diagonal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from decaf.heads.solver.row_stream import StreamStatistics

__all__ = ["Basis", "make_basis"]


@dataclass(frozen=True)
class Basis:
    """Eigenvectors of the rows' second moments, in which weights are sought.

    Attributes
    ----------
    vectors : Tensor, shape (m, m)
        Columns; m is d where the intercept is free, and d + 1 where it is the weight of a feature.
    values : Tensor of float64, shape (m,)
        Of XᵀRX, for scaled rows.
    free : bool
        Whether the intercept is free; it is the last coordinate then.
    """

    vectors: Tensor
    values: Tensor
    free: bool

    def weights(self, Z: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (d, G, K) and intercepts (G, K) of coordinates (d + 1, G, K).

        Parameters
        ----------
        Z : Tensor, shape (d + 1, G, K)
        """
        if self.free:
            return self._product(self.vectors, Z[:-1]), Z[-1]
        both = self._product(self.vectors, Z)
        return both[:-1], both[-1]

    def coordinates(self, weights: Tensor, intercept: Tensor) -> Tensor:
        """Return the coordinates (d + 1, G, K) of weights or of a gradient.

        Parameters
        ----------
        weights : Tensor, shape (d, G, K)
        intercept : Tensor, shape (G, K)
        """
        last = intercept.to(weights.dtype)[None]
        if self.free:
            return torch.cat([self._product(self.vectors.T, weights), last])
        return self._product(self.vectors.T, torch.cat([weights, last]))

    @staticmethod
    def _product(matrix: Tensor, values: Tensor) -> Tensor:
        return (matrix @ values.reshape(len(values), -1)).view(-1, *values.shape[1:])


def make_basis(
    statistics: StreamStatistics,
    total_weight: float,
    factor: float,
    *,
    free: bool,
    dtype: torch.dtype,
) -> Basis:
    """Find the eigenvectors of the rows' second moments.

    Parameters
    ----------
    statistics : StreamStatistics
    total_weight : float
        t, the sum of the rows' weights.
    factor : float
        Factor that scales rows.
    free : bool
        Whether the intercept is free, so that the rows' mean is taken off.
    dtype : torch.dtype
        Of the vectors; they are found in float64.

    Returns
    -------
    Basis
    """
    mean = statistics.sample_mean * factor
    moments = statistics.sample_moments * factor**2
    if free:
        moments -= torch.outer(mean, mean)
    else:
        moments = torch.cat([moments, mean[None]])
        moments = torch.cat([moments, torch.cat([mean, mean.new_ones(1)])[:, None]], 1)
    values, vectors = torch.linalg.eigh(moments)
    return Basis(vectors.to(dtype), values.clamp_(min=0) * total_weight, free)
