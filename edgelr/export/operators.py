"""All operators of a written file, those in the bodies of its loops too."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgelr.export.readback import read
from edgelr.export.written import Format


@dataclass(frozen=True)
class Operator:
    """One operator. Values have names that are unique in the file; ``inputs`` leave out what is stored, whose types are ``stored``.

    ``name`` is the node's in an .onnx (a QuantizeLinear's output's) and the first output tensor's in a .tflite, "" where that has none.
    Types are numpy's names, "" where unknown. ``body_of`` is the place, among all operators, of the one whose body this is part of.
    ``grid`` tells grids of QuantizeLinear and DequantizeLinear apart, ``mode`` is a Resize's.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    stored: tuple[str, ...] = ()
    body_of: int | None = None
    grid: tuple[bytes, ...] = ()
    mode: str = ""

    @property
    def types(self) -> set[str]:
        """Of what moves."""
        return {*self.input_types, *self.output_types}


@dataclass(frozen=True)
class FileOperators:
    """``operators`` of the main graph in the file's order, then those of bodies; ``inputs`` and ``outputs`` of the file."""

    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def operators(data: bytes, format: Format) -> FileOperators:
    """Every operator of a file once. Raises BadInputError for malformed bytes."""
    read(data, format)  # it names what is wrong with a file
    return _of_tflite(data) if format == "tflite" else _of_onnx(data)


def _of_tflite(data: bytes) -> FileOperators:
    from ai_edge_litert import schema_py_generated as schema

    from edgelr.export.tflite_reader import BUILTINS, TYPES

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    found: list[Operator] = []
    waiting: list[tuple[int, int | None]] = [(0, None)]
    seen = {0}
    while waiting:
        number, owner = waiting.pop(0)
        graph = model.subgraphs[number]
        tensors = [(TYPES[t.type], model.buffers[t.buffer].data is not None) for t in graph.tensors]

        def value(index: int, number: int = number) -> str:
            return f"{number}:{index}"

        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            present, outputs = [int(i) for i in operator.inputs if i >= 0], [int(i) for i in operator.outputs]
            moving = [i for i in present if not tensors[i][1]]
            for inner in _subgraphs(operator.builtinOptions):
                if inner not in seen:
                    seen.add(inner)
                    waiting.append((inner, len(found)))
            found.append(Operator(
                (graph.tensors[outputs[0]].name or b"").decode() if owner is None else "",
                BUILTINS[max(code.builtinCode, code.deprecatedBuiltinCode)],
                tuple(map(value, moving)), tuple(map(value, outputs)), tuple(tensors[i][0] for i in moving),
                tuple(tensors[i][0] for i in outputs), tuple(tensors[i][0] for i in present if tensors[i][1]), owner))
    main = model.subgraphs[0]
    return FileOperators(tuple(found), tuple(f"0:{int(i)}" for i in main.inputs), tuple(f"0:{int(i)}" for i in main.outputs))


def _subgraphs(options: Any) -> Iterator[int]:
    """Numbers of the subgraphs that an operator runs."""
    for field, number in vars(options).items() if options is not None else ():
        if field.endswith("SubgraphIndex"):
            yield int(number)


def _of_onnx(data: bytes) -> FileOperators:
    import onnx
    from onnx import numpy_helper, shape_inference

    from edgelr.export.onnx_reader import _type

    model = shape_inference.infer_shapes(onnx.load_from_string(data))
    found: list[Operator] = []
    waiting: list[tuple[Any, int | None]] = [(model.graph, None)]
    types: dict[str, str] = {}
    stored: dict[str, Any] = {}
    while waiting:
        graph, owner = waiting.pop(0)
        stored |= {t.name: t for t in graph.initializer}
        types |= {v.name: _type(v.type.tensor_type.elem_type) for v in (*graph.input, *graph.value_info, *graph.output)}
        types |= {name: _type(t.data_type) for name, t in stored.items()}
        for node in graph.node:
            moving, kept = ([i for i in node.input if i and (i in stored) == known] for known in (False, True))
            waiting += [(a.g, len(found)) for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
            changes_grid = node.op_type in ("QuantizeLinear", "DequantizeLinear")
            grid = tuple(numpy_helper.to_array(stored[i]).tobytes() for i in node.input[1:] if i in stored) if changes_grid else ()
            mode = next((a.s.decode() for a in node.attribute if a.name == "mode" and node.op_type == "Resize"), "")
            name = node.name or (node.output[0] if node.op_type == "QuantizeLinear" else "")
            found.append(Operator(
                name, node.op_type, tuple(moving), tuple(node.output), tuple(types.get(i, "") for i in moving),
                tuple(types.get(o, "") for o in node.output), tuple(types[i] for i in kept), owner, grid, mode))
    return FileOperators(tuple(found), tuple(i.name for i in model.graph.input if i.name not in stored),
                         tuple(o.name for o in model.graph.output))
