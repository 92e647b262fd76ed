"""Reads a .tflite back: operators, grids and integer weights."""
from __future__ import annotations

import struct
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgelr.errors import BadInputError
from edgelr.export.written import WrittenFile, WrittenOperator, WrittenWeights, one_grid
from edgelr.vocabulary import Grid

IDENTIFIER = b"TFL3"
TORCH_ORDER = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (0, 1),
               "TRANSPOSE_CONV": (0, 3, 1, 2)}  # from OHWI, 1HWC, OI, OHWI
BIAS = {"TRANSPOSE_CONV": 3}  # which input it is, where it is not the third
BUILTINS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}


def read_tflite(data: bytes) -> WrittenFile:
    """The first subgraph of a .tflite. Raises BadInputError for bytes that are none."""
    if data[4:8] != IDENTIFIER:
        raise BadInputError("this is not a .tflite file", "its bytes lack the mark TFL3", "give a file that a TFLite writer made")
    try:
        return _read(schema.ModelT.InitFromPackedBuf(data, 0))
    except (struct.error, LookupError, TypeError, ValueError, AttributeError, OverflowError, MemoryError, AssertionError) as error:
        raise BadInputError("this .tflite file is damaged", f"its tables don't hold together ({type(error).__name__}: {error})",
                            "write or copy it again") from error


def _read(model: Any) -> WrittenFile:
    graph = model.subgraphs[0]
    held = [model.buffers[t.buffer].data for t in graph.tensors]
    names = [(t.name or b"").decode() for t in graph.tensors]
    types = [TYPES[t.type] for t in graph.tensors]

    def array(index: int) -> NDArray[Any]:
        kept = held[index]
        if kept is None:
            raise ValueError(f"tensor {index} has no data in the file")
        dtype = np.dtype(types[index]).newbyteorder("<")
        shape = graph.tensors[index].shape
        return np.frombuffer(np.asarray(kept, np.uint8).tobytes(), dtype).reshape([] if shape is None else shape)

    def scales(index: int) -> NDArray[np.float32]:
        parameters = graph.tensors[index].quantization
        return np.asarray([] if parameters is None or parameters.scale is None else parameters.scale, np.float32)

    operators: list[WrittenOperator] = []
    weights: dict[str, WrittenWeights] = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = BUILTINS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        present = [int(i) for i in operator.inputs if i >= 0]
        moving = [i for i in present if held[i] is None]
        outputs = [int(i) for i in operator.outputs]
        name = names[outputs[0]]
        if kind in TORCH_ORDER and held[present[1]] is not None:
            values = array(present[1])
            at = BIAS.get(kind, 2)
            bias = array(present[at]) if len(present) > at else np.zeros(0, np.int32)
            bias_scale = scales(present[at]) if len(present) > at else np.zeros(0, np.float32)
            weights[name.removesuffix("/whole")] = WrittenWeights(values.transpose(TORCH_ORDER[kind]), scales(present[1]), bias, bias_scale)
        operators.append(WrittenOperator(name, kind, tuple(names[i] for i in moving), tuple(names[i] for i in outputs),
                                         tuple(types[i] for i in moving), tuple(types[i] for i in outputs)))
    grids: dict[str, Grid] = {}
    for index, tensor in enumerate(graph.tensors):
        if held[index] is None and tensor.quantization is not None:
            grid = one_grid(scales(index), np.asarray(tensor.quantization.zeroPoint), types[index])
            if grid is not None:
                grids[names[index]] = grid
    return WrittenFile(tuple(operators), grids, weights, tuple(names[int(i)] for i in graph.outputs))
