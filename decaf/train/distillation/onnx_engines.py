"""Programs that run an ONNX file: OpenVINO and ONNX Runtime."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from decaf.backbone.export.onnx_file import open_session
from decaf.errors import SettingError
from decaf.runtime.names import name_text

__all__ = ["ENGINES", "choose_engine", "load_onnx", "onnx_metadata", "onnx_sha256"]

ENGINES = ("auto", "openvino", "onnxruntime")
"""Choices of the program that runs an ONNX file."""

# Images in a request to an engine: enough to fill it, few enough to share out a batch.
CHUNK = 32

Infer = Callable[[np.ndarray], np.ndarray]


def choose_engine(wish: str) -> str:
    """Return the engine to use: "auto" is OpenVINO where it is installed, else ONNX Runtime.

    Parameters
    ----------
    wish : {"auto", "openvino", "onnxruntime"}

    Raises
    ------
    SettingError
        If there is no such engine, or it is not installed.
    """
    if wish not in ENGINES:
        raise SettingError(f"`engine` must be one of {', '.join(ENGINES)}, got {wish!r:.40}")
    choice = [wish] if wish != "auto" else ["openvino", "onnxruntime"]
    there = [name for name in choice if find_spec(name) is not None]
    if not there:
        raise SettingError(
            f"an ONNX teacher needs {' or '.join(choice)}: pip install 'decaf-features[onnx]', or "
            "openvino"
        )
    return there[0]


def load_onnx(path: Path, engine: str, precision: str) -> tuple[str, Infer]:
    """Load an ONNX file.

    Parameters
    ----------
    path : Path
    engine : str
        One of `ENGINES`.
    precision : {"fp32", "bf16"}

    Returns
    -------
    str
        Program that runs it, with its version and arithmetic.
    callable
        From inputs (n, …), any n, to the one output (n, …), float32.

    Raises
    ------
    SettingError
        If the engine is not installed, has not that arithmetic, or refuses the file; if this has
        more than one output.
    """
    chosen = choose_engine(engine)
    if chosen == "onnxruntime" and precision == "bf16":
        raise SettingError("ONNX Runtime computes in fp32 on CPUs: install openvino for bf16")
    try:
        return (_openvino if chosen == "openvino" else _onnxruntime)(path, precision)
    except SettingError:
        raise
    except Exception as error:  # the engines raise types of their own
        raise _refused(path, chosen, error) from error


def _refused(path: Path, engine: str, error: Exception) -> SettingError:
    text = str(error).strip().splitlines() or [type(error).__name__]
    return SettingError(f"{path}: {engine} refuses it: {text[0][:300]}")


def _openvino(path: Path, precision: str) -> tuple[str, Infer]:
    import openvino

    model = openvino.Core().read_model(path)
    _check_outputs(path, [port.any_name for port in model.outputs])
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    fixed = model.inputs[0].get_partial_shape()[0]
    size = fixed.get_length() if fixed.is_static else CHUNK

    def infer(inputs: np.ndarray) -> np.ndarray:
        parts: dict[int, np.ndarray] = {}
        queue = openvino.AsyncInferQueue(compiled, streams)

        def keep(request: Any, start: int) -> None:
            parts[start] = np.array(request.get_output_tensor(0).data, np.float32)

        queue.set_callback(keep)
        for start in range(0, len(inputs), size):
            queue.start_async(_padded(inputs[start : start + size], size), start)
        queue.wait_all()
        return np.concatenate([parts[start] for start in sorted(parts)])[: len(inputs)]

    return f"openvino {openvino.__version__.split('-')[0]} {precision}", infer


def _onnxruntime(path: Path, precision: str) -> tuple[str, Infer]:
    import onnxruntime

    session = open_session(path)
    _check_outputs(path, [each.name for each in session.get_outputs()])
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
    size = shape[0] if isinstance(shape[0], int) else CHUNK

    def infer(inputs: np.ndarray) -> np.ndarray:
        parts = [
            session.run(None, {name: _padded(inputs[start : start + size], size)})[0]
            for start in range(0, len(inputs), size)
        ]
        return np.concatenate(parts)[: len(inputs)].astype(np.float32, copy=False)

    return f"onnxruntime {onnxruntime.__version__} {precision}", infer


def _check_outputs(path: Path, names: Sequence[str]) -> None:
    if len(names) != 1:
        raise SettingError(
            f"{path}: has {len(names)} outputs ({', '.join(names[:5])}), one vector of classes "
            "expected"
        )


def _padded(part: np.ndarray, size: int) -> np.ndarray:
    """Fill a request up, so that all have one shape: its plan is made once, and its bits hold."""
    if len(part) == size:
        return part
    return np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])


# Where a tensor lies in a file beside the model (onnx.proto3, TensorProto.external_data): an entry
# whose first field is the key "location" and whose second is the name, of fewer than 128 bytes.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


def onnx_sha256(path: Path) -> str:
    """Return the SHA-256 of an ONNX file, and of the files beside it that hold its tensors.

    Parameters
    ----------
    path : path

    Raises
    ------
    SettingError
        If one of them cannot be read.
    """
    digest = hashlib.sha256()
    content = _read(path)
    digest.update(content)
    names = {content[m.end() : m.end() + m[1][0]] for m in _LOCATION.finditer(content)}
    for name in sorted(names):
        digest.update(_read(path.parent / name_text(name)))
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError(f"{path}: cannot be read: {reason}") from error


def onnx_metadata(path: Path) -> dict[str, str]:
    """Return what an ONNX file says of itself; nothing where ONNX Runtime is not installed.

    Parameters
    ----------
    path : path
    """
    if find_spec("onnxruntime") is not None:
        try:
            session = open_session(path)
        except Exception as error:
            raise _refused(path, "onnxruntime", error) from error
        return dict(session.get_modelmeta().custom_metadata_map)
    return {}
