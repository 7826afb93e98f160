"""Tensors written in the format of safetensors, with the errors of the system as they are.

The library's own writer hides the system's reason for a failure, and leaves a temporary file of its
own where its process is killed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import torch
from torch import Tensor

__all__ = ["write_tensors"]

# Bytes given to the system at a time.
_PIECE = 16 << 20
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


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
    # The widest numbers first, so that each tensor begins at a multiple of their size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
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
