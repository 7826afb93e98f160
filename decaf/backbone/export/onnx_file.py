"""A network as an ONNX model, which other programs run.

The graph is written down by the ``onnx`` package, without tracing: AlexNet is a list of steps of
ten kinds (`decaf.backbone.steps`), each of which is an operator of ONNX. So the same weights give
the same bytes, and the graph has the layers' names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import IO, Any

import numpy as np
import torch

from decaf.backbone.export.graph import INPUT, Graph, Node
from decaf.errors import DecafError, SettingError
from decaf.version import __version__

__all__ = ["Run", "onnx_is_there", "onnxruntime_is_there", "open_session", "run_onnx", "write_onnx"]

# Of 2020 (ONNX 1.8), and read by every ONNX Runtime since 1.6: nothing here needs a later one.
OPSET = 13
IR_VERSION = 7

# Readers of protocol buffers count the bytes of a message in 31 bits; a little of that is for names
# and metadata.
MAX_BYTES = 2**31 - 2**24

Run = Callable[[np.ndarray], Sequence[np.ndarray]]


def write_onnx(
    stream: IO[bytes],
    graph: Graph,
    name: str,
    metadata: Mapping[str, str],
    where: str | os.PathLike[str],
) -> None:
    """Write a model.

    Parameters
    ----------
    stream : binary stream
    graph : Graph
        As `decaf.backbone.export.graph.forward_graph` returns it.
    name : str
        Name of the graph.
    metadata : mapping of str to str
        What the model says of itself; its ``input`` is also the model's documentation.
    where : str or path
        The file, for messages.

    Raises
    ------
    SettingError
        If the model is larger than a file of this kind can be.
    """
    from onnx import TensorProto, helper, numpy_helper

    size = sum(values.nbytes for values in graph.constants.values())
    if size > MAX_BYTES:
        raise SettingError(
            f"{os.fspath(where)}: the model takes {size:,} bytes, an ONNX file at most "
            f"{MAX_BYTES:,}; export an earlier layer"
        )
    images: list[str | int | None] = ["N", graph.crop, graph.crop, 3]  # N: of any length
    described = metadata["input"]
    model = helper.make_model(
        helper.make_graph(
            [_operator(node) for node in graph.nodes],
            name,
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, images, described)],
            [
                helper.make_tensor_value_info(layer, TensorProto.FLOAT, ["N", *shape])
                for layer, shape in graph.outputs.items()
            ],
        ),
        producer_name="decaf",
        producer_version=__version__,
        doc_string=described,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, dict(metadata))
    for constant, values in graph.constants.items():
        # Into the model one by one: whole messages are copied each time they are put into another.
        array = np.ascontiguousarray(values, dtype=np.float32)
        model.graph.initializer.add().CopyFrom(numpy_helper.from_array(array, constant))
    stream.write(model.SerializeToString(deterministic=True))


def _operator(node: Node) -> Any:
    from onnx import helper

    attributes: dict[str, Any] = {**node.attributes}
    return helper.make_node(node.op, node.inputs, [node.name], node.name, **attributes)


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
    return onnxruntime.InferenceSession(
        os.fspath(path), options, providers=["CPUExecutionProvider"]
    )


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
        raise SettingError("to check the model, ONNX Runtime is needed: pip install 'decaf[onnx]'")
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
