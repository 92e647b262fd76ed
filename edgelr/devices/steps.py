"""A step network in its runtime: its states carried from call to call."""
from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgelr.devices.host import meant
from edgelr.errors import BadInputError

Floats = NDArray[np.float32]


def run_steps(data: bytes, format: Literal["tflite", "onnx"], x: Floats) -> Floats:
    """The outputs [N, ...] after the last step of sequences ``x`` [N, time, features], from states of zeros.

    Computed as on a processor whose kernels don't saturate (``meant``). The first input and output of the file are the step's,
    further ones are states in the same order. Raises BadInputError for a file whose states don't match.
    """
    return _onnx(data, x) if format == "onnx" else _tflite(data, x)


def _onnx(data: bytes, x: Floats) -> Floats:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session: Any = onnxruntime.InferenceSession(meant(data), options, providers=["CPUExecutionProvider"])
    (entry, *before), outputs = session.get_inputs(), [o.name for o in session.get_outputs()]
    _check(len(before), len(outputs) - 1)
    carried = [np.zeros((len(x), *s.shape[1:]), np.float32) for s in before]
    result = np.zeros(0, np.float32)
    for t in range(x.shape[1]):
        names = dict(zip((s.name for s in before), carried, strict=True))
        result, *carried = session.run(outputs, {entry.name: x[:, t : t + 1], **names})
    return result


def _tflite(data: bytes, x: Floats) -> Floats:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (entry, *before), (result, *after) = interpreter.get_input_details(), interpreter.get_output_details()
    _check(len(before), len(after))
    rows = []
    for sample in x:
        carried = [np.zeros(d["shape"], np.float32) for d in before]
        for t in range(len(sample)):
            for place, value in zip([entry, *before], [sample[None, t : t + 1], *carried], strict=True):
                interpreter.set_tensor(place["index"], value)
            interpreter.invoke()
            carried = [interpreter.get_tensor(d["index"]) for d in after]
        rows.append(interpreter.get_tensor(result["index"]))
    return np.concatenate(rows)


def _check(before: int, after: int) -> None:
    if before != after:
        raise BadInputError("this is no step network", f"it takes {before} states and gives {after}", "name a file that --streaming wrote")
