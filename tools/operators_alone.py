"""Every operation of a file as a file of its own, fed what this machine computed before it: where another place computes otherwise."""
from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "golden"))
from elsewhere import Array, Job
from golden_jobs import operators

from edgelr.devices.optimised import optimised
from edgelr.latency import litert_cut, ort_cut
from edgelr.latency.litert_file import is_constant


def alone(job: Job) -> Iterator[tuple[Job, str]]:
    """Each operation with its inputs, and what kind it is. ``job``: a file without loops, run on all samples at once or one by one."""
    yield from _tflite(job) if job.format == "tflite" else _onnx(job)


def _tflite(job: Job) -> Iterator[tuple[Job, str]]:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(job.data, 0))
    graph = model.subgraphs[0]
    free = [[int(i) for i in dict.fromkeys(o.inputs) if i >= 0 and not is_constant(model.buffers[graph.tensors[i].buffer])]
            for o in graph.operators]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keeping all tensors warns that it is meant for debugging: so it is here
        interpreter = Interpreter(model_content=job.data, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    values: dict[int, list[Array]] = {i: [] for each in free for i in each}
    for sample in job.inputs[0]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
        interpreter.invoke()
        for i, held in values.items():
            held.append(interpreter.get_tensor(i))
    for number, (cut, (kind, _), needed) in enumerate(zip(litert_cut.cut_operators(job.data), operators(job.data), free, strict=True)):
        if needed:
            yield Job(f"{job.name}-{number}", "tflite", cut.data, [np.stack(values[i]) for i in needed]), kind


def _onnx(job: Job) -> Iterator[tuple[Job, str]]:
    import onnx
    import onnxruntime

    whole = onnx.load_from_string(optimised(job.data))
    given = whole.graph.input[0].name
    known = {o.name for o in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=v) for node in whole.graph.node for v in node.output if v and v not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    values: dict[str, Any] = {given: job.inputs[0], **dict(zip(names, session.run(names, {given: job.inputs[0]}), strict=True))}
    for number, cut in enumerate(ort_cut.cut_operators(job.data)):
        file = onnx.load_from_string(cut.data)
        for value in file.graph.input:  # cut for one sample, run on all of them
            for size, free in zip(values[value.name].shape, value.type.tensor_type.shape.dim, strict=True):
                free.dim_value = size
        inputs = [values[v.name] for v in file.graph.input]
        yield Job(f"{job.name}-{number}", "onnx", file.SerializeToString(), inputs), file.graph.node[0].op_type
