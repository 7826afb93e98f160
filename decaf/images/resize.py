"""The resize of 8-bit pixels by torch's antialiased bilinear filter, also without importing torch.

torchvision's transforms call the same filter: results are equal bit for bit to
`torchvision.transforms.v2` on uint8 tensors. torchvision's pipelines of PIL images and of float
tensors round some pixels to the neighbouring grey level.

Importing torch takes 1.5 to 3 s, nearly all of it for what is written in Python. A decoding process
needs one filter: it loads torch's library of operators alone, in a tenth of the time, and calls it
through torch's stable C interface (`torch/csrc/stable/c/shim.h`), which is there since torch 2.10.
Where that cannot be done, or does not give the pixels that are known, torch is imported.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

__all__ = ["load_filter", "resize"]

Pixels = npt.NDArray[np.uint8]

_LIBRARIES = {"linux": "libtorch_cpu.so", "darwin": "libtorch_cpu.dylib"}
# The release whose interface is spoken, as `torch_call_dispatcher` takes it.
_INTERFACE = 2 << 56 | 10 << 48
_FILTER = b"aten::_upsample_bilinear2d_aa"
# The ramp of `load_filter`, resized.
_RAMP = [11, 12, 13, 16, 17, 18, 29, 30, 31, 34, 35, 36]


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize an image.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        C-contiguous.
    height, width : int

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        C-contiguous.
    """
    library = None if "torch" in sys.modules else load_filter()
    if library is not None:
        return library.resize(pixels, height, width)
    import torch
    from torch.nn.functional import interpolate

    # With the strides of a batch spelt out torch sees that this is channels last, and gives the
    # result so too, a fifth faster; after a mere unsqueeze it does not.
    batch = torch.from_numpy(np.require(pixels, requirements="W"))[None].permute(0, 3, 1, 2)
    resized = interpolate(batch, size=(height, width), mode="bilinear", antialias=True)
    rows: Pixels = resized[0].permute(1, 2, 0).contiguous().numpy()
    return rows


@functools.cache
def load_filter() -> _Operators | None:
    """Load torch's library of operators without torch, for `resize`.

    Returns
    -------
    object or None
        None where that cannot be done.
    """
    spec = importlib.util.find_spec("torch")
    name = _LIBRARIES.get(sys.platform)
    if spec is None or spec.origin is None or name is None:
        return None
    ramp = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    try:
        operators = _Operators(Path(spec.origin).parent / "lib" / name)
        known = operators.resize(ramp, 2, 2).ravel().tolist() == _RAMP
    except (OSError, AttributeError, RuntimeError):
        return None
    return operators if known else None


class _Operators:
    """torch's operators by its C interface.

    Raises
    ------
    OSError, AttributeError
        Where the library cannot be loaded, or has no such interface.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._uint8 = library.aoti_torch_dtype_uint8()
        self._cpu = library.aoti_torch_device_type_cpu()
        handle = ctypes.c_void_p
        out = ctypes.POINTER(handle)
        sizes = ctypes.POINTER(ctypes.c_int64)
        self._tensor_of = _checked(
            library.aoti_torch_create_tensor_from_blob,
            *(handle, ctypes.c_int64, sizes, sizes, ctypes.c_int64),
            *(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, out),
        )
        self._pixels_of = _checked(library.aoti_torch_get_data_ptr, handle, out)
        self._strides_of = _checked(library.aoti_torch_get_strides, handle, ctypes.POINTER(sizes))
        self._delete = _checked(library.aoti_torch_delete_tensor_object, handle)
        self._new_list = _checked(library.torch_new_list_reserve_size, ctypes.c_size_t, out)
        self._append = _checked(library.torch_list_push_back, handle, ctypes.c_uint64)
        self._call = _checked(
            library.torch_call_dispatcher,
            *(ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint64), ctypes.c_uint64),
        )

    def resize(self, pixels: Pixels, height: int, width: int) -> Pixels:
        """Resize an image; see `resize`. RuntimeError for whatever torch raises."""
        image = self._image(pixels)
        size = ctypes.c_void_p()
        self._new_list(2, size)
        for each in (height, width):
            self._append(size, each)
        # Tensor input, SymInt[2] output_size, bool align_corners, float? scales_h, float? scales_w:
        # what is handed over is the callee's. The result comes in place of the first.
        stack = (ctypes.c_uint64 * 5)(image.value or 0, size.value or 0, 0, 0, 0)
        self._call(_FILTER, b"", stack, _INTERFACE)
        resized = ctypes.c_void_p(stack[0])
        try:
            return self._copied(resized, height, width)
        finally:
            self._delete(resized)

    def _image(self, pixels: Pixels) -> ctypes.c_void_p:
        """Return a tensor (1, 3, H, W), channels last, of the memory of an array (H, W, 3)."""
        rows, columns, _ = pixels.shape
        sizes = (ctypes.c_int64 * 4)(1, 3, rows, columns)
        strides = (ctypes.c_int64 * 4)(pixels.size, 1, 3 * columns, 3)
        image = ctypes.c_void_p()
        place = pixels.ctypes.data
        self._tensor_of(place, 4, sizes, strides, 0, self._uint8, self._cpu, 0, image)
        return image

    def _copied(self, image: ctypes.c_void_p, height: int, width: int) -> Pixels:
        """Return an array (height, width, 3) of a tensor of such a shape, whatever its strides."""
        memory, strides = ctypes.c_void_p(), ctypes.POINTER(ctypes.c_int64)()
        self._pixels_of(image, memory)
        self._strides_of(image, strides)
        values = (ctypes.c_uint8 * (3 * height * width)).from_address(memory.value or 0)
        _, channel, row, column = strides[:4]
        flat: Pixels = np.frombuffer(memoryview(values), np.uint8)
        seen = as_strided(flat, (height, width, 3), (row, column, channel), writeable=False)
        return np.array(seen, order="C")


def _checked(function: Any, *arguments: Any) -> Callable[..., None]:
    """Declare a function of the interface, whose result says whether it has failed."""
    function.argtypes = arguments
    function.restype = ctypes.c_int32
    function.errcheck = _raise_failed
    return cast("Callable[..., None]", function)


def _raise_failed(failed: int, function: Any, _: object) -> None:
    if failed:
        raise RuntimeError(f"torch: {function.__name__} has failed")
