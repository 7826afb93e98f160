"""Results that several fits to the same rows share, kept by an object handed to them.

Many methods, heads and settings are compared on the same two domains, and what costs most of their
time depends on the rows alone: their principal axes, the dimension that both domains agree on. It
is computed once with

    memory = Memory()
    for method in methods:
        method.fit(Xs, ys, Xt, memory=memory)

and nothing is kept without one. Results are the same but for rounding: with a memory some methods
decompose the target completely, which costs more for a single fit and less for several.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

__all__ = ["Memory", "recalled"]

T = TypeVar("T")

_GIBIBYTE = 1 << 30


class Memory:
    """Results by what they were computed from, the last used ones, up to so many bytes.

    Worth it for several fits to the same rows. Arrays that are read-only must not be changed by
    other ways meanwhile: they are hashed once.

    Parameters
    ----------
    most_bytes : int
        Largest size of all arrays in it; the least recently used go first. A larger result is not
        kept. Principal axes of 4,096 features take up to 128 MiB for each set of rows.
    """

    def __init__(self, most_bytes: int = _GIBIBYTE) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._results: OrderedDict[tuple[Any, ...], tuple[int, Any]] = OrderedDict()
        self._digests: dict[int, tuple[weakref.ref[np.ndarray], bytes]] = {}

    def __len__(self) -> int:
        return len(self._results)

    def recalled(self, what: str, make: Callable[[], T], *inputs: Any) -> T:
        """Return a result that was made before from the same inputs, or else make it.

        Parameters
        ----------
        what : str
            Names the computation.
        make : callable
            Computes the result from `inputs` and nothing else.
        *inputs : ndarray or hashable
            Arrays count by their type, shape and content.

        Returns
        -------
        object
            The value of `make`. Where it is kept its arrays are read-only from then on.
        """
        key = (what, *map(self._key, inputs))
        if key in self._results:
            self._results.move_to_end(key)
            known: T = self._results[key][1]
            return known
        made = make()
        size = _frozen_bytes(made)
        if size <= self.most_bytes:
            self._results[key] = size, made
            self.bytes += size
            while self.bytes > self.most_bytes:
                self.bytes -= self._results.popitem(last=False)[1][0]
        return made

    def _key(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        if value.flags.writeable:
            return _digest(value)
        # A read-only array does not change, so that it is hashed once.
        number = id(value)
        known = self._digests.get(number)
        if known is None or known[0]() is not value:
            # Another array may have the number when this one is gone.
            alive = weakref.ref(value, lambda _ref: self._digests.pop(number, None))
            known = self._digests[number] = alive, _digest(value)
        return known[1]


def recalled(memory: Memory | None, what: str, make: Callable[[], T], *inputs: Any) -> T:
    """Return what `Memory.recalled` returns, or make the result where there is no memory.

    Parameters
    ----------
    memory : Memory or None
    what, make, *inputs
        As in `Memory.recalled`.
    """
    return make() if memory is None else memory.recalled(what, make, *inputs)


def _digest(array: np.ndarray) -> bytes:
    told = f"{array.dtype.str} {array.shape}".encode()
    content = hashlib.sha256(np.ascontiguousarray(array).data)
    content.update(told)
    return content.digest()


def _frozen_bytes(value: Any) -> int:
    """Make all arrays of a result read-only; give their bytes."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
        return value.nbytes
    if isinstance(value, (tuple, list)):
        return sum(map(_frozen_bytes, value))
    if is_dataclass(value) and not isinstance(value, type):
        return sum(_frozen_bytes(getattr(value, field.name)) for field in fields(value))
    return 0
