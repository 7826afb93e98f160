"""Both domains seen from the principal axes of the target, where its covariance is a diagonal.

Let Xₜ = 1 mᵀ + U D Vᵀ be the target rows with their mean m and the complete decomposition of the
centred rows, s = D²/n_t the variances along the axes V. All that the subspace methods look for,
the leading eigenvectors of some mixture of the domains' covariances, turns along with the features.
In the orthonormal coordinates R = [V, Q], Q spanning what source rows and m have off the axes, the
target's covariance is diag(s) and the source's is of as few dimensions as there are source rows.
A product with a vector then costs n_s d, where it costs n_t d with the rows themselves.

V depends on the target alone. Found once for many sources (see
`decaf.adapt.algebra.fit_cache`) it makes each fit cheap; for a single one it would cost
more than it saves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator

from decaf.adapt.algebra.eigenpairs import above_rounding, leading_eigenpairs
from decaf.adapt.algebra.fit_cache import Memory, recalled
from decaf.adapt.algebra.principal import Subspace, principal_subspace

__all__ = ["DomainAxes", "complete_subspace"]

# Squared length, relative to the longest row, that rounding gives to what lies outside of the axes.
_OUTSIDE_TOL = 1e-20


@dataclass(frozen=True)
class DomainAxes:
    """Source rows and the target's moments in the coordinates R = [V, Q].

    Attributes
    ----------
    target : Subspace
        All principal components of the target rows: m, V and s.
    n_target : int
        Number of target rows.
    others : ndarray of float64, shape (d, q)
        Q.
    source : ndarray of float64, shape (n_s, r + q)
        Source rows times R.
    mean : ndarray of float64, shape (r + q,)
        m times R.
    """

    target: Subspace
    n_target: int
    others: np.ndarray
    source: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, Xs: np.ndarray, Xt: np.ndarray, memory: Memory | None) -> DomainAxes | None:
        """Find the coordinates of two domains where they are remembered; None where they are not.

        Parameters
        ----------
        Xs, Xt : ndarray of float32 or float64, shape (n_s, d) and (n_t, d)
            Scaled rows.
        memory : Memory or None
        """
        if memory is None or len(Xt) <= len(Xs):
            return None
        return memory.recalled("domain axes", lambda: cls._compute(Xs, Xt, memory), Xs, Xt)

    @classmethod
    def _compute(cls, Xs: np.ndarray, Xt: np.ndarray, memory: Memory) -> DomainAxes:
        target = complete_subspace(Xt, memory)
        rows = np.concatenate([Xs.astype(np.float64), target.mean[None]])
        inside = rows @ target.basis
        outside = rows - inside @ target.basis.T
        # An orthonormal basis of what is outside, without directions that only rounding has. What
        # lies just outside is mostly rounding, which may point inside again: it is taken out.
        lengths, turn = np.linalg.eigh(outside @ outside.T)
        kept = lengths > _OUTSIDE_TOL * max(float(np.square(rows).sum(axis=1).max()), 1e-300)
        others = outside.T @ (turn[:, kept] / np.sqrt(lengths[kept]))
        others -= target.basis @ (target.basis.T @ others)
        others = np.linalg.qr(others)[0]
        rows = np.hstack([inside, outside @ others])
        return cls(target, len(Xt), others, rows[:-1], rows[-1])

    def lift(self, vectors: np.ndarray) -> np.ndarray:
        """Return R times vectors, (r + q, m): the features' (d, m).

        Parameters
        ----------
        vectors : ndarray, shape (r + q, m)
        """
        r = self.target.dim
        lifted: np.ndarray = self.target.basis @ vectors[:r] + self.others @ vectors[r:]
        return lifted

    def coordinates(self, vectors: np.ndarray) -> np.ndarray:
        """Return Rᵀ times vectors of features, (d, m): the coordinates' (r + q, m).

        Parameters
        ----------
        vectors : ndarray, shape (d, m)
        """
        return np.concatenate([self.target.basis.T @ vectors, self.others.T @ vectors])

    def mixture(self, share: float, k: int, *, apart: bool = True) -> Subspace:
        """Find the principal components of a mixture of the domains, no more than its rank.

        Parameters
        ----------
        share : float
            p, the weight of the target's rows together, from 0 to 1; that of the source's is 1 - p.
        k : int
            How many.
        apart : bool
            Whether the domains keep their means. Otherwise each counts about its own.

        Returns
        -------
        Subspace

        Notes
        -----
        The covariance is (1-p) C_S + p diag(s) + p(1-p) δδᵀ with δ the difference of the means.
        """
        n_s, r = len(self.source), self.target.dim
        centre = self.source.mean(axis=0)
        columns = (self.source - centre) * np.sqrt((1 - share) / n_s)
        if apart:
            delta = np.sqrt(share * (1 - share)) * (self.mean - centre)
            columns = np.concatenate([columns, delta[None]])
        diagonal = np.zeros((self.source.shape[1], 1))
        diagonal[:r, 0] = share * self.target.variances

        def multiply(vectors: np.ndarray) -> np.ndarray:
            product: np.ndarray = diagonal * vectors + columns.T @ (columns @ vectors)
            return product

        k = min(k, len(diagonal))
        values, vectors = leading_eigenpairs(
            multiply, len(diagonal), k, start=self._near(columns, k)
        )
        alive = above_rounding(values)
        mean = share * self.mean + (1 - share) * centre
        lifted = self.lift(np.column_stack([mean, vectors[:, alive]]))
        return Subspace(lifted[:, 0], lifted[:, 1:], values[alive])

    def rows(self, size: float) -> LinearOperator:
        """Return all rows over a size, those of the target turned so that few are dense.

        The first are the source's and √n_t m, the others D Vᵀ: what [1/√n_t, U]ᵀ makes of the
        target's rows. What the columns of [1/√n_t, U] do not span is zero, so that XᵀX stays, as do
        products with vectors that are constant on each domain; see `sums`.

        Parameters
        ----------
        size : float
        """
        top = np.concatenate([self.source, np.sqrt(self.n_target) * self.mean[None]])
        return _arrow_rows(top / size, np.sqrt(self.n_target * self.target.variances) / size)

    def sums(self, of_source: float, of_target: float) -> np.ndarray:
        """Return a vector that is constant on each domain's rows as one over those of `rows`.

        Parameters
        ----------
        of_source : float
            Value on the rows of the source.
        of_target : float
            Value on the rows of the target.
        """
        vector = np.zeros(len(self.source) + 1 + self.target.dim)
        vector[: len(self.source)] = of_source
        vector[len(self.source)] = of_target * np.sqrt(self.n_target)
        return vector

    def _near(self, columns: np.ndarray, k: int) -> np.ndarray:
        """Return the leading directions of both parts of a covariance."""
        main = np.linalg.svd(columns, full_matrices=False)[2][:k].T
        return np.hstack([np.eye(columns.shape[1], min(k, self.target.dim)), main])


def _arrow_rows(top: np.ndarray, diagonal: np.ndarray) -> LinearOperator:
    """Return the rows of `top` above a diagonal in the first columns, as an operator."""
    n, r = len(top), len(diagonal)

    def times(V: np.ndarray) -> np.ndarray:
        V = V.reshape(top.shape[1], -1)
        return np.concatenate([top @ V, diagonal[:, None] * V[:r]])

    def transposed_times(V: np.ndarray) -> np.ndarray:
        V = V.reshape(n + r, -1)
        product: np.ndarray = top.T @ V[:n]
        product[:r] += diagonal[:, None] * V[n:]
        return product

    return LinearOperator(
        (n + r, top.shape[1]),
        matvec=times,
        rmatvec=transposed_times,
        matmat=times,
        rmatmat=transposed_times,
        dtype=np.float64,
    )


def complete_subspace(X: np.ndarray, memory: Memory | None) -> Subspace:
    """Find all principal components of rows (n, d), or recall them.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    memory : Memory or None
    """
    return recalled(memory, "principal components", lambda: principal_subspace(X, min(X.shape)), X)
