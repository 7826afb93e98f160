"""Files of tensors in the format of safetensors: weights, heads and checkpoints.

What is not tensors is in the header: texts, JSON where they are more than a word. The library's own
writer hides the system's reason for a failure, and leaves a temporary file of its own where its
process is killed; so there is one here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from decaf.errors import DecafError
from decaf.images.listing.recognise import is_kind, not_wanted

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TensorFileKind", "content_sha256", "json_field", "write_tensors"]

T = TypeVar("T")

# Bytes given to the system at a time.
_PIECE = 16 << 20
_TYPES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


@dataclass(frozen=True)
class TensorFileKind:
    """A kind of file of tensors that decaf writes.

    Parameters
    ----------
    name : str
        One of `decaf.images.listing.recognise.KINDS`.
    format : str
        What its header says under ``format``.
    schemas : tuple of str
        Those that this version reads.
    error : type of DecafError
        What is raised for a file that is none, or damaged.
    """

    name: str
    format: str
    schemas: tuple[str, ...]
    error: type[DecafError]

    @contextmanager
    def open(
        self, path: str | os.PathLike[str], framework: str
    ) -> Iterator[tuple[dict[str, str], Any]]:
        """Open a file that must be of this kind; of its tensors nothing is read yet.

        Parameters
        ----------
        path : path
        framework : {"pt", "numpy"}
            What its tensors become.

        Yields
        ------
        dict of str to str
            The header.
        safetensors.safe_open
        """
        where = os.fspath(path)
        try:
            with safe_open(where, framework=framework) as file:
                header = file.metadata() or {}
                self._check(where, header)
                yield header, file
        except SafetensorError as error:
            if not is_kind(where, self.name):
                raise self.error(not_wanted(where, self.name)) from None
            raise self.error(f"{where}: damaged: {error}") from None
        except OSError as error:
            raise self.error(f"{where}: cannot be read: {error.strerror or error}") from None

    def _check(self, where: str, header: Mapping[str, str]) -> None:
        if header.get("format") != self.format:
            raise self.error(
                f"{not_wanted(where, self.name)} (its header says format "
                f"{header.get('format')!r:.60}, not {self.format!r})"
            )
        if header.get("schema") not in self.schemas:
            *others, last = self.schemas
            read = f"schemas {', '.join(others)} and {last}" if others else f"schema {last}"
            raise self.error(
                f"{where}: written in schema {header.get('schema')!r:.60} by decaf "
                f"{header.get('decaf_version', '?')[:60]}; this version reads {read}"
            )


def content_sha256(tensors: Mapping[str, npt.NDArray[Any]], header: Mapping[str, str]) -> str:
    """Return the SHA-256 of tensors and of the header, but for what is under ``sha256`` in it.

    Parameters
    ----------
    tensors : mapping of str to ndarray
    header : mapping of str to str
    """
    total = hashlib.sha256()
    for key in sorted(header):
        if key != "sha256":
            total.update(json.dumps([key, header[key]]).encode() + b"\n")
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name])
        total.update(json.dumps([name, list(values.shape)]).encode() + b"\n")
        total.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    return total.hexdigest()


def json_field(header: Mapping[str, str], key: str, kind: type[T]) -> T:
    """Return a JSON value of a header.

    Parameters
    ----------
    header : mapping of str to str
    key : str
    kind : type
        What the value must be: dict or list.

    Raises
    ------
    ValueError
        If there is no such value.
    """
    try:
        value = json.loads(header[key], parse_constant=_refuse)
    except (KeyError, ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise ValueError(f"its header has no JSON {kind.__name__} under {key!r}")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON value")


def write_tensors(
    stream: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors, and texts that belong to them, as one safetensors file.

    Parameters
    ----------
    stream : binary stream
    tensors : mapping of str to Tensor
        On any device, of any strides.
    metadata : mapping of str to str

    Raises
    ------
    OSError
        Where the disk fails.
    """
    import torch

    # The widest numbers first, so that each tensor begins at a multiple of their size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPES[str(tensor.dtype)],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    stream.write(len(encoded).to_bytes(8, "little") + encoded)
    for name in names:
        tensor = tensors[name].detach().cpu().contiguous()
        view = tensor.reshape(-1).view(torch.uint8).numpy().data
        for start in range(0, len(view), _PIECE):
            stream.write(view[start : start + _PIECE])
