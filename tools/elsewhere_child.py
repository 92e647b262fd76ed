"""Runs files in the interpreter that starts it: NumPy and one runtime, nothing of edgelr, so that old and emulated ones can.

    python elsewhere_child.py FOLDER MODULE

FOLDER/jobs.json names the files and their inputs, as ``elsewhere.py`` wrote them. MODULE is ai_edge_litert, tflite_runtime, tensorflow,
tensorflow-undelegated (its own kernels alone) or onnxruntime. The outputs of NAME go to FOLDER/NAME.MODULE.npz, or the runtime's refusal to
FOLDER/NAME.MODULE.txt; NAME.MODULE.begun is left where the runtime took the process with it.
"""
from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def run_tflite(module: str, data: bytes, inputs: list[Any]) -> list[Any]:
    tensorflow = module.startswith("tensorflow")
    library = import_module("tensorflow").lite if tensorflow else import_module(f"{module}.interpreter")
    own = {"experimental_op_resolver_type": library.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES} if "-" in module else {}
    interpreter = library.Interpreter(model_content=data, num_threads=1, **own)
    interpreter.allocate_tensors()
    details, results = interpreter.get_input_details(), []
    for i in range(len(inputs[0])):
        for detail, values in zip(details, inputs, strict=True):
            interpreter.set_tensor(detail["index"], values[i])
        interpreter.invoke()
        results.append([interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()])
    return [np.stack(r) for r in zip(*results, strict=True)]


def run_onnx(module: str, data: bytes, inputs: list[Any]) -> list[Any]:
    library = import_module(module)
    options = library.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 1, 1, 3
    session = library.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {s.name: x for s, x in zip(session.get_inputs(), inputs, strict=True)}))


def main() -> None:
    folder, module = Path(sys.argv[1]), sys.argv[2]
    import_module(module.split("-")[0])  # a runtime that isn't there is no job's fault
    run = run_onnx if module == "onnxruntime" else run_tflite
    for job in json.loads((folder / "jobs.json").read_text(encoding="utf-8")):
        done, refused, begun = (folder / f"{job['name']}.{module}.{end}" for end in ("npz", "txt", "begun"))
        if done.exists() or refused.exists() or begun.exists() or job["format"] != ("onnx" if module == "onnxruntime" else "tflite"):
            continue
        begun.touch()
        inputs = [np.load(folder / f"{job['name']}.{i}.npy") for i in range(job["inputs"])]
        try:
            outputs = run(module, (folder / f"{job['name']}.{job['format']}").read_bytes(), inputs)
            np.savez(done, *outputs)
        except (ValueError, RuntimeError, SystemError) as error:
            refused.write_text(str(error), encoding="utf-8")
        begun.unlink()


if __name__ == "__main__":
    main()
