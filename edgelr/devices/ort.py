"""An ``.onnx`` file in ONNX Runtime, on the CPU."""
from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelr.devices.session import Floats, Integers, checked
from edgelr.errors import BadInputError

# What ONNX Runtime raises when it loads a file that it can't run.
_REFUSALS = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented", "RuntimeException")


class OrtSession:
    """One ``.onnx`` file with one float32 input and a free batch, loaded. Raises ``BadInputError`` if ONNX Runtime refuses the bytes."""

    runtime = "onnxruntime"

    def __init__(self, data: bytes, threads: int = 1) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        refusals = tuple(getattr(state, name) for name in _REFUSALS)
        try:
            self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except refusals as error:
            raise BadInputError("ONNX Runtime can't load this .onnx file.", str(error).strip().splitlines()[0][:300]) from error
        self.threads = threads
        self._data = data
        self._input = self._session.get_inputs()[0]
        self._binding = self._bind_fixed_inputs()

    def _bind_fixed_inputs(self) -> Any:
        rng = np.random.default_rng(0)
        binding = self._session.io_binding()
        for spec in self._session.get_inputs():
            shape = [s if isinstance(s, int) else 1 for s in spec.shape]
            binding.bind_cpu_input(spec.name, rng.standard_normal(shape).astype(np.float32))
        for spec in self._session.get_outputs():
            binding.bind_output(spec.name, "cpu")
        return binding

    @property
    def integer_output(self) -> bool:
        return self._output_grid is not None

    def run(self, x: NDArray[Any]) -> Floats:
        samples = checked(x, tuple(s if isinstance(s, int) else None for s in self._input.shape[1:]))
        y: Floats = self._session.run(None, {self._input.name: samples})[0]
        return y

    def raw(self, x: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(x, dtype=np.float32)

    def run_int(self, x: NDArray[Any]) -> Integers:
        grid = self._output_grid
        if grid is None:
            raise BadInputError("This .onnx file has no integer output.", "its output doesn't come from a DequantizeLinear.")
        scale, zero_point = grid
        # Exact: (q - zero_point) * scale has one float32 rounding, far below half a step.
        return np.asarray(np.rint(self.run(x) / scale) + zero_point.astype(np.float32)).astype(zero_point.dtype)

    @cached_property
    def _output_grid(self) -> tuple[np.float32, np.integer[Any]] | None:
        """Scale and zero point of the DequantizeLinear that ends the file; ``None`` if none does."""
        import onnx
        from onnx import numpy_helper

        graph = onnx.load_from_string(self._data).graph
        constants = {t.name: t for t in graph.initializer}
        last = next((n for n in graph.node if graph.output[0].name in n.output), None)
        if last is None or last.op_type != "DequantizeLinear" or len(last.input) != 3 or not set(last.input[1:]) <= set(constants):
            return None
        scale, zero_point = (numpy_helper.to_array(constants[name]) for name in last.input[1:])
        return (np.float32(scale.item()), zero_point.dtype.type(zero_point.item())) if scale.ndim == 0 else None

    def invoke(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def close(self) -> None:
        self._session = self._binding = None
