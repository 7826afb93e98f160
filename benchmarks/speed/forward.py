"""The forward pass alone: decaf's engine beside torchvision, ONNX Runtime and OpenVINO.

One batch in memory, from normalised pixels to the logits, on all cores this process may use. The
contenders take turns, so that a machine whose speed drifts favours none.
"""

from __future__ import annotations

import importlib.util
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

BATCH = 32

Pass = Callable[[], np.ndarray]


def _torchvision_passes(model: torch.nn.Module, pixels: torch.Tensor) -> dict[str, Pass]:
    """torchvision's module as it is, in channels-last, and in bfloat16 channels-last."""
    last = torch.channels_last
    copy = {
        "torchvision fp32": (model, pixels),
        "torchvision fp32 channels-last": (_clone(model).to(memory_format=last), pixels),
        "torchvision bf16 channels-last": (
            _clone(model).bfloat16().to(memory_format=last),
            pixels.bfloat16(),
        ),
    }

    def passing(module: torch.nn.Module, batch: torch.Tensor) -> Pass:
        return lambda: module(batch).float().numpy()

    return {
        name: passing(module, batch.contiguous(memory_format=last) if "last" in name else batch)
        for name, (module, batch) in copy.items()
    }


def _clone(model: torch.nn.Module) -> torch.nn.Module:
    from torchvision.models import alexnet

    copy = alexnet(weights=None).eval()
    copy.load_state_dict(model.state_dict())
    return copy


def _decaf_passes(weights: Path, pixels: torch.Tensor) -> dict[str, Pass]:
    """The network part of decaf's engine, without its normalisation."""
    import decaf
    from decaf.backbone.engine import Engine
    from decaf.runtime.device import bf16_is_native

    backbone = decaf.load_backbone(weights)
    batch = pixels.contiguous(memory_format=torch.channels_last)

    def passing(precision: str) -> Pass:
        engine = Engine(backbone, ["fc8"], precision=precision)
        pixels = batch.bfloat16() if precision == "bf16" else batch
        return lambda: engine.forward(pixels)["fc8"].float().numpy()

    precisions = ["fp32", "bf16"] if bf16_is_native(torch.device("cpu")) else ["fp32"]
    return {f"decaf {precision}": passing(precision) for precision in precisions}


def _onnx_passes(model: torch.nn.Module, pixels: torch.Tensor) -> dict[str, Pass]:
    """ONNX Runtime and OpenVINO on the exported network, where they are installed."""
    wanted = {name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)}
    if not wanted or not importlib.util.find_spec("onnxscript"):
        return {}
    buffer = io.BytesIO()
    program: Any = torch.onnx.export(model, (pixels,), dynamo=True, verbose=False)
    program.save(buffer)
    data, batch = buffer.getvalue(), pixels.numpy()
    passes: dict[str, Pass] = {}
    if "onnxruntime" in wanted:
        import onnxruntime

        session = onnxruntime.InferenceSession(data)
        name = session.get_inputs()[0].name
        passes["ONNX Runtime fp32"] = lambda: session.run(None, {name: batch})[0]
    if "openvino" in wanted:
        import openvino

        core = openvino.Core()
        for precision, label in (("f32", "fp32"), ("bf16", "bf16")):
            options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
            compiled = core.compile_model(core.read_model(io.BytesIO(data)), "CPU", options)
            request = compiled.create_infer_request()
            passes[f"OpenVINO {label}"] = lambda request=request: request.infer({0: batch})[0]
    return passes


def measure_forward(weights: Path, rounds: int) -> dict[str, Any]:
    """Time all passes in turn.

    Parameters
    ----------
    weights : Path
        torchvision's AlexNet as a state dict.
    rounds : int
        Counted passes of each, after two that are not.

    Returns
    -------
    dict
        For each pass: median images/s, the slowest and fastest, and its largest relative error
        against torchvision in float32.
    """
    from torchvision.models import alexnet

    model = alexnet(weights=None).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(BATCH, 3, 224, 224, generator=generator)
    exported = _onnx_passes(model, pixels)
    with torch.inference_mode():
        own = _decaf_passes(weights, pixels)
        passes = {**_torchvision_passes(model, pixels), **own, **exported}
        expected = passes["torchvision fp32"]()
        errors = {
            name: float(np.linalg.norm(run() - expected) / np.linalg.norm(expected))
            for name, run in passes.items()
        }
        times: dict[str, list[float]] = {name: [] for name in passes}
        for count in range(rounds + 2):
            for name, run in passes.items():
                began = time.perf_counter()
                run()
                if count >= 2:
                    times[name].append(time.perf_counter() - began)
    return {
        name: {
            "images_per_s": round(BATCH / statistics.median(taken), 1),
            "slowest": round(BATCH / max(taken), 1),
            "fastest": round(BATCH / min(taken), 1),
            "relative_error": errors[name],
        }
        for name, taken in times.items()
    }
