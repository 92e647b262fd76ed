"""A ``.tflite`` file in LiteRT, with its own XNNPACK kernels."""
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelr.devices.session import Floats, Integers, checked
from edgelr.errors import BadInputError


class LiteRTSession:
    """One ``.tflite`` file, loaded. Raises ``BadInputError`` if LiteRT refuses the bytes.

    ``channels_last``: an input (and output, unless ``channels_last_output`` says otherwise) with channels is [1, H, W, C] or [1, L, C]
    in the file, and [N, C, H, W] or [N, C, L] outside. A file may hold the latter as [1, 1, L, C]: the height of 1 is put in and taken out.
    """

    runtime = "litert"

    def __init__(self, data: bytes, threads: int = 1, *, channels_last: bool = True, channels_last_output: bool | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.threads = threads
        self._channels_last = channels_last
        self._channels_last_output = channels_last if channels_last_output is None else channels_last_output
        try:
            self._interpreter: Any = Interpreter(model_content=data, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadInputError("LiteRT can't load this .tflite file.", str(error).strip().splitlines()[0][:300]) from error
        self._inputs: list[dict[str, Any]] = self._interpreter.get_input_details()
        self._output: dict[str, Any] = self._interpreter.get_output_details()[0]
        self._fill_inputs()

    def _fill_inputs(self) -> None:
        rng = np.random.default_rng(0)
        for spec in self._inputs:
            dtype, shape = np.dtype(spec["dtype"]), tuple(spec["shape"])
            if dtype in (np.dtype(np.int8), np.dtype(np.uint8)):
                limits = np.iinfo(dtype)
                value = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
            elif dtype.kind == "f":
                value = rng.standard_normal(shape).astype(dtype)
            else:
                value = np.zeros(shape, dtype)
            self._interpreter.set_tensor(spec["index"], value)

    @property
    def integer_output(self) -> bool:
        return np.dtype(self._output["dtype"]).kind in "iu"

    def run(self, x: NDArray[Any]) -> Floats:
        y = self._outputs(x)
        if self.integer_output:
            scale, zero_point = self._output["quantization"]
            y = (y.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        return np.ascontiguousarray(y, dtype=np.float32)

    def run_int(self, x: NDArray[Any]) -> Integers:
        if not self.integer_output:
            raise BadInputError("This .tflite file has no integer output.", f"its output is {np.dtype(self._output['dtype'])}.")
        return self._outputs(x)

    def _flat(self, x: NDArray[Any]) -> bool:
        """Whether samples [N, C, L] go into a file that holds a height of 1."""
        shape = self._inputs[0]["shape"][1:]
        return self._channels_last and len(shape) == 3 and int(shape[0]) == 1 and x.ndim == 3

    def raw(self, x: NDArray[Any]) -> NDArray[Any]:
        if len(self._inputs) != 1:
            raise BadInputError("This .tflite file can't be run on samples.", f"it has {len(self._inputs)} inputs, not one.")
        spec = self._inputs[0]
        shape = tuple(int(s) for s in spec["shape"][1:])
        swap = self._channels_last and len(shape) > 1
        samples = checked(x[:, :, None] if self._flat(x) else x, (shape[-1], *shape[:-1]) if swap else shape)
        return np.ascontiguousarray(self._quantised(np.moveaxis(samples, 1, -1) if swap else samples, spec))

    def _outputs(self, x: NDArray[Any]) -> Integers:
        samples, index, results = self.raw(x), self._inputs[0]["index"], []
        for sample in samples:
            self._interpreter.set_tensor(index, sample[None])
            self._interpreter.invoke()
            results.append(self._interpreter.get_tensor(self._output["index"]))
        width = tuple(int(s) for s in self._output["shape"][1:])
        y: Integers = np.concatenate(results) if results else np.empty((0, *width), self._output["dtype"])
        if self._channels_last_output and y.ndim > 2:
            y = np.moveaxis(y, -1, 1)
            y = y[:, :, 0] if self._flat(x) and y.ndim == 4 else y
        return np.ascontiguousarray(y)

    @staticmethod
    def _quantised(samples: Floats, spec: dict[str, Any]) -> NDArray[Any]:
        dtype = np.dtype(spec["dtype"])
        scale, zero_point = spec["quantization"]
        if dtype.kind == "f":
            return samples
        limits = np.iinfo(dtype)
        # Division and round-half-even as in ONNX's QuantizeLinear: multiplying by 1/scale flips some half-way points.
        integers: Integers = np.clip(np.rint(samples / np.float32(scale)) + zero_point, limits.min, limits.max).astype(dtype)
        return integers

    def invoke(self) -> None:
        self._interpreter.invoke()

    def close(self) -> None:
        self._interpreter = None
