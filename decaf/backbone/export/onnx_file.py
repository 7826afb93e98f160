"""A network as an ONNX model, which other programs run, normalisation included.

The graph is written down by the ``onnx`` package, without tracing: AlexNet is a list of steps of
ten kinds (`decaf.backbone.steps`), each of which is an operator of ONNX. So the same weights give
the same bytes, and the graph has the layers' names.

It takes pixels as decoders give them, 8 bits and not normalised: what is most often done wrong
outside of decaf (other means, 0 to 1 instead of 0 to 255, channels and axes swapped, a mean image
that was left behind) is then either done in here, or refused for its type or shape.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from decaf.backbone.export import INPUT
from decaf.backbone.spec import ArchSpec, map_sizes
from decaf.backbone.steps import Step, needed_steps
from decaf.backbone.weights.state import Weights
from decaf.errors import DecafError, SettingError
from decaf.runtime.wording import printable
from decaf.version import __version__

__all__ = ["Run", "onnx_is_there", "onnxruntime_is_there", "open_session", "run_onnx", "write_onnx"]

# Of 2020 (ONNX 1.8), and read by every ONNX Runtime since 1.6: nothing here needs a later one.
OPSET = 13
IR_VERSION = 7

# Readers of protocol buffers count the bytes of a message in 31 bits; a little of that is for names
# and metadata.
MAX_BYTES = 2**31 - 2**24

_FLOAT = 1  # TensorProto.DataType

Run = Callable[[np.ndarray], Sequence[np.ndarray]]


# One operator: ONNX's name of it, its own name (which its output has too), the names of its inputs,
# and its attributes.
Operator = tuple[str, str, tuple[str, ...], Mapping[str, Any]]


def write_onnx(
    stream: IO[bytes],
    weights: Weights,
    outputs: Mapping[str, tuple[int, ...]],
    normalisation: tuple[np.ndarray, np.ndarray],
    metadata: Mapping[str, str],
    where: str | os.PathLike[str],
) -> None:
    """Write a model in operators of ONNX's version 13.

    It ends at the deepest layer, and holds only the parameters that it needs.

    Parameters
    ----------
    stream : binary stream
    weights : Weights
    outputs : mapping of str to tuple of int
        The layers, and the shape of each for one image.
    normalisation : tuple of ndarray
        Factor and shift of the pixels, as `decaf.backbone.export.models.pixel_normalisation`
        returns them.
    metadata : mapping of str to str
        Metadata of the model; its ``input`` is also the model's documentation.
    where : str or path
        The file, for messages.

    Raises
    ------
    SettingError
        If the model is larger than a file of this kind can be.
    """
    from onnx import TensorProto, helper, numpy_helper

    operators, constants = _graph(weights, [*outputs], normalisation)
    size = sum(values.nbytes for values in constants.values())
    if size > MAX_BYTES:
        raise SettingError(
            f"{os.fspath(where)}: the model takes {size:,} bytes, an ONNX file at most "
            f"{MAX_BYTES:,}; export an earlier layer"
        )
    crop = weights.preprocess.crop
    images: list[str | int | None] = ["N", crop, crop, 3]  # N: of any length
    described = metadata["input"]
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(operator, inputs, [name], name, **attributes)
                for operator, name, inputs, attributes in operators
            ],
            weights.spec.name,
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, images, described)],
            [
                helper.make_tensor_value_info(layer, TensorProto.FLOAT, ["N", *shape])
                for layer, shape in outputs.items()
            ],
        ),
        producer_name="decaf",
        producer_version=__version__,
        doc_string=described,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, dict(metadata))
    for constant, values in constants.items():
        # Into the model one by one: whole messages are copied each time they are put into another.
        array = np.ascontiguousarray(values, dtype=np.float32)
        model.graph.initializer.add().CopyFrom(numpy_helper.from_array(array, constant))
    stream.write(model.SerializeToString(deterministic=True))


def _graph(
    weights: Weights, layers: Sequence[str], normalisation: tuple[np.ndarray, np.ndarray]
) -> tuple[list[Operator], dict[str, np.ndarray]]:
    """List the operators, in the order in which they run, and the constants."""
    operators: list[Operator] = [
        ("Transpose", "channels_first", (INPUT,), {"perm": (0, 3, 1, 2)}),
        ("Cast", "float_pixels", ("channels_first",), {"to": _FLOAT}),
        ("Mul", "scaled_pixels", ("float_pixels", "pixel_factor"), {}),
        ("Add", "normalised", ("scaled_pixels", "pixel_shift"), {}),
    ]
    constants = dict(zip(("pixel_factor", "pixel_shift"), normalisation, strict=True))
    for step in needed_steps(weights.spec, layers):
        made = _step_operators(step, weights.spec, operators[-1][1])
        operators += made
        if step.kind in ("conv", "linear"):
            for name in (f"{step.name}.weight", f"{step.name}.bias"):
                constants[name] = weights.state[name].numpy()
        elif step.kind == "adaptive_pool" and made:
            constants |= _averaging(weights.spec)
    return operators, constants


def _step_operators(step: Step, spec: ArchSpec, x: str) -> list[Operator]:
    """Return the operators of a step whose input is the value named `x`."""
    name = step.taps[0] if step.taps else step.name or step.kind
    weight, bias = f"{step.name}.weight", f"{step.name}.bias"
    match step.kind:
        case "conv":
            conv = spec.convs[int(step.name[-1]) - 1]
            attributes: dict[str, Any] = {
                "kernel_shape": (conv.kernel,) * 2,
                "strides": (conv.stride,) * 2,
                "pads": (conv.padding,) * 4,
                "group": conv.groups,
            }
            return [("Conv", name, (x, weight, bias), attributes)]
        case "act":
            return [({"relu": "Relu", "tanh": "Tanh"}[spec.activation], name, (x,), {})]
        case "lrn":
            assert spec.lrn is not None
            lrn = spec.lrn
            # ONNX divides alpha by the size of the window, the paper (and decaf) does not.
            attributes = {
                "size": lrn.size,
                "alpha": lrn.alpha * lrn.size,
                "beta": lrn.beta,
                "bias": lrn.k,
            }
            return [("LRN", name, (x,), attributes)]
        case "pool":
            attributes = {
                "kernel_shape": (spec.pool.kernel,) * 2,
                "strides": (spec.pool.stride,) * 2,
            }
            return [("MaxPool", name, (x,), attributes)]
        case "adaptive_pool":
            if spec.adaptive_pool == map_sizes(spec)["pool5"]:
                return []
            return [
                ("MatMul", f"{name}_rows", ("average_rows", x), {}),
                ("MatMul", name, (f"{name}_rows", "average_columns"), {}),
            ]
        case "flatten":
            return [("Flatten", name, (x,), {"axis": 1})]
        case "linear":
            return [("Gemm", name, (x, weight, bias), {"transB": 1})]
        case "softmax":
            return [("Softmax", name, (x,), {"axis": 1})]
    raise AssertionError(f"no operator for {step.kind}")


def _averaging(spec: ArchSpec) -> dict[str, np.ndarray]:
    """Return the matrix A for which A X Aᵀ is the adaptive average of a map X.

    Of s rows, number i of o averages those from floor(i s / o) to before ceil((i + 1) s / o).
    ONNX has no such operator, since its windows differ in size where o does not divide s.
    """
    assert spec.adaptive_pool is not None
    size, out = map_sizes(spec)["pool5"], spec.adaptive_pool
    matrix = np.zeros((out, size), np.float32)
    for row in range(out):
        first, end = row * size // out, -((row + 1) * size // -out)
        matrix[row, first:end] = 1 / (end - first)
    return {"average_rows": matrix, "average_columns": np.ascontiguousarray(matrix.T)}


def onnx_is_there() -> bool:
    """Tell whether the ``onnx`` package, which writes models, is installed."""
    return find_spec("onnx") is not None


def onnxruntime_is_there() -> bool:
    """Tell whether ONNX Runtime is installed."""
    return find_spec("onnxruntime") is not None


def open_session(path: str | os.PathLike[str]) -> Any:
    """Open a model in ONNX Runtime, on the CPU, with as many threads as torch has.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    onnxruntime.InferenceSession
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only, and those are raised as well
    model: str | bytes = os.fspath(path)
    if printable(model) != model:  # it takes names of text alone
        model = Path(path).read_bytes()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_onnx(path: str | os.PathLike[str], layers: Sequence[str]) -> tuple[str, Run]:
    """Load a model into ONNX Runtime.

    Parameters
    ----------
    path : str or path
        The file.
    layers : sequence of str
        The outputs to compute.

    Returns
    -------
    (str, callable)
        The program's name with its version; and a function that maps pixels, uint8
        (N, crop, crop, 3), to the values of the layers.

    Raises
    ------
    SettingError
        If ONNX Runtime is not installed.
    DecafError
        If it refuses the model.
    """
    if not onnxruntime_is_there():
        raise SettingError(
            "to check the model, ONNX Runtime is needed: pip install 'decaf-features[onnx]'"
        )
    import onnxruntime

    program = f"ONNX Runtime {onnxruntime.__version__}"
    try:
        session = open_session(path)
    except Exception as error:
        # Its exceptions have no base of their own.
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = " ".join(str(error).split())[:300]
        raise DecafError(f"{program} cannot read the model: {reason}") from error
    return program, lambda pixels: session.run(list(layers), {INPUT: pixels})
