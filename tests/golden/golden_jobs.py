"""The golden models as files with fixed inputs, whole and cut into single operators."""
from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from golden_models import GOLDEN, RECURRENT, golden, samples, written
from numpy.typing import NDArray

from edgelr.latency.litert_cut import cut_operators

SAMPLES = 6
BUILTINS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
TYPES = {schema.TensorType.INT8: np.int8, schema.TensorType.FLOAT32: np.float32}
# The highest version of each operator that our writers may write. tflite-runtime 2.14.0 ran every one of them (tools/old_boards.py).
VERSIONS = {
    "ADD": 2, "BATCH_MATMUL": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "DEQUANTIZE": 2, "DYNAMIC_UPDATE_SLICE": 1,
    "ELU": 1, "FILL": 1, "FULLY_CONNECTED": 5, "GELU": 2, "LEAKY_RELU": 2, "LESS": 1, "LOGISTIC": 2, "MAX_POOL_2D": 2, "MEAN": 2,
    "MIRROR_PAD": 2, "MUL": 2, "PAD": 2, "PADV2": 2, "QUANTIZE": 2, "RESHAPE": 1, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 2,
    "RSQRT": 1, "SLICE": 2, "SOFTMAX": 2, "SPLIT": 1, "SPLIT_V": 1, "STRIDED_SLICE": 2, "SUB": 1, "TANH": 2, "TRANSPOSE": 2,
    "TRANSPOSE_CONV": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 3, "WHILE": 1, "ZEROS_LIKE": 1,
}


def operators(data: bytes) -> list[tuple[str, int]]:
    """Name and version of each operator of a .tflite, in order."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    codes = [model.operatorCodes[o.opcodeIndex] for graph in model.subgraphs for o in graph.operators]
    return [(BUILTINS[c.builtinCode], c.version) for c in codes]


def inputs_of(data: bytes, samples: int = SAMPLES) -> list[NDArray[np.generic]]:
    """Inputs of a .tflite, [samples, *shape] each: integers over all of int8, reals normal, and above 0 where there are roots."""
    positive = any(code == "RSQRT" for code, _ in operators(data)[:1])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph, made = model.subgraphs[0], []
    for i in graph.inputs:
        tensor = graph.tensors[i]
        shape, kind, rng = (samples, *tensor.shape), TYPES[tensor.type], np.random.RandomState(17 + len(made))
        values = rng.randint(-128, 128, shape) if kind is np.int8 else rng.standard_normal(shape)
        values = np.abs(values) + 0.1 if positive else values
        made.append(values.astype(kind))
    return made


def cuts(names: Iterable[str] = GOLDEN) -> Iterator[tuple[str, str, bytes]]:
    """Every operator of the golden .tflite files alone: a name for it, "OPERATOR vN", and the file. The same file comes once.

    Recurrent layers, which have loops and states, stay whole.
    """
    seen = set()
    for name in names:
        data = written(name, "tflite")
        if name in RECURRENT:
            yield f"{name}-whole", f"whole {name.split('_')[0].upper()}", data
            continue
        for i, (cut, (code, version)) in enumerate(zip(cut_operators(data), operators(data), strict=True)):
            if cut.data not in seen:
                seen.add(cut.data)
                yield f"{name}-{i}-{zlib.crc32(cut.data):08x}", f"{code} v{version}", cut.data


def onnx_input(name: str, count: int = 4) -> NDArray[np.float32]:
    graph = golden(name, "onnx").graph
    return samples(graph.shapes[graph.input], count)
