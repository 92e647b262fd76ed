"""The runtimes, with raw tensors in and out."""
from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_ORT_TYPES = {"float": "float32", "double": "float64"}


def _filled(shape: Sequence[int], dtype: Any) -> Any:
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    if kind in (np.dtype(np.int8), np.dtype(np.uint8)):
        return rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)
    return rng.standard_normal(shape).astype(kind) if kind.kind == "f" else np.zeros(shape, kind)


class LiteRT:
    """A ``.tflite`` file, loaded, its inputs filled. ``feed`` writes them again, ``invoke`` runs the kernels once.

    ``size_bytes``: of the file and its inputs.
    """

    def __init__(self, data: bytes, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found]
        self._interpreter: Any = Interpreter(model_content=data, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._specs = self._interpreter.get_input_details()
        self._values = [(s["index"], _filled(s["shape"], s["dtype"])) for s in self._specs]
        self.invoke = self._interpreter.invoke
        self.size_bytes = len(data) + sum(value.nbytes for _, value in self._values)
        self.feed()

    def feed(self) -> None:
        for index, value in self._values:
            self._interpreter.set_tensor(index, value)

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Raw outputs; samples one by one where the inputs hold more of them than the file takes at once."""
        if len(inputs) != len(self._specs):
            raise ValueError(f"the file takes {len(self._specs)} inputs, not {len(inputs)}")
        size = max(int(self._specs[0]["shape"][0]) if len(self._specs[0]["shape"]) else 1, 1)
        count = max(len(inputs[0]) // size, 1) if inputs[0].ndim else 1
        parts: list[list[Any]] = []
        for i in range(count):
            for spec, value in zip(self._specs, inputs):  # noqa: B905 (Python 3.9)
                self._interpreter.set_tensor(spec["index"], value[i * size : (i + 1) * size] if count > 1 else value)
            self._interpreter.invoke()
            parts.append([self._interpreter.get_tensor(d["index"]) for d in self._interpreter.get_output_details()])
        return [np.concatenate(part) if count > 1 else part[0] for part in zip(*parts)]  # noqa: B905

    def close(self) -> None:
        del self.invoke, self._interpreter


class Ort:
    """An ``.onnx`` file, loaded, free dimensions 1, its inputs filled. ``feed`` and ``invoke`` as in LiteRT."""

    def __init__(self, data: bytes, threads: int, profile: str = "") -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: the wheel reports on its use by itself
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        self.session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._binding = self.session.io_binding()
        self._values = []
        for spec in self.session.get_inputs():
            word = spec.type[len("tensor(") : -1]
            value = _filled([s if isinstance(s, int) else 1 for s in spec.shape], _ORT_TYPES.get(word, word))
            bound = value.copy()
            self._values.append((bound, value))
            self._binding.bind_cpu_input(spec.name, bound)
        for spec in self.session.get_outputs():
            self._binding.bind_output(spec.name, "cpu")
        self.size_bytes = len(data) + sum(value.nbytes for _, value in self._values)

    def feed(self) -> None:
        for bound, value in self._values:
            bound[...] = value

    def invoke(self) -> None:
        self.session.run_with_iobinding(self._binding)

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        names = [spec.name for spec in self.session.get_inputs()]
        if len(inputs) != len(names):
            raise ValueError(f"the file takes {len(names)} inputs, not {len(inputs)}")
        return list(self.session.run(None, dict(zip(names, inputs))))  # noqa: B905 (Python 3.9)

    def close(self) -> None:
        self.session = self._binding = None


def kernel_times(data: bytes, *, threads: int, runs: int, warm_up: int, between: Callable[[], None]) -> dict[str, list[float]]:
    """Microseconds of every kernel in each of ``runs`` profiled runs, keyed by the node names of ONNX Runtime's optimised graph.

    ``between`` is called before each run, so that a caller can interleave other measurements. Whole microseconds are all that ONNX
    Runtime writes, cut off; half a microsecond is added, so that means are not biased.
    """
    with tempfile.TemporaryDirectory(prefix="edgelr-") as folder:
        session = Ort(data, threads, str(Path(folder) / "kernels"))
        for run in range(warm_up + runs):
            if run >= warm_up:
                between()
            session.invoke()
        events = json.loads(Path(session.session.end_profiling()).read_text(encoding="utf-8"))
        session.close()
    times: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times.setdefault(event["name"][: -len("_kernel_time")], []).append(event["dur"] + 0.5)
    return {name: values[-runs:] for name, values in times.items()}
