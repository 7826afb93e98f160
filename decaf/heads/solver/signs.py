"""Classes as columns of -1 and 1."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["signs_of"]


def signs_of(codes: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Return 1 where a row is of the column's class and -1 elsewhere.

    Parameters
    ----------
    codes : Tensor of int64, shape (n,)
    n_classes : int
        Two classes give one column, positive for class 1.
    dtype : torch.dtype

    Returns
    -------
    Tensor, shape (n, K)
    """
    if n_classes == 2:
        return (2 * codes - 1).to(dtype)[:, None]
    signs = torch.full((len(codes), n_classes), -1.0, dtype=dtype, device=codes.device)
    return signs.scatter_(1, codes[:, None], 1.0)
