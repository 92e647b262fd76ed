"""What ONNX Runtime makes of an ``.onnx`` file before it runs it: its own kernels, and the shapes of all values."""
from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelr.errors import BadInputError

# What ONNX Runtime raises when it loads or runs a file that it can't.
REFUSALS = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented", "RuntimeException")
_BLOCKED = "NchwcTransformer"  # rewrites float convolutions to channels in blocks, as the kernels for x86-64 want them


def optimised(data: bytes, *, blocked: bool = False) -> bytes:
    """The file as ONNX Runtime's optimisations on this machine leave it. ``blocked``: with its layouts for x86-64's float kernels.

    Without those the graph is the same on x86-64 and on Arm (1.31.1: ResNet-20 and MobileNetV2, int8 and float, on a Cortex-A72 under
    emulation). Raises ``BadInputError`` if ONNX Runtime refuses the bytes.
    """
    with tempfile.TemporaryDirectory(prefix="edgelr-") as folder:
        path = Path(folder) / "optimised.onnx"
        _session(data, optimised_to=str(path), disabled=() if blocked else (_BLOCKED,))
        return path.read_bytes()


def shapes_and_types(data: bytes, values: list[str]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Of ``values``, all outputs of the file, as one call gives them; free dimensions of inputs are 1. Raises as ``optimised``."""
    session = _session(data, off=True)
    feed: dict[str, NDArray[Any]] = {}
    for spec in session.get_inputs():
        word = spec.type[len("tensor(") : -1]
        shape = [s if isinstance(s, int) else 1 for s in spec.shape]
        feed[spec.name] = np.zeros(shape, {"float": "float32", "double": "float64"}.get(word, word))
    try:
        results = session.run(values, feed)
    except _refusals() as error:
        raise _refused(error) from error
    return {name: (tuple(r.shape), r.dtype) for name, r in zip(values, results, strict=True)}


def _session(data: bytes, *, optimised_to: str = "", disabled: tuple[str, ...] = (), off: bool = False) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if off:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimised_to:
        options.optimized_model_filepath = optimised_to
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled))
    except _refusals() as error:
        raise _refused(error) from error


def _refusals() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(getattr(state, name) for name in REFUSALS)


def _refused(error: Exception) -> BadInputError:
    return BadInputError("ONNX Runtime can't load this .onnx file.", str(error).strip().splitlines()[0][:300])
