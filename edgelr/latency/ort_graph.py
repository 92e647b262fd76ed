"""A graph of an ``.onnx`` file with all shapes known: who makes and reads a value, and what is stored."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from edgelr.errors import BadInputError, UnsupportedError
from edgelr.latency.operation import Shape

MICROSOFT = "com.microsoft"
_FLOAT = 1
# Operations on stored arrays alone that the runtime does once, when it loads the file.
_FOLDED = {"DequantizeLinear", "Transpose", "Reshape", "Cast"}


class OrtGraph:
    """``nodes`` in order; ``shapes`` and ``types`` (ONNX's codes) of every value at batch 1; ``arrays`` stored ones by name."""

    def __init__(self, model: Any) -> None:
        """Raises BadInputError where the graph's shapes don't fit together, UnsupportedError for one whose shapes can't be told."""
        inferred = _inferred(model)
        self.model, self.graph = model, inferred.graph
        self.nodes = list(self.graph.node)
        self.arrays = {t.name: t for t in self.graph.initializer}
        self.shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in self.graph.initializer}
        self.types: dict[str, int] = {t.name: t.data_type for t in self.graph.initializer}
        for value in (*self.graph.input, *self.graph.value_info, *self.graph.output):
            tensor = value.type.tensor_type
            self.types[value.name] = tensor.elem_type
            if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
                self.shapes[value.name] = tuple(d.dim_value for d in tensor.shape.dim)
        self.makers = {value: n for n, node in enumerate(self.nodes) for value in node.output if value}
        self.readers: dict[str, list[int]] = defaultdict(list)
        for n, node in enumerate(self.nodes):
            for value in dict.fromkeys(node.input):
                self.readers[value].append(n)
        self.results = {o.name for o in self.graph.output}

    @cached_property
    def stored(self) -> set[str]:
        """Values that are the same in every call."""
        found = set(self.arrays)
        for node in self.nodes:
            if node.op_type in _FOLDED and node.input and all(not i or i in found for i in node.input):
                found.update(node.output)
        return found

    def shape(self, value: str) -> Shape:
        if value not in self.shapes:
            raise UnsupportedError("This .onnx file can't be timed by operator.", f"the shape of {value} can't be told.")
        return self.shapes[value]

    def array(self, value: str) -> Any:
        """A stored array, or what one is taken off the grid from."""
        from onnx import numpy_helper

        while value not in self.arrays:
            value = self.nodes[self.makers[value]].input[0]
        return numpy_helper.to_array(self.arrays[value])

    def only_reader(self, value: str) -> int | None:
        """The one node that reads a value; None where there are more, or it is a result of the graph."""
        readers = self.readers[value]
        return readers[0] if len(readers) == 1 and value not in self.results else None


def load(data: bytes) -> Any:
    """The model, at batch 1. Raises BadInputError for bytes that are none."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_from_string(data)
    except DecodeError as error:
        raise BadInputError("This isn't an .onnx file.", str(error)) from error
    if not model.graph.node or not model.graph.output:
        raise BadInputError("This isn't an .onnx file.", "it has no operations or no output.")
    _at_batch_1(model.graph)
    return model


def _at_batch_1(graph: Any) -> None:
    for value in (*graph.input, *graph.output):
        for d in value.type.tensor_type.shape.dim:
            if not d.HasField("dim_value"):
                d.dim_value = 1
    for attribute in (a for node in graph.node for a in node.attribute if a.type == a.GRAPH):
        _at_batch_1(attribute.g)


def _inferred(model: Any) -> Any:
    """The model with the shapes of all values that can be told. What onnx can't tell is told here, one node after the other."""
    from onnx import shape_inference

    try:
        known = shape_inference.infer_shapes(model, data_prop=True)
        for node in (n for n in model.graph.node if n.domain == MICROSOFT or n.op_type == "Scan"):
            shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
                      for v in (*known.graph.input, *known.graph.value_info, *known.graph.output)}
            shapes |= {t.name: list(t.dims) for t in known.graph.initializer}
            told = _scanned(model, node, shapes) if node.op_type == "Scan" else _microsoft(node, shapes)
            named = {v.name: v for v in (*known.graph.value_info, *known.graph.output)}
            for name, shape in zip(node.output, told, strict=False):
                if name not in named:
                    named[name] = known.graph.value_info.add()
                named[name].CopyFrom(_value(name, _FLOAT, shape))
            known = shape_inference.infer_shapes(known, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, KeyError, IndexError) as error:
        raise BadInputError("This .onnx file is damaged.", (str(error).strip().splitlines() or [""])[0][:300]) from error
    return known


def scan_states(node: Any) -> int:
    """How many states a Scan carries from turn to turn; its other inputs are cut into turns."""
    return len(node.input) - next(int(a.i) for a in node.attribute if a.name == "num_scan_inputs")


def scan_body(model: Any, node: Any, shapes: Mapping[str, Sequence[int]]) -> Any:
    """A Scan's body as a model of its own at batch 1, with the stored arrays that it reads from outside."""
    from onnx import helper

    body, states = next(a.g for a in node.attribute if a.type == a.GRAPH), scan_states(node)
    entries = [_value(v.name, v.type.tensor_type.elem_type or _FLOAT, shapes[o] if i < states else shapes[o][1:])
               for i, (v, o) in enumerate(zip(body.input, node.input, strict=True))]
    used = {v for n in body.node for v in n.input}
    graph = helper.make_graph(list(body.node), "body", entries, list(body.output), [t for t in model.graph.initializer if t.name in used])
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)


def _scanned(model: Any, node: Any, shapes: Mapping[str, Sequence[int]]) -> list[list[int]]:
    states = scan_states(node)
    body = _inferred(scan_body(model, node, shapes))
    inner = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in body.graph.output]
    return [[*shapes[node.input[i]]] if i < states else [shapes[node.input[states]][0], *shape] for i, shape in enumerate(inner)]


def _microsoft(node: Any, shapes: Mapping[str, Sequence[int]]) -> list[list[int]]:
    """Shapes of the outputs of an operation of ONNX Runtime's own."""
    x = shapes[node.input[0]]
    if node.op_type == "DynamicQuantizeMatMul":
        return [[*x[:-1], shapes[node.input[1]][-1]]]
    if node.op_type == "DynamicQuantizeLSTM":
        hidden = next(a.i for a in node.attribute if a.name == "hidden_size")
        return [[x[0], 1, x[1], hidden], [1, x[1], hidden], [1, x[1], hidden]]
    return []


def _value(name: str, code: int, shape: Any) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, code, list(shape))
